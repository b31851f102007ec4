"""From a look to a figure: which piece covers which, and the cuts that follow from it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pocold.people.body.seat import seat_piece
from pocold.people.rendering.figure import Figure, Piece, Wearer
from pocold.people.rendering.skin import Eyes, Skin
from pocold.people.rendering.surface import smoothstep
from pocold.people.wardrobe import cuts
from pocold.people.wardrobe.fabric import Fabric, Wrinkles
from pocold.people.wardrobe.garments import Cloth, Jacket, Top, Trousers, shoe_piece, top_surface, trousers_surface
from pocold.people.wardrobe.grids import Skirt, skirt_piece
from pocold.people.wardrobe.hair import hair_pieces, solid_hair
from pocold.people.wardrobe.looks import Look, Socks
from pocold.people.wardrobe.makehuman import Garment, covered_by, garment_piece

_NOWHERE = -1.0


def dress(look: Look, wearer: Wearer | None = None, garments: Mapping[str, Garment] | None = None) -> Figure:
    """Build the figure of a look: its body, hair and clothes in rest pose.

    Covered skin is cut away 3 cm under the edge of what covers it, so it cannot show through in any pose.

    Args:
        look: what to wear.
        wearer: who wears it; default somebody of the look's shape.
        garments: MakeHuman garments to wear instead of the look's own, by kind.
    """
    wearer = wearer or Wearer(look.shape)
    rng = np.random.default_rng(look.seed)
    where = wearer.canonical
    if garments:
        return _dress_in_garments(wearer, look, garments, rng)
    shoes, shoe_field = shoe_piece(wearer, look.shoes, rng)
    top_field = _top_field(wearer, look.top)
    lower_field = _lower_field(wearer, look)
    jacket_field = torch.full_like(top_field, _NOWHERE)
    if look.jacket is not None:
        jacket_field = _jacket_field(wearer, look.jacket)

    pieces = [_top(wearer, look, top_field, lower_field, jacket_field, rng)]
    if look.top.neckline == "shirt":
        pieces.append(_collar(wearer, look, jacket_field, rng))
    pieces += _lower(wearer, look, top_field, shoe_field, rng)
    if look.jacket is not None:
        pieces += _jacket(wearer, look, look.jacket, jacket_field, rng)
    covered = torch.stack([top_field, lower_field, jacket_field]).amax(0)
    if look.socks is not None:
        pieces.append(_socks(wearer, look.socks, shoe_field, rng))
        covered = torch.maximum(covered, cuts.shaft(where, look.socks.height))
    pieces.append(shoes)
    pieces += _body(wearer, look, torch.maximum(covered, shoe_field), rng)
    pieces += hair_pieces(wearer, look.hair, rng)
    pieces.append(seat_piece(len(wearer.heads)))
    return Figure.of(pieces)


def _dress_in_garments(wearer: Wearer, look: Look, garments: Mapping[str, Garment], rng: np.random.Generator) -> Figure:
    """A figure in MakeHuman garments, with the look's own fabrics; what they do not replace stays built in."""
    shoes, shoe_field = shoe_piece(wearer, look.shoes, rng)
    if "shoes" in garments:
        leather = Fabric("solid", (look.shoes.colour, look.shoes.sole, look.shoes.trim), gloss=0.25)
        shoes = garment_piece(wearer, garments["shoes"], "shoes", Cloth(leather, Wrinkles(rng, 0.0), hem=0))
        shoe_field = covered_by(wearer, garments["shoes"], 0.03)
    outside = torch.full_like(shoe_field, _NOWHERE)
    top_field = _top_field(wearer, look.top)
    lower_field = _lower_field(wearer, look)
    pieces = []
    if "bottom" in garments and not isinstance(look.bottom, Skirt):
        lower_field = covered_by(wearer, garments["bottom"])
    if "top" in garments and not look.dress:
        top_field = covered_by(wearer, garments["top"])
        cloth = Cloth(look.top.fabric, Wrinkles(rng, 0.003), hem=0)
        pieces.append(garment_piece(wearer, garments["top"], "top", cloth))
    else:
        pieces.append(_top(wearer, look, top_field, lower_field, outside, rng))
    if "bottom" in garments and not isinstance(look.bottom, Skirt):
        cloth = Cloth(look.bottom.fabric, Wrinkles(rng, 0.003), hem=0, fly=True)
        pieces.append(garment_piece(wearer, garments["bottom"], "trousers", cloth, covered=top_field))
    else:
        pieces += _lower(wearer, look, top_field, shoe_field, rng)
    pieces.append(shoes)
    covered = torch.stack([top_field, lower_field, shoe_field]).amax(0)
    if "hair" in garments:
        look = replace(look, hair=replace(look.hair, style="buzz"))
    pieces += _body(wearer, look, covered, rng)
    pieces += hair_pieces(wearer, look.hair, rng)
    if "hair" in garments:
        pieces.append(garment_piece(wearer, garments["hair"], "hair", solid_hair(look.hair, rng)))
    pieces.append(seat_piece(len(wearer.heads)))
    return Figure.of(pieces)


