"""What a run of ``pocold train-autoencoder`` is made of; see :mod:`pocold.training.config`."""

from dataclasses import dataclass, field
from typing import Literal

from pocold.training.config import DataConfig, OptimizerConfig, RunConfig, ValidationConfig
from pocold.training.objectives import ReconstructionWeights


@dataclass(frozen=True)
class AutoencoderModelConfig:
    """The autoencoder to train.

    Attributes:
        kind: patch is pocold's small one, which starts as the PCA of 8x8 patches; kl is diffusers' AutoencoderKL.
        latent_channels: Channels of the latents (kind patch).
        encoder_channels: Widths of the encoder's levels, finest first; the last is at 1/8 (kind patch).
        encoder_layers: Residual blocks of each of them (kind patch).
        decoder_channels: Likewise of the decoder (kind patch).
        decoder_layers: Likewise of the decoder (kind patch).
        config: config.json of an AutoencoderKL (kind kl).
        init: Folder of an autoencoder to start from; its shape then counts.
    """

    kind: Literal["patch", "kl"] = "patch"
    latent_channels: int = 16
    encoder_channels: tuple[int, ...] = (64, 128)
    encoder_layers: tuple[int, ...] = (2, 2)
    decoder_channels: tuple[int, ...] = (96, 160)
    decoder_layers: tuple[int, ...] = (3, 3)
    config: str | None = None
    init: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "kl" and not (self.config or self.init):
            raise ValueError("model: kind kl needs the config.json of an AutoencoderKL (config) or a folder (init)")


@dataclass(frozen=True)
class AutoencoderTrainConfig:
    """A run of ``pocold train-autoencoder``."""

    data: DataConfig = field(default_factory=DataConfig)
    model: AutoencoderModelConfig = field(default_factory=AutoencoderModelConfig)
    loss: ReconstructionWeights = field(default_factory=ReconstructionWeights)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
