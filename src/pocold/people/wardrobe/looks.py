"""Who a person is: build, face, hair and clothes, drawn at random with colours that go together.

Everyone is an adult and always wears a top and something below, or a dress.
"""

from dataclasses import dataclass

import numpy as np

from pocold.people.body.body import BodyShape
from pocold.people.rendering.skin import Face, skin_tone
from pocold.people.wardrobe.fabric import DENIMS, Colour, Fabric, Palette, jitter, luminance, random_palette
from pocold.people.wardrobe.garments import Jacket, Shoes, Top, Trousers
from pocold.people.wardrobe.grids import Skirt
from pocold.people.wardrobe.hair import Hair


@dataclass(frozen=True)
class Socks:
    """Socks up to the leg coordinate ``height`` (1.9 ankle, 1.2 knee)."""

    colour: Colour
    height: float = 1.8


@dataclass(frozen=True)
class Look:
    """A person's appearance.

    Attributes:
        shape: the build.
        face, hair: see there.
        top: always there; with ``dress`` its fabric continues into the skirt.
        bottom: trousers or a skirt.
        dress: top and skirt are one garment.
        jacket: worn open or closed over the top, or None.
        shoes: always there.
        socks: or None.
        seed: of wrinkles, strands and mottling.

    Raises:
        ValueError: for a dress without a skirt.
    """

    shape: BodyShape
    face: Face
    hair: Hair
    top: Top
    bottom: Trousers | Skirt
    shoes: Shoes
    jacket: Jacket | None = None
    socks: Socks | None = None
    dress: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dress and not isinstance(self.bottom, Skirt):
            raise ValueError("a dress needs a Skirt as its lower part, got Trousers")

    @property
    def calm(self) -> bool:
        """Whether the skirt allows only small steps."""
        return isinstance(self.bottom, Skirt) and (self.bottom.length > 1.15 or self.bottom.flare < 0.12)


_HAIR_COLOURS: tuple[Colour, ...] = (
    (0.055, 0.05, 0.05), (0.11, 0.08, 0.06), (0.21, 0.135, 0.09), (0.33, 0.21, 0.13), (0.50, 0.35, 0.19),
    (0.74, 0.58, 0.36), (0.44, 0.18, 0.09), (0.58, 0.58, 0.58),
)  # fmt: skip
_IRIS: tuple[Colour, ...] = ((0.22, 0.13, 0.07), (0.25, 0.40, 0.55), (0.30, 0.38, 0.24))
_LIPS: tuple[Colour, ...] = ((0.72, 0.16, 0.2), (0.68, 0.3, 0.34), (0.5, 0.14, 0.2), (0.78, 0.42, 0.4))


def _pick(rng: np.random.Generator, odds: dict[str, float]) -> str:
    weights = np.array(list(odds.values()))
    return list(odds)[int(rng.choice(len(odds), p=weights / weights.sum()))]


