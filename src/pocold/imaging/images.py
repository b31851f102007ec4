"""Pictures in and out: the only file that knows uint8 HWC against float NCHW in [-1, 1].

Conversions (documented once, here):

- grey, palette, CMYK and 1-bit pictures become RGB; 16-bit grey is scaled to 8 bits;
- transparency is laid over white;
- the camera's EXIF rotation is applied;
- colours of an embedded profile (Adobe RGB, Display P3, a printer's CMYK) become those of sRGB, which results are in;
- a picture of another size than asked for is *framed*: see :class:`Frame`.

Legend: H W picture size, B batch.
"""

import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, ImageOps
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from pocold.imaging.files import MAX_PIXELS, PICTURE_ERRORS

ImageInput = Image.Image | str | os.PathLike[str] | np.ndarray | Tensor
MaskInput = ImageInput
FrameMode = Literal["pad", "crop", "stretch"]
OutputType = Literal["pil", "np", "pt", "latent"]

MIN_SIDE = 8  # one latent pixel


def load_image(image: ImageInput, name: str = "image") -> Image.Image:
    """Any picture as an RGB PIL image.

    Args:
        image: a PIL image; a path; a numpy array ``(H, W)``, ``(H, W, 1|3|4)``, uint8 or float in [0, 1]; or a torch
            tensor ``(3, H, W)`` or ``(1, 3, H, W)``, float in [0, 1]. (Floats are in [0, 1] at the outer door, as in
            diffusers, and in [-1, 1] inside.)
        name: what to call it in errors.

    Raises:
        ValueError: if it is missing, truncated, not a picture, too small (under 8 pixels a side), too large, or holds
            NaN or values outside its range.
    """
    if isinstance(image, str | os.PathLike):
        picture = open_picture(Path(image), name)
    elif isinstance(image, Image.Image):
        picture = image
    elif isinstance(image, np.ndarray):
        picture = _from_array(image, name)
    elif isinstance(image, Tensor):
        picture = _from_tensor(image, name)
    else:
        raise ValueError(f"{name}: expected a PIL image, path, numpy array or tensor, got {type(image).__name__}")

    width, height = picture.size
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"{name}: expected at least {MIN_SIDE} pixels a side, got {width}x{height}")
    _check_pixels(picture, name)
    try:
        return _to_rgb(picture)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except PICTURE_ERRORS as error:  # Pillow decodes lazily: truncated data shows only now
        raise ValueError(f"{name}: the picture cannot be decoded ({error}); it may be truncated") from error


def open_picture(path: Path, name: str) -> Image.Image:
    """A picture file, opened but not decoded; ValueError, with ``name``, if it is missing or no picture."""
    try:
        # the size is in the header: load_image can refuse a huge picture before it is decoded
        return Image.open(path)
    except FileNotFoundError:
        raise ValueError(f"{name}: no such file: {path}") from None
    except PICTURE_ERRORS as error:
        raise ValueError(f"{name}: {path} cannot be read as a picture: {error}") from error


def _check_pixels(picture: Image.Image, name: str) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        size = f"{picture.width}x{picture.height}"
        raise ValueError(f"{name}: {size} is more than {MAX_PIXELS // 10**6} megapixels; scale it down before")


