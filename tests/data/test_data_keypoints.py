"""Keypoints of data sets: read only where they are asked for, framed and mirrored with the pictures, and counted."""

import json
import shutil
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from pocold.data.contents import data_checksum
from pocold.data.keypoints import ListedKeypoints, keypoints_of
from pocold.data.opening import open_data
from pocold.data.pairs import PairedTransform, check_sample, hflip
from pocold.data.synthetic import SyntheticConfig, SyntheticPeople, draw_view
from pocold.data.writing import write_people
from pocold.densepose.keypoints import COCO_18
from pocold.imaging.images import Frame

SIZE = (64, 48)
CONFIG = SyntheticConfig(seed=4, identities=3, per_identity=2, size=SIZE, supersample=1)
ASKED = PairedTransform(keypoints=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    write_people(CONFIG, root / "folder")
    write_people(CONFIG, root / "packed", shards=True)
    return root


@pytest.mark.parametrize("name", ["folder", "packed", "drawn"])
def test_all_layouts_have_the_points_that_were_drawn(folders, name):
    data = SyntheticPeople(CONFIG, keypoints=True) if name == "drawn" else open_data(folders / name, transform=ASKED)
    for sample in islice(data, 2):
        check_sample(sample, SIZE)
        for role in ("source", "target"):
            identity, view = map(int, sample[f"{role}_name"].split("_"))
            expected = draw_view(CONFIG, identity, view)[0].keypoints
            found = sample[f"{role}_keypoints"].numpy()
            np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=0.006)
            np.testing.assert_array_equal(found[:, 2], np.where(expected[:, 2] > 0, 1.0, 0.5))
    assert "target_keypoints" not in next(iter(open_data(folders / "folder")))


def test_of_shards_no_other_picture_tells_the_size(folders, tmp_path, monkeypatch):
    """A folder img/ beside the one that one works in may hold a picture of the same name."""
    before = next(iter(open_data(folders / "packed", transform=ASKED)))
    (tmp_path / "img").mkdir()
    Image.new("RGB", (8 * SIZE[1], 8 * SIZE[0])).save(tmp_path / "img" / f"{before['source_name']}.jpg")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    after = next(iter(open_data(folders / "packed", transform=ASKED)))
    torch.testing.assert_close(after["source_keypoints"], before["source_keypoints"])


def test_they_are_framed_with_the_picture():
    """A white dot on black, framed as a picture, lies where its point is framed to."""
    for target, mode in (((96, 40), "pad"), ((31, 60), "crop"), ((40, 90), "stretch"), ((65, 48), "pad")):
        frame = Frame(SIZE, target, mode)
        labels = np.zeros(SIZE, np.uint8)
        labels[20:26, 30:36] = 1
        rows, columns = np.nonzero(frame.labels(labels))
        x, y = frame.points(np.array([[33.0, 23.0]]))[0]
        assert abs(columns.mean() + 0.5 - x) < 1
        assert abs(rows.mean() + 0.5 - y) < 1


def test_they_are_mirrored_with_the_picture(folders):
    sample = open_data(folders / "folder", transform=ASKED)[0]
    sample["target_keypoints"][0] = 0  # a missing nose stays missing
    mirrored = hflip(sample)["target_keypoints"]
    left, right = COCO_18.index("left knee"), COCO_18.index("right knee")
    assert mirrored[left, 0] == SIZE[1] - sample["target_keypoints"][right, 0]
    assert torch.equal(mirrored[left, 1:], sample["target_keypoints"][right, 1:])
    assert (mirrored[0] == 0).all()
    again = hflip(hflip(sample))["target_keypoints"]
    torch.testing.assert_close(again, sample["target_keypoints"])


def test_they_count_for_the_checksum_only_where_they_are_asked_for(folders, tmp_path):
    shutil.copytree(folders / "folder", tmp_path / "people")
    asked, bare = ({"transform": ASKED}, {})
    before = [data_checksum(open_data(tmp_path / "people", **options)) for options in (asked, bare)]
    path = min((tmp_path / "people" / "keypoints").glob("*.json"))
    content = json.loads(path.read_text())
    content["keypoints"]["nose"][0] += 3
    path.write_text(json.dumps(content))
    after = [data_checksum(open_data(tmp_path / "people", **options)) for options in (asked, bare)]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_a_list_is_of_its_own_canvas(tmp_path):
    path = tmp_path / "list.csv"
    y, x = ([i * scale for i in range(18)] for scale in (14, 10))
    path.write_text(f"name:keypoints_y:keypoints_x\na.jpg: {y}: {x}\nb.jpg: {[-1] * 18}: {[-1] * 18}\n")
    found = keypoints_of(ListedKeypoints(path, "a.jpg"), "a", (512, 352))  # the canvas is 256x176
    np.testing.assert_allclose(found[4], [2 * 40.5, 2 * 56.5, 1])
    with pytest.raises(ValueError, match=r"c: .*list.csv has no line c.jpg"):
        keypoints_of(ListedKeypoints(path, "c.jpg"), "c", (256, 176))
    with pytest.raises(ValueError, match="b: its keypoints are all missing; leave the picture out"):
        keypoints_of(ListedKeypoints(path, "b.jpg"), "b", (256, 176))


@pytest.mark.parametrize("tree", ["deepfashion_flat", "deepfashion_txt"], indirect=True)
def test_deepfashions_lists_lie_beside_its_lists_of_pairs(tree):
    names = sorted({name for pair in tree.pairs("train") for name in pair})
    lines = [f"{name}.jpg: {[i] * 18}: {[2 * i] * 18}" for i, name in enumerate(names)]
    text = "\n".join(["name:keypoints_y:keypoints_x", *lines])
    (tree.root / "fasion-resize-annotation-train.csv").write_text(text + "\n")
    data = tree.open("train", transform=ASKED)
    height, width = data[0]["target"].shape[-2:]
    for sample in data:
        place = names.index(sample["target_name"])
        expected = [(2 * place + 0.5) * width / 64, (place + 0.5) * height / 128, 1]  # the smallest usual canvas
        np.testing.assert_allclose(sample["target_keypoints"], [expected] * 18, rtol=1e-5)
    with pytest.raises(ValueError, match="no keypoints were found"):
        list(tree.open("test", transform=ASKED))


def test_pictures_without_any_are_named_or_left_out(folders, tmp_path):
    shutil.copytree(folders / "folder", tmp_path / "people")
    path = min((tmp_path / "people" / "keypoints").glob("*.json"))
    path.unlink()
    with pytest.raises(ValueError, match=f"{path.stem}: no keypoints were found, and this model is steered by them"):
        list(open_data(tmp_path / "people", transform=ASKED))
    data = open_data(tmp_path / "people", transform=ASKED, on_error="skip")
    assert len(list(data)) == 2
    assert list(data.skipped) == [path.stem]
    assert len(list(open_data(tmp_path / "people"))) == 4  # nobody else misses them


def test_the_contract_holds_them(folders):
    sample = dict(open_data(folders / "folder", transform=ASKED)[0])
    with pytest.raises(
        ValueError, match=r"target_keypoints must be torch.float32 \(18, 3\), got torch.float32 \(17, 3\)"
    ):
        check_sample({**sample, "target_keypoints": sample["target_keypoints"][:17]})
    del sample["source_keypoints"]
    with pytest.raises(ValueError, match="'source_keypoints' and 'target_keypoints' must come together"):
        check_sample(sample)
