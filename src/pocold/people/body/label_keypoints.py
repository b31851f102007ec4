"""U and V for a map that has labels only and no photograph: a body is posed such that its parts lie where the map's do.

Joints are read off where parts meet, then it is a fit to keypoints like any other. Legend: H W map size.
"""

import warnings
from collections.abc import Sequence, Set

import numpy as np
from scipy import ndimage

from pocold.densepose.coordinates import with_coordinates
from pocold.densepose.keypoints import NAMES, Keypoints
from pocold.densepose.labels import LABEL_NAMES
from pocold.densepose.maps import DensePose
from pocold.people.body.clips import draw_clip
from pocold.people.body.keypoint_fitting import MIN_POINTS
from pocold.people.body.keypoint_maps import draw_keypoints

_PARTS: dict[str, tuple[int, ...]] = {  # of a side; the right one first
    "right hand": (3,), "left hand": (4,), "right foot": (6,), "left foot": (5,),
    "right thigh": (7, 9), "left thigh": (8, 10), "right shin": (11, 13), "left shin": (12, 14),
    "right upper arm": (16, 18), "left upper arm": (15, 17), "right lower arm": (20, 22), "left lower arm": (19, 21),
    "right head": (23,), "left head": (24,), "torso": (1, 2),
}  # fmt: skip
_FRONT, _BACK = (2, 9, 10, 13, 14), (1, 7, 8, 11, 12)  # of torso and legs; of arms inner and outer say little
_LEAST = 2  # pixels along which parts must meet
_ALMOST = 0.3  # share of the other that the far half of a head has at least where it is seen from before or behind
# Where two parts meet, and how much of the way to the middle of which of them the joint lies.
_MEETINGS = (
    ("elbow", "upper arm", "lower arm", "lower arm", 0.12), ("wrist", "lower arm", "hand", "hand", 0.0),
    ("knee", "thigh", "shin", "thigh", 0.15), ("ankle", "shin", "foot", "foot", 0.3),
)  # fmt: skip
# A joint from the one below it: how many times the way from there to the middle of the part between, measured on drawn
# people.
_TO_SHOULDER, _TO_HIP, _TO_TOE = 1.75, 2.1, 1.7
_HIDDEN = 0.6  # of two limbs, the smaller one's share of the larger one's pixels below which it is partly hidden
_TRUSTED, _GUESSED = 0.9, 0.45


class InferredPoseWarning(UserWarning):
    """U and V of a map were taken from a body that was fitted to its labels."""


def with_fitted_coordinates(pose: DensePose, name: str, purpose: str) -> DensePose:
    """A map whose labels stay and whose U, V are those of a body in that pose; a map that has them stays as it is.

    Args:
        pose: of one person.
        name: what messages call it.
        purpose: what needs U and V.

    Warns:
        InferredPoseWarning: that this was done, and which parts the fitted body does not show.

    Raises:
        ValueError: if too few joints can be read off the labels to tell a pose.
    """
    if pose.uv is not None:
        return pose
    keypoints = keypoints_of(pose)
    if keypoints.given.sum() < MIN_POINTS:
        raise ValueError(
            f"{name}: its DensePose map has labels only, but {purpose} needs U and V, and it shows too little of a "
            "body to take them from one in that pose; give a map of three channels (IUV)"
        )
    fitted, guessed = with_coordinates(pose, draw_keypoints(keypoints))
    _tell(f"{name} has labels only", guessed)
    return fitted


def with_fitted_clip(maps: Sequence[DensePose], fps: float, name: str) -> list[DensePose]:
    """:func:`with_fitted_coordinates` for maps that follow each other, of one size: one body moves through all of them.

    Frames that show too little of a body stay without U and V.
    """
    if all(pose.uv is not None for pose in maps):
        return list(maps)
    drawn = draw_clip([keypoints_of(pose) for pose in maps], fps)
    found, guessed = [], set[int]()
    for pose, body in zip(maps, drawn, strict=True):
        if pose.uv is None and body is not None:
            pose, missing = with_coordinates(pose, body)
            guessed |= missing
        found.append(pose)
    _tell(f"{name} has labels only", guessed)
    return found


def _tell(what: str, guessed: Set[int]) -> None:
    names = ", ".join(LABEL_NAMES[part] for part in sorted(guessed))
    told = f"{what}: U and V were taken from a body in that pose"
    told += f"; it does not show {names}, which will have one colour each" if guessed else ""
    warnings.warn(told, InferredPoseWarning, stacklevel=3)


