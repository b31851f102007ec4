"""The residual block of both networks (PoCoLD, method.md 2).

Legend: B batch, C channels, H W level size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU, 3x3 convolution, twice; the time embedding is added after the first convolution.

    What it computes and the names of its weights are those of diffusers' ``ResnetBlock2D``; it only leaves out that
    block's options, and with them a pass over the map per option.

    Args:
        channels: of the input.
        out_channels: of the result; where they differ a 1x1 convolution adapts the shortcut.
        time_channels: of the time embedding, or None for a block without one.
        groups: of both GroupNorms.
        eps: of both GroupNorms.
    """

    def __init__(self, channels: int, out_channels: int, time_channels: int | None, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=eps)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_channels, out_channels) if time_channels is not None else None
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else None

    def forward(self, hidden: Tensor, time: Tensor | None = None) -> Tensor:
        """``hidden (B, channels, H, W)`` and ``time (B, time_channels)`` -> ``(B, out_channels, H, W)``."""
        # Without gradients nobody needs what SiLU overwrites.
        in_place = not torch.is_grad_enabled()
        result = self.conv1(F.silu(self.norm1(hidden), inplace=in_place))
        if self.time_emb_proj is not None and time is not None:
            result += self.time_emb_proj(F.silu(time))[:, :, None, None]
        result = self.conv2(F.silu(self.norm2(result), inplace=in_place))
        shortcut = hidden if self.conv_shortcut is None else self.conv_shortcut(hidden)
        return shortcut + result  # not in place: under mixed precision the shortcut stays in float32
