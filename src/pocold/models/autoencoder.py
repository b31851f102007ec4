"""Pictures <-> scaled latents: the only file that knows an autoencoder's scaling factor."""

import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from pocold.checkpoints import load_component

# Names of the attention's weights in autoencoders saved before diffusers 0.18, such as Stable Diffusion's.
_FORMER_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_autoencoder(folder: Path, dtype: torch.dtype | None = None) -> AutoencoderKL:
    """A KL autoencoder from its diffusers folder, strictly; also one with the names of former diffusers versions."""

    def rename(name: str) -> str:
        return re.sub(
            r"(attentions\.\d+)\.(query|key|value|proj_attn)\.",
            lambda match: f"{match[1]}.{_FORMER_NAMES[match[2]]}.",
            name,
        )

    return load_component(AutoencoderKL, folder, dtype, rename)


def downsampling_factor(vae: AutoencoderKL) -> int:
    """Pixels per latent pixel and side (8 for Stable Diffusion's)."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def encode(
    vae: AutoencoderKL,
    images: Tensor,
    *,
    sample: bool = False,
    generator: torch.Generator | list[torch.Generator] | None = None,
) -> Tensor:
    """Pictures -> latents of about unit variance.

    Args:
        vae: a KL autoencoder.
        images: ``(B, 3, H, W)`` in [-1, 1], H and W multiples of its down-sampling factor.
        sample: draw from the encoder's distribution, as published; otherwise its mean, which is repeatable.
        generator: for the draw.

    Returns:
        ``(B, C, H/f, W/f)``, multiplied by ``scaling_factor`` (after subtracting ``shift_factor``, if it has one).
    """
    distribution = vae.encode(images.to(vae.dtype)).latent_dist
    latents = distribution.mean
    if sample:
        noise = randn_tensor(latents.shape, generator=generator, device=latents.device, dtype=latents.dtype)
        latents = latents + distribution.std * noise
    return (latents - _shift(vae)) * vae.config.scaling_factor


def encode_hint(vae: AutoencoderKL, warped: Tensor, visible: Tensor) -> Tensor:
    """The surface hint as the UNet takes it, in training as in sampling.

    Args:
        vae: a KL autoencoder.
        warped: ``(B, 3, H, W)`` in [-1, 1], the source in the target's pose (``pocold.surface``).
        visible: bool or share in [0, 1], ``(B, H, W)``: where the source shows the point itself.

    Returns:
        ``(B, C + 1, H/f, W/f)``: the mean latents of the warped picture, and the visible share of each latent pixel.
    """
    latents = encode(vae, warped)
    share = F.avg_pool2d(visible[:, None].to(latents), downsampling_factor(vae))
    return torch.cat([latents, share], dim=1)


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Latents ``(B, C, h, w)`` -> pictures ``(B, 3, H, W)`` in about [-1, 1]."""
    return vae.decode((latents / vae.config.scaling_factor + _shift(vae)).to(vae.dtype)).sample


def _shift(vae: Any) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0
