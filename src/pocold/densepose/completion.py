"""Completing what a photograph shows, on the body: points that it hides take the colour of the nearest that it shows.

Every (part, U, V) has a place on the body at rest (``surface_chart.npz``, see ``scripts/pack_surface_chart.py``), so
"nearest" is measured in metres there and not in the picture: a back takes the colour of the front, an arm that of the
other arm. Hands, feet and head are completed from their own kind where any of it is seen. Nothing is taken from pixels
into which something else is mixed: the backdrop at the rim of the body, or an arm that lies over it. What stands off
the body is carried along with its outline (``outline.py``), skirts hang from the hips (``skirts.py``).

Legend: H W target size, M seen points of the body, N points to complete, K neighbours.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import binary_dilation, minimum_filter
from scipy.spatial import cKDTree
from torch import Tensor

from pocold.densepose.chart import neighbours, places, step_length
from pocold.densepose.correspondence import BESIDE, HIDDEN, Photograph, Surface, uv_steps
from pocold.densepose.outline import carry_outline
from pocold.densepose.skirts import with_skirts, without_skirt
from pocold.imaging.images import from_uint8

# What a metre counts for: through the body from front to back less, so that a back takes the front's colour at the same
# height. Not through the head, whose back is hair and whose front is a face.
_DEPTH, _HEAD_DEPTH = 0.35, 1.5
# Clothes are the same all around at one height (stripes, waists, hems), so that on the trunk height counts for more,
# from where the thighs begin.
_HEIGHT, _THIGHS = 2.0, 0.04
_TRUNK = (1, 2, *range(15, 23))
# Metres from the middle of a front, and up, within which there are prints, buttons, ties and necklines, which no back
# has: where the colour there differs by this of 2 from what lies beyond that line, a back takes the latter.
_MIDDLE, _WAIST, _PRINT = 0.08, 0.1, 0.2
_PRINT_EDGE = 0.02  # metres around it
_BACK, _FRONT = 1, 2
# A foot's chart gives top and sole the same U and V, so that neither says where a shoe ends. The picture does: heights
# above a foot's lowest pixel take the place of those on the body, and count for this.
_FOOT_HEIGHT = 1.5
_MIRROR_COST = 0.03  # metres that the mirror image of the body is further away
_NEIGHBOURS = 4
_SPREAD = 0.3  # neighbours this share of the distance further away still count
# A head is hair above the hairline and behind the ears, in metres up and backwards on the resting body, and face or
# neck below; the hairline is a band, for not all people have the same. Face and hair are a long way from each other:
# the back of a head takes what the front shows at its very top, not eyes.
_HAIRLINE, _HAIR, _BEHIND_EARS, _NECK, _HAIR_APART = 0.915, 0.945, -0.04, 0.80, 0.5
_RIM = np.ones((3, 3), bool)  # beside the backdrop, also over a corner
_OVERLAP = 0.12  # metres; neighbours in a picture that are further apart on the body lie one over the other
_EDGE = 80  # an edge of what lies over something, sleeve included, is this part of the height wide
_REACH = 0.1  # metres over which confidence falls to 1/e
_STANDS_OFF = 0.5  # of the confidence in what stands off the body: no map says that it does
# Kinds of skin that clothes must not be drawn onto, and the rest.
_KINDS = (frozenset({3, 4}), frozenset({5, 6}), frozenset({23, 24}), frozenset(range(1, 25)) - {3, 4, 5, 6, 23, 24})
_FEET, _HEAD = _KINDS[1:3]


def complete(surface: Surface, labels: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """The person's picture in a pose, with what no photograph shows taken from the nearest place on the body.

    Args:
        surface: what is known of the person.
        labels: of the pose, integers 0..24, ``(H, W)``.
        uv: ``(2, H, W)`` in [0, 1], or uint8 in 0..255.

    Returns:
        float32 ``(3, H, W)`` in [-1, 1], equal to :meth:`Surface.warp` (between pixels) where the point of the body is
        seen other than at an edge of the body, on a foot or under a skirt, and in the background save for what stands
        off the body; and the confidence, float32 ``(H, W)``: 1 where the very point is seen or a skirt hangs, towards 0
        with the distance of what was taken instead, 0 in a background that was filled, and at most 0.5 for what else
        stands off the body.
    """
    steps = uv_steps(uv)
    picture, confidence = complete_body(surface.changed(without_skirt), labels, steps)
    return with_skirts(surface, labels, steps, picture, confidence)


def complete_body(surface: Surface, labels: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`complete`, without skirts; ``uv`` is uint8."""
    picture, visible = surface.changed(_without_edge).warp(labels, uv, between=True)
    feet = torch.isin(labels, torch.tensor([*_FEET], dtype=labels.dtype))  # of other heights, perhaps
    picture, confidence = _complete_parts(surface, labels, uv, picture, visible.masked_fill(feet, 0))
    confidence = torch.maximum(confidence, visible.masked_fill(~feet, 0))
    for weight, photographs in surface.layers:
        colours, certain = carry_outline(photographs, labels, uv)
        covered = certain > 0
        share = weight * covered
        picture = (1 - share) * picture + share * colours
        confidence = torch.where(covered, (1 - share) * confidence + share * certain * _STANDS_OFF, confidence)
    return picture, confidence


