"""What a run of ``pocold train-estimator`` is made of; see :mod:`pocold.training.config`."""

from dataclasses import dataclass, field
from typing import Literal

from pocold.models.densepose_estimator import EstimatorLoss
from pocold.training.config import DataConfig, OptimizerConfig, RunConfig, check_subset, shares


@dataclass(frozen=True)
class EstimatorModelConfig:
    """The DensePose estimator to train.

    Attributes:
        channels: Widths of the levels, finest first; the first is at 1/2 of the picture.
        encoder_layers: Residual blocks of each level on the way down.
        decoder_layers: Residual blocks of each level on the way up; one level less.
        height: Of the pictures that it sees, 0: as in init, or 128. Data of a larger size stays sharp where a crop is
            close.
        width: Of them, 0: as in init, or 88.
        init: Folder of an estimator to start from; its widths and layers then count.
    """

    channels: tuple[int, ...] = (32, 64, 96, 128, 192)
    encoder_layers: tuple[int, ...] = (0, 1, 2, 2, 2)
    decoder_layers: tuple[int, ...] = (1, 2, 2, 2)
    height: int = 0
    width: int = 0
    init: str | None = None


@dataclass(frozen=True)
class CorruptionConfig:
    """What happens to the pictures of an estimator's training; see pocold.data.corruptions.

    Attributes:
        strength: 0 leaves them as they are, 1 is the mixture that the bundled estimator learned from.
        photographs: Folders of photographs without people, such as wallpapers, of which parts stand behind people,
            before them and on their clothes; without any, all of that is drawn.
    """

    strength: float = 1.0
    photographs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shares("corruption", {"strength": self.strength})


@dataclass(frozen=True)
class EstimatorValidationConfig:
    """The fixed subset on which the training of an estimator is watched.

    Attributes:
        every: Steps between validations; 0 never validates.
        pairs: How many pictures, spread evenly over the validation split.
        preview_pairs: How many of them are drawn into the preview sheets.
        best_metric: Which of loss, miou, hard_miou (of corrupted pictures) tells the best checkpoint.
    """

    every: int = 1000
    pairs: int = 64
    preview_pairs: int = 6
    best_metric: Literal["loss", "miou", "hard_miou"] = "hard_miou"

    def __post_init__(self) -> None:
        check_subset(self)


@dataclass(frozen=True)
class EstimatorTrainConfig:
    """A run of ``pocold train-estimator``."""

    data: DataConfig = field(default_factory=DataConfig)
    model: EstimatorModelConfig = field(default_factory=EstimatorModelConfig)
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    loss: EstimatorLoss = field(default_factory=EstimatorLoss)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    validation: EstimatorValidationConfig = field(default_factory=EstimatorValidationConfig)
