"""``pocold mix``: two people in one appearance code, by parts of the body, by weight, or both."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pocold.appearance import AppearanceCode
from pocold.apps.drawing.draw import Task, draw_all, measured
from pocold.apps.drawing.front import TERMINAL, FrontEnd
from pocold.apps.drawing.options import DrawOptions, FrameName
from pocold.apps.drawing.results import Report, again, check_replaceable, picture_paths
from pocold.apps.drawing.sources import (
    CODE_ENDING,
    Person,
    chosen_frame,
    cut_out,
    encode_person,
    frame_mode,
    named_parts,
    read_person,
    with_maps,
    working_size,
)
from pocold.apps.drawing.targets import SOURCE, Target, between, drawing_size, pose_label, read_targets, reference_map
from pocold.apps.transfer import asked_size, check_code_path, map_tile, person_tile
from pocold.densepose.labels import NUM_LABELS, body_part_labels
from pocold.imaging.images import FrameMode
from pocold.imaging.sheets import sheet_of_rows
from pocold.photographs import Size
from pocold.pipeline import PoseTransferPipeline


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
        asked, mode: see :func:`pocold.apps.drawing.sources.encode_person`.

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
    front: FrontEnd = TERMINAL,
) -> None:
    """The body of ``pocold mix``; see there for the arguments."""
    options.check()
    if output is None:
        raise ValueError(f"expected a file to write, such as -o mixed.png, or mixed{CODE_ENDING} for the code alone")
    if maps and len(maps) != 2:
        raise ValueError(f"--source-pose: expected one map for each of the two photographs, got {len(maps)}")
    tiles = None if grid is None else _parse_grid(grid, poses, weight, options)
    paths = _paths(output, files, poses, grid, options)
    check_replaceable(paths, [*files, *maps, *map(Path, poses)], options.overwrite)
    people = [read_person([file], maps[i : i + 1]) for i, file in enumerate(files)]
    model = front.open(options)
    people = [with_maps(person, model.pipeline, front.tell) for person in people]
    report = Report(model, options, ["mix", *(file.name for file in files)])
    mixture = _plan(report, people, poses, parts, weight, tiles, maps, like, frame)
    if output.suffix == CODE_ENDING:
        mixture.write_code(output)
    elif tiles is None:
        mixture.write_pictures(paths, front)
    else:
        mixture.write_grid(paths[0], front)
    front.take(report)


@dataclass(frozen=True, eq=False)
class _Mixture:
    """Two people, and what of the second is to come into the first, before anything is drawn.

    Attributes:
        report: of the command.
        people: the two, cut out if that was asked for.
        poses: as they were asked for.
        parts: as typed; none is everywhere.
        share: of the second person.
        tiles: rows and columns of a grid; None for single pictures.
        size: (height, width) of the pictures.
        like: whose build named poses get.
        frame: how photographs and poses are framed.
        own, words: what every file's metadata say of it, and the words of the command line.
    """

    report: Report
    people: Sequence[Person]
    poses: Sequence[str]
    parts: Sequence[str]
    share: float
    tiles: tuple[int, int] | None
    size: Size
    like: str
    frame: FrameName
    own: dict[str, Any]
    words: Sequence[str]

    @property
    def options(self) -> DrawOptions:
        """How pictures are drawn."""
        assert isinstance(self.report.options, DrawOptions)
        return self.report.options

    def code(self, weight: float) -> AppearanceCode:
        """The code with so much of the second."""
        parts, (first, second) = named_parts(self.parts) or None, self.people
        size, mode = asked_size(self.options), frame_mode(self.frame)
        return mix_people(self.report.model.pipeline, first, second, weight, parts, size, mode)

    def targets(self) -> list[Target]:
        """The poses asked for, or the first person's own; in a grid those between two."""
        first = self.people[0]
        reference = reference_map(self.like, first, self.size, frame_mode(self.frame))
        if self.tiles is not None and self.tiles[1] > 1:
            shares = np.linspace(0, 1, self.tiles[1]).tolist()
            return [between(self.poses[0], self.poses[1], t, self.size, reference) for t in shares]
        if self.poses:
            return read_targets(self.poses, self.size, reference, self.like)
        if not first.maps:
            raise ValueError(f"{first.files[0]} has no DensePose map, so its own pose is not known; give --pose")
        return [Target(str(first.files[0]), first.maps[0])]

    def draw(self, weights: Sequence[float], targets: Sequence[Target], front: FrontEnd) -> Iterator[Image.Image]:
        """Every seed of every pose with every weight, in this order from the inside out; measured."""
        options, pipeline = self.options, self.report.model.pipeline
        seeds = range(options.seed, options.seed + options.num_images)
        with measured(self.report), front.progress(len(weights) * len(targets) * len(seeds)) as progress:
            codes = [self.code(weight) for weight in weights]
            tasks = [Task(code, target.pose, seed) for code in codes for target in targets for seed in seeds]
            for picture in draw_all(pipeline, tasks, options, self.size, frame_mode(self.frame), progress):
                self.report.drawn += 1
                yield picture

    def write_code(self, path: Path) -> None:
        """Write the mixed code."""
        with measured(self.report):
            code = self.code(self.share)
        line = [*self.words, "--weight", str(self.share), "-o", path.name]
        self.report.write_code(code, path, self.report.settings({**self.own, "weight": self.share}, line))

    def write_pictures(self, paths: Sequence[Path], front: FrontEnd) -> None:
        """Draw and write one picture per pose and seed."""
        targets, count = self.targets(), self.options.num_images
        for i, (picture, path) in enumerate(zip(self.draw([self.share], targets, front), paths, strict=True)):
            pose = i // count
            words = again(pose=[Path(text) for text in self.poses[pose : pose + 1]])
            line = [*self.words, "--weight", str(self.share), *words, "-o", path.name]
            about = {**self.own, "weight": self.share, "size": list(self.size), **targets[pose].settings()}
            self.report.write(picture, path, self.report.settings(about, line, self.options.seed + i % count))

    def write_grid(self, path: Path, front: FrontEnd) -> None:
        """Draw and write the sheet from one person, and one pose, to the other."""
        assert self.tiles is not None
        rows, columns = self.tiles
        weights = np.linspace(0, 1, rows).tolist() if rows > 1 else [self.share]
        targets = self.targets()
        drawn = list(self.draw(weights, targets, front))
        pictures = [drawn[i : i + len(targets)] for i in range(0, len(drawn), len(targets))]
        line = [
            *self.words,
            *again(grid=f"{rows}x{columns}", pose=[Path(pose) for pose in self.poses]),
            "-o",
            path.name,
        ]
        line += ["--weight", str(self.share)] if rows == 1 else []
        about = {**self.own, "weights": weights, "size": list(self.size), "poses": [target.text for target in targets]}
        sheet = _grid_sheet(self.people, targets, pictures, self.size)
        self.report.write(sheet, path, self.report.settings(about, line, self.options.seed))


