"""The real training loop: pictures or cached latents, pose penalty on or off, linear or literal form.

    OMP_NUM_THREADS=1 python -m benchmarks.training_loop

``pocold.training.transfer.train`` itself on a few drawn people: loading, encoding unless latents are cached, forward,
backward, clipping, AdamW, moving average, log. One torch thread, no loader processes, no validation, no checkpoint.

Each variant runs in a process of its own. The first step, which allocates the optimizer's state, is not counted. Ratios
are those of the same steps, which drop the same conditions and draw the same time steps. A pair is an image. Images per
second are those of one free core: CPU seconds are counted, as the machine may be busy; those by the clock stand beside
them. The loader's share is what the trainer logs. Memory is the peak of the whole process, autoencoder included.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from unittest import mock

import torch

from benchmarks.literal import literal_form
from benchmarks.measure import machine, peak_memory
from pocold.data.opening import open_data
from pocold.data.pairs import PairedTransform
from pocold.data.synthetic import SyntheticConfig
from pocold.data.writing import write_people
from pocold.models.autoencoder import Autoencoder
from pocold.models.patch_autoencoder import PatchAutoencoder
from pocold.models.presets import build_models
from pocold.people.body.camera import parse_size
from pocold.training import start, transfer
from pocold.training.config import DataConfig, RunConfig, TrainConfig, ValidationConfig
from pocold.training.config_files import read_config, save_config
from pocold.training.latents import cache_latents
from pocold.training.reporting import Reporter

VARIANTS = {
    "pictures": "pictures, encoded in every step",
    "cached": "cached latents",
    "no-penalty": "cached, penalty off",
    "literal": "cached, literal form",
}
BATCH_SIZES = {"base": 2, "bundled": 8}
SEED = 157  # with it about 80 % of the sources take part in the few steps counted, as in a long run
BUNDLED = Path(__file__).parent.parent / "configs" / "bundled.toml"


@dataclass(frozen=True)
class Measured:
    """The counted steps of one process.

    Attributes:
        cpu, wall: seconds of each step.
        waited: how many of these wall seconds went to the loader.
        peak: MB, of the whole process.
    """

    cpu: list[float]
    wall: list[float]
    waited: list[float]
    peak: float


class EnoughError(Exception):
    """Ends a run before it writes gigabytes of checkpoint and pipeline, which are no part of a step."""


def run(config: TrainConfig, literal: bool, seconds: float) -> Measured:
    """Train until ``run.max_steps``, or until a step at which the counted ones took ``seconds`` of CPU time."""
    cpu: list[float] = []
    wall: list[float] = []
    shares: list[float] = []

    class Stopwatch(Reporter):
        def step(self, step: int, images: int, text: str = "") -> float:
            cpu.append(time.process_time())
            wall.append(time.perf_counter())
            return super().step(step, images, text)

        def scalars(self, step: int, values: dict[str, float], show: bool = True) -> None:
            super().scalars(step, values, show)
            shares.append(values["loader_share"])
            if step == config.run.max_steps or (step > 1 and cpu[-1] - cpu[1] > seconds):
                raise EnoughError

    form = literal_form() if literal else contextlib.nullcontext()
    with form, mock.patch.object(start, "Reporter", Stopwatch), contextlib.suppress(EnoughError):
        transfer.train(config)
    if len(cpu) < 2:
        raise RuntimeError("no step was counted: does training report by another class?")
    cpu_steps, wall_steps = ([after - before for before, after in pairwise(times[1:])] for times in (cpu, wall))
    waited = [share * step for share, step in zip(shares[1:], wall_steps, strict=True)]
    return Measured(cpu_steps, wall_steps, waited, peak_memory())


def prepare(model: str, size: tuple[int, int], folder: Path) -> tuple[TrainConfig, float]:
    """Draw people, save an untrained autoencoder and cache latents, all in ``folder``, which has to exist.

    Returns:
        The config of a run on the pictures, and the CPU seconds per picture of caching them, hints included.
    """
    write_people(SyntheticConfig(identities=4, per_identity=2, size=size), folder / "people")
    config = TrainConfig() if model == "base" else read_config(TrainConfig, BUNDLED)
    vae: Autoencoder
    if model == "base":
        vae = build_models("base")["vae"]
    else:
        vae = PatchAutoencoder().eval()
        vae.init_from_patches(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    vae.save_pretrained(folder / "vae")
    transform = PairedTransform(surface_hint=config.model.surface_hint)
    data = open_data(folder / "people", transform=transform)
    pictures = sum(len(person.pictures) for person in data.people())
    began = time.process_time()
    cache_latents({"train": data}, vae, folder / "latents", transform, mirrored=False, batch_size=2)
    spent = time.process_time() - began
    config = replace(
        config,
        data=DataConfig(path=str(folder / "people"), flip=0.0, workers=0),
        model=replace(config.model, vae=str(folder / "vae")),
        validation=ValidationConfig(every=0),
    )
    return config, spent / pictures


def variant_config(config: TrainConfig, variant: str, folder: Path) -> TrainConfig:
    """The config of one of :data:`VARIANTS`."""
    if variant != "pictures":
        config = replace(config, data=replace(config.data, latents=str(folder / "latents")))
    if variant == "no-penalty":
        config = replace(config, loss=replace(config.loss, penalty_weight=0.0))
    return config


def measure(config: TrainConfig, variant: str, seconds: float) -> Measured:
    """:func:`run` in a process of its own."""
    with tempfile.TemporaryDirectory() as output:
        path = Path(output) / "config.toml"
        save_config(replace(config, run=replace(config.run, output=str(Path(output) / "run"))), path, "")
        command = [sys.executable, "-m", "benchmarks.training_loop", "--seconds", str(seconds)]
        done = subprocess.run([*command, "--run", str(path), variant], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{variant} ended with code {done.returncode}: {done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def ratio(rounds: Sequence[dict[str, Measured]], slow: str, fast: str) -> tuple[float, float, float]:
    """Median, minimum and maximum over the rounds of CPU time(slow) / CPU time(fast), over the steps that both made."""
    ratios = []
    for results in rounds:
        a, b = results[slow].cpu, results[fast].cpu
        common = min(len(a), len(b))
        ratios.append(sum(a[:common]) / sum(b[:common]))
    return statistics.median(ratios), min(ratios), max(ratios)


def report(label: str, batch: int, rounds: Sequence[dict[str, Measured]]) -> None:
    """A row for each variant: all rounds together, and the median of the ratios."""
    for variant, what in VARIANTS.items():
        if variant not in rounds[0]:
            continue
        results = [results[variant] for results in rounds]
        steps = sum(len(result.cpu) for result in results)
        wall = sum(map(sum, (result.wall for result in results)))
        rate = batch * steps / sum(map(sum, (result.cpu for result in results)))
        share = sum(map(sum, (result.waited for result in results))) / wall
        peak = max(result.peak for result in results)
        print(
            f"| {label} | {what} | {steps} | {rate:.2f} | {batch * steps / wall:.2f} | {share:.2%} | {peak:,.0f} MB |",
            flush=True,
        )


def report_ratios(label: str, rounds: Sequence[dict[str, Measured]]) -> None:
    """The comparisons that there are variants for."""
    for what, slow, fast in (
        ("cached latents against pictures, faster", "pictures", "cached"),
        ("penalty on against off, time (aim <= 1.25x)", "cached", "no-penalty"),
        ("linear against literal form, faster", "literal", "cached"),
    ):
        if {slow, fast} <= rounds[0].keys():
            middle, low, high = ratio(rounds, slow, fast)
            print(f"{label}: {what}: {middle:.2f}x ({low:.2f}-{high:.2f})", flush=True)
    if {"literal", "cached"} <= rounds[0].keys():
        literal, linear = (max(results[name].peak for results in rounds) for name in ("literal", "cached"))
        print(f"{label}: peak memory of the literal form: {literal / linear:.1f}x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(BATCH_SIZES), default=list(BATCH_SIZES))
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[(256, 176), (512, 352)], metavar="HxW")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=1, help="processes per variant, the variants in turn")
    parser.add_argument("--steps", type=int, default=8, help="counted in each process, one at least")
    parser.add_argument("--seconds", type=float, default=20, help="of CPU after which no further step is counted")
    parser.add_argument("--batch-size", type=int, help="default: 2 for base, 8 for bundled")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--run", nargs=2, metavar=("CONFIG", "VARIANT"), help="print what one process measures, stop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.run:
        path, variant = arguments.run
        measured = run(read_config(TrainConfig, Path(path)), variant == "literal", arguments.seconds)
        print(json.dumps(asdict(measured)))
        return

    print(machine(), arguments.precision)
    for model in arguments.models:
        batch = arguments.batch_size or BATCH_SIZES[model]
        for size in arguments.sizes:
            label = f"{model}, {size[0]}x{size[1]}, batch {batch}"
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                config, caching = prepare(model, size, folder)
                config = replace(
                    config,
                    run=RunConfig(
                        seed=SEED,
                        max_steps=1 + arguments.steps,
                        batch_size=batch,
                        device="cpu",
                        log_every=1,
                        precision=arguments.precision,
                    ),
                )
                rounds = [
                    {v: measure(variant_config(config, v, folder), v, arguments.seconds) for v in arguments.variants}
                    for _ in range(arguments.rounds)
                ]
            print("\n| run | variant | steps | images/CPU s | images/s by the clock | loader | peak memory |")
            print("| --- | --- | --- | --- | --- | --- | --- |")
            report(label, batch, rounds)
            report_ratios(label, rounds)
            print(f"{label}: caching took {caching:.2f} CPU s per picture", flush=True)


if __name__ == "__main__":
    main()
