"""Which way the body's surface faces in a picture, told by its DensePose map alone.

Every point of a map has a place on the resting body. A limb is stiff and a camera far away, so from these places to
those in the picture leads a rotation, of which two rows are seen, a scale and a shift: fitted by least squares, the
rotation turns the normals of the resting body.

Legend: H W map size, N points.
"""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from pocold.densepose.chart import places, surface_chart

# What turns together, both sides of it. Hands and feet are left out: bent, and too small to be told from their maps.
_LIMBS = ((1, 2), (7, 9), (8, 10), (11, 13), (12, 14), (15, 17), (16, 18), (19, 21), (20, 22), (23, 24))
_LIMB_OF = np.zeros(256, np.uint8)  # of a label; 0 for none
for _number, _parts in enumerate(_LIMBS, 1):
    _LIMB_OF[list(_parts)] = _number
_FEW = 24  # pixels of a limb below which its rotation cannot be told
_SMOOTH = 1.5  # cells of the chart
_RIDGE = 1e-4  # of the places' spread: a limb of which one side is seen is nearly flat


def surface_normals(labels: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Unit normals in the picture's own axes: right, down, and towards the camera.

    Args:
        labels: integers ``(H, W)``; all but 1..24 are no body.
        uv: uint8 ``(2, H, W)``, U and V times 255.

    Returns:
        float32 ``(H, W, 3)``; not a number off the body, on hands and feet, and on limbs of a few pixels.
    """
    normals = np.full((*labels.shape, 3), np.nan, np.float32)
    y, x = np.nonzero(_LIMB_OF[labels])
    limbs = _LIMB_OF[labels[y, x]]
    for limb in np.unique(limbs):
        rows, columns = y[limbs == limb], x[limbs == limb]
        if len(rows) >= _FEW:
            parts, steps = labels[rows, columns], uv[:, rows, columns]
            turn = _rotation(places(parts, steps), np.stack([columns, rows], axis=1))
            normals[rows, columns] = places(parts, steps, resting_normals()) @ turn.T
    return normals


@lru_cache(maxsize=1)
def resting_normals() -> np.ndarray:
    """float32 ``(25, 64, 64, 3)``: unit normals of every cell of the chart, outwards, in its axes."""
    chart = surface_chart()
    normals = np.zeros_like(chart)
    for limb in _LIMBS:
        middle = chart[list(limb)].mean((0, 1, 2))
        for part in limb:
            place = gaussian_filter(chart[part], (_SMOOTH, _SMOOTH, 0), mode="nearest")
            across = np.cross(np.gradient(place, axis=0), np.gradient(place, axis=1))
            outwards = np.sign((across * (place - middle)).sum())  # U and V have one handedness all over a part
            normals[part] = outwards * across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-12)
    return normals


def _rotation(place: np.ndarray, at: np.ndarray) -> np.ndarray:
    """``(3, 3)``, from the axes of the resting body to those of the picture.

    Args:
        place: ``(N, 3)``, metres on the resting body.
        at: ``(N, 2)``, x and y of the same points in the picture.
    """
    place, at = place - place.mean(0), at - at.mean(0)
    spread = place.T.astype(float) @ place
    linear = np.linalg.solve(spread + _RIDGE * np.trace(spread) * np.eye(3), place.T @ at).T
    left, _, right = np.linalg.svd(linear, full_matrices=False)
    across, down = left @ right  # the nearest two rows of a rotation, whatever the scale
    return np.stack([across, down, -np.cross(across, down)])  # x, y and their product point right, down and away
