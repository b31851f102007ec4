"""Garments cut from the body's helper meshes: tops, trousers, jackets, shoes and socks (skirts: ``skirts.py``).

Legend: V vertices of the base mesh.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pocold.people.body.anatomy import load_anatomy
from pocold.people.rendering.figure import Piece, Wearer
from pocold.people.rendering.surface import Shade, SineField, Surface, bump, mix, smoothstep
from pocold.people.wardrobe import cuts
from pocold.people.wardrobe.fabric import Colour, Fabric, Wrinkles, cloth_coordinates


@dataclass(frozen=True)
class Top:
    """A garment of the upper body.

    Attributes:
        fabric: its cloth.
        neckline: one of :data:`pocold.people.wardrobe.cuts.NECKLINES`; ``shirt`` has a collar and buttons.
        sleeve: arm coordinate where sleeves end (0.5 short, 1.95 long), negative for straps.
        hem: height of the hem on the average body, metres.
        tucked: into trousers or skirt.
        loose: 0 tight to 1 wide.
    """

    fabric: Fabric
    neckline: str = "crew"
    sleeve: float = 0.55
    hem: float = 0.07
    tucked: bool = False
    loose: float = 0.4


@dataclass(frozen=True)
class Trousers:
    """Trousers or shorts.

    Attributes:
        fabric: its cloth.
        length: leg coordinate of the hem: 0.5 shorts, 1.0 knee, 1.97 full.
        cut: ``slim``, ``straight``, ``wide`` or ``flared``.
        waist: height on the average body, metres.
        belt: colour of a belt, or None.
    """

    fabric: Fabric
    length: float = 1.97
    cut: str = "straight"
    waist: float = 0.2
    belt: Colour | None = None


@dataclass(frozen=True)
class Jacket:
    """Worn over the top; never over a dress with wide sleeves.

    Attributes:
        fabric: its cloth.
        hem: height on the average body, metres.
        gap: half the width of the open front, metres; negative is closed.
        collar: has a collar of the same cloth.
    """

    fabric: Fabric
    hem: float = 0.06
    gap: float = 0.06
    collar: bool = True


@dataclass(frozen=True)
class Shoes:
    """A pair of shoes.

    Attributes:
        kind: ``sneaker``, ``hightop``, ``boot``, ``loafer`` or ``flat``.
        colour, sole, trim: of upper, sole, and laces or stripes.
        sole_height: metres.
    """

    kind: str
    colour: Colour
    sole: Colour
    trim: Colour
    sole_height: float = 0.022


@dataclass(frozen=True)
class Cloth:
    """The material of garments.

    Attributes:
        fabric: colour; wrinkles: relief.
        hem: seen width of the hem, metres; 0 for none.
        placket: buttons and their strip down the front.
        fly: trousers' fly, pockets and seams.
        belt: colour and upper edge (canonical height) of a belt.
        rib: ribbed cuffs and hem.
    """

    fabric: Fabric
    wrinkles: Wrinkles
    hem: float = 0.012
    placket: bool = False
    fly: bool = False
    belt: tuple[Colour, float] | None = None
    rib: bool = False

    def __call__(self, surface: Surface) -> Shade:
        where = surface.where
        colour = self.fabric(surface)
        height = self.wrinkles(surface)
        gloss = torch.full_like(height, self.fabric.gloss)
        if self.hem:
            stitch = bump(surface.edge, self.hem, 0.0022) + smoothstep(surface.edge, 0.0025, 0.0)
            colour = colour * (1 - 0.22 * stitch.clamp(0, 1))[:, None]
            height = height + 0.0012 * smoothstep(surface.edge, 0.0, self.hem) - 0.0012
        if self.rib:
            band = smoothstep(surface.edge, 0.05, 0.045)
            around, _ = cloth_coordinates(where)
            colour = colour * (1 - band * (0.1 + 0.06 * torch.sin(around * 420)))[:, None]
        if self.placket:
            colour, height = self._draw_placket(surface, colour, height)
        if self.fly:
            colour = self._draw_fly(surface, colour)
        if self.belt is not None:
            strap = smoothstep(where.z, self.belt[1] - 0.036, self.belt[1] - 0.033) * ~where.on_arm
            leather = torch.tensor(self.belt[0], device=colour.device).expand_as(colour)
            colour = mix(colour, leather, strap)
            buckle = strap * smoothstep(where.x.abs(), 0.02, 0.017) * where.front
            colour = mix(colour, torch.full_like(colour, 0.72), 0.8 * buckle)
            gloss = torch.maximum(gloss, 0.3 * strap)
        colour = torch.where(surface.inside_out[:, None], colour * 0.75, colour)
        return Shade(colour.clamp(0, 1), height, gloss)

    @staticmethod
    def _draw_placket(surface: Surface, colour: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
        where = surface.where
        front = where.front & ~where.on_arm
        line = bump(where.x.abs(), 0.016, 0.0022) * front
        colour = colour * (1 - 0.2 * line)[:, None]
        height = height + 0.001 * smoothstep(where.x.abs(), 0.018, 0.014) * front
        button = torch.hypot(where.x, (where.z / 0.075) % 1 * 0.075 - 0.0375)
        dot = smoothstep(button, 0.0065, 0.0045) * front
        light = float(colour.mean()) < 0.45
        return mix(colour, torch.full_like(colour, 0.85 if light else 0.3), 0.75 * dot), height

    @staticmethod
    def _draw_fly(surface: Surface, colour: Tensor) -> Tensor:
        where = surface.where
        x, z = where.x.abs(), where.z
        fly = bump(x, 0.0, 0.0022) * smoothstep(z, 0.03, 0.05) * where.front
        pocket = bump(x - 0.075 - (0.17 - z) * 0.55, 0.0, 0.0025) * smoothstep(z, 0.09, 0.1) * where.front
        back_pocket = torch.maximum((x - 0.07).abs() - 0.042, (z - 0.06).abs() - 0.05)
        back = bump(back_pocket, 0.0, 0.0025) * ~where.front * (where.leg < 0.6)
        seam = bump(where.offset[:, 1], 0.0, 0.002) * (where.leg > 0.1)
        waistband = bump(surface.edge, 0.035, 0.002) * (where.leg < 0.2)
        lines = (fly + pocket + back + 0.6 * seam + waistband).clamp(0, 1)
        return colour * (1 - 0.28 * lines)[:, None]


@dataclass(frozen=True)
class Leather:
    """The material of shoes: upper, sole, laces, toe cap, by height above the floor and place along the foot."""

    shoes: Shoes
    floor: float
    noise: SineField

    def __call__(self, surface: Surface) -> Shade:
        where = surface.where
        height = where.z - self.floor
        device = height.device
        upper, sole, trim = (
            torch.tensor(c, device=device) for c in (self.shoes.colour, self.shoes.sole, self.shoes.trim)
        )
        colour = upper.expand(len(height), 3) * (1 + 0.03 * self.noise(where.position))[:, None]
        sporty = self.shoes.kind in ("sneaker", "hightop")
        middle = 1 - (surface.detail.abs() / 0.018).clamp(0, 1)
        if sporty:
            tongue = (
                smoothstep(where.y, -0.165, -0.145)
                * smoothstep(where.y, -0.03, -0.05)
                * smoothstep(height, 0.035, 0.045)
            )
            laces = tongue * smoothstep(middle, 0.0, 0.15) * smoothstep(torch.cos((where.y + where.z) * 420), 0.0, 0.5)
            colour = mix(colour, trim.expand_as(colour), laces)
            cap = smoothstep(where.y, -0.185, -0.195)
            colour = mix(colour, sole.expand_as(colour), 0.85 * cap * smoothstep(height, 0.045, 0.03))
            side = smoothstep((where.y + 0.09 + 0.9 * (height - 0.04)).abs(), 0.012, 0.008) * (
                surface.detail.abs() > 0.022
            )
            colour = mix(colour, trim.expand_as(colour), 0.9 * side * smoothstep(height, 0.02, 0.024))
        elif self.shoes.kind == "loafer":
            band = bump(where.y, -0.115, 0.012) * smoothstep(height, 0.02, 0.03)
            colour = colour * (1 - 0.3 * band)[:, None]
        line = smoothstep(height, 0.0155, 0.0135)
        colour = mix(colour, sole.expand_as(colour), line)
        colour = colour * (1 - 0.35 * bump(height, 0.0155, 0.0016))[:, None]
        colour = colour * (1 - 0.25 * smoothstep(surface.edge, 0.003, 0.0))[:, None]
        colour = torch.where(surface.inside_out[:, None], colour * 0.35, colour)
        relief = 0.0015 * smoothstep(height, 0.017, 0.013)
        gloss = torch.full_like(height, 0.12 if sporty else 0.35)
        return Shade(colour.clamp(0, 1), relief, gloss)


@lru_cache(maxsize=1)
def _hang() -> Tensor:
    """How far a loose top stands off each point below the chest because it hangs from above, metres ``(V,)``."""
    anatomy = load_anatomy()
    where = anatomy.skin_canonical
    tights = torch.zeros(len(where.z), dtype=torch.bool)
    tights[anatomy.body.tights.flatten()] = True
    torso = (tights & (where.arm_share < 0.3) & (where.z > -0.02) & (where.z < 0.5)).nonzero()[:, 0]
    radius = torch.hypot(where.x, where.y - anatomy.spine_y)[torso]
    angle, height = torch.atan2(where.x, anatomy.spine_y - where.y)[torso], where.z[torso]
    near = (torch.cos(angle[:, None] - angle[None]) > 0.96) & (height[None] >= height[:, None] - 0.005)
    above = torch.where(near, radius[None] - 0.12 * (height[None] - height[:, None]), torch.zeros(())).amax(1)
    hang = torch.zeros(len(where.z))
    hang[torso] = (above - radius).clamp(min=0)
    return anatomy.tights_smoother.laplace(hang[:, None], 4)[:, 0]


def _away_from(points: Tensor, axis: Tensor, target: Tensor, direction: Tensor | None = None) -> Tensor:
    """Move points straight away from an axis until they are ``target`` (``(V,)``) from it, never nearer to it."""
    arm = points - axis
    if direction is None:
        across = arm * arm.new_tensor([1.0, 1.0, 0.0])
    else:
        across = arm - (arm * direction).sum(1, keepdim=True) * direction
    radius = across.norm(dim=1, keepdim=True).clamp(min=1e-4)
    return points + across / radius * (target[:, None] - radius).clamp(min=0)


def top_surface(wearer: Wearer, top: Top, extra: float = 0.0) -> Tensor:
    """Where a top lies, ``(V, 3)``: hanging from the chest, round sleeves, close to the body at the armpits."""
    where = wearer.canonical
    loose = top.loose
    armpit = torch.linalg.norm(
        where.position * where.position.new_tensor([0, 1, 1]) - where.position.new_tensor([0, -0.01, 0.53]), dim=1
    )
    armpit = torch.hypot(armpit, where.x.abs() - 0.17)
    neck = torch.hypot(where.x, where.z - 0.72)
    free = (0.35 + 0.65 * smoothstep(armpit, 0.03, 0.12)) * (0.4 + 0.6 * smoothstep(neck, 0.09, 0.2))
    hem = smoothstep(where.z, 0.35, 0.05) * (1 - where.arm_share)
    # The clothing helper stands some 7 mm off the skin; a top that is not loose at all lies closer, except at the
    # neckline and straps, whose edges the skin would break.
    close = 0.007 * max(0.0, 1 - loose / 0.3) * smoothstep(neck, 0.12, 0.22)
    offset = (0.002 + 0.008 * loose + 0.01 * loose * hem - close) * free + extra * (
        0.45 + 0.55 * smoothstep(neck, 0.09, 0.2)
    )
    points = wearer.tights + wearer.tights_normals * offset[:, None]
    spine = torch.from_numpy(wearer.head("spine03")).float()
    axis = torch.stack([torch.zeros(len(points)), torch.full((len(points),), float(spine[1]) - 0.03), points[:, 2]], 1)
    radius = torch.linalg.norm((points - axis)[:, :2], dim=1)
    torso = (1 - 2 * where.arm_share).clamp(0, 1)
    points = _away_from(points, axis, radius + _hang() * torso * loose * 0.9)
    sleeve = (0.052 + 0.02 * loose) * (1 - 0.3 * smoothstep(where.arm, 0.4, 1.9)) + extra
    round_share = smoothstep(where.arm, 0.3, 0.75) * smoothstep(where.arm_share, 0.6, 0.95) * (0.25 + 0.75 * loose)
    return torch.lerp(points, _away_from(points, wearer.arm_axis, sleeve, wearer.arm_direction), round_share[:, None])


_CUTS = {
    "slim": (0.0, 0.0, -0.006),  # the clothing helper stands some 7 mm off the skin
    "straight": (0.074, 0.066, 0.007),
    "wide": (0.098, 0.108, 0.01),
    "flared": (0.066, 0.112, 0.005),
}


def trousers_surface(wearer: Wearer, cut: str) -> Tensor:
    """Where trousers lie, ``(V, 3)``: tubes of the cut's radius at knee and ankle, close at hip and crotch."""
    where = wearer.canonical
    knee, ankle, offset = _CUTS[cut]
    points = wearer.tights + wearer.tights_normals * (offset + 0.0015)
    leg = where.leg.clamp(0, 2.05)
    radius = torch.where(leg < 1, 0.085 + (knee - 0.085) * leg, knee + (ankle - knee) * (leg - 1))
    share = smoothstep(where.leg, 0.15, 0.7)
    return torch.lerp(points, _away_from(points, wearer.leg_axis, radius), share[:, None])


