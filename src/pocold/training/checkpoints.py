"""Checkpoints of a run: written as a whole or not at all, the last few kept, and the best one.

A checkpoint is a folder ``step-00001000`` with ``model.safetensors``, ``ema.safetensors``, ``optimizer.pt`` and
``state.json``. Weights are whole, whatever the number of processes that trained them, so that a run may go on with
another number of processes, sharded or not.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from pocold.imaging.files import atomic_folder, atomic_write, read_json

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass
class Progress:
    """Where a run is: all that a step depends on besides the weights. Random draws are functions of seed and step.

    Attributes:
        step: optimizer steps done, skipped ones included.
        samples: pairs taken from the data, of all processes together.
        skipped: steps skipped for NaN or infinity.
        seconds: spent training, of all starts together.
        best: value of the best metric so far.
        best_step: the step it was measured at.
        metrics: of the last validation.
    """

    step: int = 0
    samples: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints in a folder.

    Args:
        folder: holds them; made when the first is written.
        keep: how many of the last ones are kept.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of a step."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Steps of which there are checkpoints, ascending. Folders get their names only when they are whole."""
        found = [path.name.removeprefix("step-") for path in self.folder.glob("step-*") if path.is_dir()]
        return sorted(int(number) for number in found if number.isdigit())

    def latest(self) -> Path | None:
        """The last checkpoint, None if there is none."""
        steps = self.steps()
        return self.path(steps[-1]) if steps else None

    def clear_leftovers(self) -> None:
        """Remove what a killed run left half-written."""
        for path in self.folder.glob(".step-*"):
            shutil.rmtree(path, ignore_errors=True)

    def write(
        self,
        progress: Progress,
        weights: Mapping[str, Tensor],
        average: Mapping[str, Tensor],
        optimizer: Mapping[str, Any],
        extra: Mapping[str, Any],
    ) -> Path:
        """Write the checkpoint of ``progress.step``, then remove old ones; the best step is never removed.

        Raises:
            ValueError: if it cannot be written (a full disk); what was there before is still there.
        """
        path = self.path(progress.step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_folder(path) as new:
                save_file(_contiguous(weights), new / "model.safetensors")
                save_file(_contiguous(average), new / "ema.safetensors")
                torch.save({"optimizer": optimizer, **extra}, new / "optimizer.pt")
                (new / "state.json").write_text(json.dumps(vars(progress), indent=2) + "\n")
                for file in new.iterdir():
                    _flush(file)
        except (OSError, RuntimeError, SafetensorError) as error:  # libraries wrap what the system said
            last = self.latest()
            raise ValueError(
                f"the checkpoint {path} could not be written ({str(error).splitlines()[0]}); "
                f"{f'the last whole one is {last.name}' if last else 'there is none before it'}; "
                "make room and give the same command again"
            ) from error
        self._prune(progress)
        return path

    def _prune(self, progress: Progress) -> None:
        kept = {*self.steps()[-self.keep :], progress.best_step}
        for step in self.steps():
            if step not in kept:
                # renamed first: half-removed it must not look like a checkpoint
                doomed = self.path(step).rename(self.folder / f".step-{step:08d}.old")
                shutil.rmtree(doomed, ignore_errors=True)


def read_progress(checkpoint: Path) -> Progress:
    """The progress noted in a checkpoint; ValueError if it is of another version."""
    content = read_json(checkpoint / "state.json")
    try:
        return Progress(**content)
    except TypeError:
        raise ValueError(f"{checkpoint / 'state.json'} was written by another version of pocold") from None


def read_tensors(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """``model`` or ``ema`` weights of a checkpoint, on the CPU."""
    path = checkpoint / f"{name}.safetensors"
    try:
        return load_file(path)
    except Exception as error:  # a truncated file raises an error of the library's own
        raise ValueError(f"{path} cannot be read ({error}); remove {checkpoint} to go on from the one before") from None


def read_optimizer(checkpoint: Path) -> dict[str, Any]:
    """Optimizer state and what else was kept with it; nothing is unpickled but tensors and plain values."""
    path = checkpoint / "optimizer.pt"
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be read ({error}); remove {checkpoint} to go on from the one before") from None


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights of a model that may be copied to or sharded over processes, on the CPU of the main process.

    Every process has to call it; the others get an empty mapping.
    """
    return cast(dict[str, Tensor], get_model_state_dict(model, options=_WHOLE))


def whole_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state by names of parameters, likewise."""
    return get_optimizer_state_dict(model, optimizer, options=_WHOLE)


def restore(
    model: nn.Module, optimizer: torch.optim.Optimizer, weights: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Put whole weights and optimizer state back; every process has to call it with what it read.

    Raises:
        ValueError: if they belong to another model.
    """
    options = StateDictOptions(full_state_dict=True)
    try:
        set_optimizer_state_dict(model, optimizer, state, options=options)
        set_model_state_dict(model, dict[str, Any](weights), options=options)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"the checkpoint is of another model: {str(error).splitlines()[0]}") from error


def write_best(folder: Path, progress: Progress, metric: str) -> None:
    """Note which checkpoint is the best, for people and scripts."""
    with atomic_write(folder / "best.json") as temporary:
        content = {"step": progress.best_step, "metric": metric, "value": progress.best}
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _flush(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
