"""Keypoints of a person from the files that pose estimators and data sets write, told apart by their content.

Known are OpenPose's JSON (BODY_25 and COCO's 18; ``people``), COCO's JSON (17; annotations or results), MediaPipe's 33
landmarks as JSON, the ``:``-separated annotation lists of pose transfer (``name:keypoints_y:keypoints_x``, -1 missing),
and what ``pocold synth`` writes. All become the names of :data:`NAMES`. Legend: N keypoints.
"""

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pocold.imaging.files import PICTURE_ERRORS

ENDINGS = frozenset({".json", ".csv"})

# OpenPose's 18 keypoints, in its order; then what the 25 add.
COCO_18 = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
# Of each of the 18, its place in the mirrored picture.
MIRRORED_KEYPOINT = tuple(
    COCO_18.index(name.replace("left", "?").replace("right", "left").replace("?", "right")) for name in COCO_18
)
FEET = ("left big toe", "left small toe", "left heel", "right big toe", "right small toe", "right heel")
NAMES = (*COCO_18, "mid hip", *FEET)
BODY_25 = (*COCO_18[:8], "mid hip", *COCO_18[8:], *FEET)
COCO_17 = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
# MediaPipe's landmarks that have a name here, by index.
MEDIAPIPE = {
    0: "nose", 2: "left eye", 5: "right eye", 7: "left ear", 8: "right ear", 11: "left shoulder", 12: "right shoulder",
    13: "left elbow", 14: "right elbow", 15: "left wrist", 16: "right wrist", 23: "left hip", 24: "right hip",
    25: "left knee", 26: "right knee", 27: "left ankle", 28: "right ankle", 29: "left heel", 30: "right heel",
    31: "left big toe", 32: "right big toe",
}  # fmt: skip
_MEDIAPIPE_COUNT = 33
_LANDMARKS = ("pose_landmarks", "poseLandmarks", "landmarks", "image_landmarks")
_HIDDEN = 0.5  # confidence of a point that an annotator placed though it is hidden
KNOWN_FILES = (
    "OpenPose JSON (people, pose_keypoints_2d), COCO JSON (annotations, keypoints), MediaPipe JSON (33 landmarks), a "
    "list name:keypoints_y:keypoints_x, or the keypoints of pocold synth"
)


