"""The autoencoder of Stable Diffusion's size, encoding and decoding one picture: whole, in strips, in blended tiles.

    python -m benchmarks.autoencoders

Random weights, fp32, CPU seconds in interleaved rounds; memory added at the peak, each in a process of its own; the
largest difference from the whole form, in steps of 1/255.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from unittest import mock

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from benchmarks.measure import cpu_times, in_own_process, machine, peak_memory_added, show
from pocold.models import autoencoder, strips
from pocold.models.presets import build_models
from pocold.people.body.camera import parse_size

FORMS = ("whole", "strips", "tiles", "tiny")


def call(vae: autoencoder.Autoencoder, size: tuple[int, int], form: str, direction: str) -> Callable[[], Tensor]:
    """One picture through an autoencoder, in one direction and form."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, size[0] // 8, size[1] // 8, generator=generator)
    picture = torch.rand(1, 3, *size, generator=generator) * 2 - 1

    @torch.no_grad()
    def run() -> Tensor:
        context: AbstractContextManager[object] = nullcontext()
        if form == "whole":
            context = mock.patch.object(strips, "runs_in_strips", return_value=False)
        elif form == "tiles":
            vae.enable_tiling()
        try:
            with context:
                if direction == "decode":
                    return autoencoder.decode(vae, latents)
                return autoencoder.encode_moments(vae, picture)
        finally:
            if form == "tiles":
                vae.disable_tiling()

    return run


def build(form: str) -> autoencoder.Autoencoder:
    torch.manual_seed(0)
    if form == "tiny":
        return AutoencoderTiny().eval()
    vae = build_models("base")["vae"]
    vae.tile_sample_min_size, vae.tile_latent_min_size = 256, 32
    return vae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["256x176", "512x352"], metavar="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strip-mb", type=float, default=strips.STRIP_BYTES / 2**20)
    parser.add_argument("--memory", nargs=4, metavar=("SIZE", "FORM", "DIRECTION", "MB"), help="print MB, then stop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        size, form, direction, strip = arguments.memory
        strips.STRIP_BYTES = int(float(strip) * 2**20)
        print(json.dumps(peak_memory_added(call(build(form), parse_size(size), form, direction))))
        return
    strips.STRIP_BYTES = int(arguments.strip_mb * 2**20)
    print(machine())
    vaes = {form: build(form) for form in FORMS}
    for size in arguments.sizes:
        for direction in ("encode", "decode"):
            print(f"\n{direction} {size}, strips of {arguments.strip_mb:g} MiB")
            runs = {form: call(vaes[form], parse_size(size), form, direction) for form in FORMS}
            times = cpu_times(runs, arguments.rounds)
            whole = runs["whole"]()
            for form in FORMS[1:]:
                show(form, times, "whole", form)
                if direction == "decode" and form != "tiny":
                    steps = (runs[form]().clamp(-1, 1) - whole.clamp(-1, 1)).abs().max() * 127.5
                    print(f"  largest difference from whole: {float(steps):.2g} steps of 1/255")
            added = {
                form: in_own_process("benchmarks.autoencoders", size, form, direction, str(arguments.strip_mb))
                for form in FORMS
            }
            print("  MB added at the peak:", "  ".join(f"{form} {value:.0f}" for form, value in added.items()))


if __name__ == "__main__":
    main()
