"""``pocold train`` for a baseline: what PIDM's and NTED's trainings share, which is all but network and loss.

Legend: B pairs per process and backward pass, H W picture size.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from pocold.data.pairs import collate
from pocold.densepose.skeleton import COLOUR_CHANNELS, skeleton_map
from pocold.imaging import images
from pocold.models.baselines.loading import BASELINES, load_baseline
from pocold.training.checkpoints import Progress
from pocold.training.loader import Data, first_samples, open_training_data, open_validation_data
from pocold.training.loop import Watch
from pocold.training.model_card import baseline_card
from pocold.training.reporting import Reporter
from pocold.training.results import averaged, write_network, write_preview
from pocold.training.start import check_settings, first_batch, first_losses, made_of_data, start_run
from pocold.training.validation import Row, find_distance, gathered, pair_sheet, picture_metrics, rows_of

_AT_ONCE = 8
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Method:
    """What is a method's own.

    Attributes:
        name: ``pidm`` or ``nted``: of the network in the model that is trained, and of the folder with the result.
        kind: its class, by name.
        losses: names of what the model's ``forward`` gives.
        model: (network, weights of the objective) -> the module to train, with the network under ``name``.
        settings: config -> what is written into the network's own config besides its shape.
        measure: (network, inputs, numbers of the pairs, config) -> the validation's loss ``(B,)``, and pictures
            ``(B, 3, H, W)`` in [-1, 1].
    """

    name: str
    kind: str
    losses: tuple[str, ...]
    model: Callable[[Any, Any], nn.Module]
    settings: Callable[[Any], dict[str, Any]]
    measure: Callable[[Any, Inputs, list[int], Any], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Prepare:
    """Makes a batch of data into what the losses take: ``source``, ``target`` and ``pose``, on a device."""

    device: torch.device

    def __call__(self, batch: Mapping[str, Any], generator: torch.Generator | None = None) -> Inputs:
        pictures = {name: batch[name].to(self.device) for name in ("source", "target")}
        size = pictures["target"].shape[-2:]
        return {**pictures, "pose": skeleton_map(batch["target_keypoints"].to(self.device), (size[0], size[1]))}


def build_network(config: Any, method: Method) -> Any:
    """The network to train, from scratch or from a folder.

    Raises:
        ValueError: for a folder that holds another, or impossible settings.
    """
    settings = config.model
    if settings.init is not None:
        network = load_baseline(Path(settings.init), torch.float32)
        if type(network).__name__ != method.kind:
            raise ValueError(f"model.init: {settings.init} holds {type(network).__name__}, expected {method.kind}")
    else:
        shape = {
            field.name: getattr(settings, field.name)
            for field in fields(settings)
            if field.name not in ("method", "init")
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.run.seed)
            # named, for what is not named diffusers takes for a default, whatever comes later
            network = BASELINES[method.kind](**shape, **method.settings(config), sample_size=None)
    network.register_to_config(**method.settings(config))
    return network


def train_baseline(config: Any, method: Method) -> Path:
    """Train, or go on training, until ``run.max_steps``; the same config resumes.

    Returns:
        The folder of the resulting network, for :func:`pocold.models.baselines.loading.load_baseline`.

    Raises:
        ValueError: as :func:`pocold.training.transfer.train`, or for data without keypoints.
    """
    check_settings(config, method.kind)
    start = start_run(config)
    accelerator, folder, progress = start.accelerator, start.folder / method.name, start.progress

    network = build_network(config, method)
    network.train()
    if config.run.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    data = open_training_data(config.data, config.run.seed, keypoints=True)
    start.hold(made_of_data(data))
    if config.data.size is not None:  # pictures are drawn in the size that was trained, by default
        network.register_to_config(sample_size=config.data.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = method.model(network, config.loss)
    report = start.open_report(config, "train")
    prepare = Prepare(accelerator.device)
    try:
        watch = None
        if config.validation.every:
            watcher = _Watched(config, method, accelerator, network, start.folder)
            watch = Watch(config.validation.every, config.validation.best_metric, watcher)
        _check_before_start(model, network, method, prepare, data, config, report)
        weights = start.learn(model, [network], data, config, prepare, method.losses, watch, report)
        write = partial(_write, network, method, weights, config, progress, data, folder)
        start.finish(write, f"{folder}: {method.kind}", data, config, report)
    finally:
        report.close()
    return folder


def _check_before_start(
    model: nn.Module, network: nn.Module, method: Method, prepare: Prepare, data: Data, config: Any, report: Reporter
) -> None:
    """One forward and backward pass on real data, and a word on what will be trained."""
    model.to(prepare.device)
    inputs = prepare(first_batch(data, config))
    losses = first_losses(model, inputs)
    length = f"{len(data)} pairs, " if hasattr(data, "__len__") else ""
    count = sum(p.numel() for p in network.parameters()) / 1e6
    report.say(
        f"{length}pictures {tuple(inputs['target'].shape[-2:])}, {method.kind} of {count:.2f} M parameters, device "
        f"{prepare.device}, first loss {losses[0].item():.4f}"
    )


class _Watched:
    """Metrics and sheet of fixed pairs, shared by the processes."""

    def __init__(self, config: Any, method: Method, accelerator: Any, network: Any, folder: Path) -> None:
        self.config, self.method, self.accelerator, self.network = config, method, accelerator, network
        self.folder = folder / "previews"
        self.samples = first_samples(open_validation_data(config.data, keypoints=True), config.validation.pairs)
        self.distance = find_distance(config.validation, accelerator.device)

    @torch.no_grad()
    def __call__(self, weights: Mapping[str, Tensor], step: int) -> tuple[dict[str, float], Image.Image | None]:
        device = self.accelerator.device
        network = averaged(self.network, weights, self.method.name).to(device)
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        mine = list(range(rank, len(self.samples), processes))
        own: list[Row] = []
        for start in range(0, len(mine), _AT_ONCE):
            part = mine[start : start + _AT_ONCE]
            inputs = Prepare(device)(collate([self.samples[i] for i in part]))
            loss, drawn = self.method.measure(network, inputs, part, self.config)
            columns = {"loss": loss, **picture_metrics(drawn, inputs["target"], self.distance)}
            own += rows_of(part, columns, drawn)
        rows, means = gathered(own)
        shown = rows[: self.config.validation.preview_pairs]
        if not self.accelerator.is_main_process or not shown:
            return means, None
        sheet = pair_sheet(self.samples, [(i, picture) for i, _, picture in shown], _limbs)
        write_preview(sheet, self.folder, step)
        return means, sheet


def _limbs(sample: Mapping[str, Any]) -> Image.Image:
    """The limbs that the pose's colour channels show."""
    height, width = sample["target"].shape[-2:]
    drawn = skeleton_map(sample["target_keypoints"][None], (height, width))[:, -COLOUR_CHANNELS:]
    return images.to_pil(2 * drawn - 1)[0]


def _write(
    network: Any,
    method: Method,
    weights: Mapping[str, Tensor],
    config: Any,
    progress: Progress,
    data: Data,
    folder: Path,
) -> None:
    """Write the network's folder."""
    result = averaged(network, weights, method.name)
    card = baseline_card(method.kind, config, {method.name: result}, progress, data)
    write_network(result, folder, config.run.export_precision, card)
