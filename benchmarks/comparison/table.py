"""Evaluates what ``train`` has left, as ``pocold evaluate`` does, and prints the tables: mean and deviation over seeds.

A variant without a finished run is named, and is in no table. A claim that does not hold is printed as such.
"""

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.comparison.runs import add_shared_arguments, is_done, run_folder, settings_of
from benchmarks.comparison.variants import CLAIMS, COMPARISONS, METHODS, VARIANTS, Settings
from pocold.data.opening import open_data
from pocold.data.pairs import PairedTransform
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation.baselines import CopySource, ModelPainter, Painter, RoundTrip, WarpSource
from pocold.evaluation.drawing import picture_name
from pocold.evaluation.evaluate import EvaluationConfig, evaluate
from pocold.evaluation.report import higher_is_better
from pocold.evaluation.selection import Selection, evenly
from pocold.evaluation.trained_baselines import baseline_painter
from pocold.imaging.images import load_image
from pocold.imaging.metadata import write_png
from pocold.imaging.sheets import sheet_of_rows
from pocold.models.autoencoder import load_autoencoder
from pocold.models.baselines.loading import load_baseline
from pocold.pipeline import PoseTransferPipeline

NAME = "table"
COLUMNS = ("st_lpips", "fd_stlpips", "ssim_gaussian_1.5", "psnr", "colour_top", "colour_trousers")
JUDGED_BY = "st_lpips"
_SHOWN = 6  # pairs on a sheet
_CLEAR = 2.0  # a difference counts from so many of its standard errors
Values = dict[str, float]  # metric by name, of one run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared_arguments(parser)
    parser.add_argument("--limit", type=int, default=48, help="pairs that are evaluated")
    parser.add_argument("--real-limit", type=int, default=500, help="real pictures that Frechet distances compare with")
    parser.add_argument("--sheet", type=Path, help="also draw the methods' pictures of some pairs side by side, a PNG")
    parser.add_argument("--without", nargs="*", default=[], help="metrics, as pocold evaluate has them")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate what is not evaluated yet, and print."""
    settings = settings_of(arguments)
    for title, group in (("Methods", METHODS), ("Claims, one change at a time", CLAIMS)):
        names = [name for name in group if name in arguments.only]
        found = {name: _of_seeds(arguments, settings, name) for name in names}
        missing = [name for name, values in found.items() if not values]
        found = {name: values for name, values in found.items() if values}
        lines = [f"## {title}", ""]
        if missing:
            lines += [f"Not trained to the end: {', '.join(missing)}.", ""]
        if found:
            references = _references(arguments, settings) if group is METHODS else {}
            whats = {name: VARIANTS[name].what for name in found}
            lines += [*markdown({**references, **found}, whats), ""]
            if group is CLAIMS:
                lines += [verdict(*claim, found) for claim in COMPARISONS if {claim[1], claim[2]} <= found.keys()]
        print("\n".join(lines), flush=True)
        if arguments.sheet is not None and group is METHODS and found:
            write_sheet(arguments, list(found), arguments.sheet)
            print(arguments.sheet, flush=True)


def write_sheet(arguments: argparse.Namespace, names: Sequence[str], path: Path) -> None:
    """Draw source, truth, and what each method made of some pairs; of the first seed whose run is finished."""
    selection = Selection(open_data(arguments.data, "test"), arguments.limit)
    seeds = {name: next(seed for seed in arguments.seeds if is_done(arguments, name, seed)) for name in names}
    rows = []
    for pair in evenly(selection.pairs, _SHOWN):
        views = selection.views(pair)
        if views is None:
            continue
        row = [view.photo for view in views]
        for name, seed in seeds.items():
            drawn = run_folder(arguments, name, seed) / "evaluation" / "pictures" / picture_name(pair)
            row.append(load_image(drawn, "the drawn picture"))
        rows.append(row)
    write_png(sheet_of_rows(rows, ["source", "truth", *seeds]), path, {"picture": "methods side by side"})


def _of_seeds(arguments: argparse.Namespace, settings: Settings, name: str) -> list[Values]:
    """The metrics of each finished run of a variant."""
    variant, found = VARIANTS[name], []
    for seed in arguments.seeds:
        if not is_done(arguments, name, seed):
            continue
        folder = run_folder(arguments, name, seed)
        with variant.context():
            painter = _painter(folder / variant.folder, variant.kind)
            found.append(_evaluated(arguments, painter, variant.data(settings), folder / "evaluation", variant.kind))
    return found


def _painter(folder: Path, kind: str) -> Painter:
    if kind != "pocold":
        return baseline_painter(load_baseline(folder, torch.float32))
    return ModelPainter(
        PoseTransferPipeline.from_pretrained(folder, dtype=torch.float32), DrawSettings(guidance_floor=None)
    )


def _references(arguments: argparse.Namespace, settings: Settings) -> dict[str, list[Values]]:
    """Copy and warp, which any method must beat, and the autoencoder's round trip of the truth."""
    painters: dict[str, Painter] = {
        "copy": CopySource(),
        "warp": WarpSource(),
        "ceiling": RoundTrip(load_autoencoder(settings.vae, torch.float32)),
    }
    return {
        name: [_evaluated(arguments, painter, settings.data, arguments.out / "references" / name, "pocold")]
        for name, painter in painters.items()
    }


