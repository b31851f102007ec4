"""Checkpoints of the official PoCoLD release -> pocold. The only file that speaks its names.

An official folder holds ``unet``, ``rie`` (our ``appearance_encoder``) and ``channel_mapper`` (our
``UNet.pose_projection``), each with a ``config.json`` and weights. What is not in the tables below is refused by name.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocold.checkpoints import load_strictly, read_weights
from pocold.densepose.labels import NUM_LABELS
from pocold.diffusion.schedulers import make_scheduler
from pocold.imaging.files import read_json
from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.autoencoder import load_autoencoder
from pocold.models.unet import UNet
from pocold.pipeline import PoseTransferPipeline

# official config key -> ours
UNET_KEYS = {
    "block_out_channels": "block_out_channels",
    "cross_attention_channels": "appearance_channels",
    "layers_per_block": "layers_per_block",
    "attn_heads_nums": "num_heads",
    "num_filters": "num_filters",
    "norm_num_groups": "norm_num_groups",
    "norm_eps": "norm_eps",
}
ENCODER_KEYS = {
    "in_channels": "latent_channels",
    "block_out_channels": "block_out_channels",
    "num_layers": "layers_per_block",
    "norm_num_groups": "norm_num_groups",
    "norm_eps": "norm_eps",
}
# Keys that change the network in ways we do not build: the one value that is understood.
UNET_FIXED = {
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "act_fn": "silu",
    "only_cross_attention": False,
    "resnet_time_scale_shift": "default",
    "upcast_attention": False,
    "class_embed_type": None,
    "num_class_embeds": None,
    "dual_cross_attention": False,
    "use_linear_projection": False,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "projection_class_embeddings_input_dim": None,
}
ENCODER_FIXED = {"use_time_emb": False, "act_fn": "silu", "downsample_padding": 1}
MAPPER_FIXED = {"in_channels": NUM_LABELS, "concat": True}
# Keys that leave no trace in the weights, so that a default must not stand in for them.
UNET_REQUIRED = ("attn_heads_nums",)
# Keys without influence on the weights or on inference, or (block types) proved by the weights' names themselves.
IGNORED = {
    "sample_size",
    "use_constraint_penalty",
    "down_block_types",
    "mid_block_type",
    "up_block_types",
}


def convert_unet(config: Mapping[str, Any], mapper_config: Mapping[str, Any], state: Mapping[str, Tensor]) -> UNet:
    """An official UNet and channel mapper as one :class:`UNet`.

    Args:
        config: of the official ``unet``.
        mapper_config: of the official ``channel_mapper``.
        state: both state dicts in one, names prefixed with ``unet.`` and ``channel_mapper.``.

    Raises:
        ValueError: naming any key, value or weight that is not understood, or missing.
    """
    for key in UNET_REQUIRED:
        if key not in config:
            raise ValueError(f"unet config: {key!r} is missing, and the weights do not show it")
    known = _translate(config, UNET_KEYS, UNET_FIXED, "unet", also=("in_channels", "out_channels"))
    mapper = _translate(mapper_config, {"out_channels": "pose_channels"}, MAPPER_FIXED, "channel_mapper")
    unet = UNet(latent_channels=config.get("out_channels", 4), **known, **mapper)
    takes = unet.config.latent_channels + unet.config.pose_channels
    if config.get("in_channels", takes) != takes:
        raise ValueError(f"unet config: in_channels is {config['in_channels']}, expected latents + pose = {takes}")
    names = {name: _official_name(name) for name in unet.state_dict()}
    _load(unet, names, {name: value for name, value in state.items() if not name.startswith("rie.")})
    return unet


def convert_appearance_encoder(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> AppearanceEncoder:
    """An official ``rie`` as :class:`AppearanceEncoder`; ``state`` holds its weights under their own names.

    Raises:
        ValueError: naming any key, value or weight that is not understood, or missing.
    """
    encoder = AppearanceEncoder(**_translate(config, ENCODER_KEYS, ENCODER_FIXED, "rie"))
    _load(encoder, {name: name for name in encoder.state_dict()}, state)
    return encoder


def convert_checkpoint(folder: str | os.PathLike[str]) -> tuple[UNet, AppearanceEncoder]:
    """Read an official checkpoint folder (see the top of this file); ``.bin`` or safetensors.

    Raises:
        ValueError: if a part is missing or broken, or holds anything that is not understood.
    """
    folder = Path(folder)
    parts = {part: folder / part for part in ("unet", "rie", "channel_mapper")}
    for part, path in parts.items():
        if not path.is_dir():
            raise ValueError(f"{folder} is not an official PoCoLD checkpoint: it has no folder {part!r}")
    configs = {part: read_json(path / "config.json") for part, path in parts.items()}
    states = {part: read_weights(path) for part, path in parts.items()}
    both = {f"{part}.{name}": value for part in ("unet", "channel_mapper") for name, value in states[part].items()}
    return (
        convert_unet(configs["unet"], configs["channel_mapper"], both),
        convert_appearance_encoder(configs["rie"], states["rie"]),
    )


def convert_pipeline(
    checkpoint: str | os.PathLike[str], vae: str | os.PathLike[str], dtype: torch.dtype = torch.float32
) -> PoseTransferPipeline:
    """An official checkpoint folder and the folder of its frozen autoencoder as a pipeline, with the published sampler.

    Raises:
        ValueError: see :func:`convert_checkpoint`; or if the autoencoder's folder is missing or broken.
    """
    unet, encoder = convert_checkpoint(checkpoint)
    nn.Module.to(unet, dtype)
    nn.Module.to(encoder, dtype)
    return PoseTransferPipeline(
        vae=load_autoencoder(Path(vae), dtype),
        appearance_encoder=encoder.eval(),
        unet=unet.eval(),
        scheduler=make_scheduler("pndm"),
    )


def _official_name(name: str) -> str:
    """The official name of one of our UNet's weights; all but the special cases are the same."""
    module, _, leaf = name.rpartition(".")
    if module == "pose_projection":
        return f"channel_mapper.cond_conv.{leaf}"
    if leaf in ("logit_scale", "residual_scale"):  # one published scalar is both
        return f"unet.{module}.scale"
    return f"unet.{name}"


def _load(module: UNet | AppearanceEncoder, names: Mapping[str, str], official: Mapping[str, Tensor]) -> None:
    used = set(names.values())
    state = {name: official[wanted] for name, wanted in names.items() if wanted in official}
    # Keep what no table entry asks for, so that strict loading names it; also where its name happens to be one of ours.
    for name in official.keys() - used:
        state[f"official {name}" if name in names else name] = official[name]
    load_strictly(module, state, "the official checkpoint")


def _translate(
    config: Mapping[str, Any],
    keys: Mapping[str, str],
    fixed: Mapping[str, Any],
    part: str,
    also: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Our keyword arguments for an official config; refuses what the tables do not cover."""
    result = {}
    for key, value in config.items():
        if key.startswith("_") or key in IGNORED or key in also:
            continue
        if key in keys:
            result[keys[key]] = value
        elif key not in fixed:
            raise ValueError(f"{part} config: unknown key {key!r} (value {value!r}); this checkpoint is not understood")
        elif value != fixed[key]:
            raise ValueError(f"{part} config: {key} is {value!r}, but only {fixed[key]!r} is understood")
    return result
