"""The posed skeleton as a function of a vector of numbers, many at once: what keypoints are compared with.

It follows :func:`pocold.people.body.skeleton.bone_transforms` for the bones that carry keypoints, in batched NumPy, so
that a fit can afford thousands of evaluations. Legend: B vectors, P = 39 numbers each, K = 25 points, J bones.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pocold.densepose.keypoints import NAMES
from pocold.people.body.body import AVERAGE, MAX_AGE, Body, BodyShape
from pocold.people.body.camera import Camera
from pocold.people.body.skeleton import SIDES, Arm, Leg, Pose, Vector

POINT_NAMES = NAMES  # the points that a fit knows
POINT = {name: i for i, name in enumerate(POINT_NAMES)}
FACE = tuple(POINT[name] for name in ("nose", "right eye", "left eye", "right ear", "left ear"))

# Where each number stands in a vector.
VIEW, PITCH, ACROSS, UP, ZOOM = range(5)
BODY, SPINE, HEAD = slice(5, 8), slice(8, 11), slice(11, 14)
ARMS = (slice(14, 20), slice(20, 26))  # left, right: direction of upper and of lower arm
LEGS = (slice(26, 31), slice(31, 36))  # left, right: spread, thigh, bend of the knee, turn, tiptoe
BUILD = slice(36, 39)
NUM_NUMBERS = 39
DISTANCE = 5.0  # metres from camera to person; keypoints hardly tell it

# Builds that a fit may choose from: how each number of BUILD changes the average body.
_BUILDS = (("gender", 0.0, 1.0), ("height", 0.2, 0.8), ("proportions", 0.3, 1.0))
_RIGHT, _FORWARD, _UP = range(3)  # axes of turns
# From the ankle, in the frame of the left foot, metres.
_FOOT = {" big toe": (-0.027, -0.21, -0.064), " small toe": (0.05, -0.16, -0.065), " heel": (0.0, 0.055, -0.05)}
_HeadOf = Callable[[str], np.ndarray]  # rest positions (B, 3) of a bone's head


def _about(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Rotations ``(..., 3, 3)`` about a coordinate axis, counter-clockwise."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.zeros((*angle.shape, 3, 3))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn[..., axis, axis] = 1
    turn[..., a, a], turn[..., b, b] = cos, cos
    turn[..., a, b], turn[..., b, a] = -sin, sin
    return turn


def _turn(angles: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Lean forward, turn left, bend left ``(B, 3)``, each by a share of its angle: ``(B, 3, 3)``."""
    lean, turn, bend = (angles * share).T
    return _about(_UP, turn) @ _about(_RIGHT, lean) @ _about(_FORWARD, bend)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)


