"""``pocold mix``: two people in one appearance code, by parts of the body, by weight, or both."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pocold.appearance import AppearanceCode
from pocold.densepose import NUM_LABELS, body_part_labels
from pocold.drawing.draw import Task, draw_all, measured, progress_bar
from pocold.drawing.options import DrawOptions, FrameName, check_options
from pocold.drawing.results import Report, check_replaceable, origin, picture_paths
from pocold.drawing.sources import (
    CODE_ENDING,
    Person,
    Size,
    cut_out,
    encode_person,
    frame_mode,
    named_parts,
    read_person,
    working_size,
)
from pocold.drawing.targets import (
    SOURCE,
    Target,
    between,
    drawing_size,
    pose_label,
    read_targets,
    reference_map,
)
from pocold.drawing.transfer import asked_size, check_code_path, map_tile, open_for, person_tile
from pocold.images import FrameMode
from pocold.pipeline import PoseTransferPipeline
from pocold.sheets import sheet_of_rows


def mix_people(
    pipeline: PoseTransferPipeline,
    first: Person,
    second: Person,
    weight: float,
    parts: Sequence[str | int] | None = None,
    asked: Size | None = None,
    mode: FrameMode = "pad",
) -> AppearanceCode:
    """The first person with a share of the second.

    Args:
        pipeline: encodes.
        first, second: photographs, or codes.
        weight: share of the second: 0 is the first person, and 1 the second, or the first with the second's parts.
        parts: where the second comes in (names or labels); None is everywhere. All else is the first person's.
        asked, mode: see :func:`pocold.drawing.sources.encode_person`.

    Raises:
        ValueError: for a weight outside [0, 1], an unknown part, or parts of people who are codes, have no map, or do
            not show them.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"--weight: expected a number in [0, 1], got {weight:g}")
    if parts is None or weight == 0:
        return _whole(pipeline, first, second, weight, asked, mode)
    own = sorted(body_part_labels(parts))
    rest = [label for label in range(NUM_LABELS) if label not in own]
    theirs = encode_person(pipeline, second, asked, mode, own)
    if weight < 1:
        theirs = encode_person(pipeline, first, asked, mode, own).blend(theirs, weight)
    return AppearanceCode.union([encode_person(pipeline, first, asked, mode, rest), theirs]) if rest else theirs


def _whole(
    pipeline: PoseTransferPipeline, first: Person, second: Person, weight: float, asked: Size | None, mode: FrameMode
) -> AppearanceCode:
    if weight == 0:
        return encode_person(pipeline, first, asked, mode)
    if weight == 1:
        return encode_person(pipeline, second, asked, mode)
    return encode_person(pipeline, first, asked, mode).blend(encode_person(pipeline, second, asked, mode), weight)