def _plan(
    report: Report,
    people: Sequence[Person],
    poses: Sequence[str],
    parts: Sequence[str],
    weight: float | None,
    tiles: tuple[int, int] | None,
    maps: Sequence[Path],
    like: str,
    frame: FrameName,
) -> _Mixture:
    """What ``pocold mix`` draws of people whose maps are known; see there for the arguments."""
    pipeline, asked = report.model.pipeline, asked_size(report.options)
    size, frame = drawing_size(pipeline, poses, people[0], asked), chosen_frame(frame, people)
    people = [
        cut_out(person, working_size(pipeline, asked, person.photos[0].size), frame) if person.photos else person
        for person in people
    ]
    share = weight if weight is not None else 1.0 if parts else 0.5
    own = {"source": [about for person in people for about in person.about()], "parts": list(parts), "frame": frame}
    words = again(
        parts=parts,
        like=None if like == SOURCE else Path(like),
        frame=None if frame == "pad" else frame,
        source_pose=maps,
    )
    return _Mixture(report, people, poses, parts, share, tiles, size, like, frame, own, words)


def _paths(
    output: Path, files: Sequence[Path], poses: Sequence[str], grid: str | None, options: DrawOptions
) -> list[Path]:
    """What will be written."""
    if output.suffix == CODE_ENDING:
        if poses or grid is not None:
            raise ValueError(f"{output} is the code alone, without a picture: leave out --pose and --grid")
        check_code_path(output)
        return [output]
    if grid is not None:
        return picture_paths(output, ["grid"], 1)
    labels = [pose_label(pose) for pose in poses] or [f"{files[0].stem}-{files[1].stem}"]
    return picture_paths(output, labels, options.num_images)


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


def _grid_sheet(
    people: Sequence[Person], targets: Sequence[Target], rows: Sequence[Sequence[Image.Image]], size: Size
) -> Image.Image:
    """Maps above; pictures from the first person to the second, whose photographs stand beside them."""
    blank = Image.new("RGB", size[::-1], "white")
    left = [person_tile(people[0], size), *[blank] * max(0, len(rows) - 2)]
    left += [person_tile(people[1], size)] if len(rows) > 1 else []
    above = [blank, *(map_tile(target.pose, size) for target in targets)]
    return sheet_of_rows([above, *([tile, *row] for tile, row in zip(left, rows, strict=True))])
