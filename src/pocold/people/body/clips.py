"""One body for all frames of a clip: from keypoints over time to maps that do not flicker.

Points are smoothed before the fit (:mod:`pocold.densepose.keypoint_smoothing`), the build is that of the whole clip,
and each frame's fit begins where the frame before ended, tied to it loosely, so that what no point tells stays as it
was. Legend: F frames, H W size of the pictures.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from pocold.densepose.keypoint_smoothing import smoothed
from pocold.densepose.keypoints import Keypoints
from pocold.densepose.maps import DensePose
from pocold.people.body.body import BodyShape
from pocold.people.body.camera import Camera
from pocold.people.body.keypoint_fitting import (
    MIN_POINTS,
    POSE_NUMBERS,
    figure_of,
    fit_body,
    posed,
    prepare,
    refine,
    search,
)
from pocold.people.body.keypoint_maps import framed_to_draw, held_and_enlarged, shrunk_mask
from pocold.people.body.posing import draw_body
from pocold.people.body.skeleton import Pose

MaskOf = Callable[[int], np.ndarray | None]  # of a frame's number: bool (H, W), where the person is seen
_LOOKED_AT = 5  # frames that say how the body is built
_STEPS = 6  # of a fit that begins beside its goal
_SETTLE = 15  # of one that was searched for: what is left to go would be seen as a movement
_WORSE, _SLACK = 2.0, 20.0  # a fit this much worse than usual has lost the body


def _unknown(frame: int) -> None:
    """Nobody knows where the person is seen."""


def fit_clip(
    clip: Sequence[Keypoints | None], mask_of: MaskOf = _unknown
) -> Iterator[tuple[BodyShape, Pose, Camera] | None]:
    """Build, pose and camera of every frame; the build is the same in all.

    Args:
        clip: F frames of one person, in pixels of pictures whose size is known; None, or fewer than 4 points, where
            nobody was found.
        mask_of: tells how heavy the body is.

    Yields:
        None where nobody was found.
    """
    frames = {
        i: _Frame.of(frame) for i, frame in enumerate(clip) if frame is not None and frame.given.sum() >= MIN_POINTS
    }
    if not frames:
        yield from (None for _ in clip)
        return
    shape = _build(frames, mask_of)
    figure = figure_of(shape)
    before: np.ndarray | None = None
    costs: list[float] = []
    for i in range(len(clip)):
        if i not in frames:
            before = None
            yield None
            continue
        frame = frames[i]
        seen = prepare(frame.points, frame.confidence, frame.depth, frame.size)
        numbers, cost = before, np.inf
        if before is not None:
            fitted, fitted_cost = refine(figure, replace(seen, before=before), before[None], POSE_NUMBERS, _STEPS)
            numbers, cost = fitted[0], float(fitted_cost[0])
        if numbers is None or cost > _WORSE * float(np.median(costs)) + _SLACK:
            found, costs_found = refine(figure, seen, search(figure, seen)[0][None], POSE_NUMBERS, _SETTLE)
            if costs_found[0] < cost:
                numbers, cost = found[0], float(costs_found[0])
        assert numbers is not None
        costs.append(cost)
        before = numbers
        yield shape, *posed(figure, numbers, frame.size)


class _Frame(NamedTuple):
    """Arguments of :func:`fit_body`."""

    points: np.ndarray
    confidence: np.ndarray
    depth: np.ndarray | None
    size: tuple[int, int]

    @classmethod
    def of(cls, keypoints: Keypoints) -> "_Frame":
        assert keypoints.size is not None
        return cls(*keypoints.ordered(), keypoints.size)


def _build(frames: Mapping[int, _Frame], mask_of: MaskOf) -> BodyShape:
    """The middle of the builds that frames from all over the clip show: the surest frame of each stretch."""
    builds = []
    for stretch in np.array_split(np.array(sorted(frames)), min(_LOOKED_AT, len(frames))):
        surest = max(stretch.tolist(), key=lambda i: float(frames[i].confidence.sum()))
        points, confidence, depth, size = frames[surest]
        builds.append(fit_body(points, confidence, depth=depth, mask=mask_of(surest), size=size)[0])
    names = [field.name for field in fields(BodyShape)]
    return BodyShape(**{name: float(np.median([getattr(build, name) for build in builds])) for name in names})


def draw_clip(frames: Sequence[Keypoints | None], fps: float, mask_of: MaskOf = _unknown) -> Iterator[DensePose | None]:
    """The map of every frame of a clip, of its pictures' size; None where nobody was found.

    Args:
        frames: F, of one person in pictures of one size; those that do not say it are framed, all alike, to 256x176.
        fps: frames per second.
        mask_of: where the person is seen; the maps are held to it.

    Raises:
        ValueError: for keypoints of pictures of different sizes, and as
            :func:`pocold.people.body.keypoint_maps.draw_keypoints`.
    """
    known = {i: frame for i, frame in enumerate(frames) if frame is not None and frame.given.any()}
    sized = dict(zip(known, framed_to_draw(list(known.values())), strict=True)) if known else {}
    clip = smoothed([sized.get(i) for i in range(len(frames))], fps)

    def drawn_mask(number: int) -> np.ndarray | None:
        mask, drawn = mask_of(number), sized[number].size
        return None if mask is None or drawn is None else shrunk_mask(mask, known[number].size, drawn)

    for i, body in enumerate(fit_clip(clip, drawn_mask)):
        pose = None if body is None else draw_body(*body)
        if pose is None or not pose.visible_parts:  # nobody, or somebody outside the picture
            yield None
        else:
            yield held_and_enlarged(pose, known[i].size or pose.size, drawn_mask(i))
