"""The 25 body labels of DensePose: names, groups, left/right symmetry.

Label 0 is background, 1 to 24 are body parts.
"""

from collections.abc import Iterable

import numpy as np

NUM_LABELS = 25

# detectron2's order. Limbs have two charts each; docs/people.md has their coordinates.
LABEL_NAMES = (
    "background",
    "torso back", "torso front",
    "right hand", "left hand",
    "left foot", "right foot",
    "right upper leg back", "left upper leg back", "right upper leg front", "left upper leg front",
    "right lower leg back", "left lower leg back", "right lower leg front", "left lower leg front",
    "left upper arm inner", "right upper arm inner", "left upper arm outer", "right upper arm outer",
    "left lower arm inner", "right lower arm inner", "left lower arm outer", "right lower arm outer",
    "right head", "left head",
)  # fmt: skip

# What label p becomes when the picture is mirrored.
MIRRORED_LABEL = np.array(
    [0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23], dtype=np.uint8
)

# Where mirroring also turns a chart's coordinate around: left and right limb charts carry equal U, V; head, hands and
# feet mirror U; the torso, which lies on both sides of the body, mirrors V. Bool, indexed by label.
MIRRORED_U = np.isin(np.arange(NUM_LABELS), (3, 4, 5, 6, 23, 24))
MIRRORED_V = np.isin(np.arange(NUM_LABELS), (1, 2))

# Groups of labels by the names people use for them. "top" and "trousers" are what such a garment can cover.
BODY_PARTS: dict[str, frozenset[int]] = {
    "background": frozenset({0}),
    "torso": frozenset({1, 2}),
    "hands": frozenset({3, 4}),
    "feet": frozenset({5, 6}),
    "upper_legs": frozenset({7, 8, 9, 10}),
    "lower_legs": frozenset({11, 12, 13, 14}),
    "upper_arms": frozenset({15, 16, 17, 18}),
    "lower_arms": frozenset({19, 20, 21, 22}),
    "head": frozenset({23, 24}),
    "arms": frozenset(range(15, 23)),
    "legs": frozenset(range(7, 15)),
    "top": frozenset({1, 2, *range(15, 23)}),
    "trousers": frozenset(range(7, 15)),
    "body": frozenset(range(1, 25)),
}


def body_part_labels(parts: str | int | Iterable[str | int]) -> frozenset[int]:
    """The labels 0..24 named by ``parts``: names of :data:`BODY_PARTS`, labels, or several of either.

    Raises:
        ValueError: for an unknown name, or a label outside 0..24.
    """
    if isinstance(parts, str | int | np.integer):
        parts = [parts]
    labels: set[int] = set()
    for part in parts:
        if isinstance(part, str) and part in BODY_PARTS:
            labels |= BODY_PARTS[part]
        elif isinstance(part, int | np.integer) and 0 <= part < NUM_LABELS:
            labels.add(int(part))
        else:
            raise ValueError(
                f"unknown body part {part!r}: expected a DensePose label 0..24 or one of {', '.join(BODY_PARTS)}"
            )
    if not labels:
        raise ValueError("expected at least one body part, got none")
    return frozenset(labels)
