"""The keypoints of a data set's pictures: where they are stored, and read only where a model asks for them.

Networks that are steered by a skeleton (``pocold.models.baselines``) need them; PoCoLD does not.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pocold.densepose.keypoints import COCO_18, KeypointPicture, Keypoints, parse_pictures, read_pictures


@dataclass(frozen=True)
class ListedKeypoints:
    """One picture in a list of many (``name:keypoints_y:keypoints_x``).

    Attributes:
        path: of the list.
        name: of the picture in it.
    """

    path: Path
    name: str


# A file of one picture, the content of such a file, or an entry of a list; None where there is none.
KeypointFile = Path | bytes | ListedKeypoints | None


def keypoints_of(stored: KeypointFile, name: str, size: tuple[int, int]) -> np.ndarray:
    """The keypoints of a picture: OpenPose's 18, in the order of ``pocold.densepose.keypoints.COCO_18``.

    Args:
        stored: where they are.
        name: of the picture, for messages.
        size: (height, width) of the picture.

    Returns:
        float32 ``(18, 3)``: x and y in pixels (pixel centres at .5), and 1 where the point is seen, up to 0.5 where it
        is placed though hidden, 0 where it is missing (x and y are then 0).

    Raises:
        ValueError: if there are none, or they cannot be read.
    """
    if stored is None:
        raise ValueError(
            f"{name}: no keypoints were found, and this model is steered by them; expected keypoints/NAME.json beside "
            "img/ and iuv/, as pocold synth writes them, PHOTO.keypoints.json beside the photograph, or DeepFashion's "
            "fasion-resize-annotation-SPLIT.csv"
        )
    people = [person for person in _picture(stored, name).people if person.given.any()]
    if not people:
        raise ValueError(f"{name}: its keypoints are all missing; leave the picture out (data.on_error skip)")
    points, confidence, _ = _in_pixels(people[0], size).ordered()
    count = len(COCO_18)
    return np.concatenate([points[:count], confidence[:count, None]], axis=1).astype(np.float32)


def stored_bytes(stored: KeypointFile) -> bytes:
    """What stands there, for checksums; nothing where it cannot be read, which is told when it is used."""
    if isinstance(stored, bytes):
        return stored
    try:
        if isinstance(stored, ListedKeypoints):
            found = _list(stored.path).get(stored.name)
            return b"".join(person.points.tobytes() for person in found.people) if found is not None else b""
        return b"" if stored is None else stored.read_bytes()
    except (OSError, ValueError):
        return b""


def _picture(stored: Path | bytes | ListedKeypoints, name: str) -> KeypointPicture:
    if isinstance(stored, ListedKeypoints):
        found = _list(stored.path).get(stored.name)
        if found is None:
            raise ValueError(f"{name}: {stored.path} has no line {stored.name}")
        return found
    pictures = read_pictures(stored) if isinstance(stored, Path) else parse_pictures(_text(stored, name), Path(name))
    if len(pictures) != 1:
        raise ValueError(f"{name}: expected the keypoints of one picture, got those of {len(pictures)}")
    return pictures[0]


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{name}: its keypoints are no text") from None


@lru_cache(maxsize=4)
def _list(path: Path) -> dict[str, KeypointPicture]:
    """The pictures of a list by name; lists have a hundred thousand lines."""
    return {picture.name: picture for picture in read_pictures(path)}


def _in_pixels(found: Keypoints, size: tuple[int, int]) -> Keypoints:
    """The same keypoints in pixels of a picture of this size: lists are of the canvas that they were found on."""
    if found.relative:
        return found.sized(size)
    if found.size is None or found.size == size:
        return found
    scale = np.array([size[1] / found.size[1], size[0] / found.size[0]])
    return Keypoints(found.names, found.points * scale, found.confidence, None, size)
