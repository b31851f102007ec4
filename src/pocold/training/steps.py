"""The pieces of an optimizer step that both trainers share: processes, optimizer, average, and what to do about NaN."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, FullyShardedDataParallelPlugin
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from pocold.training.checkpoints import (
    Checkpoints,
    Progress,
    read_optimizer,
    read_tensors,
    restore,
    whole_optimizer,
    whole_weights,
)
from pocold.training.config import OptimizerConfig, RunConfig


def start_processes(run: RunConfig) -> Accelerator:
    """The accelerator of a run, on as many processes as ``torchrun`` has started.

    Raises:
        ValueError: for a precision or sharding that this machine does not have.
    """
    cpu = run.device == "cpu" or not torch.accelerator.is_available()
    if run.precision == "fp16" and cpu:
        raise ValueError("run.precision fp16 needs a GPU; take bf16 or fp32 on a CPU")
    if run.fsdp and int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise ValueError(
            "run.fsdp shards over several processes: start them with torchrun --nproc-per-node N -m pocold"
        )
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, reshard_after_forward=False) if run.fsdp else None
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="no" if run.precision == "fp32" else run.precision,
        fsdp_plugin=plugin,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        step_scheduler_with_optimizer=False,
    )
    if accelerator.num_processes != int(os.environ.get("WORLD_SIZE", "1")):
        raise ValueError(
            f"torchrun started {os.environ['WORLD_SIZE']} processes, but accelerate sees {accelerator.num_processes}"
        )
    return accelerator


def step_seed(seed: int, step: int, part: int) -> int:
    """A seed of the draws of one part (process and backward pass) of one step: resuming needs no generator's state."""
    words = torch.tensor([seed, step, part], dtype=torch.int64)
    mixed = 0x9E3779B97F4A7C15
    for word in words.tolist():
        mixed = ((mixed ^ word) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 29
    return mixed & 0x7FFFFFFFFFFFFFFF


class Learner:
    """A model with its optimizer, learning-rate schedule and moving average, on one or several processes.

    Args:
        model: whose ``forward`` gives the losses; all its parameters that need a gradient are trained.
        accelerator: of :func:`start_processes`.
        optimizer: settings.
        run: settings.

    Attributes:
        model: as wrapped for the processes.
        plain: the model itself.
    """

    def __init__(self, model: nn.Module, accelerator: Accelerator, optimizer: OptimizerConfig, run: RunConfig) -> None:
        self.accelerator, self.settings, self.run, self.plain = accelerator, optimizer, run, model
        adamw = torch.optim.AdamW(
            (p for p in model.parameters() if p.requires_grad),
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
            weight_decay=optimizer.weight_decay,
            # one pass over the weights instead of a dozen; without it, small batches on a CPU spend a quarter of their
            # time here. On a GPU torch's own choice is as good.
            fused=True if accelerator.device.type == "cpu" else None,
        )
        self.model, self.optimizer = accelerator.prepare(model, adamw)
        name = "constant_with_warmup" if optimizer.schedule == "constant" else optimizer.schedule
        self.schedule = get_scheduler(
            name, self.optimizer.optimizer, num_warmup_steps=optimizer.warmup_steps, num_training_steps=run.max_steps
        )
        self.average = EMAModel(self.parameters(), decay=optimizer.ema_decay, use_ema_warmup=True, power=3 / 4)

    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters, all parts together."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def update(self, usable: bool) -> bool:
        """Clip, step, average; the schedule goes on in any case.

        Args:
            usable: whether the loss was finite, in all processes.

        Returns:
            False if the step was skipped, for the loss or because the gradient was NaN or infinite.
        """
        norm = self.accelerator.clip_grad_norm_(self.parameters(), self.settings.max_grad_norm)
        finite = bool(torch.isfinite(torch.as_tensor(norm)))
        scaled = self.run.precision == "fp16"
        if usable and (finite or scaled):
            # in fp16 the scaler itself skips a step that overflowed, and lowers its scale only if asked to step
            self.optimizer.step()
        if usable and finite:
            self._update_average()
        self.schedule.step()
        self.optimizer.zero_grad()
        # the first overflows of fp16 are how its scale is found, not a fault
        return usable and (finite or scaled)

    @torch.no_grad()
    def _update_average(self) -> None:
        """``EMAModel.step`` without its temporary copies of every weight."""
        self.average.optimization_step += 1
        share = 1 - self.average.get_decay(self.average.optimization_step)
        for shadow, parameter in zip(self.average.shadow_params, self.parameters(), strict=True):
            shadow.lerp_(parameter, share)

    def averaged_weights(self) -> dict[str, Tensor]:
        """The weights that validation and the result use, whole, on the CPU; every process has to call it."""
        names = [name for name, p in self.plain.named_parameters() if p.requires_grad]
        values = self.average.shadow_params if self.settings.ema_decay else self.parameters()
        whole = [v.full_tensor() if isinstance(v, DTensor) else v for v in values]
        return {name: value.detach().cpu() for name, value in zip(names, whole, strict=True)}

    def save(self, checkpoints: Checkpoints, progress: Progress) -> None:
        """Write a checkpoint; every process has to call it, the main one writes."""
        weights = whole_weights(self.model)
        average = self.averaged_weights()
        state = whole_optimizer(self.model, self.optimizer.optimizer)
        if self.accelerator.is_main_process:
            extra: dict[str, Any] = {"schedule": self.schedule.state_dict()}
            extra["average_updates"] = self.average.optimization_step
            if self.accelerator.scaler is not None:
                extra["scaler"] = self.accelerator.scaler.state_dict()
            checkpoints.write(progress, weights, average, state, extra)
        self.accelerator.wait_for_everyone()

    def load(self, checkpoint: Path) -> None:
        """Go on from a checkpoint; every process reads it."""
        content = read_optimizer(checkpoint)
        restore(self.model, self.optimizer.optimizer, read_tensors(checkpoint, "model"), content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        if self.accelerator.scaler is not None and "scaler" in content:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        average = read_tensors(checkpoint, "ema")
        names = [name for name, p in self.plain.named_parameters() if p.requires_grad]
        self.average.optimization_step = content["average_updates"]
        for shadow, name in zip(self.average.shadow_params, names, strict=True):
            _copy_whole(shadow, average[name])


def _copy_whole(target: Tensor, whole: Tensor) -> None:
    """Fill a tensor, or this process's part of a sharded one, from the whole."""
    if isinstance(target, DTensor):
        whole = distribute_tensor(whole.to(target.device), target.device_mesh, target.placements)
    with torch.no_grad():
        target.copy_(whole.to(target.dtype))


class BadSteps:
    """Counts steps with NaN or infinity; a run that has only such is stopped."""

    def __init__(self, limit: int) -> None:
        self.limit, self.in_a_row = limit, 0

    def note(self, good: bool, progress: Progress) -> None:
        """Note a step.

        Raises:
            ValueError: after the limit.
        """
        if good:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        progress.skipped += 1
        if self.in_a_row >= self.limit:
            raise ValueError(
                f"stopped at step {progress.step}: the loss or its gradient was NaN or infinite {self.in_a_row} times "
                "in a row, and these steps were skipped; lower optimizer.learning_rate, take run.precision bf16 or "
                "fp32 instead of fp16, or look at the data (pocold data check). The last checkpoint is from before"
            )


@contextmanager
def stop_on_signal() -> Iterator[list[str]]:
    """A list that gets the signal's name when the user or the cluster asks this process to end: save, then end."""
    asked: list[str] = []

    def ask(number: int, frame: Any) -> None:
        if asked:  # asked twice: at once
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)

    before = {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, ask)
    except ValueError:
        pass  # not in the main thread: signals stay as they are
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
