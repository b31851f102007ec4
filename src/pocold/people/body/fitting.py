"""Fit a named pose to the person seen in another DensePose map: height, position and build."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from pocold.densepose.maps import DensePose
from pocold.people.body.body import AVERAGE, BodyShape
from pocold.people.body.camera import Camera
from pocold.people.body.posing import PosedBody, draw_densepose, pose_body
from pocold.people.body.skeleton import Pose
from pocold.people.poses import POSES, NamedPose

_WEIGHTS = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
_TURNS = (0, 45, 90, 135, 180)
_STANDING_HEADS = 5.5  # a visible body at least this many heads high, feet included, is taken to stand


@dataclass(frozen=True)
class _Measures:
    """What is read off a map, in pixels.

    Attributes:
        head: height of the head; head_top, middle: its top row, and the column of torso or head.
        whole: height from top to feet, 0 unless both show and the person seems to stand.
        bottom: the lowest row.
        width: mean width of the torso's rows, 0 if there is none.
        turn: shares of torso that is its back, and of head that is its right side.
    """

    head: float
    head_top: float
    middle: float
    whole: float
    bottom: float
    width: float
    turn: tuple[float, float]


def _measure(labels: np.ndarray) -> _Measures:
    body = labels > 0
    is_head, is_torso = np.isin(labels, (23, 24)), np.isin(labels, (1, 2))
    rows = np.flatnonzero(body.any(1))
    head_rows = np.flatnonzero(is_head.any(1))
    head = float(head_rows[-1] - head_rows[0] + 1)
    feet = np.isin(labels, (5, 6)).any() and rows[-1] < len(labels) - 1
    whole = float(rows[-1] - head_rows[0] + 1) if feet else 0.0
    widths = is_torso.sum(1)[is_torso.any(1)]
    columns = np.nonzero(is_torso if len(widths) else is_head)[1]
    back = float((labels == 1).sum() / max(1, is_torso.sum()))
    right = float((labels == 23).sum() / is_head.sum())
    return _Measures(
        head, float(head_rows[0]), float(columns.mean()) + 0.5, whole if whole > _STANDING_HEADS * head else 0.0,
        float(rows[-1] + 1), float(widths.mean()) if len(widths) else 0.0, (back, right),
    )  # fmt: skip


@cache  # of five turns each way and seven weights: every pose that is fitted asks for some of them
def _standing(turn: int, weight: float) -> _Measures:
    """The average body of one weight, seen from one side."""
    shape = replace(AVERAGE, weight=weight)
    return _measure(draw_densepose(POSES["stand"], turn, "full", (256, 176), shape).labels)


@cache  # of one size and seven weights likewise
def _upright(size: tuple[int, int], shape: BodyShape) -> tuple[_Measures, Camera]:
    """A build seen from the front, and the camera that frames it."""
    body = pose_body(POSES["stand"], 0, "full", size, shape)
    return _measure(body.densepose().labels), body.camera


def _build(reference: _Measures, size: tuple[int, int]) -> BodyShape:
    """The average body, as heavy as makes its torso as wide as the reference's, seen from the same side."""
    if reference.width == 0:
        return AVERAGE
    back, right = reference.turn
    side = 1 if right >= 0.5 else -1

    def apart(turn: int) -> float:
        seen = _standing(side * turn, AVERAGE.weight).turn
        return abs(seen[0] - back) + abs(seen[1] - right)

    turn = min(_TURNS, key=apart)
    scale = reference.whole or reference.head

    def misfit(weight: float) -> float:
        seen = _standing(side * turn, weight)
        return abs(seen.width / (seen.whole if reference.whole else seen.head) - reference.width / scale)

    return replace(AVERAGE, weight=min(_WEIGHTS, key=misfit))


def fit_pose(named: NamedPose, reference: DensePose) -> DensePose:
    """The map of a named pose, drawn as if struck by the person of another map, at the same place.

    The scale comes from the standing height where head and feet of a standing person show, else from the head; the
    place from the feet where they show, else from the top of the head. The crop of ``named`` is not used: what the
    reference shows decides.

    Raises:
        ValueError: if the reference shows no head.
    """
    body, camera, _ = _fit(named, reference)
    return body.densepose(camera)


def _fit(named: NamedPose, reference: DensePose) -> tuple[PosedBody, Camera, BodyShape]:
    """The posed body, its camera and its build."""
    if not reference.visible_parts & {23, 24}:
        raise ValueError("the map to fit to shows no head (labels 23, 24): height and place cannot be read off it")
    seen = _measure(reference.labels)
    shape = _build(seen, reference.size)
    body = pose_body(named.pose, named.view, "full", reference.size, shape)
    drawn = _measure(body.densepose().labels)
    upright, default = _upright(reference.size, shape)
    if seen.whole and upright.whole:
        # the same lens and the same distance: focal length alone carries the scale
        scale = seen.whole / upright.whole * default.focal / body.camera.focal
    else:
        scale = seen.head / drawn.head
    camera = replace(body.camera, focal=body.camera.focal * scale)
    # a longer focal length enlarges the picture about its centre
    height, width = reference.size
    metres = camera.distance / camera.focal
    across = width / 2 + (drawn.middle - width / 2) * scale - seen.middle
    if seen.whole:
        down = height / 2 + (drawn.bottom - height / 2) * scale - seen.bottom
    else:
        down = height / 2 + (drawn.head_top - height / 2) * scale - seen.head_top
    target = camera.target
    moved = (target[0] + across * metres, target[1], target[2] - down * metres)
    return body, replace(camera, target=moved), shape


@dataclass(frozen=True)
class Stage:
    """Where a person moves: one build, one lens and one place for all poses, so that nothing jumps between them.

    Attributes:
        shape: the person's build.
        camera: that of the standing person, seen from the front.
    """

    shape: BodyShape
    camera: Camera

    @classmethod
    def of(cls, reference: DensePose | None, size: tuple[int, int]) -> "Stage":
        """The stage of the person of a map; None takes the average body, and ``size``.

        Raises:
            ValueError: if the map shows no head.
        """
        standing = NamedPose("stand", POSES["stand"])
        if reference is None:
            return cls(AVERAGE, pose_body(standing.pose, size=size).camera)
        _, camera, shape = _fit(standing, reference)
        return cls(shape, camera)

    def draw(self, pose: Pose, view: float) -> DensePose:
        """The map of a pose: turned about the body's axis, the lowest point on the floor."""
        body = pose_body(pose, view, "full", self.camera.size, self.shape)
        own = self.camera
        across, away, up = own.target
        target = (across, away, up - own.floor + body.camera.floor)
        return body.densepose(replace(own, view=view, floor=body.camera.floor, target=target))
