"""The points of the body are kept from frame to frame, those that no photograph shows most."""

import numpy as np
import pytest
import torch
from PIL import Image

from pocold import DensePose
from pocold.apps.animate.steadying import steadied
from pocold.densepose.correspondence import Photograph, Surface

SIZE = (32, 24)


def pose(shift=0):
    """Two parts one above the other, moved to the right; U grows downwards, V to the right."""
    labels = np.zeros(SIZE, np.uint8)
    labels[4:16, 4 + shift : 14 + shift] = 1
    labels[16:28, 4 + shift : 14 + shift] = 2
    uv = np.zeros((2, *SIZE), np.float32)
    uv[0, 4:28] = (np.arange(24) % 12 / 12)[:, None]
    uv[1, :, 4 + shift : 14 + shift] = np.arange(10) / 10
    return DensePose(labels, uv * (labels > 0))


def surface(part=2):
    """Of a photograph that shows one part."""
    seen = pose()
    labels = np.where(seen.labels == part, part, 0).astype(np.uint8)
    uv = np.round(seen.uv * 255).astype(np.uint8)
    return Surface(
        ((1.0, (Photograph(torch.zeros(3, *SIZE, dtype=torch.uint8), *map(torch.from_numpy, (labels, uv))),)),)
    )


def plain(value):
    return Image.new("RGB", SIZE[::-1], (value,) * 3)


def test_points_of_the_body_are_mixed_with_the_frame_before_unseen_ones_more():
    poses = [pose(), pose(3), pose(6)]
    frames = [np.asarray(f) for f in steadied([plain(100), plain(200), plain(200)], poses, surface(), 0.75)]
    assert (frames[0] == 100).all()
    # unseen: 100 * 0.75 + 200 * 0.25, then of that; seen: 100 * 0.375 + 200 * 0.625, then of that
    for frame, moved, unseen, seen in zip(frames[1:], poses[1:], (125, 144), (162, 186), strict=True):
        assert (frame[moved.labels == 1] == unseen).all()
        assert (frame[moved.labels == 2] == seen).all()
        assert (frame[moved.labels == 0] == 200).all()


def test_what_the_frame_before_does_not_show_is_taken_as_it_is_drawn():
    before = pose()
    hidden = DensePose(np.where(before.labels == 1, 0, before.labels), before.uv)
    frames = list(steadied([plain(100), plain(200)], [hidden, pose(2)], surface(), 0.75))
    frame = np.asarray(frames[1])
    assert (frame[pose(2).labels != 2] == 200).all()
    assert (frame[pose(2).labels == 2] < 200).all()


def test_a_share_of_nothing_changes_nothing():
    pictures = [plain(100), plain(201)]
    for frame, picture in zip(steadied(pictures, [pose(), pose(1)], surface(), 0.0), pictures, strict=True):
        assert np.array_equal(np.asarray(frame), np.asarray(picture))


def test_maps_need_u_and_v():
    with pytest.raises(ValueError, match=r"pose 2.*--steady"):
        list(steadied([plain(1), plain(2)], [pose(), DensePose(pose().labels)], surface(), 0.5))