def shoe_surface(wearer: Wearer, shoes: Shoes) -> Tensor:
    """Where shoes lie, ``(V, 3)``: a smoothed foot, flat below, with a sole that carries the person."""
    anatomy = wearer.anatomy
    where = wearer.canonical
    smooth = anatomy.foot_smoother.taubin(wearer.rest, 6)
    points = smooth + wearer.tights_normals * (0.005 if shoes.kind != "flat" else 0.001)
    height = where.z - anatomy.landmarks.floor
    near_floor = (1 - height / 0.032).clamp(0, 1)
    outward = wearer.tights_normals * wearer.tights_normals.new_tensor([1.0, 1.0, 0.0])
    points = points + outward * (0.004 * smoothstep(height, 0.018, 0.01))[:, None]
    down = torch.minimum(points[:, 2], torch.full_like(points[:, 2], wearer.floor + 0.032))
    sole = torch.lerp(down, torch.full_like(down, wearer.floor - shoes.sole_height), near_floor.sqrt())
    points[:, 2] = torch.where(near_floor > 0, sole, points[:, 2])
    if shoes.kind == "boot":
        axis = wearer.leg_axis
        shaft = smoothstep(where.leg, 1.95, 1.8)
        points = torch.lerp(points, _away_from(points, axis, torch.full((len(points),), 0.06)), shaft[:, None])
    return points


