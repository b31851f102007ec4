"""NTED: neural texture extraction and distribution, feed-forward.

Ren et al., "Neural Texture Extraction and Distribution for Controllable Person Image Synthesis", CVPR 2022; written
from the paper. A reference encoder makes features of the source, a skeleton encoder and decoder turn the target's pose
into a picture. At each scale of the decoder K semantic filters *extract* textures from the source's features, by a
softmax over its positions, and an attention of the target's features over these K textures *distributes* them: the
operation that PoCoLD took over, here in its own form (``pocold.models.attention``), without the pose constraint.

Widths and numbers of filters of the preset ``nted`` are ours, for 256x256: the published ones are not known to us.

Legend: B pictures, H W their size, C channels, M source tokens, K filters, A heads, D = C/A.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import Downsample2D, Upsample2D
from torch import Tensor, nn

from pocold.densepose.skeleton import SKELETON_CHANNELS
from pocold.models.attention import DoubleAttention
from pocold.models.baselines.blocks import Part, from_preset
from pocold.models.blocks import ResidualBlock

PRESETS: dict[str, Mapping[str, Any]] = {
    "nted": {},
    # About 17 M parameters, for 128x88.
    "narrow": {"block_out_channels": (32, 64, 128, 192, 288)},
    # A quarter of that.
    "small": {"block_out_channels": (16, 32, 64, 96, 144), "num_heads": 4, "norm_num_groups": 16},
    # For tests.
    "toy": {
        "block_out_channels": (8, 16, 16), "layers_per_block": 1, "num_heads": 2, "num_filters": 4,
        "norm_num_groups": 4,
    },
}  # fmt: skip


class PyramidEncoder(Part):
    """A picture or a pose -> one feature map per level, finest first. Every level halves the size, rounding up."""

    def __init__(self, channels: int, widths: Sequence[int], layers: int, groups: int, eps: float) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.downsamplers = nn.ModuleList(
            Downsample2D(width, use_conv=True, padding=1, name="op") for width in widths[:-1]
        )
        self.levels = nn.ModuleList(
            nn.ModuleList(ResidualBlock(above if i == 0 else width, width, None, groups, eps) for i in range(layers))
            for above, width in zip([widths[0], *widths[:-1]], widths, strict=True)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        hidden, features = self.conv_in(pictures), []
        for level, layers in enumerate(self.levels):
            hidden = hidden if level == 0 else self.downsamplers[level - 1](hidden)
            for layer in layers:  # type: ignore[attr-defined]
                hidden = self.run(layer, hidden)
            features.append(hidden)
        return tuple(features)


class Decoder(Part):
    """Skeleton features and textures -> the picture, coarsest level first."""

    def __init__(self, widths: Sequence[int], layers: int, heads: int, filters: int, groups: int, eps: float) -> None:
        super().__init__()
        self.levels, self.attentions, self.upsamplers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        above = 0
        for level in reversed(range(len(widths))):
            width = widths[level]
            inputs = [above + width, *[width] * (layers - 1)]
            self.levels.append(nn.ModuleList(ResidualBlock(one, width, None, groups, eps) for one in inputs))
            if level > 0:  # the finest level only draws: nothing is looked up pixel by pixel
                self.attentions.append(DoubleAttention(width, width, heads, filters))
                self.upsamplers.append(Upsample2D(width, use_conv=True))
            above = width

    def forward(self, skeleton: Sequence[Tensor], textures: Sequence[Tensor]) -> Tensor:
        hidden = None
        for step, layers in enumerate(self.levels):
            own = skeleton[-1 - step]
            hidden = own if hidden is None else torch.cat([hidden, own], dim=1)
            for layer in layers:  # type: ignore[attr-defined]
                hidden = self.run(layer, hidden)
            if step < len(self.attentions):
                hidden = self.attentions[step].distribute(hidden, textures[step])  # type: ignore[operator]
                hidden = self.upsamplers[step](hidden, output_size=skeleton[-2 - step].shape[-2:])
        assert hidden is not None
        return hidden


class NTED(ModelMixin, ConfigMixin):
    """Draws the person of a photograph in the pose of a skeleton, in one pass.

    Args:
        block_out_channels: width of each level of both encoders and of the decoder, finest first; two or more. All
            levels but the finest have an extraction and distribution of textures.
        layers_per_block: residual blocks per level.
        num_heads: A.
        num_filters: K.
        norm_num_groups: groups of every GroupNorm; must divide every width.
        norm_eps: epsilon of every GroupNorm.
        sample_size: (height, width) of the pictures it was trained for, or None.

    Raises:
        ValueError: for widths that cannot be.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        block_out_channels: Sequence[int] = (64, 128, 256, 512, 512),
        layers_per_block: int = 2,
        num_heads: int = 8,
        num_filters: int = 32,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        sample_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        widths = tuple(block_out_channels)
        if len(widths) < 2 or any(width % num_heads or width % norm_num_groups for width in widths):
            raise ValueError(
                f"expected two or more widths that num_heads={num_heads} and norm_num_groups={norm_num_groups} divide, "
                f"got {widths}"
            )
        shared = layers_per_block, norm_num_groups, norm_eps
        self.reference_encoder = PyramidEncoder(3, widths, *shared)
        self.skeleton_encoder = PyramidEncoder(SKELETON_CHANNELS, widths, *shared)
        self.decoder = Decoder(widths, layers_per_block, num_heads, num_filters, norm_num_groups, norm_eps)
        self.norm_out = nn.GroupNorm(norm_num_groups, widths[0], eps=norm_eps)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    @classmethod
    def from_preset(cls, name: str, seed: int = 0, **options: Any) -> "NTED":
        """An untrained network: ``nted``, ``narrow`` or ``toy``; one seed gives one set of weights.

        ``options`` are used instead of the preset's. ValueError for an unknown name.
        """
        return from_preset(cls, PRESETS, name, seed, options)

    def features(self, source: Tensor) -> tuple[Tensor, ...]:
        """Reference features of sources ``(B, 3, H, W)`` in [-1, 1], in the order of the decoder: coarsest first."""
        if source.ndim != 4 or source.shape[1] != 3:
            raise ValueError(f"source: expected pictures (B, 3, H, W) in [-1, 1], got {tuple(source.shape)}")
        return self.reference_encoder(source)[:0:-1]

    def textures(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the filters of each scale extract, ``(B, A, K, D)``: once for a photograph, whatever the poses."""
        pairs = zip(self.decoder.attentions, features, strict=True)
        return tuple(attention.extract(feature) for attention, feature in pairs)  # type: ignore[operator]

    def draw(self, textures: Sequence[Tensor], pose: Tensor) -> Tensor:
        """The picture.

        Args:
            textures: of :meth:`textures`, of B people or of one in B poses.
            pose: ``(B, 20, H, W)`` of :func:`pocold.densepose.skeleton.skeleton_map`.

        Returns:
            ``(B, 3, H, W)`` in (-1, 1).

        Raises:
            ValueError: for a pose of another shape.
        """
        if pose.ndim != 4 or pose.shape[1] != SKELETON_CHANNELS:
            raise ValueError(f"expected a pose (B, {SKELETON_CHANNELS}, H, W), got {tuple(pose.shape)}")
        hidden = self.decoder(self.skeleton_encoder(pose), textures)
        return torch.tanh(self.conv_out(F.silu(self.norm_out(hidden))))

    def forward(self, source: Tensor, pose: Tensor) -> Tensor:
        """``source (B, 3, H, W)`` in [-1, 1] and ``pose (B, 20, H, W)`` -> the picture ``(B, 3, H, W)``."""
        return self.draw(self.textures(self.features(source)), pose)

    def attention_correctness(self, features: Sequence[Tensor]) -> Tensor:
        """How far textures that are put back onto the source are from its features: mean absolute error, a scalar.

        Of every scale and head, features ``r (M, C)``, of variance 1 at each position, are extracted with the filters'
        probabilities ``E (K, M)`` and put back by the same probabilities, read the other way: ``r' = B^T E r`` with
        ``B = E / sum over K of E``. A filter that looks at one texture reproduces it, one that looks at everything
        blurs it. Only the attention learns from this: features made constant would satisfy it, too.

        Args:
            features: of :meth:`features`.
        """
        errors = []
        for attention, feature in zip(self.decoder.attentions, features, strict=True):
            own = feature.detach()
            extraction = attention.extraction_probabilities(own).transpose(-1, -2)  # type: ignore[operator]
            tokens = own.flatten(2).transpose(1, 2)[:, None].to(extraction.dtype)  # (B, 1, M, C)
            tokens = F.layer_norm(tokens, tokens.shape[-1:])  # the encoder's scale is not to count
            putting_back = extraction / extraction.sum(-2, keepdim=True).clamp(min=1e-12)  # (B, A, K, M)
            restored = putting_back.transpose(-1, -2) @ (extraction @ tokens)  # (B, A, M, C)
            errors.append((restored - tokens).abs().mean())
        return torch.stack(errors).mean()
