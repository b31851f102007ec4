"""The body of ``pocold synth``. Heavy imports stay inside, so that ``--help`` needs no torch."""

import os
from pathlib import Path


def synth(
    out: Path,
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
        out: Folder to write to.
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
    from pocold.people.camera import parse_size
    from pocold.people.makehuman import load_garments

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

        drawn = write_people(config, out, workers=workers or os.cpu_count() or 1, shards=shards, progress=show)
    total = config.identities * config.per_identity
    console.print(f"{out}: {total} pictures of {config.identities} people ({drawn} drawn now)")
