"""What can happen to a photograph, one by one and by name: for training an estimator, and for measuring how it fails.

Every corruption is a function of an example, a strength and a generator. Strength 0 changes nothing (but for rounding),
1 is the strongest that training sees; the same generator state gives the same result. What moves or covers the person
changes the maps with the photograph:

- ``crop`` takes everything along;
- ``occluder``, which hides a good part of a body, makes the map background there, as an annotator would: the map says
  what can be seen;
- ``cut_out``, small patches, leaves the map: a body goes on behind a strap or a watermark;
- ``background`` and ``texture`` need garment maps and change nothing without.

Legend: H W picture size, K size of a kernel.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pocold.data.backdrops import Scenery, paint_shapes, shape_mask, uniform
from pocold.imaging.images import to_tensor, to_uint8

_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class Example:
    """One picture and what is known of it.

    Attributes:
        photo: float32 ``(3, H, W)`` in [-1, 1].
        labels: uint8 ``(H, W)``, DensePose labels 0..24.
        uv: float32 ``(2, H, W)`` in [0, 1].
        garments: uint8 ``(H, W)``, 0 where neither body, hair nor clothes are; None if that is not known.
    """

    photo: Tensor
    labels: Tensor
    uv: Tensor
    garments: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.photo.shape[-2], self.photo.shape[-1]


Corruption = Callable[..., Example]  # (example, strength, generator); some take a scenery as well
_DRAWN = Scenery()


# -- light, colour, camera ------------------------------------------------------------------------------------------


def light(example: Example, strength: float, generator: torch.Generator) -> Example:
    """Brightness, contrast, gamma, and light that falls off to one side."""
    picture = _unit(example.photo)
    picture = picture.clamp(min=1e-4) ** math.exp(strength * uniform(generator, -0.7, 0.7))
    height, width = example.size
    angle = uniform(generator, 0, 2 * math.pi)
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    slope = 1 + strength * uniform(generator, 0, 0.5) * (math.cos(angle) * x + math.sin(angle) * y)
    mean = picture.mean()
    contrast = math.exp(strength * uniform(generator, -0.7, 0.35))
    gain = math.exp(strength * uniform(generator, -0.6, 0.25))
    return _with(example, ((picture - mean) * contrast + mean) * gain * slope)


def colour(example: Example, strength: float, generator: torch.Generator) -> Example:
    """A cast (white balance), more or less saturation, and channels that leak into each other."""
    picture = _unit(example.photo)
    cast = torch.exp(strength * 0.35 * (2 * torch.rand(3, 1, 1, generator=generator) - 1))
    leak = torch.eye(3) + strength * 0.25 * (2 * torch.rand(3, 3, generator=generator) - 1)
    mixed = torch.einsum("dc,chw->dhw", leak / leak.sum(1, keepdim=True), picture) * cast
    return _with(example, torch.lerp(_grey(mixed), mixed, 1 + strength * uniform(generator, -0.9, 0.6)))


def grey(example: Example, strength: float, generator: torch.Generator) -> Example:
    """Less colour; none at strength 1."""
    picture = _unit(example.photo)
    return _with(example, torch.lerp(picture, _grey(picture), strength))


def noise(example: Example, strength: float, generator: torch.Generator) -> Example:
    """Sensor noise, up to 12 % of the range, half of it alike in all channels."""
    height, width = example.size
    draws = torch.randn(4, height, width, generator=generator)
    return _with(example, _unit(example.photo) + strength * 0.12 * (draws[:3] + draws[3:]) / 2**0.5)


def blur(example: Example, strength: float, generator: torch.Generator) -> Example:
    """Out of focus or shaken, over up to 2 % of the height."""
    if strength == 0:
        return example
    reach = strength * 0.02 * example.size[0]
    radius = math.ceil(2 * reach) + 1
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    y, x = steps[:, None], steps
    if uniform(generator) < 0.5:
        kernel = torch.exp(-(x**2 + y**2) / (2 * max(reach * 0.8, 1e-3) ** 2))
    else:
        angle = uniform(generator, 0, math.pi)
        along = x * math.cos(angle) + y * math.sin(angle)
        across = -x * math.sin(angle) + y * math.cos(angle)
        kernel = torch.exp(-(across**2) / 0.5 - (along / max(2 * reach, 0.4)) ** 4)
    return replace(example, photo=_filtered(example.photo, kernel / kernel.sum()).clamp(-1, 1))


def low_resolution(example: Example, strength: float, generator: torch.Generator) -> Example:
    """Scaled down to as little as a third, and back."""
    share = 1 / (1 + 2 * strength)
    small = [max(8, round(side * share)) for side in example.size]
    shrunk = F.interpolate(example.photo[None], small, mode="bilinear", antialias=True)
    return replace(example, photo=F.interpolate(shrunk, example.size, mode="bilinear")[0].clamp(-1, 1))


def jpeg(example: Example, strength: float, generator: torch.Generator) -> Example:
    """Compressed, down to quality 12."""
    if strength == 0:
        return example
    file = io.BytesIO()
    Image.fromarray(to_uint8(example.photo[None])[0]).save(file, format="JPEG", quality=round(95 - 83 * strength))
    with Image.open(file) as opened:
        return replace(example, photo=to_tensor(opened)[0])


# -- what is in the picture -----------------------------------------------------------------------------------------


def background(example: Example, strength: float, generator: torch.Generator, scenery: Scenery = _DRAWN) -> Example:
    """Something else behind the person: plain, a gradient, clouds, clutter, or the picture itself, unrecognisable."""
    if example.garments is None:
        return example
    person = ((example.garments > 0) | (example.labels > 0)).float()
    share = F.avg_pool2d(person[None, None], 3, stride=1, padding=1)[0] * person  # soft, but no halo of the old one
    drawn = scenery.backdrop(example.photo, generator)
    mixed = torch.lerp(example.photo, drawn, (1 - share) * strength)
    return replace(example, photo=mixed)


def texture(example: Example, strength: float, generator: torch.Generator, scenery: Scenery = _DRAWN) -> Example:
    """Every garment in other colours, plain or patterned; skin and hair a little."""
    if example.garments is None:
        return example
    photo = example.photo.clone()
    for garment in torch.unique(example.garments).tolist():
        if garment == 0:
            continue
        where = example.garments == garment
        pattern = scenery.pattern(example.size, generator)
        # shading stays: the pattern is as bright as the old cloth was, around its own mean
        relief = _grey(photo[:, where])
        relief = relief - relief.mean()
        amount = strength * uniform(generator) * (0.3 if garment in (1, 2, 3) else 1.0)
        photo[:, where] = torch.lerp(photo[:, where], (pattern[:, where] + relief).clamp(-1, 1), amount)
    return replace(example, photo=photo)


def occluder(example: Example, strength: float, generator: torch.Generator, scenery: Scenery = _DRAWN) -> Example:
    """Something in front of the person, up to two fifths of the height; the map is background there."""
    if strength == 0:
        return example
    side = example.size[0] * uniform(generator, 0.15, 0.15 + 0.25 * strength)
    sides = side, side * uniform(generator, 0.4, 1.5)
    hidden = shape_mask(example.size, _body_point(example.labels, generator), sides, generator)
    return replace(
        example,
        photo=torch.where(hidden, scenery.backdrop(example.photo, generator), example.photo),
        labels=example.labels.masked_fill(hidden, 0),
        uv=example.uv.masked_fill(hidden, 0),
        garments=None if example.garments is None else example.garments.masked_fill(hidden, 0),
    )


def cut_out(example: Example, strength: float, generator: torch.Generator) -> Example:
    """Up to six small patches of nothing, each up to a tenth of the height; the map stays."""
    height, _ = example.size
    photo = example.photo
    for _ in range(round(6 * strength)):
        sides = (height * uniform(generator, 0.02, 0.1), height * uniform(generator, 0.02, 0.1))
        hidden = shape_mask(example.size, _body_point(example.labels, generator), sides, generator)
        photo = torch.where(hidden, 2 * torch.rand(3, 1, 1, generator=generator) - 1, photo)
    return replace(example, photo=photo)


def clutter(example: Example, strength: float, generator: torch.Generator) -> Example:
    """Shapes that stand around the person without touching; needs a garment map."""
    if example.garments is None:
        return example
    person = ((example.garments > 0) | (example.labels > 0))[None]
    shapes = paint_shapes(example.photo, round(12 * strength), generator)
    return replace(example, photo=torch.where(person, example.photo, shapes))


def crop(example: Example, strength: float, generator: torch.Generator) -> Example:
    """Nearer (to double), further away (to a third), turned by up to 15 degrees, off centre; maps go along."""
    return _cropped(example, example.size, strength, generator)


def _cropped(example: Example, size: tuple[int, int], strength: float, generator: torch.Generator) -> Example:
    return resampled(
        example,
        size,
        zoom=math.exp(strength * uniform(generator, -1.1, 0.75)),
        turn=strength * uniform(generator, -15, 15),
        towards=_body_point(example.labels, generator),
        share=strength * uniform(generator),
    )


# In the order in which they happen: what the world does, then what the camera does.
CORRUPTIONS: dict[str, Corruption] = {
    "crop": crop, "texture": texture, "background": background, "clutter": clutter, "occluder": occluder,
    "cut_out": cut_out, "light": light, "colour": colour, "grey": grey, "low_resolution": low_resolution,
    "blur": blur, "noise": noise, "jpeg": jpeg,
}  # fmt: skip

# How often each happens in training.
SHARES = {
    "crop": 0.9, "texture": 0.5, "background": 0.75, "clutter": 0.2, "occluder": 0.2, "cut_out": 0.15, "light": 0.6,
    "colour": 0.5, "grey": 0.12, "low_resolution": 0.2, "blur": 0.2, "noise": 0.3, "jpeg": 0.35,
}  # fmt: skip
_NOBODY = 0.04  # share of pictures without anybody


def corrupt(
    example: Example,
    generator: torch.Generator,
    size: tuple[int, int] | None = None,
    strength: float = 1.0,
    scenery: Scenery = _DRAWN,
) -> Example:
    """The mixture that training sees: each corruption with its share, and a strength from 0 to ``strength``.

    Args:
        example: a picture and its maps.
        generator: decides everything.
        size: (height, width) of the result, None for the example's own. Larger pictures stay sharp when one crops.
        strength: 0 leaves the example as it is.
        scenery: what stands behind people, before them, and on their clothes.
    """
    size = size or example.size
    for name, corruption in CORRUPTIONS.items():
        happens, amount = uniform(generator) < SHARES[name], strength * uniform(generator)
        if name == "crop":  # the first; only here is the picture still as large as it came
            example = _cropped(example, size, amount * happens, generator)
        elif happens and strength > 0:
            more = (scenery,) if name in ("background", "texture", "occluder") else ()
            example = corruption(example, amount, generator, *more)
    if uniform(generator) < _NOBODY * strength:
        return nobody(example, generator, scenery)
    return example


def nobody(example: Example, generator: torch.Generator, scenery: Scenery = _DRAWN) -> Example:
    """A picture without anybody, of the example's size."""
    empty = torch.zeros_like(example.labels)
    drawn = paint_shapes(scenery.backdrop(example.photo, generator), 6, generator)
    return Example(drawn, empty, torch.zeros_like(example.uv), empty)


