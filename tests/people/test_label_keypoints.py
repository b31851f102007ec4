"""U and V for maps with labels only: joints are read off where parts meet, a body in that pose has the rest."""

import math

import numpy as np
import pytest

from exact_points import SIZE, agreement, seen
from pocold import DensePose
from pocold.densepose.keypoints import COCO_18
from pocold.people.body.keypoint_fitting import fit_body
from pocold.people.body.keypoint_maps import draw_keypoints
from pocold.people.body.label_keypoints import (
    InferredPoseWarning,
    keypoints_of,
    with_fitted_clip,
    with_fitted_coordinates,
)

HEIGHT = 0.8 * SIZE[0]  # of the body, about


def bare(pose):
    return DensePose(pose.labels)


@pytest.mark.parametrize("text", ["hips:20", "walk:side", "wave:back", "stand:left"])
def test_joints_lie_where_parts_meet(text):
    true, points, _, _ = seen(text)
    found, sure, _ = keypoints_of(bare(true)).ordered()
    known = [i for i, name in enumerate(COCO_18) if sure[i] > 0 and not name.endswith(("ear", "nose"))]
    away = np.hypot(*(found[known] - points[known]).T)
    assert len(known) >= 7
    assert np.median(away) < 0.03 * HEIGHT
    assert away.max() < 0.12 * HEIGHT


@pytest.mark.parametrize(("text", "least"), [("hips:20", 0.8), ("walk:side", 0.5), ("wave:back", 0.75)])
def test_labels_stay_and_coordinates_are_about_right(text, least):
    true = seen(text)[0]
    with pytest.warns(InferredPoseWarning, match="anna has labels only: U and V were taken from a body in that pose"):
        found = with_fitted_coordinates(bare(true), "anna", "a test")
    np.testing.assert_array_equal(found.labels, true.labels)
    body = true.labels > 0
    assert np.abs(found.uv - true.uv)[:, body].mean() < 0.1
    assert not found.uv[:, ~body].any()
    assert agreement(true, draw_keypoints(keypoints_of(bare(true)))) > least


@pytest.mark.parametrize("view", [90, -90, 180, 40])
def test_the_view_is_read_off_too(view):
    points, sure, _ = keypoints_of(bare(seen(f"stand:{view}", size=(256, 176))[0])).ordered()
    _, _, camera = fit_body(points, sure, size=(256, 176))
    assert abs(math.remainder(camera.view - view, 360)) < 20


def test_maps_with_coordinates_stay_as_they_are():
    true = seen("stand")[0]
    assert with_fitted_coordinates(true, "pose", "a test") is true
    assert with_fitted_clip([true, true], 25, "clip") == [true, true]


def test_too_little_of_a_body():
    labels = np.zeros(SIZE, np.uint8)
    labels[20:40, 30:50] = 2
    with pytest.raises(ValueError, match="pose 1: its DensePose map has labels only, but a test needs U and V, and it"):
        with_fitted_coordinates(DensePose(labels), "pose 1", "a test")


def test_a_clip_is_one_body():
    maps = [bare(seen(f"walk:{view}")[0]) for view in (0, 10, 20)]
    few = DensePose(np.where(maps[0].labels == 2, 2, 0).astype(np.uint8))
    with pytest.warns(InferredPoseWarning, match="film has labels only") as told:
        found = with_fitted_clip([*maps, few], 25, "film")
    assert len(told) == 1
    assert [pose.uv is None for pose in found] == [False, False, False, True]
    for before, pose, view in zip(maps, found, (0, 10, 20), strict=False):
        np.testing.assert_array_equal(pose.labels, before.labels)
        body = pose.labels > 0
        assert np.abs(pose.uv - seen(f"walk:{view}")[0].uv)[:, body].mean() < 0.1