@dataclass(frozen=True, eq=False)
class Keypoints:
    """The keypoints of one person.

    Attributes:
        names: N of :data:`NAMES`.
        points: float64 ``(N, 2)``, x and y in pixels; or in shares of width and height, see ``relative``.
        confidence: float64 ``(N,)`` in [0, 1]: 0 is missing, up to 0.5 placed though hidden, more is seen.
        depth: float64 ``(N,)`` in the unit of x, larger is farther, from any origin; None if unknown.
        size: (height, width) of the picture, None if the file does not say.
        relative: whether points are shares of a size that the file does not say.
    """

    names: tuple[str, ...]
    points: np.ndarray
    confidence: np.ndarray
    depth: np.ndarray | None = None
    size: tuple[int, int] | None = None
    relative: bool = False

    def __post_init__(self) -> None:
        count = len(self.names)
        unknown = next((name for name in self.names if name not in NAMES), None)
        if unknown is not None or len(set(self.names)) != count:
            raise ValueError(f"expected different names of {', '.join(NAMES)}; got {unknown or 'one of them twice'}")
        shapes = [np.shape(self.points), np.shape(self.confidence)]
        if shapes != [(count, 2), (count,)] or (self.depth is not None and np.shape(self.depth) != (count,)):
            raise ValueError(f"{count} keypoints need points ({count}, 2) and confidence ({count},), got {shapes}")

    @property
    def given(self) -> np.ndarray:
        """Bool ``(N,)``: the points that are not missing."""
        return (self.confidence > 0) & np.isfinite(self.points).all(1)

    @property
    def extent(self) -> float:
        """Area of the box around the given points; 0 if there are none."""
        given = self.points[self.given]
        return float(np.prod(np.ptp(given, 0))) if len(given) else 0.0

    def sized(self, size: tuple[int, int]) -> "Keypoints":
        """The same keypoints with the (height, width) of their picture known: shares become pixels."""
        scale = np.array([size[1], size[0]]) if self.relative else np.ones(2)
        depth = None if self.depth is None else self.depth * scale[0]
        return Keypoints(self.names, self.points * scale, self.confidence, depth, size)

    def moved(self, scale: float, size: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)) -> "Keypoints":
        """The same keypoints in a picture of another (height, width): times ``scale``, plus ``shift`` (x, y)."""
        depth = None if self.depth is None else self.depth * scale
        return Keypoints(self.names, self.points * scale + np.array(shift), self.confidence, depth, size)

    def ordered(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Points ``(25, 2)``, confidence ``(25,)`` and depth ``(25,)`` in the order of :data:`NAMES`, 0 if missing."""
        index = [NAMES.index(name) for name in self.names]
        points, confidence, depth = np.zeros((len(NAMES), 2)), np.zeros(len(NAMES)), np.full(len(NAMES), np.nan)
        given = self.given
        points[index] = np.where(given[:, None], self.points, 0.0)
        confidence[index] = np.where(given, self.confidence, 0.0)
        if self.depth is not None:
            depth[index] = self.depth
        return points, confidence, None if self.depth is None else depth


@dataclass(frozen=True, eq=False)
class KeypointPicture:
    """The people whom a file finds in one picture.

    Attributes:
        name: of the picture; empty if the file does not say.
        people: the largest first.
    """

    name: str
    people: tuple[Keypoints, ...]


def is_keypoints(path: str | os.PathLike[str]) -> bool:
    """Whether a file is to be read as keypoints: text that begins like JSON, or a list with ``keypoints_y``.

    A file that does not exist is judged by its ending.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError:
        return path.suffix.lower() in ENDINGS
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return path.suffix.lower() in ENDINGS or start[:1] in (b"{", b"[") or b"keypoints_y" in start


def read_people_of(path: Path) -> tuple[Keypoints, ...]:
    """The people of a file of one picture, the largest first; none where all keypoints are missing.

    Raises:
        ValueError: if the file is broken, of a kind that is not known, or of several pictures.
    """
    return tuple(found for found in _choose(read_pictures(path), None, path).people if found.given.any())


def read_keypoints(
    path: str | os.PathLike[str], *, person: int | None = None, picture: str | None = None
) -> tuple[Keypoints, int]:
    """Read one person's keypoints.

    Args:
        path: the file.
        person: which one of a picture, the largest first, from 1; None takes the largest.
        picture: which picture of a file of several, by its name, with or without folders and ending.

    Returns:
        the keypoints, and how many people the picture shows.

    Raises:
        ValueError: if the file is missing, broken, of a kind that is not known, or shows nobody.
    """
    path = Path(path)
    chosen = _choose(read_pictures(path), picture, path)
    people = [found for found in chosen.people if found.given.any()]
    of_picture = f"{path}: {chosen.name}" if chosen.name else str(path)
    if not people:
        missing = "all keypoints are missing or 0" if chosen.people else "nobody was found in the picture"
        raise ValueError(f"{of_picture}: {missing}, so there is no pose to read")
    if person is not None and not 1 <= person <= len(people):
        shown = f"shows {len(people)} {'person' if len(people) == 1 else 'people'}"
        raise ValueError(f"{of_picture} {shown}, there is no person {person}")
    return people[(person or 1) - 1], len(people)


def _choose(pictures: list[KeypointPicture], picture: str | None, path: Path) -> KeypointPicture:
    if not pictures:
        raise ValueError(f"{path} holds no keypoints: the list in it is empty")
    if picture is None and len(pictures) == 1:
        return pictures[0]
    if picture is not None:
        for same in (lambda name: name == picture, lambda name: Path(name).stem == Path(picture).stem):
            chosen = [found for found in pictures if found.name and same(found.name)]
            if len(chosen) == 1:
                return chosen[0]
    names = ", ".join(found.name or "(no name)" for found in pictures[:4]) + (", ..." if len(pictures) > 4 else "")
    if picture is None:
        raise ValueError(f"{path} holds keypoints of {len(pictures)} pictures; say which (--picture): {names}")
    raise ValueError(f"{path} holds no picture {picture}, or several; there are {names}")


def read_pictures(path: Path) -> list[KeypointPicture]:
    """All pictures of a file; ValueError as :func:`read_keypoints`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"no such file of keypoints: {path}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; keypoints are read from {KNOWN_FILES}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    return parse_pictures(text, path, path)


def parse_pictures(text: str, path: Path, file: Path | None = None) -> list[KeypointPicture]:
    """All pictures of a file's text.

    Args:
        text: JSON, or a list.
        path: what to call it in errors.
        file: that it was read from, if it was from one: a picture of ``pocold synth`` beside it tells the size.

    Raises:
        ValueError: as :func:`read_keypoints`.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return _from_list(text, path)
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is broken JSON ({error}); write it again, or give another file") from None
    try:
        pictures = _from_json(content, file)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"{path}: keypoints that cannot be understood: {error}") from None
    if pictures is None:
        kind = f"keys {', '.join(map(str, list(content)[:6]))}" if isinstance(content, dict) else "a list"
        raise ValueError(f"{path} is JSON of another kind ({kind or 'empty'}); keypoints are read from {KNOWN_FILES}")
    return pictures


