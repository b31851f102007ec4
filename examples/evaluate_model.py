"""A model and the copied photograph under one protocol, side by side.

    pocold synth --out people
    python examples/evaluate_model.py people --limit 16 --output report

Distances between sets of pictures (FID) need many pairs and are left out here; `pocold evaluate` has them.
"""

import argparse
from pathlib import Path

from pocold import PoseTransferPipeline
from pocold.data.opening import open_data
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation.baselines import CopySource, ModelPainter, Painter
from pocold.evaluation.evaluate import EvaluationConfig, evaluate
from pocold.evaluation.report import compare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of people with a test split")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, help="the model's own number if not given")
    parser.add_argument("--limit", type=int, default=16, help="at most this many pairs")
    parser.add_argument("--output", type=Path, default=Path("report"))
    arguments = parser.parse_args()

    if arguments.model:
        pipeline = PoseTransferPipeline.from_pretrained(arguments.model)
    else:
        pipeline = PoseTransferPipeline.from_bundled()
    painters: dict[str, Painter] = {
        "model": ModelPainter(pipeline, DrawSettings(steps=arguments.steps)),
        "copy": CopySource(pipeline.native_size),
    }
    without = ("fid", "lpips", "st_lpips", "fd_stlpips")
    config = EvaluationConfig(limit=arguments.limit, without=without, device=str(pipeline.device))
    data = open_data(arguments.data, "test")
    reports = {
        name: evaluate(painter, data, arguments.output / name, config, name=name) for name, painter in painters.items()
    }
    table, warnings = compare(reports)
    print(table, *warnings, sep="\n")


if __name__ == "__main__":
    main()
