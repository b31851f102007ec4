"""The bodies of ``pocold synth`` and ``pocold data``. Heavy imports stay inside, so that ``--help`` needs no torch."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pocold.usage import OUTPUT_ONCE_OUT


def synth(
    output: Annotated[Path, OUTPUT_ONCE_OUT],
    identities: int = 200,
    per_identity: int = 6,
    size: str = "256x176",
    seed: int = 0,
    workers: int | None = None,
    shards: bool = False,
    vary_background: bool = False,
    wardrobe: Path | None = None,
) -> None:
    """Draw a data set of synthetic people: pictures, DensePose, garment maps, keypoints and pair lists.

    A stopped run continues when the same command is given again.

    Args:
        output: Folder to write to.
        identities: Number of people.
        per_identity: Pictures of each person.
        size: HEIGHTxWIDTH of the pictures.
        seed: Another seed draws another population.
        workers: Processes; as many as there are processors if not given. The result does not depend on it.
        shards: Write WebDataset tar files instead of folders.
        vary_background: Another background in every picture, instead of one per person.
        wardrobe: Folder of MakeHuman garments (a checkout of makehuman-assets) to wear besides the built-in ones.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from pocold.data.synthetic import SyntheticConfig
    from pocold.data.writing import write_people
    from pocold.people.body.camera import parse_size
    from pocold.people.wardrobe.makehuman import load_garments

    if wardrobe is not None:
        load_garments(str(wardrobe))  # a wrong folder should be told before anything is written
    config = SyntheticConfig(
        seed, identities, per_identity, parse_size(size), vary_background,
        wardrobe=None if wardrobe is None else str(wardrobe),
    )  # fmt: skip
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(elapsed_when_finished=True),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("drawing people", total=None, rate="")
        first: list[int] = []

        def show(done: int, total: int) -> None:
            first.append(done)
            elapsed = bar.tasks[task].elapsed or 0.0
            rate = f"{(done - first[0]) / elapsed:.1f}/s" if elapsed > 1 and done > first[0] else ""
            bar.update(task, completed=done, total=total, rate=rate)

        drawn = write_people(config, output, workers=workers or os.cpu_count() or 1, shards=shards, progress=show)
    total = config.identities * config.per_identity
    console.print(f"{output}: {total} pictures of {config.identities} people ({drawn} drawn now)")


LayoutName = Literal["auto", "folder", "deepfashion", "market1501", "shards"]


def check(
    folder: tyro.conf.Positional[Path],
    layout: LayoutName = "auto",
    maps: tuple[str, ...] = (),
    channels: Literal["auto", "iuv", "vui"] = "auto",
    pictures: str | None = None,
    lmdb_key: str | None = None,
    sheet: Path | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Look through a data set: counts, missing and broken files, sizes, people in both splits. Exit code 1 tells of
    problems.

    Args:
        folder: The data set: a folder of people, DeepFashion, Market-1501, or shards.
        layout: What it is; auto looks.
        maps: Where DensePose maps lie, such as "iuv/{path}.png"; known are {folder}, {stem}, {path}, {name}, {split}.
        channels: Where these maps have the label: iuv in the red channel, vui in the blue one.
        pictures: DeepFashion only: folder of the pictures or of an lmdb, such as 256-256.
        lmdb_key: DeepFashion only: key of a picture in the lmdb, "img/{path}.png" if not given.
        sheet: Draw pairs with their maps into this PNG file.
        overwrite: Replace a file that is no such sheet.
        json: Print the report as JSON.
    """
    from pocold.data.checking import check_data, write_sheet
    from pocold.data.opening import open_splits
    from pocold.densepose.beside import Maps
    from pocold.imaging.files import check_replaceable
    from pocold.imaging.metadata import is_generated

    if sheet is not None:
        check_replaceable([sheet], [], overwrite, is_generated)
    splits = open_splits(folder, layout, "skip", [Maps(m, channels) for m in maps], pictures, lmdb_key)
    with counting("looking at pictures") as count:
        report = check_data(splits, progress=count)
    print(report.to_json() if json else report.text())
    if sheet is not None:
        write_sheet(report, sheet)
        print(f"{sheet}: pairs with their maps", file=sys.stderr if json else sys.stdout)
    if report.problems:
        raise SystemExit(1)


def shards(
    folder: tyro.conf.Positional[Path],
    output: Annotated[Path, OUTPUT_ONCE_OUT],
    layout: LayoutName = "auto",
    maps: tuple[str, ...] = (),
    channels: Literal["auto", "iuv", "vui"] = "auto",
    pictures: str | None = None,
    lmdb_key: str | None = None,
    pictures_per_shard: int = 500,
    on_error: Literal["raise", "skip"] = "raise",
) -> None:
    """Pack a data set into WebDataset shards.

    Args:
        folder: The data set: a folder of people, DeepFashion, Market-1501, or shards.
        output: Folder to write; it must not exist yet, or be empty.
        layout: What the data set is; auto looks.
        maps: Where DensePose maps lie, such as "iuv/{path}.png"; known are {folder}, {stem}, {path}, {name}, {split}.
        channels: Where these maps have the label: iuv in the red channel, vui in the blue one.
        pictures: DeepFashion only: folder of the pictures or of an lmdb, such as 256-256.
        lmdb_key: DeepFashion only: key of a picture in the lmdb, "img/{path}.png" if not given.
        pictures_per_shard: A shard is closed after the person with whom it reaches this number.
        on_error: Stop at a missing or broken file, or leave its pairs out and list it.
    """
    from pocold.data.opening import open_splits
    from pocold.data.packing import write_shards
    from pocold.densepose.beside import Maps

    splits = open_splits(folder, layout, on_error, [Maps(m, channels) for m in maps], pictures, lmdb_key)
    with counting("packing pictures") as count:
        packed = write_shards(splits, output, pictures_per_shard, count)
    for split, data in splits.items():
        skipped = data.skipped
        print(f"{split}: {packed[split]} pairs packed, {len(skipped)} pictures skipped")
        for name, reason in skipped.items():
            print(f"  {name}: {reason}")


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """A running count on stderr, for work whose end is not known."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done: bar.update(task, completed=done)
