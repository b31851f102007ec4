"""What the baselines are built of, besides the blocks of our own networks (``pocold.models.blocks``).

Legend: B pictures, H W size of a map, C channels, N target tokens, M source tokens, A heads, D = C/A.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention from one feature map to another, of any other size, added to the former."""

    def __init__(self, channels: int, source_channels: int, num_heads: int, groups: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.GroupNorm(groups, channels, eps=eps)
        self.norm_source = nn.GroupNorm(groups, source_channels, eps=eps)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(source_channels, channels)
        self.to_v = nn.Linear(source_channels, channels)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, hidden: Tensor, source: Tensor) -> Tensor:
        """``hidden (B, C, H, W)`` and ``source (B, C', H', W')`` -> ``(B, C, H, W)``."""
        tokens = self.norm_source(source).flatten(2).transpose(1, 2)  # (B, M, C')
        query = self._heads(self.to_q(self.norm(hidden).flatten(2).transpose(1, 2)))  # (B, A, N, D)
        attended = F.scaled_dot_product_attention(query, self._heads(self.to_k(tokens)), self._heads(self.to_v(tokens)))
        result = self.to_out(attended.transpose(1, 2).flatten(2))  # (B, N, C)
        return hidden + result.transpose(1, 2).contiguous().view_as(hidden)

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, T, C) -> (B, A, T, D)


class Part(nn.Module):
    """A part of a network whose layers can be checkpointed: ``ModelMixin.enable_gradient_checkpointing`` sets both."""

    _gradient_checkpointing_func: Callable[..., Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False

    def run(self, layer: nn.Module, *inputs: Tensor | None) -> Tensor:
        """``layer(*inputs)``; where asked for, only the inputs are kept for the gradient."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(layer, *inputs)
        return layer(*inputs)


def from_preset(
    cls: type[Any], presets: Mapping[str, Mapping[str, Any]], name: str, seed: int, options: Mapping[str, Any]
) -> Any:
    """An untrained network of a preset, in eval mode; one seed gives one set of weights. Leaves the global RNG alone.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in presets:
        raise ValueError(f"unknown preset {name!r}: expected one of {', '.join(presets)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(**{**presets[name], **options}).eval()
