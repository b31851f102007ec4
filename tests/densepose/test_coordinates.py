"""U and V for maps that have labels only."""

import numpy as np
import pytest

from pocold import DensePose
from pocold.densepose.coordinates import with_coordinates


def known():
    """A torso (2) on the left and a head (24) on the right, U by rows and V by columns."""
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 5:15], labels[5:15, 15:25] = 2, 24
    uv = np.stack(np.mgrid[:20, :30]).astype(np.float32) / 30 * (labels > 0)
    return DensePose(labels, uv)


def test_a_pixel_takes_the_nearest_point_of_its_own_part():
    wider = np.zeros((20, 30), np.uint8)
    wider[3:17, 3:17], wider[3:17, 17:27] = 2, 24
    pose, guessed = with_coordinates(DensePose(wider, doubts=("a doubt",)), known())
    assert np.array_equal(pose.labels, wider)
    assert guessed == frozenset()
    assert pose.doubts == ("a doubt",)
    inside = (wider == known().labels) & (wider > 0)
    assert np.array_equal(pose.uv[:, inside], known().uv[:, inside])
    assert np.allclose(pose.uv[:, 3, 3], [5 / 30, 5 / 30])
    assert np.allclose(pose.uv[:, 10, 16], [10 / 30, 14 / 30])  # a head's pixel there, but this is torso
    assert (pose.uv[:, wider == 0] == 0).all()


def test_parts_that_are_not_known_get_one_point():
    labels = known().labels.copy()
    labels[15:18, 5:15] = 9
    pose, guessed = with_coordinates(DensePose(labels), known())
    assert guessed == {9}
    assert (pose.uv[:, labels == 9] == 0.5).all()
    assert np.array_equal(pose.uv[:, labels == 2], known().uv[:, labels == 2])


def test_what_is_known_must_fit():
    with pytest.raises(ValueError, match=r"a map of size \(20, 30\) with U and V, got \(8, 8\)"):
        with_coordinates(known(), DensePose(np.ones((8, 8), np.uint8), np.ones((2, 8, 8), np.float32)))
    with pytest.raises(ValueError, match="with U and V"):
        with_coordinates(known(), DensePose(known().labels))
