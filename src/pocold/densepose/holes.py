"""Pixels of a picture that nothing is known of, filled from those around them.

Legend: H W picture size, C channels.
"""

import torch
import torch.nn.functional as F
from scipy.ndimage import maximum_filter
from torch import Tensor

_USUAL = 24  # how many times the usual margin goes into the height


def fill_holes(
    picture: Tensor, found: Tensor, labels: Tensor, margin: int | None = None, mirrored: bool = False
) -> Tensor:
    """Give pixels that nothing was found for the colours around them: background from background, body from body.

    The colour of a hole is the average of what was found in the smallest of ever larger squares that holds anything.
    Holes of the background are where the source's body was; what is found right beside them is mostly the clothes and
    hair that stand off it, and is filled anew as well.

    Args:
        picture: float ``(C, H, W)``.
        found: bool ``(H, W)``.
        labels: body labels ``(H, W)``.
        margin: pixels beside holes of the background that are filled anew; None takes a 24th of the height.
        mirrored: the background goes on in its holes, mirrored at their left and right edges, so that a horizon and
            what lies on the ground go through; the average where nothing is to be mirrored.

    Returns:
        ``(C, H, W)``. A kind of pixel that was found nowhere is filled from the other, and a picture without any found
        pixel is returned as it is.
    """
    background, margin = labels == 0, len(labels) // _USUAL if margin is None else margin
    holes = (background & ~found).cpu().numpy()
    beside = torch.from_numpy(maximum_filter(holes, 2 * margin + 1, mode="constant")).to(found.device)
    kept = found & ~(background & beside)
    if not bool((kept & background).any()):
        kept = found
    for kind in (~background, background):
        usable = kept & kind if bool((kept & kind).any()) else kept
        if bool(usable.any()):
            filled = spread_colours(picture, usable)
            if mirrored and kind is background and bool((usable & background).any()):
                filled = _mirrored(filled, usable)
            picture = torch.where(kind & ~kept, filled, picture)
    return picture


def _mirrored(picture: Tensor, usable: Tensor) -> Tensor:
    """``picture (C, H, W)`` with what is usable mirrored into the gaps of each row, the nearer edge counting more."""
    height, width = usable.shape
    column = torch.arange(width).expand(height, width)
    left = torch.where(usable, column, -1).cummax(1).values
    right = torch.where(usable, column, width).flip(1).cummin(1).values.flip(1)
    gap = (right - left).clamp(min=1).float()
    total, colours = torch.zeros(height, width), torch.zeros_like(picture)
    for edge, share in ((left, (right - column) / gap), (right, (column - left) / gap)):
        place = (2 * edge - column).clamp(0, width - 1)
        there = (edge >= 0) & (edge < width) & (place == 2 * edge - column) & usable.gather(1, place)
        alone = (left < 0) | (right == width)  # a gap that reaches the picture's side has one edge
        share = there * torch.where(alone, 1.0, share.clamp(0, 1))
        colours += share * picture.gather(2, place.expand(len(picture), -1, -1))
        total += share
    return colours + (1 - total) * picture


def spread_colours(picture: Tensor, usable: Tensor) -> Tensor:
    """Where a pixel is not usable, the average of the usable ones in ever larger squares.

    Args:
        picture: float ``(C, H, W)``.
        usable: bool ``(H, W)``, somewhere True.

    Returns:
        ``(C, H, W)``, equal to ``picture`` where it is usable.
    """
    return _spread(picture[None], usable[None, None].to(picture))[0]


def _spread(picture: Tensor, weight: Tensor) -> Tensor:
    """``picture (1, C, h, w)``; where ``weight (1, 1, h, w)`` is zero, the average of ever coarser levels."""
    if bool((weight > 0).all()) or max(picture.shape[-2:]) == 1:
        return picture
    coarse_weight = F.avg_pool2d(weight, 2, ceil_mode=True)
    coarse = F.avg_pool2d(picture * weight, 2, ceil_mode=True) / coarse_weight.clamp(min=1e-12)
    coarse = _spread(coarse, coarse_weight)
    size = (picture.shape[-2], picture.shape[-1])
    return torch.where(weight > 0, picture, F.interpolate(coarse, size, mode="bilinear", align_corners=False))
