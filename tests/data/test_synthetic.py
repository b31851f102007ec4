"""The data set of synthetic people: on disk and on the fly."""

import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pocold.data.writing as writing
from pocold.cli import main
from pocold.data.synthetic import (
    SyntheticConfig,
    SyntheticPeople,
    draw_view,
    encode_view,
    is_test,
    read_manifest,
    sample_name,
)
from pocold.data.writing import ENDINGS, write_people
from pocold.densepose.maps import DensePose

TINY = SyntheticConfig(seed=4, identities=3, per_identity=2, size=(64, 44), supersample=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people") / "set"
    assert write_people(TINY, folder) == 6
    return folder


def test_files_of_a_sample(written):
    name = sample_name(2, 1)
    photo = Image.open(written / "img" / f"{name}.jpg")
    assert photo.size == (44, 64)
    assert json.loads(photo.info["comment"])["synthetic"] is True
    pose = DensePose.read(written / "iuv" / f"{name}.png")
    picture, shot = draw_view(TINY, 2, 1)
    assert np.array_equal(pose.labels, picture.densepose.labels)
    assert np.abs(pose.uv - picture.densepose.uv).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(np.asarray(Image.open(written / "garments" / f"{name}.png")), picture.garments)
    labels = json.loads((written / "keypoints" / f"{name}.json").read_text())
    assert len(labels["keypoints"]) == 18
    assert labels["crop"] == shot.crop
    assert np.abs(np.asarray(photo).astype(int) - picture.image).mean() < 6


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_workers(written, tmp_path):
    write_people(TINY, tmp_path / "set", workers=2)
    assert contents(tmp_path / "set") == contents(written)


def test_a_sample_does_not_depend_on_its_neighbours():
    alone = encode_view(replace(TINY, identities=50, per_identity=9), 1, 1)
    encode_view(TINY, 0, 0)
    assert encode_view(TINY, 1, 1) == alone


def test_the_first_picture_is_a_full_front_view():
    for identity in range(4):
        _, shot = draw_view(TINY, identity, 0)
        assert shot.crop == "full"
        assert abs(shot.view) < 45


def test_every_sample_can_be_drawn_again_from_the_manifest(written):
    config = read_manifest(written)
    assert config == TINY
    for kind, content in encode_view(config, 0, 1).items():
        assert (written / kind / f"{sample_name(0, 1)}.{ENDINGS[kind]}").read_bytes() == content


def pairs(folder: Path, split: str) -> list[tuple[str, str]]:
    with (folder / f"pairs-{split}.csv").open() as file:
        return [(row["from"], row["to"]) for row in csv.DictReader(file)]


def test_train_and_test_share_nobody(written):
    people = {split: {name[:6] for pair in pairs(written, split) for name in pair} for split in ("train", "test")}
    assert people["train"]
    assert people["test"]
    assert not people["train"] & people["test"]
    assert len(pairs(written, "train")) == 2 * 2
    for a, b in pairs(written, "train") + pairs(written, "test"):
        assert a[:6] == b[:6]
        assert a != b
        assert (written / "img" / f"{a}.jpg").is_file()


def test_a_finished_run_draws_nothing(written):
    before = contents(written)
    assert write_people(TINY, written) == 0
    assert contents(written) == before


def test_missing_files_are_drawn_again(written, tmp_path):
    write_people(TINY, tmp_path / "set")
    (tmp_path / "set" / "iuv" / f"{sample_name(1, 0)}.png").unlink()
    (tmp_path / "set" / "img" / ".half-written.jpg").write_bytes(b"half")
    assert write_people(TINY, tmp_path / "set") == 2
    assert contents(tmp_path / "set") == contents(written)


def test_a_killed_run_continues_to_the_same_bytes(written, tmp_path):
    folder = tmp_path / "set"
    code = (
        "from pathlib import Path; from pocold.data.synthetic import SyntheticConfig; "
        "from pocold.data.writing import write_people; "
        "config = SyntheticConfig(seed=4, identities=3, per_identity=2, size=(64, 44), supersample=1); "
        f"write_people(config, Path({str(folder)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(folder.glob("img/*.jpg")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(folder.glob("img/*.jpg"))
    write_people(TINY, folder)
    assert contents(folder) == contents(written)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_the_workers_of_a_killed_run_end(tmp_path):
    folder = tmp_path / "set"
    command = [sys.executable, "-m", "pocold", "synth", "--identities", "40", "--size", "64x48", "--workers", "2"]
    process = subprocess.Popen([*command, "--out", str(folder)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not list(folder.glob("img/*.jpg")):
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    while time.monotonic() < deadline and any(_runs(child) for child in children):
        time.sleep(0.01)
    assert not any(_runs(child) for child in children)


def _runs(process):
    """Whether it is there and no zombie."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except OSError:
        return False


@pytest.mark.slow
def test_shards_do_not_depend_on_the_workers(tmp_path):
    for workers in (1, 2):
        write_people(TINY, tmp_path / f"shards{workers}", workers=workers, shards=True)
    assert contents(tmp_path / "shards1") == contents(tmp_path / "shards2")


@pytest.mark.slow
def test_shards_hold_the_same_samples(written, tmp_path):
    write_people(TINY, tmp_path / "set", workers=2, shards=True)
    shards = tmp_path / "set" / "shards"
    assert sorted(p.name for p in shards.iterdir()) == ["test-000000.tar", "train-000000.tar"]
    with tarfile.open(shards / "test-000000.tar") as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
        assert all(m.mtime == 0 for m in tar.getmembers())
    name = sample_name(1, 0)
    assert members[f"{name}.jpg"] == (written / "img" / f"{name}.jpg").read_bytes()
    assert members[f"{name}.iuv.png"] == (written / "iuv" / f"{name}.png").read_bytes()
    assert set(members) == {
        f"{sample_name(1, v)}.{e}" for v in (0, 1) for e in ("jpg", "iuv.png", "garments.png", "json")
    }
    assert write_people(TINY, tmp_path / "set", shards=True) == 0


def test_another_run_in_the_same_folder_is_refused(written):
    with pytest.raises(ValueError, match=r"another run \(different: seed\)"):
        write_people(replace(TINY, seed=5), written)


def test_pictures_without_manifest_are_refused(tmp_path):
    (tmp_path / "img").mkdir()
    with pytest.raises(ValueError, match="holds pictures but no manifest"):
        write_people(TINY, tmp_path)


def test_folders_are_made_as_needed(tmp_path):
    write_people(TINY, tmp_path / "no" / "such")
    assert (tmp_path / "no" / "such" / "manifest.json").is_file()


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        write_people(TINY, tmp_path / "file")


def test_a_full_disk_is_explained_and_leaves_valid_files(written, tmp_path, monkeypatch):
    count = 0

    @contextmanager
    def full_after_five(path):
        nonlocal count
        count += 1
        if count > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with real(path) as temporary:
            yield temporary

    real = writing.atomic_write
    monkeypatch.setattr(writing, "atomic_write", full_after_five)
    with pytest.raises(ValueError, match=r"No space left on device; what is written is complete.*same command"):
        write_people(TINY, tmp_path / "set")
    expected = contents(written)
    assert contents(tmp_path / "set").items() <= expected.items()
    monkeypatch.undo()
    write_people(TINY, tmp_path / "set")
    assert contents(tmp_path / "set") == expected


def test_progress_reaches_the_total(tmp_path):
    seen = []
    write_people(replace(TINY, identities=2), tmp_path / "set", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 4), (2, 4), (4, 4)]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"identities": 0}, "at least one identity"), ({"per_identity": 0}, "at least one identity"),
     ({"size": (8, 8)}, "sides from 16"), ({"seed": -1}, "must not be negative"), ({"supersample": 9}, "in 1..4")],
)  # fmt: skip
def test_impossible_settings(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_no_workers(tmp_path):
    with pytest.raises(ValueError, match="at least one worker"):
        write_people(TINY, tmp_path / "set", workers=0)


def test_backgrounds_may_vary():
    corners = {vary: [] for vary in (False, True)}
    for vary, values in corners.items():
        for view in range(4):
            picture, _ = draw_view(replace(TINY, vary_background=vary), 0, view)
            values.append(picture.image[:6, :4].mean())
    assert np.ptp(corners[True]) > 3 * np.ptp(corners[False]) + 3


def test_pairs_on_the_fly():
    samples = list(SyntheticPeople(TINY))
    assert len(samples) == 2 * 2  # two people for training, two pairs of each
    for sample in samples:
        assert sample["source"].shape == sample["target"].shape == (3, 64, 44)
        assert sample["source"].dtype == torch.float32
        assert -1 <= float(sample["source"].min()) < float(sample["source"].max()) <= 1
        assert sample["target_pose"].dtype == torch.uint8
        assert sample["source_name"][:6] == sample["target_name"][:6]
        assert sample["source_name"] != sample["target_name"]
        assert not is_test(int(sample["source_name"][:6]))
    assert {s["source_name"][:6] for s in SyntheticPeople(TINY, "test")} == {"000001"}


def test_endless_people_and_shared_work():
    stream = iter(SyntheticPeople(replace(TINY, identities=1), endless=True))
    names = [next(stream)["source_name"][:6] for _ in range(6)]
    assert names == ["000000", "000000", "000002", "000002", "000003", "000003"]
    loader = torch.utils.data.DataLoader(SyntheticPeople(TINY), batch_size=None, num_workers=2)
    assert sorted(s["source_name"] for s in loader) == sorted(s["source_name"] for s in SyntheticPeople(TINY))


def test_impossible_streams():
    with pytest.raises(ValueError, match="unknown split"):
        SyntheticPeople(TINY, "validation")
    with pytest.raises(ValueError, match="at least two pictures"):
        SyntheticPeople(replace(TINY, per_identity=1))


def test_broken_manifests(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read as JSON"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="another version"):
        read_manifest(tmp_path)


def run(capsys, *arguments: str) -> tuple[int, str]:
    """Exit code and the last line on stderr of a pocold command."""
    try:
        main(arguments)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err.strip().split("\n")[-1]


def test_synth_command(tmp_path, capsys):
    out = tmp_path / "people"
    command = [
        "synth",
        "--identities",
        "2",
        "--per-identity",
        "1",
        "--size",
        "32x24",
        "--seed",
        "3",
        "--out",
        str(out),
        "--workers",
        "1",
    ]
    code, _ = run(capsys, *command)
    assert code == 0
    assert len(list(out.glob("img/*.jpg"))) == 2
    assert run(capsys, *command[:-3], str(out), "--size", "32by24") == (
        2, "pocold: error: expected a size HEIGHTxWIDTH, such as 256x176, got '32by24'",
    )  # fmt: skip


def test_pose_command(tmp_path, capsys):
    target = tmp_path / "pose.png"
    assert run(capsys, "pose", "walk:side", "-o", str(target))[0] == 0
    pose = DensePose.read(target)
    assert pose.size == (256, 176)
    assert pose.uv is not None
    assert run(capsys, "pose", "hips:back", "--like", str(target), "-o", str(tmp_path / "like.png"))[0] == 0
    code, line = run(capsys, "pose", "wlak", "-o", str(target))
    assert code == 2
    assert "did you mean walk" in line
    assert run(capsys, "pose") == (
        2,
        "pocold: error: expected the name of a pose, such as walk:side, or --sheet FILE to see them all",
    )
    assert run(capsys, "pose", "walk") == (2, "pocold: error: expected a file to write, such as -o pose.png")
    code, line = run(capsys, "pose", "walk", "-o", str(tmp_path / "no" / "pose.png"))
    assert code == 2
    assert "does not exist" in line


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom pocold.cli import main\n"
        "for words in (['--help'], ['synth', '--help'], ['pose', '--help']):\n"
        "    try: main(words)\n    except SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "NAME[:VIEW[:CROP]]" in result.stdout


def test_encoded_maps_equal_written_ones(tmp_path):
    pose = draw_view(TINY, 0, 0)[0].densepose
    pose.write(tmp_path / "pose.png")
    assert (tmp_path / "pose.png").read_bytes() == pose.encode()
    assert Image.open(io.BytesIO(pose.encode())).mode == "RGB"
