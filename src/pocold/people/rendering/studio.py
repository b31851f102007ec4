"""The shoot: light, background and camera, one for all pictures of a person, as in a catalogue.

Legend: H W picture size.
"""

import colorsys
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pocold.people.body.camera import Lens
from pocold.people.wardrobe.fabric import Colour

BACKGROUNDS = ("white", "studio", "colour", "wall", "clutter")


@dataclass(frozen=True)
class Light:
    """Studio light.

    Attributes:
        azimuth, elevation: of the key light, degrees; azimuth 0 comes from the camera, positive from the right.
        key, fill, ambient: strengths.
        warmth: -1 cold to 1 warm key light.
        softness: of the shadows, in texels of the shadow map.
    """

    azimuth: float = 35.0
    elevation: float = 45.0
    key: float = 0.62
    fill: float = 0.16
    ambient: float = 0.44
    warmth: float = 0.3
    softness: float = 1.6


@dataclass(frozen=True)
class Backdrop:
    """What is behind the person.

    Attributes:
        kind: one of :data:`BACKGROUNDS`.
        wall, floor: colours.
        seed: of its clutter.
    """

    kind: str = "studio"
    wall: Colour = (0.87, 0.87, 0.88)
    floor: Colour = (0.83, 0.83, 0.84)
    seed: int = 0


@dataclass(frozen=True)
class Film:
    """What camera and file format do to a picture.

    Attributes:
        blur: standard deviation in pixels of a 256-pixel-high picture.
        noise: standard deviation of the sensor noise, 0..1.
        white_balance: gain of red, green, blue.
        exposure: gain of all.
        jpeg_quality: 75..97, the quality the data set is written with.
    """

    blur: float = 0.25
    noise: float = 0.006
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exposure: float = 1.0
    jpeg_quality: int = 93


@dataclass(frozen=True)
class Shoot:
    """Light, backdrop, lens and film of one session."""

    light: Light = Light()
    backdrop: Backdrop = Backdrop()
    lens: Lens = field(default_factory=Lens)
    film: Film = Film()


def random_backdrop(rng: np.random.Generator) -> Backdrop:
    """Half white, mostly plain, sometimes a wall with floor or a blurred room."""
    kind = BACKGROUNDS[int(rng.choice(5, p=[0.4, 0.32, 0.12, 0.08, 0.08]))]
    if kind == "white":
        level = float(rng.uniform(0.94, 0.985))
        return Backdrop(kind, (level, level, level), (level, level, level), int(rng.integers(2**31)))
    if kind == "studio":
        level, tint = rng.uniform(0.72, 0.9), rng.normal(size=3) * 0.008
        wall = _grey(level, tint)
        floor = _grey(level * rng.uniform(0.92, 1.03), tint)
    else:
        hue = rng.uniform(0, 1)
        wall = _soft_colour(hue, rng.uniform(0.08, 0.3), rng.uniform(0.6, 0.93))
        floor = _soft_colour(hue if kind == "colour" else hue + 0.1, rng.uniform(0.06, 0.25), rng.uniform(0.5, 0.85))
    return Backdrop(kind, wall, floor, int(rng.integers(2**31)))


def _grey(level: float, tint: np.ndarray) -> Colour:
    red, green, blue = np.clip(level + tint, 0, 1).tolist()
    return red, green, blue


