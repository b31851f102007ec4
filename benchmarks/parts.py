"""What the parts of a pipeline with a refiner are worth, and where: on what the photograph shows and what it does not.

    python -m benchmarks.parts DATA --limit 300

Held-out pairs of DATA (as ``pocold evaluate`` takes it; U and V are needed), evenly spread, with exact maps. Every row
is of the same pairs and the same noise:

    completed        the photograph completed on the body as the refiner is given it, no network
    diffusion        what the diffusion model draws, enlarged, without the refiner
    not completed    the refiner, given what was drawn in place of the completed photograph
    N evaluations    the whole pipeline with so many denoising steps

L1 of pixels in [0, 1], over the whole picture and over three parts of it: of the body what the completion is sure of
(confidence above 0.5), of the body what it is not sure of (unseen sides), and what lies beside the body.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import machine
from pocold.data.repairs import sample_of
from pocold.models.perceptual import load_st_lpips
from pocold.models.refiner import Refiner, load_refiner
from pocold.training.config import DataConfig
from pocold.training.loader import open_validation_data
from pocold.training.refiner_config import RepairConfig
from pocold.training.repairs import Drawer, repair_batches
from pocold.training.validation import picture_metrics

COLUMNS = ("l1", "psnr", "ssim", "st_lpips", "seen", "unseen", "beside")


def batches(data: Path, model: Path, refiner: Refiner, steps: int, limit: int) -> Iterator[dict[str, Tensor]]:
    """Held-out pairs, completed and drawn: see :class:`pocold.data.repairs.RepairPairs`, with an axis in front."""
    config = DataConfig(path=str(data), workers=0)
    how = RepairConfig(
        count=limit, pipeline=str(model), steps=steps, backdrop_share=0.0, enlarges=refiner.config.enlarges,
        relit=refiner.config.relit,
    )  # fmt: skip
    drawer = Drawer(how, torch.device("cpu"))
    for rows in repair_batches(open_validation_data(config, uv=True), config, how, drawer, limit, seed=0):
        yield sample_of(rows)


def regions(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Where the body is seen, where it is not, and where there is none: booleans ``(B, 1, H, W)``."""
    body = (batch["labels"] > 0)[:, None]
    sure = batch["confidence"] > 0.5
    return {"seen": body & sure, "unseen": body & ~sure, "beside": ~body}


class Table:
    """Sums over pictures, and for the parts over their pixels, so that a picture with few of them counts little."""

    def __init__(self) -> None:
        self.distance = load_st_lpips("alex")
        self.sums: dict[str, dict[str, float]] = {}
        self.counts: dict[str, dict[str, float]] = {}

    @torch.no_grad()
    def add(self, row: str, pictures: Tensor, batch: Mapping[str, Tensor]) -> None:
        sums, counts = (kind.setdefault(row, dict.fromkeys(COLUMNS, 0.0)) for kind in (self.sums, self.counts))
        for name, values in picture_metrics(pictures, batch["target"], self.distance).items():
            sums[name] += float(values.sum())
            counts[name] += len(values)
        errors = (pictures - batch["target"]).abs().mean(1, keepdim=True) / 2
        for name, where in regions(batch).items():
            sums[name] += float(errors[where].sum())
            counts[name] += int(where.sum())

    def print(self) -> None:
        print(f"{machine()}\n\n| | L1 | PSNR | SSIM | st_lpips | L1 seen | L1 unseen | L1 beside the body |")
        print("| --- |" + " ---: |" * len(COLUMNS))
        for row, sums in self.sums.items():
            means = {name: sums[name] / max(self.counts[row][name], 1) for name in COLUMNS}
            cells = [f"{means[name]:.2f}" if name == "psnr" else f"{means[name]:.4f}" for name in COLUMNS]
            print(f"| {row} | {' | '.join(cells)} |")
        total = sum(self.counts["completed"][name] for name in ("seen", "unseen", "beside"))
        shares = (f"{name} {self.counts['completed'][name] / total:.1%}" for name in ("seen", "unseen", "beside"))
        print(f"\nPixels: {', '.join(shares)}; {self.counts['completed']['l1']:.0f} pairs.")


def repaired(refiner: Refiner, batch: Mapping[str, Tensor], completed: Tensor, confidence: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = refiner(batch["drawn"], completed, confidence, batch["labels"], batch["uv"])
    return result.clamp(-1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=Path("src/pocold/weights"), help="a pipeline with a refiner")
    parser.add_argument("--steps", nargs="+", type=int, default=[4, 8, 2, 1], help="the first for the rows of parts")
    parser.add_argument("--limit", type=int, default=300)
    options = parser.parse_args()
    refiner = load_refiner(options.model / "refiner")
    table = Table()
    for steps in options.steps:
        for batch in batches(options.data, options.model, refiner, steps, options.limit):
            if steps == options.steps[0]:
                table.add("completed", batch["completed"], batch)
                table.add("diffusion", batch["drawn"], batch)
                hidden = repaired(refiner, batch, batch["drawn"], torch.zeros_like(batch["confidence"]))
                table.add("not completed", hidden, batch)
            table.add(f"{steps} evaluations", repaired(refiner, batch, batch["completed"], batch["confidence"]), batch)
    table.print()


if __name__ == "__main__":
    main()
