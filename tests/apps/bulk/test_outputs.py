"""What a run leaves: whole or not at all, taken up where it was, and nothing of anyone else touched."""

import hashlib
import json
import tarfile

import pytest
import webdataset
from PIL import Image

from pocold.apps.bulk.jobs import Row
from pocold.apps.bulk.outputs import Lines, Output, Shards
from pocold.apps.bulk.painter import Outcome
from pocold.imaging.metadata import png_bytes

RUN = {"model sha256": "m", "steps": 2}
PNG = png_bytes(Image.new("RGB", (8, 8)), {"command": "transfer"})


def outcomes(count, broken=()):
    """Of rows in drawing order."""
    rows = [
        Row(number, "a.png", "walk", number, output=f"p/{number}.png", position=number - 1)
        for number in range(1, count + 1)
    ]
    return [
        Outcome(row, error="no") if row.number in broken else Outcome(row, PNG + bytes([row.number])) for row in rows
    ]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def shards(folder, rows=7, per_shard=3, overwrite=False, **other):
    return Shards(folder, {**RUN, **other}, rows, overwrite, per_shard)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".tar", ".jsonl")}


def test_a_line_that_was_cut_off_is_taken_away(tmp_path):
    path = tmp_path / "lines"
    first = Lines(path)
    first.add([{"a": 1}, {"a": 2}])
    first.close()
    whole = path.read_bytes()
    for torn in (b'{"a": 3', b'{"a": 3}', b"\0\0\0\n"):
        path.write_bytes(whole + torn)
        again = Lines(path)
        assert list(again) == [{"a": 1}, {"a": 2}]
        again.add([{"a": 4}])
        again.close()
        assert lines(path) == [{"a": 1}, {"a": 2}, {"a": 4}]


def test_files_are_told_once_they_are_there(tmp_path):
    out = Output(tmp_path / "out", RUN, 3, False)
    out.add(outcomes(3, broken={2}))
    out.close()
    told = lines(tmp_path / "out" / "manifest.jsonl")
    assert [record["row"] for record in told] == [1, 3]
    for record in told:
        written = (tmp_path / "out" / record["output"]).read_bytes()
        assert hashlib.sha256(written).hexdigest() == record["sha256"]
    assert lines(tmp_path / "out" / "errors.jsonl") == [{"row": 2, "error": "no"}]
    again = Output(tmp_path / "out", RUN, 3, False)
    assert (bytes(again.settled), again.done, again.failed) == (b"\0\1\0\1", 2, 0)  # what failed is tried again
    again.close()
    assert lines(tmp_path / "out" / "errors.jsonl") == []


def test_what_is_not_ours_is_never_replaced(tmp_path):
    out = Output(tmp_path / "out", RUN, 3, False)
    (tmp_path / "out" / "p").mkdir()
    (tmp_path / "out" / "p" / "1.png").write_bytes(b"a photograph")
    (tmp_path / "out" / "p" / "2.png").mkdir()
    out.add(outcomes(3))
    out.close()
    assert (tmp_path / "out" / "p" / "1.png").read_bytes() == b"a photograph"
    errors = lines(tmp_path / "out" / "errors.jsonl")
    assert [error["row"] for error in errors] == [1, 2]
    assert "exists and was not written by pocold" in errors[0]["error"]
    for overwrite in (False, True):
        (tmp_path / "full").mkdir(exist_ok=True)
        (tmp_path / "full" / "mine.txt").touch()
        with pytest.raises(ValueError, match="holds files that no run of pocold bulk left"):
            Output(tmp_path / "full", RUN, 3, overwrite)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    with pytest.raises(ValueError, match="expected a folder, got the file"):
        Output(tmp_path / "full" / "mine.txt", RUN, 3, False)
    with pytest.raises(ValueError, match="does not exist; create it first"):
        Output(tmp_path / "no" / "where", RUN, 3, False)


