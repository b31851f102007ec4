"""Fabrics: colour patterns in the cloth's own coordinates, and the wrinkles of cloth on a moving body."""

import colorsys
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pocold.people.body.anatomy import Canonical
from pocold.people.rendering.surface import SineField, Surface, bump, mix, smoothstep

Colour = tuple[float, float, float]
PATTERNS = (
    "solid", "hstripe", "vstripe", "plaid", "dots", "floral", "logo", "letters", "denim", "knit", "gradient", "block",
    "heather",
)  # fmt: skip
_ARM_LENGTH, _LEG_LENGTH = 0.27, 0.44  # metres per unit of arm and leg coordinate


def cloth_coordinates(where: Canonical) -> tuple[Tensor, Tensor]:
    """Metres around the limb or torso, and metres along it (up the torso and leg, down the arm), each ``(N,)``."""
    on_arm = where.on_arm
    along = torch.where(on_arm, where.arm * _ARM_LENGTH + 0.02, where.z)
    angle = torch.atan2(where.offset[:, 0], -where.offset[:, 1])
    radius = torch.where(on_arm, 0.05, torch.where(where.leg > 0.25, 0.08, 0.15))
    return angle * radius, along


@dataclass(frozen=True)
class Fabric:
    """One cloth.

    Attributes:
        pattern: one of :data:`PATTERNS`.
        colours: ground, second and third colour, sRGB in [0, 1].
        scale: metres of one repeat.
        duty: share of the repeat in the second colour.
        gloss: strength of the highlight.
        seed: of its noise, its picture and its letters.
        centre: height of the middle of logo and letters, metres on the average body.
    """

    pattern: str
    colours: tuple[Colour, Colour, Colour]
    scale: float = 0.05
    duty: float = 0.4
    gloss: float = 0.05
    seed: int = 0
    centre: float = 0.5
    _fields: dict[str, SineField] = field(default_factory=dict, compare=False, repr=False)
    _prints: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ValueError(f"unknown pattern {self.pattern!r}: expected one of {', '.join(PATTERNS)}")

    def _noise(self, name: str, waves: int, low: float, high: float) -> SineField:
        if name not in self._fields:
            stream = np.random.default_rng([self.seed, *name.encode()])
            self._fields[name] = SineField(stream, waves, low, high)
        return self._fields[name]

    def __call__(self, surface: Surface) -> Tensor:
        """sRGB ``(N, 3)`` of N points."""
        where = surface.where
        colours = torch.tensor(self.colours, device=where.values.device)
        ground, second, third = colours
        base = ground.expand(len(where.z), 3)
        around, along = cloth_coordinates(where)
        share, extra = self._second_share(where, around, along), self._third_share(where, around, along)
        colour = mix(base, second, share)
        if extra is not None:
            colour = mix(colour, third, extra)
        weave = 0.012 * self._noise("weave", 8, 40, 120)(where.position)
        return (colour * (1 + weave[:, None])).clamp(0, 1)

    def _second_share(self, where: Canonical, around: Tensor, along: Tensor) -> Tensor:
        """How much of the second colour there is at each point, ``(N,)`` in [0, 1]."""
        scale, duty = self.scale, self.duty
        match self.pattern:
            case "hstripe":
                return _stripe(along, scale, duty)
            case "vstripe":
                return _stripe(around, scale * 0.6, duty * 0.6)
            case "plaid":
                return 0.5 * _stripe(along, scale * 1.4, 0.5) + 0.5 * _stripe(around, scale * 1.4, 0.5)
            case "dots":
                row = torch.floor(along / scale)
                u = (around / scale + 0.5 * (row % 2)) % 1 - 0.5
                v = (along / scale) % 1 - 0.5
                return smoothstep(torch.hypot(u, v), 0.22 + 0.1 * duty, 0.18 + 0.1 * duty)
            case "floral":
                return smoothstep(self._noise("petals", 10, 9, 18)(where.position), 0.95, 1.1)
            case "gradient":
                return ((where.z + 0.1) / 0.7).clamp(0, 1)
            case "logo" | "letters":
                return self._print(where)
            case "denim":
                return self._denim(where)
            case "knit":
                ribs = torch.sin(around * (2 * math.pi / 0.024)) * (1 + 0.3 * torch.cos(along * (2 * math.pi / 0.03)))
                return 0.06 + 0.04 * ribs
            case "block":
                return smoothstep(along if self.duty > 0.4 else where.z, 0.44, 0.445)
            case "heather":
                return (0.22 + 0.07 * self._noise("heather", 18, 35, 110)(where.position)).clamp(0, 1)
            case _:
                return torch.zeros_like(along)

    def _third_share(self, where: Canonical, around: Tensor, along: Tensor) -> Tensor | None:
        match self.pattern:
            case "plaid":
                lines = torch.maximum(
                    _stripe(along + 0.01, self.scale * 1.4, 0.07), _stripe(around + 0.01, self.scale * 1.4, 0.07)
                )
                return 0.7 * lines
            case "floral":
                return smoothstep(self._noise("leaves", 10, 12, 26)(where.position), 1.2, 1.35)
            case "denim":
                return 0.55 * smoothstep((where.offset[:, 0].abs() - 0.004).abs(), 0.0012, 0.0) * (where.leg > 0.3)
            case _:
                return None

    def _denim(self, where: Canonical) -> Tensor:
        """Worn thighs and a fine grain, as a share of the lighter second colour."""
        grain = 0.06 * self._noise("grain", 14, 40, 120)(where.position)
        fade = bump(where.leg, 0.5, 0.4) * smoothstep(where.offset[:, 1], 0.0, -0.07)
        return (0.12 + grain + 0.5 * fade).clamp(0, 1)

    def _print(self, where: Canonical) -> Tensor:
        """A picture on the chest."""
        if self.pattern not in self._prints:
            self._prints[self.pattern] = _draw_print(self.pattern, self.seed)
        picture = self._prints[self.pattern].to(where.x.device)
        height, width = picture.shape
        size = self.scale * (4.2 if self.pattern == "letters" else 2.6)
        u, v = where.x / size + 0.5, 0.5 - (where.z - self.centre) / (size * height / width)
        there = (u > 0) & (u < 1) & (v > 0) & (v < 1) & where.front & ~where.on_arm
        row, column = (v * height).long().clamp(0, height - 1), (u * width).long().clamp(0, width - 1)
        return picture[row, column] * there


