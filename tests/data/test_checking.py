"""`pocold data check` and `pocold data shards`, and what they report."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from trees import ON_DISK, TREES, png, rewrite_shard, shard_json, write, write_list

from pocold.cli import main
from pocold.data.checking import check_data, write_sheet
from pocold.data.opening import open_splits
from pocold.data.shards import ShardPairs
from pocold.densepose.beside import Maps
from pocold.densepose.plausibility import FOREIGN, RIMS, PlausibilityWarning


def report_of(root, maps=None):
    return check_data(open_splits(root, on_error="skip", maps=maps))


def run(capsys, *arguments) -> tuple[int, str, str]:
    try:
        main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", ON_DISK)
def test_a_whole_data_set_has_no_problems(whole_trees, name):
    tree = whole_trees[name]
    report = report_of(tree.root, [Maps("maps/{path}/iuv.png")] if name == "deepfashion_highres" else None)
    assert report.problems == 0
    for split, people in (("train", 3), ("test", 1)):
        found = report.splits[split]
        assert (found.pairs, found.pictures, len(found.people)) == (2 * people, 2 * people, people)
        assert found.sizes == {tree.size: 2 * people}
        assert found.garments == (2 * people if tree.garments else 0)
        assert found.broken == {}
    assert report.text().endswith("no problems")


def test_missing_and_broken_files_are_listed(whole_trees, tmp_path):
    tree = whole_trees["synth_folder"].copy(tmp_path / "data")
    broken, empty, gone = "000000_00", "000002_01", "000003_01"
    write(tree.photos[broken], b"nothing")
    write(tree.poses[empty], png(np.zeros((64, 44), dtype=np.uint8)))
    tree.photos[gone].unlink()
    report = report_of(tree.root)
    train = report.splits["train"]
    assert (train.pairs, train.listed) == (2, 6)
    assert train.people == {"000002"}
    assert train.broken.keys() == {broken, gone}
    assert train.bare == [empty]
    assert report.problems == 2
    text = report.text()
    assert "train: 2 pairs of 6 listed" in text
    assert "missing or broken: 2" in text
    assert f"{gone}: no such picture" in text
    assert f"{broken}: its picture is no picture file" in text
    assert f"maps without a person: 1\n    {empty}" in text


def test_maps_that_can_hardly_be_of_one_body_are_listed(tmp_path):
    """Bands of labels that a parsing of clothes could have: hair, face, top, trousers; smooth ones beside them."""
    bands = np.repeat(np.repeat(np.array([2, 13, 5, 9, 16], np.uint8), 16)[:, None], 70, axis=1)
    bands[:, :10] = bands[:, 60:] = 0
    smooth = np.asarray(Image.fromarray(bands).resize((140, 160), Image.Resampling.BILINEAR))
    for split in ("train", "test"):
        for name, labels in (("0", bands), ("1", smooth)):
            place = tmp_path / split / f"{split}-anna"
            write(place / f"{name}.png", png(np.zeros((*labels.shape, 3), np.uint8)))
            write(place / f"{name}.iuv.png", png(labels))
    with pytest.warns(PlausibilityWarning, match="a map of the data set"):
        report = report_of(tmp_path)
    assert report.problems == 0
    assert report.splits["train"].doubtful == {"train-anna/0": FOREIGN, "train-anna/1": RIMS}
    assert f"maps that can hardly be of one body: 2\n    train-anna/0: {FOREIGN}\n" in report.text()


def test_people_in_both_splits_and_pairs_of_two(whole_trees, tmp_path):
    tree = whole_trees["folder_listed"].copy(tmp_path / "data")
    write_list(tree.root / "pairs-test.csv", [("p1/0", "p1/1"), ("p0/1", "p0/0"), ("p3/0", "p1/0")])
    report = report_of(tree.root)
    assert report.leaked == ["p0", "p3"]
    assert report.splits["test"].crossed == ["p3/0 -> p1/0"]
    assert report.problems == 3
    assert "people in train and test: 2\n  p0\n  p3" in report.text()


def test_broken_shards_are_listed(whole_trees, tmp_path):
    root = whole_trees["packed_shards"].copy(tmp_path / "data").root
    shard = min((root / "shards").glob("train-*"))
    rewrite_shard(shard, lambda name, content: content[:50] if "000000" in name and name.endswith("jpg") else content)
    other = max((root / "shards").glob("train-*"))
    rewrite_shard(
        other, lambda name, content: shard_json(content, sources=["nobody"]) if name.endswith("json") else content
    )
    report = report_of(root)
    assert len(report.splits["train"].broken) == 2
    assert "nobody: in a pair, but not among the pictures" in report.splits["train"].broken["nobody"]
    assert report.splits["train"].pairs == 2


def test_long_lists_are_cut(whole_trees, tmp_path):
    tree = whole_trees["folder"].copy(tmp_path / "data")
    for pose in tree.poses.values():
        write(pose, b"")
    text = report_of(tree.root).text()
    assert "missing or broken: 6" in text
    assert text.count("is no picture file") == 5 + 2
    assert "  ...\n" in text


def test_the_sheet_shows_pairs_with_their_maps(whole_trees, tmp_path):
    report = report_of(whole_trees["folder"].root)
    write_sheet(report, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (4 * 160, 4 * 110, 3)  # four people: source, its map, target, its map
    source, colours = sheet[:160, :110].astype(int), sheet[:160, 110:220].astype(int)
    body = np.ptp(colours, axis=-1) > 20
    assert 0.05 < body.mean() < 0.6
    grey = np.repeat(source.mean(-1, keepdims=True), 3, -1)
    assert np.abs(colours - grey)[~body].mean() < 3
    report.examples.clear()
    with pytest.raises(ValueError, match="no pair to draw"):
        write_sheet(report, tmp_path / "sheet.png")
    with pytest.raises(ValueError, match=r"written as .png, got .*sheet.jpg"):
        write_sheet(report, tmp_path / "sheet.jpg")


def test_check_command(whole_trees, tmp_path, capsys):
    tree = whole_trees["deepfashion_highres"].copy(tmp_path / "data")
    command = ["data", "check", tree.root, "--maps", "maps/{path}/iuv.png", "--sheet", tmp_path / "sheet.png"]
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert "train: 6 pairs, 6 pictures of 3 people" in out
    assert "no problems" in out
    assert (tmp_path / "sheet.png").is_file()
    tree.photos[min(tree.photos)].unlink()
    code, out, _ = run(capsys, *command)
    assert code == 1
    assert "1 problems" in out
    code, out, err = run(capsys, *command, "--json")
    report = json.loads(out)
    assert (code, report["problems"], report["leaked"]) == (1, 1, [])
    assert list(report["splits"]["train"]["broken"]) == [min(tree.photos)]
    assert report["splits"]["train"]["people"] == sorted(report["splits"]["train"]["people"])
    assert sum(report["splits"]["train"]["sizes"].values()) == report["splits"]["train"]["pictures"]
    assert "sheet.png: pairs with their maps" in err
    (tmp_path / "notes.png").write_text("mine")
    code, _, err = run(capsys, *command[:-1], tmp_path / "notes.png")
    assert (code, (tmp_path / "notes.png").read_text()) == (2, "mine")
    assert (
        "notes.png exists and was not written by this command; write elsewhere, or replace it with --overwrite" in err
    )
    assert run(capsys, *command[:-1], tmp_path / "notes.png", "--overwrite")[0] == 1
    assert Image.open(tmp_path / "notes.png").width > 0
    code, _, err = run(capsys, "data", "check", tree.root)
    assert code == 2
    assert "no DensePose map was found" in err
    assert "(--maps) says where maps lie" in err
    code, _, err = run(capsys, "data", "check", tmp_path / "nowhere")
    assert (code, err) == (
        2,
        f"pocold: error: expected the folder of a data set, but there is no folder {tmp_path}/nowhere\n",
    )


def test_shards_command(tmp_path, capsys, people):
    tree = TREES["deepfashion_lmdb"](tmp_path / "data", people)
    options = ["--pictures", "64-44", "--lmdb-key", "img/{path}.png", "--layout", "deepfashion"]
    code, out, _ = run(capsys, "data", "shards", tree.root, "--out", tmp_path / "out", *options)
    assert code == 0
    assert "train: 6 pairs packed, 0 pictures skipped" in out
    assert len(list(ShardPairs(tmp_path / "out", "test"))) == 2
    gone = min(tree.pairs("train"))[0]
    tree.poses[gone].unlink()
    code, _, err = run(capsys, "data", "shards", tree.root, "--out", tmp_path / "out2")
    assert code == 2
    assert f"1 pictures are missing, in 2 of 6 pairs: {gone}" in err
    code, out, _ = run(
        capsys,
        "data",
        "shards",
        tree.root,
        "--out",
        tmp_path / "out2",
        "--on-error",
        "skip",
        "--pictures-per-shard",
        "1",
    )
    assert code == 0
    assert f"train: 4 pairs packed, 1 pictures skipped\n  {gone}: no DensePose map was found\n" in out
    assert len(list((tmp_path / "out2" / "shards").glob("train-*.tar"))) == 2


def test_channels_are_told_only_to_maps_that_do_not_show_them(whole_trees, capsys, tmp_path):
    root = whole_trees["deepfashion_txt"].root
    maps = ["--maps", "img/{path}_densepose.png"]
    for told in ("vui", "iuv"):  # these maps say and show that they are vui
        assert run(capsys, "data", "check", root, *maps, "--channels", told)[0] == 0

    copy = tmp_path / "data"
    shutil.copytree(root, copy)
    one = next(copy.rglob("*_densepose.png"))
    labels = np.zeros((*np.asarray(Image.open(one)).shape[:2], 3), np.uint8)
    labels[4:40, 4:20] = (2, 9, 15)  # either outer channel could be the labels
    Image.fromarray(labels).save(one)
    code, out, _ = run(capsys, "data", "check", copy, *maps)
    assert code == 1
    assert "missing or broken: 1" in out
    assert "channels='iuv' or 'vui'" in out
    assert run(capsys, "data", "check", copy, *maps, "--channels", "iuv")[0] == 0


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom pocold.cli import main\n"
        "for words in (['data', '--help'], ['data', 'check', '--help'], ['data', 'shards', '--help']):\n"
        "    try: main(words)\n    except SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "WebDataset" in result.stdout