def _complete_parts(
    surface: Surface, labels: Tensor, uv: Tensor, picture: Tensor, visible: Tensor
) -> tuple[Tensor, Tensor]:
    """Picture and confidence, completed on the body alone; ``uv`` is uint8."""
    wanted = (labels > 0) & (visible < 1)
    if not bool(wanted.any()):
        return picture, visible
    hidden, parts = uv[:, wanted].numpy(), labels[wanted].numpy()
    heights = _foot_heights(labels.numpy(), uv.numpy())[wanted.numpy()]
    filled = torch.zeros(3, len(parts))
    confidence, known = torch.zeros(len(parts)), torch.zeros(len(parts))
    for weight, photographs in surface.layers:
        colours, distance = _nearest_colours(photographs, parts, hidden, heights)
        found = torch.isfinite(distance)
        filled += torch.where(found, weight * colours, 0.0)
        confidence += torch.where(found, weight * torch.exp(-distance / _REACH), 0.0)
        known += weight * found
    usable = known > 0
    whole = known.masked_fill(~usable, 1)
    # of a blend some layers may show the point: what they show counts by its share, the completion by the rest
    share = visible[wanted]
    picture = picture.clone()
    mixed = share * picture[:, wanted] + (1 - share) * filled / whole
    picture[:, wanted] = torch.where(usable, mixed, picture[:, wanted])
    trusted = visible.clone()
    trusted[wanted] = share + (1 - share) * confidence / whole
    return picture, trusted


