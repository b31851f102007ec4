"""What poses people strike: the prior that decides what keypoints leave open, above all depth.

Arms and legs are a mixture about the presets of :mod:`pocold.people.poses`, likelier ones weighing more; spine and head
lean little; hands do not sink into the trunk; knees do not bend forward. Everything is a residual, in standard
deviations, of a least-squares fit. Legend: B vectors of P numbers (:mod:`pocold.people.body.stick_figure`), K points.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pocold.people.body.stick_figure import (
    ARMS,
    BODY,
    BUILD,
    FACE,
    HEAD,
    LEGS,
    NUM_NUMBERS,
    PITCH,
    POINT,
    SPINE,
)  # fmt: skip
from pocold.people.poses import ARM_ODDS, LEG_ODDS
from pocold.people.poses import ARMS as ARM_PRESETS
from pocold.people.poses import LEGS as LEG_PRESETS

_RARE = 0.004  # how likely presets are that random people do not strike
_ARM_SPREAD = 0.2  # of the components of the unit directions
_LEG_SPREAD = np.array([4.0, 7.0, 7.0, 8.0, 12.0])
_DRAWN = 12  # starts drawn about every preset
_STEADY = (  # part of the vector, usual value, standard deviation
    (slice(PITCH, PITCH + 1), (2.0,), (3.5,)),
    (BODY, (0.0, 0.0, 0.0), (5.0, 0.5, 4.0)),
    (SPINE, (1.0, 0.0, 0.0), (7.0, 7.0, 5.0)),
    (HEAD, (0.0, 0.0, 0.0), (9.0, 17.0, 6.0)),
    (BUILD, (0.0, 0.0, 0.0), (0.6, 0.4, 0.4)),
)
# Outward directions of the face's points in the frame of the head, left side; and how far they may turn away.
_FACE_NORMALS = np.array([[0, -1, 0], [-0.45, -0.9, 0], [0.45, -0.9, 0], [-1, 0.1, 0], [1, 0.1, 0]])
_FACE_LIMIT, _FACE_WEIGHT = 0.25, 6.0
_TRUNK_WIDTH, _TRUNK_DEPTH = 0.17, 0.13  # half axes, metres


@dataclass(frozen=True)
class Presets:
    """A mixture for one limb.

    Attributes:
        means: ``(M, N)``; spread: ``(N,)``, standard deviations.
        cost: ``(M,)``, twice the negative logarithm of the odds, the likeliest being 0.
        names: of the presets.
    """

    means: np.ndarray
    spread: np.ndarray
    cost: np.ndarray
    names: tuple[str, ...]

    def nearest(self, numbers: np.ndarray) -> np.ndarray:
        """Indices ``(B,)`` of the preset that each of ``(B, N)`` belongs to."""
        away = (((numbers[:, None] - self.means) / self.spread) ** 2).sum(-1) + self.cost
        return away.argmin(1)

    def starts(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Limbs drawn about every preset ``(M * n, N)``, and what each costs ``(M * n,)``."""
        rng = np.random.default_rng(seed)
        drawn = rng.normal(size=(_DRAWN, *self.means.shape)) * self.spread
        drawn[0] = 0
        away = ((drawn / self.spread) ** 2).sum(-1) + self.cost
        return (self.means + drawn).reshape(-1, self.means.shape[1]), away.reshape(-1)


def _cost(odds: list[float]) -> np.ndarray:
    return -2 * np.log(np.array(odds) / max(odds))


@lru_cache(maxsize=1)
def arm_presets() -> Presets:
    means = []
    for arm in ARM_PRESETS.values():
        upper, lower = (np.array(d) / np.linalg.norm(d) for d in (arm.upper, arm.lower))
        means.append(np.concatenate([upper, lower]))
    odds = [ARM_ODDS.get(name, _RARE) for name in ARM_PRESETS]
    return Presets(np.array(means), np.full(6, _ARM_SPREAD), _cost(odds), tuple(ARM_PRESETS))


@lru_cache(maxsize=1)
def leg_presets() -> Presets:
    means, odds, names = [], [], []
    for name, legs in LEG_PRESETS.items():
        for leg in dict.fromkeys(legs):
            means.append([leg.spread, leg.thigh, leg.thigh - leg.shin, leg.turn, leg.tiptoe])
            odds.append(LEG_ODDS.get(name, _RARE) / len(set(legs)))
            names.append(name)
    return Presets(np.array(means), _LEG_SPREAD, _cost(odds), tuple(names))


