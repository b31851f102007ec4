"""Quality against denoising steps, for each sampler: a table, and a plot as SVG.

    python -m benchmarks.steps_and_samplers MODEL DATA --limit 48 --plot docs/images/steps.svg

DATA is a data set as ``pocold evaluate`` takes it; held-out pairs are drawn and measured under the protocol ``ours``
with the model's own guidance scales. Seconds are CPU seconds of this process per picture, all samplers alike.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.measure import machine
from pocold.data.opening import open_data
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation.baselines import ModelPainter
from pocold.evaluation.evaluate import EvaluationConfig, evaluate
from pocold.imaging.files import atomic_write
from pocold.pipeline import PoseTransferPipeline

STEPS = (4, 8, 12, 20, 50)
SAMPLERS = ("ddim", "dpm++", "unipc")
Curves = Mapping[str, Sequence[float]]  # st_lpips of each sampler at each number of steps

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 300, 64, 90, 16, 44
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44")


def plot(curves: Curves, steps: Sequence[int]) -> str:
    """An SVG of the curves over evenly spaced steps."""
    values = [value for curve in curves.values() for value in curve]
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.01

    def x(i: int) -> float:
        return _LEFT + i * (_WIDTH - _LEFT - _RIGHT) / (len(steps) - 1)

    def y(value: float) -> float:
        share = (value - low + margin) / (high - low + 2 * margin)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for value in (low, (low + high) / 2, high):
        lines.append(f'<path d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3f}</text>')
    for i, count in enumerate(steps):
        lines.append(f'<text x="{x(i):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{count}</text>')
    lines.append(f'<text x="{x(0):.1f}" y="{_HEIGHT - 6}">denoising steps; st_lpips, lower is better</text>')
    taken: list[float] = []
    for (name, curve), colour in zip(curves.items(), _COLOURS, strict=False):
        points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(curve))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [
            f'<circle cx="{x(i):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>' for i, value in enumerate(curve)
        ]
        height = y(curve[-1]) + 4
        while any(abs(height - other) < 14 for other in taken):  # names do not lie on each other
            height -= 7
        taken.append(height)
        lines.append(f'<text x="{x(len(steps) - 1) + 10:.1f}" y="{height:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=48)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    pipeline = PoseTransferPipeline.from_pretrained(options.model, dtype=torch.float32)
    config = EvaluationConfig(limit=options.limit, without=("fd_stlpips",))
    print(f"{machine()}\n\n| sampler | steps | st_lpips ↓ | PSNR ↑ | CPU seconds per picture |")
    print("| --- | ---: | ---: | ---: | ---: |")
    curves: dict[str, list[float]] = {}
    for name in SAMPLERS:
        for steps in STEPS:
            painter = ModelPainter(pipeline, DrawSettings(steps, name))
            start = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                report = evaluate(painter, open_data(options.data, "test"), Path(folder), config)
            seconds = (time.process_time() - start) / options.limit
            distance, psnr = (report["metrics"][metric]["value"] for metric in ("st_lpips", "psnr"))
            curves.setdefault(name, []).append(distance)
            print(f"| {name} | {steps} | {distance:.4f} | {psnr:.2f} | {seconds:.2f} |", flush=True)
    if options.plot is not None:
        with atomic_write(options.plot) as temporary:
            temporary.write_text(plot(curves, STEPS), encoding="utf-8")


if __name__ == "__main__":
    main()
