"""Skin, faces and eyes, painted per point in canonical coordinates; no textures, nobody's likeness."""

from dataclasses import dataclass

import numpy as np
import torch

from pocold.people.body.anatomy import Anatomy
from pocold.people.rendering.surface import CLASS_ID, Shade, SineField, Surface, bump, mix, smoothstep
from pocold.people.wardrobe.fabric import Colour
from pocold.people.wardrobe.hair import Hair, hairline

_TONES: tuple[Colour, ...] = (
    (0.95, 0.82, 0.74), (0.92, 0.76, 0.66), (0.86, 0.68, 0.56), (0.78, 0.58, 0.45), (0.66, 0.47, 0.35),
    (0.50, 0.34, 0.25), (0.37, 0.25, 0.18),
)  # fmt: skip


def skin_tone(depth: float) -> Colour:
    """A skin colour, from 0 (light) to 1 (dark)."""
    place = min(max(depth, 0.0), 1.0) * (len(_TONES) - 1)
    low = min(int(place), len(_TONES) - 2)
    a, b = np.array(_TONES[low]), np.array(_TONES[low + 1])
    red, green, blue = (a + (b - a) * (place - low)).tolist()
    return red, green, blue


@dataclass(frozen=True)
class Face:
    """What a face is painted with.

    Attributes:
        tone: skin colour; iris: eye colour; lipstick: lip colour.
        makeup: 0..1, how much of the lipstick and eye line shows.
        brow: thickness of the eyebrows, metres.
        beard: 0 none, 0.35 stubble, 0.8 full.
        freckles: 0..1.
    """

    tone: Colour
    iris: Colour
    lipstick: Colour
    makeup: float = 0.0
    brow: float = 0.004
    beard: float = 0.0
    freckles: float = 0.0


class Skin:
    """The material of the body. The surface's ``detail`` is the lip mask, or minus the nail mask."""

    def __init__(self, anatomy: Anatomy, face: Face, hair: Hair, rng: np.random.Generator) -> None:
        self._anatomy, self._face, self._hair = anatomy, face, hair
        self._mottle = SineField(rng, 8, 12, 60)
        self._pores = SineField(rng, 8, 120, 320)
        self._strand = SineField(rng, 10, 120, 320)

    def __call__(self, surface: Surface) -> Shade:
        where, face = surface.where, self._face
        device = where.values.device
        eye = self._anatomy.landmarks.eye
        x, up, back = where.x.abs(), where.z - float(eye[2]), where.y - float(eye[1])
        on_head = where.head_share > 0.5
        tone = torch.tensor(face.tone, device=device)
        colour = tone * (1 + 0.016 * self._mottle(where.position))[:, None]
        hair_colour = torch.tensor(self._hair.colour, device=device)

        lips = surface.detail.clamp(0, 1)
        natural = tone * torch.tensor([0.86, 0.62, 0.62], device=device)
        painted = natural + (torch.tensor(face.lipstick, device=device) - natural) * face.makeup
        colour = mix(colour, painted.expand_as(colour), 0.85 * lips)
        nails = (-surface.detail).clamp(0, 1)
        colour = mix(colour, (tone * 0.5 + 0.42).expand_as(colour), 0.4 * nails)

        front = (on_head & (back < 0.085)).float()
        cheek = bump(x, 0.043, 0.02) * bump(up, -0.034, 0.02) + 0.6 * bump(x, 0.0, 0.012) * bump(up, -0.03, 0.012)
        colour = colour * (1 - (0.09 * cheek * front)[:, None] * torch.tensor([0.0, 0.8, 0.7], device=device))
        socket = bump(x, float(eye[0]), 0.02) * bump(up, 0.006, 0.011) * front
        colour = colour * (1 - 0.16 * socket)[:, None]
        arch = up - 0.0235 - 0.0042 * torch.sin(((x - 0.013) / 0.04).clamp(0, 1) * 3.1)
        brow = bump(arch, 0.0, face.brow * 0.8) * smoothstep(x, 0.011, 0.016) * smoothstep(x, 0.053, 0.046) * front
        colour = mix(colour, (hair_colour * 0.75).expand_as(colour), 0.8 * brow)
        lid = bump(torch.hypot((x - float(eye[0])) / 0.0165, (up - 0.001) / 0.008), 1.0, 0.22) * (up > -0.003) * front
        colour = mix(colour, torch.full_like(colour, 0.08), (0.45 + 0.4 * face.makeup) * lid)
        if face.freckles:
            spots = smoothstep(self._pores(where.position), 1.2, 1.8) * bump(up, -0.025, 0.025) * front
            colour = colour * (1 - 0.25 * face.freckles * spots)[:, None]
        if face.beard:
            jaw = smoothstep(-0.047 - up + 0.3 * (x - 0.028).clamp(min=0), -0.006, 0.008) * smoothstep(
                up, -0.13, -0.112
            )
            jaw = jaw * smoothstep(back, 0.09, 0.065) * on_head * (1 - lips)
            grain = (0.9 + 0.08 * self._strand(where.position)).clamp(0, 1.1)
            colour = mix(colour, (hair_colour * 0.85).expand_as(colour), (face.beard * jaw * grain).clamp(0, 0.92))
        if self._hair.style != "bald":
            scalp = smoothstep(
                hairline(self._anatomy, where, self._hair) + 0.002 * self._strand(where.position), -0.002, 0.012
            )
            colour = mix(colour, (hair_colour * 0.8).expand_as(colour), 0.85 * scalp)
        garment = torch.full_like(x, CLASS_ID["skin"], dtype=torch.int64)
        garment[on_head & (back < 0.1) & (up > -0.125)] = CLASS_ID["face"]
        gloss = 0.1 + 0.12 * lips + 0.05 * front
        return Shade(colour.clamp(0, 1), 0.00025 * self._mottle(where.position), gloss, garment=garment)


@dataclass(frozen=True)
class Eyes:
    """The material of the eyeballs."""

    anatomy: Anatomy
    iris: Colour

    def __call__(self, surface: Surface) -> Shade:
        where = surface.where
        eye = self.anatomy.landmarks.eye
        radius = torch.hypot(where.x.abs() - float(eye[0]), where.z - float(eye[2]))
        white = torch.tensor([0.88, 0.86, 0.84], device=radius.device).expand(len(radius), 3)
        shadow = smoothstep(where.z - float(eye[2]), 0.009, 0.0)
        colour = white * (0.72 + 0.28 * shadow)[:, None]
        colour = mix(
            colour, torch.tensor(self.iris, device=radius.device).expand_as(white), smoothstep(radius, 0.0072, 0.0058)
        )
        colour = mix(colour, torch.full_like(white, 0.03), smoothstep(radius, 0.0036, 0.0026))
        return Shade(colour, torch.zeros_like(radius), torch.full_like(radius, 0.6))
