"""Where on the resting body every (part, U, V) lies, and what that tells of a map.

Legend: H W map size, N points.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

_CHART = Path(__file__).with_name("surface_chart.npz")
_CELLS = 64
_Slices = tuple[slice, ...]
_JUMP = 0.1  # metres; further apart neighbours are at an outline, where any distance says the same
# Neighbouring pixels are nearer to each other on the body than after U and V are exchanged: on maps of 60 drawn people
# 0.6 to 0.79 of that distance, in either size; exchanged maps have the inverse.
_EXCHANGED = 1.1


@lru_cache(maxsize=1)
def surface_chart() -> np.ndarray:
    """float32 ``(25, 64, 64, 3)``: metres to the person's left, backwards and up, of every cell of every chart."""
    with np.load(_CHART) as file:
        return file["place"].astype(np.float32)


def places(parts: np.ndarray, uv: np.ndarray, chart: np.ndarray | None = None) -> np.ndarray:
    """Where points lie on the resting body: float32 ``(..., 3)`` in metres, as :func:`surface_chart`.

    Args:
        parts: ``(...)``, labels 1..24.
        uv: uint8 ``(2, ...)``, U and V times 255.
        chart: ``(25, 64, 64, 3)``, anything else that is known of every cell.
    """
    cells = uv.astype(np.int64) * _CELLS // 256
    return (surface_chart() if chart is None else chart)[parts, cells[0], cells[1]]


def looks_exchanged(labels: np.ndarray, uv: np.ndarray) -> bool:
    """Whether U and V stand in each other's place: exchanged, neighbours in the map would be nearer on the body.

    Args:
        labels: ``(H, W)``, 0..24.
        uv: float32 ``(2, H, W)`` in [0, 1].
    """
    steps = np.round(uv * 255).astype(np.uint8)
    as_it_is, exchanged = _roughness(labels, steps), _roughness(labels, steps[::-1])
    return as_it_is > _EXCHANGED * exchanged


def step_length(labels: np.ndarray, uv: np.ndarray) -> float:
    """How many metres of the body a pixel of a map is: the median within parts, 0.01 where there are none.

    Told by pixels as far apart as one of a map 64 high: nearer ones may have the same U and V, in steps of 1/255.

    Args:
        labels: ``(H, W)``, 0..24.
        uv: uint8 ``(2, H, W)``.
    """
    apart = max(1, len(labels) // 64)
    found = np.concatenate([gap[(labels[a] == labels[b])[both]] for a, b, both, gap in neighbours(labels, uv, apart)])
    found = found[found > 0]
    return float(np.median(found)) / apart if len(found) else 0.01


def neighbours(
    labels: np.ndarray, uv: np.ndarray, apart: int = 1
) -> Iterator[tuple[_Slices, _Slices, np.ndarray, np.ndarray]]:
    """Along both axes how far neighbouring pixels of a map are from each other on the body.

    Args:
        labels: ``(H, W)``, 0..24.
        uv: uint8 ``(2, H, W)``.
        apart: so many pixels.

    Yields:
        slices of the pixels and of their neighbours, bool ``(h, w)`` whether both show the body, and the metres between
        them, one for each True of it.
    """
    place, body = places(labels, uv), labels > 0
    for axis in (0, 1):
        near = (slice(None),) * axis + (slice(apart, None),)
        far = (slice(None),) * axis + (slice(None, -apart),)
        both = body[near] & body[far]
        yield near, far, both, np.linalg.norm(place[near][both] - place[far][both], axis=-1)


def _roughness(labels: np.ndarray, uv: np.ndarray) -> float:
    """Mean distance on the body, in metres, of neighbouring pixels that both show it; 0 where there are none."""
    found = np.concatenate([gap for *_, gap in neighbours(labels, uv)])
    return float(np.minimum(found, _JUMP).mean()) if len(found) else 0.0
