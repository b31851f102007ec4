"""DensePose maps of keypoints: a body is fitted to them, the map is drawn from the body."""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pocold.densepose.formats.reading import load_pose
from pocold.densepose.framing import framed
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
    smaller = framed_to_draw([keypoints])[0]
    points, confidence, depth = smaller.ordered()
    assert smaller.size is not None
    pose = draw_body(*fit_body(points, confidence, depth=depth, size=smaller.size))
    held = None if mask is None else shrunk_mask(mask, keypoints.size, smaller.size)
    return held_and_enlarged(pose, keypoints.size or smaller.size, held)


def shrunk_mask(mask: np.ndarray, size: tuple[int, int] | None, drawn: tuple[int, int]) -> np.ndarray:
    """A mask bool ``(H, W)`` of pictures of a size, of the size that is drawn.

    Raises:
        ValueError: if the mask is of another size.
    """
    if mask.shape != size:
        raise ValueError(f"expected a mask of the picture's size {size}, got {mask.shape}")
    return Frame(mask.shape, drawn, "stretch").labels(mask).astype(bool)


def framed_to_draw(clip: Sequence[Keypoints]) -> list[Keypoints]:
    """Keypoints of pictures of one size as they are drawn: in at most 1024 pixels, and where the size of the pictures
    is not known, in 256x176 around all of them.

    Raises:
        ValueError: for shares of an unknown size, a size that cannot be drawn, or points that lie outside of it.
    """
    if any(keypoints.relative for keypoints in clip):
        raise ValueError(
            "these keypoints are shares of width and height, but the file does not say those; give the size of the "
            "picture (--size HEIGHTxWIDTH) or the picture (--photo)"
        )
    sizes = {keypoints.size for keypoints in clip}
    if len(sizes) > 1:
        told = sorted("unknown" if size is None else f"{size[0]}x{size[1]}" for size in sizes)
        raise ValueError(f"expected pictures of one size, got {', '.join(told)} (height x width)")
    if clip[0].size is None:
        return _framed(clip)
    height, width = clip[0].size
    if min(height, width) < MIN_SIZE or height * width > MAX_PIXELS:
        raise ValueError(
            f"expected keypoints of a picture with sides from {MIN_SIZE} and at most {MAX_PIXELS / 1e6:.0f} million "
            f"pixels, got {height}x{width}"
        )
    factor = min(1.0, _DRAWN / max(height, width))
    drawn = max(MIN_SIZE, round(height * factor)), max(MIN_SIZE, round(width * factor))
    check_size(drawn)
    smaller = [keypoints.moved(factor, drawn) for keypoints in clip]
    inside = np.concatenate([keypoints.points[keypoints.given] for keypoints in smaller])
    away = ((inside < 0) | (inside > [drawn[1], drawn[0]])).any(1)
    if len(inside) and away.mean() > 0.75:
        raise ValueError(
            f"{int(away.sum())} of {len(inside)} keypoints lie outside a picture of {height}x{width} (height x width); "
            "give the size of the picture that they belong to (--size HEIGHTxWIDTH)"
        )
    return smaller


def held_and_enlarged(pose: DensePose, size: tuple[int, int], mask: np.ndarray | None) -> DensePose:
    """A drawn map of the size that is wanted, held to a mask of the size that is drawn, if there is one.

    Raises:
        ValueError: if the map shows nothing.
    """
    if not pose.visible_parts:
        raise ValueError("no body fits these keypoints: none of it would lie in the picture")
    if mask is not None:
        pose = held_to(pose, mask)
    if pose.size == size:
        return pose
    return framed(pose, Frame(pose.size, size, "stretch"))


def _framed(clip: Sequence[Keypoints]) -> list[Keypoints]:
    """The keypoints moved and scaled, all alike, into a picture of the usual size."""
    height, width = _FRAME
    given = [keypoints.points[keypoints.given] for keypoints in clip if keypoints.given.any()]
    if not given:
        raise ValueError("all keypoints are missing")
    low, high = np.min([points.min(0) for points in given], 0), np.max([points.max(0) for points in given], 0)
    low[1] = min(k.points[k.given][:, 1].min() - _crown(k) for k in clip if k.given.any())
    names = {name for k in clip for name, known in zip(k.names, k.given, strict=True) if known}
    below = _MARGIN if names & {"left ankle", "right ankle"} else 0.01  # else the picture ends where the points do
    room = np.array([width * (1 - 3 * _MARGIN), height * (1 - _ABOVE - below)])
    scale = float((room / np.maximum(high - low, 1e-6)).min())
    across = width / 2 - scale * (low[0] + high[0]) / 2
    down = height * (1 - below) - scale * high[1]
    return [keypoints.moved(scale, _FRAME, (across, down)) for keypoints in clip]


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
