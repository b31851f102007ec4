"""DensePose maps: files and mirroring. The tensors that networks take of them are :mod:`pocold.densepose.encoding`.

Legend: H W picture size; labels are 0 (background) and 1..24 (body parts).
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor

from pocold.densepose.chart import looks_exchanged
from pocold.densepose.encoding import POSE_CHANNELS as POSE_CHANNELS  # the names they had before
from pocold.densepose.encoding import encode_pose as encode_pose
from pocold.densepose.encoding import one_hot as one_hot
from pocold.densepose.encoding import resize_labels as resize_labels
from pocold.densepose.labels import LABEL_NAMES, MIRRORED_LABEL, MIRRORED_U, MIRRORED_V, NUM_LABELS
from pocold.imaging.files import MAX_PIXELS, PICTURE_ERRORS, atomic_write

# Of an RGB file, red first: I the label, U and V the coordinates.
ChannelOrder = Literal["auto", "iuv", "ivu", "vui", "uvi"]
MAX_OVERSHOOT = 0.05  # by which U, V of a file may lie outside [0, 1]; more is another unit or another quantity
# Picture formats that change labels. Colours of a visualiser survive them; numbers of parts do not.
LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
_RINGING, _RINGING_SHARE = 60, 0.9  # the highest value that such a file makes of labels 0..24, and how many stay there
CHANNEL_ORDER_KEY = "pocold:channels"  # text chunk of the PNG files that this module writes


@dataclass(frozen=True, eq=False)
class DensePose:
    """One person's DensePose map.

    Attributes:
        labels: uint8 ``(H, W)``, body label of each pixel, 0 (background) to 24.
        uv: float32 ``(2, H, W)`` in [0, 1], surface coordinates inside each part, or None.
        doubts: what speaks against its being one body's map, for people to read; empty if nothing does, None if it has
            not been asked (:func:`pocold.densepose.plausibility.check_body`).
        person: bool ``(H, W)``, where the person is seen with clothes, hair and what is held, None if that is not
            known. What of it has no label is no backdrop either. Files of maps do not keep it.

    Raises:
        ValueError: on construction, if shapes, values or sizes are none of these, or ``labels`` is a mask of bools.
    """

    labels: np.ndarray
    uv: np.ndarray | None = None
    doubts: tuple[str, ...] | None = field(default=None, repr=False)
    person: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.dtype.kind == "b":
            raise ImplausibleMapError(
                "expected DensePose labels, whole numbers 0..24, got a mask of bools: it tells where a person is, not "
                "which part is where; run DensePose on the photograph, or pocold pose PHOTO -o map.png"
            )
        if labels.dtype.kind not in "iuf":
            raise ValueError(f"DensePose labels must be whole numbers, got {labels.dtype}")
        if labels.ndim != 2 or 0 in labels.shape:
            raise ValueError(f"DensePose labels must have shape (H, W), got {tuple(labels.shape)}")
        if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
            raise ValueError("DensePose labels must be whole numbers 0..24, got fractions, NaN or infinity")
        if labels.min() < 0 or labels.max() >= NUM_LABELS:
            raise ValueError(
                f"DensePose labels must lie in 0..24, got values from {labels.min():g} to {labels.max():g}; "
                "a picture of a map (coloured or blended over a photo) is not a map"
            )
        # a copy: the map is a value, whatever happens to the array it was made from
        object.__setattr__(self, "labels", np.array(labels, dtype=np.uint8, order="C"))
        if self.person is not None and (self.person.shape != labels.shape or self.person.dtype != bool):
            raise ValueError(f"DensePose person must be bool of shape {labels.shape}, got {self.person.shape}")
        if self.uv is None:
            return
        uv = np.array(self.uv, dtype=np.float32, order="C")
        if uv.shape != (2, *labels.shape):
            raise ValueError(f"DensePose uv must have shape (2, H, W) = {(2, *labels.shape)}, got {uv.shape}")
        if not np.isfinite(uv).all() or uv.min() < 0 or uv.max() > 1:
            raise ValueError("DensePose uv must be finite and lie in [0, 1]")
        object.__setattr__(self, "uv", uv)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.labels.shape
        return height, width

    @property
    def visible_parts(self) -> frozenset[int]:
        """The body labels that occur, background left out."""
        return frozenset(np.unique(self.labels).tolist()) - {0}

    @classmethod
    def read(cls, path: str | os.PathLike[str], channels: ChannelOrder = "auto") -> "DensePose":
        """Read a map from a picture file.

        Understood are label maps (one 8-bit channel, or three equal ones) and IUV maps (three channels, U and V as
        0..255). Tools disagree on where I is: detectron2-style arrays written through OpenCV have it in the blue
        channel (``vui`` in RGB order), this class writes it into the red one (``iuv``).
        ``pocold.densepose.formats`` reads more.

        Args:
            path: a lossless picture file, such as PNG.
            channels: order of an RGB file; ``auto`` takes the outer channel that can hold the labels: all values lie in
                0..24, and are 0 only where all channels are, and of the others the middle one as U. What a file of
                pocold says itself comes first.

        Warns:
            ExchangedWarning: if the order was not told, and the map fits the body better with U and V exchanged.

        Raises:
            ValueError: if the file is missing or unreadable, is a colour picture, or its order cannot be told.
            ImplausibleMapError: for a label map saved as JPEG.
        """
        with open_map(path) as picture:
            return cls.from_image(picture, channels)

    @classmethod
    def from_image(cls, picture: Image.Image, channels: ChannelOrder = "auto") -> "DensePose":
        """A map from an opened picture; see :meth:`read`."""
        if channels not in get_args(ChannelOrder):
            raise ValueError(f"unknown channel order {channels!r}: expected one of {', '.join(get_args(ChannelOrder))}")
        if picture.mode == "P":
            raise ValueError(
                "got a palette picture, whose numbers may be labels or colours; where they are labels, pass them as an "
                "array, numpy.asarray(picture), or save them as a greyscale picture"
            )
        if picture.mode not in ("L", "RGB", "I", "I;16"):
            raise ValueError(
                "expected a label map (one channel) or an IUV map (three 8-bit channels), "
                f"got a picture of mode {picture.mode}"
            )
        values = np.asarray(picture)
        if values.ndim == 3 and picture.info.get(CHANNEL_ORDER_KEY) is None and (values == values[..., :1]).all():
            values = values[..., 0]
        if values.ndim == 2:
            refuse_lossy(picture, values)
            return cls(values)
        pose = cls.from_channels(values, channels, picture.info.get(CHANNEL_ORDER_KEY))
        refuse_lossy(picture, pose.labels)
        return pose

    @classmethod
    def from_channels(
        cls, values: np.ndarray, channels: ChannelOrder = "auto", written_order: str | None = None
    ) -> "DensePose":
        """A map from an array ``(H, W, 3)`` of label, U and V: floats with U, V in [0, 1], or whole numbers 0..255.

        Args:
            values: the array.
            channels: their order; see :meth:`read`.
            written_order: what the file itself says of it.

        Raises:
            ValueError: if the order cannot be told, or the values are no map.
        """
        written = next((order for order in get_args(ChannelOrder)[1:] if order == written_order), None)
        guessed = channels == "auto" and written is None
        if channels == "auto":
            channels = written or _detect_channel_order(values)
        label, *uv = (values[..., channels.index(name)] for name in "iuv")
        scale = 1 if values.dtype.kind == "f" else 255
        pose = cls(label, without_overshoot(np.stack(uv).astype(np.float32) / scale))
        if guessed and pose.uv is not None and looks_exchanged(pose.labels, pose.uv):
            other = {"iuv": "ivu", "vui": "uvi"}[channels]
            warnings.warn(
                f"a map read as {channels} fits the body better as {other}, with U and V exchanged; if it is, say so "
                f"(--read-as {other}, channels={other!r})",
                ExchangedWarning,
                stacklevel=3,
            )
        return pose

    @classmethod
    def load(cls, pose: "PoseInput", name: str = "pose") -> "DensePose":
        """Any form of a map: a DensePose, a path, a PIL image, or labels ``(H, W)`` as numpy array or tensor.

        Raises:
            ValueError: if it is none of these, or not a valid map; ``name`` is what the message calls it.
        """
        if isinstance(pose, DensePose):
            return pose
        if isinstance(pose, str | os.PathLike):
            return cls.read(pose)
        if isinstance(pose, Tensor):
            pose = pose.detach().cpu()
            pose = (pose.float() if pose.is_floating_point() else pose).numpy()  # numpy knows no bfloat16
        try:
            if isinstance(pose, Image.Image):
                return cls.from_image(pose)
            if isinstance(pose, np.ndarray):
                return cls(pose)
        except (ValueError, *PICTURE_ERRORS) as error:
            kind = ImplausibleMapError if isinstance(error, ImplausibleMapError) else ValueError
            raise kind(f"{name}: {error}") from None
        raise ValueError(f"{name}: expected a DensePose, path, PIL image, or labels (H, W), got {type(pose).__name__}")

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG, atomically: one channel of labels, or RGB = (I, 255 U, 255 V) where U and V are known.

        Raises:
            ValueError: if ``path`` does not end in ``.png`` (a lossy format would change labels), or cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise ValueError(f"DensePose maps are written as .png (lossless), got {path.name}")
        with atomic_write(path) as temporary:
            temporary.write_bytes(self.encode())

    def encode(self) -> bytes:
        """The bytes of the PNG file that :meth:`write` writes."""
        notes = PngImagePlugin.PngInfo()
        if self.uv is None:
            picture = Image.fromarray(self.labels)
        else:
            quantised = np.round(self.uv * 255).astype(np.uint8)
            picture = Image.fromarray(np.stack([self.labels, *quantised], axis=-1))
            notes.add_text(CHANNEL_ORDER_KEY, "iuv")
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG", pnginfo=notes)
        return buffer.getvalue()

    def hflip(self) -> "DensePose":
        """The map of the mirrored picture: columns reversed, left and right labels exchanged, U and V turned around
        where a chart does so (:data:`MIRRORED_U`, :data:`MIRRORED_V`). Twice is the identity, up to rounding of U, V.
        """
        labels = self.labels[:, ::-1]
        if self.uv is None:
            return DensePose(MIRRORED_LABEL[labels], doubts=self.doubts)
        turned = np.stack([MIRRORED_U[labels], MIRRORED_V[labels]])
        uv = self.uv[:, :, ::-1]
        return DensePose(MIRRORED_LABEL[labels], np.where(turned, 1 - uv, uv), self.doubts)

    def to_image(self) -> Image.Image:
        """An RGB picture of the labels for people to look at; not readable back."""
        return Image.fromarray(_palette()[self.labels])

    def over(self, photo: Image.Image) -> Image.Image:
        """The coloured labels over the grey of an RGB photo: a shifted or mirrored map shows at once.

        Raises:
            ValueError: if the photo has another size than the map.
        """
        if photo.size != self.size[::-1]:
            width, height = photo.size
            raise ValueError(f"the photo is {height}x{width} (height x width), its map {self.size[0]}x{self.size[1]}")
        colours = np.asarray(self.to_image(), dtype=np.float32)
        grey = np.repeat(np.asarray(photo).mean(-1, keepdims=True), 3, -1)
        blended = np.where(self.labels[..., None] > 0, 0.35 * grey + 0.65 * colours, grey)
        return Image.fromarray(blended.astype(np.uint8))


PoseInput = DensePose | str | os.PathLike[str] | Image.Image | np.ndarray | Tensor


class ExchangedWarning(UserWarning):
    """U and V of a map seem to stand in each other's place."""