def _applied(turns: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return (turns @ vectors[..., None])[..., 0]


def _smallest_rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Rotations ``(B, 3, 3)`` that turn directions ``(B, 3)`` into others without twist."""
    start, end = _unit(start), _unit(end)
    x, y, z = np.moveaxis(np.cross(start, end), -1, 0)
    cross = np.zeros((*x.shape, 3, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -z, y, -x
    cross[..., 1, 0], cross[..., 2, 0], cross[..., 2, 1] = z, -y, x
    return np.eye(3) + cross + cross @ cross / (1 + (start * end).sum(-1) + 1e-6)[..., None, None]


def arm_directions(numbers: np.ndarray, side: float) -> np.ndarray:
    """Outward, forward, up ``(..., 2, 3)`` of upper and lower arm as x, y, z in the frame of the chest."""
    pair = numbers.reshape(*numbers.shape[:-1], 2, 3)
    return pair * [side, -1.0, 1.0]


def leg_directions(numbers: np.ndarray, side: float) -> np.ndarray:
    """Directions ``(..., 2, 3)`` of thigh and shin in the frame of the pelvis."""
    spread, thigh, bend, turn, _ = np.moveaxis(numbers, -1, 0)
    outwards = _about(_UP, side * turn * 0.6)

    def hanging(angle: np.ndarray, swing: np.ndarray) -> np.ndarray:
        a, s = np.deg2rad(angle), np.deg2rad(swing)
        along = np.stack([np.sin(a) * side, -np.cos(a) * np.sin(s), -np.cos(a) * np.cos(s)], -1)
        return _applied(outwards, along)

    return np.stack([hanging(spread, thigh), hanging(spread * 0.5, thigh - bend)], -2)


class StickFigure:
    """Rest positions of the points and bones of the average body, and how they change with the build.

    Args:
        body: the packed body.
        face_points: vertices of nose, right eye, left eye, right ear, left ear.
        shape: a fixed build; by default BUILD chooses.
    """

    def __init__(self, body: Body, face_points: list[int], shape: BodyShape | None = None) -> None:
        self._index = {name: i for i, name in enumerate(body.bone_names)}
        self._num_bones = len(body.bone_names)
        self._body, self._face = body, face_points
        self.shape = shape
        self._rest = self._rest_of(shape or AVERAGE)
        self._changes = np.zeros((len(_BUILDS), *self._rest.shape))
        if shape is None:
            for i, (name, low, high) in enumerate(_BUILDS):
                ends = [self._rest_of(replace(AVERAGE, **{name: value})) for value in (low, high)]
                self._changes[i] = (ends[1] - ends[0]) / 2

    def _rest_of(self, shape: BodyShape) -> np.ndarray:
        """``(J + 5, 3)``: bone heads, then the points of the face."""
        vertices, heads = self._body.rest(shape)
        return np.concatenate([heads, vertices[self._face].double().numpy()])

    def points(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World positions ``(B, K, 3)`` of the points, and the head's rotation ``(B, 3, 3)``."""
        rest = self._rest + np.tensordot(numbers[:, BUILD], self._changes, 1)
        index, count = self._index, len(numbers)

        def at(bone: str) -> np.ndarray:
            return rest[:, index[bone]]

        points = np.zeros((count, len(POINT_NAMES), 3))
        whole, step = _turn(numbers[:, BODY]), _turn(numbers[:, SPINE], 0.25)
        turn, place, last = whole, at("root"), at("root")
        for bone in ("spine05", "spine04", "spine03", "spine02", "spine01"):
            place, last = place + _applied(turn, at(bone) - last), at(bone)
            turn = turn @ step if bone != "spine01" else turn
        chest, top, top_rest = turn, place, last
        nod = _turn(numbers[:, HEAD], 1 / 3)
        for bone in ("neck01", "neck02", "head"):
            place, last = place + _applied(turn, at(bone) - last), at(bone)
            turn = turn @ nod
        for i, point in enumerate(FACE):
            points[:, point] = place + _applied(turn, rest[:, self._num_bones + i] - last)
        for (suffix, side), arm, leg in zip(SIDES, ARMS, LEGS, strict=True):
            name = "left" if side > 0 else "right"
            self._place_arm(points, numbers[:, arm], chest, top, top_rest, at, suffix, side, name)
            self._place_leg(points, numbers[:, leg], whole, at, suffix, side, name)
        points[:, POINT["neck"]] = (points[:, POINT["left shoulder"]] + points[:, POINT["right shoulder"]]) / 2
        points[:, POINT["mid hip"]] = (points[:, POINT["left hip"]] + points[:, POINT["right hip"]]) / 2
        return points, turn

    def _place_arm(
        self, points: np.ndarray, numbers: np.ndarray, chest: np.ndarray, top: np.ndarray, top_rest: np.ndarray,
        at: _HeadOf, suffix: str, side: float, name: str,
    ) -> None:  # fmt: skip
        upper, lower = np.moveaxis(arm_directions(numbers, side), -2, 0)
        raised = np.rad2deg(np.arctan2(numbers[:, 2], np.hypot(numbers[:, 0], numbers[:, 1])))
        lift = 28 * np.clip((raised + 30) / 90, 0, 1.2)  # as in the skeleton: the shoulder blade follows the arm
        clavicle, shoulder, elbow, wrist = (at(b + suffix) for b in ("clavicle", "upperarm01", "lowerarm01", "wrist"))
        collar = chest @ _about(_FORWARD, -lift * side)
        place = top + _applied(chest, clavicle - top_rest)
        place = place + _applied(collar, shoulder - clavicle)
        points[:, POINT[name + " shoulder"]] = place
        for direction, end, length in ((upper, " elbow", elbow - shoulder), (lower, " wrist", wrist - elbow)):
            along = _unit(_applied(chest, direction)) * np.linalg.norm(length, axis=-1, keepdims=True)
            place = place + along
            points[:, POINT[name + end]] = place

    def _place_leg(
        self, points: np.ndarray, numbers: np.ndarray, whole: np.ndarray, at: _HeadOf, suffix: str, side: float,
        name: str,
    ) -> None:  # fmt: skip
        hip, knee, ankle = (at(b + suffix) for b in ("upperleg01", "lowerleg01", "foot"))
        place = at("root") + _applied(whole, hip - at("root"))
        points[:, POINT[name + " hip"]] = place
        thigh, shin = np.moveaxis(leg_directions(numbers, side), -2, 0)
        for direction, end, length in ((thigh, " knee", knee - hip), (shin, " ankle", ankle - knee)):
            place = place + _applied(whole, direction) * np.linalg.norm(length, axis=-1, keepdims=True)
            points[:, POINT[name + end]] = place
        foot = whole @ _about(_UP, side * numbers[:, 3]) @ _about(_RIGHT, numbers[:, 4])
        for end, offset in _FOOT.items():
            points[:, POINT[name + end]] = place + _applied(foot, np.array(offset) * [side, 1, 1])

    def project(self, numbers: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a camera sees.

        Args:
            numbers: ``(B, P)``.
            size: (height, width).

        Returns:
            pixels ``(B, K, 2)``, depth ``(B, K)`` in metres from the camera, and the head's rotation before the camera
            ``(B, 3, 3)``.
        """
        points, head = self.points(numbers)
        turn = _about(_RIGHT, numbers[:, PITCH]) @ _about(_UP, numbers[:, VIEW])
        across, up, zoom = numbers[:, ACROSS], numbers[:, UP], zoom_of(numbers)
        target = np.stack([across, np.zeros_like(up), up], -1)
        seen = points @ np.swapaxes(turn, 1, 2) - _applied(_about(_RIGHT, numbers[:, PITCH]), target)[:, None]
        depth = seen[..., 1] + DISTANCE
        scale = (zoom * size[0])[:, None] / np.maximum(depth, 0.5)
        x, y = size[1] / 2 + scale * seen[..., 0], size[0] / 2 - scale * seen[..., 2]
        return np.stack([x, y], -1), depth, turn @ head


def zoom_of(numbers: np.ndarray) -> np.ndarray:
    """Focal length per height of the picture, of vectors ``(..., P)``; absurd ones, tried on the way, are cut."""
    return np.exp(np.clip(numbers[..., ZOOM], -8.0, 8.0))


def as_shape(numbers: np.ndarray) -> BodyShape:
    """The build that a vector asks for."""
    values = {}
    for (name, low, high), amount in zip(_BUILDS, numbers[BUILD], strict=True):
        values[name] = float(np.clip(getattr(AVERAGE, name) + amount * (high - low) / 2, low, high))
    return replace(AVERAGE, age=min(AVERAGE.age, MAX_AGE), **values)


def as_camera(numbers: np.ndarray, size: tuple[int, int], floor: float) -> Camera:
    """The camera of a vector."""
    view = math.remainder(float(numbers[VIEW]), 360)
    target = (float(numbers[ACROSS]), 0.0, float(numbers[UP]))
    focal = float(zoom_of(numbers) * size[0])
    return Camera(size, focal, DISTANCE, math.radians(float(numbers[PITCH])), view, target, floor)


def as_pose(numbers: np.ndarray, hands: tuple[tuple[float, float], tuple[float, float]]) -> Pose:
    """The pose of a vector; ``hands`` are twist and curl of the left and the right arm, which no keypoint tells."""

    def vector(part: slice | np.ndarray) -> Vector:
        x, y, z = (float(v) for v in (numbers[part] if isinstance(part, slice) else part))
        return x, y, z

    arms = [
        Arm(vector(_unit(numbers[part][:3])), vector(_unit(numbers[part][3:])), twist, curl)
        for part, (twist, curl) in zip(ARMS, hands, strict=True)
    ]
    legs = []
    for part in LEGS:
        spread, thigh, bend, turn, tiptoe = (float(v) for v in numbers[part])
        legs.append(Leg(spread, thigh, thigh - max(bend, 0.0), turn, tiptoe))
    return Pose(arms[0], arms[1], legs[0], legs[1], vector(SPINE), vector(HEAD), vector(BODY))
