"""Metrics as tensor functions. All take pictures in [-1, 1] and none resizes: which size is compared is a protocol's.

Values per picture are float64, so that means over a test set do not depend on the order of anything.

Legend: B pictures, H W picture size, N samples, D feature width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

_K1, _K2 = 0.01, 0.03  # the constants of SSIM
# sRGB primaries to CIE XYZ, relative to the white D65 of the 2 degree observer (IEC 61966-2-1; rows X, Y, Z)
_RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


class Distance(Protocol):
    """A learned distance such as LPIPS or ST-LPIPS: two times ``(B, 3, H, W)`` to ``(B,)``."""

    def __call__(self, a: Tensor, b: Tensor, /) -> Tensor: ...


def _as_unit(images: Tensor) -> Tensor:
    return images.double() / 2 + 0.5


def check_pair(predicted: Tensor, truth: Tensor) -> None:
    """Raise a ValueError unless both are float ``(B, 3, H, W)`` of one shape."""
    for name, images in (("predicted", predicted), ("truth", truth)):
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"{name}: expected float pictures (B, 3, H, W) in [-1, 1], got {images.dtype} {tuple(images.shape)}"
            )
    if predicted.shape != truth.shape:
        raise ValueError(
            f"pictures that are compared need one shape, got {tuple(predicted.shape)} and {tuple(truth.shape)}"
        )


def l1(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference on the scale [0, 1].

    Args:
        predicted, truth: float ``(B, 3, H, W)`` in [-1, 1].

    Returns:
        float64 ``(B,)`` in [0, 1].
    """
    check_pair(predicted, truth)
    return (_as_unit(predicted) - _as_unit(truth)).abs().mean((1, 2, 3))


def psnr(predicted: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels, peak 1 on the scale [0, 1].

    Args:
        predicted, truth: float ``(B, 3, H, W)`` in [-1, 1].

    Returns:
        float64 ``(B,)``; infinite for equal pictures.
    """
    check_pair(predicted, truth)
    return -10 * (_as_unit(predicted) - _as_unit(truth)).square().mean((1, 2, 3)).log10()


def ssim_51(predicted: Tensor, truth: Tensor) -> Tensor:
    """The SSIM of most tables: uniform windows of 51x51, sample covariance, data range 1, mean over channels.

    scikit-image's ``structural_similarity(win_size=51, data_range=1)``. Only windows that lie inside are counted.

    Args:
        predicted, truth: float ``(B, 3, H, W)`` in [-1, 1], at least 51 pixels a side.

    Returns:
        float64 ``(B,)``, at most 1.

    Raises:
        ValueError: for other shapes.
    """
    check_pair(predicted, truth)
    window = torch.full((51,), 1 / 51, dtype=torch.float64)
    return _ssim(_as_unit(predicted), _as_unit(truth), window, 1.0, unbiased=True)


def ssim_gaussian(predicted: Tensor, truth: Tensor, sigma: float = 1.5) -> Tensor:
    """The other SSIM ("SSIM_256"): Gaussian windows, population covariance, data range = max - min of the prediction.

    scikit-image's ``structural_similarity(gaussian_weights=True, sigma=sigma, use_sample_covariance=False,
    data_range=predicted.max() - predicted.min())``, with ``sigma`` 1.5 in some published scripts and 1.2 in others.

    Args:
        predicted, truth: float ``(B, 3, H, W)`` in [-1, 1], at least as large as the window (11 pixels for 1.5).
        sigma: of the window, which is cut off at 3.5 sigma.

    Returns:
        float64 ``(B,)``, at most 1. NaN never: a flat prediction, whose range would be 0, is compared with range 1.

    Raises:
        ValueError: for other shapes.
    """
    check_pair(predicted, truth)
    reach = int(3.5 * sigma + 0.5)
    window = torch.tensor([exp(-(x**2) / (2 * sigma**2)) for x in range(-reach, reach + 1)], dtype=torch.float64)
    x = _as_unit(predicted)
    spread = x.amax((1, 2, 3)) - x.amin((1, 2, 3))
    spread = torch.where(spread > 0, spread, 1)
    return _ssim(x, _as_unit(truth), window / window.sum(), spread[:, None, None, None], unbiased=False)


def _ssim(x: Tensor, y: Tensor, window: Tensor, data_range: float | Tensor, unbiased: bool) -> Tensor:
    """SSIM with a separable window, averaged over the positions where it lies inside, and over channels."""
    size = len(window)
    if min(x.shape[-2:]) < size:
        raise ValueError(
            f"SSIM with a window of {size} needs pictures of at least that many pixels, got {tuple(x.shape)}"
        )
    # One matrix product per side: five times as fast in float64 as a convolution.
    down, across = (_bands(window, side).to(x.device) for side in x.shape[-2:])

    def smooth(values: Tensor) -> Tensor:
        return (down @ values @ across.T).flatten(2)

    mean_x, mean_y = smooth(x), smooth(y)
    correction = size**2 / (size**2 - 1) if unbiased else 1.0
    variance_x = correction * (smooth(x * x) - mean_x * mean_x)
    variance_y = correction * (smooth(y * y) - mean_y * mean_y)
    covariance = correction * (smooth(x * y) - mean_x * mean_y)
    spread = data_range.flatten(1)[..., None] if isinstance(data_range, Tensor) else data_range
    c1, c2 = (_K1 * spread) ** 2, (_K2 * spread) ** 2
    index = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    index = index / ((mean_x * mean_x + mean_y * mean_y + c1) * (variance_x + variance_y + c2))
    return index.mean((1, 2))


def _bands(window: Tensor, side: int) -> Tensor:
    """``(side - size + 1, side)``: row i holds the window at i."""
    rows = side - len(window) + 1
    return torch.stack([F.pad(window, (i, rows - 1 - i)) for i in range(rows)])


def masked_distance(distance: Distance, predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """A learned distance between pictures that are black outside a mask ("mask-LPIPS").

    The published scripts for Market-1501 draw the mask around limbs between keypoints; here it is whatever is given.

    Args:
        distance: such as LPIPS.
        predicted, truth: float ``(B, 3, H, W)`` in [-1, 1].
        mask: bool ``(B, H, W)``, True where it counts.

    Returns:
        float64 ``(B,)``.

    Raises:
        ValueError: for other shapes.
    """
    check_pair(predicted, truth)
    if mask.dtype != torch.bool or mask.shape != (len(truth), *truth.shape[-2:]):
        raise ValueError(f"mask: expected bool {(len(truth), *truth.shape[-2:])}, got {mask.dtype} {tuple(mask.shape)}")
    kept = mask[:, None]
    return distance(torch.where(kept, predicted, -1), torch.where(kept, truth, -1)).double()


def to_lab(images: Tensor) -> Tensor:
    """CIE L*a*b* (D65): float ``(B, 3, H, W)`` in [-1, 1] -> float64 ``(B, 3, H, W)``, L in [0, 100]."""
    srgb = _as_unit(images).clamp(0, 1)
    linear = torch.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    matrix = torch.tensor(_RGB_TO_XYZ, dtype=torch.float64, device=images.device)
    white = torch.tensor(_WHITE, dtype=torch.float64, device=images.device)
    xyz = torch.einsum("xc,bchw->bxhw", matrix / white[:, None], linear)
    root = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def colour_error(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean CIE-Lab distance (delta E, 1976) of the pixels inside a mask, such as one garment's.

    About 2 is just visible, 10 is another shade, 50 is another colour.

    Args:
        predicted, truth: float ``(B, 3, H, W)`` in [-1, 1].
        mask: bool ``(B, H, W)``.

    Returns:
        float64 ``(B,)``, not negative; NaN where the mask is empty and there is nothing to compare.

    Raises:
        ValueError: for other shapes.
    """
    check_pair(predicted, truth)
    if mask.dtype != torch.bool or mask.shape != (len(truth), *truth.shape[-2:]):
        raise ValueError(f"mask: expected bool {(len(truth), *truth.shape[-2:])}, got {mask.dtype} {tuple(mask.shape)}")
    errors = (to_lab(predicted) - to_lab(truth)).square().sum(1).sqrt()
    return (errors * mask).sum((1, 2)) / mask.sum((1, 2))


