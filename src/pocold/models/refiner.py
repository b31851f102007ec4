"""A convolutional network that repairs a drawn picture at full resolution with what the photograph shows.

It sees two pictures of the target: what the diffusion model drew (coherent, soft) and the photograph completed on the
body (sharp, ragged at outlines, wrong where cloth stands off the body), and decides per pixel. It knows nothing of
latents, so it serves pipelines with any autoencoder. There is no norm, which would take the contrast out of the
pictures.

Legend: B pictures, H W picture size, C channels.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from pocold.checkpoints import load_component
from pocold.densepose.labels import NUM_LABELS

_FINEST = 2  # the first level sees everything as space-to-depth of 2x2 pixels
_PICTURES = 9  # drawn, completed, and their difference
_LAST = 0.05  # of the last layer: what is learned starts as a small change of the completed picture


class RefinerBlock(nn.Module):
    """SiLU, 3x3 convolution, twice, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _initialise(self.conv1, 2**0.5)
        _initialise(self.conv2, 0.4)

    def forward(self, hidden: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same."""
        return hidden + self.conv2(F.silu(self.conv1(F.silu(hidden))))


class Refiner(ModelMixin, ConfigMixin):
    """Encoder and decoder with skips; the result is the completed picture plus what the network adds.

    Widths and layers are given finest level first: 1/2 of the picture, 1/4, and so on.

    Args:
        channels: widths of the levels, two to six.
        layers: blocks of each level on the way down, and again on the way up except for the last, where the way turns.
        label_channels: of the embedding of DensePose's labels.
        enlarges: how many times smaller the pictures were drawn that it has learned from: a pipeline draws at
            1/enlarges of the size, and the refiner brings them to it.
        relit: whether it has learned from photographs that were completed in the light of the pose
            (``pocold.densepose.relighting``): a pipeline completes them likewise.

    Raises:
        ValueError: for impossible widths or layers, or a factor below 1.
    """

    later_config_keys = frozenset({"relit"})  # configurations written before it existed mean the default

    @register_to_config
    def __init__(
        self,
        channels: Sequence[int] = (40, 80, 160, 224),
        layers: Sequence[int] = (1, 1, 2, 2),
        label_channels: int = 8,
        enlarges: int = 1,
        relit: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(channels, layers, label_channels, enlarges)
        self.labels_in = nn.Embedding(NUM_LABELS, label_channels)
        seen = _PICTURES + 1 + label_channels + 2
        self.conv_in = nn.Conv2d(seen * _FINEST**2, channels[0], 3, padding=1)
        self.downsamplers = nn.ModuleList(nn.Conv2d(4 * above, below, 1) for above, below in pairwise(channels))
        self.upsamplers = nn.ModuleList(nn.Conv2d(below, 4 * above, 1) for above, below in pairwise(channels))
        self.joiners = nn.ModuleList(nn.Conv2d(2 * width, width, 3, padding=1) for width in channels[:-1])
        self.encoder = _levels(channels, layers)
        self.decoder = _levels(channels[:-1], layers[:-1])
        self.conv_out = nn.Conv2d(channels[0], 3 * _FINEST**2, 3, padding=1)
        for layer in (self.conv_in, *self.downsamplers, *self.upsamplers, *self.joiners):
            _initialise(layer)
        _initialise(self.conv_out, _LAST)

    @property
    def factor(self) -> int:
        """Pictures are padded inside to multiples of this."""
        return _FINEST * 2 ** len(self.downsamplers)

    def forward(self, drawn: Tensor, completed: Tensor, confidence: Tensor, labels: Tensor, uv: Tensor) -> Tensor:
        """Repair pictures of any size.

        Args:
            drawn: ``(B, 3, H, W)`` in [-1, 1], decoded from the diffusion model's latents, and brought to the size by
                :func:`enlarged`.
            completed: ``(B, 3, H, W)`` in [-1, 1], the photograph in the target's pose; see
                ``pocold.densepose.completion`` and, for refiners that are ``relit``, ``relighting``.
            confidence: ``(B, 1, H, W)`` in [0, 1], of ``completed``.
            labels: of the pose, integers 0..24, ``(B, H, W)``.
            uv: of the pose, ``(B, 2, H, W)`` in [0, 1].

        Returns:
            ``(B, 3, H, W)`` in about [-1, 1].

        Raises:
            ValueError: if the shapes do not belong together.
        """
        _check_inputs(drawn, completed, confidence, labels, uv)
        height, width = drawn.shape[-2:]
        embedded = self.labels_in(labels.long()).permute(0, 3, 1, 2).to(drawn.dtype)
        seen = torch.cat([drawn, completed, drawn - completed, confidence, embedded, uv], dim=1)
        padding = (0, -width % self.factor, 0, -height % self.factor)
        hidden = self.conv_in(F.pixel_unshuffle(F.pad(seen, padding, mode="replicate"), _FINEST))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            if level > 0:
                hidden = self.downsamplers[level - 1](F.pixel_unshuffle(hidden, 2))
            hidden = blocks(hidden)
            skips.append(hidden)
        for level in range(len(self.decoder) - 1, -1, -1):
            above = F.pixel_shuffle(self.upsamplers[level](hidden), 2)
            hidden = self.decoder[level](self.joiners[level](torch.cat([above, skips[level]], dim=1)))
        added = F.pixel_shuffle(self.conv_out(F.silu(hidden)), _FINEST)
        return completed + added[..., :height, :width]


def load_refiner(folder: Path, dtype: torch.dtype | None = None) -> Refiner:
    """A refiner from its folder, strictly.

    Args:
        folder: with ``config.json`` and weights, such as ``pocold train-refiner`` writes.
        dtype: None takes float32, whatever the file has: many CPUs are slow in half precision.

    Raises:
        ValueError: as :func:`pocold.checkpoints.load_component`.
    """
    return load_component(Refiner, folder, dtype or torch.float32)


def _levels(channels: Sequence[int], layers: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(*[RefinerBlock(width) for _ in range(count)])
        for width, count in zip(channels, layers, strict=True)
    )


def _initialise(layer: nn.Module, gain: float = 1.0) -> None:
    """Make the outputs ``gain`` times as large as the inputs, which torch's own weights make much smaller."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    nn.init.zeros_(layer.bias)


def enlarged(drawn: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures ``(B, 3, h, w)`` at the refiner's size (height, width); as they are if they have it."""
    if drawn.shape[-2:] == size:
        return drawn
    return F.interpolate(drawn, size, mode="bilinear", align_corners=False)


def _check_settings(channels: Sequence[int], layers: Sequence[int], label_channels: int, enlarges: int) -> None:
    if enlarges < 1:
        raise ValueError(f"enlarges must be at least 1, got {enlarges}")
    if not 2 <= len(channels) <= 6 or len(layers) != len(channels):
        raise ValueError(
            f"expected channels and layers of 2 to 6 levels, as many of each, got {tuple(channels)} and {tuple(layers)}"
        )
    if min(channels) < 1 or min(layers) < 0 or label_channels < 1:
        raise ValueError(
            "channels and label_channels must be at least 1 and layers at least 0, got "
            f"{tuple(channels)}, {label_channels} and {tuple(layers)}"
        )


def _check_inputs(drawn: Tensor, completed: Tensor, confidence: Tensor, labels: Tensor, uv: Tensor) -> None:
    size = (drawn.shape[0], drawn.shape[-2], drawn.shape[-1])
    found = [tuple(tensor.shape) for tensor in (drawn, completed, confidence, labels, uv)]
    wanted = [(size[0], channels, *size[1:]) for channels in (3, 3, 1)] + [size, (size[0], 2, *size[1:])]
    if found != wanted:
        raise ValueError(
            "the refiner takes drawn and completed (B, 3, H, W), confidence (B, 1, H, W), labels (B, H, W) and uv "
            f"(B, 2, H, W) of one size, got {found}"
        )
