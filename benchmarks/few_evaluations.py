"""A pipeline against what ``pocold distill`` made of it: quality, and the time of one more picture of a known person.

    python -m benchmarks.few_evaluations DATA TEACHER STUDENT [STUDENT ...] --limit 48

DATA is a data set as ``pocold evaluate`` takes it; held-out pairs are drawn under the protocol ``ours``, each model
with its own steps and guidance scales: whole, and alone, without a refiner, at the size that the diffusion model draws
in. Times are CPU seconds, models take turns.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.measure import cpu_times, machine, ratio
from pocold.data.opening import open_data
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation.baselines import ModelPainter
from pocold.evaluation.evaluate import EvaluationConfig, evaluate
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person
from pocold.pipeline import PoseTransferPipeline

METRICS = ("st_lpips", "psnr")


def quality(pipeline: PoseTransferPipeline, data: Path, limit: int) -> tuple[float, ...]:
    """The metrics on held-out pairs."""
    config = EvaluationConfig(limit=limit, without=("fd_stlpips",))
    with tempfile.TemporaryDirectory() as folder:
        report = evaluate(ModelPainter(pipeline, DrawSettings()), open_data(data, "test"), Path(folder), config)
    return tuple(report["metrics"][metric]["value"] for metric in METRICS)


def evaluations(pipeline: PoseTransferPipeline) -> str:
    """How often the UNet is asked, and for how many branches."""
    how = pipeline.sampling
    weights = pipeline.guidance_formula("pose_first")(how.pose_guidance_scale, how.appearance_guidance_scale)
    branches = len(weights.needed)
    return f"{len(pipeline.scheduler_for(how.num_inference_steps).timesteps)} x {branches}"


def one_more(pipeline: PoseTransferPipeline) -> Callable[[], Any]:
    """Draws one pose of a person who is encoded already."""
    shots = [Shot(parse_pose(text).pose, 0.0) for text in ("relaxed", "walk")]
    size = pipeline.native_size or (256, 176)
    source, target = random_person(1, 1).draw(shots, size)
    person = pipeline.encode_appearance(source.image, source_pose=source.densepose, height=size[0], width=size[1])
    return partial(pipeline, person, target.densepose, generator=torch.Generator().manual_seed(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path, nargs="+", help="the teacher first")
    parser.add_argument("--limit", type=int, default=48, help="pairs")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{machine()}\n")
    rows, draws = [], {}
    for number, folder in enumerate(options.models):
        pipeline = PoseTransferPipeline.from_pretrained(folder, dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        name = f"{number}: {folder.parent.name if folder.name == 'pipeline' else folder.name}"
        draws[name] = one_more(pipeline)
        whole = quality(pipeline, options.data, options.limit)
        alone = PoseTransferPipeline(
            pipeline.vae, pipeline.appearance_encoder, pipeline.unet, pipeline.scheduler,
            sampling=vars(pipeline.sampling),
        )  # fmt: skip
        alone.set_progress_bar_config(disable=True)
        rows.append((name, evaluations(pipeline), whole, quality(alone, options.data, options.limit)))
    times = cpu_times(draws, options.rounds)
    of_each = "st_lpips | to the first | PSNR"
    print(f"| model | evaluations x branches | {of_each} | alone: {of_each} | CPU ms, one more | to the first |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    first = rows[0]
    for name, how, whole, alone_ in rows:
        middle, low, high = ratio(times, first[0], name)
        change = [f"{100 * (own[0] / other[0] - 1):+.1f} %" for own, other in ((whole, first[2]), (alone_, first[3]))]
        print(
            f"| {name} | {how} | {whole[0]:.4f} | {change[0]} | {whole[1]:.2f} | {alone_[0]:.4f} | {change[1]} | "
            f"{alone_[1]:.2f} | {1e3 * median(times[name]):.0f} | {middle:.2f}x ({low:.2f}-{high:.2f}) |"
        )


if __name__ == "__main__":
    main()