def _nearest_colours(
    photographs: tuple[Photograph, ...], parts: np.ndarray, uv: np.ndarray, heights: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Colours ``(3, N)`` in [-1, 1] and distances ``(N,)`` in metres, infinite where nothing can be taken.

    Args:
        photographs: of one appearance.
        parts: ``(N,)``, labels 1..24 of the points to complete.
        uv: uint8 ``(2, N)``.
        heights: ``(N,)``, of :func:`_foot_heights`.
    """
    shown = np.concatenate([photo.labels.flatten().numpy() for photo in photographs])
    inside = np.concatenate([_inside(photo).ravel() for photo in photographs])
    body = np.flatnonzero((shown > 0) & (shown < BESIDE))
    colours = np.zeros((3, len(parts)), np.float32)
    distance = np.full(len(parts), np.inf, np.float32)
    if len(body) == 0:
        return torch.from_numpy(colours), torch.from_numpy(distance)
    seen = shown[body]
    points = np.concatenate([photo.uv.flatten(1).numpy() for photo in photographs], 1)[:, body]
    lifted = np.concatenate([_lifted(photo).ravel() for photo in photographs])
    pixels = torch.cat([photo.picture.flatten(1) for photo in photographs], 1)[:, torch.from_numpy(body)]
    values = from_uint8(pixels).numpy()
    for kind in _KINDS:
        targets = np.flatnonzero(np.isin(parts, list(kind)))
        if len(targets) == 0:
            continue
        sources = np.flatnonzero(np.isin(seen, list(kind)))
        known = len(sources) > 0
        if not known:
            sources = np.arange(len(seen))
        if inside[body[sources]].any():
            sources = sources[inside[body[sources]]]
        depth = _HEAD_DEPTH if kind is _HEAD else _DEPTH
        found = _places(seen[sources], points[:, sources], depth)
        wanted = _places(parts[targets], uv[:, targets], depth)
        if kind is _FEET and known:
            found[:, 2], wanted[:, 2] = lifted[body[sources]], heights[targets]
        mirrored = found * np.array([-1, 1, 1, 1, 1], np.float32) + np.array([0, 0, 0, _MIRROR_COST, 0], np.float32)
        tree = cKDTree(np.concatenate([found, mirrored]), balanced_tree=False, compact_nodes=False)
        both = np.tile(sources, 2)
        colours[:, targets], distance[targets], nearest = _taken(tree, wanted, values[:, both])
        middle = (seen[both[nearest]] == _FRONT) & _middle_of_back(parts[targets], uv[:, targets])
        if middle.any():
            own = colours[:, targets[middle]]
            colours[:, targets[middle]] = _without_print(tree, wanted[middle], values[:, both], own)
    return torch.from_numpy(colours), torch.from_numpy(distance)


def _foot_heights(labels: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """float32 ``(H, W)``: how high above its lowest pixel a foot's is in a picture, in metres, as it counts; else 0."""
    heights = np.zeros(labels.shape, np.float32)
    for foot in _FEET:
        rows, columns = np.nonzero(labels == foot)
        heights[rows, columns] = rows.max(initial=0) - rows
    if heights.any():
        heights *= _FOOT_HEIGHT * step_length(np.where(labels < BESIDE, labels, 0), uv)
    return heights


@lru_cache(maxsize=8)  # of the same photographs for every pose
def _lifted(photo: Photograph) -> np.ndarray:
    """The heights of a photograph's feet."""
    return _foot_heights(photo.labels.numpy(), photo.uv.numpy())


def _middle_of_back(parts: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """bool ``(N,)``: where fronts may have a print."""
    place = places(parts, uv)
    return (parts == _BACK) & (np.abs(place[:, 0]) < _MIDDLE) & (place[:, 2] > _WAIST)


def _without_print(tree: cKDTree, wanted: np.ndarray, pixels: np.ndarray, own: np.ndarray) -> np.ndarray:
    """``own (3, N)``, the colours of the front's middle, with those further out in place of a print and of its edge."""
    beyond = wanted.copy()
    beyond[:, 0] = 1.5 * _MIDDLE - 0.5 * np.abs(beyond[:, 0])  # not as far as flanks, which are darker
    other, _, _ = _taken(tree, beyond, pixels)
    printed = np.abs(other - own).mean(0) > _PRINT
    if not printed.any():
        return own
    printed |= cKDTree(wanted[printed]).query(wanted)[0] < _PRINT_EDGE
    if not printed.all():  # as bright as what is left around it
        other += np.median((own - other)[:, ~printed], axis=1, keepdims=True)
    mixed: np.ndarray = np.where(printed, other, own)
    return mixed


def _taken(tree: cKDTree, wanted: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours ``(3, N)`` of the nearest of ``pixels (3, M)``, which lie at the tree's places, mixed; the distances
    ``(N,)`` and indices ``(N,)`` of the very nearest."""
    count = min(_NEIGHBOURS, pixels.shape[1])
    far, index = tree.query(wanted, k=count)
    far, index = far.reshape(len(wanted), count), index.reshape(len(wanted), count)
    scale = _SPREAD * far[:, :1] + 1e-3
    weights = np.exp(-(((far - far[:, :1]) / scale) ** 2))
    weights /= weights.sum(1, keepdims=True)
    return (pixels[:, index] * weights).sum(-1), far[:, 0], index[:, 0]


@lru_cache(maxsize=8)  # of the same photographs for every pose
def _without_edge(photo: Photograph) -> Photograph:
    """A photograph that does not show what lies at edges of the body: seen from another side, edges become spots and
    seams. A kind of which nothing but edges is seen keeps them."""
    labels, inside = photo.labels.numpy(), _inside(photo)
    better = frozenset[int]().union(*(kind for kind in _KINDS if (inside & np.isin(labels, list(kind))).any()))
    edge = ~inside & np.isin(labels, list(better))
    return replace(photo, labels=torch.from_numpy(np.where(edge, HIDDEN, labels)))


@lru_cache(maxsize=8)
def _inside(photo: Photograph) -> np.ndarray:
    """bool ``(H', W')``: on the body and at no edge of it, into whose pixels another colour is mixed."""
    labels = photo.labels.numpy()
    return (minimum_filter(labels, footprint=_RIM, mode="nearest") > 0) & ~_overlapping(labels, photo.uv.numpy())


def _overlapping(labels: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """bool ``(H', W')``: within an edge of where one part of the body lies over another."""
    edge = np.zeros(labels.shape, bool)
    for near, far, both, gap in neighbours(np.where(labels < BESIDE, labels, 0), uv):
        jump = both & (labels[near] != labels[far])
        jump[both] &= gap > _OVERLAP
        edge[near] |= jump
        edge[far] |= jump
    wider = round(len(labels) / _EDGE) - 1
    return binary_dilation(edge, iterations=wider) if wider > 0 else edge


def _places(parts: np.ndarray, uv: np.ndarray, depth: float) -> np.ndarray:
    """Places ``(N, 5)`` in metres, the second scaled by ``depth``, the third on the trunk by its height; the fourth is
    for what the mirror image costs, the fifth keeps hair from faces."""
    place = np.zeros((len(parts), 5), np.float32)
    place[:, :3] = places(parts, uv)
    up, back = place[:, 2], place[:, 1]
    hair = np.clip((up - _HAIRLINE) / (_HAIR - _HAIRLINE), 0, 1)
    hair[(back > _BEHIND_EARS) & (up > _NECK)] = 1
    place[:, 4] = _HAIR_APART * hair * np.isin(parts, list(_HEAD))
    place[:, 1] *= depth
    place[:, 2] += (_HEIGHT - 1) * np.maximum(up - _THIGHS, 0) * np.isin(parts, _TRUNK)
    return place
