"""Sampling with the preset ``base``: guided steps, whole pictures, many poses, half precision.

    python -m benchmarks.sampling

Compares with the literal form (``benchmarks/literal.py``) in the same run, random weights, CPU time.
"""

import argparse
import json
import statistics
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.attention import body_labels
from benchmarks.literal import guided_step
from benchmarks.measure import cpu_times, gemm_peak, in_own_process, machine, peak_memory_added, show
from pocold.densepose.encoding import one_hot
from pocold.diffusion.guidance import guide, pose_first
from pocold.diffusion.sampling import predict_branches
from pocold.diffusion.schedulers import make_scheduler
from pocold.models import autoencoder
from pocold.models.presets import build_models
from pocold.pipeline import PoseTransferPipeline

SIZES = {"256x176": (32, 22), "512x352": (64, 44)}
AIMS = {"256x176": (1.6, 2.0), "512x352": (2.1, 3.0)}


def steps(pipeline: PoseTransferPipeline, size: tuple[int, int]) -> dict[str, Callable[[], torch.Tensor]]:
    """One guided prediction in each form; the equal-scales ones compute two branches instead of three."""
    generator = torch.Generator().manual_seed(0)
    unet = pipeline.unet
    latents = torch.randn(1, 4, *size, generator=generator)
    source = torch.randn(1, 4, *size, generator=generator)
    pose = one_hot(body_labels(1, *size), size, unet.dtype)
    timestep = torch.tensor(501)
    with torch.no_grad():
        features = tuple(feature.to(unet.dtype) for feature in pipeline.appearance_encoder(source))
        code = unet.extract_appearance(features, fingerprint=torch.zeros(1))

    def ours(w_p: float, w_s: float) -> Callable[[], torch.Tensor]:
        @torch.no_grad()
        def run() -> torch.Tensor:
            weights = pose_first(w_p, w_s)
            return guide(predict_branches(unet, latents, timestep, pose, code, weights.needed), weights)

        return run

    def literal(w_p: float, w_s: float) -> Callable[[], torch.Tensor]:
        @torch.no_grad()
        def run() -> torch.Tensor:
            return guided_step(unet, latents, timestep, pose, features, w_p, w_s)

        return run

    return {
        "literal": literal(4.0, 6.0),
        "unequal": ours(4.0, 6.0),
        "literal-5-5": literal(5.0, 5.0),
        "equal": ours(5.0, 5.0),
    }


