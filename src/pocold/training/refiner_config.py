"""What a run of ``pocold train-refiner`` is made of; see :mod:`pocold.training.config`."""

from dataclasses import dataclass, field

from pocold.training.config import DataConfig, OptimizerConfig, PictureValidationConfig, RunConfig, at_least, shares


@dataclass(frozen=True)
class RefinerModelConfig:
    """The refiner to train.

    Attributes:
        channels: Widths of the levels, finest first; the first is at 1/2 of the picture.
        layers: Residual blocks of each level on the way down, and again on the way up.
        label_channels: Of the embedding of the pose's labels.
        init: Folder of a refiner to start from; its shape then counts.
    """

    channels: tuple[int, ...] = (40, 80, 160, 224)
    layers: tuple[int, ...] = (1, 1, 2, 2)
    label_channels: int = 8
    init: str | None = None


@dataclass(frozen=True)
class RepairConfig:
    """The pairs that a refiner learns from, made before it starts.

    Attributes:
        folder: Where they are kept; a folder made with the same settings is used again. Empty: in the run's folder.
        count: How many, spread evenly over the split; each takes about 0.6 MB at 256x176.
        pipeline: Folder of the pipeline whose pictures are to be repaired. None: the completed picture, blurred, stands
            in for them, for a first training before there is a pipeline.
        steps: Denoising steps; None takes the pipeline's own.
        enlarges: How many times smaller the pipeline draws than the pictures are, so that the refiner learns to
            enlarge; of a refiner to start from (model.init) the factor is replaced.
        relit: Photographs are completed in the light of the pose; likewise replaced.
        at_once: Pairs drawn at once.
        backdrop_share: Share of the pairs before another backdrop; needs garment maps.
        photographs: Folders of pictures to use as backdrops; without any they are drawn.
    """

    folder: str = ""
    count: int = 12_000
    pipeline: str | None = None
    steps: int | None = None
    enlarges: int = 1
    relit: bool = False
    at_once: int = 8
    backdrop_share: float = 0.25
    photographs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least("pairs", {"count": self.count, "at_once": self.at_once, "enlarges": self.enlarges}, 1)
        shares("pairs", {"backdrop_share": self.backdrop_share})


@dataclass(frozen=True)
class RefinerAugmentationConfig:
    """What happens to a pair in training, to completed, drawn and true picture alike but for the shift.

    Attributes:
        colour: Share of the pairs in other colours, contrast and brightness.
        grain: Share of the pairs with noise, up to 4 % of the range.
        shift: Share of the pairs whose completed picture is pulled about, as by an inexact map.
        shift_pixels: By how many pixels at the most.
        height: Of the part of each pair that is learned from, around a point of the body; 0 takes the whole. Most of a
            whole picture is backdrop, which takes as long and teaches little.
        width: Of it.
    """

    colour: float = 0.5
    grain: float = 0.15
    shift: float = 0.3
    shift_pixels: float = 2.0
    height: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        shares("augmentation", {name: getattr(self, name) for name in ("colour", "grain", "shift")})
        at_least("augmentation", {"shift_pixels": self.shift_pixels})
        if self.height == self.width == 0:
            return
        at_least("augmentation", {"height": self.height, "width": self.width}, 32)


@dataclass(frozen=True)
class RefinerLossConfig:
    """The objective of a refiner; a part of weight 0 is not computed.

    Attributes:
        pixel: Weight of the error of the pixels.
        charbonnier: Errors well below this count by their square, above by their size.
        gradient: Weight of the error of differences between neighbours.
        gradient_scales: At the picture's size, and at a half, a quarter, ... of it.
        perceptual: Weight of the distance that the VGG network of ST-LPIPS sees. Without it pictures blur.
        perceptual_share: Share of a batch's pictures that it looks at; it costs more than the refiner.
        adversarial: Weight of a patch discriminator's opinion, balanced against the rest.
    """

    pixel: float = 1.0
    charbonnier: float = 0.02
    gradient: float = 0.5
    gradient_scales: int = 3
    perceptual: float = 0.5
    perceptual_share: float = 0.25
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        weights = ("pixel", "charbonnier", "gradient", "perceptual", "adversarial")
        at_least("loss", {name: getattr(self, name) for name in weights})
        at_least("loss", {"gradient_scales": self.gradient_scales}, 1)
        if not 0 < self.perceptual_share <= 1:
            raise ValueError(f"loss.perceptual_share must lie in (0, 1], got {self.perceptual_share}")


@dataclass(frozen=True)
class RefinerTrainConfig:
    """A run of ``pocold train-refiner``."""

    data: DataConfig = field(default_factory=DataConfig)
    pairs: RepairConfig = field(default_factory=RepairConfig)
    model: RefinerModelConfig = field(default_factory=RefinerModelConfig)
    augmentation: RefinerAugmentationConfig = field(default_factory=RefinerAugmentationConfig)
    loss: RefinerLossConfig = field(default_factory=RefinerLossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    validation: PictureValidationConfig = field(default_factory=PictureValidationConfig)
