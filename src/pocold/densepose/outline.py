"""What stands off the body: wide clothes, hair, a collar, carried along with the outline of the body.

A DensePose map covers the body and not what is worn on it. Every pixel of the body's rim in a photograph has something
that differs from the backdrop beside it, outwards, for some pixels or for none; a rim pixel of the target takes the
strip of the rim pixel that is nearest on the resting body. Hands are left out, and at feet shadows are told from shoes.

Legend: H W target size, R pixels of a rim, N pixels beside the body.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, uniform_filter
from scipy.spatial import cKDTree
from torch import Tensor

from pocold.densepose.chart import places, step_length
from pocold.densepose.correspondence import BESIDE, HIDDEN, Photograph
from pocold.densepose.holes import spread_colours
from pocold.imaging.images import from_uint8

_REACH = 0.1  # metres from the body at most
_FAR, _HEAD_FAR = 0.3, 0.12  # metres between rim pixels from which nothing is taken; profiles wear no hair
_DIFFERENT = 0.3  # of 2, the range of a channel: more than this away from the backdrop is no backdrop ...
_UNEVEN = 2.0  # ... plus this times how far the backdrop beside it is from what is thought of it
_DEPTH, _HEAD_DEPTH = 0.35, 1.5  # what a metre from front to back counts, as in completion
_APART = 0.5  # metres that heads and feet are away from the rest
_TURNED = 0.03  # metres for strips that point another way
_ALONG, _LENGTH = 0.08, 0.6  # of so many metres of rim the length that this share does not exceed: pixels are ragged
_MIXED = 0.5  # pixels at a strip's end into which the backdrop is mixed
_ENOUGH = 0.5  # share of its length that a strip must have in the photograph
_BESIDE = 0.04  # metres to both sides along the rim over which the strips of a pose are smoothed
_SAME_WAY = 4.0  # pixels that strips are apart which point another way
_NO_STRIPS = (3, 4)
_FEET = (5, 6)
_SHOE = 0.05  # metres that one stands off a foot at most
_DARKEST = 0.1  # of the light that falls onto the floor is left in a shadow, at least
_NO_SHADOW = 0.15  # of 2; nearer to the floor in some shadow, it must look more like the foot than like the floor
_SHOE_COLOURS = 500  # of a foot that are looked at
_HEAD = (23, 24)


@dataclass(frozen=True)
class _Rim:
    """The rim of the body in a map.

    Attributes:
        place: float ``(R, 6)``, metres on the resting body, a head's or foot's distance, and the direction outwards.
        at: ``(R, 2)``, row and column.
        outwards: ``(R, 2)``, unit vectors.
        beside: ``(N, 2)``, pixels beside the body.
        owner: ``(N,)``, of each the nearest rim pixel.
        far: ``(N,)``, how many pixels it is away.
        step: metres of one pixel.
    """

    place: np.ndarray
    at: np.ndarray
    outwards: np.ndarray
    beside: np.ndarray
    owner: np.ndarray
    far: np.ndarray
    step: float


def carry_outline(photographs: Sequence[Photograph], labels: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """What stands off the body in photographs of one appearance, in a pose.

    Args:
        photographs: any sizes.
        labels: of the pose, integers 0..24, ``(H, W)``.
        uv: uint8 ``(2, H, W)``.

    Returns:
        float32 ``(3, H, W)`` in [-1, 1], and float32 ``(H, W)`` in 0..1: 0 where nothing stands off the body, else how
        near to each other the two rim pixels are.
    """
    colours, certain = torch.zeros(3, labels.numel()), torch.zeros(labels.numel())
    height, width = labels.shape
    target = _rim(labels.numpy(), uv.numpy())
    strips = [strip for photo in photographs if (strip := _strips(photo)) is not None]
    if target is not None and strips:
        chosen, lengths, far = _matched(target, strips)
        starts = np.cumsum([0] + [len(rim.at) for rim, _, _ in strips])
        metres = target.far * target.step
        wanted = metres <= lengths[target.owner]
        for number, (rim, picture, own) in enumerate(strips):
            mine = wanted & (chosen[target.owner] >= starts[number]) & (chosen[target.owner] < starts[number + 1])
            owner = chosen[target.owner[mine]] - starts[number]
            pixels = np.minimum(metres[mine], (own[owner] - _MIXED * rim.step).clip(0)) / rim.step
            row, column = np.rint(rim.at[owner] + pixels[:, None] * rim.outwards[owner]).astype(int).T
            row, column = row.clip(0, picture.shape[1] - 1), column.clip(0, picture.shape[2] - 1)
            place = target.beside[mine] @ np.array([width, 1])
            colours[:, place] = picture[:, row, column]
            certain[place] = torch.from_numpy(np.exp(-far[target.owner[mine]] / _REACH)).float()
    return colours.view(3, height, width), certain.view(height, width)


def _matched(target: _Rim, strips: list[tuple[_Rim, Tensor, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every rim pixel of the target the nearest of all photographs, the length of its strip in metres, and how far
    away on the body it is."""
    found = np.concatenate([rim.place for rim, _, _ in strips])
    own = np.concatenate([lengths for _, _, lengths in strips])
    tree = cKDTree(np.concatenate([found, found * np.array([-1, 1, 1, 1, 1, -1])]))  # and the body's mirror image
    count = max(round(_ALONG / min(rim.step for rim, _, _ in strips)), 1)
    far, index = tree.query(target.place, k=list(range(1, min(count, 2 * len(found)) + 1)))
    index %= len(found)
    lengths = np.quantile(own[index], _LENGTH, axis=1)
    lengths[far[:, 0] > np.where(target.place[:, 3] > 0, _HEAD_FAR, _FAR)] = -1
    lengths = _smoothed(lengths, target)
    # the nearest that has something as far out, if one of them has
    first = np.argmax(own[index] >= _ENOUGH * lengths[:, None], axis=1)[:, None]
    chosen, away = (np.take_along_axis(values, first, axis=1)[:, 0] for values in (index, far))
    return chosen, lengths, away


