"""Fit the body to keypoints: from points in a picture to build, pose and camera.

Many views are tried at once: trunk and face first, then the likeliest arms and legs, then everything by
Levenberg-Marquardt on the distance of the points plus the prior of :mod:`pocold.people.body.natural_poses`. The best
one wins. Legend: S starts, P numbers of a vector, K = 25 points, H W picture size.
"""

from dataclasses import dataclass, replace

import numpy as np

from pocold.densepose.keypoints import COCO_18
from pocold.people.body.body import BodyShape, load_body
from pocold.people.body.camera import MIN_SIZE, Camera, check_size
from pocold.people.body.natural_poses import (
    Prior,
    arm_presets,
    face_residuals,
    hands_of,
    leg_presets,
    standing,
    trunk_residuals,
)  # fmt: skip
from pocold.people.body.posing import draw_body
from pocold.people.body.skeleton import Pose
from pocold.people.body.stick_figure import (
    ACROSS,
    ARMS,
    BUILD,
    DISTANCE,
    LEGS,
    NUM_NUMBERS,
    PITCH,
    POINT,
    POINT_NAMES,
    UP,
    VIEW,
    ZOOM,
    StickFigure,
    as_camera,
    as_pose,
    as_shape,
    zoom_of,
)  # fmt: skip
from pocold.people.labels import load_chart

_VIEWS = np.arange(-180, 180, 22.5)
_KEPT = 6  # views whose limbs are fitted
_STEPS_TRUNK, _STEPS = 8, 18
_SHARPNESS = 0.008  # standard deviation of a keypoint, of the person's height
_DEPTH_SHARPNESS = 0.03
_ROBUST = 3.0  # standard deviations from which on a point counts less
_NOT_FOUND = 3.0  # cost of a missing point where the picture would show it: likelier, it lies outside
_BONES = tuple(
    (POINT[a], POINT[b])
    for a, b in (
        ("neck", "mid hip"), ("right shoulder", "right elbow"), ("right elbow", "right wrist"),
        ("left shoulder", "left elbow"), ("left elbow", "left wrist"), ("right hip", "right knee"),
        ("right knee", "right ankle"), ("left hip", "left knee"), ("left knee", "left ankle"),
        ("left shoulder", "right shoulder"), ("left hip", "right hip"), ("right shoulder", "right hip"),
        ("left shoulder", "left hip"), ("nose", "neck"), ("left ear", "right ear"),
    )
)  # fmt: skip
_STEP = np.full(NUM_NUMBERS, 0.02)  # of finite differences
_STEP[[ACROSS, UP, ZOOM]], _STEP[ARMS[0]], _STEP[ARMS[1]], _STEP[BUILD] = 1e-4, 1e-4, 1e-4, 1e-3
# How far numbers are from those of the frame before, as a standard deviation; builds are given then.
_FROM_BEFORE = np.full(NUM_NUMBERS, 8.0)
_FROM_BEFORE[[PITCH, ACROSS, UP, ZOOM]] = 2.0, 0.1, 0.1, 0.03
_FROM_BEFORE[ARMS[0]] = _FROM_BEFORE[ARMS[1]] = 0.25
_LIMBS = [i for part in (*ARMS, *LEGS) for i in range(part.start, part.stop)]
_TRUNK = [i for i in range(NUM_NUMBERS) if i not in _LIMBS and not BUILD.start <= i < BUILD.stop]
_TRUNK_POINTS = [
    POINT[name]
    for name in POINT_NAMES
    if not any(w in name for w in ("elbow", "wrist", "knee", "ankle", "toe", "heel"))
]
POSE_NUMBERS = [i for i in range(NUM_NUMBERS) if not BUILD.start <= i < BUILD.stop]
MIN_POINTS = 4
_WEIGHTS, _SILHOUETTE = (0.2, 0.31, 0.42, 0.55, 0.7, 0.85), 128  # builds tried against a mask, and its longest side


@dataclass(frozen=True)
class Seen:
    """What is to be explained.

    Attributes:
        pixels: ``(K, 2)``; weight: ``(K,)``, 0 where missing, confidence elsewhere.
        depth: ``(K,)`` pixels, 0 where unknown; depth_weight: ``(K,)``.
        size: (height, width); sharp: pixels that a point may be off.
        before: the vector ``(P,)`` of the frame before, that this one is tied to loosely; None if there is none.
    """

    pixels: np.ndarray
    weight: np.ndarray
    depth: np.ndarray
    depth_weight: np.ndarray
    size: tuple[int, int]
    sharp: float
    before: np.ndarray | None = None


