"""One evaluation from pairs to a report: draw what is missing, measure, write (docs/evaluation.md)."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pocold.data.pictures import PairDataset
from pocold.data.shards import ShardPairs
from pocold.evaluation.baselines import Painter
from pocold.evaluation.drawing import DrawingCost, draw_missing, hold_settings
from pocold.evaluation.measuring import Instruments, Measurements, WeightFiles, load_instruments, measure
from pocold.evaluation.processes import joined_processes
from pocold.evaluation.protocols import Protocol, Size, find_protocol
from pocold.evaluation.report import FORMAT, summary, versions, write_report
from pocold.evaluation.selection import RealPictures, Selection
from pocold.evaluation.sheet import write_sheet

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EvaluationConfig:
    """What is compared, of how much.

    Attributes:
        protocol: by name.
        size: (height, width): for ``ours`` the size to draw and compare at, for published protocols that of the
            comparison; None takes the model's, or the protocol's first.
        limit: at most this many pairs, evenly spread; the report says so.
        real_limit: likewise of the real pictures that Frechet distances compare with.
        batch_size: pictures drawn at once.
        without: families of metrics to leave out, see :data:`pocold.evaluation.measuring.FAMILIES`.
        weights: files of the metrics' networks.
        device: ``auto`` or as torch calls it.

    Raises:
        ValueError: for an unknown protocol or a batch size below 1.
    """

    protocol: str = "ours"
    size: Size | None = None
    limit: int | None = None
    real_limit: int | None = None
    batch_size: int = 4
    without: tuple[str, ...] = ()
    weights: WeightFiles = field(default_factory=WeightFiles)
    device: str = "auto"

    def __post_init__(self) -> None:
        find_protocol(self.protocol)
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")


def drawn_size(protocol: Protocol, native: Size | None, asked: Size | None) -> Size | None:
    """The size pictures are drawn in; None is that of each pair's own pictures."""
    if not protocol.sizes:
        return asked or native
    return native or asked or protocol.sizes[0]


