"""``pocold train-estimator``: photographs -> DensePose maps, learned from people whose maps are known.

Legend: B pairs per process and backward pass (2B pictures), H W the data's picture size, h w the estimator's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor, nn

from pocold.data.backdrops import Scenery
from pocold.data.corruptions import Example, corrupt, resampled
from pocold.data.latents import LatentPairs
from pocold.data.photographs import find_photographs
from pocold.densepose.maps import DensePose
from pocold.evaluation.estimation import Confusions
from pocold.imaging import images
from pocold.imaging.sheets import sheet_of_rows
from pocold.models.densepose_estimator import DensePoseEstimator, EstimatorLoss, load_estimator
from pocold.training.checkpoints import Progress
from pocold.training.estimator_config import EstimatorTrainConfig
from pocold.training.loader import Data, first_samples, open_training_data, open_validation_data
from pocold.training.loop import Watch
from pocold.training.model_card import estimator_card
from pocold.training.reporting import Reporter
from pocold.training.results import averaged, write_network, write_preview
from pocold.training.start import check_settings, first_batch, first_losses, made_of_data, start_run

LOSSES = ("loss", "entropy", "dice", "uv")
_AT_ONCE = 16
_SIZE = (128, 88)  # of the pictures that an estimator sees unless told otherwise


class EstimatorModel(nn.Module):
    """The estimator with its loss.

    Args:
        estimator: to train.
        loss: the objective.
    """

    def __init__(self, estimator: DensePoseEstimator, loss: EstimatorLoss) -> None:
        super().__init__()
        self.estimator, self.loss = estimator, loss

    def forward(self, inputs: Mapping[str, Tensor], generator: torch.Generator | None) -> Tensor:
        """The losses, as named in :data:`LOSSES`, of ``photo``, ``labels`` and ``uv`` (see :func:`stacked`)."""
        return self.loss(self.estimator(inputs["photo"]), inputs["labels"], inputs["uv"])


def build_estimator(config: EstimatorTrainConfig) -> DensePoseEstimator:
    """The estimator to train, from scratch or from a folder.

    Raises:
        ValueError: for a folder that holds none, or impossible settings.
    """
    settings = config.model
    size = settings.height, settings.width
    if settings.init is not None:
        begun = load_estimator(Path(settings.init))
        begun.register_to_config(sample_size=[wanted or had for wanted, had in zip(size, begun.size, strict=True)])
        return begun
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        return DensePoseEstimator(
            # by name: diffusers takes what is given by position for defaults, and forgets it in from_config
            channels=settings.channels,
            encoder_layers=settings.encoder_layers,
            decoder_layers=settings.decoder_layers,
            sample_size=[wanted or usual for wanted, usual in zip(size, _SIZE, strict=True)],
        )


def examples(batch: Mapping[str, Any]) -> list[Example]:
    """Both pictures of every pair of a batch: all sources, then all targets."""
    return [
        Example(batch[role][i], batch[f"{role}_pose"][i], batch[f"{role}_uv"][i], _row(batch, f"{role}_garments", i))
        for role in ("source", "target")
        for i in range(len(batch[role]))
    ]


def _row(batch: Mapping[str, Any], key: str, i: int) -> Tensor | None:
    return batch[key][i] if key in batch else None


def stacked(rows: list[Example], device: torch.device) -> dict[str, Tensor]:
    """Examples as ``photo (B, 3, h, w)``, ``labels (B, h, w)`` and ``uv (B, 2, h, w)``."""
    return {name: torch.stack([getattr(row, name) for row in rows]).to(device) for name in ("photo", "labels", "uv")}


def train_estimator(config: EstimatorTrainConfig) -> Path:
    """Train, or go on training, until ``run.max_steps``; the same config resumes.

    Returns:
        The folder of the resulting estimator, for :func:`pocold.models.densepose_estimator.load_estimator`.

    Raises:
        ValueError: as :func:`pocold.training.transfer.train`.
    """
    check_settings(config, "estimator", small=True)
    start = start_run(config)
    accelerator, folder, progress = start.accelerator, start.folder / "densepose_estimator", start.progress

    data = open_training_data(config.data, config.run.seed, uv=True)
    start.hold(made_of_data(data))
    estimator = build_estimator(config)
    estimator.train().to(memory_format=torch.channels_last)  # a third faster in bf16
    model = EstimatorModel(estimator, config.loss)
    report = start.open_report(config, "train-estimator")
    scenery = Scenery(find_photographs(config.corruption.photographs, "corruption.photographs"))
    prepare = _Prepare(estimator.size, config.corruption.strength, scenery, accelerator.device)
    try:
        watch = None
        if config.validation.every:
            watcher = _Estimates(config, accelerator, estimator, start.folder)
            watch = Watch(config.validation.every, config.validation.best_metric, watcher)
        _check_before_start(model, prepare, data, config, report)
        weights = start.learn(model, [estimator], data, config, prepare, LOSSES, watch, report, images_per_pair=2)
        write = partial(_write, estimator, weights, config, progress, data, folder)
        start.finish(write, f"{folder}:", data, config, report)
    finally:
        report.close()
    return folder


@dataclass(frozen=True)
class _Prepare:
    """Makes a batch of data into what the model takes: corrupted, at the estimator's size."""

    size: tuple[int, int]
    strength: float
    scenery: Scenery
    device: torch.device

    def __call__(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        rows = [corrupt(row, generator, self.size, self.strength, self.scenery) for row in examples(batch)]
        return stacked(rows, self.device)


def _check_before_start(
    model: EstimatorModel, prepare: _Prepare, data: Data, config: EstimatorTrainConfig, report: Reporter
) -> None:
    """One forward and backward pass on real data, and a word on what will be trained."""
    batch = first_batch(data, config)
    model.to(prepare.device)
    losses = first_losses(model, prepare(batch, torch.Generator().manual_seed(0)))
    assert not isinstance(data, LatentPairs)
    if "source_garments" not in batch:
        report.say("the data has no garment maps: backgrounds and clothes stay as they are")
    count = sum(p.numel() for p in model.parameters()) / 1e6
    report.say(
        f"pictures {tuple(batch['source'].shape[-2:])}, estimator of {count:.2f} M parameters at {prepare.size}, "
        f"device {prepare.device}, first loss {losses[0].item():.4f}"
    )


class _Estimates:
    """Metrics and sheet of fixed pictures, as they are and corrupted, shared by the processes."""

    def __init__(
        self, config: EstimatorTrainConfig, accelerator: Any, estimator: DensePoseEstimator, folder: Path
    ) -> None:
        self.accelerator, self.estimator, self.folder = accelerator, estimator, folder / "previews"
        self.loss, self.settings = config.loss, config.validation
        samples = first_samples(open_validation_data(config.data, uv=True), config.validation.pairs)
        targets = [Example(s["target"], s["target_pose"], s["target_uv"], s.get("target_garments")) for s in samples]
        size, strength = estimator.size, config.corruption.strength
        self.clean = [resampled(row, size) for row in targets]
        scenery = Scenery(find_photographs(config.corruption.photographs, "corruption.photographs"))
        draws = [torch.Generator().manual_seed(i) for i in range(len(targets))]
        self.hard = [corrupt(*row, size, strength, scenery) for row in zip(targets, draws, strict=True)]

    @torch.no_grad()
    def __call__(self, weights: Mapping[str, Tensor], step: int) -> tuple[dict[str, float], Image.Image | None]:
        estimator = averaged(self.estimator, weights, "estimator").to(self.accelerator.device)
        clean, loss = self._measure(estimator, self.clean)
        hard, hard_loss = self._measure(estimator, self.hard)
        means = {"loss": (loss + hard_loss) / 2, **clean.summary()}
        means |= {f"hard_{name}": value for name, value in hard.summary().items()}
        means = {name: value for name, value in means.items() if not math.isnan(value)}
        count = self.settings.preview_pairs
        if not self.accelerator.is_main_process or not count:
            return means, None
        sheet = self._sheet(estimator, count)
        write_preview(sheet, self.folder, step)
        return means, sheet

    def _measure(self, estimator: DensePoseEstimator, rows: list[Example]) -> tuple[Confusions, float]:
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        mine, found, loss = rows[rank::processes], Confusions(), 0.0
        for start in range(0, len(mine), _AT_ONCE):
            batch = stacked(mine[start : start + _AT_ONCE], self.accelerator.device)
            estimated = estimator(batch["photo"])
            loss += float(self.loss(estimated, batch["labels"], batch["uv"])[0]) * len(batch["photo"])
            found.add(estimated.labels.argmax(1), estimated.uv, batch["labels"], batch["uv"])
        everything, total = Confusions(), 0.0
        for part, share in gather_object([(found, loss)]):
            everything.merge(part)
            total += share
        return everything, total / len(rows)

    def _sheet(self, estimator: DensePoseEstimator, count: int) -> Image.Image:
        """Photograph, truth and estimate, as it is and corrupted; a row per picture."""
        rows = []
        for pair in list(zip(self.clean, self.hard, strict=True))[:count]:
            row = []
            for shown in pair:
                photo = images.to_pil(shown.photo[None])[0]
                logits = estimator(shown.photo[None].to(self.accelerator.device)).labels
                row += [photo, DensePose(shown.labels.numpy()).over(photo)]
                row.append(DensePose(logits[0].argmax(0).cpu().numpy()).over(photo))
            rows.append(row)
        return sheet_of_rows(rows, ["photo", "truth", "found"] * 2)


def _write(
    estimator: DensePoseEstimator,
    weights: Mapping[str, Tensor],
    config: EstimatorTrainConfig,
    progress: Progress,
    data: Data,
    folder: Path,
) -> None:
    """Write the estimator's folder."""
    result = averaged(estimator, weights, "estimator")
    write_network(
        result,
        folder,
        config.run.export_precision,
        estimator_card(config, {"densepose_estimator": result}, progress, data),
    )
