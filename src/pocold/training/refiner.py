"""``pocold train-refiner``: drawn and completed pictures -> the picture, learned from pairs made before it starts.

Legend: B pairs per process and backward pass, H W picture size.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import default_collate

from pocold.data.contents import files_checksum
from pocold.data.latents import LatentPairs
from pocold.data.photographs import find_photographs
from pocold.data.repairs import RepairPairs, check_repairs, sample_of, write_repairs
from pocold.imaging import images
from pocold.imaging.sheets import sheet_of_rows
from pocold.models.discriminator import PatchDiscriminator
from pocold.models.perceptual import load_st_lpips
from pocold.models.refiner import Refiner, load_refiner
from pocold.training.checkpoints import Progress
from pocold.training.loader import open_training_data, open_validation_data
from pocold.training.loop import Watch
from pocold.training.model_card import refiner_card
from pocold.training.objectives import adaptive_weight, discriminator_loss, generator_loss, gradient_loss, pixel_loss
from pocold.training.refiner_config import RefinerAugmentationConfig, RefinerLossConfig, RefinerTrainConfig
from pocold.training.repairs import Drawer, pairs_folder, repair_batches
from pocold.training.reporting import Reporter
from pocold.training.results import averaged, write_network, write_preview
from pocold.training.start import Start, check_settings, first_batch, first_losses, made_of_data, start_run
from pocold.training.validation import Distance, Row, find_distance, gathered, picture_metrics, rows_of

LOSSES = ("loss", "pixel", "gradient", "perceptual", "adversarial", "discriminator")
_SEEN = ("drawn", "completed", "confidence", "labels", "uv")
_AT_ONCE = 8
_SAY_EVERY = 50  # batches between words on how many pairs are made


class RefinerModel(nn.Module):
    """The refiner, and where asked for its discriminator, as one module with one loss to minimise.

    Args:
        refiner: to train.
        weights: of the objective.
    """

    def __init__(self, refiner: Refiner, weights: RefinerLossConfig) -> None:
        super().__init__()
        self.refiner, self.weights = refiner, weights
        self.discriminator = PatchDiscriminator() if weights.adversarial else None
        # not registered: it is not trained, and not part of the weights that are kept
        self._perceptual: list[nn.Module] = []
        if weights.perceptual:
            network: nn.Module = load_st_lpips("vgg")
            self._perceptual.append(network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    def forward(self, inputs: Mapping[str, Tensor], generator: torch.Generator | None) -> Tensor:
        """The losses of a batch (see :class:`pocold.data.repairs.RepairPairs`), float32, as in :data:`LOSSES`."""
        weights, target = self.weights, inputs["target"]
        result = self.refiner(*(inputs[name] for name in _SEEN)).float()
        zero = torch.zeros((), device=target.device)
        pixel = pixel_loss(target, result, weights.charbonnier) if weights.pixel else zero
        gradient = gradient_loss(target, result, weights.gradient_scales) if weights.gradient else zero
        seen = zero
        if weights.perceptual:
            network = self._perceptual[0].to(target.device)
            count = math.ceil(weights.perceptual_share * len(target))
            pair = (picture[:count].contiguous(memory_format=torch.channels_last) for picture in (result, target))
            seen = network(*pair).float().mean()
        total = weights.pixel * pixel + weights.gradient * gradient + weights.perceptual * seen
        adversarial = own = zero
        if self.discriminator is not None:
            # for the refiner's loss the discriminator is called with weights that take no gradient
            frozen = {name: p.detach() for name, p in self.discriminator.named_parameters()}
            adversarial = generator_loss(functional_call(self.discriminator, frozen, (result,)))
            balance = adaptive_weight(total, adversarial, self.refiner.conv_out.weight)
            total = total + weights.adversarial * balance * adversarial
            own = discriminator_loss(self.discriminator(target), self.discriminator(result.detach()))
        return torch.stack([part.float() for part in (total + own, pixel, gradient, seen, adversarial, own)])


def build_refiner(config: RefinerTrainConfig) -> Refiner:
    """The refiner to train, from scratch or from a folder.

    Raises:
        ValueError: for a folder that holds none, or impossible settings.
    """
    settings = config.model
    if settings.init is not None:
        refiner = load_refiner(Path(settings.init))
        refiner.register_to_config(enlarges=config.pairs.enlarges, relit=config.pairs.relit)
        return refiner
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        return Refiner(
            # by name: diffusers takes what is given by position for defaults, and forgets it in from_config
            channels=settings.channels,
            layers=settings.layers,
            label_channels=settings.label_channels,
            enlarges=config.pairs.enlarges,
            relit=config.pairs.relit,
        )


@dataclass(frozen=True)
class _Prepare:
    """Makes a batch of pairs into what the model takes: in other colours, grainy, pulled about."""

    settings: RefinerAugmentationConfig
    device: torch.device

    def __call__(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return {name: value.to(self.device) for name, value in augmented(batch, self.settings, generator).items()}


def augmented(
    batch: Mapping[str, Tensor], settings: RefinerAugmentationConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """A batch of :class:`RepairPairs`, changed as the settings say."""
    if settings.height:
        batch = _cropped(batch, (settings.height, settings.width), generator)
    count = len(batch["target"])
    chosen = torch.rand(3, count, generator=generator)
    mix, offset = _colours(count, chosen[0] < settings.colour, generator)
    size = batch["target"].shape[-2:]
    amount = 0.08 * torch.rand(count, 1, 1, 1, generator=generator) * (chosen[1] < settings.grain).view(-1, 1, 1, 1)
    noise = amount * torch.randn(count, 3, *size, generator=generator) if bool(amount.any()) else torch.zeros(())
    changed = dict(batch)
    for name in ("drawn", "completed", "target"):
        picture = torch.einsum("bdc,bchw->bdhw", mix, batch[name]) + offset
        # what was drawn is smooth: a diffusion model does not draw grain
        changed[name] = (picture if name == "drawn" else picture + noise).clamp(-1, 1)
    pulled = chosen[2] < settings.shift
    if bool(pulled.any()):
        field = settings.shift_pixels * (2 * torch.rand(count, 2, 9, 7, generator=generator) - 1)
        field = field * pulled.view(-1, 1, 1, 1)
        for name in ("completed", "confidence"):
            changed[name] = _displaced(changed[name], field)
    return changed


def _cropped(batch: Mapping[str, Tensor], size: tuple[int, int], generator: torch.Generator) -> dict[str, Tensor]:
    """A part of every pair, of ``size`` (height, width) or less, around a point of the body (anywhere without one)."""
    height, width = batch["labels"].shape[-2:]
    rows, columns = min(size[0], height), min(size[1], width)
    body = (batch["labels"] > 0).flatten(1).float()
    points = torch.multinomial(body + (body.sum(1, keepdim=True) == 0), 1, generator=generator)[:, 0]
    tops = (points // width - rows // 2).clamp(0, height - rows).tolist()
    lefts = (points % width - columns // 2).clamp(0, width - columns).tolist()
    return {
        name: torch.stack(
            [
                row[..., top : top + rows, left : left + columns]
                for row, top, left in zip(value, tops, lefts, strict=True)
            ]
        )
        for name, value in batch.items()
    }


def _colours(count: int, chosen: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Per pair a matrix ``(B, 3, 3)`` and an offset ``(B, 3, 1, 1)``; nothing changes where it is not ``chosen``."""
    random = 2 * torch.rand(count, 3, 3, generator=generator) - 1
    gain = torch.exp(0.4 * (2 * torch.rand(count, 1, 1, generator=generator) - 1) - 0.1)
    mix = (torch.eye(3) + 0.2 * random) * gain
    offset = 0.25 * (2 * torch.rand(count, 1, 1, generator=generator) - 1) + 0.1 * random[:, :, :1]
    keep = ~chosen.view(-1, 1, 1)
    return torch.where(keep, torch.eye(3), mix), offset.masked_fill(keep, 0)[..., None]


