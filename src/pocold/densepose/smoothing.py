"""U and V that a network found, made smooth: over a part of the body they rise evenly, and single pixels are wrong.

Legend: H W map size, N pixels of a part, C terms of a quadratic form, 6, D values per pixel, M points of the chart.
"""

from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from pocold.densepose.chart import places, surface_chart

_FEW = 24  # pixels of a part below which six numbers are too many to be told from them
_ROUNDS = 4
_OUTLIER = 2.0  # times the median distance from the form: from here on a pixel counts less than half
_HEAD = (23, 24)
_STEPS = 256  # of U and of V
_NEIGHBOURS, _SPREAD = 12, 0.003  # points of the chart around a place, and the metres over which they count less


def smooth_coordinates(labels: np.ndarray, uv: np.ndarray, certain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U and V as a quadratic form of the place in the picture, one for each part.

    A photograph is carried into another pose point by point, so that noise in U, V, which is small beside their range,
    scatters its pixels. A form keeps where the part lies and how it is turned. It is fitted by least squares that are
    weighted again in each round: pixels far off the form, which belong to another part or to none, count little.

    Of a head, whose U says how far in front a point lies and next to nothing of where on a face, the place on the
    resting body is such a form instead, one for both its halves; U, V and the half follow from it.

    Args:
        labels: integers 0..24, ``(H, W)``.
        uv: float ``(2, H, W)`` in [0, 1].
        certain: float ``(H, W)`` in [0, 1], how much each pixel is believed.

    Returns:
        ``(H, W)``, the labels, in which halves of a head may be others; and float32 ``(2, H, W)`` in [0, 1], as given
        in the background and in parts of a few pixels.
    """
    labels, smooth = labels.copy(), np.array(uv, np.float32)
    for part in np.unique(labels[(labels > 0) & ~np.isin(labels, _HEAD)]):
        y, x = np.nonzero(labels == part)
        if len(y) >= _FEW:
            smooth[:, y, x] = _fitted(_terms(y, x), uv[:, y, x].T, certain[y, x]).T
    y, x = np.nonzero(np.isin(labels, _HEAD))
    if len(y) >= _FEW:
        steps = (uv[:, y, x].clip(0, 1) * (_STEPS - 1)).round().astype(np.uint8)
        place = _fitted(_terms(y, x), places(labels[y, x], steps), certain[y, x])
        labels[y, x], smooth[:, y, x] = _on_head(place)
    return labels, smooth.clip(0, 1)


def _terms(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``(N, C)``: 1, x, y, x², xy, y² of places around their middle, in deviations of them."""
    x, y = ((values - values.mean()) / max(float(values.std()), 1.0) for values in (x, y))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)


def _fitted(terms: np.ndarray, values: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """The form of ``values (N, D)`` at the places of ``terms``."""
    trust = np.maximum(certain, 1e-3) ** 2
    weights, form = trust, values
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)[:, None]
        form = terms @ np.linalg.lstsq(terms * root, values * root, rcond=None)[0]
        off = np.linalg.norm(values - form, axis=1)
        weights = trust / (1 + (off / (_OUTLIER * np.median(off) + 1e-6)) ** 2) ** 2
    return form


def _on_head(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels ``(N,)`` and U, V ``(2, N)`` of the points of the resting head that are nearest to ``place (N, 3)``."""
    tree, parts, uv = _head()
    far, near = tree.query(place, k=_NEIGHBOURS)
    nearest = parts[near[:, 0]]
    weights = (parts[near] == nearest[:, None]) * np.exp((far[:, :1] - far) / _SPREAD)
    return nearest, ((uv[near] * weights[..., None]).sum(1) / weights.sum(1, keepdims=True)).T


@lru_cache(maxsize=1)
def _head() -> tuple[cKDTree, np.ndarray, np.ndarray]:
    """The resting head in steps of 1/255 in U and V: a tree of the points' places, labels ``(M,)``, U, V ``(M, 2)``."""
    chart, steps = surface_chart(), np.arange(_STEPS)
    per_cell = _STEPS / chart.shape[1]
    cells = ((steps + 0.5) / per_cell - 0.5).clip(0, chart.shape[1] - 1)
    at = np.meshgrid(cells, cells, indexing="ij")
    place = [[map_coordinates(chart[part, ..., axis], at, order=1).ravel() for axis in range(3)] for part in _HEAD]
    uv = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2) / np.float32(_STEPS - 1)
    parts = np.repeat(np.array(_HEAD, np.uint8), len(uv))
    tree = cKDTree(np.concatenate([np.stack(of_part, axis=1) for of_part in place]), balanced_tree=False)
    return tree, parts, np.concatenate([uv, uv])
