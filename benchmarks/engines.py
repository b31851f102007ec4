"""Engines side by side: one guided evaluation of the UNet (batch 1) in each, in interleaved rounds.

    python -m benchmarks.engines
    python -m benchmarks.engines --models bundled --sizes 128x88 --engines torch bf16 openvino compile

Needs the extra openvino. Two branches, or one where guidance is distilled into the model, as into the bundled one.
Sizes are those of the picture that the UNet draws (a refiner enlarges afterwards). CPU seconds; what conversion or
compilation took at the first call is told as well, and the largest difference from torch in float32. Compiling takes
minutes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from benchmarks.attention import body_labels
from benchmarks.measure import cpu_times, machine, ratio
from pocold.densepose.encoding import one_hot
from pocold.diffusion.engines import Denoiser, OpenVINOUNet
from pocold.diffusion.guidance import guidance_formula
from pocold.diffusion.sampling import predict_branches
from pocold.models.presets import build_models
from pocold.models.unet import UNet
from pocold.pipeline import PoseTransferPipeline

ENGINES = ("torch", "channels_last", "bf16", "openvino", "openvino-bf16", "compile")


def denoiser(unet: UNet, engine: str) -> Denoiser:
    """A UNet in an engine. Compiled ones are frozen: inductor packs the weights."""
    if engine.startswith("openvino"):
        return OpenVINOUNet(unet, torch.bfloat16 if engine.endswith("bf16") else torch.float32)
    unet = deepcopy(unet)
    if engine == "channels_last":
        unet = unet.to(memory_format=torch.channels_last)
    if engine == "bf16":
        torch.nn.Module.to(unet, torch.bfloat16)
    if engine == "compile":
        from torch._inductor import config

        config.freezing = True
        unet.compile()
    return unet


def evaluation(model: str, size: tuple[int, int]) -> Callable[[str], Callable[[], Tensor]]:
    """Of an engine one guided evaluation, at equal scales."""
    if model == "bundled":
        pipeline = PoseTransferPipeline.from_bundled()
        unet, encoder = pipeline.unet, pipeline.appearance_encoder
    else:
        networks = build_models(model)
        unet, encoder = networks["unet"], networks["appearance_encoder"]
    channels = unet.config.latent_channels
    generator = torch.Generator().manual_seed(0)
    latents, source = (torch.randn(1, channels, *size, generator=generator) for _ in range(2))
    hint = torch.randn(1, channels + 1, *size, generator=generator) if unet.config.surface_hint else None
    pose = one_hot(body_labels(1, *size), size, torch.float32)
    with torch.no_grad():
        code = unet.extract_appearance(encoder(source), fingerprint=torch.zeros(1))
    distilled = bool(unet.config.guidance_embedding)
    scale = 3.0 if distilled else 5.0
    weights = guidance_formula("pose_first", distilled)(scale, scale)

    def of(engine: str) -> Callable[[], Tensor]:
        network = denoiser(unet, engine)
        seen, own = pose.to(network.dtype), code.to(dtype=network.dtype)
        shown = None if hint is None else hint.to(network.dtype)

        @torch.no_grad()
        def run() -> Tensor:
            predicted = predict_branches(
                network, latents, torch.tensor(501), seen, own, weights.needed, shown, weights.scales
            )
            return torch.cat([predicted[branch] for branch in weights.needed]).float()

        return run

    return of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["bundled", "base"], help="bundled, or presets: base, toy")
    parser.add_argument("--sizes", nargs="+", default=["128x88", "256x176"], metavar="HEIGHTxWIDTH")
    parser.add_argument("--engines", nargs="+", default=["torch", "channels_last", "openvino"], choices=ENGINES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine())
    print("| model, size | engine | CPU ms | against torch | first call, CPU s | largest difference |")
    print("| --- | --- | ---: | --- | ---: | ---: |")
    for model in arguments.models:
        for size in arguments.sizes:
            height, _, width = size.partition("x")
            of = evaluation(model, (int(height) // 8, int(width) // 8))
            runs = {engine: of(engine) for engine in dict.fromkeys(["torch", *arguments.engines])}
            first = {}
            for engine, run in runs.items():
                start = time.process_time()
                run()
                first[engine] = time.process_time() - start
            exact = runs["torch"]()
            wrong = {engine: float((run() - exact).abs().max()) for engine, run in runs.items()}
            times = cpu_times(runs, arguments.rounds)
            for engine in runs:
                middle, low, high = ratio(times, "torch", engine)
                print(
                    f"| {model}, {size} | {engine} | {1e3 * statistics.median(times[engine]):.1f} | {middle:.2f}x "
                    f"({low:.2f}-{high:.2f}) | {first[engine]:.1f} | {wrong[engine]:.1e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
