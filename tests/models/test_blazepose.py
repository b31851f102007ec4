"""BlazePose's way from a photograph to points, with two small networks that see coloured dots; and the real files."""

import math
import os

import numpy as np
import pytest
from PIL import Image

from dotted_people import blazepose, detector, dots, landmarks
from pocold.densepose.keypoints import MEDIAPIPE
from pocold.models.blazepose import BlazePose
from pocold.models.blazepose_files import cache_folder, find_files, open_blazepose


@pytest.mark.parametrize(
    ("size", "person"),
    [((400, 400), (200, 200, 150, 0)), ((300, 640), (420, 150, 120, 0)), ((640, 300), (150, 300, 130, 60)),
     ((400, 400), (200, 190, 150, 180)), ((1500, 1200), (500, 800, 600, -30))],
)  # fmt: skip
def test_points_come_back_into_the_photograph(size, person):
    picture, (places,) = dots(size, [person], radius=person[2] / 35)
    (found,) = blazepose().people(picture)
    keypoints = found.keypoints
    assert keypoints.size == size
    assert len(keypoints.names) == len(MEDIAPIPE)
    for index, point, confidence in zip(MEDIAPIPE, keypoints.points, keypoints.confidence, strict=True):
        if confidence:  # dots hide each other, wholly or in part
            assert math.dist(point, places[index]) < 0.03 * person[2], (index, point, places[index])
    assert keypoints.given.sum() >= 17
    assert math.dist((found.square.x, found.square.y), person[:2]) < 0.02 * person[2]
    assert found.square.side / 1.25 == pytest.approx(2 * person[2], rel=0.03)
    assert keypoints.depth[list(MEDIAPIPE).index(24)] == pytest.approx(24 * 2.5 * person[2] / 256, rel=0.03)


def test_the_mask_is_turned_back_with_the_points():
    picture, _ = dots((640, 300), [(150, 300, 100, 60)])
    (found,) = blazepose().people(picture)
    rows, columns = np.nonzero(found.mask)
    assert found.mask.shape == (640, 300)
    assert math.dist((columns.mean(), rows.mean()), (150, 300)) < 3
    assert found.mask.sum() == pytest.approx(math.pi * (40 * 250 / 256) ** 2, rel=0.05)


def test_points_outside_the_picture_are_missing():
    picture, _ = dots((300, 400), [(200, 180, 150, 0)])
    (found,) = blazepose().people(picture)
    seen = dict(zip(found.keypoints.names, found.keypoints.confidence, strict=True))
    assert seen["left ankle"] == seen["right heel"] == 0
    assert seen["left hip"] > 0.9


def test_people_are_told_from_left_to_right_and_the_surest_comes_alone():
    picture, _ = dots((400, 600), [(450, 200, 150, 0), (150, 200, 150, 0)])
    left, right = blazepose().people(picture, everybody=True)
    assert left.square.x < right.square.x
    (surest,) = blazepose().people(picture)
    assert surest.square.x == pytest.approx(150, abs=3)


def test_who_is_small_in_the_picture_is_found_from_nearby():
    picture, (places,) = dots((1000, 1000), [(250, 280, 150, 0)], radius=8)
    square = blazepose(least=50).people(picture)[0].square
    assert (square.x, square.y) == pytest.approx(places[33], abs=5)
    assert blazepose(least=100).people(picture) == []


def test_nobody():
    assert blazepose().people(Image.new("RGB", (90, 60))) == []
    picture, _ = dots((400, 400), [(200, 200, 150, 0)])
    assert BlazePose(detector(), landmarks(body=0.2)).people(picture) == []


# -- the real networks, where they are installed -------------------------------------------------------------------

has_files = find_files(cache_folder()) is not None if cache_folder().is_dir() else False


@pytest.fixture
def real():
    pytest.importorskip("ai_edge_litert", reason="the extra pose is not installed")
    if not has_files:
        pytest.skip("BlazePose is not installed: pocold pose --install")
    found = open_blazepose(cache_folder())
    assert found is not None
    return found


def places(found):
    keypoints = found.keypoints
    return {n: p for n, p, c in zip(keypoints.names, keypoints.points, keypoints.confidence, strict=True) if c > 0.5}


@pytest.mark.apps
def test_real_photographs(real):
    data = pytest.importorskip("skimage.data")
    (astronaut,) = real.people(Image.fromarray(data.astronaut()))
    seen = places(astronaut)
    assert math.dist(seen["nose"], (215, 128)) < 12
    assert seen["right shoulder"][0] < 160 < 270 < seen["left shoulder"][0]
    assert not {"left knee", "right ankle"} & seen.keys()
    assert astronaut.mask[300, 200]
    assert not astronaut.mask[50, 400]
    (camera,) = real.people(Image.fromarray(data.camera()).convert("RGB"))
    assert math.dist(places(camera)["nose"], (250, 150)) < 25
    assert camera.mask[250, 120]
    assert not camera.mask[450, 450]


@pytest.mark.apps
def test_real_files_of_another_kind_are_refused(real, tmp_path):
    files = find_files(cache_folder())
    with pytest.raises(ValueError, match=r"another network: expected pictures \(1, 224, 224, 3\)"):
        BlazePose.load(files.landmarks, files.landmarks)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(os.urandom(1000))
    with pytest.raises(ValueError, match=r"broken\.tflite is no network"):
        BlazePose.load(broken, files.landmarks)


@pytest.mark.apps
def test_the_real_networks_find_nobody_where_nobody_is(real):
    data = pytest.importorskip("skimage.data")
    for name in ("coffee", "cat", "coins", "clock", "brick", "moon"):
        assert real.people(Image.fromarray(getattr(data, name)()).convert("RGB")) == [], name
