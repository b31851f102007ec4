"""Keypoints smoothed over time: still ones stop trembling, quick ones do not lag, what flickers is there or is not."""

import numpy as np
import pytest

from pocold.densepose.keypoint_smoothing import smoothed
from pocold.densepose.keypoints import COCO_18, NAMES, Keypoints

FPS, SIZE = 25, (300, 200)
HEAD, FOOT, WRIST = (COCO_18.index(name) for name in ("nose", "left ankle", "left wrist"))


def clip(places, confidence=None, size=SIZE):
    """Keypoints of places ``(F, 18, 2)``."""
    sure = np.ones(places.shape[:2]) if confidence is None else confidence
    return [Keypoints(COCO_18, place, own, size=size) for place, own in zip(places, sure, strict=True)]


def still(frames=50):
    """A body of 200 pixels that stands still."""
    place = np.stack([np.linspace(60, 140, 18), np.linspace(50, 250, 18)], 1)
    return np.repeat(place[None], frames, 0)


def points(frames, index):
    return np.array([frame.points[index] for frame in frames])


def test_what_stands_still_stops_trembling():
    rng = np.random.default_rng(0)
    places = still() + rng.normal(0, 1.0, (50, 18, 2))
    found = smoothed(clip(places), FPS)
    assert [frame.names for frame in found] == [NAMES] * 50
    assert {frame.size for frame in found} == {SIZE}
    for index in (HEAD, FOOT, WRIST):
        before = np.abs(np.diff(places[:, index], axis=0)).mean()
        after = points(found, index)
        assert np.abs(np.diff(after, axis=0)).mean() < 0.2 * before
        assert np.abs(after - still()[:, index]).mean() < 0.5


def test_what_is_quick_does_not_lag():
    places = still()
    time = np.arange(50) / FPS
    places[:, FOOT, 0] += 60 * np.sin(2 * np.pi * time)  # two thirds of a step's width, once a second
    found = points(smoothed(clip(places), FPS), FOOT)[:, 0]
    assert np.abs(found - places[:, FOOT, 0]).max() < 4.0
    shifted = [np.abs(found[2:-2] - np.roll(places[:, FOOT, 0], lag)[2:-2]).mean() for lag in (-1, 0, 1)]
    assert np.argmin(shifted) == 1


def test_a_point_that_is_missing_for_a_moment_is_put_between():
    places, sure = still(), np.ones((50, 18))
    places[:, WRIST, 0] += np.arange(50)
    sure[20:24, WRIST] = 0
    places[20:24, WRIST] = 0
    found = smoothed(clip(places, sure), FPS)
    assert found[22].confidence[WRIST] > 0.5
    assert found[22].points[WRIST, 0] == pytest.approx(places[0, WRIST, 0] + 22, abs=2)


def test_a_point_that_comes_for_a_moment_is_left_out():
    sure = np.ones((50, 18))
    sure[:, WRIST] = 0
    sure[20:23, WRIST] = 1
    found = smoothed(clip(still(), sure), FPS)
    assert all(frame.confidence[WRIST] == 0 for frame in found)
    assert all(frame.confidence[FOOT] == 1 for frame in found)


def test_a_point_that_jumps_for_a_moment_stays():
    places = still()
    places[20:22, WRIST] += 120  # the wrist of somebody else
    found = points(smoothed(clip(places), FPS), WRIST)
    assert np.abs(found - still()[:, WRIST]).max() < 1.0


def test_frames_without_anybody_stay_so():
    frames = clip(still(9))
    frames[0] = frames[4] = frames[5] = None
    assert [frame is None for frame in smoothed(frames, FPS)] == [frame is None for frame in frames]
    assert smoothed([None, None], FPS) == [None, None]
    assert smoothed([], FPS) == []


def test_depth_is_smoothed_too():
    rng = np.random.default_rng(1)
    depth = rng.normal(40, 3.0, (50, 18))
    frames = [Keypoints(COCO_18, place, np.ones(18), own, SIZE) for place, own in zip(still(), depth, strict=True)]
    found = np.array([frame.depth[:18] for frame in smoothed(frames, FPS)])
    assert np.abs(np.diff(found, axis=0)).mean() < 0.2 * np.abs(np.diff(depth, axis=0)).mean()
    assert found.mean() == pytest.approx(40, abs=1)


def test_bad_clips():
    with pytest.raises(ValueError, match="expected a rate of frames per second above 0, got 0"):
        smoothed(clip(still(2)), 0)
    with pytest.raises(ValueError, match="expected keypoints in pixels of pictures of one size"):
        smoothed(clip(still(1)) + clip(still(1), size=(10, 10)), FPS)
