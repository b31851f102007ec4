"""``pocold train``: the loop, told from top to bottom (PoCoLD, method.md 4).

Legend: B pairs per process and backward pass, C latent channels, h w latent size.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocold.checkpoints import load_component, weights_hash
from pocold.data.latents import LatentPairs
from pocold.devices import PRECISIONS
from pocold.diffusion.losses import ConditionDropout, training_loss
from pocold.diffusion.sampling import SamplingDefaults
from pocold.diffusion.schedulers import PUBLISHED_NOISE, make_scheduler
from pocold.models import autoencoder
from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.autoencoder import Autoencoder, load_autoencoder
from pocold.models.presets import build_models
from pocold.models.unet import UNet
from pocold.pipeline import PoseTransferPipeline
from pocold.training.checkpoints import Progress
from pocold.training.config import LossConfig, ModelConfig, SamplingConfig, TrainConfig, ValidationConfig
from pocold.training.inputs import Inputs
from pocold.training.loader import Data, open_training_data
from pocold.training.loop import Watch
from pocold.training.model_card import pipeline_card, write_card
from pocold.training.reporting import Reporter
from pocold.training.start import first_batch, made_of_data, start_run
from pocold.training.validation import Validation, noise_losses

LOSSES = ("loss", "noise_loss", "pose_penalty")
UNTRAINED_VAE = "untrained-toy"
_TRAINED = ("unet", "appearance_encoder")


class TransferModel(nn.Module):
    """UNet and appearance encoder as one module, so that processes exchange the gradients of both at once.

    Args:
        unet, appearance_encoder: the trained networks.
        scheduler: adds the noise.
        loss: settings of the objective.
    """

    def __init__(self, unet: UNet, appearance_encoder: AppearanceEncoder, scheduler: Any, loss: LossConfig) -> None:
        super().__init__()
        self.unet, self.appearance_encoder = unet, appearance_encoder
        self.scheduler, self.loss = scheduler, loss
        self.dropout = ConditionDropout(loss.pose_dropout, loss.appearance_dropout, loss.both_dropout)

    def forward(self, inputs: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """The losses of a batch, float32 ``(3,)``: total, noise, pose penalty; see ``losses.training_loss``."""
        losses = training_loss(
            self.unet,
            self.appearance_encoder,
            self.scheduler,
            **inputs,
            dropout=self.dropout,
            penalty_weight=self.loss.penalty_weight,
            min_snr_gamma=self.loss.min_snr_gamma,
            generator=generator,
        )
        total = losses.total
        if losses.sources == 0:
            # Encoder and attentions took no part. Processes exchange all gradients or wait for each other for ever, so
            # those get a zero.
            total = total + 0.0 * sum(p.flatten()[0].float() for p in self.parameters())
        return torch.stack([total.float(), losses.noise.float(), losses.pose_penalty.float()])


def build_networks(config: TrainConfig) -> tuple[Autoencoder, UNet, AppearanceEncoder]:
    """The frozen autoencoder and the networks to train, from scratch or from a pipeline folder.

    Raises:
        ValueError: for folders that hold no such networks, or networks that do not fit each other.
    """
    settings = config.model
    vae: Autoencoder
    if settings.vae == UNTRAINED_VAE:
        vae = build_models("toy")["vae"]
    else:
        vae = load_autoencoder(Path(settings.vae), torch.float32)
    vae.requires_grad_(False)
    if settings.init is not None:
        unet = load_component(UNet, Path(settings.init) / "unet", torch.float32)
        encoder = load_component(AppearanceEncoder, Path(settings.init) / "appearance_encoder", torch.float32)
        if settings.hint_skip and not unet.config.hint_skip:
            unet = extended(unet, hint_skip=True)
        if settings.hint_completed and not unet.config.surface_hint:
            raise ValueError("model.hint_completed: the UNet of model.init takes no surface hint")
        unet.register_to_config(hint_completed=settings.hint_completed or unet.config.hint_completed)
    else:
        unet, encoder = _new_networks(settings, vae.config.latent_channels, config)
    scheduler = make_scheduler("ddim", {**PUBLISHED_NOISE, "prediction_type": config.loss.prediction_type})
    PoseTransferPipeline(vae, encoder, unet, scheduler)  # says what does not fit
    return vae, unet, encoder


def _new_networks(settings: ModelConfig, channels: int, config: TrainConfig) -> tuple[UNet, AppearanceEncoder]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        unet = UNet(
            latent_channels=channels,
            block_out_channels=settings.block_out_channels,
            appearance_channels=settings.appearance_channels,
            layers_per_block=settings.layers_per_block,
            num_heads=settings.num_heads,
            num_filters=settings.num_filters,
            norm_num_groups=settings.norm_num_groups,
            sample_size=None,  # known later; what is not named here diffusers takes for a default, whatever comes later
            surface_hint=settings.surface_hint,
            hint_skip=settings.hint_skip,
            hint_completed=settings.hint_completed,
            pose_encoding=settings.pose_encoding,
        )
        encoder = AppearanceEncoder(
            latent_channels=channels,
            block_out_channels=settings.appearance_channels,
            norm_num_groups=settings.norm_num_groups,
        )
    return unet, encoder


def extended(unet: UNet, **options: bool) -> UNet:
    """A copy with what ``options`` of the UNet add, such as ``hint_skip=True``, which counts for nothing yet."""
    config = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    wider = UNet(**{**config, **options})
    wider.load_state_dict({**wider.state_dict(), **unet.state_dict()})
    return wider


def train(config: TrainConfig) -> Path:
    """Train, or go on training, until ``run.max_steps``; the same config resumes.

    Returns:
        The folder of the resulting pipeline; of the last one if the run was stopped before its end.

    Raises:
        ValueError: before the first step, for whatever cannot work: data, shapes, devices, settings; later, for NaN
            without end or a full disk.
    """
    start = start_run(config)
    accelerator, folder, progress = start.accelerator, start.folder, start.progress

    vae, unet, encoder = build_networks(config)
    scheduler = make_scheduler("ddim", {**PUBLISHED_NOISE, "prediction_type": config.loss.prediction_type})
    if config.run.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        encoder.enable_gradient_checkpointing()
    unet.train()
    encoder.train()
    vae.to(accelerator.device)
    make_inputs = Inputs(vae, unet, accelerator.device)
    data = open_training_data(config.data, config.run.seed, **needs_of(unet))
    check_latents(data, vae, "model.vae")
    start.hold({"autoencoder": weights_hash(vae), **made_of_data(data)})
    size = data.size if isinstance(data, LatentPairs) else config.data.size
    if size is not None:  # pictures are drawn in the size that was trained, by default
        factor = autoencoder.downsampling_factor(vae)
        unet.register_to_config(sample_size=(size[0] // factor, size[1] // factor))
    model = TransferModel(unet, encoder, scheduler, config.loss)
    report = start.open_report(config, "train")
    try:
        networks = {"vae": vae, "unet": unet, "appearance_encoder": encoder}
        kept = make_scheduler(config.sampling.scheduler, scheduler.config)
        pipelines = ResultPipeline(config, networks, scheduler, folder, _sampling(config.sampling), kept)
        watch = None
        if config.validation.every:
            drawn = _sampling(config.validation)
            watch = pipelines.watch(Validation(config, accelerator, folder, drawn, noise_losses, **needs_of(unet)))
        _check_before_start(model, make_inputs, data, config, report)
        weights = start.learn(model, [unet, encoder], data, config, make_inputs, LOSSES, watch, report)
        write = partial(pipelines.write, weights, progress, data)
        start.finish(write, f"{pipelines.folder}: the pipeline", data, config, report)
    finally:
        report.close()
    return pipelines.folder


def _sampling(how: SamplingConfig | ValidationConfig) -> SamplingDefaults:
    return SamplingDefaults(how.steps, how.pose_guidance_scale, how.appearance_guidance_scale)


def needs_of(unet: UNet) -> dict[str, bool]:
    """What a UNet needs of each sample; see :func:`pocold.training.loader.open_training_data`."""
    config = unet.config
    return {
        "hint": bool(config.surface_hint),
        "completed": bool(config.hint_completed),
        "uv": config.pose_encoding == "iuv",
    }


def check_latents(data: Data, vae: Autoencoder, name: str) -> None:
    """Raises ValueError if cached latents were made by another autoencoder than ``vae``, which has this name."""
    if isinstance(data, LatentPairs) and data.autoencoder != weights_hash(vae):
        raise ValueError(
            f"{data.root} was made by another autoencoder ({data.autoencoder[:12]}) than {name} "
            f"({weights_hash(vae)[:12]}), or in another precision; cache the latents again with pocold data latents"
        )


def _check_before_start(
    model: TransferModel, make_inputs: Inputs, data: Data, config: TrainConfig, report: Reporter
) -> None:
    """One forward and backward pass on real data, and a word on what will be trained."""
    batch = first_batch(data, config, min(2, config.run.batch_size))
    factor, size = autoencoder.downsampling_factor(make_inputs.vae), tuple(batch["source_pose"].shape[-2:])
    if any(side % factor for side in size):
        raise ValueError(
            f"the pictures are {size[0]}x{size[1]} (height x width), but the autoencoder needs multiples of {factor}; "
            "set data.height and data.width to frame them"
        )
    inputs = make_inputs(batch, torch.Generator().manual_seed(0))
    device = make_inputs.device
    model.to(device)
    losses = model(inputs, torch.Generator().manual_seed(0))
    losses[0].backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    model.zero_grad(set_to_none=True)
    if without:
        raise ValueError(f"these weights get no gradient: {', '.join(without[:3])}")
    if not torch.isfinite(losses).all():
        raise ValueError(f"the first loss is {losses[0].item()}: look at the data (pocold data check) or model.init")
    counts = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (model.unet, model.appearance_encoder)]
    length = "" if not hasattr(data, "__len__") else f"{len(data)} pairs, "
    report.say(
        f"{length}latents {tuple(inputs['latents'].shape[1:])}, UNet {counts[0]:.1f} M and appearance encoder "
        f"{counts[1]:.1f} M parameters, device {device}, first loss {losses[0].item():.4f}"
    )


class ResultPipeline:
    """The pipeline with averaged weights: for validation, and written at the end.

    Args:
        config: of the run.
        networks: the pipeline's, by name; ``unet`` and ``appearance_encoder`` are trained and copied, not touched.
        scheduler: to watch it with.
        folder: of the run; the pipeline is written to ``pipeline`` in it.
        sampling: how the result draws unless told otherwise.
        kept: the result's scheduler; None for the same one.
    """

    def __init__(
        self,
        config: Any,
        networks: Mapping[str, Any],
        scheduler: Any,
        folder: Path,
        sampling: SamplingDefaults,
        kept: Any = None,
    ) -> None:
        self.config, self.folder = config, folder / "pipeline"
        self._networks, self._scheduler, self._sampling, self._kept = networks, scheduler, sampling, kept or scheduler

    @cached_property
    def _pipeline(self) -> PoseTransferPipeline:
        """Made when it is first needed: a run without validation does not hold a second set of weights."""
        copies = {name: type(self._networks[name]).from_config(self._networks[name].config) for name in _TRAINED}
        pipeline = PoseTransferPipeline(**{**self._networks, **copies}, scheduler=self._scheduler)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def pipeline(self, weights: Mapping[str, Tensor]) -> PoseTransferPipeline:
        """The pipeline with these weights of a model whose parts have the names of the networks."""
        for name in _TRAINED:
            part, prefix = getattr(self._pipeline, name), f"{name}."
            part.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
            part.eval().to(self._pipeline.vae.device)
        return self._pipeline

    def watch(self, validation: Validation) -> Watch:
        """How a run is watched: with the averaged weights, on the fixed subset."""
        settings = self.config.validation
        return Watch(
            settings.every, settings.best_metric, lambda weights, step: validation(self.pipeline(weights), step)
        )

    def write(self, weights: Mapping[str, Tensor], progress: Progress, data: Data) -> None:
        """Write the pipeline folder with its model card."""
        dtype = PRECISIONS[self.config.run.export_precision]
        pipeline = self.pipeline(weights)
        parts = {name: copy.deepcopy(getattr(pipeline, name)) for name in self._networks}
        for part in parts.values():
            nn.Module.to(part, "cpu", dtype)  # ModelMixin.to warns of layers to be kept in float32 where there are none
        result = PoseTransferPipeline(**parts, scheduler=self._kept, sampling=asdict(self._sampling))
        result.save_pretrained(self.folder)
        write_card(self.folder, pipeline_card(self.config, parts, progress, data))
