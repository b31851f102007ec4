"""Metrics against scikit-image, torchmetrics and formulas by hand."""

import numpy as np
import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.image.fid import FrechetInceptionDistance

from pocold.evaluation.metrics import (
    Moments,
    colour_error,
    frechet_distance,
    l1,
    masked_distance,
    pose_consistency,
    psnr,
    ssim_51,
    ssim_gaussian,
    to_lab,
)

skimage_metrics = pytest.importorskip("skimage.metrics")
skimage_color = pytest.importorskip("skimage.color")


@pytest.fixture(scope="module")
def pictures():
    """Two pairs of 8-bit pictures, (2, 3, 72, 60) in [-1, 1]; the second prediction does not use the whole range."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 3, 9, 8))
    truth = np.kron(coarse, np.ones((1, 1, 8, 8), int))[..., :60]
    predicted = np.clip(truth + rng.normal(0, 30, truth.shape), 0, 255).round()
    predicted[1] = predicted[1] // 2 + 20
    return tuple(torch.from_numpy(values / 127.5 - 1).float() for values in (predicted, truth))


def as_arrays(images):
    """float64 (H, W, 3) in [0, 1], as scikit-image gets them."""
    return [np.round((image.double().permute(1, 2, 0).numpy() + 1) * 127.5) / 255 for image in images]


def test_ssim_51_is_scikit_images(pictures):
    expected = [
        skimage_metrics.structural_similarity(t, p, win_size=51, data_range=1, channel_axis=2)
        for p, t in zip(*map(as_arrays, pictures), strict=True)
    ]
    np.testing.assert_allclose(ssim_51(*pictures).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [1.5, 1.2])
def test_gaussian_ssim_is_scikit_images_with_the_range_of_the_prediction(pictures, sigma):
    expected = [
        skimage_metrics.structural_similarity(
            t * 255, p * 255, gaussian_weights=True, sigma=sigma, use_sample_covariance=False, channel_axis=2,
            data_range=(p.max() - p.min()) * 255,
        )
        for p, t in zip(*map(as_arrays, pictures), strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(ssim_gaussian(*pictures, sigma).numpy(), expected, atol=1e-6)
    assert abs(ssim_gaussian(*pictures, 1.5) - ssim_gaussian(*pictures, 1.2)).max() > 1e-3


def test_ssim_agrees_with_torchmetrics_where_the_formulas_agree():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(1, 3, 40, 40, generator=generator) for _ in range(2))
    x[0, 0, 0, :2] = torch.tensor([0.0, 1.0])  # a range of 1, which torchmetrics is told
    theirs = StructuralSimilarityIndexMeasure(sigma=1.5, data_range=1.0)(x, y)
    # torchmetrics averages over the borders too, so only the order of magnitude of the agreement can be asked for
    assert abs(float(ssim_gaussian(x * 2 - 1, y * 2 - 1)) - float(theirs)) < 0.01


def test_psnr_and_l1(pictures):
    predicted, truth = map(as_arrays, pictures)
    expected = [
        skimage_metrics.peak_signal_noise_ratio(t, p, data_range=1) for p, t in zip(predicted, truth, strict=True)
    ]
    np.testing.assert_allclose(psnr(*pictures).numpy(), expected, rtol=1e-6)
    one = PeakSignalNoiseRatio(data_range=2.0)(pictures[0][:1], pictures[1][:1])
    assert float(one) == pytest.approx(float(psnr(*pictures)[0]), rel=1e-5)
    np.testing.assert_allclose(
        l1(*pictures).numpy(), [abs(p - t).mean() for p, t in zip(predicted, truth, strict=True)], rtol=1e-6
    )
    assert torch.isinf(psnr(pictures[0], pictures[0])).all()
    assert (ssim_51(pictures[0], pictures[0]) == 1).all()
    assert (l1(-torch.ones(1, 3, 8, 8), torch.ones(1, 3, 8, 8)) == 1).all()


def test_a_picture_does_not_depend_on_its_batch(pictures):
    for metric in (l1, psnr, ssim_51, ssim_gaussian):
        one_by_one = torch.cat([metric(p[None], t[None]) for p, t in zip(*pictures, strict=True)])
        torch.testing.assert_close(metric(*pictures), one_by_one, rtol=1e-12, atol=0)


def test_golden_values_of_the_formulas():
    """By hand: black against white and grey, in closed form."""
    black, white, grey = (torch.full((1, 3, 64, 64), value) for value in (-1.0, 1.0, 0.0))
    c1, c2 = 1e-4, 9e-4
    assert float(ssim_51(black, white)) == pytest.approx(c1 / (1 + c1), rel=1e-6)
    assert float(ssim_gaussian(black, white)) == pytest.approx(c1 / (1 + c1), rel=1e-6)  # a flat one: range 1
    assert float(psnr(black, grey)) == pytest.approx(-10 * np.log10(0.25))
    # a checkerboard against its negative: means 1/2 in large windows, covariance -1/4
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1).expand(1, 3, 64, 64)
    n = 51 * 51
    mean = (n // 2 + 1) / n  # windows centred on a 1; their negatives have 1 - mean
    variance = mean * (1 - mean) * n / (n - 1)
    expected = (2 * mean * (1 - mean) + c1) * (-2 * variance + c2)
    expected /= (mean**2 + (1 - mean) ** 2 + c1) * (2 * variance + c2)
    assert float(ssim_51(board, -board)) == pytest.approx(expected, rel=1e-9)


def test_lab_is_scikit_images(pictures):
    for image, values in zip(pictures[0], as_arrays(pictures[0]), strict=True):
        lab = to_lab(image[None])[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(lab, skimage_color.rgb2lab(values), atol=2e-4)


def test_colour_error_is_the_mean_delta_e_inside_the_mask(pictures):
    mask = torch.zeros(2, 72, 60, dtype=torch.bool)
    mask[0, 10:30, 5:40] = True
    predicted, truth = (as_arrays(images)[0] for images in pictures)
    difference = skimage_color.deltaE_cie76(skimage_color.rgb2lab(predicted), skimage_color.rgb2lab(truth))
    result = colour_error(*pictures, mask)
    assert float(result[0]) == pytest.approx(difference[10:30, 5:40].mean(), rel=1e-4)
    assert torch.isnan(result[1])
    with pytest.raises(ValueError, match=r"mask: expected bool \(2, 72, 60\)"):
        colour_error(*pictures, mask[:1])


def test_what_lies_outside_the_mask_does_not_count(pictures):
    predicted, truth = pictures
    mask = torch.zeros(2, 72, 60, dtype=torch.bool)
    mask[:, :40] = True

    def distance(a, b):
        return (a - b).abs().sum((1, 2, 3))

    other = predicted.clone()
    other[..., 40:, :] = 0.3
    result = masked_distance(distance, predicted, truth, mask)
    torch.testing.assert_close(result, masked_distance(distance, other, truth, mask))
    torch.testing.assert_close(result, (predicted - truth)[..., :40, :].abs().sum((1, 2, 3)).double())


def test_pose_consistency_counts_body_pixels():
    labels = torch.tensor([[[0, 1, 1, 2]], [[0, 0, 0, 0]]], dtype=torch.uint8)
    found = torch.tensor([[[3, 1, 2, 2]], [[1, 1, 1, 1]]])
    result = pose_consistency(torch.zeros(2, 3, 1, 4), labels, lambda images: found)
    assert float(result[0]) == pytest.approx(2 / 3)
    assert torch.isnan(result[1])
    with pytest.raises(ValueError, match="the estimator's labels: expected shape"):
        pose_consistency(torch.zeros(2, 3, 1, 4), labels, lambda images: found[:1])


class Toy(torch.nn.Module):
    """Eight numbers of a picture, for torchmetrics and for us."""

    num_features = 8

    def forward(self, images):
        values = images.float().flatten(1)[:, : 8 * 40].reshape(len(images), 8, -1)
        return values.mean(2) + values.square().mean(2) / 255


def test_frechet_distance_is_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (60, 3, 16, 16), generator=generator, dtype=torch.uint8)
    fake = torch.randint(40, 200, (50, 3, 16, 16), generator=generator, dtype=torch.uint8)
    theirs = FrechetInceptionDistance(feature=Toy())
    # the value depends on the input size that torchmetrics tries the network with; features are those above
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    ours = [Moments(), Moments()]
    for moments, images in zip(ours, (real, fake), strict=True):
        for part in Toy()(images).split(17):
            moments.add(part)
    assert frechet_distance(*ours) == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_frechet_distance_of_known_gaussians():
    # diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2
    a = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2]]) * (3 / 2) ** 0.5  # covariance diag(1, 4)
    b = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]]) * (3 / 2) ** 0.5 + torch.tensor([1.0, 2.0])  # diag(9, 1)
    moments = []
    for values in (a, b):
        moments.append(Moments())
        moments[-1].add(values)
    assert frechet_distance(*moments) == pytest.approx(1 + 4 + (1 - 3) ** 2 + (2 - 1) ** 2, rel=1e-6)
    assert frechet_distance(moments[0], moments[0]) == pytest.approx(0, abs=1e-9)
    single = Moments()
    single.add(a[:1])
    with pytest.raises(ValueError, match="at least 2 pictures on both sides, got 1"):
        frechet_distance(single, moments[0])
    with pytest.raises(ValueError, match=r"features: expected \(N, 2\), got \(4, 1\)"):
        moments[0].add(a[:, :1])


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 65), "need one shape"),
        (torch.zeros(3, 64, 64), torch.zeros(3, 64, 64), r"predicted: expected float pictures \(B, 3, H, W\)"),
        (torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64).byte(), "truth: expected float pictures"),
        (torch.zeros(1, 3, 50, 64), torch.zeros(1, 3, 50, 64), "window of 51 needs pictures"),
    ],
)
def test_wrong_pictures_are_refused(predicted, truth, message):
    with pytest.raises(ValueError, match=message):
        ssim_51(predicted, truth)
