"""Configurations of whole models by name."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.unet import UNet


def _autoencoder(block_out_channels: tuple[int, ...], layers: int, groups: int) -> dict[str, Any]:
    levels = len(block_out_channels)
    return {
        "block_out_channels": block_out_channels,
        "layers_per_block": layers,
        "norm_num_groups": groups,
        "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "scaling_factor": 0.18215,
        "sample_size": 512,  # pictures up to here are one tile where tiling is enabled
    }


PRESETS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    # The published size: UNet 109.0 M + encoder 14.9 M parameters, and Stable Diffusion's autoencoder, 83.7 M.
    "base": {
        "unet": {},
        "appearance_encoder": {},
        "vae": _autoencoder((128, 256, 512, 512), layers=2, groups=32),
    },
    # Small enough for tests: every mechanism of the real one, 0.4 M parameters, trained on nothing.
    "toy": {
        "unet": {
            "block_out_channels": (16, 16, 32, 32),
            "appearance_channels": (16, 16, 32, 32),
            "layers_per_block": 1,
            "num_heads": 2,
            "num_filters": 8,
            "norm_num_groups": 8,
        },
        "appearance_encoder": {"block_out_channels": (16, 16, 32, 32), "norm_num_groups": 8},
        "vae": _autoencoder((8, 16, 16, 16), layers=1, groups=8),
    },
}


def preset(name: str) -> Mapping[str, Mapping[str, Any]]:
    """Constructor arguments of ``unet``, ``appearance_encoder`` and ``vae``; ValueError for an unknown name."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def build_models(name: str, seed: int = 0, **unet_options: Any) -> dict[str, UNet | AppearanceEncoder | AutoencoderKL]:
    """Untrained models of a preset, in eval mode; one seed gives one set of weights. Leaves the global RNG alone.

    Args:
        name: of the preset.
        seed: of the weights.
        **unet_options: instead of the preset's, such as ``surface_hint=True``.
    """
    configs = preset(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        models = {
            "vae": AutoencoderKL(**configs["vae"]),
            "unet": UNet(**{**configs["unet"], **unet_options}),
            "appearance_encoder": AppearanceEncoder(**configs["appearance_encoder"]),
        }
    return {part: model.eval() for part, model in models.items()}
