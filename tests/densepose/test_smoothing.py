"""U and V made smooth: what is even stays, noise and pixels of other parts go, parts do not run into each other."""

import numpy as np

from pocold.densepose.smoothing import smooth_coordinates

SIZE = (60, 40)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]] / np.float32(60)


def two_parts():
    labels = np.zeros(SIZE, np.uint8)
    labels[5:30, 5:35], labels[30:55, 5:35] = 2, 8
    truth = np.where(labels == 8, np.stack([0.9 - Y, X]), np.stack([0.2 + X * X, 0.5 * Y + 0.3 * X * Y]))
    return labels, np.where(labels > 0, truth, 0).astype(np.float32)


SURE = np.ones(SIZE, np.float32)


def test_a_form_of_second_degree_stays_as_it_is_and_the_background_too():
    labels, truth = two_parts()
    np.testing.assert_allclose(smooth_coordinates(labels, truth, SURE), truth, atol=1e-4)


def test_noise_goes():
    labels, truth = two_parts()
    noisy = truth + 0.05 * np.random.default_rng(0).standard_normal(truth.shape).astype(np.float32)
    body = labels > 0
    left = np.abs(smooth_coordinates(labels, noisy, SURE) - truth)[:, body].mean()
    assert left < 0.2 * np.abs(noisy - truth)[:, body].mean()


def test_pixels_that_belong_elsewhere_do_not_bend_the_rest():
    labels, truth = two_parts()
    wrong = truth.copy()
    wrong[:, 6:12, 6:16] = 0.95  # a twelfth of the part
    left = np.abs(smooth_coordinates(labels, wrong, SURE) - truth)
    assert left[:, labels == 2].max() < 0.02
    np.testing.assert_allclose(left[:, labels == 8], 0, atol=1e-4)


def test_what_is_not_believed_counts_little():
    labels, truth = two_parts()
    wrong, certain = truth.copy(), SURE.copy()
    wrong[:, 5:30, 5:20], certain[5:30, 5:20] = 0.9, 0.05  # half of the part
    assert np.abs(smooth_coordinates(labels, wrong, certain) - truth)[:, 5:30, 20:35].max() < 0.05


def test_parts_of_a_few_pixels_keep_their_values():
    labels = np.zeros(SIZE, np.uint8)
    labels[10, 10:20] = 3
    uv = np.random.default_rng(0).random((2, *SIZE)).astype(np.float32)
    np.testing.assert_array_equal(smooth_coordinates(labels, uv, SURE), uv)


def test_values_stay_in_their_range():
    labels, truth = two_parts()
    assert smooth_coordinates(labels, np.where(Y > 0.4, 1, truth * 0).astype(np.float32), SURE).max() <= 1
