"""The body in a photograph, by the best that is at hand.

Where BlazePose is installed (the extra ``pose``), its points are what a body is fitted to, and the map is drawn from
that body and held to the person's outline. Elsewhere, and where it finds nobody, the network looks that comes with the
model.
"""

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pocold.checkpoints import weights_hash
from pocold.densepose.maps import DensePose
from pocold.imaging.images import ImageInput, load_image
from pocold.models.blazepose import BlazePose
from pocold.models.blazepose_files import HOW, open_blazepose
from pocold.models.densepose_estimator import DensePoseEstimator, estimate_densepose
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