def _evaluated(arguments: argparse.Namespace, painter: Painter, data: Path, out: Path, kind: str) -> Values:
    """Metric by name, from the evaluation in a folder, which goes on where it stopped."""
    transform = PairedTransform(keypoints=kind != "pocold")
    config = EvaluationConfig(limit=arguments.limit, real_limit=arguments.real_limit, without=tuple(arguments.without))
    report = evaluate(
        painter, open_data(data, "test", transform=transform), out, config,
        real=lambda: open_data(data, "train"), name=out.parent.name, real_kept=arguments.out / "references" / "real",
    )  # fmt: skip
    return {name: float(entry["value"]) for name, entry in report["metrics"].items()}


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and the deviation of a sample; None of a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def markdown(found: Mapping[str, Sequence[Values]], whats: Mapping[str, str]) -> list[str]:
    """A table: a row per variant, mean ± deviation over its runs."""
    columns = [name for name in COLUMNS if any(name in values for runs in found.values() for values in runs)]
    titles = [f"{name} {'↑' if higher_is_better(name) else '↓'}" for name in columns]
    lines = [f"| | runs | {' | '.join(titles)} |", "| --- | ---: |" + " ---: |" * len(columns)]
    for name, runs in found.items():
        cells = []
        for column in columns:
            values = [values[column] for values in runs if column in values]
            if not values:
                cells.append("")
                continue
            mean, deviation = spread(values)
            digits = 2 if abs(mean) >= 5 else 4
            cells.append(f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}"))
        what = f"{name}: {whats[name]}" if name in whats else name
        lines.append(f"| {what} | {len(runs) if name in whats else ''} | {' | '.join(cells)} |")
    return lines


def verdict(claim: str, better: str, worse: str, found: Mapping[str, Sequence[Values]]) -> str:
    """Whether a claim holds, by the metric that judges."""
    good, bad = ([values[JUDGED_BY] for values in found[name] if JUDGED_BY in values] for name in (better, worse))
    if min(len(good), len(bad)) < 2:
        return f"- {claim}: not told with fewer than two runs of each ({JUDGED_BY})."
    (a, da), (b, db) = spread(good), spread(bad)
    assert da is not None
    assert db is not None
    error = math.sqrt(da**2 / len(good) + db**2 / len(bad))
    difference = a - b if higher_is_better(JUDGED_BY) else b - a
    told = f"{JUDGED_BY} {a:.4f} ± {da:.4f} ({better}) against {b:.4f} ± {db:.4f} ({worse})"
    if difference > _CLEAR * error:
        return f"- {claim}: **holds**; {told}."
    if difference < -_CLEAR * error:
        return f"- {claim}: **does not hold, the contrary does**; {told}."
    return f"- {claim}: **does not show**: the difference is within {_CLEAR:g} standard errors; {told}."
