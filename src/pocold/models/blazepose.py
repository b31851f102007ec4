"""People in a photograph by BlazePose: 33 points with depth, and where the person is seen.

BlazePose (Bazarevsky et al., 2020, arXiv:2006.10204) are two networks. One looks at the whole picture and gives each
person's hips and a circle around the body; the other looks at that circle, turned upright, and gives points and a mask.
The networks are files of the user's, see :mod:`pocold.models.blazepose_files`; the extra ``pose`` runs them.

Legend: H W picture size, A anchors, L = 39 points of which 33 are landmarks, h = 256 side of the second network.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.special import expit

from pocold.densepose.keypoints import MEDIAPIPE, Keypoints

# From a picture float32 (1, side, side, 3) to the outputs of a network, by the order in its file.
Network = Callable[[np.ndarray], Sequence[np.ndarray]]

_DETECTOR_SIDE, _SIDE = 224, 256
_GRIDS = ((28, 2), (14, 2), (7, 6))  # cells a side, and anchors of each
_LEAST, _SAME = 0.5, 0.3  # probability of a detection; overlap from which on two are one
_LEAST_NEARBY = 0.65  # where nobody asked for people from nearby: a cup of coffee has 0.58 there, a cat 0.54
_BODY = 0.5  # probability that the second network looks at a body
_WIDER = 1.25  # of the second network's square to the circle
_HIPS, _TOP = 33, 34  # of the L points: those that say where to look
_UNSEEN = 0.1  # confidence below which a point is a guess
_STAYS = 0.05  # share of the square's side that a person may move before the square does
_AT_LEAST = 0.15  # of what is new in a mask, from frame to frame
_NEARBY = 2  # tiles a side, overlapping by half, where nobody is found in the whole picture


@dataclass(frozen=True)
class Square:
    """Where the second network looks: a square of ``side`` pixels about x, y, the hips, turned by ``angle`` radians."""

    x: float
    y: float
    side: float
    angle: float

    @classmethod
    def around(cls, hips: np.ndarray, top: np.ndarray) -> "Square":
        """The square whose upright circle has its middle in the hips and the other point on its rim."""
        across, down = top - hips
        side = 2 * _WIDER * math.hypot(across, down)
        return cls(float(hips[0]), float(hips[1]), side, math.atan2(across, -down))

    def is_near(self, other: "Square") -> bool:
        """Whether both show a body about alike."""
        moved = math.hypot(self.x - other.x, self.y - other.y) / other.side
        turned = abs(math.remainder(self.angle - other.angle, 2 * math.pi))
        return moved < _STAYS and abs(self.side / other.side - 1) < 2 * _STAYS and turned < 2 * _STAYS

    @property
    def matrix(self) -> np.ndarray:
        """``(2, 3)``: from pixels of the network's picture to those of the photograph."""
        scale = self.side / _SIDE
        cos, sin = scale * math.cos(self.angle), scale * math.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([turn, [self.x, self.y] - turn @ [_SIDE / 2, _SIDE / 2]])


class Found(NamedTuple):
    """One person.

    Attributes:
        keypoints: in pixels, with depth in pixels; confidence 0 for points outside the picture.
        mask: bool ``(H, W)``, where the person is seen, clothes and hair included.
        square: around the body.
        shares: float ``(h, h)`` in [0, 1]: how much of the person the second network sees in its picture.
    """

    keypoints: Keypoints
    mask: np.ndarray
    square: Square
    shares: np.ndarray


