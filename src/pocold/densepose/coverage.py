"""How much of what a target pose shows can be seen in the source at all: nothing invents the back of a coat rightly."""

import warnings
from dataclasses import dataclass

import numpy as np

from pocold.densepose.labels import BODY_PARTS, LABEL_NAMES, MIRRORED_LABEL, NUM_LABELS
from pocold.densepose.maps import DensePose

# Share of the target's body from which on it is worth a warning; from front to side it is 0.35.
MUCH = 0.4
# A surface is shown if its share of the source's body is at least this part of its share of the target's.
_ENOUGH = 0.25
_GROUPS = ("head", "torso", "upper_arms", "lower_arms", "hands", "upper_legs", "lower_legs", "feet")


class CoverageWarning(UserWarning):
    """The source shows too little of what the target needs."""


@dataclass(frozen=True)
class Coverage:
    """What the target shows and the source does not, as shares 0 to 1 of the target's body in pixels.

    Attributes:
        absent: by part ("lower legs"), what the source does not show from any side.
        turned: by part and side ("torso back"), what it shows from another side only.
    """

    absent: dict[str, float]
    turned: dict[str, float]

    @property
    def missing(self) -> float:
        """Share of the target's body that the source does not show."""
        return sum(self.absent.values()) + sum(self.turned.values())

    def warning(self) -> str | None:
        """One sentence with numbers if much is missing, else None."""
        if self.missing < MUCH:
            return None
        share = f"{self.missing:.0%}"
        return f"{share} of the body in the target pose has to be invented: the source does not show {self.named()}"

    def named(self) -> str:
        """What is missing, the largest first, such as ``torso back (31%), head (4%)``."""
        shares = sorted((self.absent | self.turned).items(), key=lambda part: -part[1])
        return ", ".join(f"{name} ({share:.0%})" for name, share in shares if share >= 0.01)


def missing_parts(source: DensePose, target: DensePose) -> Coverage:
    """Compare the surfaces that two maps show.

    A surface is a label together with its mirror image, for clothes are much the same on the left and on the right:
    torso back and front, head, hands, feet, and each segment of the limbs from two sides. Sizes are compared as shares
    of each map's body, so the maps may differ in size and scale; slivers along an outline do not count as shown.

    Raises:
        ValueError: if either map shows nobody.
    """
    seen, needed = (_surfaces(pose, name) for pose, name in ((source, "source"), (target, "target")))
    missing = {label for label in range(1, NUM_LABELS) if seen[label] < _ENOUGH * needed[label]}
    absent: dict[str, float] = {}
    turned: dict[str, float] = {}
    for group in _GROUPS:
        labels = BODY_PARTS[group]
        for label in sorted(labels):
            if label not in missing or label > MIRRORED_LABEL[label]:
                continue
            elsewhere = seen[list(labels)].max() >= _ENOUGH * needed[list(labels)].max()
            side = LABEL_NAMES[label].removeprefix("right ").removeprefix("left ")
            shares, name = (turned, side) if elsewhere else (absent, group.replace("_", " "))
            shares[name] = shares.get(name, 0.0) + float(needed[label])
    return Coverage(absent, turned)


def _surfaces(pose: DensePose, name: str) -> np.ndarray:
    """Float (25,): each label's share of the body, its mirror image's included."""
    counts = np.bincount(pose.labels.ravel(), minlength=NUM_LABELS).astype(np.float64)
    counts[0] = 0
    if not counts.any():
        raise ValueError(f"the {name}'s map shows nobody")
    different = np.arange(NUM_LABELS) != MIRRORED_LABEL
    return (counts + counts[MIRRORED_LABEL] * different) / counts.sum()


def warn_if_missing(source: DensePose, target: DensePose, stacklevel: int = 1) -> None:
    """Warn, in one sentence with numbers, if the source shows too little of what the target needs.

    Args:
        source: the map of the photograph that the appearance comes from.
        target: the pose asked for.
        stacklevel: 1 blames the caller, 2 the caller's caller.

    Warns:
        CoverageWarning: see :meth:`Coverage.warning`.
    """
    message = missing_parts(source, target).warning()
    if message is not None:
        warnings.warn(message, CoverageWarning, stacklevel=stacklevel + 1)
