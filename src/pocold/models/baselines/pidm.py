"""PIDM: a diffusion model of pixels, steered by a skeleton and by the textures of a photograph.

Bhunia et al., "Person Image Synthesis via Denoising Diffusion Model", CVPR 2023; written from the paper. A UNet sees
the noisy picture with the target's pose beside it. At its coarsest levels *texture diffusion blocks* let it look at
features of the source: cross-attention with queries of the noise features, keys and values of the texture features,
added to the former. It predicts the noise and, per pixel, the variance of the step (Nichol and Dhariwal 2021).

Left open, and here as Dhariwal and Nichol (2021) have it: a residual block at every change of size, and self-attention
before each cross-attention. The sizes come out as published.

Legend: B pictures, H W their size, C channels, N target tokens, M source tokens, A heads, D = C/A.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import Downsample2D
from torch import Tensor, nn

from pocold.densepose.skeleton import SKELETON_CHANNELS
from pocold.models.baselines.blocks import Attention, Part, from_preset
from pocold.models.blocks import ResidualBlock

PRESETS: dict[str, Mapping[str, Any]] = {
    # The published size, for 256x256: a denoiser of 142 M parameters, an encoder of 38 M.
    "pidm": {},
    # About 17 M parameters together, for 128x88.
    "narrow": {"block_out_channels": (32, 64, 96, 128, 192), "encoder_channels": (32, 64, 96, 128, 192)},
    # A quarter of that.
    "small": {
        "block_out_channels": (16, 32, 48, 64, 96), "encoder_channels": (16, 32, 48, 64, 96),
        "num_heads": 4, "norm_num_groups": 16,
    },
    # For tests.
    "toy": {
        "block_out_channels": (8, 8, 16, 16), "encoder_channels": (8, 8, 16, 16), "layers_per_block": 1,
        "texture_levels": 2, "num_heads": 2, "norm_num_groups": 4,
    },
}  # fmt: skip


class TextureLayer(nn.Module):
    """A residual block and, where there are textures, the texture diffusion block after it."""

    def __init__(
        self, channels: int, width: int, textures: int | None, heads: int, time: int, groups: int, eps: float
    ) -> None:
        super().__init__()
        self.resnet = ResidualBlock(channels, width, time, groups, eps)
        self.self_attention = None if textures is None else Attention(width, width, heads, groups, eps)
        self.cross_attention = None if textures is None else Attention(width, textures, heads, groups, eps)

    def forward(self, hidden: Tensor, time: Tensor, textures: Tensor | None) -> Tensor:
        hidden = self.resnet(hidden, time)
        if self.self_attention is None or self.cross_attention is None:
            return hidden
        return self.cross_attention(self.self_attention(hidden, hidden), textures)


class TextureEncoder(Part):
    """The source -> one feature map for each of the coarsest levels."""

    def __init__(self, widths: Sequence[int], layers: int, kept: int, heads: int, groups: int, eps: float) -> None:
        super().__init__()
        self.kept = kept
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        inputs = [widths[0], *widths[:-1]]
        self.levels = nn.ModuleList(
            nn.ModuleList(ResidualBlock(above if i == 0 else width, width, None, groups, eps) for i in range(layers))
            for above, width in zip(inputs, widths, strict=True)
        )
        self.downsamplers = nn.ModuleList(
            Downsample2D(width, use_conv=True, padding=1, name="op") for width in widths[:-1]
        )
        last = widths[-1]
        self.mid_resnets = nn.ModuleList(ResidualBlock(last, last, None, groups, eps) for _ in range(2))
        self.mid_attention = Attention(last, last, heads, groups, eps)

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        hidden = self.conv_in(source)
        features = []
        for level, layers in enumerate(self.levels):
            hidden = hidden if level == 0 else self.downsamplers[level - 1](hidden)
            for layer in layers:  # type: ignore[attr-defined]
                hidden = self.run(layer, hidden)
            features.append(hidden)
        hidden = self.mid_resnets[0](features[-1])
        features[-1] = self.mid_resnets[1](self.mid_attention(hidden, hidden))
        return tuple(features[-self.kept :])


class Denoiser(Part):
    """The UNet. Every level halves the picture, rounding up."""

    def __init__(
        self, widths: Sequence[int], textures: Mapping[int, int], layers: int, heads: int, groups: int, eps: float
    ) -> None:
        super().__init__()
        time, last = 4 * widths[0], len(widths) - 1
        self.first_texture_level = min(textures)

        def layer(channels: int, level: int) -> TextureLayer:
            return TextureLayer(channels, widths[level], textures.get(level), heads, time, groups, eps)

        def resize(width: int) -> ResidualBlock:
            return ResidualBlock(width, width, time, groups, eps)

        self.time_projection = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], time)
        self.conv_in = nn.Conv2d(3 + SKELETON_CHANNELS, widths[0], 3, padding=1)
        self.down, skips = nn.ModuleList(), [widths[0]]
        for level, width in enumerate(widths):
            self.down.append(nn.ModuleList(layer(skips[-1] if i == 0 else width, level) for i in range(layers)))
            skips += [width] * (layers + (level < last))  # the last is what is half as large
        self.downsamplers = nn.ModuleList(resize(width) for width in widths[:-1])
        self.mid_layer, self.mid_resnet = layer(widths[-1], last), resize(widths[-1])
        self.up, previous = nn.ModuleList(), widths[-1]
        for level in reversed(range(last + 1)):
            inputs = [previous, *[widths[level]] * layers]
            self.up.append(nn.ModuleList(layer(width + skips.pop(), level) for width in inputs))
            previous = widths[level]
        self.upsamplers = nn.ModuleList(resize(width) for width in reversed(widths[1:]))
        self.norm_out = nn.GroupNorm(groups, widths[0], eps=eps)
        self.conv_out = nn.Conv2d(widths[0], 6, 3, padding=1)

    def forward(self, noisy: Tensor, timestep: Tensor, pose: Tensor, textures: Sequence[Tensor]) -> Tensor:
        time = self.time_embedding(self.time_projection(timestep).to(noisy.dtype))

        def seen(level: int) -> Tensor | None:
            return None if level < self.first_texture_level else textures[level - self.first_texture_level]

        hidden = self.conv_in(torch.cat([noisy, pose], dim=1))
        skips, last = [hidden], len(self.down) - 1
        for level, layers in enumerate(self.down):
            for layer in layers:  # type: ignore[attr-defined]
                hidden = self.run(layer, hidden, time, seen(level))
                skips.append(hidden)
            if level < last:
                hidden = self.run(self.downsamplers[level], F.avg_pool2d(hidden, 2, ceil_mode=True), time)
                skips.append(hidden)
        hidden = self.mid_resnet(self.run(self.mid_layer, hidden, time, seen(last)), time)
        for step, layers in enumerate(self.up):
            for layer in layers:  # type: ignore[attr-defined]
                hidden = self.run(layer, torch.cat([hidden, skips.pop()], dim=1), time, seen(last - step))
            if step < last:
                larger = F.interpolate(hidden, size=skips[-1].shape[-2:], mode="nearest")
                hidden = self.run(self.upsamplers[step], larger, time)
        return self.conv_out(F.silu(self.norm_out(hidden)))


class PIDM(ModelMixin, ConfigMixin):
    """Denoiser and texture encoder; how to draw with them is in ``pocold.diffusion.pixels``.

    Args:
        block_out_channels: width of each level of the denoiser, finest first.
        encoder_channels: of the texture encoder, of as many levels.
        layers_per_block: residual blocks per level on the way down; one more on the way up.
        texture_levels: how many of the coarsest levels look at the source; three are 32, 16 and 8 pixels of 256.
        num_heads: A, of every attention.
        norm_num_groups: groups of every GroupNorm; must divide every width.
        norm_eps: epsilon of every GroupNorm.
        sample_size: (height, width) of the pictures it was trained for, or None.
        num_inference_steps, pose_guidance_scale, appearance_guidance_scale: how it draws unless told otherwise.

    Raises:
        ValueError: for widths and levels that do not go together.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        block_out_channels: Sequence[int] = (128, 128, 256, 256, 512, 512),
        encoder_channels: Sequence[int] = (128, 128, 256, 256, 512, 512),
        layers_per_block: int = 2,
        texture_levels: int = 3,
        num_heads: int = 8,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        sample_size: Sequence[int] | None = None,
        num_inference_steps: int = 100,
        pose_guidance_scale: float = 2.0,
        appearance_guidance_scale: float = 2.0,
    ) -> None:
        super().__init__()
        levels = len(block_out_channels)
        if len(encoder_channels) != levels or not 1 <= texture_levels <= levels:
            raise ValueError(
                f"expected as many encoder_channels as block_out_channels and texture_levels among them, got "
                f"{tuple(block_out_channels)}, {tuple(encoder_channels)} and {texture_levels}"
            )
        if any(width % num_heads or width % norm_num_groups for width in (*block_out_channels, *encoder_channels)):
            raise ValueError(
                f"num_heads={num_heads} and norm_num_groups={norm_num_groups} must divide every width, got "
                f"{tuple(block_out_channels)} and {tuple(encoder_channels)}"
            )
        textures = {level: encoder_channels[level] for level in range(levels - texture_levels, levels)}
        shared = num_heads, norm_num_groups, norm_eps
        self.denoiser = Denoiser(block_out_channels, textures, layers_per_block, *shared)
        self.texture_encoder = TextureEncoder(encoder_channels, layers_per_block, texture_levels, *shared)

    @classmethod
    def from_preset(cls, name: str, seed: int = 0, **options: Any) -> "PIDM":
        """Untrained networks: ``pidm`` (the published size), ``narrow`` or ``toy``; one seed gives one set of weights.

        ``options`` are used instead of the preset's. ValueError for an unknown name.
        """
        return from_preset(cls, PRESETS, name, seed, options)

    def encode(self, source: Tensor) -> tuple[Tensor, ...]:
        """Texture features of sources ``(B, 3, H, W)`` in [-1, 1], one map per texture level, finest first.
        A dropped source is an all-zero picture."""
        if source.ndim != 4 or source.shape[1] != 3:
            raise ValueError(f"source: expected pictures (B, 3, H, W) in [-1, 1], got {tuple(source.shape)}")
        return self.texture_encoder(source)

    def forward(
        self, noisy: Tensor, timestep: Tensor | int, pose: Tensor, textures: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Predict the noise in pictures, and the variance of the step.

        Args:
            noisy: ``(B, 3, H, W)``.
            timestep: one for all, or ``(B,)``.
            pose: ``(B, 20, H, W)`` of :func:`pocold.densepose.skeleton.skeleton_map`; all zeros for a dropped pose.
            textures: of :meth:`encode`, of B sources.

        Returns:
            The noise ``(B, 3, H, W)``, and ``(B, 3, H, W)`` of which -1 stands for the smallest and 1 for the largest
            variance that a step can have (Nichol and Dhariwal 2021, equation 15, with (v + 1) / 2 as its v).

        Raises:
            ValueError: if shapes do not belong together.
        """
        expected = (len(noisy), SKELETON_CHANNELS, *noisy.shape[-2:])
        if noisy.ndim != 4 or noisy.shape[1] != 3 or tuple(pose.shape) != expected:
            raise ValueError(
                f"expected noisy pictures (B, 3, H, W) and a pose {expected} of their size, got {tuple(noisy.shape)} "
                f"and {tuple(pose.shape)}"
            )
        if len(textures) != self.config.texture_levels or any(len(one) != len(noisy) for one in textures):
            raise ValueError(
                f"expected {self.config.texture_levels} texture maps of {len(noisy)} sources, got "
                f"{[tuple(one.shape) for one in textures]}"
            )
        timesteps = torch.as_tensor(timestep, device=noisy.device).expand(len(noisy))
        noise, variance = self.denoiser(noisy, timesteps, pose, textures).chunk(2, dim=1)
        return noise, variance
