"""``pocold train-autoencoder``: pictures -> latents -> pictures.

Legend: B pairs per process and backward pass (2B pictures), H W picture size.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

from pocold.imaging import images
from pocold.imaging.files import read_json
from pocold.imaging.sheets import sheet_of_rows
from pocold.models import autoencoder
from pocold.models.autoencoder import Autoencoder, load_autoencoder
from pocold.models.discriminator import PatchDiscriminator
from pocold.models.patch_autoencoder import PatchAutoencoder
from pocold.models.perceptual import load_st_lpips
from pocold.training.autoencoder_config import AutoencoderTrainConfig
from pocold.training.checkpoints import Progress
from pocold.training.loader import Data, first_samples, open_training_data, open_validation_data
from pocold.training.loop import Watch
from pocold.training.model_card import autoencoder_card
from pocold.training.objectives import ReconstructionWeights, discriminator_loss, reconstruction_loss
from pocold.training.results import averaged, write_network, write_preview
from pocold.training.start import check_settings, first_batch, first_losses, made_of_data, start_run
from pocold.training.validation import Row, find_distance, gathered, picture_metrics, rows_of

LOSSES = ("loss", "pixel", "gradient", "kl", "perceptual", "adversarial", "discriminator")
_FOR_COMPONENTS = 512  # pictures of which the principal components are taken
_AT_ONCE = 8


class AutoencoderModel(nn.Module):
    """Autoencoder, and where asked for its discriminator, as one module with one loss to minimise.

    The discriminator learns from its own loss alone: for the autoencoder's loss it is called with weights that take no
    gradient.

    Args:
        vae: to train.
        weights: of the objective.
    """

    def __init__(self, vae: Autoencoder, weights: ReconstructionWeights) -> None:
        super().__init__()
        self.vae, self.weights = vae, weights
        self.discriminator = PatchDiscriminator() if weights.adversarial else None
        # not registered: it is not trained, and not part of the weights that are kept
        self._perceptual = [load_st_lpips("vgg").requires_grad_(False)] if weights.perceptual else []

    def forward(self, pictures: Tensor, generator: torch.Generator | None) -> Tensor:
        """The losses of pictures ``(B, 3, H, W)`` in [-1, 1], float32, as named in :data:`LOSSES`."""
        posterior = self.vae.encode(pictures).latent_dist
        drawn = self.vae.decode(posterior.sample(generator)).sample
        judge: Callable[[Tensor], Tensor] | None = None
        own = torch.zeros((), device=pictures.device)
        if self.discriminator is not None:
            frozen = {name: p.detach() for name, p in self.discriminator.named_parameters()}
            judge = partial(_judged, self.discriminator, frozen)
            own = discriminator_loss(self.discriminator(pictures), self.discriminator(drawn.detach()))
        loss = reconstruction_loss(
            pictures,
            drawn,
            posterior,
            self.weights,
            perceptual=self._perceptual[0].to(pictures.device) if self._perceptual else None,
            discriminator=judge,
            last_layer=self.vae.decoder.conv_out.weight if judge else None,
        )
        parts = (loss.total + own, loss.pixel, loss.gradient, loss.kl, loss.perceptual, loss.adversarial, own)
        return torch.stack([part.float() for part in parts])


def _judged(discriminator: nn.Module, weights: dict[str, Tensor], pictures: Tensor) -> Tensor:
    return functional_call(discriminator, weights, (pictures,))


def build_autoencoder(config: AutoencoderTrainConfig, data: Data) -> Autoencoder:
    """The autoencoder to train; one of kind ``patch`` starts as the principal components of the data's patches.

    Raises:
        ValueError: for a folder or config that describes none.
    """
    settings = config.model
    if settings.init is not None:
        vae = load_autoencoder(Path(settings.init), torch.float32)
        if isinstance(vae, AutoencoderTiny):
            raise ValueError(
                f"model.init: {settings.init} holds an AutoencoderTiny, whose encoder has no distribution to train; "
                "expected an AutoencoderKL or a PatchAutoencoder"
            )
        return vae
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        if settings.kind == "kl":
            assert settings.config is not None
            content = {k: v for k, v in read_json(Path(settings.config)).items() if not k.startswith("_")}
            try:
                return AutoencoderKL(**content)
            except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
                raise ValueError(f"{settings.config} describes no AutoencoderKL: {error}") from None
        vae = PatchAutoencoder(
            # by name: diffusers takes what is given by position for defaults, and forgets it in from_config
            latent_channels=settings.latent_channels,
            encoder_channels=settings.encoder_channels,
            encoder_layers=settings.encoder_layers,
            decoder_channels=settings.decoder_channels,
            decoder_layers=settings.decoder_layers,
        )
    samples = first_samples(data, _FOR_COMPONENTS)
    _check_size(vae, samples[0]["target"])
    vae.init_from_patches([sample["target"][None] for sample in samples])
    return vae


def train_autoencoder(config: AutoencoderTrainConfig) -> Path:
    """Train, or go on training, until ``run.max_steps``; the same config resumes.

    Returns:
        The folder of the resulting autoencoder, for ``pocold train --model.vae``.

    Raises:
        ValueError: as :func:`pocold.training.transfer.train`.
    """
    check_settings(config, "autoencoder")
    start = start_run(config)
    accelerator, folder, progress = start.accelerator, start.folder / "vae", start.progress

    data = open_training_data(config.data, config.run.seed)
    start.hold(made_of_data(data))
    vae = build_autoencoder(config, data)
    if config.run.gradient_checkpointing:
        if not isinstance(vae, AutoencoderKL):
            raise ValueError("run.gradient_checkpointing: the patch autoencoder is too small to need it; leave it out")
        vae.enable_gradient_checkpointing()
    vae.train()
    if isinstance(vae, PatchAutoencoder):
        vae.to(memory_format=torch.channels_last)  # a third faster in bf16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = AutoencoderModel(vae, config.loss)
    report = start.open_report(config, "train-autoencoder")

    def pictures_of(batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        return torch.cat([batch["source"], batch["target"]]).to(accelerator.device)

    try:
        watch = None
        if config.validation.every:
            watcher = _Reconstructions(config, accelerator, vae, start.folder)
            watch = Watch(config.validation.every, config.validation.best_metric, watcher)
        _check_before_start(model, pictures_of, data, config, accelerator.device, report)
        weights = start.learn(model, [vae], data, config, pictures_of, LOSSES, watch, report, images_per_pair=2)
        write = partial(_write, vae, weights, config, progress, data, folder)
        start.finish(write, f"{folder}: the autoencoder", data, config, report)
    finally:
        report.close()
    return folder


def _check_before_start(
    model: AutoencoderModel,
    pictures_of: Any,
    data: Data,
    config: AutoencoderTrainConfig,
    device: torch.device,
    report: Any,
) -> None:
    """One forward and backward pass on real data, and a word on what will be trained."""
    model.to(device)
    pictures = pictures_of(first_batch(data, config), None)
    _check_size(model.vae, pictures)
    losses = first_losses(model, pictures)
    count = sum(p.numel() for p in model.vae.parameters()) / 1e6
    report.say(
        f"pictures {tuple(pictures.shape[-2:])}, {type(model.vae).__name__} of {count:.2f} M parameters, device "
        f"{device}, first loss {losses[0].item():.4f}"
    )


def _check_size(vae: Autoencoder, pictures: Tensor) -> None:
    factor, size = autoencoder.downsampling_factor(vae), tuple(pictures.shape[-2:])
    if any(side % factor for side in size):
        raise ValueError(
            f"the autoencoder needs pictures whose sides are multiples of {factor}, got {size}; "
            "set data.height and data.width"
        )


class _Reconstructions:
    """Metrics and sheet of fixed pictures, shared by the processes."""

    def __init__(self, config: AutoencoderTrainConfig, accelerator: Any, vae: Autoencoder, folder: Path) -> None:
        self.accelerator, self.vae = accelerator, vae
        self.folder, self.settings = folder / "previews", config.validation
        samples = first_samples(open_validation_data(config.data), config.validation.pairs)
        self.pictures = torch.stack([sample["target"] for sample in samples])
        self.distance = find_distance(config.validation, accelerator.device)

    @torch.no_grad()
    def __call__(self, weights: Mapping[str, Tensor], step: int) -> tuple[dict[str, float], Image.Image | None]:
        vae = averaged(self.vae, weights, "vae").to(self.accelerator.device)
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        own: list[Row] = []
        mine = list(range(rank, len(self.pictures), processes))
        for start in range(0, len(mine), _AT_ONCE):
            part = mine[start : start + _AT_ONCE]
            truth = self.pictures[part].to(self.accelerator.device)
            drawn = autoencoder.decode(vae, autoencoder.encode(vae, truth)).float().clamp(-1, 1)
            losses = {"loss": (drawn - truth).square().mean((1, 2, 3))}
            own += rows_of(part, losses | picture_metrics(drawn, truth, self.distance), drawn)
        rows, means = gathered(own)
        shown = rows[: self.settings.preview_pairs]
        if not self.accelerator.is_main_process or not shown:
            return means, None
        truths = images.to_pil(self.pictures[[row[0] for row in shown]])
        sheet = sheet_of_rows([truths, [row[2] for row in shown]])
        write_preview(sheet, self.folder, step)
        return means, sheet


@torch.no_grad()
def _write(
    vae: Autoencoder,
    weights: Mapping[str, Tensor],
    config: AutoencoderTrainConfig,
    progress: Progress,
    data: Data,
    folder: Path,
) -> None:
    """Write the autoencoder's folder; its latents are scaled to a mean square of 1 on the data."""
    result = averaged(vae, weights, "vae")
    autoencoder.fit_scaling_factor(result, [sample["target"][None] for sample in first_samples(data, 64)])
    write_network(
        result, folder, config.run.export_precision, autoencoder_card(config, {"vae": result}, progress, data)
    )