def _smoothed(lengths: np.ndarray, rim: _Rim) -> np.ndarray:
    """The lengths of a rim's strips, each as its neighbours have it that point the same way: neighbours in a pose come
    from here and there in a photograph, and clothes have no thorns."""
    where = np.concatenate([rim.at, _SAME_WAY * rim.outwards], axis=1)
    count = min(2 * round(_BESIDE / rim.step) + 1, len(where))
    _, beside = cKDTree(where).query(where, k=count)
    return np.asarray(np.quantile(lengths[beside.reshape(len(where), -1)], _LENGTH, axis=1))


@lru_cache(maxsize=8)  # of the same photographs for every pose
def _strips(photo: Photograph) -> tuple[_Rim, Tensor, np.ndarray] | None:
    """The rim in a photograph, its picture, and for every rim pixel how many metres something stands off there."""
    labels = photo.labels.masked_fill(photo.labels == BESIDE, 0)  # colours tell it more exactly than a mask
    rim = _rim(labels.numpy(), photo.uv.numpy())
    picture = from_uint8(photo.picture)
    found = None if rim is None else _different(picture, labels, int(_REACH / rim.step))
    if rim is None or found is None:
        return None
    different, behind = found
    backdrop = ~different[*rim.beside.T]
    feet = np.isin(labels.numpy()[*rim.at.T], _FEET)[rim.owner]
    backdrop[feet] |= ~_shoe(picture, labels, behind, rim.beside[feet])
    backdrop |= feet & (rim.far * rim.step > _SHOE)
    longest, ends = np.zeros(len(rim.at)), np.full(len(rim.at), np.inf)
    np.maximum.at(longest, rim.owner, rim.far)
    np.minimum.at(ends, rim.owner[backdrop], rim.far[backdrop] - 0.5)  # halfway to the first pixel of the backdrop
    metres = np.minimum(ends, longest) * rim.step
    return rim, picture, metres


def _shoe(picture: Tensor, labels: Tensor, backdrop: Tensor, places: np.ndarray) -> np.ndarray:
    """bool ``(P,)``: which of the pixels ``places (P, 2)`` are nearer in colour to a foot than to the floor, lit or in
    shadow, or not near to the floor at all."""
    if len(places) == 0:
        return np.zeros(0, bool)
    foot = picture[:, np.isin(labels.numpy(), _FEET)].T.numpy()
    own, floor = (1 + colours[:, *places.T].T.numpy() for colours in (picture, backdrop))
    light = ((own * floor).sum(1) / np.square(floor).sum(1).clip(1e-6)).clip(_DARKEST, 1)
    from_floor = np.abs(own - light[:, None] * floor).max(1)
    from_foot, _ = cKDTree(1 + foot[:: max(len(foot) // _SHOE_COLOURS, 1)]).query(own, p=np.inf)
    nearer: np.ndarray = (from_floor > _NO_SHADOW) | (from_foot < from_floor)
    return nearer


def _different(picture: Tensor, labels: Tensor, margin: int) -> tuple[np.ndarray, Tensor] | None:
    """bool ``(H', W')``: what is not the backdrop that is seen further than ``margin`` pixels from the body, and that
    backdrop, ``(3, H', W')``; None where none is seen."""
    clear = torch.from_numpy(distance_transform_edt(labels.numpy() == 0) > margin)
    if not bool(clear.any()):
        return None
    shares = torch.cat([picture * clear, clear[None]]).numpy()
    mean = torch.from_numpy(uniform_filter(shares, (1, 2 * margin + 1, 2 * margin + 1), mode="nearest"))
    unevenness = (picture - mean[:3] / mean[3].clamp(min=1e-6)).abs().amax(0, keepdim=True)
    backdrop, uneven = spread_colours(torch.cat([picture, unevenness]), clear).split([3, 1])
    return np.asarray((picture - backdrop).abs().amax(0) > _DIFFERENT + _UNEVEN * uneven[0]), backdrop


def _rim(labels: np.ndarray, uv: np.ndarray) -> _Rim | None:
    """The rim in a map; None where there is none, or nothing beside it."""
    body = labels != 0
    shown = body & (labels != HIDDEN)
    if not shown.any() or body.all():
        return None
    step = step_length(np.where(shown, labels, 0), uv)
    far, nearest = distance_transform_edt(~body, return_indices=True)
    beside = ~body & (far * step <= _REACH)
    beside &= shown[*nearest] & ~np.isin(labels[*nearest], _NO_STRIPS)
    if not beside.any():
        return None
    pixels, far = np.argwhere(beside), far[beside]
    rows, columns = nearest[:, beside]
    flat, owner, count = np.unique(rows * labels.shape[1] + columns, return_inverse=True, return_counts=True)
    at = np.stack(np.divmod(flat, labels.shape[1]), axis=1)
    outwards = np.stack([np.bincount(owner, (pixels - at[owner])[:, axis] / far) / count for axis in (0, 1)], axis=1)
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True).clip(1e-6)
    parts = labels[*at.T]
    place = np.zeros((len(at), 6))
    place[:, :3] = places(parts, uv[:, *at.T])
    place[:, 1] *= np.where(np.isin(parts, _HEAD), _HEAD_DEPTH, _DEPTH)
    place[:, 3] = _APART * (1.0 * np.isin(parts, _HEAD) - np.isin(parts, _FEET))
    place[:, 4:] = _TURNED * outwards
    return _Rim(place, at, outwards, pixels, owner, far, step)
