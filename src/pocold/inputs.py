"""What the pipeline's outer door accepts, checked and brought to one form.

Legend: B pictures or people, C latent channels, h w latent size.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from pocold.densepose import DensePose, PoseInput, body_part_labels, resize_labels
from pocold.formats.reading import load_pose
from pocold.sampling import Generator


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raise a ValueError unless ``value`` is a whole number (of any kind but bool) in low..high."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {bounds}, got {value!r}")


def check_finite(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise a ValueError unless ``value`` is a finite number in [low, high]."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value!r}")


def check_one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise a ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}: expected one of {', '.join(choices)}")


def listed(value: Any) -> list[Any]:
    """One or several of something, as a list; None is none."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def load_poses(pose: PoseInput | Sequence[PoseInput] | None) -> list[DensePose]:
    """One pose or several, as maps; ValueError naming the one that is none."""
    poses = listed(pose)
    if not poses:
        raise ValueError("pose: expected a DensePose map, or several, got none")
    return [load_pose(item, "pose" if len(poses) == 1 else f"pose {i}") for i, item in enumerate(poses)]


def token_masks(
    labels: Tensor, sizes: Sequence[tuple[int, int]], parts: str | int | Sequence[str | int]
) -> list[Tensor]:
    """Which source tokens belong to body parts.

    Args:
        labels: ``(B, H, W)``, body labels 0..24.
        sizes: (height, width) of each level.
        parts: names or labels, see ``densepose.body_part_labels``.

    Returns:
        Per level bool ``(B, h*w)``: tokens whose label, reduced to the level's size, is among ``parts``.

    Raises:
        ValueError: for an unknown part, or if the finest level shows none of them.
    """
    wanted = torch.tensor(sorted(body_part_labels(parts)), device=labels.device, dtype=labels.dtype)
    masks = [torch.isin(resize_labels(labels, size), wanted).flatten(1) for size in sizes]
    if not masks[0].any(-1).all():
        raise ValueError(f"parts: the source's map shows nothing of {parts!r}; it cannot be extracted from there")
    return masks


def starting_noise(
    shape: tuple[int, ...], generator: Generator, latents: Tensor | None, device: torch.device
) -> Tensor:
    """The noise all pictures start from, float32 ``(B, C, h, w)``: one draw, whatever the batches, or ``latents``.

    Raises:
        ValueError: if there are not as many generators as pictures, or ``latents`` have another shape or hold NaN.
    """
    if generator is not None and not isinstance(generator, torch.Generator | list):
        raise ValueError(f"generator must be a torch.Generator or a list of them, got {type(generator).__name__}")
    if isinstance(generator, list) and len(generator) != shape[0]:
        raise ValueError(f"expected one generator, or one per picture ({shape[0]}), got {len(generator)}")
    if latents is None:
        return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
    if not isinstance(latents, Tensor) or tuple(latents.shape) != shape:
        got = tuple(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
        raise ValueError(f"latents must be a tensor of shape {shape}, got {got}")
    if not torch.isfinite(latents).all():
        raise ValueError("latents hold NaN or infinity")
    return latents.to(device, torch.float32)
