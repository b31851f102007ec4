"""DensePose labels, U, V and keypoints of drawn bodies."""

import numpy as np
import pytest

from pocold.densepose.maps import DensePose
from pocold.people.body.posing import draw_densepose
from pocold.people.labels import KEYPOINT_NAMES
from pocold.people.poses import POSES

SIZE = (128, 88)


def columns_of(pose: DensePose, label: int) -> float:
    return float(np.nonzero(pose.labels == label)[1].mean())


@pytest.fixture(scope="module")
def front():
    return draw_densepose(POSES["apose"], 0, "full", (256, 176))


@pytest.fixture(scope="module")
def back():
    return draw_densepose(POSES["apose"], 180, "full", (256, 176))


def test_front_and_back(front, back):
    count = np.bincount(front.labels.flatten(), minlength=25)
    assert count[1] < 0.01 * count[2]
    assert count[[7, 8, 11, 12]].sum() < 0.05 * count[[9, 10, 13, 14]].sum()
    assert front.visible_parts >= {2, 3, 4, 5, 6, 9, 10, 13, 14, 23, 24}
    count = np.bincount(back.labels.flatten(), minlength=25)
    assert count[2] < 0.05 * count[1]
    assert count[[9, 10, 13, 14]].sum() < 0.05 * count[[7, 8, 11, 12]].sum()


def test_left_is_at_the_right_of_a_front_view(front, back):
    for left, right in ((4, 3), (5, 6), (10, 9), (14, 13), (15, 16), (24, 23)):
        assert columns_of(front, left) > 88 > columns_of(front, right)
    assert columns_of(back, 4) < 88 < columns_of(back, 3)


@pytest.mark.parametrize(("name", "view"), [("walk", 35.0), ("contrapposto", -70.0), ("wave", 170.0), ("sit", 20.0)])
def test_the_flipped_map_is_the_map_of_the_mirrored_scene(name, view):
    pose = draw_densepose(POSES[name], view, "full", SIZE)
    mirrored = draw_densepose(POSES[name].mirrored(), -view, "full", SIZE)
    flipped = pose.hflip()
    same = flipped.labels == mirrored.labels
    assert same.mean() > 0.999  # ties at triangle edges may fall to either side
    difference = np.abs(flipped.uv - mirrored.uv)[:, same & (flipped.labels > 0)]
    assert np.quantile(difference, 0.995) < 0.01


def test_flipping_twice_changes_nothing(front):
    twice = front.hflip().hflip()
    assert np.array_equal(twice.labels, front.labels)
    assert np.abs(twice.uv - front.uv).max() < 1e-6


def gradient(pose: DensePose, label: int, channel: int, axis: int) -> float:
    """Mean change of U (0) or V (1) per pixel down (axis 0) or right (axis 1) inside one part."""
    values, inside = pose.uv[channel], pose.labels == label
    pairs = inside[1:] & inside[:-1] if axis == 0 else inside[:, 1:] & inside[:, :-1]
    return float(np.diff(values, axis=axis)[pairs].mean())


@pytest.mark.parametrize("label", [7, 8, 13, 14])
def test_u_runs_down_these_legs(front, back, label):
    assert gradient(back if label in (7, 8) else front, label, 0, axis=0) > 0.005


@pytest.mark.parametrize("label", [9, 10, 11, 12])
def test_u_runs_up_those_legs(front, back, label):
    assert gradient(back if label in (11, 12) else front, label, 0, axis=0) < -0.005


def test_u_on_arms(front):
    # the left arm of the A-pose points right and down in a front view
    assert gradient(front, 15, 0, axis=1) > 0.005
    assert gradient(front, 19, 0, axis=1) < -0.005
    assert gradient(front, 16, 0, axis=1) < -0.005


def test_v_runs_across_limbs_from_inside_to_outside(front):
    assert gradient(front, 10, 1, axis=1) > 0.005
    assert gradient(front, 9, 1, axis=1) < -0.005


def test_head_and_torso_mirror_where_limbs_do_not(front):
    assert gradient(front, 23, 0, axis=1) * gradient(front, 24, 0, axis=1) > 0  # U and 1 - U of a mirrored chart
    assert gradient(front, 2, 1, axis=1) > 0.002
    assert gradient(front, 2, 0, axis=0) > 0.002


def test_uv_is_continuous_inside_parts(front):
    """Neighbouring pixels of a part differ little (fingers and the hidden sides of limbs excepted)."""
    for axis in (0, 1):
        labels = front.labels
        pairs = labels[1:] == labels[:-1] if axis == 0 else labels[:, 1:] == labels[:, :-1]
        inner = labels[1:] if axis == 0 else labels[:, 1:]
        pairs &= (inner > 0) & ~np.isin(inner, (3, 4))
        jumps = np.abs(np.diff(front.uv, axis=1 + axis))[:, pairs].max(0)
        assert np.quantile(jumps, 0.98) < 0.15
        assert np.median(jumps) < 0.04


def test_uv_reach_over_each_part(front):
    for label in (2, 9, 10, 13, 14):
        inside = front.labels == label
        assert np.ptp(front.uv[0][inside]) > 0.6
        assert np.ptp(front.uv[1][inside]) > 0.5
    assert (front.uv[:, front.labels == 0] == 0).all()


def test_keypoint_names():
    assert len(KEYPOINT_NAMES) == 18
    assert KEYPOINT_NAMES[4] == "right wrist"


@pytest.mark.parametrize("crop", ["knee", "upper", "portrait"])
def test_crops_show_less(crop):
    full = draw_densepose(POSES["stand"], 0, "full", SIZE)
    part = draw_densepose(POSES["stand"], 0, crop, SIZE)
    assert {5, 6} <= full.visible_parts
    assert not {5, 6} & part.visible_parts
    assert (part.labels == 24).sum() > 1.2 * (full.labels == 24).sum()


@pytest.mark.parametrize("size", [(8, 8), (256, 100_000), (0, 5)])
def test_impossible_sizes(size):
    with pytest.raises(ValueError, match="sides from 16 to 4096"):
        draw_densepose(POSES["stand"], size=size)


def test_a_golden_map():
    """Pixels per label of one small map; a change of body, pose, camera or chart moves them by more than rounding."""
    golden = [2364, 1, 139, 13, 0, 17, 16, 2, 5, 62, 54, 7, 9, 16, 25, 6, 21, 0, 4, 4, 12, 0, 3, 31, 5]
    counts = np.bincount(draw_densepose(POSES["walk"], 35, "full", (64, 44)).labels.flatten(), minlength=25)
    assert np.abs(counts - golden).max() <= 2
