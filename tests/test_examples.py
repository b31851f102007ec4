"""Everything that the documentation tells people to run, run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pocold.cli import main

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def demo_files(tmp_path_factory):
    """The demonstration's files, where the README's lines expect them."""
    folder = tmp_path_factory.mktemp("newcomer")
    subprocess.run(
        [sys.executable, "-m", "pocold.cli", "demo", "--output", "out/demo.png", "--steps", "2"], cwd=folder, check=True
    )
    return folder


def run(folder, *command):
    return subprocess.run([sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, check=True)


def test_readme_python(demo_files):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        run(demo_files, "-c", block)
    assert (demo_files / "result.png").is_file()


def test_many_poses(demo_files):
    out = demo_files / "out"
    script = ROOT / "examples" / "many_poses.py"
    printed = run(out, script, "person.png", "pose-1.png", "pose-2.png", "--steps", 2, "--output", "drawn").stdout
    assert printed.split() == ["drawn/pose-1.png", "drawn/pose-2.png"]
    assert all((out / name).is_file() for name in [*printed.split(), "drawn/person.safetensors"])


def test_mix_people(demo_files):
    out = demo_files / "out"
    people = ("person.png", "pose-1.png", "person.png", "pose-2.png")
    printed = run(out, ROOT / "examples" / "mix_people.py", *people, "--steps", 2, "--output", "mixed").stdout
    assert all((out / name).is_file() for name in printed.split())
    assert len(printed.split()) == 2


def blocks_of(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)


def without_measurements(line):
    """A line of output without what differs from run to run and from machine to machine."""
    line = re.sub(r"\d+\.\d+ s\b", "N s", line)
    line = re.sub(r"at most [\d,]+ MB", "at most N MB", line)
    return re.sub(r"^(software \w+|model sha256|source sha256): .*", r"\1: X", line)


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
    assert commands == 9
    python = blocks_of("transfer.md", "python")
    assert len(python) == 1
    exec(python[0], {})
    assert (tmp_path / "by-hand.png").is_file()


def test_every_example_is_run():
    tested = Path(__file__).read_text()
    for script in (ROOT / "examples").glob("*.py"):
        assert f'"{script.name}"' in tested, f"{script.name} has no test"