class ImplausibleMapError(ValueError):
    """What can be read as a map, but cannot be that of a body."""


class AmbiguousOrderError(ValueError):
    """A map of three channels of which two could be the labels."""


class ColourPictureError(ValueError):
    """A picture of three channels none of which holds labels."""


def refuse_lossy(picture: Image.Image, labels: np.ndarray) -> None:
    """Raise an error if labels were read from a file that changes numbers.

    Args:
        picture: as opened.
        labels: its values ``(H, W)``, any whole numbers.

    Raises:
        ImplausibleMapError: for a JPEG whose values lie, but for ringing, in 0..24.
    """
    if picture.format not in LOSSY_FORMATS:
        return
    if labels.max() <= _RINGING and (labels < NUM_LABELS).mean() >= _RINGING_SHARE:
        raise ImplausibleMapError(
            "a map saved as JPEG: compression has put wrong labels along every outline, which cannot be undone; save "
            "the map as PNG where it is made (for a photograph: pocold pose FILE --estimator FOLDER)"
        )


@contextmanager
def open_map(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """A picture file that should hold a map, decoded; every error inside the block becomes a ValueError with the path.

    Raises:
        ValueError: if the file is missing, too large or no picture.
    """
    path = Path(path)
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} is more than {MAX_PIXELS // 10**6} megapixels")
            picture.load()
            yield picture
    except FileNotFoundError:
        raise ValueError(f"no such DensePose file: {path}") from None
    except PICTURE_ERRORS as error:
        raise ValueError(f"{path} cannot be read as a DensePose picture: {error}") from error
    except ValueError as error:
        kind = ImplausibleMapError if isinstance(error, ImplausibleMapError) else ValueError
        raise kind(f"{path}: {error}") from None


def _detect_channel_order(values: np.ndarray) -> Literal["iuv", "vui"]:
    """Which of the outer channels is I: the only one that can be."""
    first, last = values[..., 0], values[..., 2]
    fits = [
        bool(outer.min() >= 0 and outer.max() < NUM_LABELS and (outer == np.round(outer)).all())
        for outer in (first, last)
    ]
    if all(fits):  # U and V are 0 on the background, but also on the body: labels are not
        body = values.any(-1)
        fits = [not (body & (outer == 0)).any() for outer in (first, last)]
        if fits[0] == fits[1]:
            raise AmbiguousOrderError(
                "both the first and the last channel could hold the labels; say which with channels='iuv' or 'vui'"
            )
    if not any(fits):
        raise ColourPictureError(
            "expected a DensePose map, but neither the first nor the last channel lies in 0..24 "
            f"(they reach {first.max():g} and {last.max():g}); this looks like a colour picture"
        )
    return "iuv" if fits[0] else "vui"


def _palette() -> np.ndarray:
    """uint8 (25, 3): black, then hues that differ between neighbouring parts; right-hand parts are darker."""
    colours = np.zeros((NUM_LABELS, 3), dtype=np.uint8)
    for label in range(1, NUM_LABELS):
        hue = (0.61803398875 * label) % 1.0  # golden-ratio steps keep any run of labels apart
        value = 0.75 if LABEL_NAMES[label].startswith("right") else 0.95
        rgb = [value * (1 - 0.65 * min(1.0, max(0.0, abs((hue + k) % 1.0 * 6 - 3) - 1))) for k in (0, 2 / 3, 1 / 3)]
        colours[label] = np.round(np.array(rgb) * 255)
    return colours


def without_overshoot(uv: np.ndarray) -> np.ndarray:
    """U, V of a network that overshoots [0, 1] by a little, clipped to it; others, which are an error, as they are."""
    little = uv.dtype.kind == "f" and uv.size and uv.min() >= -MAX_OVERSHOOT and uv.max() <= 1 + MAX_OVERSHOOT
    return uv.clip(0, 1) if little else uv


def require_uv(uv: np.ndarray | None, name: str, purpose: str) -> np.ndarray:
    """``uv``; a ValueError if a map has none although ``purpose`` needs them. ``name`` is what it calls the map."""
    if uv is None:
        raise ValueError(
            f"{name}: its DensePose map has labels only, but {purpose} needs U and V; "
            "give a map of three channels (IUV)"
        )
    return uv
