"""Maps held to where a person is seen: cut where they go beyond it, widened where clothes and hair do.

Legend: H W map size.
"""

import numpy as np
from scipy import ndimage

from pocold.densepose.maps import DensePose

_SLACK = 1 / 150  # a map may go this far beyond the mask, as a share of the person's height
_REACH = 0.05  # a map is widened by at most this
_EDGE = 1 / 60  # a mask's edge is soft, and its person colours the pixels beside it


def held_to(pose: DensePose, mask: np.ndarray) -> DensePose:
    """A map that shows a body where, and only where, a person is seen.

    Pixels beside the body take label, U and V of the nearest one, so that what stands off the body is carried with it.
    What lies further off is kept as the map's ``person``.

    Args:
        pose: with U and V.
        mask: bool ``(H, W)``.

    Raises:
        ValueError: if the mask is of another size, or the map has no U, V.
    """
    if mask.shape != pose.size or pose.uv is None:
        raise ValueError(f"expected a map with U and V and a mask of its size {pose.size}, got a mask {mask.shape}")
    rows = np.flatnonzero((pose.labels > 0).any(1))
    if not len(rows):
        return pose
    height = int(rows[-1] - rows[0] + 1)
    allowed = ndimage.distance_transform_edt(~mask) <= max(1.0, _SLACK * height)
    labels = np.where(allowed, pose.labels, 0)
    if not labels.any():
        return pose  # the mask is of somebody else
    distance, (row, column) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    near = mask | (labels > 0)
    near &= distance <= _REACH * height
    uv = np.where(near, pose.uv[:, row, column], 0)
    person = ndimage.binary_dilation(mask, iterations=max(1, round(_EDGE * height)))
    return DensePose(np.where(near, labels[row, column], 0).astype(np.uint8), uv.astype(np.float32), person=person)
