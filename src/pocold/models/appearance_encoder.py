"""Source latents -> one feature map per UNet level (PoCoLD, method.md 2, "Appearance encoder")."""

from collections.abc import Callable, Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import Downsample2D
from torch import Tensor, nn

from pocold.models.blocks import ResidualBlock


class EncoderBlock(nn.Module):
    """Residual blocks without time embedding, then a stride-2 convolution (not at the first level)."""

    _gradient_checkpointing_func: Callable[..., Tensor]  # set by ``enable_gradient_checkpointing`` of the model

    def __init__(self, channels: int, out_channels: int, layers: int, groups: int, eps: float, down: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResidualBlock(channels if layer == 0 else out_channels, out_channels, None, groups, eps)
            for layer in range(layers)
        )
        self.downsamplers = nn.ModuleList(
            [Downsample2D(out_channels, use_conv=True, padding=1, name="op")] if down else []
        )
        self.gradient_checkpointing = False

    def forward(self, hidden: Tensor) -> Tensor:
        checkpointed = self.gradient_checkpointing and torch.is_grad_enabled()
        for resnet in self.resnets:
            hidden = self._gradient_checkpointing_func(resnet, hidden) if checkpointed else resnet(hidden)
        for downsampler in self.downsamplers:
            hidden = downsampler(hidden)
        return hidden


class AppearanceEncoder(ModelMixin, ConfigMixin):
    """Small convolutional encoder of the source's latent.

    ``enable_gradient_checkpointing()`` keeps of every residual block only the input for the gradient.

    Args:
        latent_channels: channels of the autoencoder's latents.
        block_out_channels: one width per UNet level.
        layers_per_block: residual blocks per level.
        norm_num_groups: groups of every GroupNorm; must divide every width.
        norm_eps: epsilon of every GroupNorm.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: Sequence[int] = (128, 256, 512, 512),
        layers_per_block: int = 1,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(latent_channels, block_out_channels[0], 3, padding=1)
        inputs = [block_out_channels[0], *block_out_channels[:-1]]
        self.down_blocks = nn.ModuleList(
            EncoderBlock(channels, width, layers_per_block, norm_num_groups, norm_eps, down=level > 0)
            for level, (channels, width) in enumerate(zip(inputs, block_out_channels, strict=True))
        )

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Encode source latents.

        Args:
            latents: ``(B, latent_channels, H, W)``, scaled.

        Returns:
            One ``(B, width, h, w)`` per level, finest first; every level halves the size, rounding up.
        """
        hidden = self.conv_in(latents)
        features = []
        for block in self.down_blocks:
            hidden = block(hidden)
            features.append(hidden)
        return tuple(features)
