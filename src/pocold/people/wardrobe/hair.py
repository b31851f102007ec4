"""Hair styles: a cap that grows from the scalp with a soft hairline, and what falls or is tied behind it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pocold.people.body.anatomy import Anatomy, Canonical
from pocold.people.body.mesh import vertex_normals
from pocold.people.rendering.figure import SOFT, Piece, Wearer
from pocold.people.rendering.surface import Shade, SineField, Surface, bump, smoothstep
from pocold.people.wardrobe.fabric import Colour
from pocold.people.wardrobe.grids import curtain_piece, tube_piece

STYLES = ("bald", "buzz", "short", "side", "quiff", "curly", "afro", "bob", "long", "bun", "ponytail")
_THICKNESS = {
    "buzz": 0.002, "short": 0.012, "side": 0.014, "quiff": 0.013, "curly": 0.024, "afro": 0.055, "bob": 0.016,
    "long": 0.014, "bun": 0.009, "ponytail": 0.009,
}  # fmt: skip


@dataclass(frozen=True)
class Hair:
    """A person's hair.

    Attributes:
        style: one of :data:`STYLES`.
        colour: sRGB.
        length: height of the lower end of long hair on the average body, metres.
        parting: metres to the left of the middle.
        height: hairline moved up, metres.
    """

    style: str
    colour: Colour
    length: float = 0.5
    parting: float = 0.02
    height: float = 0.0


def hairline(anatomy: Anatomy, where: Canonical, hair: Hair) -> Tensor:
    """Above the hairline, about metres; positive on the scalp ``(N,)``."""
    eye = anatomy.landmarks.eye
    back, up = where.y - float(eye[1]), where.z - float(eye[2])
    line = _piecewise(back, (0.0, 0.03, 0.065, 0.085, 0.105, 0.15), (0.067, 0.061, 0.03, -0.005, -0.042, -0.09))
    line = line + hair.height * smoothstep(back, 0.07, 0.02)
    field = up - line - 0.01 * bump(where.x, hair.parting, 0.02) * smoothstep(back, 0.05, 0.02)
    if hair.style not in ("bob", "long", "afro", "curly"):  # keeps the ears free
        ear = torch.hypot((back - 0.105) / 0.032, (up + 0.022) / 0.042) - 1
        field = torch.minimum(field, torch.where(where.x.abs() > 0.055, ear * 0.032, 0.2))
    return torch.where(where.head_share > 0.3, field, -0.1)


def _piecewise(values: Tensor, at: tuple[float, ...], heights: tuple[float, ...]) -> Tensor:
    x, y = torch.tensor(at, device=values.device), torch.tensor(heights, device=values.device)
    i = torch.bucketize(values, x).clamp(1, len(at) - 1)
    t = ((values - x[i - 1]) / (x[i] - x[i - 1])).clamp(0, 1)
    return y[i - 1] + (y[i] - y[i - 1]) * t


@dataclass(frozen=True)
class Strands:
    """The material of hair: streaks along the strands, a soft fringe at every edge."""

    colour: Colour
    streaks: SineField
    fringe: SineField
    relief: float
    soft: float
    thin: float = 1.0

    def __call__(self, surface: Surface) -> Shade:
        where = surface.where
        points = where.position + torch.stack([surface.detail, torch.zeros_like(surface.detail), where.z * 0], 1)
        streak = self.streaks(points)
        tone = torch.tensor(self.colour, device=streak.device)
        contrast = 0.22 - 0.14 * float(tone.mean())  # light hair would look like metal
        colour = tone * (1 + contrast * streak)[:, None] * (0.82 + 0.18 * smoothstep(surface.edge, 0.0, 0.04))[:, None]
        colour = torch.where(surface.inside_out[:, None], colour * 0.55, colour)
        gloss = 0.07 + 0.25 * contrast * streak.clamp(0, 2)
        alpha = smoothstep(surface.edge + 0.3 * self.soft * self.fringe(points), 0.0, self.soft) * self.thin
        return Shade(colour.clamp(0, 1), self.relief * streak, gloss, alpha)


def solid_hair(hair: Hair, rng: np.random.Generator) -> Strands:
    """A material for hair meshes that end where their triangles end."""
    return Strands(
        hair.colour, SineField(rng, 14, 45, 140, (1.0, 0.45, 0.16)), SineField(rng, 2, 60, 200), 0.0012, 0.001
    )


def hair_pieces(wearer: Wearer, hair: Hair, rng: np.random.Generator) -> list[Piece]:
    """The pieces of a hair style; none for a bald head."""
    if hair.style == "bald":
        return []
    curly = hair.style in ("curly", "afro")
    stretch = (1.0, 1.0, 1.0) if curly else (1.0, 0.45, 0.16)
    streaks = SineField(rng, 14, 30 if curly else 45, 70 if curly else 140, stretch)
    fringe = SineField(rng, 12, 110, 320, (1.0, 0.7, 0.2))
    strands = Strands(
        hair.colour, streaks, fringe, 0.0035 if curly else 0.0012, 0.014, 0.62 if hair.style == "buzz" else 1.0
    )
    pieces = [_cap(wearer, hair, strands, rng)]
    eye = wearer.anatomy.landmarks.eye
    y, z = float(eye[1]), float(eye[2])
    loose = Strands(hair.colour, streaks, SineField(rng, 8, 40, 120, (1.0, 1.0, 0.05)), 0.0014, 0.022)
    if hair.style in ("bob", "long"):
        length = z - 0.135 if hair.style == "bob" else hair.length
        pieces.append(curtain_piece(wearer, "hair", loose, length=length, side=2.3, layer=SOFT))
    solid = Strands(hair.colour, streaks, fringe, 0.0012, 0.001)
    if hair.style == "bun":
        high = 0.085 if hair.parting > 0 else 0.03
        start, end = torch.tensor([0.0, y + 0.185, z + high + 0.042]), torch.tensor([0.0, y + 0.195, z + high - 0.042])
        pieces.append(
            _tube(wearer, solid, start, end, lambda t: 0.045 * torch.sin(torch.pi * t.clamp(0.02, 0.98)).sqrt(), 0.0)
        )
    if hair.style == "ponytail":
        start, end = torch.tensor([0.0, y + 0.175, z + 0.075]), torch.tensor([0.0, y + 0.235, z - 0.2])
        pieces.append(
            _tube(
                wearer, solid, start, end, lambda t: 0.006 + 0.034 * torch.sin(torch.pi * t.clamp(0, 0.97) ** 0.6), 0.35
            )
        )
    return pieces


def _tube(
    wearer: Wearer, material: Strands, start: Tensor, end: Tensor, radius: Callable[[Tensor], Tensor], chest: float
) -> Piece:
    def centre(t: Tensor) -> Tensor:
        line = torch.lerp(start, end, t[:, None])
        return line + torch.tensor([0.0, 0.02, 0.0]) * torch.sin(torch.pi * t)[:, None]

    return tube_piece(wearer, "hair", material, centre=centre, radius=radius, chest=chest)


def _cap(wearer: Wearer, hair: Hair, strands: Strands, rng: np.random.Generator) -> Piece:
    anatomy = wearer.anatomy
    body, where = anatomy.body, anatomy.skin_canonical
    skin = body.faces[~body.is_eye]
    head = where.head_share > 0.3
    smooth = anatomy.head_smoother.laplace(wearer.rest, 4)
    normals = vertex_normals(smooth, skin)
    field = hairline(anatomy, where, hair)
    eye = anatomy.landmarks.eye
    back, up = where.y - float(eye[1]), where.z - float(eye[2])
    thickness = _THICKNESS[hair.style] * (0.5 + 0.5 * smoothstep(up, -0.05, 0.08))
    if hair.style == "quiff":
        thickness = thickness + 0.03 * bump(back, 0.02, 0.035) * smoothstep(up, 0.05, 0.09)
    if hair.style in ("side", "bob", "long"):
        away = (where.x - hair.parting).abs()
        thickness = thickness + 0.012 * smoothstep(up, 0.03, 0.09) * smoothstep(away, 0.0, 0.03)
    lumps = SineField(rng, 12, 9, 24)(where.position)
    thickness = thickness * (1 + (0.22 if hair.style in ("curly", "afro") else 0.07) * lumps)
    grown = thickness * smoothstep(field, 0.006, 0.04 if hair.style != "afro" else 0.055) + 0.0012
    # cut a little outside the hairline: the material fades the rest, so no polygon edge shows
    return wearer.piece(
        "hair", strands, skin[head[skin].all(1)], field + 0.004, smooth + normals * grown[:, None], layer=SOFT,
        canonical=where,
    )  # fmt: skip
