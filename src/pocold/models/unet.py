"""The pose-conditioned UNet with double attention to the source's appearance (PoCoLD, method.md 2).

Legend: B batch, R rows of the batch that have an appearance, H W latent size, P = 25 body labels, L attentions,
A heads, K filters, D head width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import Downsample2D
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from pocold.appearance import AppearanceCode
from pocold.densepose.encoding import POSE_CHANNELS
from pocold.models.attention import DoubleAttention
from pocold.models.blocks import ForwardPass, UNetBlock
from pocold.models.pose_constraint import PoseConstraint
from pocold.models.upsampling import Upsample

_SCALE_UNIT = 100.0  # of the guidance scales, as time steps


@dataclass(frozen=True)
class UNetOutput:
    """What the UNet returns.

    Attributes:
        sample: ``(B, C, H, W)``, predicted noise (or v).
        pose_penalty: at least float32, ``(L, R)``, penalty of each attention (in calling order) for each row that the
            pose constraint compares; None unless one was given.
    """

    sample: Tensor
    pose_penalty: Tensor | None = None


class UNet(ModelMixin, ConfigMixin):
    """Denoiser of latents, conditioned on a pose (by concatenation) and on an appearance (by double attention).

    Widths, heads, filters and source widths are given per level, finest first; one number serves all levels.

    ``enable_gradient_checkpointing()`` trades time for memory in training: of every residual block with its attention
    only the input is kept, the rest is computed again for the gradient.

    Args:
        latent_channels: channels of the autoencoder's latents.
        pose_channels: channels the one-hot pose is projected to before it is concatenated.
        block_out_channels: width of each level.
        appearance_channels: width of the appearance encoder at each level.
        layers_per_block: residual blocks per level on the way down; one more on the way up.
        num_heads: A.
        num_filters: K.
        norm_num_groups: groups of every GroupNorm; must divide every width.
        norm_eps: epsilon of every GroupNorm.
        sample_size: (height, width) of the latents it was trained for, or None. What pictures default to.
        surface_hint: also take a surface hint (docs/method.md): the source brought into the target's pose.
        pose_encoding: ``labels``, as published, or ``iuv``; see :func:`pocold.densepose.maps.encode_pose`.
        hint_skip: with a surface hint: also a linear path from latents and hint to the output, whose weights depend on
            the time step. What is only to be copied, colours above all, need not go through the normalisations.
        hint_completed: with a surface hint: what the source does not show is completed on the body in it, and its last
            channel is how certain that is; otherwise holes are filled in the picture, and that channel is what is seen.
        guidance_embedding: also take the guidance scales, and predict in one pass what guidance makes of several; what
            ``pocold distill`` makes (Meng et al. 2023, "On Distillation of Guided Diffusion Models").
    """

    # Configurations written before these existed lack them, and mean the defaults.
    later_config_keys = frozenset(
        {"surface_hint", "pose_encoding", "hint_skip", "hint_completed", "guidance_embedding"}
    )
    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        pose_channels: int = 4,
        block_out_channels: Sequence[int] = (128, 256, 512, 512),
        appearance_channels: int | Sequence[int] = (128, 256, 512, 512),
        layers_per_block: int | Sequence[int] = 2,
        num_heads: int | Sequence[int] = 8,
        num_filters: int | Sequence[int] = 64,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        sample_size: Sequence[int] | None = None,
        surface_hint: bool = False,
        pose_encoding: str = "labels",
        hint_skip: bool = False,
        hint_completed: bool = False,
        guidance_embedding: bool = False,
    ) -> None:
        super().__init__()
        if pose_encoding not in POSE_CHANNELS:
            raise ValueError(f"unknown pose_encoding {pose_encoding!r}: expected one of {', '.join(POSE_CHANNELS)}")
        widths = list(block_out_channels)
        levels = len(widths)
        sources = _per_level(appearance_channels, levels, "appearance_channels")
        layers = _per_level(layers_per_block, levels, "layers_per_block")
        heads = _per_level(num_heads, levels, "num_heads")
        filters = _per_level(num_filters, levels, "num_filters")
        time_channels = 4 * widths[0]

        def block(level: int, inputs: Sequence[int], attentions: int) -> UNetBlock:
            return UNetBlock(
                level,
                inputs,
                widths[level],
                sources[level],
                num_attentions=attentions,
                num_heads=heads[level],
                num_filters=filters[level],
                time_channels=time_channels,
                groups=norm_num_groups,
                eps=norm_eps,
            )

        self.pose_projection = nn.Conv2d(POSE_CHANNELS[pose_encoding], pose_channels, 1)
        hint_channels = latent_channels + 1 if surface_hint else 0
        self.conv_in = nn.Conv2d(latent_channels + pose_channels + hint_channels, widths[0], 3, padding=1)
        self.time_projection = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], time_channels)

        # Down: remember the width of everything that is kept for the way up.
        self.down_blocks = nn.ModuleList()
        skips = [widths[0]]
        for level in range(levels):
            down = block(level, [skips[-1], *[widths[level]] * (layers[level] - 1)], layers[level])
            skips += [widths[level]] * layers[level]
            if level < levels - 1:
                down.downsamplers.append(Downsample2D(widths[level], use_conv=True, padding=1, name="op"))
                skips.append(widths[level])
            self.down_blocks.append(down)

        self.mid_block = block(levels - 1, [widths[-1], widths[-1]], attentions=1)

        # Up: every residual block also takes one of the kept maps, last kept first.
        self.up_blocks = nn.ModuleList()
        previous = widths[-1]
        for level in reversed(range(levels)):
            count = layers[level] + 1
            inputs = [previous + skips.pop(), *(widths[level] + skips.pop() for _ in range(count - 1))]
            up = block(level, inputs, count)
            if level > 0:
                up.upsamplers.append(Upsample(widths[level]))
            self.up_blocks.append(up)
            previous = widths[level]

        self.conv_norm_out = nn.GroupNorm(norm_num_groups, widths[0], eps=norm_eps)
        self.conv_out = nn.Conv2d(widths[0], latent_channels, 3, padding=1)
        if hint_completed and not surface_hint:
            raise ValueError("hint_completed says how the surface hint is made: it needs surface_hint=True")
        if hint_skip:
            if not surface_hint:
                raise ValueError("hint_skip is a path for the surface hint: it needs surface_hint=True")
            # Zero at first: training begins with the network that there would be without it.
            self.skip_weights = nn.Linear(time_channels, latent_channels * (2 * latent_channels + 1))
            nn.init.zeros_(self.skip_weights.weight)
            nn.init.zeros_(self.skip_weights.bias)
        if guidance_embedding:
            self.scale_projection = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
            self.scale_embedding = TimestepEmbedding(2 * widths[0], time_channels)
            # Zero at first: training begins with the network that there would be without it.
            nn.init.zeros_(self.scale_embedding.linear_2.weight)
            nn.init.zeros_(self.scale_embedding.linear_2.bias)
        self.gradient_checkpointing = False

    @property
    def appearance_channels(self) -> tuple[int, ...]:
        """Width of the appearance features at each level."""
        return tuple(_per_level(self.config.appearance_channels, len(self.down_blocks), "appearance_channels"))

    @property
    def blocks(self) -> list[UNetBlock]:
        """All blocks in the order they are called: down, the middle one, up."""
        return cast(list[UNetBlock], [*self.down_blocks, self.mid_block, *self.up_blocks])

    def attentions(self) -> Iterator[tuple[int, DoubleAttention]]:
        """All attentions in the order they are called, each with its level."""
        for block in self.blocks:
            for _, attention in block.layers():
                if attention is not None:
                    yield block.level, attention

    @apply_forward_hook  # so that offloading moves the weights in, as it does for forward
    def extract_appearance(
        self,
        features: Sequence[Tensor],
        *,
        fingerprint: Tensor,
        token_masks: Sequence[Tensor] | None = None,
    ) -> AppearanceCode:
        """The extraction half of every attention (method.md 3), once for all steps and poses.

        Args:
            features: of the appearance encoder, per level ``(B, C_l, h, w)``.
            fingerprint: of the weights, kept with the code.
            token_masks: per level bool ``(B, h*w)``, True for tokens to extract from; None for all.
        """
        self._check_features(features)
        values, masses = [], []
        for level, attention in self.attentions():
            mask = None if token_masks is None else token_masks[level]
            values.append(attention.extract(features[level], mask))
            masses.append(attention.extraction_mass(features[level], mask))
        return AppearanceCode(tuple(values), tuple(masses), fingerprint)

    def code_shapes(self) -> list[tuple[int, int, int]]:
        """(A, K, D) of every attention, in calling order."""
        shapes = []
        for _, attention in self.attentions():
            filters, channels = attention.extraction_filters.shape
            shapes.append((attention.num_heads, filters, channels // attention.num_heads))
        return shapes

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor | int,
        pose: Tensor,
        appearance: Sequence[Tensor] | AppearanceCode | None = None,
        *,
        appearance_rows: Tensor | None = None,
        pose_constraint: PoseConstraint | None = None,
        hint: Tensor | None = None,
        guidance_scales: Tensor | None = None,
    ) -> UNetOutput:
        """Predict the noise (or v) in ``latents``.

        Args:
            latents: ``(B, latent_channels, H, W)``, any H and W.
            timestep: one for all, or ``(B,)``.
            pose: ``(B, 25, H, W)``, one-hot body labels at latent size, or 27 channels where the encoding is ``iuv``
                (:func:`pocold.densepose.maps.encode_pose`); all zeros for a dropped pose.
            appearance: features of the appearance encoder, or an appearance code, of R sources (a code also of one
                source for all R rows). None skips every attention: the hidden state passes untouched, not even scaled.
            appearance_rows: int64 ``(R,)``, the rows of the batch that have an appearance; None for all.
            pose_constraint: labels of the R rows, or of some of them; asks for their penalty. Needs features, not a
                code.
            hint: ``(B, latent_channels + 1, H, W)`` of :func:`pocold.models.autoencoder.encode_hint`, for a UNet with
                ``surface_hint``; all zeros in rows without appearance. None is all zeros.
            guidance_scales: w_p and w_s, ``(2,)`` for all or ``(B, 2)``, for a UNet with ``guidance_embedding``.

        Raises:
            ValueError: if shapes do not belong together.
        """
        self._check_inputs(latents, pose, hint, guidance_scales)
        self._check_appearance(appearance, len(latents), appearance_rows, pose_constraint)
        timesteps = torch.as_tensor(timestep, device=latents.device).expand(len(latents))
        time = self.time_embedding(self.time_projection(timesteps).to(latents.dtype))
        if guidance_scales is not None:
            # as fine as time steps are told apart: scales around 3, time steps up to 1,000
            scales = _SCALE_UNIT * guidance_scales.to(latents.device).expand(len(latents), 2)
            projected = self.scale_projection(scales.flatten()).view(len(latents), -1)
            time = time + self.scale_embedding(projected.to(latents.dtype))
        here = ForwardPass(time, appearance_rows, pose_constraint, isinstance(appearance, AppearanceCode))
        sources = self._sources(appearance, appearance_rows)
        penalties: list[Tensor] = []

        def layer(resnet: nn.Module, attention: DoubleAttention | None, *hidden: Tensor) -> Tensor:
            unit = partial(here.layer, resnet, attention, None if attention is None else next(sources))
            checkpointed = self.gradient_checkpointing and torch.is_grad_enabled()
            result, penalty = self._gradient_checkpointing_func(unit, *hidden) if checkpointed else unit(*hidden)
            if penalty is not None:
                penalties.append(penalty)
            return result

        inputs = [latents, self.pose_projection(pose)]
        if self.config.surface_hint:
            batch, channels, height, width = latents.shape
            inputs.append(latents.new_zeros(batch, channels + 1, height, width) if hint is None else hint)
        hidden = self.conv_in(torch.cat(inputs, dim=1))
        levels = len(self.down_blocks)
        skips = [hidden]
        for block in self.blocks[:levels]:
            for resnet, attention in block.layers():
                hidden = layer(resnet, attention, hidden)
                skips.append(hidden)
            for downsampler in block.downsamplers:
                hidden = downsampler(hidden)
                skips.append(hidden)

        for resnet, attention in self.blocks[levels].layers():
            hidden = layer(resnet, attention, hidden)

        for block in self.blocks[levels + 1 :]:
            for resnet, attention in block.layers():
                hidden = layer(resnet, attention, hidden, skips.pop())
            for upsampler in block.upsamplers:
                # Odd sizes round up on the way down, so the way up aims at the size of the map it will meet.
                hidden = upsampler(hidden, skips[-1].shape[-2:])

        sample = self.conv_out(nn.functional.silu(self.conv_norm_out(hidden)))
        if self.config.hint_skip:
            latents_and_hint = torch.cat([inputs[0], inputs[-1]], dim=1)
            weights = self.skip_weights(nn.functional.silu(time)).unflatten(1, (latents.shape[1], -1))
            sample = sample + torch.einsum("boi,bihw->bohw", weights, latents_and_hint.to(weights.dtype))
        return UNetOutput(sample, torch.stack(penalties) if pose_constraint is not None else None)

    def _sources(
        self, appearance: Sequence[Tensor] | AppearanceCode | None, rows: Tensor | None
    ) -> Iterator[Tensor | None]:
        """What each attention sees, in calling order: features, a code, or nothing."""
        if appearance is None or (rows is not None and len(rows) == 0):
            return (None for _ in self.attentions())
        if isinstance(appearance, AppearanceCode):
            return iter(appearance.values)
        return (appearance[level] for level, _ in self.attentions())

    def _check_inputs(self, latents: Tensor, pose: Tensor, hint: Tensor | None, scales: Tensor | None) -> None:
        channels = self.config.latent_channels
        if latents.ndim != 4 or latents.shape[1] != channels:
            raise ValueError(f"latents must have shape (B, {channels}, H, W), got {tuple(latents.shape)}")
        expected = (len(latents), POSE_CHANNELS[self.config.pose_encoding], *latents.shape[-2:])
        if tuple(pose.shape) != expected:
            raise ValueError(
                f"the one-hot pose must have shape {expected} like the latents (encoding "
                f"{self.config.pose_encoding!r}), got {tuple(pose.shape)}"
            )
        if self.config.guidance_embedding != (scales is not None):
            raise ValueError(
                "this UNet has its guidance distilled: it needs guidance_scales"
                if scales is None
                else "this UNet takes no guidance_scales; pocold distill makes one that does"
            )
        if scales is not None and tuple(scales.shape) not in ((2,), (len(latents), 2)):
            raise ValueError(f"guidance_scales must have shape (2,) or ({len(latents)}, 2), got {tuple(scales.shape)}")
        if hint is None:
            return
        if not self.config.surface_hint:
            raise ValueError("this UNet takes no surface hint; make it with surface_hint=True")
        expected = (len(latents), channels + 1, *latents.shape[-2:])
        if tuple(hint.shape) != expected:
            raise ValueError(f"the surface hint must have shape {expected} like the latents, got {tuple(hint.shape)}")

    def _check_appearance(
        self,
        appearance: Sequence[Tensor] | AppearanceCode | None,
        batch: int,
        rows: Tensor | None,
        constraint: PoseConstraint | None,
    ) -> None:
        if appearance is None:
            if constraint is not None:
                raise ValueError("a pose constraint compares target and source, but there is no appearance")
            return
        needed = batch if rows is None else len(rows)
        if isinstance(appearance, AppearanceCode):
            if constraint is not None:
                raise ValueError("a pose constraint needs the source's features, not an appearance code")
            shapes = [tuple(values.shape[1:]) for values in appearance.values]
            if shapes != self.code_shapes():
                raise ValueError("this appearance code belongs to a UNet of another shape; encode the photograph again")
            if len(appearance) not in (1, needed):
                raise ValueError(f"expected the appearance code of 1 or {needed} people, got {len(appearance)}")
            return
        self._check_features(appearance)
        if len(appearance[0]) != needed:
            raise ValueError(f"expected the features of {needed} sources, got {len(appearance[0])}")
        if constraint is not None and constraint.rows is None and len(constraint.target) != needed:
            raise ValueError(f"expected the labels of {needed} sources, got {len(constraint.target)}")

    def _check_features(self, features: Sequence[Tensor]) -> None:
        widths = self.appearance_channels
        got = tuple(feature.shape[1] for feature in features)
        if got != widths:
            raise ValueError(f"expected appearance features of {widths} channels, one map per level, got {got}")


def _per_level(value: int | Sequence[int], levels: int, name: str) -> list[int]:
    values = [value] * levels if isinstance(value, int) else list(value)
    if len(values) != levels:
        raise ValueError(f"{name} must be one number or one per level ({levels}), got {value}")
    return values
