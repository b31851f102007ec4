"""What is trained for the comparison: methods, and the paper's claims one by one; at each size all about as large."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.ablation import double_attention, plain_cross_attention, with_skeletons
from pocold.densepose.plausibility import PlausibilityWarning
from pocold.imaging.files import atomic_folder
from pocold.models.baselines import nted as nted_network
from pocold.models.baselines import pidm as pidm_network
from pocold.models.patch_autoencoder import PatchAutoencoder
from pocold.training.baseline_config import (
    NtedLossConfig,
    NtedModelConfig,
    NtedTrainConfig,
    PidmModelConfig,
    PidmSamplingConfig,
    PidmTrainConfig,
)
from pocold.training.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    PictureValidationConfig,
    RunConfig,
    SamplingConfig,
    TrainConfig,
    ValidationConfig,
)
from pocold.training.nted import train_nted
from pocold.training.pidm import train_pidm
from pocold.training.transfer import train

NARROW: dict[str, Any] = {
    "block_out_channels": (128, 192, 256), "appearance_channels": (64, 96, 128), "layers_per_block": 1, "num_heads": 4,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "block_out_channels": (64, 96, 128), "appearance_channels": (32, 48, 64), "layers_per_block": 1, "num_heads": 4,
    "norm_num_groups": 16,
}  # fmt: skip
TOY: dict[str, Any] = {
    "block_out_channels": (16, 24, 32), "appearance_channels": (16, 24, 32), "layers_per_block": 1, "num_heads": 2,
    "num_filters": 8, "norm_num_groups": 8,
}  # fmt: skip
SHAPES = {"narrow": NARROW, "small": SMALL, "toy": TOY}


@dataclass(frozen=True)
class Settings:
    """What all runs share.

    Attributes:
        data: folder of ``pocold synth``.
        vae: folder of the autoencoder of the latent methods.
        out: folder of everything that is made.
        size: narrow (about 17 M parameters), small (a quarter of that) or toy.
        precision: of training.
        batch_size: pairs per step.
        learning_rate: of all methods.
        sampling_steps: of all that sample, with DDIM and guidance 2 and 2.
    """

    data: Path
    vae: Path
    out: Path
    size: str = "narrow"
    precision: str = "fp32"
    batch_size: int = 32
    learning_rate: float = 5e-4
    sampling_steps: int = 20


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        what: in words.
        kind: ``pocold``, ``pidm`` or ``nted``.
        model, loss: settings of it.
        attention: context in which its UNet has other attentions.
        skeletons: it sees limbs instead of DensePose's parts.
        pixels: instead of latents it sees the pixels themselves.
    """

    what: str
    kind: str = "pocold"
    model: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    attention: Callable[[], Any] = double_attention
    skeletons: bool = False
    pixels: bool = False

    @property
    def folder(self) -> str:
        """Of the result, in the folder of a run."""
        return "pipeline" if self.kind == "pocold" else self.kind

    def data(self, settings: Settings) -> Path:
        """What it learns from, made first where it is not there yet."""
        return with_skeletons(settings.data, settings.out / "skeletons") if self.skeletons else settings.data

    def config(self, settings: Settings, seed: int, output: Path, steps: int) -> Any:
        """The config of a run of so many steps."""
        data = DataConfig(path=str(self.data(settings)), flip=0.0, workers=0)
        warmup = min(50, steps // 4)
        optimizer = OptimizerConfig(learning_rate=settings.learning_rate, warmup_steps=warmup, ema_decay=0.99)
        run = RunConfig(
            output=str(output), seed=seed, max_steps=steps, batch_size=settings.batch_size,
            precision=settings.precision,  # type: ignore[arg-type]
            checkpoint_every=max(1, min(100, steps // 2)), keep_checkpoints=1,
        )  # fmt: skip
        if self.kind == "pidm":
            return PidmTrainConfig(
                data, PidmModelConfig(**_preset(pidm_network.PRESETS, settings.size)), optimizer=optimizer, run=run,
                validation=ValidationConfig(every=0), sampling=PidmSamplingConfig(steps=settings.sampling_steps),
            )  # fmt: skip
        if self.kind == "nted":
            return NtedTrainConfig(
                data, NtedModelConfig(**_preset(nted_network.PRESETS, settings.size)), NtedLossConfig(**self.loss),
                optimizer, run, PictureValidationConfig(every=0),
            )  # fmt: skip
        shape = {**SHAPES[settings.size], **self.model}
        vae = pixel_autoencoder(settings.out / "pixels") if self.pixels else settings.vae
        return TrainConfig(
            data, ModelConfig(vae=str(vae), **shape), LossConfig(**self.loss), optimizer, run,
            ValidationConfig(every=0),
            SamplingConfig("ddim", settings.sampling_steps, pose_guidance_scale=2.0, appearance_guidance_scale=2.0),
        )  # fmt: skip

    def train(self, config: Any) -> Path:
        """Train, or go on; the folder of the result."""
        trainings: dict[str, Callable[[Any], Path]] = {"pocold": train, "pidm": train_pidm, "nted": train_nted}
        with self.context():
            return trainings[self.kind](config)

    @contextmanager
    def context(self) -> Iterator[None]:
        """In which it is trained, loaded and evaluated."""
        with self.attention(), warnings.catch_warnings():
            if self.skeletons:  # that limbs are no DensePose parts is known
                warnings.simplefilter("ignore", PlausibilityWarning)
            yield


def _preset(presets: Any, name: str) -> dict[str, Any]:
    return dict(presets[name])


def pixel_autoencoder(folder: Path) -> Path:
    """An autoencoder that changes nothing: its 192 latent channels are the values of 8x8 patches of pixels.

    With it the same UNet is a diffusion model of pixels at about the same cost: what is compared is the space alone.
    """
    if folder.is_dir():
        return folder
    vae = PatchAutoencoder(
        latent_channels=192, encoder_channels=(8,), encoder_layers=(1,), decoder_channels=(8,), decoder_layers=(1,),
        scaling_factor=2.0,
    )  # fmt: skip
    with torch.no_grad():
        for part in (vae.encoder, vae.decoder):
            part.reset_residual()
            part.linear.weight.copy_(torch.eye(192)[..., None, None])
            nn.init.zeros_(part.linear.bias)
        vae.encoder.conv_out.bias[192:] = -30.0  # the log-variance of its latents: there is no noise in pixels
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as new:
        vae.save_pretrained(new)
    return folder


# v prediction learns in minutes what noise prediction needs hours for, so the claims are tried with it.
EASIER: dict[str, Any] = {"prediction_type": "v_prediction", "min_snr_gamma": 5.0}
NO_PENALTY = {**EASIER, "penalty_weight": 0.0}
METHODS: dict[str, Variant] = {
    "pocold": Variant("as published: DensePose's parts, pose constraint, double attention, latents, noise prediction"),
    "ours": Variant(
        "the same with the surface hint and its path to the output, v prediction, min-SNR weights",
        model={"surface_hint": True, "hint_skip": True},
        loss=EASIER,
    ),
    "pidm": Variant("pixels, keypoints, cross-attention to textures", kind="pidm"),
    "nted": Variant("one pass, keypoints, extraction and distribution", kind="nted"),
}
CLAIMS: dict[str, Variant] = {
    "constraint": Variant("DensePose's parts, pose constraint, double attention, latents", loss=EASIER),
    "no-constraint": Variant("without the pose constraint", loss=NO_PENALTY),
    "keypoints": Variant("without it, and 17 limbs instead of DensePose's parts", loss=NO_PENALTY, skeletons=True),
    "cross-attention": Variant(
        "without it, and plain cross-attention instead of double attention", loss=NO_PENALTY,
        attention=plain_cross_attention,
    ),
    "pixels": Variant("with it, and pixels (8x8 patches as channels) instead of latents", loss=EASIER, pixels=True),
}  # fmt: skip
# Claim, the variant that should be better, the one that should be worse.
COMPARISONS = (
    ("DensePose is better than keypoints", "no-constraint", "keypoints"),
    ("the pose constraint helps", "constraint", "no-constraint"),
    ("double attention is better than cross-attention", "no-constraint", "cross-attention"),
    ("latents are better than pixels", "constraint", "pixels"),
)
VARIANTS = {**METHODS, **CLAIMS}


def with_steps(config: Any, steps: int, minutes: float | None) -> Any:
    """The config with another end."""
    return replace(config, run=replace(config.run, max_steps=steps, max_minutes=minutes))
