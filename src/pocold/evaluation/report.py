"""Reports: the JSON file, its Markdown table, and tables that compare several."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pocold.imaging.files import atomic_write, read_json

FORMAT = "pocold-evaluation-2"  # the checksums of 1 saw eight pictures, and of real ones the names alone
HIGHER_IS_BETTER = ("psnr", "ssim", "pose_consistency")
_VERSIONS = ("pocold", "torch", "diffusers", "numpy", "pillow")
# Two reports may stand in one table only if these agree; what is told where they do not.
_MUST_AGREE = {
    "protocol": "the protocols differ",
    "data": "they saw other pairs",
    "real": "their Frechet distances have other real pictures",
    "weights": "their networks have other weights",
}


def higher_is_better(metric: str) -> bool:
    """Which way a metric points."""
    return metric.startswith(HIGHER_IS_BETTER)


def _arrow(metric: str) -> str:
    return "↑" if higher_is_better(metric) else "↓"


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation and count of a metric's values, JSON-serialisable; infinity is the text ``inf``."""
    count = len(values)
    mean = math.fsum(values) / count
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / count) if math.isfinite(mean) else math.inf
    return {"value": _number(mean), "count": count, "std": _number(spread)}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def versions() -> dict[str, str]:
    """Of everything that takes part in the numbers."""
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a folder of sources
            found[name] = "not installed"
    return found


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.json`` and ``report.md``."""
    texts = {
        "report.json": json.dumps(report, indent=2, allow_nan=False) + "\n",
        "report.md": markdown(report),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def read_report(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A report, from its file or its folder.

    Raises:
        ValueError: if it is missing, broken, or something else.
    """
    path = Path(path)
    report = read_json(path / "report.json" if path.is_dir() else path)
    if report.get("format") != FORMAT:
        raise ValueError(f"{path} is no report of this version of pocold evaluate ({FORMAT}); evaluate again")
    return report


def markdown(report: Mapping[str, Any]) -> str:
    """One report for people to read."""
    protocol, data, time = report["protocol"], report["data"], report["time"]
    lines = [
        f"# {report['name']}, protocol `{protocol['name']}`",
        "",
        "| metric | value | std | pictures |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, entry in report["metrics"].items():
        lines.append(
            f"| {name} {_arrow(name)} | {_shown(entry['value'])} | {_shown(entry.get('std'))} | {entry['count']} |"
        )
    lines += ["", f"Compared at {_size(protocol['size'])}; drawn at {_size(report['drawn size'])}."]
    of = "" if data["evaluated"] == data["listed"] else f" of {data['listed']} listed"
    lines.append(f"{data['evaluated']} pairs{of}, split {data['split']} of {data['origin']}.")
    if data["repeated"]:
        lines.append(f"{data['repeated']} pairs are listed more than once; they count once.")
    if data["limit"]:
        lines.append(
            f"**Only {data['limit']} pairs, evenly spread, were asked for: not the number of a whole test set.**"
        )
    if data["skipped"]:
        lines.append(f"**{len(data['skipped'])} pictures could not be used; the JSON file names them.**")
    if report["real"]:
        real = report["real"]
        of = "" if real["pictures"] == real["listed"] else f" of {real['listed']}"
        lines.append(f"Frechet distances compare with {real['pictures']}{of} real pictures: {real['origin']}.")
    if report["left out"]:
        lines.append(f"Left out on request: {', '.join(report['left out'])}.")
    if time["seconds_per_image"] is not None:
        lines.append(
            f"{time['seconds_per_image']:.3g} s per picture, of {time['drawn_now']} drawn in this run by "
            f"{time['processes']} process(es) on {report['hardware']}; peak memory {_mebibytes(report)}."
        )
    lines += ["", *(f"- {note}" for note in report["notes"])]
    lines += ["", "```json", json.dumps(report["settings"], indent=2), "```", ""]
    return "\n".join(lines)


def _size(size: Sequence[int] | None) -> str:
    return "each picture's own size" if size is None else f"{size[0]}x{size[1]} (height x width)"


def _mebibytes(report: Mapping[str, Any]) -> str:
    peak = report["memory"]["peak_bytes"]
    return "unknown" if peak is None else f"{peak / 2**20:.0f} MiB of {report['memory']['kind']}"


def _shown(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.3f}"


_LAST_HEADS = " | pictures | protocol |"


def compare(reports: Mapping[str, Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Several reports as one Markdown table, and warnings where they must not be compared.

    Args:
        reports: caption -> report.

    Returns:
        The table, with the warnings below it; and the warnings alone.

    Raises:
        ValueError: for fewer than two reports.
    """
    if len(reports) < 2:
        raise ValueError(f"a comparison needs at least two reports, got {len(reports)}")
    warnings = []
    (first_name, first), *others = reports.items()
    for name, report in others:
        for key, told in _MUST_AGREE.items():
            mine, theirs = _identity(first, key), _identity(report, key)
            if mine != theirs:
                warnings.append(f"{first_name} and {name} must not be compared: {told} ({_difference(mine, theirs)})")
    names = list(dict.fromkeys(metric for report in reports.values() for metric in report["metrics"]))
    heads = [f"{name} {_arrow(name)}" for name in names]
    lines = [
        f"| | {' | '.join(heads)}{_LAST_HEADS}",
        f"| --- |{' ---: |' * len(names)} ---: | --- |",
    ]
    for caption, report in reports.items():
        cells = [_shown(report["metrics"].get(name, {}).get("value")) for name in names]
        lines.append(
            f"| {caption} | {' | '.join(cells)} | {report['data']['evaluated']} | {report['protocol']['name']} |"
        )
    lines += ["", *(f"**Warning: {warning}**" for warning in warnings)] if warnings else []
    return "\n".join(lines) + "\n", warnings


def is_comparison(path: Path) -> bool:
    """Whether a file holds a table of :func:`compare`."""
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline().rstrip("\n")
    except (OSError, UnicodeDecodeError):
        return False
    return first.startswith("| | ") and first.endswith(_LAST_HEADS)


def _identity(report: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The part of a report that must agree, without what may differ (where folders lie)."""
    part = report[key] or {}
    kept = {"data": ("evaluated", "checksum"), "real": ("pictures", "checksum")}.get(key, tuple(part))
    return {name: part.get(name) for name in kept}


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    return "; ".join(f"{key}: {a.get(key)} and {b.get(key)}" for key in keys)
