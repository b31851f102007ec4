"""A pose as the networks take it: labels brought to the size of the latents, one channel each (PoCoLD, method.md 1).

Legend: H W size of a map, h w that of latents or of a level, B batch.
"""

from typing import Literal

import torch
from torch import Tensor

from pocold.densepose.labels import NUM_LABELS

# What the UNet sees of a pose: labels alone, as published, or U and V as well. Channels of each.
PoseEncoding = Literal["labels", "iuv"]
POSE_CHANNELS: dict[str, int] = {"labels": NUM_LABELS, "iuv": NUM_LABELS + 2}


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Reduce label maps to a level's own size by nearest neighbour, in exact integer arithmetic.

    Row ``i`` of the result is row ``floor(i * H / h)`` of the input, as in torch's ``nearest``; because any size is
    reduced from the map itself, levels of odd latents stay aligned with their features.

    Args:
        labels: ``(..., H, W)``, any dtype.
        size: ``(h, w)``.

    Returns:
        ``(..., h, w)``, dtype and device of ``labels``.
    """
    (height, width), (h, w) = labels.shape[-2:], size
    if (height, width) == (h, w):
        return labels
    rows = torch.arange(h, device=labels.device) * height // h
    columns = torch.arange(w, device=labels.device) * width // w
    return labels[..., rows[:, None], columns]


def one_hot(labels: Tensor, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    """The pose as the UNet takes it (method.md 1): labels at latent size, one channel per label.

    Args:
        labels: ``(B, H, W)``, integers 0..24 at any resolution.
        size: latent size ``(h, w)``.

    Returns:
        ``(B, 25, h, w)``, zeros and ones. A dropped pose is this times zero.
    """
    resized = resize_labels(labels, size).long()
    return torch.nn.functional.one_hot(resized, NUM_LABELS).permute(0, 3, 1, 2).to(dtype).contiguous()


def encode_pose(labels: Tensor, uv: Tensor | None, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    """The pose as the UNet takes it: :func:`one_hot`, and with ``uv`` two more channels, zero in the background.

    Args:
        labels: ``(B, H, W)``, integers 0..24 at any resolution.
        uv: ``(B, 2, H, W)`` in [0, 1] for the encoding ``iuv``, None for ``labels``.
        size: latent size ``(h, w)``.

    Returns:
        ``(B, 25 or 27, h, w)``. A dropped pose is this times zero.
    """
    encoded = one_hot(labels, size, dtype)
    if uv is None:
        return encoded
    body = 1 - encoded[:, :1]
    return torch.cat([encoded, resize_labels(uv, size).to(dtype) * body], dim=1)