def _top_field(wearer: Wearer, top: Top) -> Tensor:
    field = cuts.torso_top(wearer.canonical, top.hem, top.sleeve, top.neckline)
    # narrow curves on a coarse mesh are ragged; straps would be rounded away
    return field if top.sleeve < 0 else wearer.anatomy.tights_smoother.laplace(field[:, None], 2)[:, 0]


def _lower_field(wearer: Wearer, look: Look) -> Tensor:
    where = wearer.canonical
    if isinstance(look.bottom, Skirt):  # thighs show a hand's breadth under the hem when the skirt swings
        return cuts.trousers(where, look.bottom.waist - 0.01, look.bottom.length - 0.14)
    return cuts.trousers(where, look.bottom.waist, look.bottom.length)


def _jacket_field(wearer: Wearer, jacket: Jacket) -> Tensor:
    where = wearer.canonical
    field = _top_field(wearer, Top(jacket.fabric, sleeve=1.97, hem=jacket.hem))
    if jacket.gap >= 0:
        field = torch.minimum(
            field, torch.maximum(cuts.front_opening(where, jacket.gap), (where.arm_share - 0.4) * 0.4)
        )
    return field


def _top(wearer: Wearer, look: Look, top: Tensor, lower: Tensor, jacket: Tensor, rng: np.random.Generator) -> Piece:
    style = look.top
    field, covered = torch.minimum(top, cuts.MARGIN - jacket), jacket
    if style.tucked or look.dress:
        field, covered = torch.minimum(field, 0.02 - lower), torch.maximum(jacket, lower)
    extra = 0.0 if style.tucked or look.dress else 0.0025
    cloth = Cloth(
        style.fabric, Wrinkles(rng, 0.0032 + 0.0016 * style.loose), placket=style.neckline == "shirt",
        rib=style.fabric.pattern in ("knit", "heather"),
    )  # fmt: skip
    # the far side of the collar is seen from inside
    return wearer.piece(
        "dress" if look.dress else "top", cloth, wearer.anatomy.body.tights, field, top_surface(wearer, style, extra),
        covered=covered, two_sided=True,
    )  # fmt: skip


def _collar(wearer: Wearer, look: Look, jacket: Tensor, rng: np.random.Generator) -> Piece:
    """A shirt's collar: a fold of cloth around the neckline, wider at the front, under a jacket."""
    where = wearer.canonical
    inside = cuts.neckline(where, "shirt")
    width = 0.036 + 0.014 * smoothstep(where.offset[:, 1], 0.02, -0.04)
    field = torch.minimum(torch.minimum(inside + 0.012, width - inside), (0.3 - where.arm_share) * 0.5)
    field = torch.minimum(field, where.z - 0.598)  # open under the throat
    field = torch.minimum(field, 0.012 - jacket)
    stand = 0.005 * (1 - (inside / 0.03).clamp(0, 1))
    surface = top_surface(wearer, look.top, 0.01) + wearer.tights_normals * stand[:, None]
    cloth = Cloth(look.top.fabric, Wrinkles(rng, 0.0005), hem=0.006)
    name = "dress" if look.dress else "top"
    return wearer.piece(name, cloth, wearer.anatomy.body.tights, field, surface, two_sided=True)