def _from_json(content: Any, file: Path | None) -> list[KeypointPicture] | None:
    """The pictures of a JSON file, None if it is of no kind that is known."""
    if isinstance(content, list):
        if len(content) == _MEDIAPIPE_COUNT and all(_is_landmark(item) for item in content):
            return [KeypointPicture("", (_mediapipe(content, None),))]
        if content and all(isinstance(item, dict) and "people" in item for item in content):
            found = [_openpose(item) for item in content]
            return found if len(found) == 1 else [KeypointPicture(str(i), f.people) for i, f in enumerate(found)]
        if content and all(isinstance(item, dict) and isinstance(item.get("keypoints"), list) for item in content):
            return _coco({"annotations": content})
        return None
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("people"), list):
        return [_openpose(content)]
    if isinstance(content.get("annotations"), list) and any("keypoints" in a for a in content["annotations"]):
        return _coco(content)
    if isinstance(content.get("keypoints"), dict):
        return [KeypointPicture("", (_own(content, file),))]
    if isinstance(content.get("keypoints"), list):
        return _coco({"annotations": [content]})
    landmarks = next((content[key] for key in _LANDMARKS if isinstance(content.get(key), list)), None)
    if landmarks is None:
        return None
    size = _size_in(content)
    people = landmarks if landmarks and isinstance(landmarks[0], list) else [landmarks]
    people = [person["landmark"] if isinstance(person, dict) else person for person in people]
    if not all(len(person) == _MEDIAPIPE_COUNT for person in people if person):
        raise ValueError(f"expected MediaPipe's {_MEDIAPIPE_COUNT} landmarks of a body, got {len(people[0])}")
    return [_picture("", [_mediapipe(person, size) for person in people if person])]


def _picture(name: str, people: list[Keypoints]) -> KeypointPicture:
    return KeypointPicture(name, tuple(sorted(people, key=lambda found: -found.extent)))


