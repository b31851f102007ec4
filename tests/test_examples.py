"""Everything that the documentation tells people to run, run."""

import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dump_fixtures import someone, write_street
from official_checkpoint import write_official_checkpoint
from pocold import PoseTransferPipeline
from pocold.cli import main
from pocold.models.presets import build_models
from pocold.training.config import (
    DataConfig,
    ModelConfig,
    PictureValidationConfig,
    RunConfig,
    TrainConfig,
    ValidationConfig,
)
from pocold.training.config_files import save_config
from pocold.training.distillation_config import DistillationConfig, DistillTrainConfig

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def demo_files(tmp_path_factory):
    """The demonstration's files, where the README's lines expect them."""
    folder = tmp_path_factory.mktemp("newcomer")
    main(["demo", "--output", str(folder / "out" / "demo.png"), "--steps", "1"])
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script as from a shell, but without loading torch again: (folder, script, arguments) -> what it prints."""

    def in_folder(folder, script, *arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return in_folder


def readme(language=""):
    """The blocks of a language in the README, of none by default."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    return [block for found, block in blocks if found == language]


@pytest.fixture
def stand_ins(demo_files):
    """What stands in the README in capitals, as files in the demonstration's folder, which holds people by then."""
    photos = demo_files / "photos"
    photos.mkdir()
    Image.new("RGB", (40, 50)).save(photos / "street.jpg")
    write_street(demo_files / "dump.pkl", someone(height=30, width=20))
    write_official_checkpoint(demo_files / "official")
    build_models("toy")["vae"].save_pretrained(demo_files / "vae")
    PoseTransferPipeline.from_preset("toy").save_pretrained(demo_files / "toy")
    small = {"block_out_channels": (16, 16), "appearance_channels": (16, 16), "num_heads": 2, "num_filters": 8}
    config = TrainConfig(
        DataConfig(path="out/people", height=64, width=48, workers=0),
        ModelConfig(**small, layers_per_block=1, norm_num_groups=8),
        run=RunConfig(output="run", max_steps=2, batch_size=2, device="cpu"),
        validation=ValidationConfig(every=0),
    )
    save_config(config, demo_files / "config.toml", "two steps")
    distilled = DistillTrainConfig(
        config.data, DistillationConfig("toy"), config.optimizer, replace(config.run, output="distilled"),
        PictureValidationConfig(every=0),
    )  # fmt: skip
    save_config(distilled, demo_files / "distill.toml", "two steps")
    return {
        "DUMP.pkl": "dump.pkl", "PHOTOS": "photos", "DATA": "out/people", "CONFIG.toml": "config.toml",
        "DISTILL.toml": "distill.toml", "MODEL": "toy", "REPORT": "report", "CHECKPOINT": "official", "VAE": "vae",
        "CONVERTED": "converted",
    }  # fmt: skip


@pytest.mark.slow
def test_the_readmes_commands(demo_files, stand_ins, monkeypatch):
    """Every command, in the README's order, in one folder."""
    monkeypatch.chdir(demo_files)
    lines = [line.split("#")[0].split() for block in readme() for line in block.splitlines()]
    commands = [[stand_ins.get(word, word) for word in words] for words in lines if words[:1] == ["pocold"]]
    assert len(commands) == 15
    commands.remove(["pocold", "ui"])  # which serves until it is ended: tests/apps/ui
    for words in commands:
        if words[1] == "animate":
            words += ["--frames", "2", "--steps", "1"]
        if words[1] == "synth":
            words += ["--workers", "1"]
        if words[1] == "evaluate":
            words += ["--limit", "2", "--steps", "2", "--without", "fd_stlpips"]
        main(words[1:])
    drawn = [
        "drawn/walk-side.png",
        "drawn/hips-back.png",
        "sheet.png",
        "wave.png",
        "edited.png",
        "mixed.png",
        "turn.webp",
    ]
    assert all((demo_files / "out" / name).is_file() for name in drawn)
    assert (demo_files / "maps" / "street.iuv.png").is_file()
    for folder in ("run/pipeline", "distilled/pipeline", "converted"):
        assert (demo_files / folder / "model_index.json").is_file()
    assert (demo_files / "report" / "report.md").is_file()


def test_the_readmes_make_targets_exist():
    targets = re.findall(r"^make (\w+)", "\n".join(readme()), flags=re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


def test_readme_python(demo_files, monkeypatch):
    monkeypatch.chdir(demo_files)
    blocks = readme("python")
    assert blocks
    for block in blocks:
        exec(block, {})
    assert (demo_files / "out" / "result.png").is_file()


def test_many_poses(demo_files, run):
    out = demo_files / "out"
    script = ROOT / "examples" / "many_poses.py"
    arguments = ("person.png", "pose-1.png", "pose-2.png", "--source-pose", "person.iuv.png", "--steps", 1)
    printed = run(out, script, *arguments, "--output", "many")
    assert printed.split() == ["many/pose-1.png", "many/pose-2.png"]
    assert all((out / name).is_file() for name in [*printed.split(), "many/person.safetensors"])


def test_mix_people(demo_files, run):
    out = demo_files / "out"
    people = ("person.png", "person.iuv.png", "person.png", "person.iuv.png")
    printed = run(out, ROOT / "examples" / "mix_people.py", *people, "--steps", 1, "--output", "mixture")
    assert all((out / name).is_file() for name in printed.split())
    assert len(printed.split()) == 2


def blocks_of(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)


def without_measurements(line):
    """A line of output without what differs from run to run and from machine to machine."""
    line = re.sub(r" *\d+\.\d+ s\b", " N s", line)
    line = re.sub(r"(at most|and) [\d,]+ MB", r"\1 N MB", line)
    return re.sub(r"^(software \w+|model sha256|source sha256): .*", r"\1: X", line)


@pytest.mark.slow
def test_the_drawing_commands(tmp_path, monkeypatch, capsys):
    """Every command of docs/transfer.md, with the output that it shows."""
    monkeypatch.chdir(tmp_path)
    setup = re.findall(r"^    (pocold|python) (.*)$", (ROOT / "docs" / "transfer.md").read_text(), flags=re.MULTILINE)
    assert [program for program, _ in setup] == ["pocold", "python"]
    main([*setup[0][1].split(), "--workers", "1"])
    exec(setup[1][1].removeprefix('-c "').removesuffix('"'), {})
    commands = 0
    for block in blocks_of("transfer.md", "console"):
        for shown in block.split("$ pocold ")[1:]:
            command, *lines = shown.splitlines()
            capsys.readouterr()
            main(command.split())
            printed = capsys.readouterr()
            found = [without_measurements(line) for line in (printed.out + printed.err).splitlines()]
            assert sorted(found) == sorted(map(without_measurements, lines)), command
            commands += 1
    assert commands == 10
    python = blocks_of("transfer.md", "python")
    assert len(python) == 1
    exec(python[0], {})
    assert (tmp_path / "by-hand.png").is_file()


def test_every_example_is_run():
    tested = Path(__file__).read_text() + (ROOT / "tests" / "apps" / "test_app_examples.py").read_text()
    for script in (ROOT / "examples").glob("*.*"):
        assert f'"{script.name}"' in tested, f"{script.name} has no test"