def _displaced(picture: Tensor, field: Tensor) -> Tensor:
    """``picture (B, C, H, W)`` with every pixel taken from where a coarse ``field (B, 2, h, w)``, in pixels, says.

    The nearest pixel is taken, not an average: an inexact map leaves textures sharp.
    """
    height, width = picture.shape[-2:]
    shift = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
    rows = torch.arange(height)[:, None] + shift[:, 0]
    columns = torch.arange(width) + shift[:, 1]
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    return F.grid_sample(picture, grid, mode="nearest", padding_mode="border", align_corners=False)


def train_refiner(config: RefinerTrainConfig) -> Path:
    """Train, or go on training, until ``run.max_steps``; the same config resumes.

    Returns:
        The folder of the resulting refiner, for :func:`pocold.models.refiner.load_refiner`.

    Raises:
        ValueError: as :func:`pocold.training.transfer.train`, or for pairs made with other settings.
    """
    check_settings(config, "refiner", small=True)
    start = start_run(config)
    accelerator, folder, progress = start.accelerator, start.folder / "refiner", start.progress

    refiner = build_refiner(config)
    refiner.train().to(memory_format=torch.channels_last)  # a third faster in bf16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = RefinerModel(refiner, config.loss)
    report = start.open_report(config, "train-refiner")
    prepare = _Prepare(config.augmentation, accelerator.device)
    try:
        drawer = Drawer(config.pairs, accelerator.device)
        data = _open_pairs(config, start, drawer, report)
        start.hold(made_of_data(data))
        watch = None
        if config.validation.every:
            watcher = _Repaired(config, accelerator, refiner, drawer, start.folder)
            watch = Watch(config.validation.every, config.validation.best_metric, watcher)
            report.say("the completed picture alone: " + watcher.before())
        del drawer
        _check_before_start(model, prepare, data, config, report)
        weights = start.learn(model, [refiner], data, config, prepare, LOSSES, watch, report)
        write = partial(_write, refiner, weights, config, progress, data, folder)
        start.finish(write, f"{folder}:", data, config, report)
    finally:
        report.close()
    return folder


