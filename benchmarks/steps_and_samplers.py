"""Quality against denoising steps, for each sampler: a table, and a plot as SVG.

    python -m benchmarks.steps_and_samplers MODEL DATA --limit 48 --plot docs/images/steps.svg

DATA is a data set as ``pocold evaluate`` takes it; held-out pairs are drawn and measured under the protocol ``ours``
with the model's own guidance scales. Seconds are CPU seconds of this process per picture, all samplers alike.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.measure import machine
from benchmarks.plotting import line_plot
from pocold.data.opening import open_data
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation.baselines import ModelPainter
from pocold.evaluation.evaluate import EvaluationConfig, evaluate
from pocold.imaging.files import atomic_write
from pocold.pipeline import PoseTransferPipeline

STEPS = (4, 8, 12, 20, 50)
SAMPLERS = ("ddim", "dpm++", "unipc")


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
        svg = line_plot(
            curves, range(len(STEPS)), [str(steps) for steps in STEPS], "denoising steps; st_lpips, lower is better"
        )
        with atomic_write(options.plot) as temporary:
            temporary.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