def evaluate(
    painter: Painter,
    data: PairDataset | ShardPairs,
    out: Path,
    config: EvaluationConfig | None = None,
    *,
    real: Callable[[], PairDataset | ShardPairs | Path] | None = None,
    split: str = "test",
    pictures: Path | None = None,
    name: str = "model",
    estimator: Callable[[Tensor], Tensor] | None = None,
    real_kept: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Draw every pair's target, measure, and write ``report.json``, ``report.md``, ``sheet.png`` and ``pictures/``.

    Pictures that are there already, from a run that was stopped, are not drawn again. In processes started by
    ``torchrun`` each draws a share and the first measures: the numbers are the same for any number of processes.

    Args:
        painter: a model or a baseline; in every process the same.
        data: pairs, opened; its ``on_error`` decides what happens to broken files.
        out: folder for the results.
        config: what is compared.
        real: opens the real pictures of Frechet distances: a training split, or a folder. Called in the first process
            alone, and only if there is such a distance.
        split: of ``data``, for the report.
        pictures: where drawn pictures are kept, ``out/pictures`` by default; two protocols may share them.
        name: what to call the painter in the report.
        estimator: adds ``pose_consistency``: any callable from ``(1, 3, H, W)`` in [-1, 1] to labels ``(1, H, W)``.
        real_kept: folder where what Frechet distances need of the real pictures is kept, for other evaluations that
            compare with the same; see :class:`pocold.evaluation.real_moments.RealMoments`.
        progress: called in the first process with (what, done, all).

    Returns:
        The report, in every process.

    Raises:
        ValueError: for missing weights, broken files, a folder of another run, and whatever else keeps the numbers from
            being what they claim.
    """
    config = config or EvaluationConfig()
    protocol = find_protocol(config.protocol)
    drawn = drawn_size(protocol, painter.size, config.size)
    size = None if drawn is None else protocol.size(drawn, config.size)
    folder = pictures or out / "pictures"
    with joined_processes() as processes:
        device = processes.device(config.device)
        selection = Selection(data, config.limit)
        plan = _Plan(name, split, config, protocol, selection, drawn, size, device)
        tools = real_pictures = None
        with processes.together():
            if processes.first:
                # everything that can be wrong is told before the first picture is drawn
                tools = load_instruments(protocol, size, config.weights, config.without, device, estimator)
                if tools.frechet:
                    real_pictures = _open_real(real, config.real_limit, len(selection.pairs))
                folder.mkdir(parents=True, exist_ok=True)
                out.mkdir(parents=True, exist_ok=True)
                hold_settings(folder, plan.settings(painter))
        shown = progress if processes.first else None
        with processes.together():
            cost = draw_missing(
                selection, painter, folder, drawn, protocol.frame, config.batch_size, processes, device,
                _part(shown, "drawing"),
            )  # fmt: skip
        spent = processes.gather((cost, data.skipped))
        report: dict[str, Any] = {}
        with processes.together():
            if tools is not None:
                bar = _part(shown, "measuring")
                measured = measure(selection, folder, protocol, size, tools, real_pictures, bar, real_kept)
                report = plan.report(plan.settings(painter), tools, real_pictures, measured, spent)
                write_report(report, out)
                write_sheet(selection, folder, measured.rows, out / "sheet.png", f"{name}, protocol {protocol.name}")
        return processes.gather(report)[0]


@dataclass(frozen=True)
class _Plan:
    """What was decided before anything was drawn."""

    name: str
    split: str
    config: EvaluationConfig
    protocol: Protocol
    selection: Selection
    drawn: Size | None
    size: Size | None
    device: torch.device

    def settings(self, painter: Painter) -> dict[str, Any]:
        """All that decides the pictures."""
        return {
            **painter.settings(),
            "drawn size": self.drawn and list(self.drawn),
            "frame": self.protocol.frame,
            "batch size": self.config.batch_size,
            "device": self.device.type,
            "pairs": len(self.selection.pairs),
            "data": self.selection.checksum,
        }

    def report(
        self,
        settings: dict[str, Any],
        tools: Instruments,
        real: RealPictures | None,
        measured: Measurements,
        spent: Sequence[tuple[DrawingCost, dict[str, str]]],
    ) -> dict[str, Any]:
        """The report; ``spent`` is each process's cost and skipped pictures."""
        data, selection = self.selection.data, self.selection
        skipped = {name: reason for _, entries in spent for name, reason in entries.items()} | data.skipped
        return {
            "format": FORMAT,
            "name": self.name,
            "protocol": self.protocol.describe(self.size, self.drawn),
            "metrics": _summaries(tools.names, measured),
            "drawn size": self.drawn and list(self.drawn),
            "data": {
                "origin": data.origin,
                "split": self.split,
                "listed": selection.listed,
                "repeated": selection.repeated,
                "evaluated": len(measured.rows),
                "limit": self.config.limit,
                "checksum": selection.checksum,
                "skipped": skipped,
            },
            "real": _about_real(real, measured),
            "left out": list(self.config.without),
            "weights": tools.files,
            "settings": settings,
            "seed": settings.get("seed"),
            **_costs([cost for cost, _ in spent], self.device, self.config.batch_size),
            "versions": versions(),
            "notes": _notes(self.protocol, tools.names, measured),
        }


def _open_real(
    real: Callable[[], PairDataset | ShardPairs | Path] | None, limit: int | None, pairs: int
) -> RealPictures:
    hint = "name a folder with --real, or leave Frechet distances out with --without fid fd_stlpips"
    if pairs < 2:
        raise ValueError("Frechet distances need at least 2 pairs; leave them out with --without fid fd_stlpips")
    if real is None:
        raise ValueError(f"Frechet distances need real pictures: {hint}")
    try:
        return RealPictures(real(), limit)
    except ValueError as error:
        raise ValueError(f"the real pictures of Frechet distances: {error}; {hint}") from error


def _part(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)


def _summaries(names: Sequence[str], measured: Measurements) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        if name in measured.frechet:
            found[name] = {"value": measured.frechet[name], "count": measured.drawn}
        elif values := [row[name] for row in measured.rows.values() if name in row]:
            found[name] = summary(values)
    return found


def _about_real(real: RealPictures | None, measured: Measurements) -> dict[str, Any] | None:
    if real is None:
        return None
    return {
        "origin": real.where,
        "listed": real.listed,
        "pictures": measured.real,
        "checksum": real.checksum(),
        "skipped": real.skipped,
    }


def _costs(costs: Sequence[DrawingCost], device: torch.device, batch_size: int) -> dict[str, Any]:
    drawn = sum(cost.pictures for cost in costs)
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    gpu = device.type == "cuda"
    return {
        "time": {
            "seconds_per_image": sum(cost.seconds for cost in costs) / drawn if drawn else None,
            "drawn_now": drawn, "processes": len(costs), "threads": torch.get_num_threads(),
        },
        "memory": {
            "peak_bytes": max(peaks, default=None), "kind": "GPU memory" if gpu else "resident memory",
            "pictures at once": batch_size,
        },
        "hardware": torch.cuda.get_device_name(device) if gpu else f"CPU ({platform.machine()})",
    }  # fmt: skip


def _notes(protocol: Protocol, names: Sequence[str], measured: Measurements) -> list[str]:
    notes = [f"{protocol.name}: {protocol.about}", *protocol.notes]
    there = {*measured.frechet, *(name for row in measured.rows.values() for name in row)}
    notes += [f"{name}: no picture had anything to compare" for name in names if name not in there]
    widths = {"fd_stlpips": 832, "fid": 2048, "fid_torchvision": 2048}
    for name in names:
        fewest = min(measured.drawn, measured.real)
        if name in measured.frechet and fewest <= widths[name]:
            notes.append(
                f"{name} sees {widths[name]} features of {measured.drawn} drawn and {measured.real} real pictures: "
                "with so few it is biased upwards, and comparable between equal numbers only"
            )
    return notes
