"""A sheet of the best, the median and the worst pictures: what a mean hides."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pocold.data.pictures import Pair
from pocold.densepose.maps import DensePose
from pocold.evaluation.drawing import picture_name
from pocold.evaluation.report import higher_is_better
from pocold.evaluation.selection import Selection
from pocold.imaging.images import Frame, load_image
from pocold.imaging.metadata import write_png

_PREFERRED = ("st_lpips", "lpips", "lpips_unit_range", "ssim_gaussian_1.5", "ssim_gaussian_1.2")
_EACH = 3  # cases of each kind
_TILE = (192, 132)
_GAP, _CAPTION = 6, 16


def ranking_metric(rows: Mapping[Pair, Mapping[str, float]]) -> str:
    """The metric by which pictures are ordered: the first there is of a learned distance, then SSIM."""
    there = set.intersection(*(set(row) for row in rows.values()))
    return next(name for name in (*_PREFERRED, "l1") if name in there)


def choose_cases(rows: Mapping[Pair, Mapping[str, float]], metric: str, each: int = _EACH) -> dict[str, list[Pair]]:
    """``best``, ``median`` and ``worst`` pairs by a metric; no pair occurs twice."""
    order = sorted(rows, key=lambda pair: (rows[pair][metric], pair), reverse=higher_is_better(metric))
    each = max(1, min(each, len(order) // 3))
    middle = (len(order) - each) // 2
    cases = {"best": order[:each], "median": order[middle : middle + each], "worst": order[-each:]}
    seen: set[Pair] = set()
    for name, pairs in cases.items():
        cases[name] = [pair for pair in pairs if pair not in seen]
        seen |= set(pairs)
    return cases


def write_sheet(
    selection: Selection, folder: Path, rows: Mapping[Pair, Mapping[str, float]], path: Path, title: str
) -> None:
    """Draw the cases, one per row: photograph, pose, truth, drawn picture.

    Args:
        selection: the pairs.
        folder: of the drawn pictures.
        rows: metrics of each pair.
        path: a ``.png``.
        title: written above.
    """
    metric = ranking_metric(rows)
    lines: list[tuple[str, list[Image.Image]]] = []
    for kind, pairs in choose_cases(rows, metric).items():
        for pair in pairs:
            views = selection.views(pair)
            if views is not None:
                pose = DensePose(views[1].labels).to_image()
                drawn = load_image(folder / picture_name(pair), "the drawn picture")
                caption = f"{kind}: {metric} {rows[pair][metric]:.4f}  {pair[0]} -> {pair[1]}"
                lines.append((caption, [views[0].photo, pose, views[1].photo, drawn]))
    write_png(_sheet(title, lines), path, {"picture": "best, median and worst cases", "ordered by": metric})


def _sheet(title: str, lines: Sequence[tuple[str, list[Image.Image]]]) -> Image.Image:
    height, width = _TILE
    row = height + _CAPTION + _GAP
    sheet = Image.new("RGB", (4 * (width + _GAP) + _GAP, len(lines) * row + _CAPTION + 2 * _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP // 2), f"{title}  (photograph, pose, truth, drawn)", fill="black", font_size=12)
    for i, (caption, pictures) in enumerate(lines):
        top = _CAPTION + _GAP + i * row
        pen.text((_GAP, top), caption, fill="black", font_size=10)
        for j, picture in enumerate(pictures):
            framed = Frame(picture.size[::-1], _TILE).image(picture)
            sheet.paste(Image.fromarray(np.asarray(framed)), (_GAP + j * (width + _GAP), top + _CAPTION))
    return sheet