def resampled(
    example: Example,
    size: tuple[int, int],
    zoom: float = 1.0,
    turn: float = 0.0,
    towards: tuple[float, float] = (0.0, 0.0),
    share: float = 0.0,
) -> Example:
    """A part of an example, scaled and turned, at another size; outside, photographs repeat their border.

    Args:
        example: a picture and its maps.
        size: (height, width) of the result.
        zoom: 1 fits the whole picture in.
        turn: degrees.
        towards: row and column of the example that ``share`` of the way the centre moves to.
        share: 0 keeps the centre, 1 puts ``towards`` in it.
    """
    (height, width), (rows, columns) = example.size, size
    scale = max(height / rows, width / columns) / zoom  # pixels of the example per pixel of the result
    centre = [((side - 1) / 2) * (1 - share) + at * share for side, at in zip((height, width), towards, strict=True)]
    angle = math.radians(turn)
    y = (torch.arange(rows) - (rows - 1) / 2)[:, None] * scale
    x = (torch.arange(columns) - (columns - 1) / 2) * scale
    source_y = centre[0] + y * math.cos(angle) + x * math.sin(angle)
    source_x = centre[1] - y * math.sin(angle) + x * math.cos(angle)
    grid = torch.stack([(2 * source_x + 1) / width - 1, (2 * source_y + 1) / height - 1], -1)[None]
    photo = example.photo[None]
    if scale > 1.5:  # else fine patterns would turn into coarse ones
        photo = F.interpolate(photo, [max(8, round(side / scale)) for side in example.size], mode="area")
    photo = F.grid_sample(photo, grid, mode="bilinear", padding_mode="border", align_corners=False)
    maps = [example.labels[None].float(), example.uv]
    if example.garments is not None:
        maps.append(example.garments[None].float())
    moved = F.grid_sample(torch.cat(maps)[None], grid, mode="nearest", padding_mode="zeros", align_corners=False)[0]
    garments = None if example.garments is None else moved[3].to(torch.uint8)
    return Example(photo[0].clamp(-1, 1), moved[0].to(torch.uint8), moved[1:3], garments)


def _body_point(labels: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """Row and column of a random body pixel, the centre if there is none."""
    body = torch.nonzero(labels)
    if not len(body):
        return (labels.shape[0] - 1) / 2, (labels.shape[1] - 1) / 2
    row, column = body[int(uniform(generator) * len(body))].tolist()
    return row, column


def _unit(photo: Tensor) -> Tensor:
    return photo / 2 + 0.5


def _with(example: Example, picture: Tensor) -> Example:
    """The example with a picture in [0, 1]."""
    return replace(example, photo=picture.clamp(0, 1) * 2 - 1)


def _grey(picture: Tensor) -> Tensor:
    """``(3, ...)`` -> three equal channels."""
    shares = torch.tensor(_LUMINANCE).view(3, *[1] * (picture.ndim - 1))
    return (picture * shares).sum(0, keepdim=True).expand_as(picture)


def _filtered(photo: Tensor, kernel: Tensor) -> Tensor:
    """Every channel of ``(3, H, W)`` with a kernel ``(K, K)``, borders repeated."""
    reach = len(kernel) // 2
    padded = F.pad(photo[None], (reach,) * 4, mode="replicate")
    return F.conv2d(padded, kernel.expand(3, 1, *kernel.shape), groups=3)[0]