def _stripe(values: Tensor, period: float, duty: float) -> Tensor:
    """1 on stripes, 0 between, with borders soft over 4 % of the period."""
    distance = ((values / period) % 1 - 0.5).abs() * 2
    return smoothstep(distance, duty + 0.04, duty - 0.04)


_WORDS = ("NOVA", "ORBIT", "1987", "PEAK", "OAK", "LUNA", "23", "RIDE", "NORTH", "ECHO", "ATLAS", "07", "WAVE", "KITE")


def _draw_print(pattern: str, seed: int) -> Tensor:
    """A made-up emblem or word, float32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    if pattern == "letters":
        picture = Image.new("L", (192, 72), 0)
        text = _WORDS[int(rng.integers(len(_WORDS)))]
        font = ImageFont.load_default(56 if len(text) < 5 else 44)
        ImageDraw.Draw(picture).text((96, 36), text, fill=255, anchor="mm", font=font, stroke_width=1)
        return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
    picture = Image.new("L", (96, 96), 0)
    pen = ImageDraw.Draw(picture)
    match int(rng.integers(5)):
        case 0:
            pen.ellipse((12, 12, 84, 84), fill=255)
            pen.ellipse((30, 30, 66, 66), fill=0)
        case 1:
            pen.polygon([(48, 8), (88, 84), (8, 84)], fill=255)
            pen.polygon([(48, 40), (64, 74), (32, 74)], fill=0)
        case 2:
            pen.polygon([(6, 84), (34, 26), (50, 56), (62, 38), (92, 84)], fill=255)
        case 3:
            points = [
                (48 + r * math.sin(a * math.pi / 5), 50 - r * math.cos(a * math.pi / 5))
                for a, r in zip(range(10), [42, 17] * 5, strict=True)
            ]
            pen.polygon(points, fill=255)
        case _:
            for i in range(3):
                pen.rectangle((10, 14 + 26 * i, 86, 28 + 26 * i), fill=255)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)


class Wrinkles:
    """Folds of cloth: a height field in canonical coordinates, stronger where a body bends."""

    def __init__(self, rng: np.random.Generator, amplitude: float) -> None:
        """``amplitude`` in metres; above 5 mm cloth looks like crumpled paper."""
        self._broad = SineField(rng, 10, 4, 11, (0.7, 0.7, 1.9))
        self._fine = SineField(rng, 8, 12, 30, (1, 1, 1.5))
        self._warp = SineField(rng, 5, 3, 8)
        self._amplitude = amplitude

    def __call__(self, surface: Surface) -> Tensor:
        """Metres of relief ``(N,)``."""
        where = surface.where
        arms = 0.3 + bump(where.arm, 1.0, 0.25) + 0.5 * bump(where.arm, 1.9, 0.15) + 0.5 * bump(where.arm, 0.1, 0.3)
        legs = (
            0.12 + 0.7 * bump(where.leg, 0.12, 0.22) + 0.8 * bump(where.leg, 1.0, 0.2) + 0.9 * bump(where.leg, 1.9, 0.2)
        )
        torso = 0.22 + 0.6 * bump(where.z, 0.25, 0.12) + 0.3 * bump(where.z, 0.5, 0.1)
        strength = torch.where(where.on_arm, arms, torch.where(where.leg > 0, legs, torso))
        points = where.position + surface.sway
        points = points + 0.02 * self._warp(where.position)[:, None]
        folds = self._broad(points)
        ridged = 0.6 * folds + 0.4 * (1 - folds.abs())  # sharper crests than valleys, as in cloth
        return self._amplitude * strength * (ridged + 0.3 * self._fine(points))


# Colours people wear, in families that go together.
_NEUTRALS: tuple[Colour, ...] = (
    (0.96, 0.96, 0.95), (0.90, 0.88, 0.83), (0.78, 0.73, 0.65), (0.62, 0.62, 0.63), (0.42, 0.42, 0.44),
    (0.24, 0.24, 0.26), (0.10, 0.10, 0.11), (0.11, 0.14, 0.24), (0.19, 0.23, 0.34), (0.33, 0.26, 0.21),
    (0.55, 0.43, 0.32), (0.30, 0.33, 0.26),
)  # fmt: skip
_COLOURS: tuple[Colour, ...] = (
    (0.66, 0.15, 0.18), (0.45, 0.11, 0.16), (0.80, 0.36, 0.27), (0.86, 0.55, 0.22), (0.90, 0.76, 0.36),
    (0.44, 0.52, 0.28), (0.20, 0.37, 0.27), (0.31, 0.55, 0.49), (0.22, 0.45, 0.60), (0.45, 0.64, 0.80),
    (0.18, 0.27, 0.55), (0.42, 0.34, 0.58), (0.66, 0.55, 0.74), (0.86, 0.64, 0.68), (0.78, 0.40, 0.53),
    (0.91, 0.80, 0.74), (0.70, 0.80, 0.72), (0.60, 0.30, 0.20),
)  # fmt: skip
DENIMS: tuple[Colour, ...] = (
    (0.17, 0.25, 0.41),
    (0.10, 0.13, 0.21),
    (0.40, 0.52, 0.68),
    (0.12, 0.12, 0.13),
    (0.27, 0.36, 0.50),
)


@dataclass(frozen=True)
class Palette:
    """Colours of one outfit.

    Attributes:
        main, accent, contrast: for the most visible garment and its pattern.
        neutral, dark: for what is worn with it.
    """

    main: Colour
    accent: Colour
    contrast: Colour
    neutral: Colour
    dark: Colour


def luminance(colour: Colour) -> float:
    """Perceived lightness in [0, 1]."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def jitter(colour: Colour, rng: np.random.Generator) -> Colour:
    """Nearly the same colour."""
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    return colorsys.hsv_to_rgb(
        float(hue + rng.normal() * 0.012) % 1, min(max(float(saturation * rng.uniform(0.85, 1.12)), 0.0), 1.0),
        min(max(float(value * rng.uniform(0.9, 1.06)), 0.0), 1.0),
    )  # fmt: skip


def random_palette(rng: np.random.Generator) -> Palette:
    """A colour with neutrals, a related or an opposite colour; never two loud colours against each other."""
    coloured = rng.uniform() < 0.6
    pool = _COLOURS if coloured else _NEUTRALS
    main = jitter(pool[int(rng.integers(len(pool)))], rng)

    def apart(options: tuple[Colour, ...], gap: float) -> Colour:
        far = [c for c in options if abs(luminance(c) - luminance(main)) > gap]
        return jitter(far[int(rng.integers(len(far)))], rng)

    accent = apart(_NEUTRALS, 0.3) if coloured or rng.uniform() < 0.5 else apart(_COLOURS, 0.2)
    hue, saturation, value = colorsys.rgb_to_hsv(*main)
    relative = colorsys.hsv_to_rgb(
        float(hue + rng.choice([-0.08, 0.08, 0.5])) % 1, min(saturation, 0.55), 0.35 + 0.5 * (value < 0.5)
    )
    contrast = relative if coloured else apart(_COLOURS, 0.15)
    neutral = apart(_NEUTRALS, 0.18)
    dark = jitter(_NEUTRALS[int(rng.choice([5, 6, 7, 8, 9, 11]))], rng)
    return Palette(main, accent, contrast, neutral, dark)
