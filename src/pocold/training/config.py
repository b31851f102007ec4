"""What a training run is made of: frozen dataclasses, read from TOML, every field of which is also a flag.

``pocold train CONFIG.toml --optimizer.learning-rate 1e-4`` reads the file and then the flags; what is not named has the
default below, which is the published setting where the paper has one (PoCoLD; method.md 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pocold.data.opening import Layout
from pocold.data.skipping import OnError
from pocold.densepose.beside import Maps
from pocold.densepose.maps import ChannelOrder
from pocold.imaging.images import FrameMode

TrainingLayout = Layout | Literal["synthetic"]
Precision = Literal["fp32", "fp16", "bf16"]
Metric = Literal["loss", "psnr", "ssim", "l1", "st_lpips"]


def _at_least(section: str, values: Mapping[str, float], low: float = 0) -> None:
    for name, value in values.items():
        if not value >= low:
            raise ValueError(f"{section}.{name} must be at least {low:g}, got {value!r}")


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
        _at_least("data", {"workers": self.workers, "shuffle_buffer": self.shuffle_buffer, "height": self.height})
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
        _at_least("loss", {"penalty_weight": self.penalty_weight})


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
        _at_least(
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

    output: str = "runs/pocold"
    seed: int = 42
    max_steps: int = 600_000
    max_minutes: float | None = None
    batch_size: int = 32
    gradient_accumulation: int = 1
    precision: Precision = "fp32"
    device: Literal["auto", "cpu"] = "auto"
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
        _at_least("run", {name: getattr(self, name) for name in (*counts, "log_every", "max_bad_steps")}, 1)
        _at_least("run", {"seed": self.seed})


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
        _at_least("validation", {"every": self.every, "preview_pairs": self.preview_pairs})
        _at_least("validation", {"pairs": self.pairs, "steps": self.steps}, 1)


@dataclass(frozen=True)
class SamplingConfig:
    """How the resulting pipeline draws unless told otherwise; the defaults are the published ones.

    Attributes:
        scheduler: Sampler.
        steps: Denoising steps.
        pose_guidance_scale: w_p.
        appearance_guidance_scale: w_s.
    """

    scheduler: Literal["ddim", "pndm", "dpm++", "dpm++-karras", "unipc"] = "ddim"
    steps: int = 50
    pose_guidance_scale: float = 5.0
    appearance_guidance_scale: float = 5.0

    def __post_init__(self) -> None:
        _at_least("sampling", {"steps": self.steps}, 1)


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
        if not 0 <= self.strength <= 1:
            raise ValueError(f"corruption.strength must lie in [0, 1], got {self.strength}")


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
        _at_least("validation", {"every": self.every, "preview_pairs": self.preview_pairs})
        _at_least("validation", {"pairs": self.pairs}, 1)


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
        at_once: Pairs drawn at once.
        backdrop_share: Share of the pairs before another backdrop; needs garment maps.
        photographs: Folders of pictures to use as backdrops; without any they are drawn.
    """

    folder: str = ""
    count: int = 12_000
    pipeline: str | None = None
    steps: int | None = None
    enlarges: int = 1
    at_once: int = 8
    backdrop_share: float = 0.25
    photographs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _at_least("pairs", {"count": self.count, "at_once": self.at_once, "enlarges": self.enlarges}, 1)
        if not 0 <= self.backdrop_share <= 1:
            raise ValueError(f"pairs.backdrop_share must lie in [0, 1], got {self.backdrop_share}")


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
        for name in ("colour", "grain", "shift"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation.{name} must lie in [0, 1], got {getattr(self, name)}")
        _at_least("augmentation", {"shift_pixels": self.shift_pixels})
        if self.height == self.width == 0:
            return
        _at_least("augmentation", {"height": self.height, "width": self.width}, 32)


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
        _at_least("loss", {name: getattr(self, name) for name in weights})
        _at_least("loss", {"gradient_scales": self.gradient_scales}, 1)
        if not 0 < self.perceptual_share <= 1:
            raise ValueError(f"loss.perceptual_share must lie in (0, 1], got {self.perceptual_share}")


@dataclass(frozen=True)
class RefinerValidationConfig:
    """The fixed subset on which the training of a refiner is watched.

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
        _at_least("validation", {"every": self.every, "preview_pairs": self.preview_pairs})
        _at_least("validation", {"pairs": self.pairs}, 1)
