"""U and V that a network found, made smooth: over a part of the body they rise evenly, and single pixels are wrong.

Legend: H W map size, N pixels of a part, C terms of a quadratic form, 6.
"""

import numpy as np

_FEW = 24  # pixels of a part below which six numbers are too many to be told from them
_ROUNDS = 4
_OUTLIER = 2.0  # times the median distance from the form: from here on a pixel counts less than half


def smooth_coordinates(labels: np.ndarray, uv: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """U and V as a quadratic form of the place in the picture, one for each part.

    A photograph is carried into another pose point by point, so that noise in U, V, which is small beside their range,
    scatters its pixels. A form keeps where the part lies and how it is turned. It is fitted by least squares that are
    weighted again in each round: pixels far off the form, which belong to another part or to none, count little.

    Args:
        labels: integers 0..24, ``(H, W)``.
        uv: float ``(2, H, W)`` in [0, 1].
        certain: float ``(H, W)`` in [0, 1], how much each pixel is believed.

    Returns:
        float32 ``(2, H, W)`` in [0, 1]; as given in the background, and in parts of a few pixels.
    """
    smooth = np.array(uv, np.float32)
    for part in np.unique(labels[labels > 0]):
        y, x = np.nonzero(labels == part)
        if len(y) >= _FEW:
            smooth[:, y, x] = _fitted(_terms(y, x), uv[:, y, x].T, certain[y, x]).T
    return smooth.clip(0, 1)


def _terms(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``(N, C)``: 1, x, y, x², xy, y² of places around their middle, in deviations of them."""
    x, y = ((values - values.mean()) / max(float(values.std()), 1.0) for values in (x, y))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)


def _fitted(terms: np.ndarray, uv: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """The form of U, V ``(N, 2)`` at the places of ``terms``."""
    trust = np.maximum(certain, 1e-3) ** 2
    weights, form = trust, uv
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)[:, None]
        form = terms @ np.linalg.lstsq(terms * root, uv * root, rcond=None)[0]
        off = np.linalg.norm(uv - form, axis=1)
        weights = trust / (1 + (off / (_OUTLIER * np.median(off) + 1e-6)) ** 2) ** 2
    return form
