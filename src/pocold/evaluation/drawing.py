"""Drawing what is missing: one PNG per pair, in any number of processes, resumable after any stop.

Pairs are grouped into the same batches however many processes there are, and a batch that was interrupted is drawn
again as a whole: some kernels round differently in batches of other sizes, and a picture must not depend on that.
"""

import json
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from PIL import Image

from pocold.data.contents import require_same
from pocold.data.pairs import View
from pocold.data.pictures import Pair
from pocold.devices import peak_memory
from pocold.evaluation.baselines import Painter
from pocold.evaluation.processes import Processes
from pocold.evaluation.selection import Selection
from pocold.imaging.files import atomic_write, read_json
from pocold.imaging.images import FrameMode
from pocold.imaging.metadata import write_png

SETTINGS = "settings.json"
_LONGEST_NAME = 200  # of the 255 bytes that file systems allow


def picture_name(pair: Pair) -> str:
    """The file name of a pair's picture: ``SOURCE_2_TARGET.png``, with a checksum instead of what would be too long."""
    name = "_2_".join(quote(part, safe=" ,;=+@()[]{}!&'~") for part in pair)
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{zlib.crc32(name.encode()):08x}"
    return f"{name}.png"


def check_names(pairs: Sequence[Pair]) -> None:
    """Raise a ValueError if two pairs would have one file name (``a_2_b`` from ``c``, and ``a`` from ``b_2_c``)."""
    names: dict[str, Pair] = {}
    for pair in pairs:
        other = names.setdefault(picture_name(pair), pair)
        if other != pair:
            raise ValueError(f"the pictures of {pair} and {other} would have the same file name; rename one")


@dataclass(frozen=True)
class DrawingCost:
    """What one process spent.

    Attributes:
        pictures: drawn now, not before.
        seconds: of the painter alone, without reading and writing files.
        peak_bytes: the most memory it held: of the GPU where it drew on one, else resident memory; None where the
            system does not tell.
    """

    pictures: int
    seconds: float
    peak_bytes: int | None


def hold_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write what decides the pictures beside them, or check that those already there were drawn with the same.

    Raises:
        ValueError: if the folder holds pictures of another run, naming what differs.
    """
    path = folder / SETTINGS
    if path.exists():
        what = f"{folder} holds pictures of another run"
        require_same(read_json(path), settings, what, "choose another folder, or remove it")
        return
    if any(folder.glob("*.png")):
        raise ValueError(f"{folder} holds pictures, but no {SETTINGS}: they are of no known run; choose another folder")
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def draw_missing(
    selection: Selection,
    painter: Painter,
    folder: Path,
    size: tuple[int, int] | None,
    frame: FrameMode,
    batch_size: int,
    processes: Processes,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> DrawingCost:
    """Draw this process's share of the pictures that are not there yet.

    Args:
        selection: the pairs.
        painter: who draws.
        folder: where the pictures go.
        size, frame: to which, and how, photographs and maps are framed before; None keeps the data's size.
        batch_size: pairs drawn at once.
        processes: this one among all.
        device: where the painter works, for the measurement of its cost.
        progress: called with (pairs done or found done, pairs) of this process.

    Raises:
        ValueError: if a picture cannot be read or drawn. What was drawn stays, and the same call continues.
    """
    check_names(selection.pairs)
    batches = [selection.pairs[i : i + batch_size] for i in range(0, len(selection.pairs), batch_size)]
    share = batches[processes.rank :: processes.count]
    total, done, pictures, seconds = sum(map(len, share)), 0, 0, 0.0
    notes = painter.settings() if painter.synthetic else None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for batch in share:
        if not all((folder / picture_name(pair)).is_file() for pair in batch):
            views = {pair: found for pair in batch if (found := selection.views(pair)) is not None}
            start = time.perf_counter()
            drawn = _paint(painter, list(views.values()), size, frame)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds += time.perf_counter() - start
            pictures += len(drawn)
            for pair, picture in zip(views, drawn, strict=True):
                _write(picture, folder / picture_name(pair), pair, notes)
        done += len(batch)
        if progress is not None:
            progress(done, total)
    return DrawingCost(pictures, seconds, peak_memory(device))


def _paint(
    painter: Painter, pairs: list[tuple[View, View]], size: tuple[int, int] | None, frame: FrameMode
) -> list[Image.Image]:
    """All at once if they are to have one size, else one by one."""
    sizes = [size or target.size for _, target in pairs]
    if len(set(sizes)) <= 1:
        return painter(pairs, sizes[0], frame) if pairs else []
    return [painter([pair], own, frame)[0] for pair, own in zip(pairs, sizes, strict=True)]


def _write(picture: Image.Image, path: Path, pair: Pair, notes: dict[str, Any] | None) -> None:
    """``notes`` mark a synthetic picture; a photograph has none."""
    if notes is not None:
        write_png(picture, path, {"source": pair[0], "target": pair[1], **notes})
        return
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")