def pose_consistency(predicted: Tensor, labels: Tensor, estimator: Callable[[Tensor], Tensor]) -> Tensor:
    """The share of body pixels whose part an estimator finds again in the drawn picture.

    Args:
        predicted: float ``(B, 3, H, W)`` in [-1, 1].
        labels: the map it was drawn from, uint8 ``(B, H, W)``, DensePose labels, 0 is background.
        estimator: any callable from such pictures to maps ``(B, H, W)`` of labels.

    Returns:
        float64 ``(B,)`` in [0, 1]; NaN where the map shows no body.

    Raises:
        ValueError: if maps and pictures do not belong together.
    """
    found = estimator(predicted)
    shape = (len(predicted), *predicted.shape[-2:])
    for name, values in (("labels", labels), ("the estimator's labels", found)):
        if tuple(values.shape) != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {tuple(values.shape)}")
    body = labels > 0
    return ((found == labels) & body).sum((1, 2)).double() / body.sum((1, 2))


@dataclass
class Moments:
    """Mean and covariance of features, gathered in float64: what a Frechet distance needs of a set of pictures.

    Attributes:
        count: samples seen.
        total: ``(D,)``, their sum.
        products: ``(D, D)``, the sum of their outer products.
    """

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    products: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, features: Tensor) -> None:
        """Add samples ``(N, D)``."""
        if features.ndim != 2 or (self.count and features.shape[1] != len(self.total)):
            raise ValueError(
                f"features: expected (N, {len(self.total) if self.count else 'D'}), got {tuple(features.shape)}"
            )
        features = features.detach().double().cpu()
        self.total = self.total + features.sum(0)
        self.products = self.products + features.T @ features
        self.count += len(features)

    def mean(self) -> Tensor:
        """``(D,)``."""
        return self.total / self.count

    def covariance(self) -> Tensor:
        """``(D, D)``, the sample covariance; ValueError for fewer than two samples."""
        if self.count < 2:
            raise ValueError(f"a Frechet distance needs at least 2 pictures on both sides, got {self.count}")
        mean = self.mean()
        return (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``, in float64.

    With fewer samples than features the covariances are singular and the distance is biased upwards; it is comparable
    between equal numbers of samples only.

    Raises:
        ValueError: for fewer than two samples, or features of different widths.
    """
    first, second = a.covariance(), b.covariance()
    if first.shape != second.shape:
        raise ValueError(f"the features are of different widths: {len(first)} and {len(second)}")
    # tr (C_a C_b)^(1/2) is the sum of the roots of the eigenvalues of the symmetric A C_b A with A = C_a^(1/2).
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ second @ root
    common = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    distance = (a.mean() - b.mean()).square().sum() + first.trace() + second.trace() - 2 * common
    return float(distance.clamp(min=0))
