"""The loop of optimizer steps that all trainings share, told in order: load, learn, say, watch, keep."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pocold.training.checkpoints import Checkpoints, Progress, write_best
from pocold.training.config import RunConfig
from pocold.training.reporting import Reporter
from pocold.training.steps import BadSteps, Learner, step_seed, stop_on_signal

HIGHER_IS_BETTER = frozenset({"psnr", "ssim", "miou", "hard_miou"})


@dataclass(frozen=True)
class Watch:
    """How a run is watched.

    Attributes:
        every: steps between measurements.
        metric: which of the measured values tells the best checkpoint.
        measure: (averaged weights, step) -> metrics, and a sheet to look at in the main process. Called by all.
    """

    every: int
    metric: str
    measure: Callable[[Mapping[str, Tensor], int], tuple[dict[str, float], Image.Image | None]]


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether a value of a metric beats the best so far."""
    if best is None:
        return True
    return value > best if metric in HIGHER_IS_BETTER else value < best


def run_steps(
    run: RunConfig,
    learner: Learner,
    batches: Iterator[Any],
    prepare: Callable[[Any, torch.Generator], Any],
    loss_names: Sequence[str],
    progress: Progress,
    checkpoints: Checkpoints,
    watch: Watch | None,
    report: Reporter,
    images_per_pair: int = 1,
) -> None:
    """Optimizer steps from ``progress.step`` to the last one, or until something asks to stop.

    Args:
        run: settings.
        learner: the model, whose ``forward(inputs, generator)`` gives the losses: a tensor, the one to minimise first.
        batches: of this process, without end, from ``progress.samples`` on.
        prepare: (batch, generator) -> inputs; the generator is on the CPU, and seeded for this batch alone.
        loss_names: of the losses.
        progress: where to begin; kept up to date.
        checkpoints: where to keep the run.
        watch: how to watch it.
        report: where to say things.
        images_per_pair: images that a pair counts for in images per second.

    Raises:
        ValueError: for NaN without end, or a checkpoint that cannot be written.
    """
    accelerator = learner.accelerator
    rank, processes = accelerator.process_index, accelerator.num_processes
    pairs = run.batch_size * run.gradient_accumulation * processes
    images = pairs * images_per_pair
    bad = BadSteps(run.max_bad_steps)
    started, before = time.perf_counter(), progress.seconds
    sums, counted, waited, since = torch.zeros(len(loss_names)), 0, 0.0, started
    report.step(progress.step, 0)
    with stop_on_signal() as asked:
        while progress.step < run.max_steps:
            losses = torch.zeros(len(loss_names) + 1, device=accelerator.device)  # the last: whether to stop
            for part in range(run.gradient_accumulation):
                waiting = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - waiting
                seed = step_seed(run.seed, progress.step, part * processes + rank)
                generator = torch.Generator().manual_seed(seed)
                inputs = prepare(batch, generator)
                more = part + 1 < run.gradient_accumulation
                with accelerator.no_sync(learner.model) if more else nullcontext():
                    values = learner.model(inputs, generator)
                    accelerator.backward(values[0] / run.gradient_accumulation)
                losses[:-1] += values.detach() / run.gradient_accumulation
            minutes = (time.perf_counter() - started) / 60
            losses[-1] = float(bool(asked) or (run.max_minutes is not None and minutes >= run.max_minutes))
            losses = accelerator.reduce(losses, "mean").cpu()  # each process sees the NaN, and the wish to stop, of any
            good = learner.update(usable=bool(torch.isfinite(losses).all()))
            progress.step += 1
            progress.samples += pairs
            progress.seconds = before + time.perf_counter() - started
            bad.note(good, progress)
            if good:
                sums, counted = sums + losses[:-1], counted + 1

            stop, end = bool(losses[-1] > 0), progress.step == run.max_steps
            rate = report.step(progress.step, images, f"loss {losses[0]:.4f}")
            if progress.step % run.log_every == 0 or end:
                now = time.perf_counter()
                values = {name: float(value) for name, value in zip(loss_names, sums / max(counted, 1), strict=True)}
                report.scalars(progress.step, {
                    **values, "learning_rate": learner.schedule.get_last_lr()[0], "images_per_second": rate,
                    "loader_share": waited / (now - since), "skipped_steps": progress.skipped,
                    "eta_minutes": (run.max_steps - progress.step) * images / max(rate, 1e-9) / 60,
                })  # fmt: skip
                sums, counted, waited, since = torch.zeros(len(loss_names)), 0, 0.0, now
            saved = False  # the folder would mislead a late process: the main one may have written there already
            if watch is not None and (progress.step % watch.every == 0 or end):
                saved = _look(watch, learner, progress, checkpoints, report)
                since, waited = time.perf_counter(), 0.0
            due = progress.step % run.checkpoint_every == 0 or stop or end
            if due and not saved:
                learner.save(checkpoints, progress)
            if stop:
                why = asked[0] if asked else "run.max_minutes, or another process"
                report.say(f"stopped at step {progress.step} by {why}; the same command goes on")
                return


def _look(watch: Watch, learner: Learner, progress: Progress, checkpoints: Checkpoints, report: Reporter) -> bool:
    """Measure, and keep a checkpoint that is the best so far; whether it was."""
    progress.metrics, sheet = watch.measure(learner.averaged_weights(), progress.step)
    report.scalars(progress.step, {f"validation/{name}": value for name, value in progress.metrics.items()})
    if sheet is not None:
        report.picture(progress.step, "preview", sheet)
    value = progress.metrics[watch.metric]
    if not is_better(watch.metric, value, progress.best):
        return False
    progress.best, progress.best_step = value, progress.step
    learner.save(checkpoints, progress)
    if learner.accelerator.is_main_process:
        write_best(checkpoints.folder, progress, watch.metric)
    return True
