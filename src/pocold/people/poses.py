"""Named poses, views and crops; random plausible poses; poses in between; a walk cycle and a turntable.

The grammar is ``NAME[:VIEW[:CROP]]``: ``walk:side``, ``hips:back``, ``wave:30:upper``.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from pocold.people.body.body import load_body
from pocold.people.body.skeleton import Arm, Leg, Pose, Vector, bone_transforms, touches_itself

Crop = Literal["full", "knee", "upper", "portrait"]
CROPS: tuple[Crop, ...] = get_args(Crop)

# Degrees the person turns to the left of the camera's axis, seen from above counter-clockwise: at 90 the person looks
# to the right edge of the picture and shows the right side.
VIEWS: dict[str, float] = {
    "front": 0, "quarter": 35, "side": 90, "right": 90, "back-right": 145, "back": 180, "back-left": -145, "left": -90,
    "quarter-left": -35,
}  # fmt: skip


def _swung(out: float, swing: float) -> Vector:
    """A hanging arm segment lifted outwards and swung forward, in degrees, as (outward, forward, up)."""
    a, b = math.radians(out), math.radians(swing)
    return math.sin(a), math.cos(a) * math.sin(b), -math.cos(a) * math.cos(b)


ARMS: dict[str, Arm] = {
    "down": Arm(_swung(10, 0), _swung(6, 12)),
    "loose": Arm(_swung(15, -4), _swung(10, 16), curl=16),
    "hip": Arm(_swung(47, -10), (-0.56, 0.2, -0.8), twist=30, curl=8),
    "pocket": Arm(_swung(24, -16), (-0.36, 0.44, -0.85), curl=10),
    "bent": Arm(_swung(12, 4), (-0.15, 0.95, -0.1)),
    "crossed-over": Arm(_swung(16, 28), (-0.88, 0.55, 0.12), curl=6),
    "crossed-under": Arm(_swung(16, 20), (-0.9, 0.62, -0.06), curl=6),
    "chest": Arm(_swung(20, 18), (-0.72, 0.62, 0.28)),
    "nape": Arm((0.88, 0.12, 0.47), (-0.72, -0.2, 0.5)),
    "up": Arm((0.42, 0.08, 0.9), (0.06, 0.1, 1.0), curl=6),
    "vee": Arm((0.72, 0.08, 0.68), (0.66, 0.05, 0.75), curl=4),
    "level": Arm((1.0, 0.05, 0.02), (1.0, 0.08, 0.0), curl=4),
    "wave": Arm((0.88, 0.18, 0.0), (0.3, 0.25, 0.9), curl=2),
    "forward": Arm(_swung(8, 78), (0.0, 1.0, 0.08), curl=4),
    "point": Arm((0.55, 0.8, 0.05), (0.5, 0.86, 0.1), curl=26),
    "behind": Arm(_swung(18, -26), (-0.62, -0.3, -0.72)),
    "swing-front": Arm(_swung(9, 28), _swung(2, 50), curl=18),
    "swing-back": Arm(_swung(11, -26), _swung(8, -8), curl=18),
    "run-front": Arm(_swung(14, 34), (-0.22, 0.75, 0.62), curl=42),
    "run-back": Arm(_swung(18, -52), (0.06, 0.9, -0.42), curl=42),
    "face": Arm(_swung(20, 52), (-0.36, 0.3, 0.88), curl=20),
    "phone": Arm(_swung(34, 38), (-0.12, 0.16, 0.97), curl=30),
    "shrug": Arm(_swung(22, 4), (0.62, 0.62, 0.42), twist=40, curl=6),
    "guard": Arm(_swung(18, 38), (-0.2, 0.55, 0.8), curl=48),
    "punch": Arm(_swung(10, 82), (-0.1, 1.0, 0.05), curl=55),
    "hold": Arm(_swung(10, 14), (-0.28, 0.92, 0.2), curl=35),
    "flex": Arm((0.96, 0.1, 0.12), (-0.3, 0.12, 0.95), curl=55),
    "lap": Arm(_swung(10, 28), (-0.12, 0.85, -0.42), curl=8),
    "thigh": Arm(_swung(14, 30), (-0.1, 0.6, -0.75), curl=10),
    "ballet-front": Arm(_swung(28, 52), (-0.62, 0.72, 0.1), curl=6),
    "ballet-up": Arm((0.5, 0.3, 0.82), (-0.5, 0.2, 0.86), curl=6),
    "reach-side": Arm((0.9, 0.3, 0.25), (0.85, 0.35, 0.45), curl=6),
    "low-side": Arm(_swung(48, 4), _swung(56, 10), curl=6),
}

_RELAXED = Leg(6, 2, -2, 8)
LEGS: dict[str, tuple[Leg, Leg]] = {  # left, right
    "stand": (_RELAXED, _RELAXED),
    "contrapposto": (Leg(13, 14, -6, 22), Leg(1, -2, -4, 4)),
    "wide": (Leg(17, 2, -1, 14), Leg(17, 2, -1, 14)),
    "crossed": (Leg(-6, 9, 3, 2), Leg(1, -4, -8, 6)),
    "walk": (Leg(3, 23, 12, 4), Leg(3, -15, -40, 4, tiptoe=38)),
    "pass": (Leg(3, 2, -2, 4), Leg(3, 18, -40, 4, tiptoe=22)),
    "stroll": (Leg(4, 14, 8, 5), Leg(4, -9, -22, 6, tiptoe=18)),
    "run": (Leg(3, 58, -28, 2, tiptoe=15), Leg(3, -24, -84, 2, tiptoe=60)),
    "lunge": (Leg(5, 66, -4, 4), Leg(4, -32, -46, 4, tiptoe=42)),
    "squat": (Leg(20, 84, -28, 26), Leg(20, 84, -28, 26)),
    "sit": (Leg(9, 82, -2, 8), Leg(9, 82, -2, 8)),
    "sit-crossed": (Leg(-2, 92, 28, 4, tiptoe=25), Leg(4, 82, -2, 6)),
    "kneel": (Leg(10, 86, -3, 6), Leg(7, -4, -92, 0, tiptoe=66)),
    "kneel-both": (Leg(9, 8, -88, 3, tiptoe=84), Leg(9, 8, -88, 3, tiptoe=84)),
    "knee-up": (Leg(8, 72, -14, 5, tiptoe=12), Leg(3, 0, -2, 6)),
    "kick": (Leg(6, 62, 50, 4, tiptoe=22), Leg(3, -4, -8, 10)),
    "side-leg": (Leg(38, 2, 0, 22, tiptoe=30), Leg(4, 0, -3, 10)),
    "jump": (Leg(14, 34, -56, 6, tiptoe=45), Leg(10, 18, -66, 6, tiptoe=45)),
    "star": (Leg(32, 2, 0, 22, tiptoe=30), Leg(32, 2, 0, 22, tiptoe=30)),
    "tiptoe": (Leg(4, 4, -2, 12, tiptoe=42), Leg(4, 0, -4, 12, tiptoe=42)),
    "step-up": (Leg(6, 42, -6, 6), Leg(4, -4, -10, 6)),
}


def _make(
    arms: str | tuple[str, str],
    legs: str,
    spine: Vector = (0, 0, 0),
    head: Vector = (0, 0, 0),
    body: Vector = (0, 0, 0),
) -> Pose:
    left, right = (arms, arms) if isinstance(arms, str) else arms
    seated = legs in ("sit", "sit-crossed")
    return Pose(ARMS[left], ARMS[right], *LEGS[legs], spine=spine, head=head, body=body, seated=seated)


POSES: dict[str, Pose] = {
    "stand": _make("down", "stand"),
    "relaxed": _make("loose", "contrapposto", (1, 2, 4), (0, -8, -2)),
    "contrapposto": _make(("hip", "loose"), "contrapposto", (0, 4, 6), (0, 10, -3)),
    "hips": _make("hip", "wide"),
    "pockets": _make("pocket", "contrapposto", (2, 0, 3), (3, 12, 0)),
    "one-pocket": _make(("pocket", "loose"), "contrapposto", (0, 3, 3), (0, -14, 0)),
    "crossed": _make(("crossed-over", "crossed-under"), "stand", (-2, 0, 0)),
    "tpose": _make("level", "stand"),
    "apose": _make("low-side", "stand"),
    "arms-up": _make("up", "stand", (-3, 0, 0), (-8, 0, 0)),
    "victory": _make("vee", "wide", (-4, 0, 0), (-10, 0, 0)),
    "one-up": _make(("up", "hip"), "contrapposto", (0, 0, -4), (-4, 8, 0)),
    "wave": _make(("wave", "down"), "stand", (0, 0, -2), (0, 8, 4)),
    "point": _make(("point", "down"), "contrapposto", (0, 8, 0), (0, 24, 0)),
    "forward": _make("forward", "stand"),
    "nape": _make("nape", "contrapposto", (-3, 0, 4), (0, 6, 0)),
    "hand-nape": _make(("nape", "hip"), "contrapposto", (-2, 4, 6), (0, 14, 4)),
    "behind": _make("behind", "stand", (-2, 0, 0)),
    "thinking": _make(("face", "crossed-under"), "contrapposto", (3, 0, 3), (6, -8, 4)),
    "phone": _make(("phone", "pocket"), "stroll", (0, 4, 2), (2, 12, 6)),
    "shrug": _make("shrug", "stand", (0, 0, 0), (0, 0, 8)),
    "holding": _make("hold", "stand", (4, 0, 0), (14, 0, 0)),
    "walk": _make(("swing-back", "swing-front"), "walk", (3, -6, 0), (0, 4, 0)),
    "walk-pass": _make(("down", "down"), "pass", (3, 0, 0)),
    "walk-other": _make(("swing-back", "swing-front"), "walk", (3, -6, 0), (0, 4, 0)).mirrored(),
    "stroll": _make(("pocket", "swing-front"), "stroll", (2, -3, 0), (0, 14, 0)),
    "catwalk": _make(("swing-back", "hip"), "crossed", (-2, 4, 4), (-2, 0, 0)),
    "run": _make(("run-back", "run-front"), "run", (10, -10, 0), (-8, 8, 0), (4, 0, 0)),
    "run-other": _make(("run-back", "run-front"), "run", (10, -10, 0), (-8, 8, 0), (4, 0, 0)).mirrored(),
    "jump": _make("vee", "jump", (-6, 0, 0), (-10, 0, 0)),
    "star": _make("vee", "star", (0, 0, 0), (-6, 0, 0)),
    "lunge": _make("hip", "lunge", (2, 0, 0)),
    "squat": _make("forward", "squat", (30, 0, 0), (-14, 0, 0)),
    "kneel": _make(("thigh", "down"), "kneel", (4, 0, 0), (2, 6, 0)),
    "kneel-both": _make("thigh", "kneel-both", (0, 0, 0), (4, 0, 0)),
    "sit": _make("lap", "sit", (3, 0, 0), (2, 0, 0)),
    "sit-crossed": _make(("lap", "thigh"), "sit-crossed", (2, 4, 0), (0, 14, 0)),
    "step": _make(("swing-back", "thigh"), "step-up", (6, 0, 0), (-4, 0, 0)),
    "knee-up": _make("guard", "knee-up", (2, 0, 0)),
    "kick": _make(("low-side", "guard"), "kick", (-6, -8, 0), (4, 0, 0)),
    "boxing": _make(("guard", "punch"), "stroll", (6, 18, 0), (2, -10, 0)),
    "flex": _make("flex", "wide", (-2, 0, 0)),
    "ballet": _make(("ballet-up", "ballet-front"), "tiptoe", (-3, 0, 4), (-4, 16, 4)),
    "arabesque": _make(("reach-side", "level"), "side-leg", (0, 0, -8), (0, 20, 0)),
    "dance": _make(("up", "hip"), "crossed", (0, 6, 10), (-4, 20, 6)),
    "dance-low": _make(("reach-side", "chest"), "knee-up", (2, 10, -6), (0, 16, 0)),
    "disco": _make(("point", "hip"), "wide", (0, 6, 8), (-4, 20, 0)),
    "lean": _make(("pocket", "wave"), "crossed", (0, 0, -8), (0, 0, 6)),
    "bow": _make("behind", "stand", (42, 0, 0), (16, 0, 0)),
    "look-back": _make("loose", "stroll", (0, 24, 0), (0, 42, 0)),
}


@dataclass(frozen=True)
class NamedPose:
    """What ``NAME[:VIEW[:CROP]]`` means.

    Attributes:
        name: key of :data:`POSES`.
        pose: its pose.
        view: degrees, see :data:`VIEWS`.
        crop: how much of the person the picture shows.
    """

    name: str
    pose: Pose
    view: float = 0.0
    crop: Crop = "full"


def parse_pose(text: str) -> NamedPose:
    """Read ``NAME[:VIEW[:CROP]]``, such as ``walk:side`` or ``wave:30:upper``.

    Raises:
        ValueError: for an unknown name (naming the nearest ones), view or crop.
    """
    name, *rest = text.strip().lower().split(":")
    if name not in POSES:
        raise ValueError(f"unknown pose {name!r}{_nearest(name, POSES)}")
    if len(rest) > 2:
        raise ValueError(f"expected NAME[:VIEW[:CROP]], such as walk:side or wave:30:upper, got {text!r}")
    view = _parse_view(rest[0]) if rest else 0.0
    crop = rest[1] if len(rest) > 1 else "full"
    if crop not in CROPS:
        raise ValueError(f"unknown crop {crop!r}: expected one of {', '.join(CROPS)}")
    return NamedPose(name, POSES[name], view, crop)


def _parse_view(text: str) -> float:
    if text in VIEWS:
        return float(VIEWS[text])
    try:
        angle = float(text)
    except ValueError:
        angle = math.nan
    if not math.isfinite(angle):
        raise ValueError(f"unknown view {text!r}: expected degrees or one of {', '.join(VIEWS)}")
    return (angle + 180) % 360 - 180


def _nearest(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{hint or ':'} known poses are {', '.join(known)}"


def interpolate(start: Pose, end: Pose, t: float) -> Pose:
    """The pose a share ``t`` in [0, 1] of the way: directions turn evenly, angles change linearly.

    Raises:
        ValueError: if ``t`` lies outside [0, 1].
    """
    if not 0 <= t <= 1:
        raise ValueError(f"expected t in [0, 1], got {t:g}")

    def mix(a: float, b: float) -> float:
        return a + (b - a) * t

    def vector(a: Vector, b: Vector) -> Vector:
        return mix(a[0], b[0]), mix(a[1], b[1]), mix(a[2], b[2])

    def arm(a: Arm, b: Arm) -> Arm:
        return Arm(_slerp(a.upper, b.upper, t), _slerp(a.lower, b.lower, t), mix(a.twist, b.twist), mix(a.curl, b.curl))

    def leg(a: Leg, b: Leg) -> Leg:
        return Leg(*(mix(getattr(a, n), getattr(b, n)) for n in Leg.__dataclass_fields__))

    return Pose(
        arm(start.left_arm, end.left_arm), arm(start.right_arm, end.right_arm),
        leg(start.left_leg, end.left_leg), leg(start.right_leg, end.right_leg),
        vector(start.spine, end.spine), vector(start.head, end.head), vector(start.body, end.body),
        end.seated if t >= 0.5 else start.seated,
    )  # fmt: skip


def _slerp(a: Vector, b: Vector, t: float) -> Vector:
    u, v = np.array(a) / np.linalg.norm(a), np.array(b) / np.linalg.norm(b)
    angle = math.acos(float(np.clip(u @ v, -1, 1)))
    if angle < 1e-6:
        return a
    if angle > math.pi - 1e-3:  # opposite directions: go over the front
        v = v + np.array([0, 0.02, 0])
    x, y, z = (math.sin((1 - t) * angle) * u + math.sin(t * angle) * v) / math.sin(min(angle, math.pi - 1e-3))
    return float(x), float(y), float(z)


def walk_cycle(frames: int) -> list[Pose]:
    """One stride of a looping walk; after the last pose comes the first again.

    Raises:
        ValueError: for fewer than 2 frames.
    """
    if frames < 2:
        raise ValueError(f"a walk cycle needs at least 2 frames, got {frames}")
    return [_stride(2 * math.pi * i / frames) for i in range(frames)]


def _stride(phase: float) -> Pose:
    def leg(angle: float) -> Leg:
        thigh = 4 + 21 * math.cos(angle)
        # the knee bends most while the leg swings forward, and a little as the weight comes on
        bend = (
            6
            + 48 * max(0.0, -math.sin(angle)) ** 2 * (0.55 + 0.45 * math.cos(angle + 0.6))
            + 8 * max(0.0, math.sin(angle))
        )
        push = max(0.0, math.cos(angle + math.pi * 0.8))
        return Leg(3, thigh, thigh - bend, 4, tiptoe=34 * push)

    def arm(angle: float) -> Arm:
        swing = 24 * math.cos(angle)
        return Arm(_swung(10, swing), _swung(6, swing + 14 + 10 * max(0.0, math.cos(angle))), curl=16)

    left, right = phase, phase + math.pi
    return Pose(arm(right), arm(left), leg(left), leg(right), (3, -5 * math.cos(phase), 0), (0, 4 * math.cos(phase), 0))


def turntable(frames: int) -> list[float]:
    """Views of one full turn, degrees in [-180, 180), starting at the front.

    Raises:
        ValueError: for fewer than 1 frame.
    """
    if frames < 1:
        raise ValueError(f"a turntable needs at least 1 frame, got {frames}")
    return [(360 * i / frames + 180) % 360 - 180 for i in range(frames)]


# How often random people stand, walk, ... and hold their arms, in the manner of catalogue photographs.
LEG_ODDS = {
    "stand": 0.24, "contrapposto": 0.26, "walk": 0.1, "stroll": 0.12, "crossed": 0.06, "wide": 0.08, "pass": 0.03,
    "sit": 0.02, "kneel": 0.01, "knee-up": 0.015, "run": 0.02, "lunge": 0.01, "tiptoe": 0.015, "step-up": 0.02,
}  # fmt: skip
ARM_ODDS = {
    "down": 0.24, "loose": 0.16, "hip": 0.15, "pocket": 0.12, "bent": 0.03, "chest": 0.04, "nape": 0.04, "up": 0.02,
    "level": 0.02, "wave": 0.04, "forward": 0.015, "behind": 0.04, "swing-front": 0.04, "swing-back": 0.03,
    "face": 0.03, "phone": 0.02, "hold": 0.03, "vee": 0.015, "low-side": 0.02, "reach-side": 0.02,
}  # fmt: skip
CALM_LEGS = frozenset({"stand", "contrapposto", "crossed", "stroll", "tiptoe", "pass"})  # for narrow or long skirts


def random_pose(rng: np.random.Generator, heads: np.ndarray | None = None, calm: bool = False) -> Pose:
    """A plausible pose without self-contact: presets with jitter, drawn again while a hand sinks into the body.

    Args:
        rng: the only source of chance.
        heads: float64 ``(J, 3)``, bone heads of the person; default the average body's.
        calm: only legs that a narrow or long skirt allows.
    """
    body = load_body()
    if heads is None:
        heads = body.rest()[1]
    pose = POSES["stand"]
    for _ in range(20):
        pose = _draw_pose(rng, calm)
        if not touches_itself(bone_transforms(pose, body, heads), body, heads):
            return pose
    return POSES["stand"]


def _choose(rng: np.random.Generator, odds: Mapping[str, float]) -> str:
    weights = np.array(list(odds.values()))
    return list(odds)[int(rng.choice(len(odds), p=weights / weights.sum()))]


def _draw_pose(rng: np.random.Generator, calm: bool) -> Pose:
    stance = _choose(rng, {k: v for k, v in LEG_ODDS.items() if not calm or k in CALM_LEGS})
    left = _choose(rng, ARM_ODDS)
    right = left if rng.uniform() < 0.35 else _choose(rng, ARM_ODDS)
    if stance in ("walk", "run") and rng.uniform() < 0.7:
        kind = "swing" if stance == "walk" else "run"
        left, right = f"{kind}-back", f"{kind}-front"
    if stance in ("sit", "kneel") and rng.uniform() < 0.7:
        left, right = "lap", "lap"

    def angles(*spread: float) -> Vector:
        a, b, c = (float(rng.normal() * s) for s in spread)
        return a, b, c

    def arm(name: str) -> Arm:
        preset = ARMS[name]
        upper, lower = (
            np.array(d) / np.linalg.norm(d) + rng.normal(size=3) * 0.08 for d in (preset.upper, preset.lower)
        )
        return replace(
            preset, upper=(upper[0], upper[1], upper[2]), lower=(lower[0], lower[1], lower[2]),
            twist=preset.twist + rng.normal() * 8, curl=max(0.0, preset.curl + rng.normal() * 6),
        )  # fmt: skip

    def leg(preset: Leg) -> Leg:
        bend = preset.thigh - preset.shin
        thigh = preset.thigh + rng.normal() * 3
        return replace(
            preset, spread=preset.spread + rng.normal() * 2, thigh=thigh,
            shin=thigh - max(0.5, bend + rng.normal() * 3), turn=preset.turn + rng.normal() * 4,
        )  # fmt: skip

    legs = LEGS[stance]
    tilt = 4.0 if stance == "contrapposto" else 0.0
    spine = angles(3, 5, 3)
    pose = Pose(
        arm(left), arm(right), leg(legs[0]), leg(legs[1]), (spine[0], spine[1], spine[2] + tilt), angles(6, 14, 4),
        seated=stance == "sit",
    )  # fmt: skip
    return pose.mirrored() if rng.uniform() < 0.5 else pose


def random_view(rng: np.random.Generator) -> float:
    """Degrees: mostly front, then three-quarter, back and side, as in catalogues."""
    kind = _choose(rng, {"front": 0.45, "quarter": 0.22, "side": 0.15, "back": 0.18})
    side = -1.0 if rng.uniform() < 0.5 else 1.0
    if kind == "front":
        return float(rng.normal() * 9)
    if kind == "quarter":
        return float(side * rng.uniform(25, 60))
    if kind == "side":
        return float(side * rng.uniform(70, 105))
    return (180 + float(rng.normal() * 18) + 180) % 360 - 180


def random_crop(rng: np.random.Generator) -> Crop:
    """Full 62 %, knee-up 18 %, waist-up 20 %."""
    return CROPS[int(rng.choice(3, p=[0.62, 0.18, 0.2]))]