class BlazePose:
    """Finds people. Safe in threads.

    Args:
        detector: pictures ``(1, 224, 224, 3)`` in [-1, 1] -> boxes and points ``(1, 2254, 12)``, logits
            ``(1, 2254, 1)``.
        landmarks: pictures ``(1, 256, 256, 3)`` in [0, 1] -> L points ``(1, 195)`` of x, y, z, visibility, presence;
            probability of a body ``(1, 1)``; logits of the mask ``(1, 256, 256, 1)``.
        fingerprint: tells these networks from others, for metadata.
    """

    def __init__(self, detector: Network, landmarks: Network, fingerprint: str = "") -> None:
        self._detector, self._landmarks, self.fingerprint = detector, landmarks, fingerprint
        self._lock = Lock()  # an interpreter has one set of buffers

    @classmethod
    def load(cls, detector: Path, landmarks: Path) -> "BlazePose":
        """From the files of the networks; their SHA-256 is the fingerprint.

        Raises:
            ImportError: without the extra ``pose``.
            ValueError: if a file is none of these networks.
        """
        return cls(
            _load(detector, _DETECTOR_SIDE, [(1, 2254, 12), (1, 2254, 1)]),
            _load(landmarks, _SIDE, [(1, 195), (1, 1), (1, _SIDE, _SIDE, 1)]),
            hashlib.sha256(detector.read_bytes() + landmarks.read_bytes()).hexdigest(),
        )

    def people(self, picture: Image.Image, everybody: bool = False) -> list[Found]:
        """Who is seen in an RGB picture, from left to right.

        Args:
            picture: any size.
            everybody: look from nearby, too, for people who are small in it; else that is only done where nobody is
                found, and only the surest is returned.
        """
        with self._lock:
            found = self._seen(picture, [(0, 0, picture.width, picture.height)], everybody, _LEAST)
            if not found or everybody:
                least = _LEAST if everybody else _LEAST_NEARBY
                found += self._seen(picture, _tiles(picture.width, picture.height), everybody, least)
        kept: list[Found] = []
        for one in found:
            if all(_overlap(one.mask, other.mask) < 0.5 for other in kept):
                kept.append(one)
        return sorted(kept if everybody else kept[:1], key=lambda one: one.square.x)

    def follow(self, picture: Image.Image, before: Found) -> Found | None:
        """Somebody of the frame before, in an RGB picture of the next; None if nobody is there any more.

        The network looks at the very same place as long as the person hardly moves: its points tremble far less then.
        """
        with self._lock:
            found = self._look(picture, before.square, looks=1)
            if found is None:
                return None
            if not found.square.is_near(before.square):
                return self._look(picture, found.square, looks=1)
        # the outline trembles, too: what changes a little changes slowly, what changes much changes at once
        change = found.shares - before.shares
        shares = before.shares + np.maximum(_AT_LEAST, np.abs(change)) * change
        mask = _in_photo(shares, before.square, picture.size)
        return found._replace(square=before.square, shares=shares, mask=mask)

    def _seen(
        self, picture: Image.Image, boxes: Sequence[tuple[int, int, int, int]], everybody: bool, least: float
    ) -> list[Found]:
        """People in parts of the picture, of a probability, the surest first."""
        detections = [one for box in boxes for one in self._detect(picture, box) if one[0] >= least]
        detections.sort(key=lambda one: -one[0])
        found = []
        for _, square in detections:
            one = self._look(picture, square)
            if one is not None:
                found.append(one)
                if not everybody:
                    break
        return found

    def _detect(self, picture: Image.Image, box: tuple[int, int, int, int]) -> Iterator[tuple[float, Square]]:
        """Probability and place of the people in a box (left, top, right, bottom)."""
        width, height = box[2] - box[0], box[3] - box[1]
        scale = _DETECTOR_SIDE / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (_DETECTOR_SIDE - size[0]) // 2, (_DETECTOR_SIDE - size[1]) // 2
        whole = Image.new("RGB", (_DETECTOR_SIDE, _DETECTOR_SIDE))
        whole.paste(picture.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=2.0), (left, top))
        raw, logits = self._detector(np.asarray(whole, np.float32)[None] / 127.5 - 1)[:2]
        probability = expit(logits[0, :, 0])
        points = raw[0].reshape(-1, 6, 2)  # middle and size of the box, hips, top, and two that are not needed
        points = np.concatenate([points[:, :1], points[:, 2:4]], 1) + _ANCHORS[:, None] * _DETECTOR_SIDE
        sizes = raw[0, :, 2:4]
        kept: list[np.ndarray] = []
        for i in np.argsort(-probability):
            if probability[i] < _LEAST:
                break
            corners = np.concatenate([points[i, 0] - sizes[i] / 2, points[i, 0] + sizes[i] / 2])
            if all(_box_overlap(corners, other) < _SAME for other in kept):
                kept.append(corners)
                hips, rim = (points[i, 1:] - [left, top]) / scale + [box[0], box[1]]
                if math.hypot(*(rim - hips)) >= 1:
                    yield float(probability[i]), Square.around(hips, rim)

    def _look(self, picture: Image.Image, square: Square, looks: int = 2) -> Found | None:
        """The person in a square; a second look is at where the first saw the person. None if there is none."""
        for _ in range(looks):
            points, body, logits = self._points(picture, square)
            if body < _BODY:
                return None
            seen, square = square, Square.around(points[_HIPS, :2], points[_TOP, :2])
        inside = ((points[:, :2] >= 0) & (points[:, :2] <= picture.size)).all(1)
        sure = expit(points[:, 3]) * expit(points[:, 4]) * inside
        chosen = list(MEDIAPIPE)
        confidence = np.where(sure < _UNSEEN, 0.0, sure)[chosen]
        size = picture.height, picture.width
        keypoints = Keypoints(tuple(MEDIAPIPE.values()), points[chosen, :2], confidence, points[chosen, 2], size)
        shares = expit(logits)
        return Found(keypoints, _in_photo(shares, seen, picture.size), square, shares)

    def _points(self, picture: Image.Image, square: Square) -> tuple[np.ndarray, float, np.ndarray]:
        """Points ``(L, 5)`` in pixels of the photograph, the probability of a body, the mask's logits ``(h, h)``."""
        matrix = square.matrix
        smaller = max(1, int(square.side / _SIDE / 1.5))  # else single pixels of a large photograph would be picked
        reduced = picture.reduce(smaller) if smaller > 1 else picture
        part = reduced.transform(
            (_SIDE, _SIDE), Image.Transform.AFFINE, tuple((matrix / smaller).ravel()), Image.Resampling.BILINEAR
        )
        values, body, logits = self._landmarks(np.asarray(part, np.float32)[None] / 255)[:3]
        points = values[0].reshape(-1, 5).astype(float)
        points[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        points[:, 2] *= square.side / _SIDE
        return points, float(body.ravel()[0]), logits[0, :, :, 0]


def _in_photo(shares: np.ndarray, square: Square, size: tuple[int, int]) -> np.ndarray:
    """The mask bool ``(H, W)`` of a photograph of ``size`` (width, height)."""
    matrix = square.matrix
    back = np.linalg.inv(matrix[:, :2])
    whole = np.column_stack([back, -back @ matrix[:, 2]])
    placed = Image.fromarray(np.round(255 * shares).astype(np.uint8)).transform(
        size, Image.Transform.AFFINE, tuple(whole.ravel()), Image.Resampling.BILINEAR
    )
    return np.asarray(placed) > 127


def _tiles(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Boxes of half the longer side, overlapping by half of theirs."""
    side = max(width, height) / _NEARBY
    lefts, tops = (
        sorted({round(i * side / 2) for i in range(math.ceil(max(0, length - side) / (side / 2)) + 1)})
        for length in (width, height)
    )
    return [(x, y, min(width, round(x + side)), min(height, round(y + side))) for y in tops for x in lefts]


def _anchors() -> np.ndarray:
    """Middles ``(A, 2)`` of the detector's cells, x and y in shares of the picture, in the network's order."""
    rows = []
    for cells, each in _GRIDS:
        middles = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(middles, middles), -1).reshape(-1, 2)
        rows.append(grid.repeat(each, 0))
    return np.concatenate(rows)


_ANCHORS = _anchors()


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Of the smaller of two masks, the share that is in both."""
    return float((one & other).sum() / max(1, min(one.sum(), other.sum())))


def _box_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes x, y, x, y."""
    sides = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)
    common = float(np.prod(sides))
    return common / (float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - common)


def _load(path: Path, side: int, outputs: Sequence[tuple[int, ...]]) -> Network:
    """The network of a file that takes pictures of a side, and begins with outputs of these shapes."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # The default delegate is quicker (17 instead of 54 ms a look, the fit takes 500), but greets every user on stderr.
    quiet = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter: Any = Interpreter(model_path=str(path), num_threads=1, experimental_op_resolver_type=quiet)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no network that the extra pose can run: {error}") from None
    (given,), told = interpreter.get_input_details(), interpreter.get_output_details()
    found = [tuple(map(int, one["shape"])) for one in told][: len(outputs)]
    if tuple(given["shape"]) != (1, side, side, 3) or found != list(outputs):
        raise ValueError(
            f"{path} is another network: expected pictures (1, {side}, {side}, 3) and outputs {list(outputs)}, got "
            f"{tuple(map(int, given['shape']))} and {found}"
        )

    def run(picture: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(given["index"], picture.astype(np.float32))
        interpreter.invoke()
        return [interpreter.get_tensor(one["index"]) for one in told]

    return run
