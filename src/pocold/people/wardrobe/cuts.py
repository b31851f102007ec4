"""Where garments begin and end: fields over the base mesh, positive inside, about metres from the edge.

Every field is continuous, so that cutting along its zero line gives smooth hems. Legend: V vertices.
"""

import torch
from torch import Tensor

from pocold.people.body.anatomy import Canonical
from pocold.people.rendering.surface import smoothstep

NECKLINES = ("crew", "v", "scoop", "boat", "turtle", "shirt")
_ARM, _LEG = 0.26, 0.44  # metres per unit of arm and leg coordinate
_NECK_Z = 0.705
MARGIN = 0.03  # how far a covered piece reaches under the edge of what covers it


def _ellipse(where: Canonical, width: float, depth: float) -> Tensor:
    """Outside an ellipse around the neck, and below its top."""
    radius = torch.hypot(where.x / width, (where.z - _NECK_Z) / depth) - 1
    return torch.minimum(torch.where(where.z < _NECK_Z - depth, 0.2, radius * min(width, depth)), 0.70 - where.z)


def neckline(where: Canonical, kind: str) -> Tensor:
    """Below the neckline, ``(V,)``.

    Raises:
        ValueError: for an unknown kind.
    """
    if kind not in NECKLINES:
        raise ValueError(f"unknown neckline {kind!r}: expected one of {', '.join(NECKLINES)}")
    if kind == "turtle":
        return 0.752 - where.z
    back = _ellipse(where, 0.075, 0.033)
    match kind:
        case "crew":
            front = _ellipse(where, 0.076, 0.055)
        case "scoop":
            front = _ellipse(where, 0.098, 0.115)
        case "boat":
            front, back = _ellipse(where, 0.12, 0.04), _ellipse(where, 0.11, 0.04)
        case _:  # a V, deep or the open collar of a shirt
            low, slope = (0.575, 0.6) if kind == "shirt" else (0.545, 0.52)
            vee = (where.x.abs() - (where.z - low).clamp(min=0) * slope) * 0.87
            front = torch.minimum(torch.where(where.z < low - 0.01, 0.2, vee), _ellipse(where, 0.072, 0.048))
    return torch.lerp(back, front, smoothstep(where.offset[:, 1], 0.02, -0.02))


def torso_top(where: Canonical, hem: float, sleeve: float, kind: str) -> Tensor:
    """A top from ``hem`` (height on the average body) to its neckline, sleeves to the arm coordinate ``sleeve``.

    A negative ``sleeve`` makes a tank top: -0.6 with narrow straps, -0.4 with wide ones. Narrower ones break up.
    """
    above = torch.maximum(where.z - hem, (where.arm_share - 0.35) * 0.5)
    below_neck = torch.maximum(neckline(where, kind), (where.arm_share - 0.6) * 0.3)
    if sleeve < 0:
        wider = 0.05 * (1 + sleeve)
        shoulder = 0.205 + wider - 0.095 * ((where.z - 0.46) / 0.16).clamp(0, 1)
        sides = torch.minimum(shoulder - where.x.abs(), (0.42 - where.arm_share) * 0.2)
    else:
        sides = torch.maximum((sleeve - where.arm) * _ARM, (0.5 - where.arm_share) * 0.3)
    return torch.minimum(torch.minimum(above, below_neck), sides)


def trousers(where: Canonical, waist: float, length: float) -> Tensor:
    """From the waist (height) down to the leg coordinate ``length``."""
    field = torch.minimum(waist - where.z, (length - where.leg) * _LEG)
    return torch.minimum(field, (0.3 - where.arm_share) * 0.4)


def front_opening(where: Canonical, gap: float) -> Tensor:
    """Everything but an open front, wider at the hem."""
    opening = gap * (0.8 + 0.9 * (0.62 - where.z).clamp(0, 0.7))
    return torch.maximum(where.x.abs() - opening, where.offset[:, 1] + 0.03)


def shaft(where: Canonical, top: float) -> Tensor:
    """Below the leg coordinate ``top``: socks, boots, high shoes."""
    return torch.minimum((where.leg - top) * _LEG, (0.3 - where.arm_share) * 0.4)


def low_shoe(where: Canonical, floor: float, vamp: float) -> Tensor:
    """A low shoe: heel and rim to the ankle bone, open over the instep behind ``vamp`` (canonical y)."""
    height = where.z - floor
    rim = 0.062 - 0.03 * smoothstep(where.y, 0.02, -0.06)
    rim = rim + 0.05 * smoothstep(where.y, vamp + 0.02, vamp - 0.03)
    return torch.minimum(rim - height, shaft(where, 1.7))
