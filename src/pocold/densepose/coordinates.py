"""U and V for maps that have labels only, taken from another map of the same picture.

Legend: H W map size.
"""

import numpy as np
from scipy import ndimage

from pocold.densepose.maps import DensePose

_MIDDLE = 0.5


def with_coordinates(labels: DensePose, known: DensePose) -> tuple[DensePose, frozenset[int]]:
    """A map with the labels of one and the U, V of another.

    A pixel takes U and V of the nearest pixel of the same label. Parts that the other map does not show at all get the
    middle of their chart everywhere: one colour, where made-up coordinates would give a pattern that nobody wears.

    Args:
        labels: whose labels hold.
        known: with U and V, of the same size.

    Returns:
        The map, and the parts that only got the middle.

    Raises:
        ValueError: if the sizes differ, or the other map has no U and V.
    """
    if known.uv is None or known.size != labels.size:
        raise ValueError(f"expected a map of size {labels.size} with U and V, got {known.size}")
    uv = np.zeros((2, *labels.size), np.float32)
    guessed = labels.visible_parts - known.visible_parts
    for part in labels.visible_parts:
        wanted = labels.labels == part
        if part in guessed:
            uv[:, wanted] = _MIDDLE
        else:
            rows, columns = ndimage.distance_transform_edt(
                known.labels != part, return_distances=False, return_indices=True
            )
            uv[:, wanted] = known.uv[:, rows[wanted], columns[wanted]]
    return DensePose(labels.labels, uv, labels.doubts, labels.person), guessed
