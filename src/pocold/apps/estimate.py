"""``pocold transfer --estimate``: what drawing will cost, measured on this machine before anything is drawn.

Everything up to the drawing is done as ever. Then one batch is begun by the very loop that draws, at the size, batch
and precision that are asked for, broken off after a few evaluations, decoded, refined and packed as PNG in memory. The
evaluations that are left cost as much as those that were seen, for each branch of the guidance. Where that is a matter
of a second, a few more batches are begun, of other poses.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import psutil
import torch
from PIL import Image

from pocold.apps.drawing.draw import Task, draw_all, measured
from pocold.apps.drawing.front import TERMINAL, FrontEnd
from pocold.apps.drawing.options import DrawOptions, FrameName
from pocold.apps.transfer import TransferPlan, ready_transfer
from pocold.devices import wait_for
from pocold.diffusion.guidance import decaying
from pocold.imaging.metadata import png_bytes
from pocold.photographs import Size
from pocold.pipeline import PoseTransferPipeline

Seconds: TypeAlias = np.ndarray  # float64 (2,): by the clock, and of the processor
_LEAST, _LONG = 3, 0.5  # evaluations, and seconds of them, before a batch is broken off: the first one is a cold one
_PROBES, _ENOUGH = 4, 1.5  # batches that are begun, of poses from all over the plan, until so many seconds are spent


@dataclass(frozen=True)
class Estimate:
    """What drawing pictures will cost.

    Attributes:
        pictures: how many.
        size: (height, width).
        evaluations: of the UNet, for each batch.
        ready: seconds until the drawing begins: starting, loading the model, finding maps, fitting poses. That has just
            been done.
        encoding: seconds for the appearance code, or for all of them where a person is cut out for each pose.
        drawing: seconds for evaluations, surface hints, decoding and refining.
        writing: seconds for files.
        cpu_seconds: of the processor, for all of it: what the others come to when nothing else runs, on one thread.
        peak_bytes: most memory held; of the GPU where there is one; None where the system does not tell.
    """

    pictures: int
    size: Size
    evaluations: int
    ready: float
    encoding: float
    drawing: float
    writing: float
    cpu_seconds: float
    peak_bytes: int | None

    @property
    def seconds(self) -> float:
        """All of it, by the clock."""
        return self.ready + self.encoding + self.drawing + self.writing


def run_estimate(
    files: Sequence[Path],
    poses: Sequence[str],
    output: Path | None,
    sheet: Path | None,
    maps: Sequence[Path],
    like: str,
    frame: FrameName,
    paste_back: bool,
    options: DrawOptions,
    front: FrontEnd = TERMINAL,
) -> None:
    """The body of ``pocold transfer --estimate``; see ``pocold transfer`` for the arguments. Prints, writes nothing."""
    plan, _ = ready_transfer(files, poses, output, sheet, maps, like, frame, paste_back, options, front)
    ready = np.array([time.time() - psutil.Process().create_time(), time.process_time()])
    estimate = estimate_drawing(plan, ready, with_sheet=sheet is not None)
    pipeline = plan.report.model.pipeline
    if options.json:
        print(json.dumps(as_json(estimate), indent=2))
    else:
        print(as_text(estimate, pipeline.device.type, str(pipeline.engine.dtype).removeprefix("torch.")))


def estimate_drawing(plan: TransferPlan, ready: Seconds, with_sheet: bool = False) -> Estimate:
    """What a plan will cost from here on; a batch of it is begun.

    Args:
        plan: what is to be drawn.
        ready: that making it took.
        with_sheet: whether a sheet is drawn of it, too.

    Raises:
        ValueError: for whatever drawing would raise.
    """
    pipeline, options, seeds = plan.report.model.pipeline, plan.options, len(plan.seeds)
    together = min(options.batch_size, len(plan))
    poses = _spread(len(plan.targets), math.ceil(together / seeds) * _PROBES)
    some = replace(plan, targets=[plan.targets[i] for i in poses], frames=[plan.frames[i] for i in poses])
    clock = _clock(pipeline.device)
    with measured(plan.report):
        start = clock()
        tasks = some.tasks()
        encoding = clock() - start
        first, pictures, evaluations = _begun(plan, tasks[:together])
        later: list[Seconds] = []
        spent = first
        while spent[0] < _ENOUGH and len(tasks) >= (len(later) + 2) * together:
            begin = (len(later) + 1) * together
            later.append(_begun(plan, tasks[begin : begin + together])[0])
            spent = spent + later[-1]
        start = clock()
        png_bytes(some.finished(0, pictures[0]), plan.settings(0, "picture.png"))
        writing = clock() - start
    share = 1 if None in plan.frames else len(plan.targets) / len(poses)  # of the people cut out for their poses
    tiles = (len(plan.targets) + 1) * (seeds + 1) if with_sheet else 0
    peak = plan.report.peak_bytes
    encoding, drawing = encoding * share, first + np.mean(later or [first], axis=0) * (len(plan) / together - 1)
    writing = writing * (len(plan) + tiles)
    kept = math.prod(plan.size) * 3 * (len(plan) + tiles)  # pictures stay until the last is drawn
    if peak is not None and pipeline.device.type == "cpu":
        peak += kept
    return Estimate(
        pictures=len(plan),
        size=plan.size,
        evaluations=evaluations,
        ready=float(ready[0]),
        encoding=float(encoding[0]),
        drawing=float(drawing[0]),
        writing=float(writing[0]),
        cpu_seconds=float((ready + encoding + drawing + writing)[1]),
        peak_bytes=peak,
    )


def _begun(plan: TransferPlan, tasks: Sequence[Task]) -> tuple[Seconds, list[Image.Image], int]:
    """Begin one batch, and break it off.

    Returns:
        Seconds that all of it would take; what it looked like when it was broken off; evaluations of the whole batch.
    """
    pipeline, options = plan.report.model.pipeline, plan.options
    clock = _clock(pipeline.device)
    branches = branches_by_step(pipeline, options)
    marks: list[Seconds] = []

    def watch(_: float) -> None:
        marks.append(clock())
        if len(marks) >= _LEAST and marks[-1][0] - marks[0][0] >= _LONG:
            pipeline._interrupt = True  # the batch is decoded as it is

    start = clock()
    pictures = list(draw_all(pipeline, tasks, options, plan.size, plan.mode, watch))
    seconds = clock() - start
    seen = len(marks)
    if seen < len(branches):
        each = [(end - begin) / count for begin, end, count in zip(marks, marks[1:], branches[1:], strict=False)]
        seconds = seconds + np.median(each, axis=0) * sum(branches[seen:])
    return seconds, pictures, len(branches)


def _spread(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` of 0..count-1, evenly spread: the first, then from the last backwards."""
    found = np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)).tolist()
    return [found[0], *found[:0:-1]]