def run_mix(
    files: tuple[Path, Path],
    output: Path | None,
    poses: Sequence[str],
    parts: Sequence[str],
    weight: float | None,
    grid: str | None,
    maps: Sequence[Path],
    like: str,
    frame: FrameName,
    options: DrawOptions,
) -> None:
    """The body of ``pocold mix``; see there for the arguments."""
    check_options(options)
    if output is None:
        raise ValueError(f"expected a file to write, such as -o mixed.png, or mixed{CODE_ENDING} for the code alone")
    if maps and len(maps) != 2:
        raise ValueError(f"--source-pose: expected one map for each of the two photographs, got {len(maps)}")
    tiles = None if grid is None else _parse_grid(grid, poses, weight, options)
    as_code = output.suffix == CODE_ENDING
    if as_code:
        if poses or grid is not None:
            raise ValueError(f"{output} is the code alone, without a picture: leave out --pose and --grid")
        check_code_path(output)
        paths = [output]
    else:
        labels = [pose_label(pose) for pose in poses] or [f"{files[0].stem}-{files[1].stem}"]
        paths = picture_paths(output, labels if tiles is None else ["grid"], options.num_images)
    check_replaceable(paths, [*files, *maps, *map(Path, poses)], options.overwrite)
    people = [read_person([file], maps[i : i + 1]) for i, file in enumerate(files)]
    model = open_for(options)
    size, people = _prepare(model.pipeline, people, poses, options, frame)
    targets = [] if as_code else _targets(people[0], poses, size, like, frame, tiles)

    share = weight if weight is not None else 1.0 if parts else 0.5
    report = Report(model, options, ["mix", *(file.name for file in files)])
    own = {"source": [origin(file) for file in files], "parts": list(parts), "frame": frame}
    words = ["--parts", *parts] if parts else []
    words += ["--like", Path(like).name] if like != SOURCE else []
    words += ["--frame", frame] if frame != "pad" else []
    words += ["--source-pose", *(path.name for path in maps)] if maps else []

    def code_of(part_of_second: float) -> AppearanceCode:
        where = named_parts(parts) or None
        return mix_people(model.pipeline, people[0], people[1], part_of_second, where, asked, frame_mode(frame))

    asked = asked_size(options)
    if as_code:
        with measured(report):
            code = code_of(share)
        report.write_code(code, output, report.settings({**own, "weight": share}, [*words, "--weight", f"{share:g}"]))
        report.tell()
        return
    weights = [share] if tiles is None else np.linspace(0, 1, tiles[0]).tolist() if tiles[0] > 1 else [share]
    seeds = [options.seed + i for i in range(options.num_images)]
    with measured(report), progress_bar(len(weights) * len(targets) * len(seeds)) as progress:
        codes = [code_of(each) for each in weights]
        tasks = [Task(code, target.pose, seed) for code in codes for target in targets for seed in seeds]
        drawn = []
        for picture in draw_all(model.pipeline, tasks, options, size, frame_mode(frame), progress):
            report.drawn += 1
            drawn.append(picture)
            if tiles is None:
                i = len(drawn) - 1
                line = [
                    *words,
                    "--weight",
                    f"{share:g}",
                    *_pose_words(poses[i // len(seeds) :][:1]),
                    "-o",
                    paths[i].name,
                ]
                settings = {**own, "weight": share, "size": list(size), **targets[i // len(seeds)].settings()}
                report.write(picture, paths[i], report.settings(settings, line, tasks[i].seed))
    if tiles is not None:
        rows = [drawn[i : i + len(targets)] for i in range(0, len(drawn), len(targets))]
        line = [*words, "--grid", str(grid), *_pose_words(poses), "-o", output.name]
        settings = {**own, "weights": weights, "size": list(size), "poses": [target.text for target in targets]}
        report.write(_grid_sheet(people, targets, rows, size), paths[0], report.settings(settings, line, options.seed))
    report.tell()


def _pose_words(poses: Sequence[str]) -> list[str]:
    return ["--pose", *(Path(pose).name for pose in poses)] if poses else []


def _parse_grid(text: str, poses: Sequence[str], weight: float | None, options: DrawOptions) -> tuple[int, int]:
    """``ROWSxCOLUMNS`` as numbers, once they fit the other options."""
    found = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text.strip().lower())
    if found is None:
        raise ValueError(f"--grid: expected ROWSxCOLUMNS, such as 3x5 (from 1 to 99), got {text!r}")
    rows, columns = int(found[1]), int(found[2])
    if columns > 1 and len(poses) != 2:
        raise ValueError(f"--grid {text}: columns go from one named pose to another, expected two, got {len(poses)}")
    if columns == 1 and len(poses) > 1:
        raise ValueError(f"--grid {text}: one column shows one pose, got {len(poses)}")
    if rows > 1 and weight is not None:
        raise ValueError(f"--grid {text}: rows go through all weights from 0 to 1; leave out --weight")
    if options.num_images > 1:
        raise ValueError("--grid draws one picture of each kind; leave out --num-images")
    return rows, columns


def _prepare(
    pipeline: PoseTransferPipeline, people: list[Person], poses: Sequence[str], options: DrawOptions, frame: FrameName
) -> tuple[Size, list[Person]]:
    """(height, width) of the pictures, and the people cut out if that was asked for."""
    asked = asked_size(options)
    size = drawing_size(pipeline, poses, people[0], asked)
    cut = [
        cut_out(person, working_size(pipeline, asked, person.photos[0].size), frame) if person.photos else person
        for person in people
    ]
    return size, cut


def _targets(
    first: Person, poses: Sequence[str], size: Size, like: str, frame: FrameName, tiles: tuple[int, int] | None
) -> list[Target]:
    """The poses asked for, or the first person's own; in a grid those between two."""
    reference = reference_map(like, first, size, frame_mode(frame))
    if tiles is not None and tiles[1] > 1:
        return [between(poses[0], poses[1], t, size, reference) for t in np.linspace(0, 1, tiles[1]).tolist()]
    if poses:
        return read_targets(poses, size, reference, like)
    if not first.maps:
        raise ValueError(f"{first.files[0]} comes without a DensePose map, so its own pose is not known; give --pose")
    return [Target(str(first.files[0]), first.maps[0])]


def _grid_sheet(
    people: Sequence[Person], targets: Sequence[Target], rows: Sequence[Sequence[Image.Image]], size: Size
) -> Image.Image:
    """Maps above; pictures from the first person to the second, whose photographs stand beside them."""
    blank = Image.new("RGB", size[::-1], "white")
    left = [person_tile(people[0], size), *[blank] * max(0, len(rows) - 2)]
    left += [person_tile(people[1], size)] if len(rows) > 1 else []
    above = [blank, *(map_tile(target.pose, size) for target in targets)]
    return sheet_of_rows([above, *([tile, *row] for tile, row in zip(left, rows, strict=True))])
