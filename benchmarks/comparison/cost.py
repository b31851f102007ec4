"""Cost at published size, random weights, in one run: seconds, GFLOP, memory, of drawing and of training.

An *evaluation* is one guided prediction with all its passes: three in PoCoLD's literal form and in PIDM, two in our
exact form, whose equal scales cancel the third; a UNet distilled by ``pocold distill`` and NTED have a single pass. A
picture is as many evaluations as are published (51 of 50 PNDM steps, 100 DDIM steps, 1; of the distilled UNet 4, as the
bundled model has), and what is done once: encoding the source, decoding. Seconds are of CPU, or by the clock on a GPU;
memory is by how much the peak of a fresh process exceeds what it held before the networks were made, weights included.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.attention import body_labels
from benchmarks.comparison.variants import NARROW
from benchmarks.literal import guided_step, literal_form
from benchmarks.measure import machine, peak_memory_added
from pocold.densepose.encoding import one_hot
from pocold.densepose.skeleton import SKELETON_CHANNELS
from pocold.diffusion.guidance import guidance_formula, guide, independent
from pocold.diffusion.losses import training_loss
from pocold.diffusion.pixels import pixel_loss, pixel_scheduler
from pocold.diffusion.sampling import predict_branches
from pocold.diffusion.schedulers import make_scheduler
from pocold.models import autoencoder
from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.baselines.nted import NTED
from pocold.models.baselines.pidm import PIDM
from pocold.models.presets import build_models
from pocold.models.unet import UNet
from pocold.people.body.camera import parse_size
from pocold.training.transfer import extended

NAME = "cost"
SIZES = ("256x176", "512x352")
PAPER = {"time": 2.0, "memory": 3.6}  # of PIDM against PoCoLD
# Of PoCoLD, PIDM, NTED; narrow is what is trained at 128x88, with the published autoencoder.
PRESETS = {"published": ("base", "pidm", "nted"), "narrow": ("base", "narrow", "narrow"), "toy": ("toy", "toy", "toy")}
Size = tuple[int, int]


@dataclass(frozen=True)
class Work:
    """A method's work on one picture.

    Attributes:
        once: what is done once for a picture.
        evaluation: one guided prediction.
        evaluations: of a picture.
        train: forward and backward pass of a training step of one pair, without the optimizer; None where there is
            none of its own.
    """

    once: Callable[[], Any]
    evaluation: Callable[[], Any]
    evaluations: int
    train: Callable[[], Any] | None


def pocold(form: Literal["literal", "exact", "distilled"]) -> Callable[[str, Size, torch.device], Work]:
    """PoCoLD with the published settings: scales 5 and 5, pose penalty in training.

    Distilled, its UNet is told the scales and is asked once, and less often; that costs what a trained one costs.
    """
    literal, distilled = form == "literal", form == "distilled"

    def work(preset: str, size: Size, device: torch.device) -> Work:
        parts: dict[str, Any] = dict(build_models(PRESETS[preset][0]))
        if preset == "narrow":
            parts["unet"] = UNet(**NARROW)
            parts["appearance_encoder"] = AppearanceEncoder(block_out_channels=NARROW["appearance_channels"])
        if distilled:
            parts["unet"] = extended(parts["unet"], guidance_embedding=True)
        vae, unet, encoder = (parts[name].to(device) for name in ("vae", "unet", "appearance_encoder"))
        small = (size[0] // 8, size[1] // 8)
        picture = torch.rand(1, 3, *size, device=device) * 2 - 1
        latents = torch.randn(1, 4, *small, device=device)
        labels = body_labels(1, *small).to(device)
        pose, timestep = one_hot(labels, small), torch.tensor(501, device=device)
        scheduler, weights = make_scheduler("ddim"), guidance_formula("pose_first", distilled)(5.0, 5.0)
        with torch.no_grad():
            features = encoder(latents)
            code = unet.extract_appearance(features, fingerprint=torch.zeros(1))

        @torch.no_grad()
        def once() -> None:
            own = encoder(autoencoder.encode(vae, picture))
            if not literal:
                unet.extract_appearance(own, fingerprint=torch.zeros(1))
            autoencoder.decode(vae, latents)

        @torch.no_grad()
        def evaluation() -> Any:
            if literal:
                return guided_step(unet, latents, timestep, pose, features, 5.0, 5.0)
            seen = unet, latents, timestep, pose, code
            return guide(predict_branches(*seen, weights.needed, guidance_scales=weights.scales), weights)

        def train() -> None:
            with literal_form() if literal else contextlib.nullcontext():
                training_loss(
                    unet, encoder, scheduler, latents=latents, source_latents=latents, labels=labels,
                    source_labels=labels.flip(-2), timesteps=timestep[None],
                ).total.backward()  # fmt: skip

        return Work(once, evaluation, 4 if distilled else 51, None if distilled else train)

    return work


def pidm(preset: str, size: Size, device: torch.device) -> Work:
    """PIDM with the published disentangled guidance of three predictions, as one batch."""
    model = PIDM.from_preset(PRESETS[preset][1]).to(device)
    picture = torch.rand(1, 3, *size, device=device) * 2 - 1
    pose = torch.rand(1, SKELETON_CHANNELS, *size, device=device)
    weights, scheduler = independent(2.0, 2.0), pixel_scheduler()
    poses = torch.cat([torch.zeros_like(pose), pose, torch.zeros_like(pose)])
    timestep = torch.tensor(501, device=device)

    @torch.no_grad()
    def once() -> Any:
        return model.encode(torch.cat([picture, torch.zeros_like(picture)]))

    seen = [torch.cat([one[1:], one[1:], one[:1]]) for one in once()]

    @torch.no_grad()
    def evaluation() -> Any:
        noise, _ = model(picture.repeat(3, 1, 1, 1), timestep, poses, seen)
        return guide(dict(zip(weights.needed, noise.chunk(3), strict=True)), weights)

    def train() -> None:
        pixel_loss(
            model, model.encode, scheduler, source=picture, target=picture, pose=pose, timesteps=timestep[None]
        ).total.backward()

    return Work(once, evaluation, 100, train)


def nted(preset: str, size: Size, device: torch.device) -> Work:
    """NTED: the reference once, one pass.

    Its training step has the pixels and the attention alone: perceptual network and discriminator are left out.
    """
    model = NTED.from_preset(PRESETS[preset][2]).to(device)
    picture = torch.rand(1, 3, *size, device=device) * 2 - 1
    pose = torch.rand(1, SKELETON_CHANNELS, *size, device=device)

    @torch.no_grad()
    def once() -> Any:
        return model.textures(model.features(picture))

    textures = once()

    @torch.no_grad()
    def evaluation() -> Any:
        return model.draw(textures, pose)

    def train() -> None:
        features = model.features(picture)
        drawn = model.draw(model.textures(features), pose)
        ((drawn - picture).abs().mean() + model.attention_correctness(features)).backward()

    return Work(once, evaluation, 1, train)


METHODS: dict[str, tuple[str, Callable[[str, Size, torch.device], Work]]] = {
    "literal": ("PoCoLD, literal form", pocold("literal")),
    "exact": ("PoCoLD, ours (exact)", pocold("exact")),
    "distilled": ("PoCoLD, ours (distilled)", pocold("distilled")),
    "pidm": ("PIDM", pidm),
    "nted": ("NTED", nted),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), help="of all methods, HEIGHTxWIDTH")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--rounds", type=int, default=1, help="after one that is not counted")
    parser.add_argument(
        "--preset", choices=list(PRESETS), default="published", help="narrow: as trained; toy: for a quick try"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--without", nargs="*", choices=("training", "memory"), default=[])
    parser.add_argument("--memory-of", nargs=3, metavar=("METHOD", "SIZE", "WHAT"), help="print MB, then stop")


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print the rows of docs/comparison.md."""
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    if arguments.memory_of:
        method, size, what = arguments.memory_of
        print(json.dumps(_memory(METHODS[method][1], arguments.preset, parse_size(size), what, device)))
        return
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else machine(), flush=True)
    for size in arguments.sizes:
        found = _measure(arguments, size, device)
        print("\n".join(["", *rows(size, found), "", *verdicts(found)]), flush=True)


