"""Whether a map can be that of one body: asked once of every map that comes in from outside.

What cannot be is refused: nobody, and the outline of a person where parts should be. What can hardly be is warned of:
rims of foreign parts, as JPEG and smooth resizing leave them; parts that adjoin as in no body, as in parsings of other
label sets; several people in one map. How often either is wrong is measured in docs/densepose.md.

Legend: H W map size.
"""

import sys
import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from pocold.densepose.labels import BODY_PARTS, NUM_LABELS
from pocold.densepose.maps import DensePose, ImplausibleMapError

# Maps with a shorter side, or fewer steps from part to part, say too little of what adjoins what.
MIN_SIDE, MIN_CONTACT = 64, 60
# Steps from label to label that a rim or a lone pixel spoils, as a share of all: at most 0.11 on 680 drawn maps and
# 0.23 on 454 cut or covered ones, 0.30 to 0.40 after JPEG of quality 98, 0.54 and more after smooth resizing.
DAMAGED = 0.25
# Share of the steps from part to part that lie where a body has a joint, or a part's two sides meet: 0.58 to 1 on drawn
# maps, down to 0.47 on cut ones; at most 0.32 for LIP and 0.23 for ATR.
NATURAL = 0.5
_MASK_LABELS = 6  # person masks and numbers of people use the first labels: torso, hands and feet, without any limb
_OUTLINE = 0.7  # share of its box that a torso fills at least; arms, legs and a head leave more of it empty
_SECOND = 0.25  # size, as a share of the larger's, from which on a second head or trunk is another person's
_APART = 0.75  # distance between two heads or trunks, in square roots of the larger's area
_BETWEEN = 0.25  # share of the line between them that is background

NOBODY = "the map shows nobody: every pixel is background; leave it out, or make a map of a picture with a person"
MASK = (
    "the map is the outline of people (0 and 1, or one number per person), not of body parts 1..24; run DensePose on "
    "the photograph, or pocold pose PHOTO -o map.png"
)
MASK_LIKE = (
    "the map has no head, arm or leg, as masks of people (0 and 1, or one number per person) have none; body parts "
    "1..24 are expected"
)
RIMS = (
    "rims of foreign parts lie where parts meet, as JPEG or smooth resizing leave them; make the map again as PNG, and "
    "resize labels by nearest neighbour"
)
FOREIGN = (
    "its parts adjoin as in no body: the labels may be of another set (LIP, ATR or other clothes parsing) instead "
    "of DensePose's 24 parts, or the map is of another kind"
)
SEVERAL = (
    "it seems to show several people, who would become one; cut one person out (where they do not touch, pocold pose "
    "FILE --person 1 -o one.png keeps the largest)"
)


class PlausibilityWarning(UserWarning):
    """A map that can hardly be that of one body."""


@dataclass(frozen=True)
class Plausibility:
    """What a map looks like.

    Attributes:
        refusal: why it cannot be a body; None if it can.
        doubts: why it can hardly be one.
        damage: share of the steps from label to label that are spoilt by rims or lone pixels.
        natural: share of the steps from part to part that a body has; 1 where there are too few to tell.
    """

    refusal: str | None = None
    doubts: tuple[str, ...] = ()
    damage: float = 0.0
    natural: float = 1.0


def check_body(pose: DensePose, name: str = "", *, warn_as: str | None = None, empty: bool = False) -> DensePose:
    """Ask a map whether it can be that of one body, if it was not asked before (:attr:`DensePose.doubts`).

    Args:
        pose: the map.
        name: what messages call it.
        warn_as: what warnings call it, if not ``name``: the same text for all maps of a data set is shown once.
        empty: let a map of nobody through, as data sets have them where nobody was found.

    Returns:
        The map with its doubts.

    Warns:
        PlausibilityWarning: once for each doubt.

    Raises:
        ImplausibleMapError: if it cannot be one; the message says what to do.
    """
    if pose.doubts is not None:
        return pose
    found = judge_body(pose)
    if found.refusal is not None and not (empty and found.refusal == NOBODY):
        raise ImplausibleMapError(f"{name}: {found.refusal}" if name else found.refusal)
    for doubt in found.doubts:
        warn_outside(f"{name if warn_as is None else warn_as}: {doubt}")
    return replace(pose, doubts=found.doubts)


