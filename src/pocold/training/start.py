"""Where every training begins, or goes on: its processes, its folder, its last checkpoint."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from pocold.data.contents import bytes_checksum, data_checksum, require_same
from pocold.data.latents import LatentPairs
from pocold.data.repairs import RepairPairs
from pocold.data.synthetic import SyntheticPeople
from pocold.imaging.files import atomic_write, read_json
from pocold.training.checkpoints import Checkpoints, Progress, read_progress
from pocold.training.config_files import CONFIG_FILE, check_same_run, save_config
from pocold.training.loader import Data, training_batches
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