def keypoints_of(pose: DensePose) -> Keypoints:
    """The joints, feet and face of a map of one person, as far as they can be read off its labels.

    Returns:
        Points in pixels; missing where the map shows neither side of a joint.
    """
    labels = pose.labels
    masks = {name: np.isin(labels, parts) for name, parts in _PARTS.items()}
    middles = {name: _middle(mask) for name, mask in masks.items() if mask.any()}
    found: dict[str, tuple[np.ndarray, float]] = {}
    for side in ("right", "left"):
        for joint, above, below, towards, share in _MEETINGS:
            meeting = _meeting(masks[f"{side} {above}"], masks[f"{side} {below}"])
            if meeting is not None:
                place = meeting + share * (middles[f"{side} {towards}"] - meeting)
                found[f"{side} {joint}"] = place, _TRUSTED
        for joint, limb, end, times in (
            ("shoulder", "upper arm", "elbow", _TO_SHOULDER), ("hip", "thigh", "knee", _TO_HIP),
            ("big toe", "foot", "ankle", _TO_TOE),
        ):  # fmt: skip
            limb = f"{side} {limb}"
            if limb not in middles:
                continue
            other = limb.replace(side, "left" if side == "right" else "right")
            if joint != "big toe" and masks[limb].sum() < _HIDDEN * masks[other].sum():
                continue  # the middle of what is seen of it is not its middle
            if f"{side} {end}" in found:
                start = found[f"{side} {end}"][0]
                found[f"{side} {joint}"] = start + times * (middles[limb] - start), _TRUSTED
            elif joint != "big toe":
                meeting = _meeting(masks[limb], masks["torso"])
                if meeting is not None:
                    found[f"{side} {joint}"] = meeting, _GUESSED
    found |= _face(labels, masks, middles)
    if _in_profile(masks):  # the far side lies behind the near one
        for joint in ("shoulder", "hip"):
            for side, other in (("right", "left"), ("left", "right")):
                if f"{side} {joint}" in found:
                    found.setdefault(f"{other} {joint}", (found[f"{side} {joint}"][0], _GUESSED))
    points, confidence = np.zeros((len(NAMES), 2)), np.zeros(len(NAMES))
    for name, (place, sure) in found.items():
        points[NAMES.index(name)], confidence[NAMES.index(name)] = place, sure
    return Keypoints(NAMES, points, confidence, size=pose.size)


def _face(
    labels: np.ndarray, masks: dict[str, np.ndarray], middles: dict[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, float]]:
    """Nose and ears, by how much of the head's halves is seen and where the fronts of torso and legs lie."""
    head = masks["right head"] | masks["left head"]
    if not head.any():
        return {}
    middle, wide = _middle(head), float(np.sqrt(head.sum() / np.pi))
    counts = {side: int(masks[f"{side} head"].sum()) for side in ("right", "left")}
    front, back = np.isin(labels, _FRONT), np.isin(labels, _BACK)
    found: dict[str, tuple[np.ndarray, float]] = {}
    if not _in_profile(masks):
        faces = front.sum() >= back.sum()
        for side in counts:
            outwards = np.sign(middles[f"{side} head"][0] - middle[0]) * 0.85 * wide
            found[f"{side} ear"] = middle + np.array([outwards, 0.1 * wide]), _GUESSED
        between = _meeting(masks["right head"], masks["left head"])
        if faces and between is not None:
            found["nose"] = np.array([between[0], middle[1] + 0.2 * wide]), _TRUSTED
        return found
    near = max(counts, key=lambda side: counts[side])
    found[f"{near} ear"] = middle + np.array([0.0, 0.1 * wide]), _TRUSTED
    if front.any() and back.any():
        ahead = float(np.sign(_middle(front)[0] - _middle(back)[0]))
        found["nose"] = middle + np.array([ahead * wide, 0.2 * wide]), _TRUSTED
    return found


def _in_profile(masks: dict[str, np.ndarray]) -> bool:
    """Whether one half of the head is hardly seen."""
    less, more = sorted(int(masks[f"{side} head"].sum()) for side in ("right", "left"))
    return less < _ALMOST * more


def _middle(mask: np.ndarray) -> np.ndarray:
    """Mean x and y of a mask's pixels."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def _meeting(one: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    """Mean x and y of where two masks touch; None if they hardly do."""
    border = (ndimage.binary_dilation(one) & other) | (ndimage.binary_dilation(other) & one)
    return _middle(border) if border.sum() >= _LEAST else None
