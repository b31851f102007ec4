"""What a run of ``pocold train`` is made of that trains a baseline; see :mod:`pocold.training.config`."""

from dataclasses import dataclass, field
from typing import Literal

from pocold.training.config import (
    DataConfig,
    OptimizerConfig,
    PictureValidationConfig,
    RunConfig,
    ValidationConfig,
    at_least,
)


@dataclass(frozen=True)
class PidmModelConfig:
    """The networks of PIDM. The defaults are the published size, for 256x256.

    Attributes:
        method: Says that a config is of PIDM.
        init: Folder of networks to start from; their shape then counts.
        block_out_channels: Width of each level of the denoiser, finest first.
        encoder_channels: Width of each level of the texture encoder.
        layers_per_block: Residual blocks per level on the way down; one more on the way up.
        texture_levels: How many of the coarsest levels look at the source.
        num_heads: Heads of each attention.
        norm_num_groups: Groups of every GroupNorm.
    """

    method: Literal["pidm"] = "pidm"
    init: str | None = None
    block_out_channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512)
    encoder_channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512)
    layers_per_block: int = 2
    texture_levels: int = 3
    num_heads: int = 8
    norm_num_groups: int = 32


@dataclass(frozen=True)
class PidmLossConfig:
    """The hybrid objective, and how often a sample loses its conditions.

    Guidance asks for predictions without both, with the pose alone, and with the source alone: each is learned from a
    tenth of the samples.

    Attributes:
        vlb_weight: Weight of the variational bound, which the variance is learned from.
        pose_dropout: Share of samples that lose the pose alone, for guidance.
        appearance_dropout: Share that loses the source alone.
        both_dropout: Share that loses both.
    """

    vlb_weight: float = 1e-3
    pose_dropout: float = 0.1
    appearance_dropout: float = 0.1
    both_dropout: float = 0.1

    def __post_init__(self) -> None:
        at_least("loss", {"vlb_weight": self.vlb_weight})


@dataclass(frozen=True)
class PidmSamplingConfig:
    """How the resulting networks draw unless told otherwise; the defaults are the published ones.

    Attributes:
        steps: Denoising steps.
        pose_guidance_scale: w_p.
        appearance_guidance_scale: w_s.
    """

    steps: int = 100
    pose_guidance_scale: float = 2.0
    appearance_guidance_scale: float = 2.0

    def __post_init__(self) -> None:
        at_least("sampling", {"steps": self.steps}, 1)


@dataclass(frozen=True)
class PidmTrainConfig:
    """A run of ``pocold train`` that trains PIDM."""

    data: DataConfig = field(default_factory=DataConfig)
    model: PidmModelConfig = field(default_factory=PidmModelConfig)
    loss: PidmLossConfig = field(default_factory=PidmLossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    sampling: PidmSamplingConfig = field(default_factory=PidmSamplingConfig)


@dataclass(frozen=True)
class NtedModelConfig:
    """The network of NTED. The defaults are the preset nted, for 256x256.

    Attributes:
        method: Says that a config is of NTED.
        init: Folder of a network to start from; its shape then counts.
        block_out_channels: Width of each level of encoders and decoder, finest first.
        layers_per_block: Residual blocks per level.
        num_heads: Heads of each attention.
        num_filters: Filters of each attention.
        norm_num_groups: Groups of every GroupNorm.
    """

    method: Literal["nted"] = "nted"
    init: str | None = None
    block_out_channels: tuple[int, ...] = (64, 128, 256, 512, 512)
    layers_per_block: int = 2
    num_heads: int = 8
    num_filters: int = 32
    norm_num_groups: int = 32


@dataclass(frozen=True)
class NtedLossConfig:
    """The objective; a part of weight 0 is not computed. The weights are ours.

    Attributes:
        pixel: Weight of the absolute error of the pixels.
        perceptual: Weight of the distance that the VGG network of ST-LPIPS sees.
        attention: Weight of the attention's correctness: textures put back onto the source must be its features.
        adversarial: Weight of a patch discriminator's opinion, balanced against the rest.
    """

    pixel: float = 1.0
    perceptual: float = 0.5
    attention: float = 0.1
    adversarial: float = 0.1

    def __post_init__(self) -> None:
        at_least("loss", vars(self))


@dataclass(frozen=True)
class NtedTrainConfig:
    """A run of ``pocold train`` that trains NTED."""

    data: DataConfig = field(default_factory=DataConfig)
    model: NtedModelConfig = field(default_factory=NtedModelConfig)
    loss: NtedLossConfig = field(default_factory=NtedLossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    validation: PictureValidationConfig = field(default_factory=PictureValidationConfig)
