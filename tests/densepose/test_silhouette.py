"""Maps held to where a person is seen."""

import numpy as np
import pytest

from pocold import DensePose
from pocold.densepose.framing import framed
from pocold.densepose.silhouette import held_to
from pocold.imaging.images import Frame


def column(left=40, right=60, size=(200, 100)):
    """A body of two parts, one beside the other, of full height."""
    labels = np.zeros(size, np.uint8)
    labels[:, left:right] = 2
    labels[:, (left + right) // 2 : right] = 1
    uv = np.zeros((2, *size), np.float32)
    uv[0] = np.arange(size[1]) / size[1] * (labels > 0)
    return DensePose(labels, uv)


def mask(left, right, size=(200, 100)):
    seen = np.zeros(size, bool)
    seen[:, left:right] = True
    return seen


def test_what_goes_beyond_the_person_is_cut():
    held = held_to(column(), mask(50, 100))
    assert (held.labels[:, :49] == 0).all()
    assert (held.labels[:, 50:60] == 1).all()
    assert held.labels[100, 49] == 2  # by a pixel it may
    assert (held.uv[:, held.labels == 0] == 0).all()


def test_what_stands_off_the_body_takes_the_nearest_point():
    held = held_to(column(), mask(30, 64))
    assert (held.labels[:, 30:40] == 2).all()
    assert (held.labels[:, 60:64] == 1).all()
    assert np.allclose(held.uv[0, :, 30:41], 0.40)
    assert np.allclose(held.uv[0, :, 59:64], 0.59)
    assert (held.labels[:, :30] == 0).all()


def test_what_is_far_from_the_body_is_not_of_it():
    held = held_to(column(), mask(0, 100))
    assert (held.labels[:, 31:69] > 0).all()  # a twentieth of 200
    assert (held.labels[:, :29] == 0).all()
    assert (held.labels[:, 71:] == 0).all()


def test_the_rest_of_the_person_is_remembered_and_goes_along():
    held = held_to(column(), mask(0, 90))
    assert held.person[:, :90].all()
    assert held.person[:, 92].all()  # a mask's edge is soft
    assert not held.person[:, 95:].any()
    halved = framed(held, Frame(held.size, (100, 50), "stretch"))
    assert halved.person.shape == (100, 50)
    assert halved.person[:, :45].all()
    with pytest.raises(ValueError, match=r"DensePose person must be bool of shape \(200, 100\), got \(8, 8\)"):
        DensePose(held.labels, held.uv, person=np.ones((8, 8), bool))


def test_masks_of_nobody_change_nothing():
    assert held_to(column(), mask(0, 5)) is not None
    assert np.array_equal(held_to(column(), mask(0, 5)).labels, column().labels)
    empty = DensePose(np.zeros((8, 8), np.uint8), np.zeros((2, 8, 8), np.float32))
    assert held_to(empty, np.ones((8, 8), bool)) is empty


def test_sizes_and_uv_are_checked():
    with pytest.raises(ValueError, match=r"a mask of its size \(200, 100\), got a mask \(8, 8\)"):
        held_to(column(), np.ones((8, 8), bool))
    with pytest.raises(ValueError, match="a map with U and V"):
        held_to(DensePose(column().labels), mask(0, 5))
