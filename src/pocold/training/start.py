"""Where every training begins, or goes on: its processes, its folder, its last checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from pocold.training.checkpoints import Checkpoints, Progress, read_progress
from pocold.training.config_files import CONFIG_FILE, check_same_run
from pocold.training.steps import start_processes


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
