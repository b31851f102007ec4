"""What a training run is made of: frozen dataclasses, read from TOML, every field of which is also a flag.

``pocold train CONFIG.toml --optimizer.learning-rate 1e-4`` reads the file and then the flags; what is not named has the
default below, which is the published setting where the paper has one (PoCoLD; method.md 4). What all commands have is
also called as everywhere: ``-o``, ``--seed``, ``--precision``, ``--device``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from tyro.conf import arg

from pocold.data.opening import Layout
from pocold.data.skipping import OnError
from pocold.densepose.beside import Maps
from pocold.densepose.maps import ChannelOrder
from pocold.imaging.images import FrameMode

TrainingLayout = Layout | Literal["synthetic"]
Precision = Literal["fp32", "fp16", "bf16"]
Metric = Literal["loss", "psnr", "ssim", "l1", "st_lpips"]


def at_least(section: str, values: Mapping[str, float], low: float = 0) -> None:
    """Raise a ValueError that names the section and the field, unless all values are at least ``low``."""
    for name, value in values.items():
        if not value >= low:
            raise ValueError(f"{section}.{name} must be at least {low:g}, got {value!r}")


def shares(section: str, values: Mapping[str, float]) -> None:
    """Raise a ValueError that names the section and the field, unless all values lie in [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{section}.{name} must lie in [0, 1], got {value!r}")


@dataclass(frozen=True)
class DataConfig:
    """The pairs to learn from.

    Attributes:
        path: Folder of the data set; not needed for layout synthetic.
        latents: Folder of latents of this data set, cached by pocold data latents, to train on instead.
        layout: What it is; auto looks. synthetic draws people on the fly.
        split: Pairs to train on.
        validation_split: Pairs of the fixed validation subset.
        height: Pictures are framed to this height; 0 keeps their own size.
        width: And to this width.
        frame: How pictures are framed: pad, crop or stretch.
        flip: Probability of mirroring source and target together.
        on_error: Stop at a missing or broken file, or leave it out, count and list it.
        maps: Where DensePose maps lie, such as "iuv/{path}.png".
        channels: Where these maps have the label: iuv in the red channel, vui in the blue one.
        pictures: DeepFashion only: folder of the pictures or of an lmdb.
        lmdb_key: DeepFashion only: key of a picture in the lmdb.
        workers: Loader processes per training process; 0 loads in the process itself.
        shuffle_buffer: Shards only: pairs among which the stream is shuffled.
        synthetic_seed: Layout synthetic only: another seed draws another population.
        per_identity: Layout synthetic only: pictures of each person.
    """

    path: str = ""
    latents: str | None = None
    layout: TrainingLayout = "auto"
    split: str = "train"
    validation_split: str = "test"
    height: int = 0
    width: int = 0
    frame: FrameMode = "pad"
    flip: float = 0.5
    on_error: OnError = "raise"
    maps: tuple[str, ...] = ()
    channels: ChannelOrder = "auto"
    pictures: str | None = None
    lmdb_key: str | None = None
    workers: int = 2
    shuffle_buffer: int = 2000
    synthetic_seed: int = 0
    per_identity: int = 6

    def __post_init__(self) -> None:
        at_least("data", {"workers": self.workers, "shuffle_buffer": self.shuffle_buffer, "height": self.height})
        if (self.height == 0) != (self.width == 0):
            raise ValueError(f"data: height and width are given together, got {self.height} and {self.width}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"data.flip is a probability in [0, 1], got {self.flip}")

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), or None for the pictures' own."""
        return (self.height, self.width) if self.height else None

    @property
    def map_patterns(self) -> list[Maps]:
        """The patterns of :attr:`maps`."""
        return [Maps(pattern, self.channels) for pattern in self.maps]


@dataclass(frozen=True)
class ModelConfig:
    """The networks. The defaults are the published size.

    Attributes:
        vae: Folder of the frozen autoencoder, such as sd-vae-ft-mse, or of a pipeline's vae; "untrained-toy" is one
            that has learned nothing, to try a run without any file.
        init: Pipeline folder whose UNet and appearance encoder to start from; its shape then counts, except that
            hint_skip adds its path to a UNet that has none, and hint_completed changes what it is shown.
        block_out_channels: Width of each level of the UNet.
        appearance_channels: Width of each level of the appearance encoder.
        layers_per_block: Residual blocks per level on the way down; one more on the way up.
        num_heads: Heads of each attention.
        num_filters: Filters of each attention.
        norm_num_groups: Groups of every GroupNorm.
        surface_hint: Also show the UNet the source warped into the pose through U,V; not in the paper.
        hint_skip: Give the hint a linear path to the output, besides the one through the network.
        hint_completed: Complete the hint on the body where the source shows nothing.
        pose_encoding: labels is the published one; iuv adds U and V.
    """

    vae: str = "untrained-toy"
    init: str | None = None
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    appearance_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    num_heads: int = 8
    num_filters: int = 64
    norm_num_groups: int = 32
    surface_hint: bool = False
    hint_skip: bool = False
    hint_completed: bool = False
    pose_encoding: Literal["labels", "iuv"] = "labels"


@dataclass(frozen=True)
class LossConfig:
    """The objective (method.md 4).

    Attributes:
        prediction_type: What the UNet predicts: epsilon or v_prediction.
        penalty_weight: Weight of the pose penalty; 0 leaves it out.
        min_snr_gamma: Clamp of the min-SNR weighting (Hang et al. 2023); none weighs all time steps alike.
        pose_dropout: Share of samples that lose the pose alone, for guidance.
        appearance_dropout: Share that loses the source alone.
        both_dropout: Share that loses both.
    """

    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    penalty_weight: float = 1.0
    min_snr_gamma: float | None = None
    pose_dropout: float = 0.15
    appearance_dropout: float = 0.15
    both_dropout: float = 0.05

    def __post_init__(self) -> None:
        at_least("loss", {"penalty_weight": self.penalty_weight})


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, its schedule, and the moving average of the weights.

    Attributes:
        learning_rate: After the warm-up.
        schedule: constant, linear or cosine (to zero at the last step).
        warmup_steps: Steps over which the learning rate rises from 0.
        weight_decay: Of AdamW.
        betas: Of AdamW.
        max_grad_norm: Gradients of all trained parts together are clipped to this norm.
        ema_decay: Of the exponential moving average, which is what validation and the result use; 0 uses the weights.
    """

    learning_rate: float = 5e-5
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = 500
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = 1.0
    ema_decay: float = 0.9999

    def __post_init__(self) -> None:
        at_least(
            "optimizer",
            {
                "learning_rate": self.learning_rate,
                "warmup_steps": self.warmup_steps,
                "weight_decay": self.weight_decay,
                "max_grad_norm": self.max_grad_norm,
            },
        )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"optimizer.ema_decay must lie in [0, 1), got {self.ema_decay}")


@dataclass(frozen=True)
class RunConfig:
    """How a run goes.

    Attributes:
        output: Folder of the run; the same command goes on where it stopped.
        seed: Of every random draw.
        max_steps: Optimizer steps in all.
        max_minutes: Stop with a checkpoint after so many minutes of this start; none goes on to the last step.
        batch_size: Pairs per process and backward pass.
        gradient_accumulation: Backward passes per optimizer step.
        precision: fp32, bf16 or fp16 (mixed).
        device: auto takes the accelerator if there is one.
        fsdp: Shard weights, gradients and optimizer over the processes instead of copying them to each.
        gradient_checkpointing: Compute activations again in the backward pass: less memory, more time.
        compile: Compile the networks; pays on a GPU.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: How many of the last ones are kept; the best one by metric always is.
        log_every: Steps between entries of the log.
        max_bad_steps: Steps in a row with NaN or infinite loss or gradient, each skipped, after which the run stops.
        export_precision: Of the weights of the resulting pipeline.
    """

    output: Annotated[str, arg(aliases=["-o", "--output"])] = "runs/pocold"
    seed: Annotated[int, arg(aliases=["--seed"])] = 42
    max_steps: int = 600_000
    max_minutes: float | None = None
    batch_size: int = 32
    gradient_accumulation: int = 1
    precision: Annotated[Precision, arg(aliases=["--precision"])] = "fp32"
    device: Annotated[Literal["auto", "cpu"], arg(aliases=["--device"])] = "auto"
    fsdp: bool = False
    gradient_checkpointing: bool = False
    compile: bool = False
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
    log_every: int = 20
    max_bad_steps: int = 20
    export_precision: Precision = "fp32"

    def __post_init__(self) -> None:
        counts = ("max_steps", "batch_size", "gradient_accumulation", "checkpoint_every", "keep_checkpoints")
        at_least("run", {name: getattr(self, name) for name in (*counts, "log_every", "max_bad_steps")}, 1)
        at_least("run", {"seed": self.seed})


def check_subset(validation: Any) -> None:
    """Raise a ValueError for a fixed subset that cannot be, of any training's ``validation``."""
    at_least("validation", {"every": validation.every, "preview_pairs": validation.preview_pairs})
    at_least("validation", {"pairs": validation.pairs}, 1)


@dataclass(frozen=True)
class PictureValidationConfig:
    """The fixed subset on which the training of a network that draws in one pass is watched.

    Attributes:
        every: Steps between validations; 0 never validates.
        pairs: How many pairs, spread evenly over the validation split.
        preview_pairs: How many of them are drawn into the preview sheets.
        best_metric: Which of loss, psnr, ssim, l1, st_lpips tells the best checkpoint.
    """

    every: int = 1000
    pairs: int = 64
    preview_pairs: int = 6
    best_metric: Metric = "loss"

    def __post_init__(self) -> None:
        check_subset(self)


@dataclass(frozen=True)
class ValidationConfig:
    """The fixed subset on which a run is watched.

    Attributes:
        every: Steps between validations; 0 never validates.
        pairs: How many pairs, spread evenly over the validation split.
        preview_pairs: How many of them are drawn into the preview sheets.
        steps: Denoising steps.
        pose_guidance_scale: w_p.
        appearance_guidance_scale: w_s.
        best_metric: Which of loss, psnr, ssim, l1, st_lpips tells the best checkpoint; the loss needs no drawing.
    """

    every: int = 5000
    pairs: int = 32
    preview_pairs: int = 6
    steps: int = 20
    pose_guidance_scale: float = 2.0
    appearance_guidance_scale: float = 2.0
    best_metric: Metric = "loss"

    def __post_init__(self) -> None:
        check_subset(self)
        at_least("validation", {"steps": self.steps}, 1)


@dataclass(frozen=True)
class SamplingConfig:
    """How the resulting pipeline draws unless told otherwise; the defaults are the published ones.

    Attributes:
        scheduler: Sampler.
        steps: Denoising steps.
        pose_guidance_scale: w_p.
        appearance_guidance_scale: w_s.
    """

    scheduler: Literal["ddim", "pndm", "dpm++", "dpm++-karras", "unipc", "ddim-trailing"] = "ddim"
    steps: int = 50
    pose_guidance_scale: float = 5.0
    appearance_guidance_scale: float = 5.0

    def __post_init__(self) -> None:
        at_least("sampling", {"steps": self.steps}, 1)


@dataclass(frozen=True)
class TrainConfig:
    """A run of ``pocold train``."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
