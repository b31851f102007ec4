"""Pictures of nothing in particular, to stand behind people and before them: drawn, and of photographs where some are
given, for none comes along.

Legend: H W picture size.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pocold.data.photographs import photograph_part

_OF_PHOTOGRAPHS = 0.75  # share of the backdrops, where there are any
_PATTERNS_OF_PHOTOGRAPHS = 0.3


def uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    """A number from low to high."""
    return low + (high - low) * float(torch.rand((), generator=generator))


@dataclass(frozen=True)
class Scenery:
    """Where backdrops and patterns come from.

    Attributes:
        photographs: files; without any, everything is drawn.
    """

    photographs: tuple[str, ...] = ()

    def backdrop(self, photo: Tensor, generator: torch.Generator) -> Tensor:
        """A part of a photograph, or :func:`draw_backdrop`: ``(3, H, W)`` in [-1, 1], of the size of ``photo``."""
        if self.photographs and uniform(generator) < _OF_PHOTOGRAPHS:
            return self._part((photo.shape[-2], photo.shape[-1]), generator)
        return draw_backdrop(photo, generator)

    def pattern(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """A part of a photograph, or :func:`draw_pattern`: ``(3, H, W)`` in [-1, 1]."""
        if self.photographs and uniform(generator) < _PATTERNS_OF_PHOTOGRAPHS:
            return self._part(size, generator)
        return draw_pattern(size, generator)

    def _part(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        chosen = self.photographs[int(uniform(generator, 0, len(self.photographs)))]
        return photograph_part(chosen, size, generator)


def draw_backdrop(photo: Tensor, generator: torch.Generator) -> Tensor:
    """A picture of one of five kinds.

    Args:
        photo: ``(3, H, W)`` in [-1, 1], of whose size it will be; one kind is made of it, turned over and blurred, so
            that colours of skin and cloth occur where nobody is.
        generator: decides everything.

    Returns:
        ``(3, H, W)`` in [-1, 1].
    """
    size = photo.shape[-2], photo.shape[-1]
    kind = int(uniform(generator, 0, 5))
    if kind == 0:
        return _colour(generator).expand(3, *size)
    if kind == 1:
        return _gradient(size, generator)
    if kind == 2:
        return _clouds(size, generator)
    if kind == 3:
        return paint_shapes(_gradient(size, generator), 3 + int(uniform(generator, 0, 15)), generator)
    return _turned_over(photo, generator)


def paint_shapes(picture: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Rectangles and ellipses over a picture, from slender to half its height, plain, striped or cloudy."""
    size = picture.shape[-2], picture.shape[-1]
    for _ in range(count):
        centre = uniform(generator, 0, size[0]), uniform(generator, 0, size[1])
        long = size[0] * math.exp(uniform(generator, math.log(0.03), math.log(0.5)))
        shape = shape_mask(size, centre, (long, long * uniform(generator, 0.1, 1)), generator)
        picture = torch.where(shape, draw_pattern(size, generator), picture)
    return picture


def draw_pattern(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """``(3, H, W)`` in [-1, 1]: one colour (most often), stripes or clouds."""
    kind = uniform(generator)
    if kind < 0.6:
        return _colour(generator).expand(3, *size)
    return _stripes(size, generator) if kind < 0.85 else _clouds(size, generator)


def shape_mask(
    size: tuple[int, int], centre: tuple[float, float], sides: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Bool ``(H, W)``: a rectangle or an ellipse around a centre (row, column), turned by a random angle."""
    along, across = _turned(size, centre, generator)
    y, x = along / max(sides[0] / 2, 0.5), across / max(sides[1] / 2, 0.5)
    if uniform(generator) < 0.5:
        return torch.maximum(y.abs(), x.abs()) <= 1
    return x**2 + y**2 <= 1


def _turned(size: tuple[int, int], centre: tuple[float, float], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two coordinates in pixels from a centre, turned by a random angle; half of the time by none."""
    angle = uniform(generator, 0, math.pi) if uniform(generator) < 0.5 else 0.0
    y, x = torch.arange(size[0])[:, None] - centre[0], torch.arange(size[1]) - centre[1]
    return y * math.cos(angle) + x * math.sin(angle), x * math.cos(angle) - y * math.sin(angle)


def _colour(generator: torch.Generator) -> Tensor:
    """``(3, 1, 1)`` in [-1, 1]: half of the time near grey, as most walls are."""
    colour = 2 * torch.rand(3, 1, 1, generator=generator) - 1
    return colour if uniform(generator) < 0.5 else (colour.mean() * 1.7 + 0.1 * colour).clamp(-1, 1)


def _gradient(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """From one colour to another, soft or as a horizon."""
    along, _ = _turned(size, (uniform(generator, 0, size[0]), size[1] / 2), generator)
    share = torch.sigmoid(along / (size[0] * math.exp(uniform(generator, math.log(0.003), math.log(0.5)))))
    return torch.lerp(_colour(generator).expand(3, *size), _colour(generator).expand(3, *size), share)


def _stripes(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    along, _ = _turned(size, (0.0, 0.0), generator)
    wave = torch.sin(along * 2 * math.pi / uniform(generator, 2.5, size[0] / 6))
    return torch.lerp(_colour(generator).expand(3, *size), _colour(generator).expand(3, *size), (wave * 4).sigmoid())


def _clouds(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Coloured noise whose spectrum falls off with the frequency as that of photographs does, or faster, or slower."""
    height, width = size
    white = torch.randn(3, height, width, generator=generator)
    frequency = torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width) ** 2
    fall = uniform(generator, 0.3, 1.0)
    spectrum = torch.fft.rfft2(white) / (frequency + 1 / (height * width)) ** fall
    waves = torch.fft.irfft2(spectrum, s=size)
    waves = waves - waves.mean((1, 2), keepdim=True)
    waves = waves / waves.std().clamp(min=1e-6)
    grey = uniform(generator)
    waves = torch.lerp(waves, waves[:1].expand_as(waves), grey)
    return (_colour(generator) + uniform(generator, 0.1, 0.6) * waves).clamp(-1, 1)


def _turned_over(photo: Tensor, generator: torch.Generator) -> Tensor:
    """The picture upside down, enlarged and out of focus."""
    height, width = photo.shape[-2:]
    part = photo[:, : max(8, height // 2), : max(8, width // 2)] if uniform(generator) < 0.5 else photo
    coarse = max(2, int(height / uniform(generator, 4, 16)))
    small = F.interpolate(part.flip(1)[None], (coarse, max(2, coarse * width // height)), mode="area")
    return F.interpolate(small, (height, width), mode="bilinear")[0]