def _measure(arguments: argparse.Namespace, size: str, device: torch.device) -> dict[str, dict[str, float]]:
    """What each method costs at a size."""
    found: dict[str, dict[str, float]] = {}
    shape = parse_size(size)
    works = {name: METHODS[name][1](arguments.preset, shape, device) for name in arguments.methods}
    for kind in ("once", "evaluation", "train"):
        if kind == "train" and "training" in arguments.without:
            continue
        calls = {name: getattr(work, kind) for name, work in works.items() if getattr(work, kind) is not None}
        gflop = {name: _gflop(call) for name, call in calls.items()}  # and with it every call was made once
        for name, values in _times(calls, arguments.rounds, device).items():
            found.setdefault(name, {}).update({kind: statistics.median(values), f"{kind} gflop": gflop[name]})
    for name, work in works.items():
        own = found[name]
        own["evaluations"] = work.evaluations
        for unit in ("", " gflop"):
            own[f"picture{unit}"] = own[f"once{unit}"] + work.evaluations * own[f"evaluation{unit}"]
    if "memory" in arguments.without:
        return found
    trained = {name for name, work in works.items() if work.train is not None}
    del works
    for name in arguments.methods:
        for what in ("drawing", "training"):
            if what not in arguments.without and (what == "drawing" or name in trained):
                found[name][f"{what} MB"] = _memory_of(name, size, what, arguments)
    return found