def _to_rgb(picture: Image.Image) -> Image.Image:
    picture = ImageOps.exif_transpose(picture)
    picture = _to_srgb(picture)
    if picture.mode in ("I", "I;16", "I;16B", "I;16L"):
        values = np.asarray(picture).astype(np.int64)
        picture = Image.fromarray((np.clip(values, 0, 65535) / 257 + 0.5).astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("a picture of floats (mode F) has no known range; convert it to 8 bits first")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _to_srgb(picture: Image.Image) -> Image.Image:
    """The picture in the colours of sRGB, which one without a profile has already."""
    content = picture.info.get("icc_profile")
    if not content or picture.mode not in ("RGB", "RGBA", "P", "PA", "L", "LA", "CMYK"):
        return picture
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return picture  # to the bit
        alpha = None
        if picture.mode in ("RGBA", "LA", "PA", "P"):
            picture = picture.convert("RGBA")
            alpha = picture.getchannel("A")
        own = {"GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space.strip(), "RGB")
        plain = picture.convert(own)
        converted = ImageCms.profileToProfile(plain, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert converted is not None  # it is only where it works in place
    except (ImageCms.PyCMSError, OSError) as error:
        told = f"the picture's colour profile cannot be used ({error}); its colours are taken as sRGB"
        warnings.warn(told, stacklevel=2)
        return picture
    if alpha is not None:
        converted.putalpha(alpha)
    converted.info.pop("icc_profile", None)
    return converted


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[-1] not in (3, 4)):
        raise ValueError(f"{name}: expected an array of shape (H, W) or (H, W, 1|3|4), got {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"{name}: the array is empty, {array.shape}")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: the array holds NaN or infinity")
        if array.min() < 0 or array.max() > 1:
            raise ValueError(
                f"{name}: a float array must lie in [0, 1], got values from {array.min():g} to {array.max():g}"
            )
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"{name}: expected an array of uint8 or of floats in [0, 1], got {array.dtype}")
    return Image.fromarray(array)


def _from_tensor(tensor: Tensor, name: str) -> Image.Image:
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.is_floating_point():
        raise ValueError(
            f"{name}: expected a float tensor of shape (3, H, W) in [0, 1], got {tensor.dtype} {tuple(tensor.shape)}"
        )
    return _from_array(tensor.detach().float().cpu().permute(1, 2, 0).numpy(), name)


def to_tensor(image: Image.Image) -> Tensor:
    """RGB picture, uint8 HWC -> float32 ``(1, 3, H, W)`` in [-1, 1]."""
    values = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return (values / 127.5 - 1).permute(2, 0, 1)[None].contiguous()


def to_uint8(images: Tensor) -> np.ndarray:
    """Float ``(B, 3, H, W)`` in [-1, 1] -> uint8 ``(B, H, W, 3)``, rounded to nearest."""
    values = (images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    return values.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def to_bytes(pictures: Tensor) -> Tensor:
    """Float pictures of any shape in [-1, 1] -> uint8 of that shape, rounded to nearest."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """uint8 pictures of any shape -> float32 in [-1, 1], as :func:`to_tensor` gives them."""
    return images.float() / 127.5 - 1


def to_numpy(images: Tensor) -> np.ndarray:
    """Float ``(B, 3, H, W)`` in [-1, 1] -> float32 ``(B, H, W, 3)`` in [0, 1]."""
    return (images.detach().float().cpu().clamp(-1, 1) / 2 + 0.5).permute(0, 2, 3, 1).numpy()


def to_pil(images: Tensor) -> list[Image.Image]:
    """Float ``(B, 3, H, W)`` in [-1, 1] -> RGB pictures."""
    return [Image.fromarray(picture) for picture in to_uint8(images)]


def to_output(result: Tensor, output_type: OutputType) -> Any:
    """Pictures ``(B, 3, H, W)`` in [-1, 1], or latents, as the caller wants them."""
    if output_type == "pil":
        return to_pil(result)
    if output_type == "np":
        return to_numpy(result)
    return result / 2 + 0.5 if output_type == "pt" else result


def load_mask(mask: MaskInput, name: str = "mask") -> np.ndarray:
    """A binary mask as bool ``(H, W)``: True (white, 1 or 255) where a picture is to be generated.

    Raises:
        ValueError: if it is not two-dimensional or holds anything but two values: 0 and either 1 or 255.
    """
    if isinstance(mask, Tensor):
        mask = mask.detach().cpu()
        values = (mask.float() if mask.is_floating_point() else mask).numpy()  # numpy knows no bfloat16
    elif isinstance(mask, np.ndarray):
        values = mask
    elif isinstance(mask, Image.Image):
        values = _mask_values(mask, name)
    elif isinstance(mask, str | os.PathLike):
        values = _mask_values(open_picture(Path(mask), name), name)
    else:
        raise ValueError(f"{name}: expected a PIL image, path, numpy array or tensor, got {type(mask).__name__}")
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2:
        raise ValueError(f"{name}: expected shape (H, W), got {values.shape}")
    levels = set(np.unique(values).tolist())
    if not (levels <= {0, 1} or levels <= {0, 255}):
        shown = ", ".join(f"{level:g}" for level in sorted(levels)[:6])
        raise ValueError(
            f"{name}: expected a binary mask (0 keeps, 1 or 255 generates), got the values {shown}"
            f"{', ...' if len(levels) > 6 else ''}; threshold it first"
        )
    return values > 0


def _mask_values(picture: Image.Image, name: str) -> np.ndarray:
    _check_pixels(picture, name)
    try:
        if "A" in picture.getbands() and np.asarray(picture.getchannel("A")).min() < 255:
            # White strokes on nothing would be white on white here, and the whole picture be generated.
            raise ValueError(f"{name}: expected white on black, got a transparent picture; flatten it onto black first")
        if picture.mode in ("1", "L"):
            return np.asarray(ImageOps.exif_transpose(picture))
        return np.asarray(load_image(picture, name).convert("L"))
    except PICTURE_ERRORS as error:
        raise ValueError(f"{name}: the picture cannot be decoded ({error}); it may be truncated") from error


@dataclass(frozen=True)
class Frame:
    """How a picture of one size is brought to another: the size policy, the same for photo, map and mask.

    - ``pad``: scaled to fit inside, centred; what is missing continues the picture softly (labels: background). Keeps
      everything, distorts nothing. The default.
    - ``crop``: scaled to cover, centred; what sticks out is cut off.
    - ``stretch``: both sides scaled on their own.

    A photograph and the map that belongs to it must share one size, so that one frame serves both.

    Attributes:
        source: (height, width) before.
        target: (height, width) after.
        mode: see above.

    Raises:
        ValueError: for an unknown mode or an impossible size.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    mode: FrameMode = "pad"

    def __post_init__(self) -> None:
        if self.mode not in get_args(FrameMode):
            raise ValueError(f"unknown frame mode {self.mode!r}: expected one of {', '.join(get_args(FrameMode))}")
        if min(*self.source, *self.target) < 1:
            raise ValueError(f"sizes must be positive, got {self.source} and {self.target}")

    @property
    def scaled(self) -> tuple[int, int]:
        """(height, width) of the whole picture after scaling, before it is padded or cropped."""
        (h, w), (height, width) = self.source, self.target
        if self.mode == "stretch":
            return self.target
        choose = min if self.mode == "pad" else max
        scale = choose(height / h, width / w)
        return max(1, round(h * scale)), max(1, round(w * scale))

    def image(self, picture: Image.Image) -> Image.Image:
        """Frame an RGB picture (Lanczos with antialiasing)."""
        self._check(picture.size[::-1], "picture")
        if self.source == self.target:
            return picture
        h, w = self.scaled
        return Image.fromarray(self._place(np.asarray(picture.resize((w, h), Image.Resampling.LANCZOS)), extended))

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Frame a map ``(H, W)`` of labels or mask values (nearest neighbour, padded with 0)."""
        self._check(labels.shape, "map")
        if self.source == self.target:
            return labels
        (height, width), (h, w) = self.source, self.scaled
        # The label under each pixel's centre: the photograph's filter is centred too, so that both stay aligned.
        rows, columns = (2 * np.arange(h) + 1) * height // (2 * h), (2 * np.arange(w) + 1) * width // (2 * w)
        nearest = labels[rows[:, None], columns]
        return self._place(nearest, padded)

    def uv(self, uv: np.ndarray) -> np.ndarray:
        """Frame U and V ``(2, H, W)`` as the labels they belong to: every pixel keeps the point that it showed."""
        return np.stack([self.labels(channel) for channel in uv])

    def points(self, points: np.ndarray) -> np.ndarray:
        """Frame points ``(N, 2)``, x and y in pixels (pixel centres at .5); they may come to lie outside."""
        (height, width), (h, w), (rows, columns) = self.source, self.scaled, self.target
        # as _place does it: halves are rounded towards the upper left on both sides of zero
        left, top = (int((new - old) / 2) for new, old in ((columns, w), (rows, h)))
        return points * [w / width, h / height] + [left, top]

    def _check(self, size: Sequence[int], what: str) -> None:
        if tuple(size) != self.source:
            raise ValueError(f"this frame is for a {what} of size {self.source} (height, width), got {tuple(size)}")

    def _place(self, values: np.ndarray, fill: Callable[[np.ndarray, int, int, int], np.ndarray]) -> np.ndarray:
        """Centre ``values (h, w, ...)`` in the target, cutting what sticks out and filling what is missing."""
        for axis, wanted in enumerate(self.target):
            surplus = values.shape[axis] - wanted
            if surplus > 0:
                values = np.take(values, np.arange(surplus // 2, surplus // 2 + wanted), axis=axis)
            elif surplus < 0:
                before = -surplus // 2
                values = fill(values, axis, before, -surplus - before)
        return values


def padded(values: np.ndarray, axis: int, before: int, after: int) -> np.ndarray:
    """``values`` with so many zeros before and after, along an axis."""
    widths = [(0, 0)] * values.ndim
    widths[axis] = before, after
    return np.pad(values, widths)


def extended(picture: np.ndarray, axis: int, before: int, after: int) -> np.ndarray:
    """A picture continued beyond its border: the farther from it, the more of the border a pixel is an average of.

    (A border that is only repeated becomes stripes, which a model takes for something that the photograph shows.)

    Args:
        picture: uint8 ``(H, W, 3)``.
        axis: 0 above and below, 1 on both sides.
        before: rows or columns to add there.
        after: likewise, on the other side.
    """
    upright = picture.swapaxes(0, axis)
    parts = [_beyond(upright[0], before)[::-1], upright, _beyond(upright[-1], after)]
    return np.concatenate(parts).swapaxes(0, axis)


def _beyond(border: np.ndarray, count: int) -> np.ndarray:
    """``count`` lines ``(count, L, 3)`` that follow a border line uint8 ``(L, 3)``."""
    if count == 0:
        return np.empty((0, *border.shape), np.uint8)
    levels = np.arange(math.ceil(math.log2(count)) + 2)  # blurred at distances 1, 2, 4, ..., and between them mixed
    blurred = np.stack(
        [gaussian_filter1d(border.astype(np.float32), 2.0**k / 2, axis=0, mode="reflect") for k in levels]
    )
    place = np.log2(np.arange(1, count + 1))
    below = place.astype(int)
    share = (place - below).astype(np.float32)[:, None, None]
    lines = (1 - share) * blurred[below] + share * blurred[below + 1]
    return np.round(lines).astype(np.uint8)


def paste_back(generated: Tensor, original: Tensor, mask: Tensor, feather: int) -> Tensor:
    """Put the kept pixels of ``original`` over ``generated``, blending over a border *inside* the mask.

    Outside the mask the result equals ``original`` to the bit. Inside, the share of the generated picture rises
    linearly from 0 at the border to 1 at ``feather`` pixels from it.

    Args:
        generated: ``(B, 3, H, W)`` in [-1, 1].
        original: ``(1 or B, 3, H, W)`` in [-1, 1].
        mask: bool ``(1 or B, 1, H, W)``, True where the picture was generated.
        feather: width of the border in pixels, 0 for a hard edge.
    """
    share = inside = mask.to(generated)
    for _ in range(feather):
        # Each round takes off one pixel; how many rounds a pixel survives is its distance from the border.
        inside = -F.max_pool2d(-inside, 3, stride=1, padding=1)
        share = share + inside
    blended = torch.lerp(original.to(generated), generated, share / (feather + 1))
    return torch.where(mask, blended, original.to(generated))
