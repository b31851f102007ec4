"""The bodies of ``pocold evaluate`` and ``pocold compare``. Heavy imports stay inside: ``--help`` needs no torch."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from pocold.diffusion.settings import DrawSettings
from pocold.usage import OUTPUT_ONCE_OUT, Precision

if TYPE_CHECKING:
    from pocold.evaluation.baselines import Painter
    from pocold.evaluation.protocols import Size

ProtocolName = Literal["ours", "pocold", "pidm", "cfld", "pcdms"]
LayoutName = Literal["auto", "folder", "deepfashion", "market1501", "shards"]
NO_MODEL = Path("none")


def evaluate(
    model: Positional[Path],
    data: Positional[Path],
    output: Annotated[Path, OUTPUT_ONCE_OUT],
    how: OmitArgPrefixes[DrawSettings],
    protocol: ProtocolName = "ours",
    baseline: Literal["copy", "warp", "completed", "autoencoder"] | None = None,
    limit: int | None = None,
    size: str | None = None,
    batch_size: int = 4,
    split: Literal["train", "test"] = "test",
    layout: LayoutName = "auto",
    maps: tuple[str, ...] = (),
    channels: Literal["auto", "iuv", "vui"] = "auto",
    pictures: str | None = None,
    lmdb_key: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    real: Path | None = None,
    real_limit: int | None = None,
    real_kept: Path | None = None,
    without: tuple[Literal["fid", "lpips", "st_lpips", "fd_stlpips"], ...] = (),
    st_lpips_weights: Path | None = None,
    inception_weights: Path | None = None,
    lpips_weights: Annotated[tuple[Path, Path] | None, tyro.conf.arg(metavar="ALEXNET LINEAR")] = None,
    poses: Literal["true", "estimated"] = "true",
    estimator: Path | None = None,
    drawn: Path | None = None,
    precision: Precision = "auto",
    device: str = "auto",
    json: bool = False,
) -> None:
    """Draw the pictures of a test split and measure them: a JSON report, a Markdown table, a sheet of pictures.

    A stopped run continues when the same command is given again. Under torchrun every process draws a share; the
    numbers do not depend on their number. What the protocols do: docs/evaluation.md.

    Args:
        model: Pipeline folder; or that of a trained PIDM or NTED. With --baseline copy, warp or completed it gives the
            size alone and may be the word none.
        data: The data set: a folder of people, DeepFashion, Market-1501, or shards.
        output: Folder for report.json, report.md, sheet.png and the pictures.
        protocol: Sizes, resizing and variants of the metrics.
        baseline: Instead of the model: copy the photograph, warp it by U and V, complete the warp on the body, or pass
            the truth through the model's autoencoder.
        limit: At most this many pairs, evenly spread over the split; the report says so.
        size: HEIGHTxWIDTH: for ours to draw and compare at, for published protocols to compare at.
        batch_size: Pictures drawn at once.
        split: Which pairs.
        layout: What the data set is; auto looks.
        maps: Where DensePose maps lie, such as "iuv/{path}.png"; known are {folder}, {stem}, {path}, {name}, {split}.
        channels: Where these maps have the label: iuv in the red channel, vui in the blue one.
        pictures: DeepFashion only: folder of the pictures or of an lmdb, such as 256-256.
        lmdb_key: DeepFashion only: key of a picture in the lmdb, "img/{path}.png" if not given.
        on_error: Stop at a missing or broken file, or leave its pairs out and list it in the report.
        real: Folder of the real pictures for FID; those of the data set's train split if not given.
        real_limit: At most this many of them, evenly spread; the report says so.
        real_kept: Folder where what FID needs of them is kept, so that other evaluations with the same need not look
            at them again.
        without: Metrics to leave out; the report says so.
        st_lpips_weights: alex_shift_tolerant.pth, if the package stlpips-pytorch is not installed.
        inception_weights: Inception v3 for FID, in the protocol's convention; or the variable POCOLD_FID_WEIGHTS. With
            ours it adds FID in the convention of pytorch-fid.
        lpips_weights: Two files for LPIPS: torchvision's AlexNet and the linear layers of lpips 0.1.
        poses: Draw from the maps of the data set, or from maps found in its photographs, source and target.
        estimator: Folder of the network that finds them; it also adds the metric pose_consistency. If not given,
            estimated poses are found by the bundled one.
        drawn: Where the drawn pictures are kept, OUTPUT/pictures if not given; two protocols may share them.
        precision: Of the networks that draw. auto is fp32 on a CPU and what the folder has on a GPU.
        device: Such as cpu or cuda; auto takes a GPU where there is one.
        json: Print the report as JSON.
    """
    from pocold.data.opening import open_data
    from pocold.data.pairs import PairedTransform
    from pocold.densepose.beside import Maps
    from pocold.evaluation.evaluate import EvaluationConfig
    from pocold.evaluation.evaluate import evaluate as run
    from pocold.evaluation.measuring import WeightFiles
    from pocold.evaluation.processes import Processes
    from pocold.evaluation.report import markdown
    from pocold.models.baselines.loading import is_baseline
    from pocold.people.body.camera import parse_size

    patterns = [Maps(pattern, channels) for pattern in maps]
    # what is drawn of keypoints is of these keypoints: they count for the checksum of the data
    transform = PairedTransform(keypoints=True) if baseline is None and is_baseline(model) else None
    opened = open_data(data, split, layout, transform, on_error, patterns, pictures, lmdb_key)
    asked = None if size is None else parse_size(size)
    painter = _painter(model, baseline, how, asked, precision, str(Processes().device(device)))
    finder = None
    if estimator is not None or poses == "estimated":
        from pocold.evaluation.estimated import EstimatedPoses, LabelFinder
        from pocold.models.densepose_estimator import open_estimator

        network = open_estimator(estimator).to(Processes().device(device))
        finder = LabelFinder(network)
        if poses == "estimated":
            painter = EstimatedPoses(painter, network)
    config = EvaluationConfig(
        protocol, asked, limit, real_limit, batch_size, without,
        WeightFiles(st_lpips_weights, inception_weights, lpips_weights or ()), device,
    )  # fmt: skip
    with _progress() as progress:
        report = run(
            painter,
            opened,
            output,
            config,
            real=lambda: real or open_data(data, "train", layout, None, on_error, patterns, pictures, lmdb_key),
            split=split,
            pictures=drawn,
            name=baseline or model.name,
            estimator=finder,
            real_kept=real_kept,
            progress=progress,
        )
    if os.environ.get("RANK", "0") == "0":
        print(dumps(report, indent=2) if json else markdown(report))
        print(f"{output}: report.json, report.md, sheet.png", file=sys.stderr if json else sys.stdout)


def _painter(
    model: Path, baseline: str | None, how: DrawSettings, asked: "Size | None", precision: Precision, device: str
) -> "Painter":
    """Who draws; ValueError if the model cannot be loaded."""
    import torch

    from pocold.devices import PRECISIONS
    from pocold.evaluation.baselines import CompleteSource, CopySource, ModelPainter, RoundTrip, WarpSource
    from pocold.evaluation.trained_baselines import baseline_painter
    from pocold.models.baselines.loading import is_baseline, load_baseline
    from pocold.pipeline import PoseTransferPipeline

    needs_no_model: dict[str, type[CopySource] | type[WarpSource]] = {
        "copy": CopySource,
        "warp": WarpSource,
        "completed": CompleteSource,
    }
    if model == NO_MODEL and baseline not in needs_no_model:
        raise ValueError(f"expected a pipeline folder; 'none' is for --baseline {', '.join(needs_no_model)}")
    dtype = PRECISIONS.get(precision)
    if precision == "auto" and device == "cpu":  # half precision is slower there, and less exact
        dtype = torch.float32
    if model != NO_MODEL and is_baseline(model):
        network = load_baseline(model, dtype).to(device)
        if baseline is None:
            return baseline_painter(network, how)
        if baseline not in needs_no_model:
            raise ValueError(f"{model} holds {type(network).__name__}, which draws pixels: it has no autoencoder")
        stated = network.config.sample_size
        return needs_no_model[baseline](asked if stated is None else (stated[0], stated[1]))
    pipeline = None if model == NO_MODEL else PoseTransferPipeline.from_pretrained(model, dtype=dtype).to(device)
    size = asked if pipeline is None else pipeline.native_size
    if baseline is not None and baseline in needs_no_model:
        return needs_no_model[baseline](size)
    assert pipeline is not None
    return RoundTrip(pipeline.vae, size) if baseline == "autoencoder" else ModelPainter(pipeline, how)


def compare(
    reports: Positional[tuple[Path, ...]],
    output: Annotated[Path | None, OUTPUT_ONCE_OUT] = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Print several reports as one table, with a warning where they must not be compared.

    Args:
        reports: Folders of pocold evaluate, or their report.json.
        output: Also write the table to this Markdown file. An existing one is replaced if it holds such a table.
        overwrite: Replace any file.
        json: Print the reports, by name, and the warnings as JSON instead.
    """
    from pocold.evaluation.report import compare as table_of
    from pocold.evaluation.report import is_comparison, read_report
    from pocold.imaging.files import atomic_write, check_replaceable

    if output is not None:
        check_replaceable([output], reports, overwrite, is_comparison)
    named: dict[str, dict[str, Any]] = {}
    for path in reports:
        again = sum(other == path for other in reports[: len(named)])  # one report twice is two columns, not one
        named[f"{path} ({again + 1})" if again else str(path)] = read_report(path)
    table, warnings = table_of(named)
    print(dumps({"reports": named, "warnings": warnings}, indent=2) + "\n" if json else table, end="")
    for warning in warnings:
        print(f"pocold: warning: {warning}", file=sys.stderr)
    if output is not None:
        with atomic_write(output) as temporary:
            temporary.write_text(table, encoding="utf-8")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Bars on stderr, one for each kind of work."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show
