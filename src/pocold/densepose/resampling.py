"""Colours between the pixels of a photograph, for points of the body that it shows.

U and V come in steps, and where they hardly change from pixel to pixel, as on a face that is seen from the front, the
nearest pixel by U, V jumps to and fro: eyes fall to pieces, stripes fray. A photograph and a pose are both smooth
pictures of one surface, so that the way from one to the other is nearly affine around every pixel. It is fitted, part
by part, and colours are taken from where it leads, between pixels.

Legend: H W pose size, H' W' photograph size, N points.
"""

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

_WINDOW = 1 / 28  # of the pose's height: the side of the square to which a way is fitted
_ROUNDS = 2  # the second without what the first finds to lie elsewhere
_JUMP = 3.0  # pixels of the photograph: further off the fit, a pixel is seen elsewhere, and stays where it is
_STIFF = 2e-4  # of the window's own spread, so that the fit to a line of pixels does not turn around it
_SHARP = -0.75  # of the cubic kernel (Keys 1981), at the sharp end of what is usual


def resample(
    picture: Tensor, source_labels: Tensor, index: Tensor, labels: Tensor, shown: Tensor, same: Tensor
) -> Tensor:
    """Colours of the points that a photograph shows.

    Args:
        picture: float ``(3, H', W')`` in [-1, 1].
        source_labels: integers ``(H', W')``.
        index: int64 ``(H, W)``, the nearest pixel of the photograph, flattened; see
            ``pocold.densepose.correspondence``.
        labels: of the pose, ``(H, W)``.
        shown: bool ``(H, W)``, where to look.
        same: bool ``(H, W)``, where the pixel has the very U, V of the point: it stays, unless the fit leads to another
            one.

    Returns:
        float ``(3, N)`` in [-1, 1], in the order of ``shown``.
    """
    nearest = np.stack(np.divmod(index.numpy(), source_labels.shape[1]))
    where = _smooth(nearest, labels.numpy(), shown.numpy())
    where = np.where(same.numpy() & (np.abs(where - nearest).max(0) < 1), nearest, where)
    return _between(picture, source_labels, index[shown], torch.from_numpy(where[:, shown.numpy()]))


def _smooth(where: np.ndarray, labels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Rows and columns ``(2, H, W)`` of a photograph, each as the fit to its neighbours of the same part has it."""
    size = max(round(len(labels) * _WINDOW), 1)
    result = where.astype(float)
    for part in np.unique(labels[shown]):
        own = shown & (labels == part)
        rows, columns = (np.flatnonzero(own.any(axis)) for axis in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        mask, at = own[box], where[:, *box].astype(float)
        fitted = mask
        for _ in range(_ROUNDS):
            fit = _affine_fit(at, fitted, size)
            fitted = mask & (np.abs(fit - at).max(0) <= _JUMP)
        result[:, *box] = np.where(fitted, fit, result[:, *box])
    return result


def _affine_fit(values: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
    """For every pixel the value there of the affine function that fits best what is in the mask around it.

    Args:
        values: ``(2, h, w)``.
        mask: bool ``(h, w)``.
        size: of the square around a pixel.
    """
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(float)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    moments = np.concatenate([terms, *(value * terms[:3] for value in values)]) * mask
    moments = uniform_filter(moments, (0, size, size), mode="constant")
    mean_x, mean_y, xx, xy, yy, *products = moments[1:] / np.maximum(moments[0], 1e-9)
    stiff = _STIFF * size**2 / 12
    xx, xy, yy = xx - mean_x**2 + stiff, xy - mean_x * mean_y, yy - mean_y**2 + stiff
    determinant = xx * yy - xy**2
    fits = []
    for mean, x_product, y_product in (products[:3], products[3:]):
        x_product, y_product = x_product - mean_x * mean, y_product - mean_y * mean
        along_x, along_y = x_product * yy - y_product * xy, y_product * xx - x_product * xy
        fits.append(mean + (along_x * (x - mean_x) + along_y * (y - mean_y)) / determinant)
    return np.stack(fits)


def _between(picture: Tensor, labels: Tensor, index: Tensor, where: Tensor) -> Tensor:
    """Cubic interpolation within a part: pixels of other parts count as the nearest of this one.

    Args:
        picture: ``(3, H', W')``.
        labels: ``(H', W')``.
        index: ``(N,)``, a pixel of the part.
        where: ``(2, N)``, row and column.
    """
    height, width = labels.shape
    pixels, labels = picture.flatten(1), labels.flatten()
    limits = torch.tensor([[height - 1], [width - 1]])
    where = where.clamp(min=0).minimum(limits)

    def inside(place: Tensor, otherwise: Tensor) -> Tensor:
        """Flat indices of places ``(2, N)``, but ``otherwise`` where they are of another part."""
        flat = (place.clamp(min=0).minimum(limits) * torch.tensor([[width], [1]])).sum(0).long()
        return torch.where(labels[flat] == labels[index], flat, otherwise)

    nearest = inside(where.round(), index)
    colours = torch.zeros(3, len(index))
    for row in range(-1, 3):
        for column in range(-1, 3):
            place = where.floor() + torch.tensor([[row], [column]])
            weight = _cubic(where - place).prod(0).float()
            colours += weight * pixels[:, inside(place, nearest)]
    return colours.clamp(-1, 1)


def _cubic(distance: Tensor) -> Tensor:
    """The cubic convolution kernel of Keys."""
    t = distance.abs()
    near = (_SHARP + 2) * t**3 - (_SHARP + 3) * t**2 + 1
    far = _SHARP * (t**3 - 5 * t**2 + 8 * t - 4)
    return torch.where(t <= 1, near, torch.where(t < 2, far, 0.0))