def _open_pairs(config: RefinerTrainConfig, start: Start, drawer: Drawer, report: Reporter) -> RepairPairs:
    """The pairs to learn from, made first where they are not there yet; the main process makes them."""
    folder = pairs_folder(config.pairs, start.folder)
    data = open_training_data(replace(config.data, flip=0.0), config.run.seed, uv=True)
    assert not isinstance(data, LatentPairs)
    available = len(data) if hasattr(data, "__len__") else config.pairs.count  # streams have no end
    count = min(config.pairs.count, available)
    about: dict[str, Any] = {
        "split": config.data.split, "pairs": count, "frame": config.data.frame,
        "size": list(config.data.size or ()), "seed": config.run.seed, "backdrop_share": config.pairs.backdrop_share,
        "relit": config.pairs.relit,
        "photographs": files_checksum(find_photographs(config.pairs.photographs, "pairs.photographs")),
        **made_of_data(data), **drawer.about(),
    }  # fmt: skip
    if start.accelerator.is_main_process and not check_repairs(folder, about):
        report.say(f"making {count} pairs in {folder}")

        def said(done: int) -> None:
            if done // config.pairs.at_once % _SAY_EVERY == 0:
                report.say(f"{done} of {count} pairs")

        def batches(done: int) -> Any:
            return repair_batches(data, config.data, config.pairs, drawer, count, config.run.seed, done)

        write_repairs(folder, batches, count, about, said)
    start.accelerator.wait_for_everyone()
    return RepairPairs(folder, config.data.flip, config.run.seed)