def _times(calls: dict[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of CPU, or by the clock on a GPU; methods alternate, so that a slow minute slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_seconds(call, device))
    return times


def _seconds(call: Callable[[], Any], device: torch.device) -> float:
    if device.type != "cuda":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _gflop(call: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def _memory(
    make: Callable[[str, Size, torch.device], Work], preset: str, size: Size, what: str, device: torch.device
) -> float:
    """MB that drawing (all of a picture but the repetition) or a training step needs, weights included."""

    def call() -> None:
        work = make(preset, size, device)
        for part in (work.train,) if what == "training" else (work.once, work.evaluation):
            assert part is not None
            part()

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) / 1e6
    return peak_memory_added(call)


def _memory_of(name: str, size: str, what: str, arguments: argparse.Namespace) -> float:
    """The same from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.comparison", "cost", "--memory-of", name, size, what]
    command += ["--preset", arguments.preset, "--device", arguments.device]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.splitlines()[-1]))


_COLUMNS = (
    ("evaluation, s", "evaluation"), ("GFLOP of it", "evaluation gflop"), ("evaluations", "evaluations"),
    ("once, s", "once"), ("picture, s", "picture"), ("GFLOP of it", "picture gflop"), ("drawing, MB", "drawing MB"),
    ("training step, s", "train"), ("GFLOP of it", "train gflop"), ("training, MB", "training MB"),
)  # fmt: skip


def rows(size: str, found: dict[str, dict[str, float]]) -> list[str]:
    """A Markdown table."""
    lines = [
        "| " + " | ".join([size, *(title for title, _ in _COLUMNS)]) + " |",
        "| --- |" + " ---: |" * len(_COLUMNS),
    ]
    for name, own in found.items():
        cells = [_cell(own.get(key)) for _, key in _COLUMNS]
        lines.append(f"| {METHODS[name][0]} | {' | '.join(cells)} |")
    return lines


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def verdicts(found: dict[str, dict[str, float]]) -> list[str]:
    """Whether what the paper says of PIDM and PoCoLD holds in this run."""
    lines = []
    for name in ("literal", "exact", "distilled"):
        if name not in found or "pidm" not in found:
            continue
        for claim, key in (("time", "picture"), ("memory", "drawing MB")):
            if key not in found[name]:
                continue
            ratio, aim = found["pidm"][key] / found[name][key], PAPER[claim]
            holds = "holds" if ratio >= aim else "does not hold"
            lines.append(f"PIDM needs {ratio:.2f}x the {claim} of {METHODS[name][0]} (paper: {aim:g}x): {holds} here")
    return lines
