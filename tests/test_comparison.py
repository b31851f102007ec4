"""``benchmarks.comparison`` at toy size: costs, runs that go on, tables, verdicts."""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # benchmarks are no part of the package

from benchmarks.comparison import cost, figure, runs, table  # noqa: E402
from benchmarks.comparison.variants import VARIANTS, pixel_autoencoder  # noqa: E402

from pocold.data.synthetic import SyntheticConfig  # noqa: E402
from pocold.data.writing import write_people  # noqa: E402
from pocold.models import autoencoder  # noqa: E402
from pocold.models.autoencoder import load_autoencoder  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set, and an autoencoder."""
    root = tmp_path_factory.mktemp("comparison")
    write_people(SyntheticConfig(seed=0, identities=3, per_identity=2, size=(128, 88), supersample=1), root / "data")
    pixel_autoencoder(root / "vae")
    return root


def arguments(module, place, *words):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    shared = [str(place / "data"), "--vae", str(place / "vae"), "--out", str(place / "out"), "--size", "toy"]
    return parser.parse_args([*shared, "--batch-size", "2", "--sampling-steps", "2", *words])


@pytest.mark.slow
def test_all_variants_are_trained_go_on_and_stand_in_the_tables(place, capsys):
    budget = ("--steps", "1", "--seeds", "0", "1")
    few = ("--limit", "1", "--without", "st_lpips", "fd_stlpips")
    one = ("--only", "constraint", "no-constraint")
    table.run(arguments(table, place, *budget, *few, *one))
    assert "Not trained to the end: constraint, no-constraint." in capsys.readouterr().out
    runs.run(arguments(runs, place, "--steps", "1", "--seeds", "0"))
    before = {path: path.stat().st_mtime_ns for path in (place / "out" / "1-steps").glob("*-0/checkpoints/*/*")}
    assert len(before) == 4 * len(VARIANTS)
    runs.run(arguments(runs, place, *budget, *one))
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())  # what was done stays as it was
    said = capsys.readouterr().out
    assert f"{place / 'out' / '1-steps' / 'constraint-0'}: done" in said
    table.run(arguments(table, place, *budget, *few, "--sheet", str(place / "sheet.png")))
    assert Image.open(place / "sheet.png").width > 6 * 88  # source, truth and four methods
    said = capsys.readouterr().out
    for name, variant in VARIANTS.items():
        count = 2 if name in one else 1
        assert f"| {name}: {variant.what} | {count} | " in said
    for name in ("copy", "warp", "ceiling"):
        assert f"| {name} |  | " in said
    assert "the pose constraint helps: not told with fewer than two runs of each (st_lpips)" in said
    assert " ± " in said
    path = place / "attention.png"
    figure.run(arguments(figure, place, *budget, "--figure", str(path)))
    assert "of the attention goes to the point's own part" in capsys.readouterr().out
    assert path.is_file()


@pytest.mark.slow
def test_minutes_are_those_of_all_starts(place, capsys):
    words = ("--minutes", "0.001", "--seeds", "0", "--only", "nted")
    asked = arguments(runs, place, *words)
    config = runs.config_of(asked, runs.settings_of(asked), "nted", 0)
    assert config.run.max_minutes == 0.001
    runs.run(asked)
    assert runs.is_done(asked, "nted", 0)
    assert runs.spent(runs.run_folder(asked, "nted", 0))[0] < 1000
    capsys.readouterr()
    runs.run(asked)
    assert "nted-0: done" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"holds a run with other settings: optimizer.learning_rate = 0.1 instead of"):
        runs.run(arguments(runs, place, *words, "--learning-rate", "0.1"))
    with pytest.raises(ValueError, match="a budget must be above 0: --steps or --minutes"):
        runs.run(arguments(runs, place, "--steps", "0"))


@pytest.mark.slow
def test_told_to_stop_it_begins_with_nothing_else_and_goes_on_later(place):
    """A batch of 20,000 steps takes minutes: the signal comes while the first variant is trained."""
    words = ["--steps", "20000", "--seeds", "7", "--only", "pocold", "nted"]
    asked = arguments(runs, place, *words)
    first, second = (runs.run_folder(asked, name, 7) for name in asked.only)
    shared = [place / "data", "--vae", place / "vae", "--out", place / "out", "--size", "toy", "--batch-size", "2"]
    command = [sys.executable, "-m", "benchmarks.comparison", "train", *map(str, shared), *words]
    with subprocess.Popen([*command, "--sampling-steps", "2"], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not (first / "log.jsonl").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    steps, _ = runs.spent(first)
    assert 0 < steps < 20_000
    assert not runs.is_done(asked, "pocold", 7)
    assert not second.exists()


def values(*numbers):
    return [{"st_lpips": number} for number in numbers]


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ((0.30, 0.31, 0.32), (0.40, 0.41, 0.42), "x is better: **holds**; st_lpips 0.3100 ± 0.0100 (a)"),
        ((0.40, 0.41, 0.42), (0.30, 0.31, 0.32), "x is better: **does not hold, the contrary does**"),
        ((0.30, 0.31, 0.32), (0.305, 0.315, 0.325), "x is better: **does not show**"),
        ((0.30,), (0.40, 0.41), "x is better: not told with fewer than two runs of each"),
    ],
)
def test_verdicts(good, bad, expected):
    assert expected in table.verdict("x is better", "a", "b", {"a": values(*good), "b": values(*bad)})


def test_the_pixel_autoencoder_changes_nothing(tmp_path):
    vae = load_autoencoder(pixel_autoencoder(tmp_path / "pixels"), torch.float32)
    picture = torch.rand(1, 3, 32, 24) * 2 - 1
    latents = autoencoder.encode(vae, picture, sample=True, generator=torch.Generator().manual_seed(0))
    assert latents.shape == (1, 192, 4, 3)
    torch.testing.assert_close(latents.square().sum(), 4 * picture.square().sum(), rtol=1e-4, atol=0)
    torch.testing.assert_close(autoencoder.decode(vae, latents), picture, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_costs_and_what_becomes_of_the_claim(capsys):
    parser = argparse.ArgumentParser()
    cost.add_arguments(parser)
    cost.run(parser.parse_args(["--preset", "toy", "--sizes", "64x48", "--without", "memory", "--device", "cpu"]))
    said = capsys.readouterr().out
    for title, _ in cost.METHODS.values():
        assert f"| {title} | " in said
    assert "x the time of PoCoLD, literal form (paper: 2x): " in said
    found = {
        "literal": {"picture": 10.0, "drawing MB": 1000.0},
        "pidm": {"picture": 21.0, "drawing MB": 3000.0},
    }
    assert cost.verdicts(found) == [
        "PIDM needs 2.10x the time of PoCoLD, literal form (paper: 2x): holds here",
        "PIDM needs 3.00x the memory of PoCoLD, literal form (paper: 3.6x): does not hold here",
    ]