def shoe_field(wearer: Wearer, kind: str) -> Tensor:
    """Where shoes are, ``(V,)``."""
    where, floor = wearer.canonical, wearer.anatomy.landmarks.floor
    match kind:
        case "boot":
            return cuts.shaft(where, 1.58)
        case "hightop":
            return cuts.shaft(where, 1.83)
        case "sneaker":
            return torch.minimum(cuts.shaft(where, 1.7), 0.088 - (where.z - floor))
        case "loafer":
            return cuts.low_shoe(where, floor, -0.105)
        case _:
            return cuts.low_shoe(where, floor, -0.165)


def shoe_piece(wearer: Wearer, shoes: Shoes, rng: np.random.Generator) -> tuple[Piece, Tensor]:
    """The pair of shoes, and the field of what they cover."""
    anatomy = wearer.anatomy
    field = shoe_field(wearer, shoes.kind)
    leather = Leather(shoes, anatomy.landmarks.floor, SineField(rng, 6, 40, 120))
    middle = anatomy.position[:, 0].abs() - 0.176 + 0.12 * (anatomy.position[:, 1] + 0.1)  # across the foot
    piece = wearer.piece(
        "shoes", leather, anatomy.body.tights, field, shoe_surface(wearer, shoes), detail=middle, two_sided=True
    )
    return piece, field
