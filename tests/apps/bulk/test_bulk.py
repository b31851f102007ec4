"""``pocold bulk``, end to end with a toy model: the same bytes however they were drawn, and nothing lost."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import torch
from drawing_helpers import BUNDLED_ESTIMATOR, pocold

from pocold.apps.bulk.jobs import Jobs, units
from pocold.apps.bulk.painter import How, Painter
from pocold.apps.bulk.run import _span
from pocold.apps.drawing.options import DrawOptions
from pocold.imaging.metadata import read_png_metadata
from pocold.models import densepose_estimator

ROWS = [("a.png", "walk:side", 1), ("b.png", "stand", 2), ("a.png", "b.iuv.png", 3), ("a.png", "stand", 4)]


def write_jobs(path="jobs.csv", rows=ROWS):
    Path(path).write_text("photo,pose,seed\n" + "".join(f"{photo},{pose},{seed}\n" for photo, pose, seed in rows))


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def pictures(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).rglob("*.png"))}


def bulk(words, code=0, **options):
    """Run ``pocold bulk``; the exit code is asked for."""
    if code == 0:
        return pocold(f"bulk {words}", **options)
    with pytest.raises(SystemExit) as stopped:
        pocold(f"bulk {words}", **options)
    return stopped.value.code == code or pytest.fail(f"exit code {stopped.value.code}")


def refused(capsys, words, **options):
    """The one line that a command ends with."""
    capsys.readouterr()
    bulk(words, code=2, **options)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pocold: error: ")
    return line


def test_a_row_is_what_transfer_draws_of_it(here, capsys):
    write_jobs()
    threads = torch.get_num_threads()
    bulk("jobs.csv -o out")
    assert torch.get_num_threads() == threads
    told = lines("out/manifest.jsonl")
    assert [record["row"] for record in told] == [1, 3, 4, 2]  # by person
    captured = capsys.readouterr()
    assert captured.out == "out/manifest.jsonl\n"
    assert captured.err.startswith("4 pictures in ")
    torch.set_num_threads(1)
    for record in told:
        pocold(f"transfer {record['photo']} --pose {record['pose']} --seed {record['seed']} -o again.png")
        drawn = Path("out") / record["output"]
        notes = read_png_metadata(drawn)
        assert notes.pop("again").replace(drawn.name, "again.png") == read_png_metadata("again.png").pop("again")
        pocold(f"transfer {record['photo']} --pose {record['pose']} --seed {record['seed']} -o {drawn.name}")
        assert Path(drawn.name).read_bytes() == drawn.read_bytes()


def test_each_person_is_encoded_once_and_known_by_content(here):
    (here / "more").mkdir()
    for name in ("a.png", "a.iuv.png"):
        (here / "more" / name).write_bytes((here / name).read_bytes())
    rows = [
        (photo, pose, seed)
        for seed in range(3)
        for photo in ("a.png", "more/a.png", "b.png")
        for pose in ("walk", "stand")
    ]
    write_jobs(rows=rows)
    jobs = Jobs(here / "jobs.csv")
    painter = Painter(How(here, DrawOptions(model=here / "toy", steps=1), "source", "pad", 1))
    drawn = [outcome for unit in units(jobs, 4) for batch in unit for outcome in painter.paint(batch)]
    assert all(outcome.png for outcome in drawn)
    assert painter.encoded == 2
    assert len({outcome.png for outcome in drawn}) == len(rows)  # seeds, poses and names differ
    out = here / "one.png"
    out.write_bytes(next(outcome.png for outcome in drawn if outcome.row.photo == "more/a.png"))
    assert read_png_metadata(out)["source"][0]["file"] == "a.png"


def test_broken_rows_stop_nothing_and_are_tried_again(here, capsys):
    write_jobs(
        rows=[
            *ROWS[:2],
            ("none.png", "walk", 1),
            ("a.png", "wlak", 1),
            ("text.png", "walk", 1),
            ("a.png", "none.png", 1),
        ]
    )
    Path("text.png").write_text("no picture")
    bulk("jobs.csv -o out --batch-size 2", code=1)
    errors = {record["row"]: record["error"] for record in lines("out/errors.jsonl")}
    assert errors.keys() == {3, 4, 5, 6}
    assert errors[3].startswith("no such photograph: ")
    assert errors[4].startswith("unknown pose 'wlak'")
    assert "cannot be read as a picture" in errors[5]
    assert "none.png" in errors[6]
    assert {record["row"] for record in lines("out/manifest.jsonl")} == {1, 2}
    assert "2 pictures in " in (said := capsys.readouterr().err)
    assert said.endswith("4 rows failed: see out/errors.jsonl\n")
    before = {path: path.stat().st_ino for path in Path("out").glob("*.png")}
    for name in ("none.png", "text.png"):
        Path(name).write_bytes(Path("b.png").read_bytes())
        Path(name.replace(".", ".iuv.")).write_bytes(Path("b.iuv.png").read_bytes())
    Path("jobs.csv").write_text(Path("jobs.csv").read_text())
    bulk("jobs.csv -o out --batch-size 2 --json", code=1)
    told = json.loads(capsys.readouterr().out)
    assert (told["drawn before"], told["rows failed"]) == (2, 2)
    assert {record["row"] for record in lines("out/errors.jsonl")} == {4, 6}
    assert all(path.stat().st_ino == node for path, node in before.items())


def test_only_the_same_run_goes_on(here, capsys):
    write_jobs(rows=ROWS[:2])
    bulk("jobs.csv -o out")
    first = pictures("out")
    nodes = {path: path.stat().st_ino for path in Path("out").glob("*.png")}
    bulk("jobs.csv -o out")
    assert re.search(r"^0 pictures in \d+ s, 2 were there before$", capsys.readouterr().err, re.MULTILINE)
    assert nodes == {path: path.stat().st_ino for path in Path("out").glob("*.png")}
    assert "steps was 2, is now 3" in refused(capsys, "jobs.csv -o out", steps=3)
    assert "model sha256 was " in refused(capsys, "jobs.csv -o out", model="hint")
    write_jobs(rows=[*ROWS[:1], ("b.png", "stand", 7)])
    assert "what the rows say was " in refused(capsys, "jobs.csv -o out")
    assert pictures("out") == first
    bulk("jobs.csv -o out --overwrite")
    assert pictures("out") != first
    assert pictures("out").keys() == first.keys()


def test_what_cannot_be_meant_is_told_in_a_line(here, capsys):
    write_jobs()
    assert "expected a folder to write" in refused(capsys, "jobs.csv")
    assert "--shards: expected a number of at least 1, got 0" in refused(capsys, "jobs.csv -o out --shards 0")
    assert "--workers: expected" in refused(capsys, "jobs.csv -o out --workers 0")
    assert "no such file or folder: none.csv" in refused(capsys, "none.csv -o out")
    assert "guidance" in refused(capsys, "jobs.csv -o out --guidance none")
    assert "multiple" in refused(capsys, "jobs.csv -o out --size 127x88")
    Path("twice.csv").write_text("photo,pose,output\na.png,walk,x.png\nb.png,walk,x.png\n")
    assert "rows 1 and 2 would both write x.png" in refused(capsys, "twice.csv -o out")
    assert not Path("out").exists()


def test_times_are_for_people():
    assert [_span(s) for s in (0.4, 59, 60, 3599, 3600, 11100)] == [
        "0 s",
        "59 s",
        "1 min",
        "1 h 00 min",
        "1 h 00 min",
        "3 h 05 min",
    ]


def wait_for(true, seconds):
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


# -- several processes, and killed ones ------------------------------------------------------------------------------


def started(words):
    """``pocold bulk`` as a process."""
    command = [sys.executable, "-m", "pocold", "bulk", *words.split(), "--model", "toy"]
    with open("said.txt", "wb") as said:
        return subprocess.Popen(command, stdout=said, stderr=said)


def killed(process, drawn):
    """Kill a process, and all it started must end, once it has drawn something."""
    wait_for(lambda: process.poll() is not None or drawn(), 500)
    assert process.poll() is None, Path("said.txt").read_text()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for child in children:
        wait_for(
            lambda child=child: (
                not Path(f"/proc/{child}/cmdline").is_file() or not Path(f"/proc/{child}/cmdline").read_bytes()
            ),
            60,
        )


@pytest.fixture
def many(here, monkeypatch):
    """Many jobs; and the estimator that a process of its own finds, where ``here`` puts one for this process only."""
    monkeypatch.setattr(densepose_estimator, "BUNDLED", BUNDLED_ESTIMATOR)
    write_jobs(rows=[("ab"[i % 2] + ".png", ("walk", "stand", "hips:30")[i % 3], i) for i in range(24)])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_and_gone_on_with_gives_the_same_bytes(many):
    bulk("jobs.csv -o straight", steps=12)
    told = Path("out/manifest.jsonl")
    killed(started("jobs.csv -o out --steps 12"), lambda: told.is_file() and len(told.read_bytes().splitlines()) >= 3)
    before = {Path("out") / record["output"]: (Path("out") / record["output"]).stat().st_ino for record in lines(told)}
    assert 3 <= len(before) < 24
    bulk("jobs.csv -o out --workers 2", steps=12)
    assert all(path.stat().st_ino == node for path, node in before.items())  # not drawn again
    assert pictures("out") == pictures("straight")
    assert lines(told) == lines("straight/manifest.jsonl")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_shards_killed_and_gone_on_with_give_the_same_bytes(many):
    words = "jobs.csv {} --format webdataset --shards 10 --batch-size 3 --steps 12"
    bulk(words.format("-o straight"))
    partial = Path("out/.shard-000000.tar.partial")
    killed(started(words.format("-o out --workers 2")), lambda: partial.is_file() and partial.stat().st_size > 60_000)
    kept = partial.read_bytes()
    bulk(words.format("-o out"))
    names = [f"shard-00000{i}.tar" for i in range(3)]
    assert sorted(path.name for path in Path("out").glob("*shard*")) == names
    for name in (*names, "manifest.jsonl"):
        assert (Path("out") / name).read_bytes() == (Path("straight") / name).read_bytes()
    assert (Path("out") / names[0]).read_bytes().startswith(kept[:50_000])
    with tarfile.open("out/shard-000002.tar") as archive:
        members = archive.getnames()
        assert len(members) == 8
        Path("one.png").write_bytes(io.BytesIO(archive.extractfile(members[0]).read()).getvalue())
    assert read_png_metadata("one.png")["command"] == "transfer"


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bytes(here):
    pytest.importorskip("ray")
    write_jobs(rows=[*[("ab"[i % 2] + ".png", "walk", i) for i in range(18)], ("none.png", "walk", 0)])
    bulk("jobs.csv -o straight", code=1)
    bulk("jobs.csv -o out --ray local --workers 2", code=1)
    assert pictures("out") == pictures("straight")
    assert len(pictures("out")) == 18
    for name in ("manifest.jsonl", "errors.jsonl"):
        assert lines(Path("out") / name) == lines(Path("straight") / name)
