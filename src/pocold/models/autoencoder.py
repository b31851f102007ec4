"""Pictures <-> scaled latents: the only file that knows an autoencoder's scaling factor."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from pocold.checkpoints import load_component
from pocold.imaging.files import read_json
from pocold.models import strips, tiny_autoencoder
from pocold.models.patch_autoencoder import PATCH, PatchAutoencoder

Autoencoder: TypeAlias = AutoencoderKL | PatchAutoencoder | AutoencoderTiny

_CERTAIN = -30.0  # log-variance of an encoder that has no distribution: diffusers knows none that is smaller

# Names of the attention's weights in autoencoders saved before diffusers 0.18, such as Stable Diffusion's.
_FORMER_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_autoencoder(folder: Path, dtype: torch.dtype | None = None) -> Autoencoder:
    """An autoencoder from its folder, strictly; its ``config.json`` says of which class it is.

    Diffusers' KL autoencoders are read with the names of former versions, too.

    Raises:
        ValueError: for a class that is no autoencoder here, and as :func:`pocold.checkpoints.load_component`.
    """

    def rename(name: str) -> str:
        return re.sub(
            r"(attentions\.\d+)\.(query|key|value|proj_attn)\.",
            lambda match: f"{match[1]}.{_FORMER_NAMES[match[2]]}.",
            name,
        )

    name = read_json(folder / "config.json").get("_class_name", AutoencoderKL.__name__)
    if name == AutoencoderKL.__name__:
        return load_component(AutoencoderKL, folder, dtype, rename)
    if name == PatchAutoencoder.__name__:
        return load_component(PatchAutoencoder, folder, dtype)
    if name == AutoencoderTiny.__name__:
        return load_component(AutoencoderTiny, folder, dtype, derived=("block_out_channels",))
    raise ValueError(f"{folder} holds a {name}, expected an AutoencoderKL, an AutoencoderTiny or a PatchAutoencoder")


def downsampling_factor(vae: Autoencoder) -> int:
    """Pixels per latent pixel and side (8 for Stable Diffusion's)."""
    if isinstance(vae, PatchAutoencoder):
        return PATCH
    if isinstance(vae, AutoencoderTiny):
        return 2 ** (len(vae.config.encoder_block_out_channels) - 1)
    return 2 ** (len(vae.config.block_out_channels) - 1)


def encode(
    vae: Autoencoder,
    images: Tensor,
    *,
    sample: bool = False,
    generator: torch.Generator | list[torch.Generator] | None = None,
) -> Tensor:
    """Pictures -> latents of about unit variance.

    Args:
        vae: an autoencoder.
        images: ``(B, 3, H, W)`` in [-1, 1], H and W multiples of its down-sampling factor.
        sample: draw from the encoder's distribution, as published; otherwise its mean, which is repeatable.
        generator: for the draw.

    Returns:
        ``(B, C, H/f, W/f)``, multiplied by ``scaling_factor`` (after subtracting ``shift_factor``, if it has one).
    """
    return from_moments(vae, encode_moments(vae, images), sample=sample, generator=generator)


def encode_moments(vae: Autoencoder, images: Tensor) -> Tensor:
    """Pictures -> what the encoder says of their latents ``(B, 2C, h, w)``: means, then log-variances, unscaled.

    They can be kept, and latents drawn from them again and again; see :func:`from_moments`. A tiny autoencoder knows
    the latents themselves: they are the means, and the variances as good as zero.
    """
    images = images.to(vae.dtype)
    if isinstance(vae, AutoencoderTiny):
        own = tiny_autoencoder.runs_in_strips(vae, *images.shape[-2:])
        latents = tiny_autoencoder.encode_in_strips(vae, images) if own else vae.encode(images).latents
        return torch.cat([latents, torch.full_like(latents, _CERTAIN)], dim=1)
    if isinstance(vae, AutoencoderKL) and strips.runs_in_strips(vae, *images.shape[-2:]):
        return strips.encode_in_strips(vae, images)
    return vae.encode(images).latent_dist.parameters


def from_moments(
    vae: Autoencoder,
    moments: Tensor,
    *,
    sample: bool = False,
    generator: torch.Generator | list[torch.Generator] | None = None,
) -> Tensor:
    """Means and log-variances ``(B, 2C, h, w)`` -> scaled latents ``(B, C, h, w)``; arguments as of :func:`encode`."""
    distribution = DiagonalGaussianDistribution(moments)
    latents = distribution.mean
    if sample:
        noise = randn_tensor(latents.shape, generator=generator, device=latents.device, dtype=latents.dtype)
        latents = latents + distribution.std * noise
    return (latents - _shift(vae)) * vae.config.scaling_factor


def encode_hint(vae: Autoencoder, warped: Tensor, visible: Tensor) -> Tensor:
    """The surface hint as the UNet takes it, in training as in sampling.

    Args:
        vae: an autoencoder.
        warped: ``(B, 3, H, W)`` in [-1, 1], the source in the target's pose (``pocold.densepose.correspondence``).
        visible: bool or share in [0, 1], ``(B, H, W)``: where the source shows the point itself.

    Returns:
        ``(B, C + 1, H/f, W/f)``: the mean latents of the warped picture, and the visible share of each latent pixel.
    """
    latents = encode(vae, warped)
    share = F.avg_pool2d(visible[:, None].to(latents), downsampling_factor(vae))
    return torch.cat([latents, share], dim=1)


def decode(vae: Autoencoder, latents: Tensor) -> Tensor:
    """Latents ``(B, C, h, w)`` -> pictures ``(B, 3, H, W)`` in about [-1, 1]."""
    latents = (latents / vae.config.scaling_factor + _shift(vae)).to(vae.dtype)
    height, width = (downsampling_factor(vae) * side for side in latents.shape[-2:])
    if isinstance(vae, AutoencoderKL) and strips.runs_in_strips(vae, height, width):
        return strips.decode_in_strips(vae, latents)
    if isinstance(vae, AutoencoderTiny) and tiny_autoencoder.runs_in_strips(vae, height, width):
        return tiny_autoencoder.decode_in_strips(vae, latents)
    return vae.decode(latents).sample


@torch.no_grad()
def fit_scaling_factor(vae: Autoencoder, pictures: Iterable[Tensor]) -> float:
    """Set ``scaling_factor`` so that :func:`encode` gives these pictures latents of mean square 1; training moves it.

    Args:
        vae: an autoencoder; its config is changed.
        pictures: batches like those of :func:`encode`, one at least.

    Returns:
        The factor.
    """
    squares, values = 0.0, 0
    for batch in pictures:
        latents = encode_moments(vae, batch.to(vae.device)).chunk(2, dim=1)[0].float() - _shift(vae)
        squares += float(latents.square().sum())
        values += latents.numel()
    if squares == 0:
        raise ValueError("the scaling factor needs pictures whose latents are not all zero, got none")
    factor = (values / squares) ** 0.5
    vae.register_to_config(scaling_factor=factor)
    return factor


def _shift(vae: Any) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0