def fit_body(
    keypoints: np.ndarray,
    confidence: np.ndarray,
    *,
    depth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    size: tuple[int, int],
) -> tuple[BodyShape, Pose, Camera]:
    """The body whose keypoints project onto those given.

    Args:
        keypoints: ``(K, 2)``, x and y in pixels (pixel centres at .5), in the order of
            :data:`pocold.people.body.stick_figure.POINT_NAMES`; or the first 18 of them, OpenPose's.
        confidence: ``(K,)``, 0 for missing points. A point of the face surer than 0.5 is taken to be seen, not guessed.
        depth: ``(K,)``, in pixels as x and y, larger is farther, from any origin; NaN where unknown.
        mask: bool ``(H, W)``, where the person is seen: the body is made as heavy as fills it best.
        size: (height, width) of the picture.

    Returns:
        build, pose and camera.

    Raises:
        ValueError: for shapes that do not fit each other, or too few points to tell a body by.
    """
    check_size(size)
    if mask is not None and np.shape(mask) != tuple(size):
        raise ValueError(f"the mask must be of the picture's size {size[0]}x{size[1]}, got shape {np.shape(mask)}")
    seen = prepare(keypoints, confidence, depth, size)
    best, _ = search(figure_of(), seen)
    shape = as_shape(best)
    if mask is not None:
        shape = _as_heavy(shape, best, mask)
    own = figure_of(shape)
    best = refine(own, seen, best[None], POSE_NUMBERS, 4)[0][0]
    return shape, *posed(own, best, size)


def figure_of(shape: BodyShape | None = None) -> StickFigure:
    """The packed body's stick figure, of a build or of any."""
    return StickFigure(load_body(), load_chart().face_points.tolist(), shape)


def search(figure: StickFigure, seen: Seen) -> tuple[np.ndarray, float]:
    """The vector ``(P,)`` that explains points best, whatever the view, and its cost."""
    numbers = _fit_trunk(figure, seen)
    numbers = _choose_limbs(figure, seen, numbers)
    free = POSE_NUMBERS if figure.shape is not None else list(range(NUM_NUMBERS))
    numbers, cost = refine(figure, seen, numbers, free, _STEPS)
    return numbers[int(cost.argmin())], float(cost.min())


def posed(figure: StickFigure, numbers: np.ndarray, size: tuple[int, int]) -> tuple[Pose, Camera]:
    """Pose and camera of a vector ``(P,)``; the floor lies below the lowest point."""
    floor = float(figure.points(numbers[None])[0][0, :, 2].min()) - 0.08
    return as_pose(numbers, hands_of(numbers)), as_camera(numbers, size, floor)


