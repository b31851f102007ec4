"""Keypoints as the pose channels of PIDM and NTED."""

import pytest
import torch

from pocold.densepose.keypoints import COCO_18, MIRRORED_KEYPOINT
from pocold.densepose.skeleton import COLOUR_CHANNELS, LIMBS, SKELETON_CHANNELS, skeleton_map

SIZE = (64, 48)


def figure():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 18, 3, generator=generator) * torch.tensor([48.0, 64.0, 1.0])
    points[..., 2] = 1
    return points


def test_a_heat_map_peaks_at_its_point():
    points = figure()
    drawn = skeleton_map(points, SIZE)
    assert drawn.shape == (2, SKELETON_CHANNELS, *SIZE) == (2, 20, 64, 48)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    names = [name for name in COCO_18 if name != "neck"]
    for channel, name in enumerate(names):
        x, y = points[1, COCO_18.index(name), :2].tolist()
        row, column = divmod(int(drawn[1, channel].argmax()), SIZE[1])
        assert (row, column) == (int(y), int(x))


def test_limbs_are_lines_between_their_points_in_colours_of_their_own():
    points = torch.zeros(1, 18, 3)
    colours = set()
    for a, b in LIMBS:
        points[:] = 0
        points[0, a], points[0, b] = torch.tensor([8.5, 10.5, 1]), torch.tensor([38.5, 50.5, 0.5])
        drawn = skeleton_map(points, SIZE)[0, -COLOUR_CHANNELS:]
        on, off = drawn[:, 30, 23], drawn[:, 30, 40]  # the middle of the line, and beside it
        assert on.max() == 1
        assert off.max() == 0
        assert drawn[:, 60, 46].max() == 0  # beyond its end
        colours.add(tuple(round(v, 3) for v in on.tolist()))
    assert len(colours) == len(LIMBS) == 17


def test_missing_points_leave_no_trace():
    points = figure()
    points[..., 2] = 0
    assert (skeleton_map(points, SIZE) == 0).all()
    points[0, COCO_18.index("nose"), 2] = 1  # alone, without a limb
    drawn = skeleton_map(points, SIZE)
    assert drawn[0, 0].max() > 0.9
    assert (drawn[0, 1:] == 0).all()


def test_left_and_right_are_exchanged_by_mirroring():
    assert [COCO_18[MIRRORED_KEYPOINT[COCO_18.index(n)]] for n in ("left knee", "right ear", "nose")] == [
        "right knee",
        "left ear",
        "nose",
    ]


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected keypoints \(B, 18, 3\), got \(18, 3\)"):
        skeleton_map(torch.zeros(18, 3), SIZE)