def _size_in(content: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) that a JSON object says, under any of the usual names."""
    for height, width in (("canvas_height", "canvas_width"), ("image_height", "image_width"), ("height", "width")):
        if content.get(height) and content.get(width):
            return int(content[height]), int(content[width])
    size = content.get("size")
    return (int(size[0]), int(size[1])) if isinstance(size, list) and len(size) == 2 else None


def _triples(values: Any, names: tuple[str, ...], zero_is_missing: bool) -> tuple[np.ndarray, np.ndarray]:
    """Points ``(N, 2)`` and third numbers ``(N,)`` of a flat list or one of triples."""
    numbers = np.asarray(values, dtype=float).reshape(-1)
    if len(numbers) != 3 * len(names):
        raise ValueError(f"expected {len(names)} keypoints of 3 numbers, got {len(numbers)} numbers")
    triples = numbers.reshape(-1, 3)
    third = np.where(np.isfinite(triples).all(1), triples[:, 2], 0.0)
    if zero_is_missing:
        third = np.where((triples[:, :2] == 0).all(1), 0.0, third)
    return triples[:, :2], third


def _openpose(content: dict[str, Any]) -> KeypointPicture:
    size, people = _size_in(content), []
    for person in content["people"]:
        values = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        if values is None:
            raise ValueError("a person without pose_keypoints_2d")
        count = np.asarray(values, dtype=float).size
        if count not in (3 * len(BODY_25), 3 * len(COCO_18)):
            raise ValueError(f"OpenPose writes 25 or 18 keypoints of 3 numbers, got {count} numbers")
        names = BODY_25 if count == 3 * len(BODY_25) else COCO_18
        points, confidence = _triples(values, names, zero_is_missing=True)
        # a point that OpenPose writes is one that it saw, however unsure it is where
        confidence = np.where(confidence > 0, 0.5 + 0.5 * np.clip(confidence, 0, 1), 0.0)
        found = Keypoints(names, points, confidence)
        shown = points[found.given]
        found = Keypoints(names, points, confidence, relative=bool(len(shown)) and float(np.abs(shown).max()) <= 1.5)
        people.append(found if size is None else found.sized(size))
    return _picture("", people)


def openpose_people(content: Any, name: str = "keypoints") -> tuple[Keypoints, ...]:
    """The people of one picture as OpenPose's JSON has them, decoded; the largest first.

    Args:
        content: with ``people``, and their ``pose_keypoints_2d``.
        name: what to call it in errors.

    Raises:
        ValueError: if it is of another kind, or cannot be understood.
    """
    if not isinstance(content, dict) or not isinstance(content.get("people"), list):
        raise ValueError(f"{name}: expected OpenPose's people with pose_keypoints_2d, got {type(content).__name__}")
    try:
        return tuple(person for person in _openpose(content).people if person.given.any())
    except (AttributeError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"{name}: keypoints that cannot be understood: {error}") from None


def _coco(content: dict[str, Any]) -> list[KeypointPicture]:
    images = {image["id"]: image for image in content.get("images", [])}
    groups: dict[Any, list[Keypoints]] = {key: [] for key in images}
    for annotation in content["annotations"]:
        if "keypoints" not in annotation:
            continue
        points, visible = _triples(annotation["keypoints"], COCO_17, zero_is_missing=True)
        # annotations say 0, 1 (hidden) or 2 (seen), results of estimators give scores
        flags = bool(np.isin(visible, (0, 1, 2)).all()) and bool((visible == 2).any())
        confidence = np.where(visible == 1, _HIDDEN, visible / 2) if flags else np.clip(visible, 0, 1)
        key = annotation.get("image_id", "")
        size = _size_in(images[key]) if key in images else None
        groups.setdefault(key, []).append(Keypoints(COCO_17, points, confidence, size=size))
    named = {key: str(images[key].get("file_name", key)) if key in images else str(key) for key in groups}
    return [_picture(named[key], people) for key, people in groups.items() if people or len(groups) == 1]


def _is_landmark(item: Any) -> bool:
    return isinstance(item, dict) and {"x", "y"} <= set(item)


def _mediapipe(landmarks: list[Any], size: tuple[int, int] | None) -> Keypoints:
    def number(item: dict[str, Any], key: str, default: float) -> float:
        return float(item.get(key, default))

    chosen = [landmarks[i] for i in MEDIAPIPE]
    points = np.array([[number(item, "x", np.nan), number(item, "y", np.nan)] for item in chosen])
    confidence = np.array([number(item, "visibility", 1.0) for item in chosen])
    depth = np.array([number(item, "z", np.nan) for item in chosen])
    confidence = np.clip(confidence, 0, 1) * ~(points == 0).all(1)
    relative = bool(np.nanmax(np.abs(points)) <= 4)
    found = Keypoints(
        tuple(MEDIAPIPE.values()), points, confidence, depth if np.isfinite(depth).any() else None, None, relative
    )
    return found if size is None else found.sized(size)


def _own(content: dict[str, Any], file: Path | None) -> Keypoints:
    named = {name: values for name, values in content["keypoints"].items() if name in NAMES}
    if not named:
        raise ValueError(f"none of the names is known; expected some of {', '.join(NAMES)}")
    points, seen = _triples(list(named.values()), tuple(named), zero_is_missing=False)
    return Keypoints(
        tuple(named),
        points,
        np.where(seen > 0, 1.0, _HIDDEN),
        size=_size_in(content) or (_beside(file) if file else None),
    )


def _beside(path: Path) -> tuple[int, int] | None:
    """(height, width) of the picture in a data set of ``pocold synth`` that keypoints belong to."""
    photo = path.absolute().parent.parent / "img" / f"{path.stem}.jpg"
    try:
        with Image.open(photo) as picture:
            return picture.height, picture.width
    except PICTURE_ERRORS:
        return None


def _from_list(text: str, path: Path) -> list[KeypointPicture]:
    """Rows ``name: [y, ...]: [x, ...]`` of 18 points; -1 is missing. Their canvas is told by the largest values."""
    rows = [row for row in csv.reader(text.splitlines(), delimiter=":") if row]
    if not rows or [cell.strip() for cell in rows[0]] != ["name", "keypoints_y", "keypoints_x"]:
        raise ValueError(f"{path} is neither JSON nor a list of keypoints; they are read from {KNOWN_FILES}")
    pictures, size = [], _canvas(rows[1:], path)
    for row in rows[1:]:
        y, x = _columns(row, path)
        missing = (x < 0) | (y < 0)
        points = np.where(missing[:, None], 0.0, np.stack([x, y], 1) + 0.5)  # whole pixels, whose centres are at .5
        pictures.append(KeypointPicture(row[0].strip(), (Keypoints(COCO_18, points, 1.0 - missing, size=size),)))
    return pictures


def _columns(row: list[str], path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        y, x = (np.array(json.loads(cell), dtype=float) for cell in row[1:])
    except (ValueError, TypeError):
        raise ValueError(f"{path}: broken row {':'.join(row)[:60]!r}; expected name: [y, ...]: [x, ...]") from None
    if y.shape != (len(COCO_18),) or x.shape != y.shape:
        raise ValueError(
            f"{path}: {row[0].strip()}: expected {len(COCO_18)} values of y and of x, got {y.size} and {x.size}"
        )
    return y, x


_CANVASES = ((128, 64), (256, 176), (256, 256), (512, 352))  # of Market-1501 and of DeepFashion's sizes


def _canvas(rows: list[list[str]], path: Path) -> tuple[int, int] | None:
    """The smallest usual canvas that all points of a list lie in."""
    pairs = [_columns(row, path) for row in rows]
    if not pairs:
        return None
    bottom, right = (max(float(pair[i].max()) for pair in pairs) for i in (0, 1))
    return next((size for size in _CANVASES if bottom < size[0] and right < size[1]), None)
