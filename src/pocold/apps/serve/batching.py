"""The one thread that draws: pictures of many requests, in batches, stopped when nobody waits for them any more."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Condition, Event, Thread
from typing import Any

from PIL import Image

from pocold.apps.drawing.draw import Task, draw_all
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.serve.metrics import Metrics
from pocold.imaging.images import FrameMode
from pocold.pipeline import PoseTransferPipeline


class StoppedError(Exception):
    """Nobody waits for this picture any more."""


@dataclass(eq=False)
class Job:
    """One picture that somebody waits for.

    Attributes:
        task: what.
        options: how; pictures whose options are the same but for the seed can share a batch.
        size: (height, width).
        mode: how the pose is framed.
        stop: set when nobody waits any more.
        editing: ``image`` and ``mask`` of the pipeline; a picture that is edited is drawn alone.
        result: the picture, once it is drawn.
    """

    task: Task
    options: DrawOptions
    size: tuple[int, int]
    mode: FrameMode
    stop: Event
    editing: dict[str, Any] = field(default_factory=dict)
    result: "Future[Image.Image]" = field(default_factory=Future)

    @cached_property
    def kind(self) -> tuple[Any, ...]:
        """What pictures of one batch have in common."""
        return self.size, self.mode, replace(self.options, seed=0, num_images=1), id(self) if self.editing else None


class Drawer:
    """Draws jobs in the order in which they came, those of one kind together.

    A batch waits at most ``wait`` seconds for others. Every picture has its own noise, so that it is the same alone
    and in any batch, but for rounding.

    Args:
        pipeline: draws.
        batch: most pictures at once.
        wait: seconds.
        metrics: counts pictures and batches.
    """

    def __init__(self, pipeline: PoseTransferPipeline, batch: int, wait: float, metrics: Metrics) -> None:
        self._pipeline, self._batch, self._wait, self._metrics = pipeline, batch, wait, metrics
        self._waiting: deque[Job] = deque()
        self._changed = Condition()
        self._closed = False
        self.seconds_per_picture = 1.0  # a running mean, for Retry-After
        self._thread = Thread(target=self._run, name="pocold-drawer", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Pictures that wait."""
        return len(self._waiting)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have pictures drawn; their ``result`` becomes a picture, or the error that kept it from being drawn."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the drawer is closed")
            self._waiting += jobs
            self._changed.notify()

    def close(self) -> None:
        """Draw what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            jobs = self._next_batch()
            if not jobs:
                return
            self._draw(jobs)

    def _next_batch(self) -> list[Job]:
        """The next pictures of one kind; none when closed and empty."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            first = self._waiting[0]
            until = time.monotonic() + self._wait
            while True:
                same = [job for job in self._waiting if job.kind == first.kind][: self._batch]
                left = until - time.monotonic()
                if len(same) == self._batch or first.editing or self._closed or left <= 0:
                    break
                self._changed.wait(left)
            for job in same:
                self._waiting.remove(job)
            return same

    def _draw(self, jobs: list[Job]) -> None:
        wanted = [job for job in jobs if not job.stop.is_set()]
        for job in jobs:
            if job.stop.is_set():
                job.result.set_exception(StoppedError())
        if not wanted:
            return
        start = time.monotonic()
        try:
            pictures = self._pictures(wanted)
        except Exception as error:
            if len(wanted) > 1:  # one of them may be to blame: the others are drawn
                for job in wanted:
                    self._draw([job])
            else:
                wanted[0].result.set_exception(error)
            return
        self._metrics.count("pocold_batches_total")
        self._metrics.count("pocold_pictures_total", sum(not job.stop.is_set() for job in wanted))
        self.seconds_per_picture += 0.2 * ((time.monotonic() - start) / len(wanted) - self.seconds_per_picture)
        for job, picture in zip(wanted, pictures, strict=True):
            if job.stop.is_set():
                job.result.set_exception(StoppedError())
            else:
                job.result.set_result(picture)

    def _pictures(self, jobs: list[Job]) -> list[Image.Image]:
        first = jobs[0]

        def on_step(_: float) -> None:
            if all(job.stop.is_set() for job in jobs):
                self._pipeline._interrupt = True  # this thread's run alone

        options = replace(first.options, batch_size=len(jobs))
        tasks = [job.task for job in jobs]
        drawn = draw_all(self._pipeline, tasks, options, first.size, first.mode, on_step, **first.editing)
        return list(drawn)
