"""The examples of the apps, run in this process at toy size."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawing_helpers import pixels
from PIL import Image, ImageSequence

from pocold.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(monkeypatch, capsys, name, *words):
    """What a script prints."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.slow
def test_command_line(here, capsys):
    """Every command of the script, its words replaced as a shell does."""
    script = EXAMPLES / "command_line.sh"
    shell = shutil.which("sh")
    if shell is not None:
        subprocess.run([shell, "-n", script], check=True)
    (here / "drawn").mkdir()
    given = {"$1": "a.png", "$2": "b.png", "$3": "drawn", "${POCOLD_FLAGS-}": "--model sized --steps 2"}
    commands = [line for line in script.read_text().splitlines() if line.startswith("pocold ")]
    assert len(commands) == 7
    for line in commands:
        for word, value in given.items():
            line = line.replace(word, value)
        words = shlex.split(line)[1:]
        main([*words, "--model", "sized"] if words[0] == "encode" else words)
    names = ("walk-side.png", "hips-back.png", "wave.png", "edited.png", "mixed.png", "turn.gif", "person.safetensors")
    assert {path.name for path in (here / "drawn").iterdir()} == set(names)
    assert "command: edit" in capsys.readouterr().out


def test_animate_turn(here, monkeypatch, capsys):
    words = ("a.png", "--source-pose", "a.iuv.png", "--model", "sized", "--steps", 1, "--frames", 3)
    printed = example(monkeypatch, capsys, "animate_turn.py", *words, "--output", "turn.gif")
    assert printed.splitlines()[-1] == "turn.gif"
    with Image.open(here / "turn.gif") as opened:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(opened)]
    assert [frame.shape for frame in frames] == [(128, 88, 3)] * 3
    assert (frames[0] != frames[1]).any()


def test_comfyui_workflow(drawn_folder, tmp_path, monkeypatch, capsys):
    shutil.copy(drawn_folder / "a.png", tmp_path / "person.png")
    workflow = Path(__file__).parents[2] / "src/pocold/apps/comfyui/workflows/api/poses.json"
    words = (
        workflow,
        "--inputs",
        tmp_path,
        "--model",
        drawn_folder / "sized",
        "--steps",
        1,
        "--output",
        tmp_path / "drawn",
    )
    printed = example(monkeypatch, capsys, "comfyui_workflow.py", *words)
    assert [pixels(path).shape for path in printed.split()] == [(128, 88, 3)] * 3


@pytest.mark.slow
def test_evaluate_model(here, monkeypatch, capsys):
    from pocold.data.synthetic import SyntheticConfig
    from pocold.data.writing import write_people

    write_people(SyntheticConfig(seed=0, identities=12, per_identity=2, size=(64, 48)), here / "people")
    words = ("people", "--model", "toy", "--steps", 1, "--limit", 2, "--output", "report")
    printed = example(monkeypatch, capsys, "evaluate_model.py", *words)
    assert re.search(r"\| copy \| (\d+\.\d+ \| ){3}", printed)
    for name in ("model", "copy"):
        assert (here / "report" / name / "report.json").is_file()


def test_http_client(here, monkeypatch, capsys):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    monkeypatch.syspath_prepend(Path(__file__).parent / "serve")
    from estimators import constant_estimator
    from pocold import PoseTransferPipeline
    from serving import served

    pipeline = PoseTransferPipeline.from_pretrained(here / "toy")
    pipeline.register_modules(densepose_estimator=constant_estimator(2))
    pipeline.save_pretrained(here / "seeing")
    with served(here / "seeing") as client:
        words = ("a.png", "--server", str(client.base_url), "--steps", 1)
        printed = example(
            monkeypatch, capsys, "http_client.py", *words, "--pose", "stand", "walk:side", "--output", "drawn"
        )
        with pytest.raises(SystemExit, match="422: unknown pose 'wlak'"):
            example(monkeypatch, capsys, "http_client.py", *words, "--pose", "wlak")
    written = [line for line in printed.splitlines() if not line.startswith("warning: ")]
    assert [Path(line).name for line in written] == ["stand.png", "walk-side.png"]
    assert all(Path(line).is_file() for line in written)
    with pytest.raises(SystemExit, match="does not answer"):
        example(monkeypatch, capsys, "http_client.py", *words)