def standing() -> np.ndarray:
    """The vector ``(P,)`` of someone who stands, arms down, facing the camera."""
    numbers = np.zeros(NUM_NUMBERS)
    numbers[PITCH] = 2.0
    for arm, leg in zip(ARMS, LEGS, strict=True):
        numbers[arm] = arm_presets().means[list(ARM_PRESETS).index("down")]
        numbers[leg] = leg_presets().means[0]
    return numbers


def hands_of(numbers: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Twist and curl of left and right arm, as the nearest presets have them."""
    presets = arm_presets()
    left, right = (ARM_PRESETS[presets.names[int(presets.nearest(numbers[None, arm])[0])]] for arm in ARMS)
    return (left.twist, left.curl), (right.twist, right.curl)


@dataclass(frozen=True)
class Prior:
    """The prior about the presets that B vectors belong to now.

    Attributes:
        arms, legs: indices ``(B, 2)`` into :func:`arm_presets` and :func:`leg_presets`.
    """

    arms: np.ndarray
    legs: np.ndarray

    @classmethod
    def about(cls, numbers: np.ndarray) -> "Prior":
        arms = [arm_presets().nearest(numbers[:, part]) for part in ARMS]
        legs = [leg_presets().nearest(numbers[:, part]) for part in LEGS]
        return cls(np.stack(arms, 1), np.stack(legs, 1))

    def constant(self) -> np.ndarray:
        """``(B,)``: what the chosen presets cost by themselves."""
        return arm_presets().cost[self.arms].sum(1) + leg_presets().cost[self.legs].sum(1)

    def repeat(self, times: int) -> "Prior":
        return Prior(np.repeat(self.arms, times, 0), np.repeat(self.legs, times, 0))

    def residuals(self, numbers: np.ndarray) -> np.ndarray:
        """Residuals ``(B, R)`` of the vectors alone."""
        parts = [(numbers[:, part] - np.array(mean)) / np.array(spread) for part, mean, spread in _STEADY]
        for i, part in enumerate(ARMS):
            directions = numbers[:, part].reshape(-1, 2, 3)
            length = np.linalg.norm(directions, axis=2)
            parts.append((length - 1) / 0.05)
            presets = arm_presets()
            parts.append((numbers[:, part] - presets.means[self.arms[:, i]]) / presets.spread)
            bend = (directions[:, 0] * directions[:, 1]).sum(1)
            parts.append(np.maximum(-0.8 - bend, 0)[:, None] / 0.05)  # the forearm stops before the upper arm
        for i, part in enumerate(LEGS):
            presets = leg_presets()
            parts.append((numbers[:, part] - presets.means[self.legs[:, i]]) / presets.spread)
            parts.append(np.minimum(numbers[:, part][:, 2:3], 0) / 1.5)
        return np.concatenate(parts, 1)


def trunk_residuals(points: np.ndarray) -> np.ndarray:
    """How deep wrists and hands lie in the trunk, ``(B, 4)``, from world points ``(B, K, 3)``."""
    low, neck = points[:, POINT["mid hip"]], points[:, POINT["neck"]]
    up, across = neck - low, points[:, POINT["left shoulder"]] - points[:, POINT["right shoulder"]]
    height = np.linalg.norm(up, axis=1, keepdims=True)
    up = up / height
    across = across - (across * up).sum(1, keepdims=True) * up
    across = across / (np.linalg.norm(across, axis=1, keepdims=True) + 1e-9)
    forward = np.cross(across, up)
    inside = []
    for side in ("left", "right"):
        wrist, elbow = points[:, POINT[side + " wrist"]], points[:, POINT[side + " elbow"]]
        along = wrist - elbow
        for probe in (wrist, wrist + 0.3 * along):
            local = probe - low
            x, y, z = ((local * axis).sum(1) for axis in (across, forward, up))
            away = (x / _TRUNK_WIDTH) ** 2 + (y / _TRUNK_DEPTH) ** 2 + (2 * z / height[:, 0] - 1).clip(-9, 9) ** 4
            inside.append(np.maximum(1 - away, 0) * 4)
    return np.stack(inside, 1)


def face_residuals(head: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """How far points of the face that are seen turn away from the camera, ``(B, 5)``.

    Args:
        head: rotations ``(B, 3, 3)`` of the head before the camera.
        confidence: ``(K,)``; only confidences over a half say that a point is seen.
    """
    away = (head @ _FACE_NORMALS.T)[:, 1]  # y points away from the camera
    seen = np.clip(2 * confidence[list(FACE)] - 1, 0, 1)
    return np.maximum(away - _FACE_LIMIT, 0) * seen * _FACE_WEIGHT
