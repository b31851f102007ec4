"""Where every training begins, or goes on: its processes, its folder, its last checkpoint."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pocold.data.contents import bytes_checksum, data_checksum, require_same
from pocold.data.latents import LatentPairs
from pocold.data.repairs import RepairPairs
from pocold.data.synthetic import SyntheticPeople
from pocold.imaging.files import atomic_write, read_json
from pocold.training.checkpoints import Checkpoints, Progress, read_progress
from pocold.training.config_files import CONFIG_FILE, check_same_run, save_config
from pocold.training.loader import Data, training_batches
from pocold.training.loop import Watch, run_steps
from pocold.training.reporting import Reporter
from pocold.training.steps import Learner, start_processes

_MADE_OF = "made-of.json"


@dataclass(frozen=True)
class Start:
    """What a run has before its networks.

    Attributes:
        accelerator: its processes.
        folder: its output.
        checkpoints: in that folder.
        latest: the one to go on from, None for a new run.
        progress: where it is.
    """

    accelerator: Accelerator
    folder: Path
    checkpoints: Checkpoints
    latest: Path | None
    progress: Progress

    def hold(self, made_of: Mapping[str, Any]) -> None:
        """Note what the run is made of, or check that one that goes on has the same: other weights or pictures may lie
        behind the same settings.

        Args:
            made_of: checksums, such as ``autoencoder`` and what :func:`made_of_data` tells.

        Raises:
            ValueError: naming what differs.
        """
        path = self.folder / _MADE_OF
        if self.latest is not None and path.is_file():
            advice = "choose another run.output to begin anew, or put back what it was begun with"
            require_same(read_json(path), made_of, f"{self.folder} holds a run on other data or weights", advice)
        elif self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(made_of, indent=2) + "\n", encoding="utf-8")

    def open_report(self, config: Any, command: str) -> Reporter:
        """Make the run's folder with the resolved config, for ``command`` to go on from, and the report of the run."""
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.checkpoints.clear_leftovers()
            about = f"The resolved config of this run. pocold {command} {CONFIG_FILE} goes on."
            save_config(config, self.folder / CONFIG_FILE, about)
        return Reporter(self.folder, config.run.max_steps, self.progress.step, self.accelerator.is_main_process)

    def learner(self, model: nn.Module, config: Any, report: Reporter) -> Learner:
        """The model with its optimizer, where the latest checkpoint left it."""
        learner = Learner(model, self.accelerator, config.optimizer, config.run)
        if self.latest is not None:
            learner.load(self.latest)
            report.say(f"going on from {self.latest.name}")
        return learner

    def learn(
        self,
        model: nn.Module,
        networks: Sequence[nn.Module],
        data: Data | RepairPairs,
        config: Any,
        prepare: Callable[[Any, torch.Generator], Any],
        losses: Sequence[str],
        watch: Watch | None,
        report: Reporter,
        images_per_pair: int = 1,
    ) -> Mapping[str, Tensor]:
        """Take the steps that are left.

        Args:
            model: whose ``forward(inputs, generator)`` gives the losses.
            networks: of it, to be compiled where that is asked for.
            data: to learn from.
            config: of the training.
            prepare, losses, watch, report, images_per_pair: see :func:`pocold.training.loop.run_steps`.

        Returns:
            The averaged weights of the model; in all processes.
        """
        learner = self.learner(model, config, report)
        if config.run.compile:
            for network in networks:
                network.compile()
        batches = self.batches(data, config)
        run_steps(
            config.run, learner, batches, prepare, losses, self.progress, self.checkpoints, watch, report,
            images_per_pair,
        )  # fmt: skip
        return learner.averaged_weights()

    def finish(
        self, write: Callable[[], None], result: str, data: Data | RepairPairs, config: Any, report: Reporter
    ) -> None:
        """Have the main process write the result, and say so; the others wait for it.

        Args:
            write: writes it.
            result: what is said of it.
            data: that it was learned from; what was left out is told.
            config: of the training.
            report: of the run.
        """
        if self.accelerator.is_main_process:
            write()
            report.skipped(getattr(data, "skipped", {}))
            report.say(f"{result} after {self.progress.step} of {config.run.max_steps} steps")
        self.accelerator.wait_for_everyone()

    def batches(self, data: Data | RepairPairs, config: Any) -> Iterator[dict[str, Any]]:
        """This process's batches, from where the run is."""
        run, rank, processes = config.run, self.accelerator.process_index, self.accelerator.num_processes
        return training_batches(data, config.data, run.batch_size, run.seed, rank, processes, self.progress.samples)


def made_of_data(data: Data | RepairPairs) -> dict[str, str]:
    """What a data set holds, by content; of people drawn on the fly the settings say it all."""
    if isinstance(data, LatentPairs):
        return data.made_of
    if isinstance(data, RepairPairs):
        return {"pairs": bytes_checksum([json.dumps(data.index["about"], sort_keys=True).encode()])}
    return {} if isinstance(data, SyntheticPeople) else {"pictures, maps and pairs": data_checksum(data)}


def first_batch(data: Data | RepairPairs, config: Any, count: int = 1) -> dict[str, Any]:
    """The first pairs of the data, loaded in this process, for a look before the start."""
    return next(training_batches(data, replace(config.data, workers=0), count, config.run.seed, 0, 1, 0))


def first_losses(model: nn.Module, inputs: Any) -> Tensor:
    """The losses of one forward and backward pass, whose gradients are dropped again.

    Args:
        model: on its device; its ``forward(inputs, generator)`` gives the losses, the one to minimise first.
        inputs: real ones.

    Raises:
        ValueError: if they are not finite.
    """
    losses: Tensor = model(inputs, torch.Generator().manual_seed(0))
    losses[0].backward()
    model.zero_grad(set_to_none=True)
    if not torch.isfinite(losses).all():
        raise ValueError(f"the first losses are {losses.tolist()}: look at the data (pocold data check) or model.init")
    return losses


def check_settings(config: Any, network: str, small: bool = False) -> None:
    """Refuse what no training of one network from pictures can use.

    Args:
        config: of the training.
        network: what it trains, such as ``estimator``.
        small: whether it needs no gradient checkpointing, which it then refuses, too.

    Raises:
        ValueError: naming the setting.
    """
    if config.run.fsdp and getattr(config.loss, "adversarial", 0):
        raise ValueError("run.fsdp and loss.adversarial do not go together: the adaptive weight needs whole weights")
    if config.data.latents is not None:
        article = "an" if network[0] in "aeiou" else "a"
        raise ValueError(f"data.latents: {article} {network} learns from pictures; leave it out")
    if small and config.run.gradient_checkpointing:
        raise ValueError(f"run.gradient_checkpointing: the {network} is too small to need it; leave it out")


def start_run(config: Any) -> Start:
    """Begin, or find where to go on; nothing is written yet.

    Args:
        config: of any training; its ``run`` counts.

    Raises:
        ValueError: for a precision or sharding that this machine does not have, or a run of other settings in there.
    """
    accelerator = start_processes(config.run)
    folder = Path(config.run.output)
    checkpoints = Checkpoints(folder / "checkpoints", config.run.keep_checkpoints)
    latest = checkpoints.latest()
    if latest is not None and (folder / CONFIG_FILE).exists():
        check_same_run(config, folder / CONFIG_FILE)
    return Start(accelerator, folder, checkpoints, latest, read_progress(latest) if latest else Progress())
