"""A small autoencoder of 8x8 patches that starts as their principal components.

Encoder and decoder are a linear map of patches plus convolutions whose last layer starts at zero. With the principal
components in the linear map, training starts from the best linear code there is; a plain convolutional autoencoder
needs tens of thousands of pictures to get there.

Legend: B batch, C latent channels, H W picture size, h w = H/8 W/8, D = 3 * 8 * 8 values of a patch.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

PATCH = 8
_PATCH_VALUES = 3 * PATCH**2
# The draw from a fresh encoder has 5 % of the latents' size as noise: less than a sampler leaves, so that the decoder
# learns to bear it, and less than a tenth of what the linear code loses.
_INITIAL_LOGVAR = -6.0
# A last convolution sums up a thousand inputs, and Adam moves all its weights by one learning rate: at their full size
# the first steps would undo the linear code, and the layers behind do not recover from that.
_RESIDUAL_SCALE = 0.1


class PatchBlock(nn.Module):
    """3x3 convolution, SiLU, 3x3 convolution, added to the input.

    No norm: it would take the contrast out of the pictures, and on a CPU it costs as much as the convolutions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _initialise(self.conv1, 2**0.5)
        _initialise(self.conv2, 0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        """``(B, channels, H, W)`` -> the same."""
        return hidden + self.conv2(F.silu(self.conv1(hidden)))


class PatchEncoder(nn.Module):
    """Pictures -> mean and log-variance of the latents.

    Args:
        latent_channels: C.
        channels: widths, finest level first; the last is that of the latents' resolution, each before it is twice as
            fine. The picture comes in at the finest as space-to-depth.
        layers: blocks per level.
    """

    def __init__(self, latent_channels: int, channels: Sequence[int], layers: Sequence[int]) -> None:
        super().__init__()
        self.finest = PATCH // 2 ** (len(channels) - 1)
        self.linear = nn.Conv2d(_PATCH_VALUES, latent_channels, 1)
        self.conv_in = nn.Conv2d(3 * self.finest**2, channels[0], 3, padding=1)
        self.blocks = _levels(channels, layers)
        self.downsamplers = nn.ModuleList(
            nn.Conv2d(4 * channel, out_channel, 1) for channel, out_channel in pairwise(channels)
        )
        self.conv_out = nn.Conv2d(channels[-1], 2 * latent_channels, 3, padding=1)
        for layer in (self.conv_in, *self.downsamplers):
            _initialise(layer)
        self.reset_residual()

    def reset_residual(self) -> None:
        """Make the mean that of the linear map alone, and the log-variance constant."""
        channels = self.linear.out_channels
        _set(self.conv_out, torch.zeros(()), torch.tensor([0.0, _INITIAL_LOGVAR]).repeat_interleave(channels))

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` -> ``(B, 2C, h, w)``: means, then log-variances."""
        linear = self.linear(F.pixel_unshuffle(images, PATCH))
        hidden = self.conv_in(F.pixel_unshuffle(images, self.finest))
        for level, blocks in enumerate(self.blocks):
            if level > 0:
                hidden = self.downsamplers[level - 1](F.pixel_unshuffle(hidden, 2))
            hidden = blocks(hidden)
        mean, logvar = self.conv_out(_RESIDUAL_SCALE * F.silu(hidden)).chunk(2, dim=1)
        return torch.cat([linear + mean, logvar], dim=1)


class PatchDecoder(nn.Module):
    """Latents -> pictures. Arguments as those of :class:`PatchEncoder`; its levels run from the last to the first."""

    def __init__(self, latent_channels: int, channels: Sequence[int], layers: Sequence[int]) -> None:
        super().__init__()
        self.finest = PATCH // 2 ** (len(channels) - 1)
        self.linear = nn.Conv2d(latent_channels, _PATCH_VALUES, 1)
        self.conv_in = nn.Conv2d(latent_channels, channels[-1], 3, padding=1)
        self.blocks = _levels(channels, layers)
        self.upsamplers = nn.ModuleList(
            nn.Conv2d(channel, 4 * out_channel, 1) for out_channel, channel in pairwise(channels)
        )
        self.picture_in = nn.Conv2d(3 * self.finest**2, channels[0], 3, padding=1)
        self.conv_out = nn.Conv2d(channels[0], 3 * self.finest**2, 3, padding=1)
        for layer in (self.conv_in, *self.upsamplers, self.picture_in):
            _initialise(layer)
        self.reset_residual()

    def reset_residual(self) -> None:
        """Make the picture that of the linear map alone."""
        _set(self.conv_out, torch.zeros(()), torch.zeros(()))

    def forward(self, latents: Tensor) -> Tensor:
        """``(B, C, h, w)`` -> ``(B, 3, H, W)``."""
        linear = F.pixel_shuffle(self.linear(latents), PATCH)
        hidden = self.conv_in(latents)
        for level in range(len(self.blocks) - 1, -1, -1):
            if level < len(self.blocks) - 1:
                hidden = F.pixel_shuffle(self.upsamplers[level](hidden), 2)
            if level == 0:
                # what the convolutions mend is best seen in the linear picture: the seams of its patches
                hidden = hidden + self.picture_in(F.pixel_unshuffle(linear, self.finest))
            hidden = self.blocks[level](hidden)
        return linear + F.pixel_shuffle(self.conv_out(_RESIDUAL_SCALE * F.silu(hidden)), self.finest)


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """KL autoencoder with a linear path from and to 8x8 patches; used like diffusers' ``AutoencoderKL``.

    Widths and layers are given finest level first; the last level has the latents' resolution, 1/8 of the picture's, so
    that three levels begin at 1/2.

    Args:
        latent_channels: C.
        encoder_channels: widths of the encoder's levels, one to four.
        encoder_layers: blocks of each of them, one or more.
        decoder_channels: likewise; here the sharpness is made.
        decoder_layers: likewise.
        scaling_factor: latents times this have a mean square of about 1; see ``pocold.models.autoencoder``.
        shift_factor: subtracted before; None is zero.

    Raises:
        ValueError: for impossible widths or layers.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        encoder_channels: Sequence[int] = (64, 128),
        encoder_layers: Sequence[int] = (2, 2),
        decoder_channels: Sequence[int] = (96, 160),
        decoder_layers: Sequence[int] = (3, 3),
        scaling_factor: float = 1.0,
        shift_factor: float | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= latent_channels <= _PATCH_VALUES:
            raise ValueError(f"latent_channels must lie in 1..{_PATCH_VALUES}, got {latent_channels}")
        _check_levels("encoder", encoder_channels, encoder_layers)
        _check_levels("decoder", decoder_channels, decoder_layers)
        self.encoder = PatchEncoder(latent_channels, encoder_channels, encoder_layers)
        self.decoder = PatchDecoder(latent_channels, decoder_channels, decoder_layers)

    @apply_forward_hook
    def encode(self, images: Tensor) -> AutoencoderKLOutput:
        """Pictures -> the distribution of their latents, unscaled.

        Args:
            images: ``(B, 3, H, W)`` in [-1, 1], H and W multiples of 8.

        Returns:
            ``.latent_dist``, whose ``mean``, ``std`` and ``sample()`` are ``(B, C, h, w)``.
        """
        _check_pictures(images)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(self.encoder(images)))

    @apply_forward_hook
    def decode(self, latents: Tensor) -> DecoderOutput:
        """Latents ``(B, C, h, w)``, unscaled -> ``.sample``, pictures ``(B, 3, H, W)`` in about [-1, 1]."""
        return DecoderOutput(sample=self.decoder(latents))

    def forward(self, images: Tensor) -> DecoderOutput:
        """Pictures ``(B, 3, H, W)`` -> ``.sample``, the same by way of the mean of their latents."""
        return self.decode(self.encode(images).latent_dist.mean)

    @torch.no_grad()
    def init_from_patches(self, pictures: Tensor | Iterable[Tensor]) -> None:
        """Make this the principal-component code of the patches of some pictures, exactly; convolutions add nothing.

        A component of standard deviation s gets a channel of standard deviation sqrt(s) times one common factor, which
        makes the mean square over all channels 1, so ``scaling_factor`` becomes 1 and ``shift_factor`` None. A
        diffusion model learns such channels faster than white ones: those that show more are less noisy.

        Args:
            pictures: float ``(B, 3, H, W)`` in [-1, 1], H and W multiples of 8, or an iterable of such batches, which
                may be longer than memory.

        Raises:
            ValueError: if the patches vary in fewer directions than there are channels.
        """
        channels = self.config.latent_channels
        mean, deviations, components = _principal_components(pictures, channels)
        if not deviations[-1] > 1e-4:
            raise ValueError(
                f"the {PATCH}x{PATCH} patches of these pictures vary in fewer than {channels} directions; "
                "give more or other pictures, or fewer latent_channels"
            )
        gains = deviations.sqrt() * deviations.mean().sqrt()  # of the decoder, (C,)
        inward, outward = components / gains, components * gains  # (D, C)
        _set(self.encoder.linear, inward.T[:, :, None, None], -mean @ inward)
        _set(self.decoder.linear, outward[:, :, None, None], mean)
        self.encoder.reset_residual()
        self.decoder.reset_residual()
        self.register_to_config(scaling_factor=1.0, shift_factor=None)


def _initialise(layer: nn.Module, gain: float = 1.0) -> None:
    """Make the outputs ``gain`` times as large as the inputs, which torch's own weights make much smaller."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    nn.init.zeros_(layer.bias)


@torch.no_grad()
def _set(layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    """Set the weights of a convolution with bias; shapes may broadcast."""
    assert layer.bias is not None
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def _levels(channels: Sequence[int], layers: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(*[PatchBlock(width) for _ in range(count)]) for width, count in zip(channels, layers, strict=True)
    )


def _check_levels(name: str, channels: Sequence[int], layers: Sequence[int]) -> None:
    most = int(math.log2(PATCH)) + 1
    if not 1 <= len(channels) <= most or len(layers) != len(channels) or min(*channels, *layers) < 1:
        raise ValueError(
            f"expected {name}_channels and {name}_layers of 1 to {most} levels, as many of each and all at least 1, "
            f"got {tuple(channels)} and {tuple(layers)}"
        )


def _check_pictures(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or any(side < PATCH or side % PATCH for side in images.shape[2:]):
        raise ValueError(
            f"expected pictures (B, 3, H, W) with H and W multiples of {PATCH}, got {tuple(images.shape)}; "
            "frame them first"
        )


def _principal_components(pictures: Tensor | Iterable[Tensor], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(D,)``, the largest standard deviations ``(count,)`` and their directions ``(D, count)``; float64."""
    number = 0
    total = torch.zeros(_PATCH_VALUES, dtype=torch.float64)
    moments = torch.zeros(_PATCH_VALUES, _PATCH_VALUES, dtype=torch.float64)
    for batch in [pictures] if isinstance(pictures, Tensor) else pictures:
        _check_pictures(batch)
        patches = F.pixel_unshuffle(batch.to("cpu", torch.float64), PATCH).movedim(1, -1).reshape(-1, _PATCH_VALUES)
        number += len(patches)
        total += patches.sum(0)
        moments += patches.T @ patches
    if number == 0:
        raise ValueError("expected at least one picture to find the principal components of, got none")
    mean = total / number
    variances, directions = torch.linalg.eigh(moments / number - mean.outer(mean))  # ascending
    variances, directions = variances.flip(0)[:count], directions.flip(1)[:, :count]
    # The sign of a direction is the solver's whim; with a rule of ours one set of pictures gives one model.
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return mean, variances.clamp(min=0).sqrt(), directions * largest.sign()
