"""The body in a photograph, or in the pictures of a clip, by the best that is at hand.

Where BlazePose is installed (the extra ``pose``), its points are what a body is fitted to, and the map is drawn from
that body and held to the person's outline. Elsewhere, and where it finds nobody, the network looks that comes with the
model.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pocold.checkpoints import weights_hash
from pocold.densepose.keypoints import Keypoints
from pocold.densepose.maps import DensePose
from pocold.imaging.images import ImageInput, load_image
from pocold.models.blazepose import BlazePose, Found
from pocold.models.blazepose_files import HOW, open_blazepose
from pocold.models.densepose_estimator import DensePoseEstimator, estimate_densepose
from pocold.people.body.clips import draw_clip
from pocold.people.body.keypoint_fitting import MIN_POINTS
from pocold.people.body.keypoint_maps import draw_keypoints

_BETTER = f"people in photographs are found far better with BlazePose: {HOW}"


class NobodyFoundError(ValueError):
    """Nobody is found in a photograph."""


class FoundMap(NamedTuple):
    """A map, of the photograph's size, with U and V; and what found it."""

    pose: DensePose
    finder: BlazePose | DensePoseEstimator

    @property
    def by(self) -> str:
        """SHA-256 of the weights that it was found with; reads all of them."""
        return self.finder.fingerprint if isinstance(self.finder, BlazePose) else weights_hash(self.finder)


def find_densepose(
    photo: ImageInput,
    estimator: DensePoseEstimator,
    name: str = "photo",
    *,
    person: int | None = None,
    pose_model: Path | None = None,
) -> FoundMap:
    """The map of a person in a photograph.

    Args:
        photo: any picture, see :func:`pocold.imaging.images.load_image`.
        estimator: looks where BlazePose is not installed or finds nobody.
        name: what to call the photograph in errors.
        person: which one, from left to right, from 1; None takes the one that is found most surely.
        pose_model: folder of BlazePose's files; None takes those that are installed, if any.

    Raises:
        NobodyFoundError: if nobody is found, or fewer than ``person``.
        ValueError: if it is no picture; if ``person`` is given and BlazePose is not installed; or as
            :func:`pocold.models.blazepose_files.open_blazepose`.
    """
    picture = load_image(photo, name)
    blazepose = open_blazepose(pose_model)
    if blazepose is None:
        if person is not None:
            raise ValueError(f"{name}: people in a photograph are told apart by BlazePose: {HOW}")
        return _estimated(picture, estimator, name)
    people = [one for one in blazepose.people(picture, person is not None) if one.keypoints.given.sum() >= MIN_POINTS]
    if person is not None and not 1 <= person <= len(people):
        raise NobodyFoundError(f"{name}: expected a person from 1 to {len(people)}, from left to right, got {person}")
    if not people:
        return _estimated(picture, estimator, name)
    chosen = people[(person or 1) - 1]
    return FoundMap(draw_keypoints(chosen.keypoints, chosen.mask), blazepose)


def find_clip(
    pictures: Iterable[Image.Image],
    fps: float,
    estimator: Callable[[], DensePoseEstimator],
    name: str = "clip",
    *,
    person: int | None = None,
    pose_model: Path | None = None,
) -> Iterator[DensePose | None]:
    """The maps of a person in pictures that follow each other, each of the pictures' size; None where nobody is found.

    BlazePose follows one person from picture to picture, whose points are smoothed over time; one body is fitted to all
    of them (:func:`pocold.people.body.clips.draw_clip`). Without it the network looks at every picture by itself.

    Args:
        pictures: RGB; with BlazePose all are looked at before the first map is drawn.
        fps: pictures per second.
        estimator: opens what looks where BlazePose is not installed.
        name: what to call the clip in errors.
        person: which one, from left to right in the first picture that shows so many, from 1; None takes the one that
            is found most surely.
        pose_model: folder of BlazePose's files; None takes those that are installed, if any.

    Raises:
        ValueError: for pictures of different sizes, and as :func:`find_densepose`.
    """
    blazepose = open_blazepose(pose_model)
    if blazepose is not None:
        yield from _followed(blazepose, pictures, fps, name, person)
        return
    if person is not None:
        raise ValueError(f"{name}: people are told apart by BlazePose: {HOW}")
    network = estimator()
    for number, picture in enumerate(pictures, 1):
        try:
            yield estimate_densepose(picture, network, f"{name}, picture {number}")
        except ValueError:
            yield None


def _followed(
    blazepose: BlazePose, pictures: Iterable[Image.Image], fps: float, name: str, person: int | None
) -> Iterator[DensePose | None]:
    frames: list[Keypoints | None] = []
    masks: list[np.ndarray] = []  # eight pixels a byte: a clip has many
    last: Found | None = None
    for picture in pictures:
        now = None if last is None else blazepose.follow(picture, last)
        if now is None or now.keypoints.given.sum() < MIN_POINTS:
            now = _somebody(blazepose.people(picture, person is not None or last is not None), last, person)
            now = now and (blazepose.follow(picture, now) or now)  # seen as the next picture will be
        frames.append(None if now is None else now.keypoints)
        masks.append(np.packbits(np.zeros(0, bool) if now is None else now.mask))
        last = now or last
    if person is not None and last is None:
        raise NobodyFoundError(f"{name}: none of its pictures shows {person} people")

    def mask_of(number: int) -> np.ndarray | None:
        frame = frames[number]
        if frame is None or frame.size is None:
            return None
        height, width = frame.size
        return np.unpackbits(masks[number], count=height * width).reshape(height, width).astype(bool)

    try:
        yield from draw_clip(frames, fps, mask_of)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _somebody(people: Sequence[Found], last: Found | None, person: int | None) -> Found | None:
    """Of the people in a picture, the one who is nearest to where the last was; in the beginning, the one asked for."""
    people = [one for one in people if one.keypoints.given.sum() >= MIN_POINTS]
    if last is None:
        return people[(person or 1) - 1] if len(people) >= (person or 1) else None
    where = last.square
    return min(people, key=lambda one: math.hypot(one.square.x - where.x, one.square.y - where.y), default=None)


def _estimated(picture: Image.Image, estimator: DensePoseEstimator, name: str) -> FoundMap:
    try:
        return FoundMap(estimate_densepose(picture, estimator, name), estimator)
    except ValueError as error:
        raise NobodyFoundError(f"{error}{advice()}") from None


def advice() -> str:
    """What to tell those whose photograph is not understood, to be added to a sentence."""
    return "" if open_blazepose() is not None else f"; {_BETTER}"


def finders(estimator: DensePoseEstimator | None) -> dict[str, str | None]:
    """What finds maps here, as SHA-256: maps of other finders are others."""
    blazepose = open_blazepose()
    return {
        "estimator sha256": None if estimator is None else weights_hash(estimator),
        "blazepose sha256": None if blazepose is None else blazepose.fingerprint,
    }
