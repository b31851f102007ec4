"""The literal form of the method, which the benchmarks compare with: the same formulas in the order they are written.

The target-by-source product ``A`` is formed in every attention, the penalty compares it with a mask of its size, the
guidance branches go through the UNet one after another, and nothing about the source is kept between steps.

Legend: B batch, A heads, N target tokens, M source tokens, K filters, D head width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from pocold.densepose.encoding import resize_labels
from pocold.models import upsampling
from pocold.models.attention import DoubleAttention
from pocold.models.pose_constraint import PoseConstraint
from pocold.models.unet import UNet


def attention(
    self: DoubleAttention, hidden: Tensor, source: Tensor, same_part: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """``A = D^T E``, then ``A v``; the penalty is the mean squared difference of A from the mask, outside the mask."""
    key, value = self._keys_and_values(source)
    product = self.distribution_probabilities(hidden) @ self._extraction(key).transpose(-1, -2)  # (B, A, N, M)
    result = self._merge(hidden, product @ value)
    if same_part is None:
        return result, None
    mask = same_part[:, None].expand_as(product)
    penalty = F.mse_loss(torch.where(mask > 0, mask, product), mask, reduction="none").mean((1, 2, 3))
    return result, penalty


def same_part(self: PoseConstraint, target_size: tuple[int, int], source_size: tuple[int, int]) -> Tensor:
    """float ``(B, N, M)``: 1 where target and source have the same label. Once per level, as ours."""
    key: Any = (target_size, source_size)
    if key not in self._levels:
        target = resize_labels(self.target, target_size).flatten(1)
        source = resize_labels(self.source, source_size).flatten(1)
        self._levels[key] = (target[:, :, None] == source[:, None, :]).float()  # type: ignore[assignment]
    return self._levels[key]  # type: ignore[return-value]


@contextmanager
def literal_form() -> Iterator[None]:
    """Inside, attentions and constraints are in their literal form, and maps are enlarged before a convolution."""
    with (
        mock.patch.object(upsampling, "takes_small_map", return_value=False),
        mock.patch.object(DoubleAttention, "forward", attention),
        mock.patch.object(PoseConstraint, "level", same_part),
    ):
        yield


def guided_step(
    unet: UNet, latents: Tensor, timestep: Tensor, pose: Tensor, features: Sequence[Tensor], w_p: float, w_s: float
) -> Tensor:
    """One guided prediction by the default formula: three passes, one after another."""
    with literal_form():
        null = unet(latents, timestep, torch.zeros_like(pose)).sample
        pose_only = unet(latents, timestep, pose).sample
        full = unet(latents, timestep, pose, features).sample
    return null + w_p * (pose_only - null) + w_s * (full - pose_only)
