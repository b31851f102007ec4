"""How well maps are found in photographs: overlap of parts, sides that are mixed up, error of U and V.

All counts of pixels come from one matrix of confusions, summed over a test set: small parts of single pictures would
make means of means noisy. Legend: B pictures, H W their size, P = 25 labels.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pocold.densepose.labels import BODY_PARTS, LABEL_NAMES, MIRRORED_LABEL, NUM_LABELS

# Hands, feet, legs and arms: what a left and a right one of can be taken for each other.
LIMBS = tuple(sorted(BODY_PARTS["hands"] | BODY_PARTS["feet"] | BODY_PARTS["legs"] | BODY_PARTS["arms"]))
Estimator = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass
class Confusions:
    """What was found where; add the maps of a test set, then ask.

    Attributes:
        pixels: float64 ``(25, 25)``, pixels by true label (row) and found label (column).
        distance: summed error of U and V where the part was found, float64.
    """

    pixels: Tensor = field(default_factory=lambda: torch.zeros(NUM_LABELS, NUM_LABELS, dtype=torch.float64))
    distance: float = 0.0

    def add(self, labels: Tensor, uv: Tensor, true_labels: Tensor, true_uv: Tensor) -> None:
        """Add B maps.

        Args:
            labels: found, ``(B, H, W)``, integers 0..24.
            uv: found, ``(B, 2, H, W)``.
            true_labels, true_uv: likewise.

        Raises:
            ValueError: if the maps differ in size.
        """
        if labels.shape != true_labels.shape or uv.shape != true_uv.shape or uv[:, 0].shape != labels.shape:
            raise ValueError(
                f"maps that are compared need one shape, got labels {tuple(labels.shape)} and "
                f"{tuple(true_labels.shape)}, uv {tuple(uv.shape)} and {tuple(true_uv.shape)}"
            )
        index = true_labels.long() * NUM_LABELS + labels.long()
        self.pixels += torch.bincount(index.flatten(), minlength=NUM_LABELS**2).view(NUM_LABELS, NUM_LABELS).cpu()
        right = (labels == true_labels) & (true_labels > 0)
        self.distance += float(((uv.double() - true_uv.double()).abs().mean(1) * right).sum())

    def merge(self, other: "Confusions") -> None:
        """Add what another one has seen."""
        self.pixels += other.pixels
        self.distance += other.distance

    def part_iou(self) -> dict[str, float]:
        """Intersection over union of each of the 24 parts, by name; parts that occur nowhere are left out."""
        union = self.pixels.sum(0) + self.pixels.sum(1) - self.pixels.diag()
        return {
            LABEL_NAMES[part]: float(self.pixels[part, part] / union[part])
            for part in range(1, NUM_LABELS)
            if union[part] > 0
        }

    def summary(self) -> dict[str, float]:
        """The numbers to look at; NaN where a test set has nothing to ask.

        - ``miou``: mean of :meth:`part_iou`;
        - ``accuracy``: share of pixels, background included, with the right label;
        - ``body_accuracy``: the same of body pixels;
        - ``mirrored``: share of limb pixels that were found as their mirror image;
        - ``other_side``: share that were found as any limb of the other side, which also counts a person seen from the
          front taken for one seen from behind;
        - ``uv_error``: mean error of U and V, where the part is right.
        """
        ious = self.part_iou()
        limbs = self.pixels[list(LIMBS)].sum()
        mirrored = sum(self.pixels[part, int(MIRRORED_LABEL[part])] for part in LIMBS)
        other = sum(self.pixels[a, b] for a in LIMBS for b in LIMBS if _side(a) != _side(b))
        right = self.pixels.diag()
        return {
            "miou": sum(ious.values()) / len(ious) if ious else math.nan,
            "accuracy": float(right.sum() / self.pixels.sum()),
            "body_accuracy": float(right[1:].sum() / self.pixels[1:].sum()),
            "mirrored": float(mirrored / limbs),
            "other_side": float(other / limbs),
            "uv_error": self.distance / float(right[1:].sum()) if right[1:].sum() else math.nan,
        }


def _side(part: int) -> str:
    return LABEL_NAMES[part].partition(" ")[0]


@torch.inference_mode()
def confusions(estimator: Estimator, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Confusions:
    """Measure an estimator.

    Args:
        estimator: pictures ``(B, 3, H, W)`` in [-1, 1] -> logits ``(B, 25, H, W)`` and U, V ``(B, 2, H, W)``.
        batches: pictures, true labels ``(B, H, W)`` and true U, V ``(B, 2, H, W)``.
    """
    found = Confusions()
    for pictures, true_labels, true_uv in batches:
        logits, uv = estimator(pictures)
        found.add(logits.argmax(1), uv.float(), true_labels, true_uv)
    return found
