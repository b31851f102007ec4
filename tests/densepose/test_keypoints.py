"""Keypoints from the files of other tools, told apart by their content."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pocold.densepose.formats.reading import read_pose
from pocold.densepose.formats.stick_figures import is_stick_figure
from pocold.densepose.keypoints import BODY_25, COCO_17, COCO_18, Keypoints, is_keypoints, read_keypoints

PLACES = {name: (10.0 + 3 * i, 20.0 + 5 * i) for i, name in enumerate(dict.fromkeys((*BODY_25, *COCO_17)))}


LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip


@pytest.fixture
def stick_figure():
    """Lines in 17 hues on black, as OpenPose draws them."""
    rng = np.random.default_rng(1)
    points = rng.uniform(30, 220, (18, 2))
    picture = Image.new("RGB", (256, 256))
    pen = ImageDraw.Draw(picture)
    for i, (a, b) in enumerate(LIMBS):
        pen.line([*points[a], *points[b]], fill=f"hsl({i * 20}, 100%, 40%)", width=3)
    return picture


def written(tmp_path, content, name="points.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def triples(names, missing=(), scale=1.0, third=0.9):
    values = [(0, 0, 0) if n in missing else (PLACES[n][0] * scale, PLACES[n][1] * scale, third) for n in names]
    return [number for triple in values for number in triple]


def check(found, missing=(), scale=1.0):
    for name, point, given in zip(found.names, found.points, found.given, strict=True):
        assert given == (name not in missing), name
        if given:
            np.testing.assert_allclose(point, np.array(PLACES[name]) * scale)


@pytest.mark.parametrize("names", [BODY_25, COCO_18])
def test_openpose(tmp_path, names):
    values = triples(names, missing=("left wrist",))
    path = written(tmp_path, {"version": 1.3, "people": [{"pose_keypoints_2d": values}]})
    found, count = read_keypoints(path)
    assert (count, found.names, found.size) == (1, names, None)
    check(found, missing=("left wrist",))
    assert found.confidence[0] > 0.5


def test_openpose_of_several_takes_the_largest_first(tmp_path):
    people = [{"pose_keypoints_2d": triples(COCO_18, scale=scale)} for scale in (1, 3, 2)]
    path = written(tmp_path, {"people": people, "canvas_width": 640, "canvas_height": 480})
    for person, scale in ((None, 3), (1, 3), (2, 2), (3, 1)):
        found, count = read_keypoints(path, person=person)
        assert (count, found.size) == (3, (480, 640))
        check(found, scale=scale)
    with pytest.raises(ValueError, match="shows 3 people, there is no person 4"):
        read_keypoints(path, person=4)


def test_shares_become_pixels_where_the_canvas_is_known(tmp_path):
    values = triples(COCO_18, scale=0.002)
    canvas = {"canvas_width": 500, "canvas_height": 500}
    found, _ = read_keypoints(written(tmp_path, [{"people": [{"pose_keypoints_2d": values}], **canvas}]))
    check(found)
    found, _ = read_keypoints(written(tmp_path, {"people": [{"pose_keypoints_2d": values}]}))
    assert found.relative
    check(found.sized((500, 500)))


def test_coco_annotations_and_results(tmp_path):
    hidden = triples(COCO_17, third=2)
    hidden[3 * COCO_17.index("left knee") + 2] = 1
    content = {
        "images": [
            {"id": 5, "height": 300, "width": 200, "file_name": "a/five.jpg"},
            {"id": 6, "file_name": "six.jpg"},
        ],
        "annotations": [
            {"image_id": 5, "keypoints": hidden},
            {"image_id": 6, "keypoints": triples(COCO_17, third=2, scale=2)},
            {"image_id": 6, "bbox": [1, 2, 3, 4]},
        ],
    }
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=r"2 pictures; say which \(--picture\): a/five.jpg, six.jpg"):
        read_keypoints(path)
    found, _ = read_keypoints(path, picture="five.png")
    check(found)
    assert found.size == (300, 200)
    assert found.confidence[COCO_17.index("left knee")] == 0.5
    assert found.confidence[COCO_17.index("nose")] == 1
    results = [{"image_id": 1, "category_id": 1, "keypoints": triples(COCO_17, third=0.7), "score": 0.9}]
    found, _ = read_keypoints(written(tmp_path, results))
    check(found)
    assert (found.confidence == 0.7).all()


def test_mediapipe_has_depth(tmp_path):
    landmarks = [{"x": 0.1 + 0.01 * i, "y": 0.2 + 0.02 * i, "z": 0.03 * i, "visibility": 0.9} for i in range(33)]
    for content in (landmarks, {"pose_landmarks": [landmarks]}, {"landmarks": landmarks, "height": 100, "width": 200}):
        found, _ = read_keypoints(written(tmp_path, content))
        found = found if found.size else found.sized((100, 200))
        ankle = found.names.index("left ankle")  # landmark 27
        np.testing.assert_allclose(found.points[ankle], [200 * 0.37, 100 * 0.74])
        assert found.depth[ankle] == pytest.approx(200 * 0.81)
    with pytest.raises(ValueError, match="MediaPipe's 33 landmarks of a body, got 21"):
        read_keypoints(written(tmp_path, {"landmarks": landmarks[:21]}))


def test_annotation_list(tmp_path):
    y, x = [list(range(30, 48)), list(range(10, 28))]
    y[3] = x[3] = -1
    header = "name:keypoints_y:keypoints_x"
    path = written(tmp_path, f"{header}\na.jpg: {y}: {x}\nb.jpg: {[200] * 18}: {[100] * 18}\n", "list.csv")
    found, _ = read_keypoints(path, picture="a")
    assert found.size == (256, 176)
    np.testing.assert_array_equal(np.flatnonzero(~found.given), [3])
    np.testing.assert_array_equal(found.points[0], [10.5, 30.5])
    small = written(tmp_path, f"{header}\na.jpg: {y}: {x}\n", "market.csv")
    assert read_keypoints(small)[0].size == (128, 64)
    with pytest.raises(ValueError, match=r"broken row 'a\.jpg: oops'"):
        read_keypoints(written(tmp_path, f"{header}\na.jpg: oops\n", "broken.csv"))
    with pytest.raises(ValueError, match="expected 18 values of y and of x, got 17 and 18"):
        read_keypoints(written(tmp_path, f"{header}\na.jpg: {y[1:]}: {x}\n", "short.csv"))


def test_own_files_find_the_size_of_their_picture(tmp_path):
    (tmp_path / "img").mkdir()
    (tmp_path / "keypoints").mkdir()
    Image.new("RGB", (44, 64)).save(tmp_path / "img" / "1.jpg")
    points = {name: [*PLACES[name], int(name != "nose")] for name in COCO_18}
    found, _ = read_keypoints(written(tmp_path, {"keypoints": points}, "keypoints/1.json"))
    assert found.size == (64, 44)
    check(found)
    assert found.confidence[0] == 0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"people": [', "is broken JSON"),
        ("hello", "neither JSON nor a list of keypoints"),
        ({"people": []}, "nobody was found in the picture"),
        ({"people": [{"pose_keypoints_2d": [0] * 75}]}, "all keypoints are missing or 0"),
        ({"people": [{"pose_keypoints_2d": [1] * 60}]}, "25 or 18 keypoints of 3 numbers, got 60 numbers"),
        ({"people": [{"face": 1}]}, "a person without pose_keypoints_2d"),
        ({"shapes": [], "imagePath": "a.jpg"}, r"JSON of another kind \(keys shapes, imagePath\)"),
        ([1, 2, 3], r"JSON of another kind \(a list\)"),
        ({"people": [{"pose_keypoints_2d": ["a"] * 75}]}, "cannot be understood"),
        ({"keypoints": {"tail": [1, 2, 3]}}, "none of the names is known"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message) as refused:
        read_keypoints(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_files_and_what_is_none(tmp_path):
    with pytest.raises(ValueError, match="no such file of keypoints"):
        read_keypoints(tmp_path / "none.json")
    assert is_keypoints(tmp_path / "none.json")
    assert not is_keypoints(tmp_path / "none.png")
    Image.new("L", (20, 20)).save(tmp_path / "map.png")
    assert not is_keypoints(tmp_path / "map.png")
    (tmp_path / "noise.json").write_bytes(bytes([0xFF, 0xFE, 0x00]))
    with pytest.raises(ValueError, match="is no text"):
        read_keypoints(tmp_path / "noise.json")
    with pytest.raises(ValueError, match="got tail"):
        Keypoints(("tail",), np.zeros((1, 2)), np.ones(1))


def test_a_picture_of_a_stick_figure_is_refused(tmp_path, stick_figure):
    for name in ("stick.png", "stick.jpg"):
        stick_figure.save(tmp_path / name)
        with pytest.raises(ValueError, match="picture of a stick figure; give the keypoints that it was drawn from"):
            read_pose(tmp_path / name)


def test_photographs_are_no_stick_figures(stick_figure):
    assert is_stick_figure(stick_figure)
    rng = np.random.default_rng(0)
    assert not is_stick_figure(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    assert not is_stick_figure(Image.new("RGB", (64, 64)))
    dark = np.zeros((64, 64, 3), np.uint8)
    dark[20:40, 28:36] = (200, 160, 140)  # a face in the dark: one hue
    assert not is_stick_figure(Image.fromarray(dark))