def _lower(wearer: Wearer, look: Look, top: Tensor, shoe: Tensor, rng: np.random.Generator) -> list[Piece]:
    bottom = look.bottom
    if isinstance(bottom, Skirt):
        cloth = Cloth(bottom.fabric, Wrinkles(rng, 0.0025))
        name = "dress" if look.dress else "skirt"
        return [skirt_piece(wearer, bottom, name, cloth, phase=float(rng.uniform(0, 6.28)))]
    return [_trousers(wearer, look, bottom, top, shoe, rng)]


def _trousers(
    wearer: Wearer, look: Look, trousers: Trousers, top: Tensor, shoe: Tensor, rng: np.random.Generator
) -> Piece:
    where = wearer.canonical
    field = cuts.trousers(where, trousers.waist, trousers.length)
    covered = torch.full_like(field, _NOWHERE)
    if not look.top.tucked:
        field, covered = torch.minimum(field, cuts.MARGIN + 0.01 - top), top
    if look.shoes.kind == "boot" and trousers.cut == "slim":
        field, covered = torch.minimum(field, cuts.MARGIN - shoe), torch.maximum(covered, shoe)
    belt = None if trousers.belt is None else (trousers.belt, trousers.waist)
    cloth = Cloth(trousers.fabric, Wrinkles(rng, 0.0042), hem=0.018, fly=True, belt=belt)
    return wearer.piece(
        "trousers", cloth, wearer.anatomy.body.tights, field, trousers_surface(wearer, trousers.cut), covered=covered,
        two_sided=True,
    )  # fmt: skip


def _jacket(wearer: Wearer, look: Look, jacket: Jacket, field: Tensor, rng: np.random.Generator) -> list[Piece]:
    shape = Top(jacket.fabric, loose=0.55, hem=jacket.hem)
    cloth = Cloth(jacket.fabric, Wrinkles(rng, 0.0045), hem=0.02, placket=jacket.gap < 0)
    body = wearer.anatomy.body
    surface = top_surface(wearer, shape, 0.016)
    pieces = [wearer.piece("outerwear", cloth, body.tights, field, surface, two_sided=True)]
    if jacket.collar:
        where = wearer.canonical
        inside = cuts.neckline(where, "crew")
        band = torch.minimum(torch.minimum(inside + 0.02, 0.035 - inside), (0.3 - where.arm_share) * 0.5)
        if jacket.gap >= 0:
            band = torch.minimum(band, cuts.front_opening(where, jacket.gap * 0.6))
        band = torch.where(where.z < 0.5, torch.full_like(band, _NOWHERE), band)
        raised = (
            top_surface(wearer, shape, 0.026)
            + wearer.tights_normals * (0.006 * (1 - (inside / 0.03).clamp(0, 1)))[:, None]
        )
        trim = Cloth(jacket.fabric, Wrinkles(rng, 0.0008), hem=0.007)
        pieces.append(wearer.piece("outerwear", trim, body.tights, band, raised, two_sided=True))
    return pieces


def _socks(wearer: Wearer, socks: Socks, shoe: Tensor, rng: np.random.Generator) -> Piece:
    field = torch.minimum(cuts.shaft(wearer.canonical, socks.height), cuts.MARGIN - shoe)
    cloth = Cloth(Fabric("knit", (socks.colour, (0.7, 0.7, 0.7), socks.colour)), Wrinkles(rng, 0.001), rib=True)
    surface = wearer.tights + wearer.tights_normals * 0.003
    return wearer.piece("socks", cloth, wearer.anatomy.body.tights, field, surface, covered=shoe, two_sided=True)


def _body(wearer: Wearer, look: Look, covered: Tensor, rng: np.random.Generator) -> list[Piece]:
    body = wearer.anatomy.body
    skin = Skin(wearer.anatomy, look.face, look.hair, rng)
    field = cuts.MARGIN - covered
    pieces = [
        wearer.piece(
            "skin", skin, body.faces[~body.is_eye], field, wearer.rest, covered=covered, detail=body.lips - body.nails,
            canonical=wearer.anatomy.skin_canonical,
        )
    ]  # fmt: skip
    eyes = Eyes(wearer.anatomy, look.face.iris)
    always = torch.full_like(field, 0.1)
    pieces.append(
        wearer.piece(
            "face", eyes, body.faces[body.is_eye], always, wearer.rest, canonical=wearer.anatomy.skin_canonical
        )
    )
    return pieces
