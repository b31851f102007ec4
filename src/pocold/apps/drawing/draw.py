"""The loop of the drawing commands: batches through the pipeline, one seed per picture."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from PIL import Image

from pocold.appearance import AppearanceCode
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.drawing.results import Report
from pocold.densepose.maps import DensePose
from pocold.devices import peak_memory, wait_for
from pocold.imaging.images import FrameMode
from pocold.pipeline import PoseTransferPipeline

Progress = Callable[[float], None]  # pictures done so far


class Task(NamedTuple):
    """One picture: of whom, in which pose, from which noise: latents ``(1, C, h, w)``, or drawn from the seed."""

    code: AppearanceCode
    pose: DensePose
    seed: int
    noise: torch.Tensor | None = None


def draw_all(
    pipeline: PoseTransferPipeline,
    tasks: Sequence[Task],
    options: DrawOptions,
    size: tuple[int, int],
    mode: FrameMode = "pad",
    progress: Progress | None = None,
    **editing: Any,
) -> Iterator[Image.Image]:
    """Draw pictures one after the other, ``options.batch_size`` at once.

    With a batch size of 1 a picture's bytes depend on its task alone.

    Args:
        pipeline: draws, with its scheduler as it is.
        tasks: what.
        options: how.
        size: (height, width).
        mode: how poses of another size are brought to it.
        progress: called after every step.
        **editing: ``image``, ``mask`` and ``feather`` of the pipeline.

    Yields:
        RGB pictures in the order of the tasks.
    """
    steps = pipeline.sampling.filled(options.steps, None, None).num_inference_steps
    evaluations = len(pipeline.scheduler_for(steps).timesteps)  # of some solvers more than steps
    for start in range(0, len(tasks), options.batch_size):
        batch = tasks[start : start + options.batch_size]

        def on_step(_: Any, step: int, timestep: int, state: Any, start: int = start, count: int = len(batch)) -> None:
            if progress is not None:
                progress(start + count * (step + 1) / evaluations)

        noise = [task.noise for task in batch if task.noise is not None]
        yield from pipeline(
            AppearanceCode.stack([task.code for task in batch]),
            [task.pose for task in batch],
            height=size[0],
            width=size[1],
            frame=mode,
            **options.arguments(),
            batch_size=len(batch),
            generator=[torch.Generator().manual_seed(task.seed) for task in batch],
            latents=torch.cat(noise) if noise else None,
            callback_on_step_end=on_step,
            **editing,
        ).images


@contextmanager
def measured(report: Report) -> Iterator[None]:
    """Add the time and the memory of a block to a report."""
    device = report.model.pipeline.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start, start_cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        wait_for(device)
        report.seconds += time.perf_counter() - start
        report.cpu_seconds += time.process_time() - start_cpu
        report.peak_bytes = peak_memory(device)


@contextmanager
def progress_bar(pictures: int) -> Iterator[Progress]:
    """A bar on stderr that counts pictures; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("drawing {task.fields[done]}/{task.total:.0f}"), BarColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=pictures, done=0)
        yield lambda done: bar.update(task, completed=done, done=int(done + 1e-6))
