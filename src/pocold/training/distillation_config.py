"""What a run of ``pocold distill`` is made of; see :mod:`pocold.training.config`."""

from dataclasses import dataclass, field

from pocold.training.config import DataConfig, OptimizerConfig, PictureValidationConfig, RunConfig, at_least, shares

BUNDLED_TEACHER = "bundled"


@dataclass(frozen=True)
class DistillationConfig:
    """What is learned of the teacher.

    Attributes:
        teacher: Pipeline folder; "bundled" is the model that comes with pocold.
        steps: Evaluations in which the result draws; 0 distills the guidance alone, for any number of them.
        substeps: Steps of the teacher for each of them.
        lowest_scale: Guidance scales are learned from here.
        highest_scale: Up to here.
        scales_apart: Share of the batches in which the scales of pose and appearance differ.
    """

    teacher: str = BUNDLED_TEACHER
    steps: int = 0
    substeps: int = 2
    lowest_scale: float = 1.0
    highest_scale: float = 5.0
    scales_apart: float = 0.25

    def __post_init__(self) -> None:
        at_least("distillation", {"steps": self.steps, "lowest_scale": self.lowest_scale})
        at_least("distillation", {"substeps": self.substeps}, 1)
        at_least("distillation", {"highest_scale": self.highest_scale}, self.lowest_scale)
        shares("distillation", {"scales_apart": self.scales_apart})


@dataclass(frozen=True)
class DistillTrainConfig:
    """A run of ``pocold distill``."""

    data: DataConfig = field(default_factory=DataConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    validation: PictureValidationConfig = field(default_factory=PictureValidationConfig)
