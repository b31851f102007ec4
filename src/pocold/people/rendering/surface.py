"""What a material sees and gives: the contract between geometry, fabrics, skin, hair and light. Legend: N points."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pocold.people.body.anatomy import Canonical

CLASSES = ("background", "skin", "face", "hair", "top", "trousers", "skirt", "dress", "shoes", "outerwear", "socks")
CLASS_ID = {name: i for i, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class Surface:
    """N visible points of one piece.

    Attributes:
        where: canonical coordinates.
        edge: ``(N,)``, metres from the piece's cut edge, positive inside.
        inside_out: bool ``(N,)``, seen from behind.
        detail: ``(N,)``, a number whose meaning belongs to the piece (lips of the skin, row of a strand, ...).
        sway: ``(N, 3)``, a small shift of wrinkles that differs from pose to pose.
    """

    where: Canonical
    edge: Tensor
    inside_out: Tensor
    detail: Tensor
    sway: Tensor


@dataclass(frozen=True)
class Shade:
    """How N points look before light falls on them.

    Attributes:
        colour: ``(N, 3)``, sRGB in [0, 1].
        height: ``(N,)``, metres of relief (wrinkles, strands) that bends the normals.
        gloss: ``(N,)``, strength of the highlight.
        alpha: ``(N,)`` opacity, or None for solid.
        garment: int64 ``(N,)`` class, or None for the piece's own.
    """

    colour: Tensor
    height: Tensor
    gloss: Tensor
    alpha: Tensor | None = None
    garment: Tensor | None = None


Material = Callable[[Surface], Shade]


def mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """``a`` where share is 0, ``b`` where it is 1; colours ``(.., 3)`` and shares ``(N,)``."""
    return a + (b - a) * share[:, None]


def bump(values: Tensor, centre: float, width: float) -> Tensor:
    """A smooth hill of height 1."""
    return torch.exp(-(((values - centre) / width) ** 2))


def smoothstep(values: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, smooth in between; ``low`` may be the larger one."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


class SineField:
    """Smooth noise in space: a sum of sine waves with random directions; unit variance, any point, no tables."""

    def __init__(
        self,
        rng: np.random.Generator,
        waves: int,
        low: float,
        high: float,
        stretch: tuple[float, float, float] = (1, 1, 1),
    ) -> None:
        """Frequencies from ``low`` to ``high`` per metre, multiplied by ``stretch`` along x, y, z."""
        direction = rng.normal(size=(waves, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        frequency = np.exp(rng.uniform(np.log(low), np.log(high), (waves, 1)))
        amplitude = (low / frequency[:, 0]) ** 0.7
        amplitude *= np.sqrt(2) / np.linalg.norm(amplitude)
        self._wave = torch.tensor(
            direction * frequency * 2 * np.pi * np.array(stretch), dtype=torch.float32
        ).T.contiguous()
        self._phase = torch.tensor(rng.uniform(0, 2 * np.pi, waves), dtype=torch.float32)
        self._amplitude = torch.tensor(amplitude, dtype=torch.float32)

    def __call__(self, points: Tensor) -> Tensor:
        """``(N, 3)`` metres to ``(N,)``."""
        device = points.device
        waves = torch.sin(points @ self._wave.to(device) + self._phase.to(device))
        return waves @ self._amplitude.to(device)