def warn_outside(message: str) -> None:
    """A :class:`PlausibilityWarning` that names the line outside of pocold which led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("pocold", "torch"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, PlausibilityWarning, stacklevel=level)


def judge_body(pose: DensePose) -> Plausibility:
    """What :func:`check_body` finds, without a word."""
    labels = pose.labels
    if not labels.any():
        return Plausibility(refusal=NOBODY)
    if min(labels.shape) < MIN_SIDE:
        return Plausibility()
    damage = _damage(labels)
    if damage > DAMAGED:
        return Plausibility(doubts=(RIMS,), damage=damage)
    if labels.max() <= _MASK_LABELS:
        refused = pose.uv is None and _is_outline(labels)
        return Plausibility(MASK if refused else None, () if refused else (MASK_LIKE,), damage)
    natural = _natural_share(labels)
    doubts = (FOREIGN,) if natural < NATURAL else (SEVERAL,) if _several(labels) else ()
    return Plausibility(None, doubts, damage, natural)


def people_apart(labels: np.ndarray) -> list[np.ndarray]:
    """The people of a map who do not touch: each with a head and a trunk, the heads well away from each other.

    Args:
        labels: uint8 ``(H, W)``, 0..24.

    Returns:
        One bool mask ``(H, W)`` per person, the largest body first; a single one if there are not several. Pieces of
        bodies that belong to nobody in particular are in the mask of the nearest person.
    """
    body = labels > 0
    pieces, count = ndimage.label(body, np.ones((3, 3)))
    if count < 2 or min(labels.shape) < MIN_SIDE or not _second(labels, "head"):
        return [body]
    shown = body, _shown(labels, "torso"), _shown(labels, "head")
    area, *needed = (np.bincount(pieces[part], minlength=count + 1) for part in shown)
    people = [
        piece
        for piece in np.argsort(-area, kind="stable").tolist()
        if area[piece] >= _SECOND * area.max() and all(part[piece] >= _SECOND * part.max() > 0 for part in needed)
    ]
    if len(people) < 2:
        return [body]
    nearest = ndimage.distance_transform_edt(~np.isin(pieces, people), return_distances=False, return_indices=True)
    owner = pieces[tuple(nearest)]
    return [body & (owner == person) for person in people]


def keep_person(pose: DensePose, person: np.ndarray) -> DensePose:
    """The map of one person of :func:`people_apart`, background elsewhere."""
    return DensePose(np.where(person, pose.labels, 0), None if pose.uv is None else np.where(person, pose.uv, 0))


def _damage(labels: np.ndarray) -> float:
    """Share of the steps from label to label that go on in the same direction at the next pixel (rims, whose labels lie
    between those of their sides), plus that of pixels unlike all their neighbours (ringing)."""
    rims, changes = 0, []
    for values in (labels, labels.T):
        up, down = values[1:] > values[:-1], values[1:] < values[:-1]
        rims += sum(int(np.count_nonzero(step[1:] & step[:-1])) for step in (up, down))
        changes.append(up | down)
    below, beside = changes[0], changes[1].T
    lone = below[:-1, 1:-1] & below[1:, 1:-1] & beside[1:-1, :-1] & beside[1:-1, 1:]
    steps = int(np.count_nonzero(below)) + int(np.count_nonzero(beside))
    return (rims + int(np.count_nonzero(lone))) / max(1, steps)


def _natural_share(labels: np.ndarray) -> float:
    """Share of the steps from part to part that a body has; 1 where there are too few to tell."""
    joined = total = 0
    for near, far in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        differ = near != far
        near, far = near[differ], far[differ]
        joined += int(np.count_nonzero(_JOINED[near, far]))
        total += int(np.count_nonzero((near > 0) & (far > 0)))
    return joined / total if total >= MIN_CONTACT else 1.0


def _joined() -> np.ndarray:
    """Bool ``(25, 25)``: which parts a body joins, or are two sides of one part."""
    right_arm, left_arm = (({16, 18}, {20, 22}, {3}), ({15, 17}, {19, 21}, {4}))
    right_leg, left_leg = (({7, 9}, {11, 13}, {6}), ({8, 10}, {12, 14}, {5}))
    trunk, head = {1, 2}, {23, 24}
    chains = [(trunk, *limb) for limb in (right_arm, left_arm, right_leg, left_leg)] + [(trunk, head)]
    joined = np.zeros((NUM_LABELS, NUM_LABELS), dtype=bool)
    for chain in chains:
        for near, far in zip(chain, (*chain[1:], set()), strict=True):
            for part in near:
                joined[part, list(near | far)] = True
    for right in right_leg[0]:
        joined[right, list(left_leg[0])] = True  # thighs of closed legs
    return joined | joined.T


_JOINED = _joined()


def _is_outline(labels: np.ndarray) -> bool:
    """Whether what the labels 1, 2, ... show is the outline of whole people: it leaves much of its box empty."""
    used = np.unique(labels[labels > 0])
    borders = labels[0], labels[-1], labels[:, 0], labels[:, -1]
    if used[0] != 1 or used[-1] != len(used) or sum(border.any() for border in borders) > 1:
        return False  # a trunk that fills the picture is cut by its borders
    boxes = ndimage.find_objects(labels)
    return all((labels[box] == label).mean() < _OUTLINE for label, box in zip(used, boxes, strict=True))


def _several(labels: np.ndarray) -> bool:
    """Whether a second head is far from the first; or a second trunk, where no head is seen: a trunk is so large that
    what stands before a single person often leaves two pieces of it."""
    return _second(labels, "head" if _shown(labels, "head").any() else "torso")


def _shown(labels: np.ndarray, part: str) -> np.ndarray:
    """Where a part of :data:`BODY_PARTS` is, bool ``(H, W)``."""
    return np.isin(np.arange(NUM_LABELS), list(BODY_PARTS[part]))[labels]


def _second(labels: np.ndarray, part: str) -> bool:
    """Whether a part of :data:`BODY_PARTS` has a second large piece far away, with background in between: an arm before
    a face, or a knee before a trunk, leaves pieces with a limb in between."""
    pieces, count = ndimage.label(_shown(labels, part), np.ones((3, 3)))
    area = np.bincount(pieces.ravel(), minlength=count + 1)
    area[0] = 0
    largest = int(area.argmax())
    others = [piece for piece in np.flatnonzero(area >= _SECOND * area[largest]).tolist() if piece not in (0, largest)]
    if not others:
        return False
    away, nearest = ndimage.distance_transform_edt(pieces != largest, return_indices=True)
    needed = _APART * area[largest] ** 0.5
    for other in others:
        row, column = np.unravel_index(np.where(pieces == other, away, np.inf).argmin(), labels.shape)
        gap = away[row, column]
        share = np.linspace(0, 1, int(gap) + 2)
        rows, columns = (
            np.round(start + share * (end - start)).astype(int)
            for start, end in zip((row, column), nearest[:, row, column], strict=True)
        )
        if gap > needed and (labels[rows, columns] == 0).mean() > _BETWEEN:
            return True
    return False
