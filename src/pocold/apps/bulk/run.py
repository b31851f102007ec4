"""The body of ``pocold bulk``: from rows to pictures, with a look at what is left to do."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from pocold.apps.bulk.jobs import Jobs, still_wanted, units
from pocold.apps.bulk.outputs import ERRORS, MANIFEST, Output, Shards
from pocold.apps.bulk.painter import How, Outcome, Painter
from pocold.apps.bulk.workers import paint_here, paint_in_processes
from pocold.apps.drawing.draw import progress_bar
from pocold.apps.drawing.models import Model, with_estimator
from pocold.apps.drawing.options import DrawOptions, FrameName
from pocold.apps.drawing.sources import warn
from pocold.apps.drawing.targets import NOBODY, SOURCE
from pocold.apps.transfer import asked_size, open_for
from pocold.diffusion.guidance import guidance_formula
from pocold.finding import finders
from pocold.imaging.files import origin
from pocold.people.body.keypoint_maps import load_any_pose

Format = Literal["files", "webdataset"]
_SECONDS = 30.0  # between lines of progress where there is no terminal


def run_bulk(
    path: Path,
    output: Path | None,
    poses: Sequence[str],
    format: Format,
    per_shard: int,
    workers: int | None,
    ray: str | None,
    threads: int,
    like: str,
    frame: FrameName,
    options: DrawOptions,
) -> None:
    """The body of ``pocold bulk``; see there for the arguments.

    Raises:
        ValueError: for what keeps the whole from being drawn.
        SystemExit: with 1 if rows failed.
    """
    options.check()
    for flag, number in (("--shards", per_shard), ("--threads", threads), ("--workers", workers)):
        if number is not None and number < 1:
            raise ValueError(f"{flag}: expected a number of at least 1, got {number}")
    if output is None:
        raise ValueError("expected a folder to write, such as -o out")
    if ray is not None and find_spec("ray") is None:
        raise ValueError('--ray needs the extra "ray": pip install "pocold[ray]"')
    asked_size(options)
    if like not in (SOURCE, NOBODY):
        load_any_pose(like)
    tarred = format == "webdataset"
    jobs = Jobs(path, poses, options.seed, options.num_images, tarred)
    survey = jobs.survey()
    if jobs.ignored:
        warn(f"{path}: nothing is known of the columns {', '.join(sorted(jobs.ignored))}; they are ignored")

    how = _how(jobs.base, options, like, frame, threads)
    alone = ray is None and workers in (None, 1)
    before = torch.get_num_threads()
    start = time.perf_counter()
    try:
        painter = Painter(how) if alone else None
        model = painter.model if painter else with_estimator(open_for(replace(how.options, device="cpu")))
        _check(model, options)
        how = replace(how, weights=model.sha256)
        run = {"rows": survey.rows, "what the rows say": survey.sha256, **_identity(model, how, format, per_shard)}
        result = (
            Shards(output, run, survey.rows, options.overwrite, per_shard)
            if tarred
            else Output(output, run, survey.rows, options.overwrite)
        )
        with closing(result):
            earlier = result.done
            todo = still_wanted(units(jobs, options.batch_size), result.settled)
            left = survey.rows - sum(result.settled)
            if painter is not None:
                drawn = paint_here(painter, todo)
            elif ray is not None:
                from pocold.apps.bulk.ray_run import paint_on_ray

                drawn = paint_on_ray(how, todo, left, ray, workers)
            else:
                drawn = paint_in_processes(how, todo, min(workers or 1, left))
            with closing(drawn), _progress(left) as progress:
                _keep(result, drawn, progress)
            result.finish()
    finally:
        torch.set_num_threads(before)
    _tell(result, earlier, time.perf_counter() - start, options.json)
    if result.failed:
        raise SystemExit(1)


def _how(base: Path, options: DrawOptions, like: str, frame: FrameName, threads: int) -> How:
    """How rows are drawn, with paths that hold in any process."""
    model = None if options.model is None else options.model.absolute()
    own = like if like in (SOURCE, NOBODY) else str(Path(like).absolute())
    return How(base, replace(options, model=model, overwrite=False, json=False), own, frame, threads)


def _check(model: Model, options: DrawOptions) -> None:
    """Raise a ValueError for settings that no row could be drawn with."""
    guidance_formula(options.guidance)
    model.pipeline.scheduler_for(model.pipeline.sampling.filled(options.steps, None, None).num_inference_steps)
    size = asked_size(options)
    if size is not None:
        model.pipeline.latent_size(*size)


def _identity(model: Model, how: How, format: Format, per_shard: int) -> dict[str, Any]:
    """What decides the bytes of what is written, besides the rows: a run goes on only if all of it is the same."""
    options = how.options
    settings = {name.replace("_", " "): value for name, value in options.resolved(model.pipeline).items()}
    del settings["seed"]  # that of rows without one is in the rows
    return {
        "model sha256": model.sha256,
        **finders(model.pipeline.densepose_estimator),
        **settings,
        "size": options.size,
        "like": how.like if how.like in (SOURCE, NOBODY) else origin(Path(how.like)),
        "frame": how.frame,
        "batch size": options.batch_size,
        "precision": options.precision,
        "device": options.device,
        "threads": how.threads,
        "format": format if format == "files" else f"{format}, {per_shard} rows a shard",
    }


Progress = Callable[[int, int], None]  # rows gone through, rows of them that failed


def _keep(result: Output, drawn: Iterator[list[Outcome]], progress: Progress) -> None:
    failed = result.failed
    count = 0
    for outcomes in drawn:
        result.add(outcomes)
        count += len(outcomes)
        progress(count, result.failed - failed)


@contextmanager
def _progress(left: int) -> Iterator[Progress]:
    """A bar on a terminal, elsewhere a line now and then, both with the time left."""
    start = last = time.monotonic()

    def line(count: int, failed: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS or not count:
            return
        last = now
        remaining = (now - start) / count * (left - count)
        print(f"pocold: {count} of {left} rows, {failed} failed, {_span(remaining)} left", file=sys.stderr, flush=True)

    if sys.stderr.isatty():
        with progress_bar(left) as bar:
            yield lambda count, _: bar(count)
    else:
        yield line


def _span(seconds: float) -> str:
    """A time for people: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _tell(result: Output, earlier: int, seconds: float, as_json: bool) -> None:
    """The end of a run: where its pictures are told, and a line of what was done."""
    drawn = result.done - earlier
    manifest, errors = result.folder / MANIFEST, result.folder / ERRORS
    if as_json:
        told: Mapping[str, Any] = {
            "manifest": str(manifest), "errors": str(errors), "pictures drawn": drawn, "drawn before": earlier,
            "rows failed": result.failed, "seconds": round(seconds, 3),
        }  # fmt: skip
        print(json.dumps(told, indent=2))
        return
    print(manifest)
    each = f" ({seconds / drawn:.2f} s each)" if drawn > 1 else ""
    went = f"{drawn} picture{'s' * (drawn != 1)} in {_span(seconds)}{each}"
    went += f", {earlier} were there before" if earlier else ""
    went += f", {result.failed} row{'s' * (result.failed != 1)} failed: see {errors}" if result.failed else ""
    print(went, file=sys.stderr)
