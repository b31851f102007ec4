"""One GPU: pictures a second by batch size, engine and precision, and the share of its peak.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --models toy --sizes 64x48 --batch-sizes 1 2 --steps 2 --rounds 1

Through the public pipeline: one appearance code, a batch of poses in, tensors out. Each row is warmed up first, so that
what is compiled or captured (CUDA graphs, with engine compile) is ready. The peak is that of a square matrix product in
the same precision, measured in the same run; floating-point operations are counted by torch.
"""

import argparse
import time
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.end_to_end import VIEWS, build
from pocold.devices import PRECISIONS, choose_device, peak_memory, wait_for
from pocold.people.body.camera import parse_size
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person
from pocold.pipeline import PoseTransferPipeline


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int, rounds: int = 10) -> float:
    """TFLOP/s of a square matrix product."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(rounds + 1):
        wait_for(device)
        start = time.perf_counter()
        a @ b
        wait_for(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / median(seconds[1:]) / 1e12


def measure(pipeline: PoseTransferPipeline, size: tuple[int, int], batch: int, steps: int | None, rounds: int) -> str:
    """One row: seconds for a batch, pictures a second, TFLOP/s, memory."""
    device = pipeline.device
    shots = [Shot(parse_pose("relaxed").pose, 0.0), *(Shot(parse_pose("walk").pose, view) for view in VIEWS)]
    source, *targets = random_person(1, 1).draw(shots, size)
    code = pipeline.encode_appearance(source.image, source_pose=source.densepose, height=size[0], width=size[1])
    poses = [targets[i % len(targets)].densepose for i in range(batch)]

    def draw() -> None:
        pipeline(
            code, poses, height=size[0], width=size[1], batch_size=batch, num_inference_steps=steps,
            generator=torch.Generator().manual_seed(0), guidance_floor=None, output_type="pt",
        )  # fmt: skip
        wait_for(device)

    draw()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        draw()
        seconds.append(time.perf_counter() - start)
    memory = (peak_memory(device) or 0) / 1e6
    pipeline.optimize("torch", pipeline.unet.dtype)  # the counter sees nothing inside what is compiled
    with FlopCounterMode(display=False) as counter:
        draw()
    rate = counter.get_total_flops() / median(seconds) / 1e12
    middle = f"{median(seconds):.3f} ({min(seconds):.3f}-{max(seconds):.3f})"
    return f"{middle} | {batch / median(seconds):.2f} | {rate:.3f} | {memory:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=["bundled", "base"], help="bundled, or presets: base, toy")
    parser.add_argument("--sizes", nargs="+", default=["256x176", "512x352"], metavar="HEIGHTxWIDTH")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--engines", nargs="+", default=["torch", "compile"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=PRECISIONS)
    parser.add_argument("--steps", type=int, default=None, help="the model's own if not given")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{where}, torch {torch.__version__}")
    for precision in arguments.precisions:
        peak = matrix_peak(device, PRECISIONS[precision], 8192 if device.type == "cuda" else 512)
        print(f"matrix product, {precision}: {peak:.2f} TFLOP/s")
    print("| model, size | engine, precision | batch | s for a batch | pictures a second | TFLOP/s | memory MB |")
    print("| --- | --- | ---: | --- | ---: | ---: | ---: |")
    for model in arguments.models:
        for size in arguments.sizes:
            for engine in arguments.engines:
                for precision in arguments.precisions:
                    for batch in arguments.batch_sizes:
                        pipeline = build(model, "exact").to(device)
                        pipeline.optimize(engine, PRECISIONS[precision])
                        measured = measure(pipeline, parse_size(size), batch, arguments.steps, arguments.rounds)
                        print(f"| {model}, {size} | {engine}, {precision} | {batch} | {measured} |", flush=True)


if __name__ == "__main__":
    main()