def branches_by_step(pipeline: PoseTransferPipeline, options: DrawOptions) -> list[int]:
    """How many branches of the guidance each evaluation of the UNet computes: they can fall as the scales decay."""
    how = pipeline.sampling.filled(options.steps, options.pose_scale, options.appearance_scale)
    weights_at = decaying(
        pipeline.guidance_formula(options.guidance),
        how.pose_guidance_scale,
        how.appearance_guidance_scale,
        options.guidance_floor,
        pipeline.scheduler.config.num_train_timesteps,
    )
    return [len(weights_at(float(t)).needed) for t in pipeline.scheduler_for(how.num_inference_steps).timesteps]


def as_text(estimate: Estimate, device: str, dtype: str) -> str:
    """For people: one line, and below it the parts."""
    height, width = estimate.size
    pictures = f"{estimate.pictures} picture{'s' * (estimate.pictures != 1)} of {height}x{width}"
    kind = "GPU memory" if device == "cuda" else "memory"
    peak = "" if estimate.peak_bytes is None else f" and {estimate.peak_bytes / 1e6:,.0f} MB of {kind}"
    threads = torch.get_num_threads()
    how = ", ".join([device, dtype] + [f"{threads} thread{'s' * (threads != 1)}"] * (device == "cpu"))
    parts = {
        "starting, loading, poses": estimate.ready,
        "encoding": estimate.encoding,
        f"drawing, {estimate.evaluations} evaluations": estimate.drawing,
        "writing": estimate.writing,
    }
    lines = [f"  {name:<26}{seconds:10.1f} s" for name, seconds in parts.items()]
    first = f"{pictures}: about {estimate.seconds:.1f} s{peak} ({how}); nothing was drawn"
    return "\n".join([first, *lines])


def as_json(estimate: Estimate) -> dict[str, object]:
    """For programs, by the names that the report of ``pocold transfer --json`` has, where it has them."""
    return {
        "pictures": estimate.pictures,
        "size": list(estimate.size),
        "evaluations": estimate.evaluations,
        "seconds": round(estimate.seconds, 3),
        "seconds by part": {
            "ready": round(estimate.ready, 3),
            "encoding": round(estimate.encoding, 3),
            "drawing": round(estimate.drawing, 3),
            "writing": round(estimate.writing, 3),
        },
        "cpu seconds": round(estimate.cpu_seconds, 3),
        "peak bytes": estimate.peak_bytes,
        "threads": torch.get_num_threads(),
    }


def _clock(device: torch.device) -> Callable[[], Seconds]:
    def now() -> Seconds:
        wait_for(device)
        return np.array([time.perf_counter(), time.process_time()])

    return now
