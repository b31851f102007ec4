"""Noise that belongs to the surface of the body instead of the picture, for frames that follow each other.

Legend: B pictures, C latent channels, h w latent size, H W picture size.
"""

import torch
from torch import Tensor

from pocold.densepose.encoding import resize_labels
from pocold.densepose.labels import NUM_LABELS

_CELLS = 16  # of each part along U and V


def surface_noise(labels: Tensor, uv: Tensor, channels: int, latent_size: tuple[int, int], seed: int) -> Tensor:
    """Starting noise that moves with the body: one draw per cell of its chart, and per pixel of the background.

    Args:
        labels: of the poses, integers 0..24, ``(B, H, W)``.
        uv: ``(B, 2, H, W)`` in [0, 1].
        channels: C.
        latent_size: (h, w).
        seed: of the draws; one seed gives one noise whatever the poses.

    Returns:
        float32 ``(B, C, h, w)``, of unit variance.
    """
    generator = torch.Generator().manual_seed(seed)
    background = torch.randn(channels, *latent_size, generator=generator)
    chart = torch.randn(NUM_LABELS, _CELLS, _CELLS, channels, generator=generator)
    parts = resize_labels(labels, latent_size).long()
    u, v = (resize_labels(uv, latent_size) * _CELLS).long().clamp(0, _CELLS - 1).unbind(1)
    body = chart[parts, u, v].permute(0, 3, 1, 2)
    return torch.where((parts > 0)[:, None], body, background)
