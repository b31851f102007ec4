"""From a pose in words of directions to the motion of each bone, and whether it touches itself.

A limb is posed by the directions of its two segments: each bone turns from its rest direction by the smallest
rotation, which never twists. Rotations are about world axes at rest. Legend: J bones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pocold.people.body.body import Body

Vector = tuple[float, float, float]
_DEGREE = math.pi / 180
HeadOf = Callable[[str], np.ndarray]  # rest position of a bone's head
SIDES = ((".L", 1.0), (".R", -1.0))


@dataclass(frozen=True)
class Arm:
    """Directions in the frame of the chest, for the left arm (the right one mirrors): outward, forward, up.

    Attributes:
        upper, lower: directions of upper and lower arm, any length.
        twist: degrees the forearm turns about itself, positive turns the palm forward.
        curl: degrees each finger joint bends.
    """

    upper: Vector
    lower: Vector
    twist: float = 0.0
    curl: float = 12.0


@dataclass(frozen=True)
class Leg:
    """Angles in degrees, for the left leg (the right one mirrors).

    Attributes:
        spread: thigh outwards.
        thigh, shin: swing forward from hanging straight down; the shin's is absolute, so shin < thigh bends the knee.
        turn: toes outwards.
        tiptoe: foot downwards from level.
    """

    spread: float = 6.0
    thigh: float = 2.0
    shin: float = -1.0
    turn: float = 8.0
    tiptoe: float = 0.0


@dataclass(frozen=True)
class Pose:
    """A pose of the whole body, independent of build and view.

    Attributes:
        left_arm, right_arm, left_leg, right_leg: see :class:`Arm`, :class:`Leg`.
        spine: degrees of lean forward, turn to the left, bend to the left; spread over four vertebrae.
        head: the same for neck and head.
        body: the same for the whole body about the pelvis.
        seated: sits on something at seat height, which is drawn as a plain cube.
    """

    left_arm: Arm
    right_arm: Arm
    left_leg: Leg = field(default_factory=Leg)
    right_leg: Leg = field(default_factory=Leg)
    spine: Vector = (0.0, 0.0, 0.0)
    head: Vector = (0.0, 0.0, 0.0)
    body: Vector = (0.0, 0.0, 0.0)
    seated: bool = False

    def mirrored(self) -> "Pose":
        """The pose of the mirror image."""

        def turned(angles: Vector) -> Vector:
            return angles[0], -angles[1], -angles[2]

        return Pose(
            self.right_arm, self.left_arm, self.right_leg, self.left_leg,
            turned(self.spine), turned(self.head), turned(self.body), self.seated,
        )  # fmt: skip


def rotation(axis: Vector | np.ndarray, degrees: float) -> np.ndarray:
    """Rotation matrix ``(3, 3)`` about an axis, counter-clockwise."""
    x, y, z = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = degrees * _DEGREE
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def smallest_rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rotation ``(3, 3)`` that turns one direction into another without twist."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    x, y, z = np.cross(start, end)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + start @ end + 1e-6)


def _turn(angles: Vector, share: float = 1.0) -> np.ndarray:
    """Lean forward, turn left, bend left, each by a share of its angle."""
    lean, turn, bend = angles
    return rotation((0, 0, 1), turn * share) @ rotation((1, 0, 0), lean * share) @ rotation((0, 1, 0), bend * share)


def _leg_direction(spread: float, swing: float, side: float) -> np.ndarray:
    hanging = np.array([math.sin(spread * _DEGREE) * side, 0, -math.cos(spread * _DEGREE)])
    return rotation((1, 0, 0), -swing) @ hanging


def bone_rotations(pose: Pose, body: Body, heads: np.ndarray) -> dict[str, np.ndarray]:
    """The turn of each bone that moves relative to its parent, about world axes at rest."""

    def head_of(bone: str) -> np.ndarray:
        return heads[body.bone_index[bone]]

    whole = _turn(pose.body)
    turns = {"root": whole}
    step = _turn(pose.spine, 0.25)
    for bone in ("spine05", "spine04", "spine03", "spine02"):
        turns[bone] = step
    chest = whole @ step @ step @ step @ step
    for bone in ("neck01", "neck02", "head"):
        turns[bone] = _turn(pose.head, 1 / 3)
    for (suffix, side), arm, leg in zip(
        SIDES, (pose.left_arm, pose.right_arm), (pose.left_leg, pose.right_leg), strict=True
    ):
        _pose_arm(turns, arm, chest, suffix, side, head_of)
        _pose_leg(turns, leg, whole, suffix, side, head_of)
    return turns


def _pose_arm(
    turns: dict[str, np.ndarray], arm: Arm, chest: np.ndarray, suffix: str, side: float, head_of: HeadOf
) -> None:
    upper, lower = (np.array([d[0] * side, -d[1], d[2]]) for d in (arm.upper, arm.lower))
    raised = math.degrees(math.atan2(arm.upper[2], math.hypot(arm.upper[0], arm.upper[1])))
    lift = 28 * min(max(raised + 30, 0) / 90, 1.2)  # the shoulder blade follows an arm above 30 degrees under level
    collar = rotation((0, 1, 0), -lift * side)
    turns["clavicle" + suffix] = collar
    parent = chest @ collar
    shoulder, elbow, wrist = (head_of(b + suffix) for b in ("upperarm01", "lowerarm01", "wrist"))
    whole_upper = smallest_rotation(parent @ (elbow - shoulder), chest @ upper) @ parent
    turns["upperarm01" + suffix] = parent.T @ whole_upper
    whole_lower = smallest_rotation(whole_upper @ (wrist - elbow), chest @ lower) @ whole_upper
    turns["lowerarm01" + suffix] = whole_upper.T @ whole_lower
    half_twist = rotation(wrist - elbow, side * arm.twist / 2)
    turns["lowerarm02" + suffix] = half_twist
    turns["wrist" + suffix] = half_twist
    _pose_fingers(turns, arm.curl, suffix, side, head_of)


def _pose_fingers(turns: dict[str, np.ndarray], curl: float, suffix: str, side: float, head_of: HeadOf) -> None:
    """Bend the fingers about the row of knuckles and bring them together; at rest they are spread."""

    def direction(finger: int) -> np.ndarray:
        along = head_of(f"finger{finger}-2{suffix}") - head_of(f"finger{finger}-1{suffix}")
        return along / np.linalg.norm(along)

    middle = direction(3)
    knuckles = head_of("finger5-1" + suffix) - head_of("finger2-1" + suffix)
    together = 0.3 if curl < 6 else 0.7
    own = direction(1)
    turns[f"finger1-1{suffix}"] = smallest_rotation(own, own + 0.6 * together * (middle - own))
    for finger in range(2, 6):
        for joint in range(1, 4):
            bend = curl * (1 + 0.12 * (finger - 3)) * (0.8 if joint == 1 else 1.0)
            turns[f"finger{finger}-{joint}{suffix}"] = rotation(knuckles, -side * bend)
        own = direction(finger)
        closing = smallest_rotation(own, own + together * (middle - own))
        turns[f"finger{finger}-1{suffix}"] = turns[f"finger{finger}-1{suffix}"] @ closing


def _pose_leg(
    turns: dict[str, np.ndarray], leg: Leg, whole: np.ndarray, suffix: str, side: float, head_of: HeadOf
) -> None:
    hip, knee, ankle = (head_of(b + suffix) for b in ("upperleg01", "lowerleg01", "foot"))
    outwards = rotation((0, 0, 1), side * leg.turn * 0.6)
    thigh = whole @ outwards @ _leg_direction(leg.spread, leg.thigh, side)
    shin = whole @ outwards @ _leg_direction(leg.spread * 0.5, leg.shin, side)
    start = whole @ outwards
    whole_thigh = smallest_rotation(start @ (knee - hip), thigh) @ start
    turns["upperleg01" + suffix] = whole.T @ whole_thigh
    whole_shin = smallest_rotation(whole_thigh @ (ankle - knee), shin) @ whole_thigh
    turns["lowerleg01" + suffix] = whole_thigh.T @ whole_shin
    foot = whole @ rotation((0, 0, 1), side * leg.turn) @ rotation((1, 0, 0), leg.tiptoe)
    turns["foot" + suffix] = whole_shin.T @ foot


def bone_transforms(pose: Pose, body: Body, heads: np.ndarray) -> np.ndarray:
    """Forward kinematics.

    Args:
        pose: what to strike.
        body: the skeleton.
        heads: float64 ``(J, 3)``, bone heads of one build at rest.

    Returns:
        float64 ``(J, 3, 4)``, the motion of each bone from rest to pose.
    """
    turns = bone_rotations(pose, body, heads)
    result = np.zeros((len(heads), 3, 4))
    for i, (bone, parent) in enumerate(zip(body.bone_names, body.bone_parent, strict=True)):
        turn, shift = (np.eye(3), np.zeros(3)) if parent < 0 else (result[parent, :, :3], result[parent, :, 3])
        if bone in turns:
            own = turns[bone]
            result[i, :, :3] = turn @ own
            result[i, :, 3] = turn @ (heads[i] - own @ heads[i]) + shift
        else:
            result[i, :, :3], result[i, :, 3] = turn, shift
    return result


_PROBES = [b + s for b in ("wrist", "finger3-1", "finger3-3", "lowerarm02") for s in (".L", ".R")]


def touches_itself(transforms: np.ndarray, body: Body, heads: np.ndarray) -> bool:
    """Whether a hand or forearm sinks into torso, head or the other hand (simple solids around bones)."""
    joints = (transforms[:, :, :3] @ heads[:, :, None])[..., 0] + transforms[:, :, 3]
    probes = joints[[body.bone_index[name] for name in _PROBES]]
    low, high = joints[body.bone_index["spine05"]], joints[body.bone_index["spine01"]]
    axis = (high - low) / np.linalg.norm(high - low)
    height = (probes - low) @ axis / np.linalg.norm(high - low)
    chest = transforms[body.bone_index["spine02"], :, :3]
    local = (probes - (low + (high - low) * np.clip(height, -0.6, 1.3)[:, None])) @ chest
    in_torso = ((local[:, 0] / 0.17) ** 2 + ((local[:, 1] + 0.03) / 0.14) ** 2 < 1) & (height > -0.7) & (height < 1.35)
    skull = transforms[body.bone_index["head"]]
    centre = skull[:, :3] @ (heads[body.bone_index["head"]] + [0, -0.03, 0.09]) + skull[:, 3]
    in_head = np.linalg.norm(probes - centre, axis=1) < 0.108
    left, right = probes[0:6:2], probes[1:6:2]
    hands = np.linalg.norm(left[:, None] - right[None], axis=2).min()
    return bool(in_torso.any() or in_head.any() or hands < 0.05)
