"""One body for all frames of a clip: the same build, poses that follow the points, maps that do not flicker."""

import itertools

import numpy as np
import pytest

from exact_points import SIZE, agreement, seen
from pocold.densepose.keypoints import COCO_18, Keypoints
from pocold.people.body.clips import draw_clip, fit_clip
from pocold.people.body.keypoint_maps import draw_keypoints


def frame(text, noise=0.0, seed=0, size=SIZE):
    _, points, inside, _ = seen(text)
    trembling = np.random.default_rng(seed).normal(0, 1, points.shape) * noise
    return Keypoints(COCO_18, points + trembling, 1.0 * inside, size=size)


def changed(a, b):
    return 1 - agreement(a, b)


@pytest.fixture(scope="module")
def trembling():
    return [frame("hips:20", 0.8, seed) for seed in range(6)]


def test_a_still_person_hardly_changes(trembling):
    maps = list(draw_clip(trembling, 25))
    alone = [draw_keypoints(keypoints) for keypoints in trembling[:3]]
    steps = [changed(a, b) for a, b in itertools.pairwise(maps)]
    assert np.mean(steps) < 0.04
    assert np.mean(steps) < 0.25 * np.mean([changed(a, b) for a, b in itertools.pairwise(alone)])
    assert agreement(maps[3], seen("hips:20")[0]) > 0.85


def test_the_build_is_that_of_the_whole_clip(trembling):
    bodies = list(fit_clip(trembling[:4]))
    assert len({shape for shape, _, _ in bodies}) == 1
    assert len({camera for _, _, camera in bodies}) == 4


def test_a_turn_is_followed():
    views = [f"stand:{view}" for view in range(0, 91, 18)]
    maps = list(draw_clip([frame(view) for view in views], 5))
    for view, drawn in zip(views, maps, strict=True):
        assert agreement(drawn, seen(view)[0]) > 0.7, view


@pytest.mark.slow
def test_a_body_that_is_lost_is_searched_for():
    frames = [frame("stand:front")] * 3 + [frame("sit:side")] * 5  # a cut in the film
    maps = list(draw_clip(frames, 2))
    assert agreement(maps[-1], draw_keypoints(frames[-1])) > 0.8


def test_nobody_between():
    few = Keypoints(COCO_18[:3], np.full((3, 2), 40.0), np.ones(3), size=SIZE)
    shown = [None, frame("stand"), None, few, frame("stand")]
    assert [body is None for body in fit_clip(shown)] == [True, False, True, True, False]
    # a moment of few points lies between those before and after
    assert [pose is None for pose in draw_clip(shown, 25)] == [True, False, True, False, False]
    assert list(draw_clip([], 25)) == []
    assert list(draw_clip([None], 25)) == [None]


def test_masks_hold_the_maps_and_tell_the_weight():
    mask = np.zeros(SIZE, bool)
    mask[:64] = True
    (drawn,) = draw_clip([frame("stand")], 25, lambda number: mask)
    assert drawn.labels[:60].any()
    assert not drawn.labels[70:].any()


def test_frames_that_do_not_say_their_size_are_framed_alike():
    near, far = frame("stand", size=None), frame("stand", size=None).moved(1.0, None, (0.0, -30.0))
    first, second = draw_clip([near, far], 1)
    assert first.size == second.size == (256, 176)
    lowest = [np.nonzero(pose.labels)[0].max() for pose in (first, second)]
    assert lowest[0] - lowest[1] > 20  # who jumps is not pulled down again


def test_pictures_of_different_sizes():
    with pytest.raises(ValueError, match=r"expected pictures of one size, got 128x88, 64x48 \(height x width\)"):
        list(draw_clip([frame("stand"), frame("stand", size=(64, 48))], 25))
