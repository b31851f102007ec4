"""What the networks are built of: the residual block of both, and the UNet's blocks (PoCoLD, method.md 2).

Legend: B batch, R rows of the batch that have an appearance, C channels, H W level size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pocold.models.attention import DoubleAttention
from pocold.models.pose_constraint import PoseConstraint


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


class UNetBlock(nn.Module):
    """Residual blocks, each followed by a double attention, then at most one change of size.

    ``widths`` are the input channels of each residual block; the last residual block of the middle has no attention.
    """

    def __init__(
        self,
        level: int,
        widths: Sequence[int],
        out_channels: int,
        source_channels: int,
        *,
        num_attentions: int,
        num_heads: int,
        num_filters: int,
        time_channels: int,
        groups: int,
        eps: float,
    ) -> None:
        super().__init__()
        self.level = level
        self.resnets = nn.ModuleList(ResidualBlock(width, out_channels, time_channels, groups, eps) for width in widths)
        self.attentions = nn.ModuleList(
            DoubleAttention(out_channels, source_channels, num_heads, num_filters) for _ in range(num_attentions)
        )
        self.downsamplers = nn.ModuleList()
        self.upsamplers = nn.ModuleList()

    def layers(self) -> Iterator[tuple[nn.Module, DoubleAttention | None]]:
        """Pairs of (residual block, attention after it or None)."""
        for i, resnet in enumerate(self.resnets):
            attention = self.attentions[i] if i < len(self.attentions) else None
            yield resnet, cast(DoubleAttention | None, attention)


@dataclass(frozen=True)
class ForwardPass:
    """What every layer of one forward pass of the UNet sees besides the hidden state.

    Attributes:
        time: ``(B, 4 C_0)``.
        rows: int64 ``(R,)``, rows of the batch that have an appearance; None for all.
        constraint: asks for the penalty.
        encoded: whether the attentions get appearance codes, not features.
    """

    time: Tensor
    rows: Tensor | None
    constraint: PoseConstraint | None
    encoded: bool

    def layer(
        self, resnet: nn.Module, attention: DoubleAttention | None, source: Tensor | None, *hidden: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """One residual block (on its inputs side by side) and the attention after it: a unit of checkpointing.

        Returns:
            The hidden state and, if asked for, the penalty of each row that the constraint compares.
        """
        result = resnet(hidden[0] if len(hidden) == 1 else torch.cat(hidden, dim=1), self.time)
        if attention is None or source is None:
            return result, None
        if self.rows is None:
            return self._attend(attention, source, result)
        attended, penalty = self._attend(attention, source, result.index_select(0, self.rows))
        return result.index_copy(0, self.rows, attended), penalty

    def _attend(self, attention: DoubleAttention, source: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.encoded:
            return attention.distribute(hidden, source), None
        groups = None
        if self.constraint is not None:
            sizes = [(feature.shape[-2], feature.shape[-1]) for feature in (hidden, source)]
            groups = self.constraint.level(sizes[0], sizes[1])
        return attention(hidden, source, groups)
