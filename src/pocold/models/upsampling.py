"""Nearest enlarging by two, then a 3x3 convolution: the same values from the small map, with 4/9 of the products.

Enlarging makes four equal pixels of one. So a 3x3 window over the enlarged map sees 2x2 pixels of the small one, some
of them two or four times: weights that meet the same pixel are added first. Which they are depends on where in its four
the middle of the window lies, so there are four 2x2 convolutions, one for each.

Legend: B batch, C channels in, O out, h w size of the small map.
"""

from collections.abc import Iterable, Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEAST = 64  # pixels of a small map: adding the weights costs as much as their products with some 30 pixels


class Upsample(nn.Module):
    """Nearest enlarging and a 3x3 convolution, which has the names of diffusers' ``Upsample2D`` for its weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: Tensor, output_size: tuple[int, int]) -> Tensor:
        """``(B, C, h, w)`` -> ``(B, C, *output_size)``; from the small map where that is exact and pays."""
        height, width = hidden.shape[-2:]
        if takes_small_map(self.conv, hidden) and tuple(output_size) == (2 * height, 2 * width):
            return convolve_doubled(F.pad(hidden, (1, 1, 1, 1)), merged_weights(self.conv.weight), self.conv.bias)
        return self.conv(F.interpolate(hidden, size=output_size, mode="nearest"))


def takes_small_map(conv: nn.Module, hidden: Tensor) -> bool:
    """Whether a convolution after enlarging ``hidden`` is computed from the small map.

    Not where gradients are asked for or torch.compile reads along, not for adapters in its place, not for maps
    so small that adding weights costs what is saved, and not on a GPU, where it was not measured.
    """
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and type(conv) is nn.Conv2d
        and hidden.device.type == "cpu"
        and hidden.shape[-2] * hidden.shape[-1] >= _LEAST
    )


def merged_weights(weight: Tensor) -> Iterator[Tensor]:
    """Weights ``(O, C, 3, 3)`` -> those of the four 2x2 convolutions, each ``(O, C, 2, 2)``, made when it is asked for.

    In order: upper left, upper right, lower left, lower right of four pixels. Sums are made in float32.
    """
    outs, channels = weight.shape[:2]
    taps = weight.detach().float().reshape(-1, 9)
    for sums in _sums():
        yield (taps @ sums).view(outs, channels, 2, 2).to(weight.dtype)


def convolve_doubled(padded: Tensor, merged: Iterable[Tensor], bias: Tensor | None) -> Tensor:
    """The convolution of the enlarged map.

    Args:
        padded: the small map with what surrounds it, ``(B, C, h + 2, w + 2)``: zeros, or its neighbours.
        merged: of :func:`merged_weights`.
        bias: ``(O,)`` or None.

    Returns:
        ``(B, O, 2 h, 2 w)``.
    """
    batch, height, width = len(padded), padded.shape[-2] - 2, padded.shape[-1] - 2
    result = None
    for phase, weight in enumerate(merged):
        lower, right = divmod(phase, 2)  # each sees the pixel and those beside it on its own side
        seen = padded[:, :, lower : lower + height + 1, right : right + width + 1]
        values = F.conv2d(seen, weight, bias)
        if result is None:
            result = values.new_empty(batch, len(weight), height, 2, width, 2)
        result[:, :, :, lower, :, right] = values
    assert result is not None
    return result.view(batch, -1, 2 * height, 2 * width)


@cache
def _sums() -> Tensor:
    """Which of nine taps meet which of four pixels, for each phase: ones and zeros, float32 ``(4, 9, 4)``."""
    meets = torch.zeros(2, 3, 2, dtype=torch.float32, device="cpu")  # along one side: which half, tap, pixel
    meets[0, [0, 1, 2], [0, 1, 1]] = 1
    meets[1, [0, 1, 2], [0, 0, 1]] = 1
    return torch.einsum("atp,buq->abtupq", meets, meets).reshape(4, 9, 4)
