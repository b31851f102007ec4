"""DensePose maps of keypoints: a body is fitted to them, the map is drawn from the body."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pocold.densepose.formats.reading import load_pose
from pocold.densepose.keypoints import Keypoints, is_keypoints, read_keypoints, read_pictures
from pocold.densepose.maps import DensePose, PoseInput
from pocold.densepose.silhouette import held_to
from pocold.imaging.files import MAX_PIXELS
from pocold.imaging.images import Frame, load_image
from pocold.people.body.camera import MIN_SIZE, check_size
from pocold.people.body.keypoint_fitting import MIN_POINTS, fit_body
from pocold.people.body.posing import draw_body

_DRAWN = 1024  # longest side that is drawn; larger maps are enlarged from it
_FRAME = (256, 176)
_MARGIN, _ABOVE = 0.06, 0.03  # shares of a made frame's height beside, below and above the person


class KeypointWarning(UserWarning):
    """What had to be assumed to read keypoints."""


def draw_keypoints(keypoints: Keypoints, mask: np.ndarray | None = None) -> DensePose:
    """The map of the body that keypoints show, of the size of their picture.

    Keypoints that do not say the size of their picture are framed: 256x176 pixels around the person.

    Args:
        keypoints: of one person.
        mask: bool, of the picture's size: where the person is seen, if that is known. The map is held to it.

    Raises:
        ValueError: for too few points, shares of an unknown size, a size that cannot be drawn, or a mask of another.
    """
    if keypoints.relative:
        raise ValueError(
            "these keypoints are shares of width and height, but the file does not say those; give the size of the "
            "picture (--size HEIGHTxWIDTH) or the picture (--photo)"
        )
    if keypoints.size is None:
        return _draw(_framed(keypoints), _FRAME)
    height, width = keypoints.size
    if min(height, width) < MIN_SIZE or height * width > MAX_PIXELS:
        raise ValueError(
            f"expected keypoints of a picture with sides from {MIN_SIZE} and at most {MAX_PIXELS / 1e6:.0f} million "
            f"pixels, got {height}x{width}"
        )
    factor = min(1.0, _DRAWN / max(height, width))
    drawn = max(MIN_SIZE, round(height * factor)), max(MIN_SIZE, round(width * factor))
    smaller = Keypoints(
        keypoints.names, keypoints.points * factor, keypoints.confidence,
        None if keypoints.depth is None else keypoints.depth * factor, drawn,
    )  # fmt: skip
    if mask is not None and mask.shape != keypoints.size:
        raise ValueError(f"expected a mask of the picture's size {keypoints.size}, got {mask.shape}")
    pose = _draw(smaller, drawn)
    if mask is not None:
        pose = held_to(pose, Frame(keypoints.size, drawn, "stretch").labels(mask))
    return pose if drawn == keypoints.size else _enlarged(pose, keypoints.size)


def _draw(keypoints: Keypoints, size: tuple[int, int]) -> DensePose:
    check_size(size)
    points, confidence, depth = keypoints.ordered()
    inside = confidence > 0
    away = ((points < 0) | (points > [size[1], size[0]])).any(1) & inside
    if inside.any() and away[inside].mean() > 0.75:
        raise ValueError(
            f"{int(away.sum())} of {int(inside.sum())} keypoints lie outside a picture of {size[0]}x{size[1]} (height "
            "x width); give the size of the picture that they belong to (--size HEIGHTxWIDTH)"
        )
    pose = draw_body(*fit_body(points, confidence, depth=depth, size=size))
    if not pose.visible_parts:
        raise ValueError("no body fits these keypoints: none of it would lie in the picture")
    return pose


def _framed(keypoints: Keypoints) -> Keypoints:
    """The keypoints moved and scaled into a picture of the usual size."""
    height, width = _FRAME
    given = keypoints.points[keypoints.given]
    if len(given) == 0:
        raise ValueError("all keypoints are missing")
    low, high = given.min(0), given.max(0)
    low[1] -= _crown(keypoints)
    names = {name for name, known in zip(keypoints.names, keypoints.given, strict=True) if known}
    below = _MARGIN if names & {"left ankle", "right ankle"} else 0.01  # else the picture ends where the points do
    room = np.array([width * (1 - 3 * _MARGIN), height * (1 - _ABOVE - below)])
    scale = float((room / np.maximum(high - low, 1e-6)).min())
    across = width / 2 - scale * (low[0] + high[0]) / 2
    down = height * (1 - below) - scale * high[1]
    points = keypoints.points * scale + np.array([across, down])
    depth = None if keypoints.depth is None else keypoints.depth * scale
    return Keypoints(keypoints.names, points, keypoints.confidence, depth, _FRAME)


def _crown(keypoints: Keypoints) -> float:
    """How far the head reaches above the highest point given, in pixels, if that is one of the face."""
    place = {
        name: point
        for name, point, known in zip(keypoints.names, keypoints.points, keypoints.given, strict=True)
        if known
    }
    face = [place[name] for name in ("nose", "left eye", "right eye", "left ear", "right ear") if name in place]
    shoulders = [place[name] for name in ("left shoulder", "right shoulder", "neck") if name in place]
    if not face:
        return 0.0
    top = min(point[1] for point in face)
    if not shoulders:
        return 1.2 * float(np.ptp([point[0] for point in face]))
    above = 0.75 * abs(float(np.mean([point[1] for point in shoulders])) - top)
    return max(0.0, above - (top - min(point[1] for point in place.values())))


def _enlarged(pose: DensePose, size: tuple[int, int]) -> DensePose:
    assert pose.uv is not None
    frame = Frame(pose.size, size, "stretch")
    return DensePose(frame.labels(pose.labels), frame.uv(pose.uv))


def read_keypoint_pose(
    path: str | os.PathLike[str],
    *,
    person: int | None = None,
    picture: str | None = None,
    size: tuple[int, int] | None = None,
) -> DensePose:
    """The map of the body that a file of keypoints shows.

    Args:
        path: any file that :mod:`pocold.densepose.keypoints` reads.
        person: which one, the largest first, from 1; None takes the largest and says so if there are others.
        picture: which picture of a file of several.
        size: (height, width) of the picture, if the file does not say it, or says it wrongly.

    Warns:
        KeypointWarning: if there are several people and none was chosen, or the size is unknown.

    Raises:
        ValueError: if there is nothing to read or to fit.
    """
    found, count = read_keypoints(path, person=person, picture=picture)
    if size is not None:
        found = found.sized(size)
    if count > 1 and person is None:
        _warn(f"{path} shows {count} people; the largest is taken (pocold pose FILE --person 2 takes the next)")
    if found.size is None and not found.relative:
        height, width = _FRAME
        _warn(
            f"{path} does not say the size of its picture: the person is framed to {height}x{width}; to keep the "
            "place, write the map with pocold pose and --size HEIGHTxWIDTH or --photo"
        )
    try:
        return draw_keypoints(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def draw_people(path: Path, photos: Path | None = None, person: int = 1) -> Iterator[tuple[str, DensePose | None]]:
    """Name and map of every picture of a file of keypoints, None where there are too few to tell a pose.

    Args:
        path: the file.
        photos: folder of the pictures, for files that do not say their sizes.
        person: which one of each picture, the largest first, from 1.

    Raises:
        ValueError: if the file cannot be read, or two pictures have one name (without its ending), or none.
    """
    pictures = read_pictures(path)
    stems = [Path(picture.name).stem for picture in pictures]
    twice = next((stem for stem in stems if stems.count(stem) > 1 or not stem), None)
    if twice is not None:
        raise ValueError(
            f"{path} holds several pictures called {twice!r}, or one without a name; convert one at a time"
        )
    if photos is None and any(found.size is None and not found.relative for p in pictures for found in p.people):
        _warn(f"{path} does not say the size of all its pictures: people are framed; --photo FOLDER keeps their places")
    for picture in pictures:
        people = [found for found in picture.people if found.given.sum() >= MIN_POINTS]
        if len(people) < person:
            yield picture.name, None
            continue
        found = people[person - 1]
        if photos is not None:
            width, height = load_image(photos / Path(picture.name).name).size
            found = found.sized((height, width))
        try:
            yield picture.name, draw_keypoints(found)
        except ValueError as error:
            raise ValueError(f"{path}: {picture.name}: {error}") from None


def _warn(message: str) -> None:
    warnings.warn(message, KeypointWarning, stacklevel=3)


def load_any_pose(pose: PoseInput, name: str = "pose") -> DensePose:
    """:func:`pocold.densepose.formats.reading.load_pose` that takes files of keypoints, too."""
    if isinstance(pose, str | os.PathLike) and is_keypoints(pose):
        return read_keypoint_pose(pose)
    return load_pose(pose, name)


def pose_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of what :func:`load_any_pose` reads from a file, without a fit.

    Raises:
        ValueError: as it.
    """
    if is_keypoints(path):
        return read_keypoints(path)[0].size or _FRAME
    return load_pose(path).size