def _check_before_start(
    model: RefinerModel, prepare: _Prepare, data: RepairPairs, config: RefinerTrainConfig, report: Reporter
) -> None:
    """One forward and backward pass on real data, and a word on what will be trained."""
    model.to(prepare.device)
    losses = first_losses(model, prepare(first_batch(data, config), torch.Generator().manual_seed(0)))
    count = sum(p.numel() for p in model.refiner.parameters()) / 1e6
    report.say(
        f"{len(data)} pairs of {data.size}, refiner of {count:.2f} M parameters, device {prepare.device}, first loss "
        f"{losses[0].item():.4f}"
    )


class _Repaired:
    """Metrics and sheet of fixed pairs, shared by the processes."""

    def __init__(
        self, config: RefinerTrainConfig, accelerator: Any, refiner: Refiner, drawer: Drawer, folder: Path
    ) -> None:
        self.accelerator, self.refiner, self.folder = accelerator, refiner, folder / "previews"
        self.settings = config.validation
        self.distance: Distance | None = find_distance(config.validation, accelerator.device)  # type: ignore[arg-type]
        data = open_validation_data(config.data, uv=True)
        count = min(self.settings.pairs, len(data)) if hasattr(data, "__len__") else self.settings.pairs
        plain = replace(config.pairs, backdrop_share=0.0)
        self.pairs: list[dict[str, Tensor]] = []
        for rows in repair_batches(data, replace(config.data, workers=0), plain, drawer, count, seed=0):
            for i in range(len(rows["labels"])):
                row = {name: values[i] for name, values in rows.items()}
                self.pairs.append({**sample_of(row), "source": images.from_uint8(row["source"])})

    def before(self) -> str:
        """What the completed pictures measure."""
        rows = [row for part in self._parts() for row in self._measured(part, self._batch(part)["completed"])]
        return ", ".join(f"{name} {value:.4f}" for name, value in gathered(rows)[1].items())

    @torch.no_grad()
    def __call__(self, weights: Mapping[str, Tensor], step: int) -> tuple[dict[str, float], Image.Image | None]:
        refiner = averaged(self.refiner, weights, "refiner").to(self.accelerator.device)
        own: list[Row] = []
        for part in self._parts():
            batch = self._batch(part)
            own += self._measured(part, refiner(*(batch[name] for name in _SEEN)).clamp(-1, 1))
        rows, means = gathered(own)
        shown = rows[: self.settings.preview_pairs]
        if not self.accelerator.is_main_process or not shown:
            return means, None
        sheet = self._sheet(shown)
        write_preview(sheet, self.folder, step)
        return means, sheet

    def _parts(self) -> list[list[int]]:
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        mine = list(range(rank, len(self.pairs), processes))
        return [mine[i : i + _AT_ONCE] for i in range(0, len(mine), _AT_ONCE)]

    def _batch(self, part: list[int]) -> dict[str, Tensor]:
        batch = default_collate([self.pairs[i] for i in part])
        return {name: value.to(self.accelerator.device) for name, value in batch.items()}

    @torch.no_grad()
    def _measured(self, part: list[int], pictures: Tensor) -> list[Row]:
        truth = self._batch(part)["target"]
        losses = {"loss": (pictures - truth).square().mean((1, 2, 3))}
        return rows_of(part, losses | picture_metrics(pictures, truth, self.distance), pictures)

    def _sheet(self, shown: list[Row]) -> Image.Image:
        """Source, drawn, completed, repaired and truth, a row per pair."""
        rows = []
        for i, _, repaired in shown:
            pair = self.pairs[i]
            source, drawn, completed, truth = images.to_pil(
                torch.stack([pair[name] for name in ("source", "drawn", "completed", "target")])
            )
            rows.append([source, drawn, completed, repaired, truth])
        return sheet_of_rows(rows, ["source", "drawn", "completed", "result", "truth"])


def _write(
    refiner: Refiner,
    weights: Mapping[str, Tensor],
    config: RefinerTrainConfig,
    progress: Progress,
    data: RepairPairs,
    folder: Path,
) -> None:
    """Write the refiner's folder."""
    result = averaged(refiner, weights, "refiner")
    write_network(
        result, folder, config.run.export_precision, refiner_card(config, {"refiner": result}, progress, data)
    )