def _as_heavy(shape: BodyShape, numbers: np.ndarray, mask: np.ndarray) -> BodyShape:
    """The build whose silhouette overlaps the mask most, by its weight."""
    height, width = mask.shape
    factor = min(1.0, _SILHOUETTE / max(height, width))
    size = max(MIN_SIZE, round(height * factor)), max(MIN_SIZE, round(width * factor))
    rows, columns = ((np.arange(n) * m) // n for n, m in zip(size, mask.shape, strict=True))
    wanted = np.asarray(mask, bool)[rows][:, columns]
    camera, pose = as_camera(numbers, size, 0.0), as_pose(numbers, hands_of(numbers))

    def overlap(weight: float) -> float:
        drawn = draw_body(replace(shape, weight=weight), pose, camera).labels > 0
        return float((drawn & wanted).sum() / max(1, (drawn | wanted).sum()))

    return replace(shape, weight=max(_WEIGHTS, key=overlap))


def prepare(keypoints: np.ndarray, confidence: np.ndarray, depth: np.ndarray | None, size: tuple[int, int]) -> Seen:
    count = len(POINT_NAMES)
    keypoints, confidence = np.asarray(keypoints, float), np.asarray(confidence, float)
    if keypoints.ndim != 2 or keypoints.shape[1] != 2 or len(keypoints) not in (18, count):
        raise ValueError(f"expected keypoints of shape (18, 2) or ({count}, 2), got {keypoints.shape}")
    if confidence.shape != keypoints.shape[:1] or (depth is not None and np.shape(depth) != confidence.shape):
        raise ValueError(f"confidence and depth need one value for each of {len(keypoints)} keypoints")
    pixels, weight = np.zeros((count, 2)), np.zeros(count)
    far = np.full(count, np.nan)
    given = (confidence > 0) & np.isfinite(keypoints).all(1)
    pixels[: len(given)][given], weight[: len(given)][given] = keypoints[given], np.clip(confidence[given], 0, 1)
    if depth is not None:
        far[: len(given)] = np.where(given, depth, np.nan)
    if int(given.sum()) < MIN_POINTS:
        raise ValueError(f"expected at least {MIN_POINTS} keypoints that are not missing, got {int(given.sum())}")
    known = np.isfinite(far)
    return Seen(pixels, weight, np.where(known, far, 0.0), weight * known, size, 1.0)


def _first_zoom(figure: StickFigure, seen: Seen) -> float:
    """Logarithm of the focal length per height: the bones that look longest are those not foreshortened."""
    rest = figure.points(standing()[None])[0][0]
    ratios = []
    for a, b in _BONES:
        if seen.weight[a] > 0 and seen.weight[b] > 0:
            ratios.append(np.linalg.norm(seen.pixels[a] - seen.pixels[b]) / np.linalg.norm(rest[a] - rest[b]))
    if ratios:
        scale = float(np.quantile(ratios, 0.85))
    else:
        given = seen.weight > 0
        scale = float(np.ptp(seen.pixels[given], 0).max() / np.ptp(rest[given], 0).max())
    return float(np.log(max(scale, 1e-3) * DISTANCE / seen.size[0]))


def _fit_trunk(figure: StickFigure, seen: Seen) -> np.ndarray:
    """Vectors ``(S, P)`` of the views that explain trunk and face best."""
    zoom = _first_zoom(figure, seen)
    numbers = np.repeat(standing()[None], len(_VIEWS), 0)
    numbers[:, VIEW], numbers[:, ZOOM] = _VIEWS, zoom
    weight = np.zeros_like(seen.weight)
    weight[_TRUNK_POINTS] = seen.weight[_TRUNK_POINTS]
    if (weight > 0).sum() < 2:
        weight = seen.weight
    pixels = figure.project(numbers, seen.size)[0]
    shift = (weight[:, None] * (seen.pixels - pixels)).sum(1) / weight.sum()  # (S, 2)
    metres = DISTANCE / (np.exp(zoom) * seen.size[0])
    numbers[:, ACROSS] -= shift[:, 0] * metres
    numbers[:, UP] += shift[:, 1] * metres
    trunk = replace(seen, weight=weight, depth_weight=seen.depth_weight * (weight > 0))
    numbers, cost = refine(figure, _sharpened(trunk, zoom, 2.0), numbers, _TRUNK, _STEPS_TRUNK)
    return numbers[np.argsort(cost)[: _KEPT * 2]]


def _sharpened(seen: Seen, zoom: float, factor: float = 1.0) -> Seen:
    height = 1.65 * np.exp(zoom) * seen.size[0] / DISTANCE
    return replace(seen, sharp=max(factor * _SHARPNESS * height, 0.25))


def _choose_limbs(figure: StickFigure, seen: Seen, numbers: np.ndarray) -> np.ndarray:
    """Give each vector the arms and legs that explain the points best, from many drawn about the presets."""
    arms, arm_cost = arm_presets().starts(0)
    legs, leg_cost = leg_presets().starts(1)
    tried = max(len(arms), len(legs))
    tries = np.repeat(numbers[:, None], tried, 1)  # (S, L, P)
    for part, limbs in ((ARMS, arms), (LEGS, legs)):
        for own in part:
            tries[:, :, own] = limbs[np.arange(tried) % len(limbs)]
    flat = tries.reshape(-1, NUM_NUMBERS)
    pixels, depth, _ = figure.project(flat, seen.size)
    inside = trunk_residuals(figure.points(flat)[0])
    loose = _sharpened(seen, float(numbers[0, ZOOM]), 4.0)
    away = _data(loose, flat, pixels, depth).reshape(len(numbers), tried, -1) ** 2
    away = away.reshape(len(numbers), tried, 3, len(POINT_NAMES)).sum(2)
    away = away + _missing(seen, pixels).reshape(away.shape)
    inside = (inside**2).reshape(len(numbers), tried, 2, 2).sum(3)
    numbers = numbers.copy()
    for i, side in enumerate(("left", "right")):
        for part, limbs, cost, ends in (
            (ARMS, arms, arm_cost, ("elbow", "wrist")),
            (LEGS, legs, leg_cost, ("knee", "ankle", "big toe", "small toe", "heel")),
        ):
            points = [POINT[f"{side} {end}"] for end in ends]
            total = away[:, : len(limbs), points].sum(2) + cost
            if part is ARMS:
                total = total + inside[:, : len(limbs), i]
            numbers[:, part[i]] = limbs[total.argmin(1)]
    return numbers


def _missing(seen: Seen, pixels: np.ndarray) -> np.ndarray:
    """What it costs ``(B, K)`` that points lie in the picture but were not found; nobody always looks for feet."""
    shown = np.all((pixels > 0) & (pixels < [seen.size[1], seen.size[0]]), axis=2)
    looked_for = np.arange(len(POINT_NAMES)) < len(COCO_18)
    return _NOT_FOUND * (shown & (seen.weight == 0) & looked_for)


def _data(seen: Seen, numbers: np.ndarray, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Residuals ``(B, 3 K)`` of points and depths."""
    apart = (pixels - seen.pixels) * (seen.weight / seen.sharp)[:, None]
    total = seen.depth_weight.sum()
    if total > 0:
        far = depth * (zoom_of(numbers) * seen.size[0] / DISTANCE)[:, None] - seen.depth
        far = far - (far * seen.depth_weight).sum(1, keepdims=True) / total
        far = far * seen.depth_weight / (seen.sharp * _DEPTH_SHARPNESS / _SHARPNESS)
    else:
        far = np.zeros(depth.shape)
    return np.concatenate([apart[..., 0], apart[..., 1], far], 1)


def _residuals(figure: StickFigure, seen: Seen, prior: Prior, numbers: np.ndarray) -> np.ndarray:
    pixels, depth, head = figure.project(numbers, seen.size)
    world, _ = figure.points(numbers)
    parts = [
        _data(seen, numbers, pixels, depth), prior.residuals(numbers), trunk_residuals(world),
        face_residuals(head, seen.weight),
    ]  # fmt: skip
    if seen.before is not None:
        parts.append((numbers - seen.before) / _FROM_BEFORE)
    return np.concatenate(parts, 1)


def _cost(residuals: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Robust cost ``(B,)`` and the weights ``(B, R)`` that make it one of squares; only points are robust."""
    count = 3 * len(POINT_NAMES)
    squares = residuals**2
    weights = np.ones_like(residuals)
    weights[:, :count] = 1 / (1 + squares[:, :count] / _ROBUST**2)
    squares[:, :count] = _ROBUST**2 * np.log1p(squares[:, :count] / _ROBUST**2)
    return squares.sum(1) + prior.constant(), weights


def refine(
    figure: StickFigure, seen: Seen, numbers: np.ndarray, free: list[int], steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt over the free numbers of S vectors at once: the vectors and their costs ``(S,)``."""
    if seen.sharp == 1.0:
        seen = _sharpened(seen, float(numbers[0, ZOOM]))
    count, damping = len(numbers), np.full(len(numbers), 1e-2)
    prior = Prior.about(numbers)
    now = _residuals(figure, seen, prior, numbers)
    cost, weights = _cost(now, prior)
    for _ in range(steps):
        shifted = np.repeat(numbers, len(free), 0)
        shifted[np.arange(len(shifted)), np.tile(free, count)] += np.tile(_STEP[free], count)
        moved = _residuals(figure, seen, prior.repeat(len(free)), shifted).reshape(count, len(free), -1)
        slope = (moved - now[:, None]) / _STEP[free][:, None]  # (S, F, R)
        weighted = slope * weights[:, None]
        curve = weighted @ slope.transpose(0, 2, 1)
        towards = (weighted @ now[..., None])[..., 0]
        diagonal = np.einsum("sff->sf", curve)
        curve = curve + np.einsum("sf,fg->sfg", diagonal * damping[:, None] + 1e-9, np.eye(len(free)))
        tried = numbers.copy()
        tried[:, free] -= np.linalg.solve(curve, towards[..., None])[..., 0]
        new_prior = Prior.about(tried)
        new = _residuals(figure, seen, new_prior, tried)
        new_cost, new_weights = _cost(new, new_prior)
        better = np.isfinite(new_cost) & (new_cost < cost)
        damping = np.clip(np.where(better, damping / 4, damping * 5), 1e-6, 1e4)
        numbers = np.where(better[:, None], tried, numbers)
        prior = Prior.about(numbers)
        now = np.where(better[:, None], new, now)
        cost, weights = np.where(better, new_cost, cost), np.where(better[:, None], new_weights, weights)
    return numbers, cost
