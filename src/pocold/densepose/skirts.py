"""Skirts and dresses: found in a photograph, and hung onto the body in another pose.

A DensePose map covers the legs and not the cloth around and between them. In a photograph that cloth is what is more
like the legs' own colours at its height than like the backdrop; in a pose it hangs straight down from the hips, as wide
as the photograph and the legs have it. Trousers are none: between their legs is backdrop.

Legend: H W map size, H' W' size of a photograph, N pixels.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import (
    binary_opening,
    distance_transform_edt,
    gaussian_filter,
    gaussian_filter1d,
    label,
    map_coordinates,
    median_filter,
)
from scipy.spatial import cKDTree
from torch import Tensor

from pocold.densepose.chart import places, step_length
from pocold.densepose.correspondence import BESIDE, HIDDEN, Photograph, Surface
from pocold.densepose.holes import spread_colours
from pocold.imaging.images import from_uint8

_TRUNK, _THIGHS, _SHINS = (1, 2), (7, 8, 9, 10), (11, 12, 13, 14)
_CORE = (*_TRUNK, *_THIGHS, *_SHINS)
_ONE_LEG = ((7, 9, 11, 13), (8, 10, 12, 14))
# Metres below the height of the hips. A skirt is looked for from its top to the floor, and it is one by what is below
# the crotch.
_TOP, _CROTCH, _FLOOR = -0.09, 0.02, 0.75
_NEAR = 0.06  # metres up or down within which a point of the body tells where hips or knees are
_KNEES = -0.33  # their height on the resting body ...
_LIFTED = 0.13  # ... and metres below the hips above which a knee carries a skirt along
_BELOW_FEET = 0.09  # metres that cloth can hang lower than the legs that are seen
# Metres: the backdrop is seen so far from the body and, beside the legs, from them, or at so much of the way to the
# picture's edge; cloth is no further from the legs than that.
_OFF_BODY, _OFF_LEGS, _OFF_SHARE, _REACH = 0.09, 0.45, 0.75, 0.5
_HEIGHT_COUNTS = 0.12  # of 2, the range of a channel: the difference that a metre of height makes
_SAMPLES, _NEIGHBOURS, _FEW = 700, 3, 50
_NEARLY = 0.5  # neighbours are at most that much further away than the nearest
# In a skirt's rows at most this share is backdrop; it is so long, and on average stands off the legs so far, in metres.
_GAP, _SHORTEST, _WIDE, _WIDEST = 0.08, 0.09, 0.07, 0.8
_ROUND_HEM = 0.13  # metres that it hangs lower than the row in which the backdrop comes in between
_SMOOTH, _SOFT = 0.03, 0.01  # metres; of outlines along their way, and across it
# A skirt's width in metres by the one in the photograph, that of the photograph's legs, and that of the pose's legs:
# fitted to 8,528 rows of drawn people, 8 cm off (13 cm where the photograph's width is kept).
_WIDTH = (0.76, -0.58, 0.71, 0.1)
_TIGHT, _FREE = -0.09, 0.17  # metres below the hips between which that begins to hold; above cloth stands off as it did
_FLARE = 2.0  # metres that it gets wider with every metre down, at most
_LEAST = 0.03  # metres that it is wider than the legs
_SEAM = 0.09  # metres below its top over which it takes the place of what is on the body


@dataclass(frozen=True)
class _Hips:
    """Where a map has hips and legs.

    Attributes:
        drop: ``(H,)``, metres that rows are below the hips.
        column: of their middle.
        left, right: ``(H,)``, first and last column of trunk and legs; -1 in rows without.
        step: metres of one pixel.
    """

    drop: np.ndarray
    column: float
    left: np.ndarray
    right: np.ndarray
    step: float

    @property
    def widths(self) -> np.ndarray:
        """Metres that trunk or legs are wide, ``(H,)``."""
        return (self.right - self.left + 1) * self.step

    @property
    def middles(self) -> np.ndarray:
        """Columns that a skirt hangs around, ``(H,)``: between that of the hips and that of the legs."""
        return (self.column + (self.left + self.right) / 2) / 2


@dataclass(frozen=True, eq=False)
class Skirt:
    """What hangs around the legs in a photograph.

    Attributes:
        picture: float32 ``(3, H', W')`` in [-1, 1]; what lies over the cloth has the colours around it.
        covers: bool ``(H', W')``, where it is, over the legs too.
        beside: bool ``(H', W')``, where it is and no part of the body.
        drop: ``(H',)``, metres that rows are below the hips.
        left, right: ``(H',)``, the columns of its outline, as if it had no hem.
        legs: ``(H',)``, metres that trunk or legs are wide.
        step: metres of one pixel.
    """

    picture: Tensor
    covers: np.ndarray
    beside: np.ndarray
    drop: np.ndarray
    left: np.ndarray
    right: np.ndarray
    legs: np.ndarray
    step: float

    @property
    def size(self) -> float:
        """Square metres that are seen."""
        return float(self.covers.sum() * self.step**2)


def with_skirts(
    surface: Surface, labels: Tensor, uv: Tensor, picture: Tensor, confidence: Tensor
) -> tuple[Tensor, Tensor]:
    """A picture of the body with what the photographs show to hang around the legs.

    Args:
        surface: what is known of the person.
        labels: of the pose, integers 0..24, ``(H, W)``.
        uv: uint8 ``(2, H, W)``.
        picture: float32 ``(3, H, W)`` in [-1, 1].
        confidence: float32 ``(H, W)``.

    Returns:
        Both, anew.
    """
    for weight, photographs in surface.layers:
        found = [skirt for photo in photographs if (skirt := skirt_of(photo)) is not None]
        if found:
            colours, share = hang(max(found, key=lambda skirt: skirt.size), labels, uv)
            share = weight * share
            picture = (1 - share) * picture + share * colours
            confidence = (1 - share) * confidence + share  # it is seen, though not where it falls
    return picture, confidence


@lru_cache(maxsize=8)  # of the same photographs for every pose
def without_skirt(photo: Photograph) -> Photograph:
    """The photograph, where a skirt beside the body is no backdrop."""
    skirt = skirt_of(photo)
    if skirt is None:
        return photo
    taken = torch.from_numpy(skirt.beside) & (photo.labels == 0)
    return replace(photo, labels=photo.labels.masked_fill(taken, HIDDEN))


def parts_of(photo: Photograph, parts: Collection[int]) -> Photograph:
    """What a photograph shows of some parts of the body; a skirt goes with the thighs.

    Args:
        photo: the whole.
        parts: labels 1..24, 0 for the backdrop.
    """
    labels = photo.labels.masked_fill(~torch.isin(photo.labels, torch.tensor(sorted(parts), dtype=torch.uint8)), HIDDEN)
    skirt = skirt_of(photo)
    if skirt is not None:
        labels[torch.from_numpy(skirt.beside)] = BESIDE if set(_THIGHS) <= set(parts) else HIDDEN
    return replace(photo, labels=labels)


@lru_cache(maxsize=8)
def skirt_of(photo: Photograph) -> Skirt | None:
    """What hangs around the legs in a photograph; None where nothing does, or none can be told."""
    labels = photo.labels.numpy()
    hips = _hips(labels, photo.uv.numpy())
    if hips is None or _lifted(labels, photo.uv.numpy(), hips):
        return None
    picture, core = from_uint8(photo.picture), np.isin(labels, _CORE)
    beside = _cloth(picture.numpy(), labels, core, hips)
    cloth = beside | core
    left, right = _ends(cloth)
    column = np.arange(labels.shape[1])
    inside = (column >= left[:, None]) & (column <= right[:, None])
    backdrop = inside & ~cloth & np.isin(labels, (0, BESIDE))
    gap, stands_off = backdrop.sum(1) / np.maximum(inside.sum(1), 1), beside.sum(1) * hips.step
    rows = np.flatnonzero((hips.left >= 0) & (hips.drop > _CROTCH) & (hips.drop < _FLOOR))
    none = (gap[rows] > _GAP) | (stands_off[rows] == 0)
    none = binary_opening(none, np.ones(3))  # single rows may be wrong
    rows = rows[: int(none.argmax())] if none.any() else rows
    if len(rows) == 0 or hips.drop[rows[-1]] < _SHORTEST or not _WIDE < stands_off[rows].mean() < _WIDEST:
        return None
    hem = _hem(cloth, beside, labels, rows[0], rows[-1] + round(_ROUND_HEM / hips.step), hips.step)
    covers = inside & ~backdrop & (np.arange(len(labels))[:, None] <= hem) & (hips.drop > _TOP)[:, None]
    covers = _even(covers, hips.step)
    seen = covers & cloth
    if not seen.any():
        return None
    left, right = (end.astype(float) for end in _ends(covers))
    own, smooth = covers.any(1), _SMOOTH / hips.step
    # it is nowhere narrower than above: where it seems to be, its hem is round
    left[own] = gaussian_filter1d(np.minimum.accumulate(left[own]), smooth, mode="nearest")
    right[own] = gaussian_filter1d(np.maximum.accumulate(right[own]), smooth, mode="nearest")
    filled = spread_colours(picture, torch.from_numpy(seen))
    return Skirt(filled, covers, covers & beside, hips.drop, left, right, hips.widths, hips.step)


def hang(skirt: Skirt, labels: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """A skirt in a pose.

    Args:
        skirt: of :func:`skirt_of`.
        labels: of the pose, integers 0..24, ``(H, W)``.
        uv: uint8 ``(2, H, W)``.

    Returns:
        float32 ``(3, H, W)`` in [-1, 1], and float32 ``(H, W)`` in 0..1, how much of it is seen: none in a pose without
        hips, or with a knee so high that cloth would not hang straight down.
    """
    pose, steps = labels.numpy(), uv.numpy()
    colours, share = torch.zeros(3, *pose.shape), torch.zeros(pose.shape)
    hips = _hips(pose, steps)
    if hips is None or _lifted(pose, steps, hips):
        return colours, share
    own = np.flatnonzero(skirt.covers.any(1))
    rows = np.flatnonzero((hips.left >= 0) & (hips.drop >= skirt.drop[own[0]]) & (hips.drop <= skirt.drop[own[-1]]))
    if len(rows) == 0:
        return colours, share
    row = np.interp(hips.drop[rows], skirt.drop, np.arange(len(skirt.drop)))
    left, right, legs = (
        np.interp(row, np.arange(len(skirt.drop)), values) for values in (skirt.left, skirt.right, skirt.legs)
    )
    half, smooth = _widths((right - left + 1) * skirt.step, legs, hips, rows) / hips.step / 2, _SMOOTH / hips.step
    middle = gaussian_filter1d(hips.middles[rows], smooth, mode="nearest")
    across = (np.arange(pose.shape[1]) - middle[:, None]) / gaussian_filter1d(half, smooth, mode="nearest")[:, None]
    column = left[:, None] + (across + 1) / 2 * (right - left)[:, None]
    nearest = np.rint(column).astype(int)
    free = (np.abs(across) <= 1) & (nearest >= 0) & (nearest < skirt.covers.shape[1])
    free &= np.isin(pose[rows], (0, *_CORE))  # not over hands, arms, feet
    free[free] = skirt.covers[np.broadcast_to(np.rint(row).astype(int)[:, None], free.shape)[free], nearest[free]]
    y, x = np.nonzero(free)
    there = np.stack([row[y], column[y, x]])
    for channel, values in enumerate(skirt.picture.numpy()):
        colours[channel, rows[y], x] = torch.from_numpy(map_coordinates(values, there, order=1, mode="nearest"))
    seam = ((hips.drop[rows] - _TOP) / _SEAM).clip(0, 1)
    share[rows[y], x] = torch.from_numpy(np.where(pose[rows[y], x] > 0, seam[y], 1)).float()
    return colours, share


def _widths(own: np.ndarray, legs: np.ndarray, hips: _Hips, rows: np.ndarray) -> np.ndarray:
    """Metres that a skirt is wide in the rows of a pose, by ``own`` width and ``legs`` in the photograph."""
    here = hips.widths[rows]
    tight = here + own - legs
    loose = _WIDTH[0] * own + _WIDTH[1] * legs + _WIDTH[2] * here + _WIDTH[3]
    share = ((hips.drop[rows] - _TIGHT) / (_FREE - _TIGHT)).clip(0, 1)
    wide = np.minimum((1 - share) * tight + share * loose, here + _LEAST + _FLARE * (hips.drop[rows] - _TOP))
    widths: np.ndarray = np.maximum(wide, here + _LEAST)
    return widths


def _hips(labels: np.ndarray, uv: np.ndarray) -> _Hips | None:
    y, x = np.nonzero(np.isin(labels, _TRUNK + _THIGHS))
    near = np.abs(places(labels[y, x], uv[:, y, x])[:, 2]) < _NEAR
    if not near.any():
        return None
    step = step_length(np.where(labels < BESIDE, labels, 0), uv)
    left, right = _ends(np.isin(labels, _CORE))
    last = np.flatnonzero(left >= 0)[-1]
    for end in (left, right):
        end[last : last + 1 + round(_BELOW_FEET / step)] = end[last]
    drop = (np.arange(len(labels)) - np.median(y[near])) * step
    return _Hips(drop, float(np.median(x[near])), left, right, step)


def _lifted(labels: np.ndarray, uv: np.ndarray, hips: _Hips) -> bool:
    """Whether a knee is so high that it carries a skirt along."""
    for leg in _ONE_LEG:
        y, x = np.nonzero(np.isin(labels, leg))
        knee = np.abs(places(labels[y, x], uv[:, y, x])[:, 2] - _KNEES) < _NEAR
        if knee.any() and np.median(hips.drop[y[knee]]) < _LIFTED:
            return True
    return False


def _ends(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last column of each row of ``mask (H, W)``; -1 where there is none."""
    some, width = mask.any(1), mask.shape[1]
    return np.where(some, mask.argmax(1), -1), np.where(some, width - 1 - mask[:, ::-1].argmax(1), -1)


def _cloth(picture: np.ndarray, labels: np.ndarray, core: np.ndarray, hips: _Hips) -> np.ndarray:
    """bool ``(H', W')``: beside trunk and legs, joined to them, and more like them than like the backdrop."""
    column, drop = np.arange(labels.shape[1]), hips.drop[:, None]
    rows = (hips.left[:, None] >= 0) & (drop > _TOP) & (drop < _FLOOR)
    away = np.maximum(hips.left[:, None] - column, column - hips.right[:, None]) * hips.step
    wanted = rows & (away < _REACH)
    beside = wanted & (labels == BESIDE)
    if not (labels == BESIDE).any():  # no mask tells it
        off = labels == 0
        far = min(_OFF_LEGS, _OFF_SHARE * float(np.max(away, where=rows, initial=0)))
        backdrop = off & (distance_transform_edt(off) * hips.step > _OFF_BODY) & ((away > far) | ~rows)
        wanted, legs = wanted & off, core & rows
        if min(backdrop.sum(), legs.sum()) < _FEW or not wanted.any():
            return beside
        height = np.broadcast_to(drop * _HEIGHT_COUNTS, labels.shape)
        colours = np.concatenate([picture, height[None]]).astype(np.float32).transpose(1, 2, 0)
        beside[wanted] = _distance(colours[legs], colours[wanted]) < _distance(colours[backdrop], colours[wanted])
        beside = _even(binary_opening(beside) | core, hips.step) & wanted
    joined, _ = label(beside | core)
    return beside & np.isin(joined, np.unique(joined[core & rows]))


def _even(mask: np.ndarray, step: float) -> np.ndarray:
    """``mask (H', W')`` without thorns and pinholes."""
    even: np.ndarray = gaussian_filter(mask.astype(np.float32), _SOFT / step) > 0.5
    return even


def _distance(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of ``wanted (N, 4)`` to the nearest few of ``known``, on average."""
    tree = cKDTree(known[:: max(len(known) // _SAMPLES, 1)])
    far: np.ndarray = tree.query(wanted, k=_NEIGHBOURS, eps=_NEARLY)[0].mean(1)
    return far


def _hem(cloth: np.ndarray, beside: np.ndarray, labels: np.ndarray, top: int, bottom: int, step: float) -> np.ndarray:
    """The last row of a skirt in each column, ``(W',)``; where legs hide it, between those where it is seen."""
    height, width = cloth.shape
    hem = np.full(width, np.nan)
    for column in np.flatnonzero(beside[top : bottom + 1].any(0)):
        first = top + int(beside[top:, column].argmax())
        below = np.flatnonzero(~cloth[first:, column])
        end = first + int(below[0]) if len(below) else height
        if end == height or labels[end, column] in (0, BESIDE):
            hem[column] = end - 1
    known = np.flatnonzero(np.isfinite(hem))
    if len(known) == 0:
        return np.full(width, float(bottom))
    hem = np.interp(np.arange(width), known, hem[known])
    smooth = max(3, round(_SMOOTH / step) | 1)
    lowest: np.ndarray = np.minimum(median_filter(hem, smooth, mode="nearest"), bottom)
    return lowest