def test_another_run_is_refused_and_begins_anew_only_if_told(tmp_path):
    out = Output(tmp_path / "out", RUN, 3, False)
    out.add(outcomes(3, broken={3}))
    with pytest.raises(ValueError, match="another run is at work in"):
        Output(tmp_path / "out", RUN, 3, False)
    out.close()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(ValueError, match=r"was begun otherwise: steps was 2, is now 3; write elsewhere, or begin anew"):
        Output(tmp_path / "out", {**RUN, "steps": 3}, 3, False)
    anew = Output(tmp_path / "out", {**RUN, "steps": 3}, 3, True)
    assert sum(anew.settled) == anew.done == 0
    anew.close()
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert left == {".lock", "run.json", "manifest.jsonl", "errors.jsonl", "mine.txt"}
    assert lines(tmp_path / "out" / "manifest.jsonl") == []


def test_shards_are_read_by_webdataset(tmp_path):
    out = shards(tmp_path / "out")
    out.add(outcomes(7, broken={2}))
    out.finish()
    out.close()
    names = [f"shard-00000{i}.tar" for i in range(3)]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == names
    assert not list((tmp_path / "out").glob("*.partial"))
    read = list(webdataset.WebDataset([str(tmp_path / "out" / name) for name in names], shardshuffle=False))
    assert [sample["__key__"] for sample in read] == [f"p/{i}" for i in (1, 3, 4, 5, 6, 7)]
    told = lines(tmp_path / "out" / "manifest.jsonl")
    assert [record.pop("shard") for record in told] == [names[0]] * 2 + [names[1]] * 3 + [names[2]]
    assert [json.loads(sample["json"]) for sample in read] == told
    assert all(hashlib.sha256(sample["png"]).hexdigest() == json.loads(sample["json"])["sha256"] for sample in read)


def test_a_shard_cut_off_anywhere_is_gone_on_with_to_the_same_bytes(tmp_path):
    every = outcomes(7, broken={2})
    straight = shards(tmp_path / "straight")
    straight.add(every)
    straight.finish()
    straight.close()
    wanted = content(tmp_path / "straight")
    begun = shards(tmp_path / "begun")
    begun.add(every[:6])
    begun.close()
    partial = tmp_path / "begun" / ".shard-000001.tar.partial"
    whole = partial.read_bytes()
    kept = set()
    for cut in range(0, len(whole) + 1, 256):
        for zeros in (0, 700):  # a crash of the machine can leave zeros
            partial.write_bytes(whole[:cut] + bytes(zeros))
            again = shards(tmp_path / "begun")
            kept.add(sum(again.settled))
            assert list(again.settled[1:4]) == [1, 1, 1]
            assert again.failed == 1
            again.add([outcome for outcome in every[3:6] if not again.settled[outcome.row.number]])
            again.close()
            assert partial.read_bytes() == whole
    assert kept == {3, 4, 5, 6}
    again = shards(tmp_path / "begun")
    again.add(every[6:])
    again.finish()
    again.close()
    assert content(tmp_path / "begun") == wanted


def test_a_complete_shard_that_nobody_told_of_counts(tmp_path):
    out = shards(tmp_path / "out")
    out.add(outcomes(7))
    out.finish()
    out.close()
    wanted = content(tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[:6]))
    again = shards(tmp_path / "out")
    assert again.done == sum(again.settled) == 7
    again.finish()
    again.close()
    assert content(tmp_path / "out") == wanted


def test_shards_are_removed_by_overwriting(tmp_path):
    out = shards(tmp_path / "out")
    out.add(outcomes(5))
    out.close()
    anew = shards(tmp_path / "out", overwrite=True, steps=9)
    assert sum(anew.settled) == 0
    anew.close()
    assert not [path for path in (tmp_path / "out").iterdir() if ".tar" in path.name]


def test_tar_members_are_plain(tmp_path):
    out = shards(tmp_path / "out", per_shard=9)
    long = Row(1, "a.png", "walk", output="p/" + 120 * "é" + ".png")
    out.add([Outcome(long, PNG)])
    out.finish()
    out.close()
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == [long.output, long.output.replace(".png", ".json")]
    assert {(member.mtime, member.mode, member.uid) for member in members} == {(0, 0o644, 0)}
