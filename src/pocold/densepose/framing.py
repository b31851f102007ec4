"""A photograph and its map as one: cut out around the person, brought to the model's size, and put back.

The rules, in order; :class:`PersonFrame` applies them to photo and map alike, so that the two never part:

1. The box around the person is widened by a margin on every side.
2. It is widened further, in one direction, to the shape (height : width) of the model's size: nothing is distorted.
3. Where it sticks out of the photo it is pushed back inside, as far as there is room.
4. What still sticks out is padded: photos continue softly, maps are background there.
5. The box is scaled to the model's size: photos with antialiasing, labels by nearest neighbour.

The way back scales a picture to the box and lays it over the photo, blending over a seam inside the box. How a whole
picture is brought to another size is :class:`pocold.imaging.images.Frame`'s part.

Legend: H W photo size, h w model size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pocold.densepose.maps import DensePose
from pocold.imaging.images import Frame, extended, padded

Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two are one beyond the last pixel


def person_box(labels: np.ndarray, margin: float = 0.1) -> Box:
    """The smallest box around all body pixels, widened on every side.

    Args:
        labels: ``(H, W)``, body labels 0..24 or a mask; 0 is background.
        margin: share of the body's longer side; the box may stick out of the map.

    Raises:
        ValueError: if there is no body, or the margin is negative.
    """
    if not 0 <= margin < 10:
        raise ValueError(f"margin must lie in [0, 10), got {margin!r}")
    body = np.asarray(labels) > 0
    rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    if not len(rows):
        raise ValueError("the map shows nobody to frame")
    top, bottom, left, right = (int(side) for side in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    extra = round(margin * max(bottom - top, right - left))
    return top - extra, left - extra, bottom + extra, right + extra


@dataclass(frozen=True)
class PersonFrame:
    """The part of a photograph that a model gets to see, and the way back.

    Attributes:
        photo: (height, width) of the photograph and of its map.
        box: the part; it may stick out of the photo.
        size: (height, width) for the model.

    Raises:
        ValueError: for sizes or a box without area, or a box beside the photo.
    """

    photo: tuple[int, int]
    box: Box
    size: tuple[int, int]

    def __post_init__(self) -> None:
        top, left, bottom, right = self.box
        if min(*self.photo, *self.size, bottom - top, right - left) < 1:
            raise ValueError(f"sizes and box must have an area, got {self.photo}, {self.box}, {self.size}")
        if top >= self.photo[0] or left >= self.photo[1] or bottom <= 0 or right <= 0:
            raise ValueError(f"the box {self.box} lies beside a photo of {self.photo} (height, width)")

    @classmethod
    def around(cls, *labels: np.ndarray, size: tuple[int, int], margin: float = 0.1) -> "PersonFrame":
        """The frame around one person, such as the source's map and the pose that the result is to take.

        Args:
            labels: one or more maps ``(H, W)`` of the photo's size; the box holds the bodies of all.
            size: (height, width) for the model.
            margin: see :func:`person_box`.

        Raises:
            ValueError: if there is no map, none shows a body, or their sizes differ.
        """
        shapes = {np.shape(item) for item in labels}
        if len(shapes) != 1:
            raise ValueError(f"expected maps of one size, that of the photo, got {sorted(shapes) or 'none'}")
        photo = np.shape(labels[0])
        box = person_box(np.any([np.asarray(item) > 0 for item in labels], axis=0), margin)
        top, left, bottom, right = box
        height, width = bottom - top, right - left
        height, width = max(height, round(width * size[0] / size[1])), max(width, round(height * size[1] / size[0]))
        top, left = _placed(top, bottom, height, photo[0]), _placed(left, right, width, photo[1])
        return cls(photo, (top, left, top + height, left + width), size)

    def image(self, picture: Image.Image) -> Image.Image:
        """The part of an RGB photo, at the model's size."""
        return self._scale.image(Image.fromarray(self._cut(np.asarray(picture), extended)))

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """The part of a map ``(H, W)`` of labels, at the model's size ``(h, w)``."""
        return self._scale.labels(self._cut(labels, padded))

    def uv(self, uv: np.ndarray) -> np.ndarray:
        """The part of U and V ``(2, H, W)``, as the labels they belong to."""
        return np.stack([self.labels(channel) for channel in uv])

    def paste(self, result: Image.Image, photo: Image.Image, feather: int | None = None) -> Image.Image:
        """The photo with ``result`` in its part: the way back of :meth:`image`.

        Outside the box the photo stays as it is, to the bit.

        Args:
            result: RGB picture of the model's size.
            photo: RGB photograph of size :attr:`photo`.
            feather: width of the seam inside the box, in pixels of the photo; by default a fiftieth of the box's
                shorter side. There is none along the photo's own border.

        Raises:
            ValueError: if either picture has another size, or feather is negative.
        """
        if result.size[::-1] != self.size or photo.size[::-1] != self.photo:
            raise ValueError(
                f"expected a result of {self.size} and a photo of {self.photo} (height, width), "
                f"got {result.size[::-1]} and {photo.size[::-1]}"
            )
        top, left, bottom, right = self.box
        if feather is None:
            feather = min(bottom - top, right - left) // 50
        if feather < 0:
            raise ValueError(f"feather must be at least 0, got {feather}")
        share = np.minimum(
            _inside(top, bottom, self.photo[0], feather)[:, None], _inside(left, right, self.photo[1], feather)
        )
        corner = max(0, left), max(0, top)
        whole = result.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        x, y = corner[0] - left, corner[1] - top
        visible = whole.crop((x, y, x + share.shape[1], y + share.shape[0]))
        pasted = photo.copy()
        pasted.paste(visible, corner, Image.fromarray(np.round(share * 255).astype(np.uint8)))
        return pasted

    @property
    def _scale(self) -> Frame:
        top, left, bottom, right = self.box
        return Frame((bottom - top, right - left), self.size, "stretch")  # of the same shape, up to rounding

    def _cut(self, values: np.ndarray, fill: Callable[[np.ndarray, int, int, int], np.ndarray]) -> np.ndarray:
        """The box of ``values (H, W, ...)``, padded where it sticks out."""
        if values.shape[:2] != self.photo:
            raise ValueError(f"this frame is for a photo of size {self.photo} (height, width), got {values.shape[:2]}")
        top, left, bottom, right = self.box
        height, width = self.photo
        inside = values[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
        inside = fill(inside, 0, max(0, -top), max(0, bottom - height))
        return fill(inside, 1, max(0, -left), max(0, right - width))


def framed(pose: DensePose, frame: Frame | PersonFrame) -> DensePose:
    """A map brought to another size, U and V included."""
    uv = None if pose.uv is None else frame.uv(pose.uv)
    person = None if pose.person is None else frame.labels(pose.person) > 0
    return DensePose(frame.labels(pose.labels), uv, pose.doubts, person)


def _placed(low: int, high: int, length: int, limit: int) -> int:
    """Where a stretch of ``length`` centred on low..high begins, pushed inside 0..limit where it fits in."""
    start = (low + high - length) // 2
    if length >= limit:
        return min(0, max(start, limit - length))
    return min(max(start, 0), limit - length)


def _inside(low: int, high: int, limit: int, feather: int) -> np.ndarray:
    """For the pixels that low..high and 0..limit share: from nearly 0 to 1 at ``feather`` pixels from either end of the
    first, except where that end is also one of the second.
    """
    positions = np.arange(max(0, low), min(limit, high))
    distance = np.full(len(positions), feather + 1)
    if low > 0:
        distance = np.minimum(distance, positions - low + 1)
    if high < limit:
        distance = np.minimum(distance, high - positions)
    return distance / (feather + 1)
