"""Whole pictures through the public pipeline, nothing assembled: a photograph and poses in, PIL pictures out.

    python -m benchmarks.end_to_end

Every row is a process of its own, which builds the pipeline, draws, and ends. Seconds are those of the call alone, the
first one (with --again the second: OpenVINO converts at the first), by the clock and of the processor. Memory is the
most that the process held from then on, and what of it was not there when torch, diffusers and pocold had been read.
Forms take turns, so that a machine that slows down slows all of them.

Forms:
    literal   the method as it is written: three passes (one where guidance is distilled), the target-by-source product,
              nothing kept of the source, each pose from its photograph anew, the autoencoder whole (a stand-in for the
              published code)
    whole     exact, but with the autoencoder whole
    exact     the default
    bf16      all networks in bfloat16
    fast      pipeline.optimize(), which picks engine and precision by what the machine has
    few       exact, with the guidance distilled (`pocold distill`), four evaluations and an AutoencoderTiny; of the
              bundled model, which is distilled, the same as exact
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any
from unittest import mock

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from benchmarks.literal import literal_form
from benchmarks.measure import machine, memory, peak_memory, restart_peak
from pocold.densepose.maps import DensePose
from pocold.devices import release_memory
from pocold.diffusion import sampling
from pocold.diffusion.schedulers import make_scheduler
from pocold.models import strips
from pocold.models.presets import build_models
from pocold.models.unet import UNet
from pocold.people.body.camera import parse_size
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person
from pocold.pipeline import PoseTransferPipeline
from pocold.training.transfer import extended

FORMS = ("literal", "whole", "exact", "bf16", "fast", "few")
FEW = 4  # evaluations of the form of that name
VIEWS = tuple(range(0, 360, 18))  # of the poses, up to 20


def build(model: str, form: str) -> PoseTransferPipeline:
    """A pipeline: the bundled model, or an untrained preset with the published scheduler and settings."""
    if model == "bundled":
        pipeline = PoseTransferPipeline.from_bundled()
    else:
        networks: dict[str, Any] = dict(build_models(model))
        if form == "few":
            networks |= {"unet": extended(networks["unet"], guidance_embedding=True), "vae": AutoencoderTiny()}
        scheduler = make_scheduler("ddim-trailing" if form == "few" else "pndm")
        pipeline = PoseTransferPipeline(**networks, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    if form == "bf16":
        for network in (pipeline.vae, pipeline.appearance_encoder, pipeline.unet, pipeline.refiner):
            if network is not None:
                torch.nn.Module.to(network, torch.bfloat16)
    if form == "fast":
        pipeline.optimize()
    return pipeline


@contextmanager
def literally() -> Iterator[None]:
    """Inside, pipelines draw in the literal form: three passes, or the one of a UNet whose guidance is distilled."""
    features: list[Sequence[Tensor]] = []
    extract = UNet.extract_appearance

    def kept(self: UNet, seen: Sequence[Tensor], **options: Any) -> Any:
        features[:] = [seen]  # the code is made as well: it is what the pipeline hands on
        return extract(self, seen, **options)

    def three_passes(
        unet: UNet,
        latents: Tensor,
        timestep: Tensor,
        pose: Tensor,
        code: Any,
        branches: Any,
        hint: Tensor | None = None,
        guidance_scales: Sequence[float] | None = None,
    ) -> dict[str, Tensor]:
        own: dict[str, Any] = {} if hint is None else {"hint": hint}
        with literal_form():
            if guidance_scales is not None:
                own["guidance_scales"] = torch.tensor(guidance_scales)
                return {"full": unet(latents, timestep, pose, features[0], **own).sample}
            return {
                "unconditional": unet(latents, timestep, torch.zeros_like(pose)).sample,
                "pose": unet(latents, timestep, pose).sample,
                "full": unet(latents, timestep, pose, features[0], **own).sample,
            }

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(UNet, "extract_appearance", kept))
        patches.enter_context(mock.patch.object(sampling, "predict_branches", three_passes))
        yield


def draw(
    pipeline: PoseTransferPipeline, form: str, size: tuple[int, int], poses: int, steps: int | None, times: int
) -> None:
    """One person in some poses, so many ``times``, of which the last counts."""
    shots = [Shot(parse_pose("relaxed").pose, 0.0), *(Shot(parse_pose("walk").pose, view) for view in VIEWS[:poses])]
    source, *targets = random_person(1, 1).draw(shots, size)
    maps: list[DensePose] = [target.densepose for target in targets]
    release_memory()  # drawing the person is not the pipeline's
    restart_peak()
    if form == "few":
        steps = FEW

    def call(some: list[DensePose]) -> None:
        pipeline(
            source.image, some, source_pose=source.densepose, height=size[0], width=size[1], batch_size=1,
            num_inference_steps=steps, generator=torch.Generator().manual_seed(0), guidance_floor=None,
        )  # fmt: skip

    with ExitStack() as patches:
        if form in ("literal", "whole"):
            patches.enter_context(mock.patch.object(strips, "runs_in_strips", return_value=False))
        if form == "literal":
            patches.enter_context(literally())
        for _ in range(times):
            before = time.perf_counter(), time.process_time()
            for some in [[one] for one in maps] if form == "literal" else [maps]:
                call(some)
        seconds, cpu = time.perf_counter() - before[0], time.process_time() - before[1]
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak_memory()}))


def one_process(
    model: str, size: str, form: str, poses: int, threads: int, steps: int | None, times: int
) -> dict[str, float]:
    """A row, measured in a process of its own."""
    numbers = [str(poses), str(steps or 0), str(times)]
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--one", model, size, form, *numbers]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    own, drawn = (json.loads(line) for line in printed.splitlines()[-2:])
    return {**drawn, "added": drawn["peak"] - own["read"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["bundled", "base"], help="bundled, or presets: base, toy")
    parser.add_argument("--sizes", nargs="+", default=["256x176", "512x352"], metavar="HEIGHTxWIDTH")
    parser.add_argument("--forms", nargs="+", default=["literal", "exact", "fast"], choices=FORMS)
    parser.add_argument("--poses", nargs="+", type=int, default=[1], help=f"up to {len(VIEWS)}")
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--steps", type=int, default=None, help="the model's own if not given")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="draw twice, and count the second time")
    parser.add_argument("--one", nargs=6, metavar="WHAT", help="measure a row: model, size, form, poses, steps, times")
    arguments = parser.parse_args()
    if arguments.one:
        model, size, form, poses, steps, times = arguments.one
        print(json.dumps({"read": memory()}))
        draw(build(model, form), form, parse_size(size), int(poses), int(steps) or None, int(times))
        return
    print(machine())
    print("| model, size, poses, threads | form | s | CPU s | peak MB | of it added | CPU s against the first form |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    for model in arguments.models:
        for size in arguments.sizes:
            for poses in arguments.poses:
                for threads in arguments.threads:
                    what = (poses, threads, arguments.steps, 1 + arguments.again)
                    rounds = [
                        {form: one_process(model, size, form, *what) for form in arguments.forms}
                        for _ in range(arguments.rounds)
                    ]
                    for form in arguments.forms:
                        print(row(f"{model}, {size}, {poses}, {threads}", form, arguments.forms[0], rounds), flush=True)


def row(label: str, form: str, first: str, rounds: list[dict[str, dict[str, float]]]) -> str:
    """Medians of the rounds, and the range of the ratio."""
    middle = {key: median(one[form][key] for one in rounds) for key in ("seconds", "cpu", "peak", "added")}
    ratios = [one[first]["cpu"] / one[form]["cpu"] for one in rounds]
    ratio = f"{median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})"
    return (
        f"| {label} | {form} | {middle['seconds']:.1f} | {middle['cpu']:.1f} | {middle['peak']:.0f} | "
        f"{middle['added']:.0f} | {ratio} |"
    )


if __name__ == "__main__":
    main()
