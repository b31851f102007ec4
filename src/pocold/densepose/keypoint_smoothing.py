"""Keypoints of frames that follow each other, smoothed over time.

The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012): a low pass whose cutoff rises with the speed, so that what
stands still stops to tremble and what is quick does not lag. All frames are known, so it runs forwards and backwards,
and the mean of the two lags nowhere. Legend: F frames, K = 25 points of :data:`pocold.densepose.keypoints.NAMES`.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import median_filter, uniform_filter1d

from pocold.densepose.keypoints import NAMES, Keypoints

_CUTOFF = 0.6  # Hz, of points that stand still
_RISE = 12.0  # Hz by which it rises for a speed of one body height a second
_SPEED_CUTOFF = 1.0  # Hz, of the speed itself
_AROUND, _JUMP = 0.2, 0.15  # seconds, and body heights from their median beyond which a point is somebody else's
_WINDOW = 0.6  # seconds over which frames decide whether a point is there, and how sure it is


def smoothed(frames: Sequence[Keypoints | None], fps: float) -> list[Keypoints | None]:
    """The same keypoints without their trembling; frames that have none stay so.

    Args:
        frames: of one person, in pixels of pictures of one size; None where nobody was found.
        fps: frames per second.

    Raises:
        ValueError: for a rate of 0 or less, frames of different sizes, or keypoints in shares of an unknown one.
    """
    known = [frame for frame in frames if frame is not None]
    if not fps > 0:
        raise ValueError(f"expected a rate of frames per second above 0, got {fps}")
    sizes = {frame.size for frame in known}
    if len(sizes) > 1 or any(frame.relative for frame in known):
        raise ValueError(f"expected keypoints in pixels of pictures of one size, got {sorted(map(str, sizes))}")
    if not known:
        return list(frames)
    points, confidence = np.full((len(frames), len(NAMES), 3), np.nan), np.zeros((len(frames), len(NAMES)))
    for i, frame in enumerate(frames):
        if frame is not None:
            pixels, confidence[i], depth = frame.ordered()
            points[i, :, :2] = pixels
            points[i, :, 2] = np.nan if depth is None else depth
    found = np.array([frame is not None for frame in frames])
    heights = [np.ptp(frame.points[frame.given][:, 1]) for frame in known if frame.given.any()]
    height = max(float(np.median(heights)) if heights else 1.0, 1.0)
    points, confidence = _steady(points, confidence, found, fps, _JUMP * height)
    before = round(fps)  # a second of mirrored frames at both ends, else the first would be as it is
    values = np.pad(points / height, ((before, before), (0, 0), (0, 0)), "symmetric")
    both = _one_euro(values, fps) + _one_euro(values[::-1], fps)[::-1]
    points = height * both[before : before + len(frames)] / 2
    size = known[0].size
    return [
        Keypoints(NAMES, points[i, :, :2], confidence[i], points[i, :, 2], size) if found[i] else None
        for i in range(len(frames))
    ]


def _steady(
    points: np.ndarray, confidence: np.ndarray, found: np.ndarray, fps: float, jump: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points ``(F, K, 3)`` and confidence ``(F, K)`` where a point is there if most frames around show it.

    One that is missing for a moment lies between those before and after, one that comes for a moment is left out, one
    that jumps ``jump`` pixels away for a moment stays where it is usually; the confidence is the mean of those around.
    """
    window, around = (2 * max(1, round(seconds * fps / 2)) + 1 for seconds in (_WINDOW, _AROUND))
    given = confidence > 0

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter1d(values.astype(float), window, axis=0, mode="nearest")

    seen_by = mean(given)
    there = (seen_by > mean(found)[:, None] / 2) & found[:, None]
    confidence = np.where(there, mean(confidence) / np.maximum(seen_by, 1e-9), 0.0)
    frames = np.arange(len(points))
    points = points.copy()
    for k in range(points.shape[1]):
        seen = given[:, k]
        if seen.any():
            for axis in range(3):
                points[:, k, axis] = np.interp(frames, frames[seen], points[seen, k, axis])
    usual = median_filter(points, (around, 1, 1), mode="nearest")
    points = np.where(np.abs(points - usual)[..., :2].max(-1, keepdims=True) > jump, usual, points)
    points[~there] = np.nan
    return points, confidence


def _one_euro(values: np.ndarray, fps: float) -> np.ndarray:
    """The filter over the first axis of ``(F, ...)``, body heights; NaN is missing, and begins anew after it."""
    out, last, speed = values.copy(), np.full(values.shape[1:], np.nan), np.zeros(values.shape[1:])
    for i, value in enumerate(values):
        fresh = np.isnan(last) | np.isnan(value)
        now = np.where(fresh, 0.0, (value - last) * fps)
        speed = np.where(fresh, 0.0, speed + _share(_SPEED_CUTOFF, fps) * (now - speed))
        # one cutoff for the x, y and depth of a point: it moves as a whole
        quick = np.abs(speed[..., :2]).max(-1, keepdims=True)
        share = _share(_CUTOFF + _RISE * quick, fps)
        last = np.where(fresh, value, last + share * (value - last))
        out[i] = last
    return out


def _share(cutoff: np.ndarray | float, fps: float) -> np.ndarray | float:
    """What a low pass of a cutoff, in Hz, takes of a new value."""
    return 1 / (1 + fps / (2 * np.pi * cutoff))
