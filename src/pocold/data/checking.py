"""Look through a data set before training: counts, broken files, sizes, people in both splits, a sheet of pictures."""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pocold.data.pairs import View
from pocold.data.pictures import PairDataset
from pocold.data.shards import ShardPairs
from pocold.densepose.maps import DensePose
from pocold.imaging.files import atomic_write
from pocold.imaging.images import Frame

_TILE = (160, 110)  # height, width of a picture on the sheet
_SHOWN = 5  # examples of each kind of finding in the report


@dataclass
class SplitReport:
    """What one split holds.

    Attributes:
        pairs: that can be used.
        listed: named by a list, missing ones included; None for shards.
        people: who they are; without those of whom nothing can be used.
        pictures: that can be used.
        garments: how many of these have a garment map.
        sizes: (height, width) -> number of pictures.
        broken: name -> why the picture cannot be used.
        crossed: pairs that show two people.
        bare: names of pictures whose map is background all over.
        doubtful: name -> why its map can hardly be that of one body.
    """

    pairs: int = 0
    listed: int | None = None
    people: set[str] = field(default_factory=set)
    pictures: int = 0
    garments: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    broken: dict[str, str] = field(default_factory=dict)
    crossed: list[str] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)
    doubtful: dict[str, str] = field(default_factory=dict)


@dataclass
class DataReport:
    """What a data set holds, by split; :meth:`text` says it in lines."""

    splits: dict[str, SplitReport]
    examples: list[tuple[View, View]]

    @property
    def leaked(self) -> list[str]:
        """People who are in more than one split, sorted."""
        counts = Counter(person for split in self.splits.values() for person in split.people)
        return sorted(person for person, count in counts.items() if count > 1)

    @property
    def problems(self) -> int:
        """Broken pictures, people in both splits and pairs of two people."""
        return len(self.leaked) + sum(len(split.broken) + len(split.crossed) for split in self.splits.values())

    def text(self) -> str:
        """The report for people to read."""
        lines = []
        for name, split in self.splits.items():
            of = f" of {split.listed} listed" if split.listed not in (None, split.pairs) else ""
            lines.append(
                f"{name}: {split.pairs} pairs{of}, {split.pictures} pictures of {len(split.people)} people"
                + (f", {split.garments} with garment maps" if split.garments else "")
            )
            sizes = [f"{height}x{width} ({count})" for (height, width), count in split.sizes.most_common(_SHOWN)]
            more = f" and {len(split.sizes) - _SHOWN} more" if len(split.sizes) > _SHOWN else ""
            lines.append(f"  sizes, height x width: {', '.join(sizes)}{more}")
            lines += _finding("missing or broken", [f"{key}: {why}" for key, why in split.broken.items()])
            lines += _finding("pairs of two people", split.crossed)
            lines += _finding("maps without a person", split.bare)
            lines += _finding(
                "maps that can hardly be of one body", [f"{k}: {why}" for k, why in split.doubtful.items()]
            )
        lines += _finding("people in train and test", self.leaked, indent="")
        lines.append("no problems" if not self.problems else f"{self.problems} problems")
        return "\n".join(lines)

    def to_json(self) -> str:
        """The report for programs: all findings, not the first ones alone; sizes as ``HEIGHTxWIDTH``."""
        splits = {
            name: {
                **vars(split),
                "people": sorted(split.people),
                "sizes": {f"{height}x{width}": count for (height, width), count in split.sizes.most_common()},
            }
            for name, split in self.splits.items()
        }
        return json.dumps({"splits": splits, "leaked": self.leaked, "problems": self.problems}, indent=2)


def _finding(what: str, items: list[str], indent: str = "  ") -> list[str]:
    if not items:
        return []
    shown = [f"{indent}  {item}" for item in items[:_SHOWN]]
    return [f"{indent}{what}: {len(items)}", *shown, *([f"{indent}  ..."] if len(items) > _SHOWN else [])]


def check_data(
    splits: Mapping[str, PairDataset | ShardPairs],
    examples: int = 6,
    progress: Callable[[int], None] | None = None,
) -> DataReport:
    """Decode every picture that occurs in a pair, once.

    Args:
        splits: split -> data set, opened with ``on_error="skip"`` (else the first broken file raises).
        examples: pairs kept for the sheet, of different people.
        progress: called with the number of pictures looked at.
    """
    report = DataReport({}, [])
    looked_at = 0
    for name, data in splits.items():
        split = report.splits[name] = SplitReport(listed=data.listed if isinstance(data, PairDataset) else None)
        for group in data.people():
            views: dict[str, View] = {}
            for key, picture in group.pictures.items():
                try:
                    views[key] = picture.decode()
                except ValueError as error:
                    data.handle(key, error)
                looked_at += 1
                if progress is not None:
                    progress(looked_at)
            for key in {key for pair in group.pairs for key in pair} - group.pictures.keys():
                # of one that could not be read the log knows already; the first reason counts
                data.handle(key, ValueError(f"{key}: in a pair, but not among the pictures of {group.person}"))
            _count(split, group.person, views, group.pairs)
            pairs = [(a, b) for a, b in group.pairs if a in views and b in views]
            if pairs and len(report.examples) < examples:
                report.examples.append((views[pairs[0][0]], views[pairs[0][1]]))
        split.broken = data.skipped
    return report


def _count(split: SplitReport, person: str, views: dict[str, View], pairs: list[tuple[str, str]]) -> None:
    whole = [(a, b) for a, b in pairs if a in views and b in views]
    split.pairs += len(whole)
    split.people |= {views[name].person for pair in whole for name in pair}
    split.crossed += [f"{a} -> {b}" for a, b in whole if views[a].person != person]
    for name, view in views.items():
        split.pictures += 1
        split.garments += view.garments is not None
        split.sizes[view.size] += 1
        if not view.labels.any():
            split.bare.append(name)
        if view.doubts:
            split.doubtful[name] = "; ".join(view.doubts)


def write_sheet(report: DataReport, path: str | os.PathLike[str]) -> None:
    """Draw the example pairs into a PNG file: source, its map, target, its map, one pair per row.

    Raises:
        ValueError: if there is no example, the name does not end in ``.png``, or the folder does not exist.
    """
    if not str(path).lower().endswith(".png"):
        raise ValueError(f"the sheet is written as .png, got {path}")
    if not report.examples:
        raise ValueError("there is no pair to draw")
    rows = [np.concatenate([tile for view in pair for tile in _tiles(view)], 1) for pair in report.examples]
    ours = PngInfo()
    ours.add_text("pocold-sheet", "pairs of a data set and their maps")
    with atomic_write(path) as temporary:
        Image.fromarray(np.concatenate(rows, 0)).save(temporary, format="PNG", pnginfo=ours)


def _tiles(view: View) -> list[np.ndarray]:
    """The photo, and the map over it."""
    frame = Frame(view.size, _TILE)
    photo = frame.image(view.photo)
    return [np.asarray(photo), np.asarray(DensePose(frame.labels(view.labels)).over(photo))]