def _soft_colour(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(float(hue) % 1, float(saturation), float(value))


def random_shoot(rng: np.random.Generator) -> Shoot:
    """A session as a catalogue would have it."""
    side = -1.0 if rng.uniform() < 0.5 else 1.0
    light = Light(
        side * float(rng.uniform(15, 60)), float(rng.uniform(32, 60)), float(rng.uniform(0.5, 0.72)),
        float(rng.uniform(0.12, 0.24)), float(rng.uniform(0.38, 0.5)), float(rng.normal() * 0.4),
        float(rng.uniform(1.2, 2.6)),
    )  # fmt: skip
    lens = Lens(float(rng.uniform(4.2, 6.5)), float(rng.uniform(-0.15, 0.45)), float(rng.uniform(0.03, 0.07)))
    gains = 1 + rng.normal(size=3) * 0.018
    film = Film(
        float(rng.uniform(0.0, 0.45)), float(rng.uniform(0.002, 0.009)),
        (float(gains[0]), float(gains[1]), float(gains[2])), float(rng.uniform(0.96, 1.06)), int(rng.integers(88, 97)),
    )  # fmt: skip
    return Shoot(light, random_backdrop(rng), lens, film)


def draw_backdrop(backdrop: Backdrop, size: tuple[int, int], horizon: float) -> Tensor:
    """The empty set, float32 ``(3, H, W)``, sRGB in [0, 1].

    Args:
        size: (height, width).
        horizon: row where wall and floor meet, in pixels; may lie outside.
    """
    height, width = size
    rng = np.random.default_rng(backdrop.seed)
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width
    wall, floor = torch.tensor(backdrop.wall), torch.tensor(backdrop.floor)
    softness = {"white": 0.08, "studio": 0.07, "colour": 0.09}.get(backdrop.kind, 0.004)
    share = torch.sigmoid((rows - horizon / height) / softness)
    picture = wall[:, None, None] + (floor - wall)[:, None, None] * share[None, :, None]
    picture = picture.expand(3, height, width).clone()
    spot = rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.5)
    distance = ((columns - spot[0])[None] ** 2 * 0.7 + (rows - spot[1])[:, None] ** 2).clamp(max=1)
    strength = 0.03 if backdrop.kind == "white" else rng.uniform(0.05, 0.2)
    picture = picture * (1 - strength * distance)
    if backdrop.kind == "clutter":
        picture = _clutter(picture, rng, min(max(horizon / height, 0.25), 1.0))
    return picture.clamp(0, 1)


def _clutter(picture: Tensor, rng: np.random.Generator, horizon: float) -> Tensor:
    """Blurred furniture-like boxes and light spots, drawn small and enlarged, out of focus."""
    height, width = picture.shape[1:]
    small = F.interpolate(picture[None], size=(64, 48), mode="area")[0]
    for _ in range(int(rng.integers(4, 9))):
        colour = torch.tensor(
            _soft_colour(rng.uniform(), rng.uniform(0.05, 0.4), rng.uniform(0.3, 0.9)), dtype=torch.float32
        )
        left, bottom = int(rng.integers(-8, 44)), int(rng.uniform(0.4, 1.05) * horizon * 64)
        wide, tall = int(rng.integers(5, 22)), int(rng.integers(5, 30))
        box = small[:, max(0, bottom - tall) : max(0, bottom), max(0, left) : max(0, left + wide)]
        box.copy_(box + (colour[:, None, None] - box) * 0.85)
    small = F.avg_pool2d(F.pad(small[None], [2] * 4, mode="replicate"), 5, 1)
    return F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)[0]


def expose(picture: Tensor, film: Film, rng: np.random.Generator) -> np.ndarray:
    """Camera effects on a finished picture.

    Args:
        picture: ``(3, H, W)``, sRGB in [0, 1].
        film: which effects.
        rng: of the sensor noise.

    Returns:
        uint8 ``(H, W, 3)``.
    """
    gain = torch.tensor(film.white_balance, device=picture.device) * film.exposure
    picture = picture * gain[:, None, None]
    sigma = film.blur * picture.shape[1] / 256
    if sigma > 0.05:
        side = float(np.exp(-0.5 / sigma**2))
        wide = F.pad(picture[None], [1, 1, 1, 1], mode="replicate")[0]
        wide = (wide[:, :, 1:-1] + side * (wide[:, :, 2:] + wide[:, :, :-2])) / (1 + 2 * side)
        picture = (wide[:, 1:-1] + side * (wide[:, 2:] + wide[:, :-2])) / (1 + 2 * side)
    values = picture.permute(1, 2, 0).cpu().numpy()
    noise = rng.standard_normal(values.shape, dtype=np.float32) * np.float32(film.noise)
    return np.clip((values + noise) * 255 + 0.5, 0, 255).astype(np.uint8)