def whole_picture(pipeline: PoseTransferPipeline, size: str, rounds: int) -> None:
    """A picture at the published settings (51 evaluations of 50 PNDM steps, scales 5 and 5), put together from parts.

    Parts, because the literal form would take minutes per round; the pipeline adds nothing that can be measured.
    """
    height, width = (8 * side for side in SIZES[size])
    picture = torch.rand(1, 3, height, width) * 2 - 1
    latents = torch.randn(1, 4, *SIZES[size])
    with torch.no_grad():
        features = pipeline.appearance_encoder(latents)
        parts = {
            "encode": lambda: autoencoder.encode(pipeline.vae, picture),
            "decode": lambda: autoencoder.decode(pipeline.vae, latents),
            "features": lambda: pipeline.appearance_encoder(latents),
            "code": lambda: pipeline.unet.extract_appearance(features, fingerprint=torch.zeros(1)),
        }
        seconds = {name: statistics.median(values) for name, values in cpu_times(parts, max(1, rounds // 2)).items()}
    runs = steps(pipeline, SIZES[size])
    times = cpu_times({"literal": runs["literal-5-5"], "ours": runs["equal"]}, rounds)
    step = {name: statistics.median(values) for name, values in times.items()}
    vae = seconds["encode"] + seconds["decode"]
    literal = 51 * step["literal"] + vae + seconds["features"]
    ours = 51 * step["ours"] + vae + seconds["features"] + seconds["code"]
    aim = "  aim 2.2x" if size == "512x352" else ""
    print(f"{size}: literal {literal:.0f} s, ours {ours:.0f} s: {literal / ours:.2f}x{aim} (autoencoder {vae:.1f} s)")
    few = 12 * step["ours"] + vae + seconds["features"] + seconds["code"]
    print(f"{size}: ours with 12 evaluations {few:.0f} s: {literal / few:.1f}x (other pictures: opt-in)")


def many_poses(pipeline: PoseTransferPipeline, poses: int, evaluations: int, rounds: int) -> None:
    """One person in many poses: one code and batches, against a single call for each pose. 256x176."""
    size = SIZES["256x176"]
    labels = body_labels(1, *(8 * side for side in size))[0].numpy()
    photo = torch.rand(3, 8 * size[0], 8 * size[1])

    def draw(count: int, batch_size: int) -> None:
        pipeline(
            photo,
            [labels] * count,
            num_inference_steps=evaluations,
            guidance_floor=None,
            batch_size=batch_size,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        )

    def single() -> None:
        for _ in range(poses):
            draw(1, 1)

    def together(batch_size: int) -> Callable[[], None]:
        return lambda: draw(poses, batch_size)

    times = cpu_times({"single": single, "batch-1": together(1), "batch-4": together(4)}, rounds)
    show(f"{poses} poses, {evaluations} steps, code kept", times, "single", "batch-1")
    show(f"{poses} poses, {evaluations} steps, in batches of 4", times, "single", "batch-4")


def efficiency(pipeline: PoseTransferPipeline, size: str, dtype: torch.dtype) -> None:
    """The share of the machine's matrix-product peak that the UNet reaches, two branches."""
    run = steps(pipeline, SIZES[size])["equal"]
    with FlopCounterMode(display=False) as counter:
        run()
    seconds = statistics.median(cpu_times({"step": run}, 5)["step"])
    reached, peak = counter.get_total_flops() / seconds / 1e9, gemm_peak(dtype=dtype)
    print(f"{size} {dtype}: {reached:.0f} of {peak:.0f} GFLOP/s, {reached / peak:.0%} of the GEMM peak")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", nargs=2, metavar=("SIZE", "FORM"), help="print MB added by one step, then stop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = PoseTransferPipeline(**build_models("base"), scheduler=make_scheduler("pndm"))
    pipeline.set_progress_bar_config(disable=True)
    if arguments.memory:
        size, form = arguments.memory
        print(json.dumps(peak_memory_added(steps(pipeline, SIZES[size])[form])))
        return

    print(machine())
    print("\nguided step, fp32")
    for size, latent in SIZES.items():
        runs = steps(pipeline, latent)
        times = cpu_times(runs, arguments.rounds)
        show(f"{size}, scales 4 and 6 (3 branches)", times, "literal", "unequal", AIMS[size][0])
        show(f"{size}, scales 5 and 5 (2 branches)", times, "literal-5-5", "equal", AIMS[size][1])
        pairs = (("literal", "unequal"), ("literal-5-5", "equal"))
        print("  largest difference:", *(f"{float((runs[a]() - runs[b]()).abs().max()):.1e}" for a, b in pairs))
    print("\nmemory added by one step (MB)")
    for size in SIZES:
        added = {form: in_own_process("benchmarks.sampling", size, form) for form in ("literal", "unequal", "equal")}
        print(size, "  ".join(f"{form} {value:.0f}" for form, value in added.items()))
    print("\nwhole picture, 50 PNDM steps = 51 evaluations, autoencoder included, from measured parts")
    for size in SIZES:
        whole_picture(pipeline, size, arguments.rounds)
    print("\none person, many poses, 256x176")
    many_poses(pipeline, poses=4, evaluations=4, rounds=2)
    print("\nefficiency")
    for size in SIZES:
        efficiency(pipeline, size, torch.float32)
    print("\nbf16 weights against fp32, scales 5 and 5")
    half = PoseTransferPipeline(**build_models("base"), scheduler=make_scheduler("pndm"))
    torch.nn.Module.to(half.unet, torch.bfloat16)
    for size, latent in SIZES.items():
        runs = {"fp32": steps(pipeline, latent)["equal"], "bf16": steps(half, latent)["equal"]}
        show(size, cpu_times(runs, arguments.rounds), "fp32", "bf16")
        print(f"  largest difference: {float((runs['fp32']() - runs['bf16']()).abs().max()):.2f}")
        efficiency(half, size, torch.bfloat16)


if __name__ == "__main__":
    main()
