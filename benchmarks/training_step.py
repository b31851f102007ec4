"""One training step of the preset ``base``: linear form against the literal one.

    python -m benchmarks.training_step

UNet, appearance encoder, noise loss and pose penalty, forward and backward, batch 2, no autoencoder, no optimizer.
CPU time; memory added at the peak beyond weights and gradients, each in a process of its own.
"""

import argparse
import contextlib
import json
import statistics
from collections.abc import Callable

import torch
from diffusers import DDPMScheduler

from benchmarks.attention import body_labels
from benchmarks.literal import literal_form
from benchmarks.measure import cpu_times, in_own_process, machine, peak_memory_added, show
from pocold.diffusion.losses import training_loss
from pocold.diffusion.schedulers import PUBLISHED_NOISE
from pocold.models.presets import build_models

SIZES = {"256x176": (32, 22), "512x352": (64, 44), "512x384": (64, 48)}
FORMS = ("literal", "linear", "no-penalty")


def step(size: tuple[int, int], form: str, batch: int = 2) -> Callable[[], tuple[float, float]]:
    """A training step in one of :data:`FORMS`; returns (noise loss, penalty)."""
    models = build_models("base")
    unet, encoder = models["unet"].train(), models["appearance_encoder"].train()
    generator = torch.Generator().manual_seed(0)
    latents, source, noise = (torch.randn(batch, 4, *size, generator=generator) for _ in range(3))
    labels = body_labels(batch, *size)
    scheduler = DDPMScheduler(**PUBLISHED_NOISE)
    for model in (unet, encoder):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)  # allocated and touched: not part of what a step adds

    def run() -> tuple[float, float]:
        with literal_form() if form == "literal" else contextlib.nullcontext():
            loss = training_loss(
                unet,
                encoder,
                scheduler,
                latents=latents,
                source_latents=source,
                labels=labels,
                source_labels=labels.flip(-2),
                penalty_weight=0.0 if form == "no-penalty" else 1.0,
                timesteps=torch.tensor([13, 777])[:batch],
                noise=noise,
            )
            loss.total.backward()
        return loss.noise.item(), loss.pose_penalty.item()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", nargs=2, metavar=("SIZE", "FORM"), help="print MB added by one step, then stop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        size, form = arguments.memory
        print(json.dumps(peak_memory_added(step(SIZES[size], form))))
        return

    print(machine())
    for size, latent in SIZES.items():
        aim = 5.0 if size == "512x384" else None
        runs = {form: step(latent, form) for form in FORMS}
        rounds = max(1, arguments.rounds - 2 * (size != "256x176"))
        times = cpu_times(runs, rounds)
        print(f"\n{size}, batch 2")
        show("time", times, "literal", "linear", aim)
        with_penalty, without = (statistics.median(times[form]) for form in ("linear", "no-penalty"))
        print(f"penalty on against off: {with_penalty / without:.2f}x the time (aim <= 1.25x)")
        added = {form: in_own_process("benchmarks.training_step", size, form) for form in FORMS}
        goal = "  aim 7x" if aim else ""
        print(
            "memory added (MB):",
            "  ".join(f"{form} {value:.0f}" for form, value in added.items()),
            f" {added['literal'] / added['linear']:.1f}x less{goal}",
        )
        (noise, penalty), (literal_noise, literal_penalty) = runs["linear"](), runs["literal"]()
        print(
            f"noise loss {noise:.6f} (literal {literal_noise:.6f}), "
            f"pose penalty {penalty:.8f} (literal {literal_penalty:.8f})"
        )


if __name__ == "__main__":
    main()
