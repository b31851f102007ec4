"""U and V made smooth: what is even stays, noise and pixels of other parts go, parts do not run into each other."""

import numpy as np
from scipy.spatial import cKDTree

from pocold.densepose.chart import places, surface_chart
from pocold.densepose.smoothing import smooth_coordinates

SIZE = (60, 40)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]] / np.float32(60)


def two_parts():
    labels = np.zeros(SIZE, np.uint8)
    labels[5:30, 5:35], labels[30:55, 5:35] = 2, 8
    truth = np.where(labels == 8, np.stack([0.9 - Y, X]), np.stack([0.2 + X * X, 0.5 * Y + 0.3 * X * Y]))
    return labels, np.where(labels > 0, truth, 0).astype(np.float32)


SURE = np.ones(SIZE, np.float32)


def smooth(labels, uv, certain=SURE):
    found, smooth = smooth_coordinates(labels, uv, certain)
    np.testing.assert_array_equal(found, labels)
    return smooth


def test_a_form_of_second_degree_stays_as_it_is_and_the_background_too():
    labels, truth = two_parts()
    np.testing.assert_allclose(smooth(labels, truth), truth, atol=1e-4)


def test_noise_goes():
    labels, truth = two_parts()
    noisy = truth + 0.05 * np.random.default_rng(0).standard_normal(truth.shape).astype(np.float32)
    body = labels > 0
    left = np.abs(smooth(labels, noisy) - truth)[:, body].mean()
    assert left < 0.2 * np.abs(noisy - truth)[:, body].mean()


def test_pixels_that_belong_elsewhere_do_not_bend_the_rest():
    labels, truth = two_parts()
    wrong = truth.copy()
    wrong[:, 6:12, 6:16] = 0.95  # a twelfth of the part
    left = np.abs(smooth(labels, wrong) - truth)
    assert left[:, labels == 2].max() < 0.02
    np.testing.assert_allclose(left[:, labels == 8], 0, atol=1e-4)


def test_what_is_not_believed_counts_little():
    labels, truth = two_parts()
    wrong, certain = truth.copy(), SURE.copy()
    wrong[:, 5:30, 5:20], certain[5:30, 5:20] = 0.9, 0.05  # half of the part
    assert np.abs(smooth(labels, wrong, certain) - truth)[:, 5:30, 20:35].max() < 0.05


def test_parts_of_a_few_pixels_keep_their_values():
    labels = np.zeros(SIZE, np.uint8)
    labels[10, 10:20] = 3
    uv = np.random.default_rng(0).random((2, *SIZE)).astype(np.float32)
    np.testing.assert_array_equal(smooth(labels, uv), uv)


def test_values_stay_in_their_range():
    labels, truth = two_parts()
    assert smooth(labels, np.where(Y > 0.4, 1, truth * 0).astype(np.float32)).max() <= 1


def face():
    """The front of a resting head, 3 mm a pixel: labels, U, V, and metres to the left and up."""
    parts, u, v = np.meshgrid([23, 24], np.arange(64), np.arange(64), indexing="ij")
    place = surface_chart()[[23, 24]].reshape(-1, 3)
    front = place[:, 1] < -0.06
    known = np.stack([parts.ravel(), u.ravel() * 4 + 2, v.ravel() * 4 + 2], axis=1)[front]
    rows, columns = np.mgrid[:60, :40]
    metres = np.stack([(columns - 19.5) * 0.003, 0.92 - (rows - 5) * 0.003], axis=-1)
    far, near = cKDTree(place[front][:, [0, 2]]).query(metres)
    inside = far < 0.004
    labels = np.where(inside, known[near, 0], 0).astype(np.uint8)
    uv = np.where(inside, known[near, 1:].transpose(2, 0, 1) / 255, 0).astype(np.float32)
    return labels, uv, metres


def off(labels, uv, metres):
    """Metres across and up from where the head's points are, at the face's pixels."""
    head = labels > 0
    found = places(labels[head], (uv[:, head] * 255).round().astype(np.uint8))
    return np.abs(found[:, [0, 2]] - metres[head]).mean(0)


def test_faces_keep_their_features_where_u_tells_little():
    """Near the middle of a face centimetres across are hundredths of U."""
    labels, truth, metres = face()
    random = np.random.default_rng(0)
    noisy = (truth + 0.04 * random.standard_normal(truth.shape)).clip(0, 1).astype(np.float32)
    middle = (np.abs(metres[..., 0]) < 0.012) & (random.random(labels.shape) < 0.4)
    wrong = np.where(middle & (labels > 0), 47 - labels, labels).astype(np.uint8)  # of the other half
    found, smoothed = smooth_coordinates(wrong, noisy, np.ones(labels.shape, np.float32))
    assert (found == labels)[np.abs(metres[..., 0]) > 0.004].all()
    across, up = off(found, smoothed, metres)
    assert across < 0.5 * off(wrong, noisy, metres)[0]
    assert across < 0.006
    assert up < 0.006