def _number(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def random_look(rng: np.random.Generator) -> Look:
    """An adult with a catalogue outfit."""
    woman = bool(rng.uniform() < 0.55)
    shape, african, asian = _random_shape(rng, woman)
    depth = float(np.clip(african * 0.9 + asian * 0.34 + (1 - african - asian) * 0.14 + rng.normal() * 0.08, 0, 1))
    hair = _random_hair(rng, woman, shape.age, depth)
    eyes = _IRIS[int(rng.choice(3, p=[0.85, 0.09, 0.06] if depth > 0.4 else [0.5, 0.3, 0.2]))]
    face = Face(
        skin_tone(depth), jitter(eyes, rng),
        _LIPS[int(rng.integers(len(_LIPS)))], _number(rng, 0.2, 0.9) if woman else 0.0,
        _number(rng, 0.0034, 0.0046) if woman else _number(rng, 0.0044, 0.0062),
        0.0 if woman or rng.uniform() < 0.5 else float(rng.choice([0.25, 0.4, 0.8])),
        _number(rng, 0, 1) if depth < 0.25 and rng.uniform() < 0.25 else 0.0,
    )  # fmt: skip
    palette = random_palette(rng)
    outfit = _pick(
        rng,
        {"trousers": 0.46, "shorts": 0.1, "skirt": 0.2, "dress": 0.24} if woman else {"trousers": 0.78, "shorts": 0.22},
    )
    top = _random_top(rng, palette, woman, outfit)
    bottom = _random_bottom(rng, palette, woman, outfit, top)
    jacket = None
    if outfit != "dress" and top.sleeve > 0 and rng.uniform() < 0.24:
        jacket = _random_jacket(rng, palette, top)
    shoes = _random_shoes(rng, palette, woman, outfit)
    socks = None
    bare_ankle = isinstance(bottom, Skirt) or bottom.length < 1.8
    if shoes.kind in ("sneaker", "hightop") and bare_ankle and rng.uniform() < 0.65:
        socks = Socks(
            (0.93, 0.93, 0.92) if rng.uniform() < 0.7 else palette.dark, float(rng.choice([1.86, 1.72, 1.55]))
        )
    return Look(shape, face, hair, top, bottom, shoes, jacket, socks, outfit == "dress", int(rng.integers(2**31)))


def _random_shape(rng: np.random.Generator, woman: bool) -> tuple[BodyShape, float, float]:
    african, asian, caucasian = (float(v) for v in rng.dirichlet([0.5] * 3))
    shape = BodyShape(
        gender=_number(rng, 0.86, 1) if woman else _number(rng, 0, 0.14), age=_number(rng, 0.667, 0.85),
        muscle=_number(rng, 0.38, 0.72), weight=float(np.clip(rng.normal(0.43, 0.13), 0.2, 0.85)),
        height=_number(rng, 0.3, 0.75), proportions=_number(rng, 0.55, 1), cupsize=_number(rng, 0.25, 0.65),
        firmness=_number(rng, 0.5, 0.9), african=african, asian=asian, caucasian=caucasian,
    )  # fmt: skip
    return shape, african, asian


def _random_hair(rng: np.random.Generator, woman: bool, age: float, depth: float) -> Hair:
    if woman:
        odds = {
            "long": 0.36,
            "bob": 0.16,
            "bun": 0.16,
            "ponytail": 0.17,
            "short": 0.05,
            "curly": 0.06,
            "afro": 0.12 if depth > 0.5 else 0.0,
        }
    else:
        odds = {
            "short": 0.34,
            "side": 0.22,
            "quiff": 0.16,
            "buzz": 0.14,
            "curly": 0.1,
            "bald": 0.04,
            "afro": 0.12 if depth > 0.5 else 0.0,
        }
    dark = (
        np.array([0.3, 0.28, 0.22, 0.03, 0.0, 0.01, 0.0, 0.02])
        if depth > 0.45
        else np.array([0.12, 0.16, 0.22, 0.18, 0.14, 0.1, 0.06, 0.02])
    )
    dark[-1] += max(0.0, age - 0.75) * 4
    colour = _HAIR_COLOURS[int(rng.choice(len(dark), p=dark / dark.sum()))]
    return Hair(
        _pick(rng, odds), jitter(colour, rng), _number(rng, 0.4, 0.62), _number(rng, -0.03, 0.03),
        max(0.0, float(rng.normal()) * 0.006) if not woman else 0.0,
    )  # fmt: skip


def _fabric(
    rng: np.random.Generator, odds: dict[str, float], colours: tuple[Colour, Colour, Colour], centre: float = 0.5
) -> Fabric:
    pattern = _pick(rng, odds)
    if pattern == "denim":
        cloth = DENIMS[int(rng.integers(len(DENIMS)))]
        light = (min(1.0, cloth[0] + 0.22), min(1.0, cloth[1] + 0.22), min(1.0, cloth[2] + 0.2))
        colours = (cloth, light, (0.72, 0.55, 0.35))
    return Fabric(
        pattern, colours, _number(rng, 0.03, 0.075), _number(rng, 0.28, 0.58), float(rng.choice([0.02, 0.04, 0.12])),
        int(rng.integers(2**31)), centre,
    )  # fmt: skip


def _random_top(rng: np.random.Generator, palette: Palette, woman: bool, outfit: str) -> Top:
    colours = (palette.main, palette.accent, palette.contrast)
    if rng.uniform() < 0.4:
        colours = (palette.accent, palette.main, palette.contrast)
    kinds = {"tee": 0.36, "long": 0.2, "shirt": 0.2, "knit": 0.14, "tank": 0.1 if woman else 0.04}
    kind = _pick(rng, kinds)
    odds = {
        "tee": {
            "solid": 0.3,
            "logo": 0.2,
            "letters": 0.14,
            "hstripe": 0.16,
            "heather": 0.08,
            "block": 0.06,
            "gradient": 0.03,
            "dots": 0.03,
        },
        "long": {"solid": 0.35, "hstripe": 0.25, "heather": 0.15, "letters": 0.1, "floral": 0.08, "block": 0.07},
        "shirt": {"solid": 0.4, "plaid": 0.25, "vstripe": 0.2, "denim": 0.06, "dots": 0.05, "floral": 0.04},
        "knit": {"knit": 0.5, "hstripe": 0.2, "heather": 0.2, "block": 0.1},
        "tank": {"solid": 0.5, "hstripe": 0.2, "floral": 0.12, "dots": 0.1, "logo": 0.08},
    }[kind]
    if not woman:
        odds.pop("floral", None)
    if outfit == "dress":
        kind = _pick(rng, {"tee": 0.4, "long": 0.25, "tank": 0.35})
        odds = {
            "solid": 0.32,
            "floral": 0.26,
            "dots": 0.14,
            "hstripe": 0.1,
            "plaid": 0.08,
            "gradient": 0.05,
            "heather": 0.05,
        }
    necks = {
        "crew": 0.55,
        "v": 0.2,
        "scoop": 0.12 if woman else 0.02,
        "boat": 0.08 if woman else 0.0,
        "turtle": 0.12 if kind in ("long", "knit") else 0.0,
    }
    sleeve = {
        "tee": _number(rng, 0.42, 0.66),
        "long": 1.93,
        "shirt": float(rng.choice([1.95, 1.95, 1.25, 0.6])),
        "knit": 1.95,
        "tank": -0.6 if woman else -0.4,
    }[kind]
    if kind == "long" and rng.uniform() < 0.25:
        sleeve = _number(rng, 1.2, 1.45)
    neckline = "shirt" if kind == "shirt" else "scoop" if kind == "tank" else _pick(rng, necks)
    tucked = outfit == "skirt" or (outfit != "dress" and rng.uniform() < (0.35 if woman else 0.15))
    loose = _number(rng, 0.05, 0.3) if kind == "tank" or outfit == "dress" else _number(rng, 0.15, 1.0)
    hem = 0.165 if outfit == "dress" else _number(rng, 0.05, 0.12)
    return Top(_fabric(rng, odds, colours), neckline, sleeve, hem, tucked, loose * (0.6 if tucked else 1.0))


def _random_bottom(rng: np.random.Generator, palette: Palette, woman: bool, outfit: str, top: Top) -> Trousers | Skirt:
    plain = (palette.neutral if rng.uniform() < 0.55 else palette.dark, palette.accent, palette.contrast)
    quiet = {"solid": 0.62, "denim": 0.3, "plaid": 0.04, "vstripe": 0.04}
    busy = {"solid": 0.5, "plaid": 0.14, "floral": 0.1, "dots": 0.08, "denim": 0.14, "vstripe": 0.04}
    if outfit == "dress":
        return Skirt(
            top.fabric,
            float(rng.choice([0.55, 0.7, 0.9, 1.2, 1.7], p=[0.16, 0.26, 0.28, 0.16, 0.14])),
            _number(rng, 0.1, 0.5),
            int(rng.integers(7, 12)),
        )
    if outfit == "skirt":
        odds = busy if top.fabric.pattern in ("solid", "knit", "heather") else quiet
        flare = 0.0 if rng.uniform() < 0.25 else _number(rng, 0.15, 0.55)
        length = float(rng.choice([0.55, 0.72, 0.95, 1.25, 1.65], p=[0.22, 0.28, 0.26, 0.14, 0.1]))
        return Skirt(_fabric(rng, odds, plain), length, flare, int(rng.integers(7, 13)))
    belt = palette.dark if top.tucked and rng.uniform() < 0.6 else None
    if outfit == "shorts":
        length = float(rng.choice([0.38, 0.55, 0.8])) if woman else float(rng.choice([0.7, 0.88]))
        return Trousers(_fabric(rng, quiet, plain), length, "straight" if length < 0.6 else "wide", belt=belt)
    cut = _pick(
        rng,
        {"slim": 0.3, "straight": 0.42, "wide": 0.18, "flared": 0.1}
        if woman
        else {"slim": 0.3, "straight": 0.6, "wide": 0.1},
    )
    length = float(rng.choice([1.99, 1.9, 1.75], p=[0.62, 0.26, 0.12])) if cut != "flared" else 2.02
    return Trousers(_fabric(rng, {**quiet, "denim": 0.42}, plain), length, cut, belt=belt)


def _random_jacket(rng: np.random.Generator, palette: Palette, top: Top) -> Jacket:
    colour = palette.dark if luminance(top.fabric.colours[0]) > 0.35 else palette.neutral
    odds = {"solid": 0.6, "denim": 0.22, "knit": 0.12, "heather": 0.06}
    fabric = _fabric(rng, odds, (colour, palette.accent, palette.contrast))
    gap = -1.0 if rng.uniform() < 0.2 else _number(rng, 0.035, 0.08)
    return Jacket(fabric, _number(rng, 0.04, 0.13), gap, bool(rng.uniform() < 0.7))


def _random_shoes(rng: np.random.Generator, palette: Palette, woman: bool, outfit: str) -> Shoes:
    kinds = {"sneaker": 0.46, "hightop": 0.1, "boot": 0.18, "loafer": 0.16, "flat": 0.14 if woman else 0.0}
    if outfit == "dress":
        kinds = {"flat": 0.45, "sneaker": 0.25, "boot": 0.18, "loafer": 0.12}
    kind = _pick(rng, kinds)
    white, black = (0.93, 0.93, 0.92), (0.08, 0.08, 0.085)
    if kind in ("sneaker", "hightop"):
        colour = (
            white
            if rng.uniform() < 0.45
            else jitter((palette.dark, palette.neutral, palette.contrast)[int(rng.integers(3))], rng)
        )
        trim = white if luminance(colour) < 0.6 else palette.dark
        return Shoes(kind, colour, white if rng.uniform() < 0.8 else black, trim, _number(rng, 0.02, 0.032))
    leathers: tuple[Colour, ...] = (black, (0.25, 0.15, 0.1), (0.42, 0.27, 0.17), (0.75, 0.66, 0.55), palette.dark)
    colour = leathers[int(rng.integers(len(leathers)))]
    sole = (colour[0] * 0.4, colour[1] * 0.4, colour[2] * 0.4)
    return Shoes(kind, colour, sole, colour, _number(rng, 0.012, 0.025))
