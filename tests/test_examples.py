"""Everything that the documentation tells people to run, run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_every_example_is_run():
    tested = Path(__file__).read_text()
    for script in (ROOT / "examples").glob("*.py"):
        assert f'"{script.name}"' in tested, f"{script.name} has no test"
