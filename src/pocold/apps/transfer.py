"""``pocold transfer`` and ``pocold encode``: from what was typed to what is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from pocold.appearance import AppearanceCode
from pocold.apps.drawing.draw import Task, draw_all, measured
from pocold.apps.drawing.front import TERMINAL, FrontEnd
from pocold.apps.drawing.models import open_for
from pocold.apps.drawing.options import DrawOptions, FrameName, ModelOptions
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
from pocold.apps.drawing.targets import (
    SOURCE,
    Target,
    drawing_size,
    pose_label,
    read_targets,
    reference_map,
    warn_of_missing,
)
from pocold.densepose.framing import PersonFrame, framed
from pocold.densepose.maps import DensePose
from pocold.imaging.images import Frame, FrameMode
from pocold.imaging.sheets import sheet_of_rows
from pocold.people.body.camera import parse_size
from pocold.photographs import Size
from pocold.pipeline import PoseTransferPipeline

Encode = Callable[[PoseTransferPipeline, Person, Size | None, FrameMode], AppearanceCode]


def run_transfer(
    files: Sequence[Path],
    poses: Sequence[str],
    output: Path | None,
    sheet: Path | None,
    maps: Sequence[Path],
    like: str,
    frame: FrameName,
    paste_back: bool,
    options: DrawOptions,
    front: FrontEnd = TERMINAL,
) -> None:
    """The body of ``pocold transfer``; see there for the arguments."""
    if output is None and sheet is None:
        raise ValueError("expected a file to write, such as -o out.png (or --sheet out.png)")
    plan, paths = ready_transfer(files, poses, output, sheet, maps, like, frame, paste_back, options, front)
    report = plan.report

    drawn: list[Image.Image] = []
    with measured(report), front.progress(len(plan)) as progress:
        tasks = plan.tasks()
        for i, picture in enumerate(draw_all(report.model.pipeline, tasks, options, plan.size, plan.mode, progress)):
            drawn.append(plan.finished(i, picture))
            report.drawn += 1
            if paths:
                report.write(drawn[i], paths[i], plan.settings(i, paths[i].name))
    if sheet:
        rows = [drawn[i :: len(plan.seeds)] for i in range(len(plan.seeds))]
        report.write(transfer_sheet(plan.person, plan.targets, rows), sheet, plan.sheet_settings(sheet.name))
    front.take(report)


def ready_transfer(
    files: Sequence[Path],
    poses: Sequence[str],
    output: Path | None,
    sheet: Path | None,
    maps: Sequence[Path],
    like: str,
    frame: FrameName,
    paste_back: bool,
    options: DrawOptions,
    front: FrontEnd,
) -> tuple["TransferPlan", list[Path]]:
    """All of ``pocold transfer`` before anything is encoded or drawn; see there for the arguments.

    Returns:
        What is to be drawn, and where the pictures go; nowhere without ``output``.

    Raises:
        ValueError: for whatever cannot be used.
    """
    options.check()
    check_transfer(poses, frame, paste_back)
    paths = _paths(output, sheet, poses, options)
    person = read_person(files, maps)
    check_replaceable([*paths, *([sheet] if sheet else [])], [*files, *maps, *map(Path, poses)], options.overwrite)
    model = front.open(options)
    person = with_maps(person, model.pipeline, front.tell)
    report = Report(model, options, ["transfer", *(file.name for file in files)])
    plan = plan_transfer(report, person, poses, maps, like, frame, paste_back)
    warn_of_missing(plan.person, plan.targets, front.tell)
    return plan, paths


def check_transfer(poses: Sequence[str], frame: FrameName, paste_back: bool) -> None:
    """Raise a ValueError for no pose, or a frame that pasting back does not go with."""
    if not poses:
        raise ValueError("expected at least one pose, such as --pose walk:side or --pose map.png")
    if paste_back and frame in ("crop", "stretch"):
        raise ValueError(f"--paste-back cuts the photograph out around the person: leave out --frame {frame}")


@dataclass(frozen=True, eq=False)
class TransferPlan:
    """One person in some poses, before anything is drawn: every seed of every pose, in this order from the inside out.

    Attributes:
        report: of the command.
        person: with the maps of the photographs.
        poses: as they were asked for.
        targets: their maps.
        frames: for pasting back, the part of the photograph that each is drawn in; else None.
        size: (height, width) of the pictures.
        frame: how photographs and poses are framed.
        words: of the command line.
    """

    report: Report
    person: Person
    poses: Sequence[str]
    targets: Sequence[Target]
    frames: Sequence[PersonFrame | None]
    size: Size
    frame: FrameName
    words: Sequence[str]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.targets) * len(self.seeds)

    @property
    def options(self) -> DrawOptions:
        """How pictures are drawn."""
        assert isinstance(self.report.options, DrawOptions)
        return self.report.options

    @property
    def mode(self) -> FrameMode:
        """How poses are brought to the pictures' size."""
        return frame_mode(self.frame)

    @property
    def seeds(self) -> list[int]:
        """Of the pictures of each pose."""
        return [self.options.seed + i for i in range(self.options.num_images)]

    def tasks(self, encode: Encode = encode_person) -> list[Task]:
        """What is to be drawn. The person is encoded here, once, or once for each part of the photograph.

        Args:
            encode: does it; whoever draws one person many times remembers the code.
        """
        pipeline, tasks = self.report.model.pipeline, []
        code = None
        if None in self.frames:
            code = encode(pipeline, self.person, asked_size(self.options), self.mode)
        for target, place in zip(self.targets, self.frames, strict=True):
            pose = target.pose
            if place is not None:
                pose = framed(pose, place)
                part = replace(self.person, photos=(self.person.photos[0].through(place),))
                code = encode(pipeline, part, place.size, "pad")
            assert code is not None  # of the whole photograph, or of this part
            tasks += [Task(code, pose, seed) for seed in self.seeds]
        return tasks

    def finished(self, i: int, picture: Image.Image) -> Image.Image:
        """Picture ``i`` as it is written: pasted back if that was asked for."""
        place = self.frames[i // len(self.seeds)]
        return picture if place is None else place.paste(picture, self.person.photos[0].picture)

    def settings(self, i: int, name: str) -> dict[str, Any]:
        """The metadata of picture ``i``, written as ``name``."""
        pose, number = divmod(i, len(self.seeds))
        target = self.targets[pose]
        line = [*self.words, *again(pose=Path(target.text)), "-o", name]
        return self.report.settings({**self._own(), **target.settings()}, line, self.seeds[number])

    def sheet_settings(self, name: str) -> dict[str, Any]:
        """The metadata of a sheet of all of them."""
        poses = [Path(pose) for pose in self.poses]
        line = [*self.words, *again(pose=poses, num_images=len(self.seeds), sheet=name)]
        own = {**self._own(), "poses": [target.settings() for target in self.targets]}
        return self.report.settings(own, line, self.options.seed)

    def _own(self) -> dict[str, Any]:
        frame = "person, pasted back" if any(place is not None for place in self.frames) else self.frame
        return {"source": self.person.about(), "size": list(self.size), "frame": frame}


def plan_transfer(
    report: Report,
    person: Person,
    poses: Sequence[str],
    maps: Sequence[Path] = (),
    like: str = SOURCE,
    frame: FrameName = "auto",
    paste_back: bool = False,
) -> TransferPlan:
    """What ``pocold transfer`` draws of a person whose maps are known; see there for the arguments.

    Raises:
        ValueError: for poses, maps or a frame that cannot be used.
    """
    check_transfer(poses, frame, paste_back)
    frame = chosen_frame(frame, [person])
    assert isinstance(report.options, DrawOptions)
    size = drawing_size(report.model.pipeline, poses, person, asked_size(report.options))
    if not paste_back:
        person = cut_out(person, size, frame)
    targets, frames = _place(person, poses, size, like, frame, paste_back)
    words = again(
        source_pose=maps,
        like=None if like == SOURCE else Path(like),
        frame=None if frame == "pad" else frame,
        paste_back=paste_back,
    )
    return TransferPlan(report, person, poses, targets, frames, size, frame, words)


def _paths(output: Path | None, sheet: Path | None, poses: Sequence[str], options: DrawOptions) -> list[Path]:
    """Where the pictures go; nowhere without ``output``."""
    paths = [] if output is None else picture_paths(output, [pose_label(pose) for pose in poses], options.num_images)
    if sheet is not None and (sheet.suffix.lower() != ".png" or not sheet.absolute().parent.is_dir()):
        raise ValueError(f"--sheet: expected a file name ending in .png, in a folder that exists, got {sheet}")
    if sheet in paths:
        raise ValueError(f"--sheet and --output would both write {sheet}; choose another name for one")
    return paths


def asked_size(options: ModelOptions) -> Size | None:
    """``--size`` as (height, width)."""
    return None if options.size is None else parse_size(options.size)


def _place(
    person: Person, poses: Sequence[str], size: Size, like: str, frame: FrameName, paste_back: bool
) -> tuple[list[Target], list[PersonFrame | None]]:
    """The poses' maps, and for pasting back the part of the photograph that each is drawn in."""
    if not paste_back:
        reference = reference_map(like, person, size, frame_mode(frame))
        targets = read_targets(poses, size, reference, like)
        return targets, [None] * len(targets)
    if len(person.photos) != 1:
        raise ValueError("--paste-back needs one photograph to paste into, not several and no appearance code")
    photo = person.photos[0]
    own = photo.need_pose("--paste-back")
    reference = reference_map(like, person, photo.size, "pad")
    targets = read_targets(poses, photo.size, reference, like)
    for target in targets:
        if target.pose.size != photo.size:
            (height, width), (own_height, own_width) = target.pose.size, photo.size
            raise ValueError(
                f"--paste-back: {target.text} is {height}x{width} (height x width), but the photograph is "
                f"{own_height}x{own_width}; give a map of its size, or the name of a pose"
            )
    return targets, [PersonFrame.around(own.labels, target.pose.labels, size=size) for target in targets]


def transfer_sheet(person: Person, targets: Sequence[Target], rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Photograph and maps of the poses above, below one row of pictures for each seed."""
    size = rows[0][0].size
    first = person_tile(person, (size[1], size[0]))
    blank = Image.new("RGB", size, "white")
    maps = [map_tile(target.pose, (size[1], size[0])) for target in targets]
    captions = ["source", *(target.text for target in targets)]
    return sheet_of_rows([[first, *maps], *([blank, *row] for row in rows)], captions)


def person_tile(person: Person, size: Size) -> Image.Image:
    """The first photograph at a size; white for a code that holds none."""
    if person.photos:
        picture = person.photos[0].picture
    elif person.code is not None and person.code.surface is not None:
        shown = person.code.surface[0].layers[0][1][0].picture
        picture = Image.fromarray(shown.permute(1, 2, 0).numpy())
    else:
        return Image.new("RGB", size[::-1], "white")
    return Frame((picture.height, picture.width), size).image(picture)


def map_tile(pose: DensePose, size: Size) -> Image.Image:
    """A map in colours at a size."""
    return framed(pose, Frame(pose.size, size)).to_image()


def run_encode(
    files: Sequence[Path],
    output: Path | None,
    maps: Sequence[Path],
    parts: Sequence[str],
    frame: FrameName,
    options: ModelOptions,
) -> None:
    """The body of ``pocold encode``; see there for the arguments."""
    if output is None:
        raise ValueError(f"expected a file to write, such as -o person{CODE_ENDING}")
    check_code_path(output)
    person = read_person(files, maps)
    if person.code is not None:
        raise ValueError(f"{files[0]} is an appearance code already; expected a photograph")
    check_replaceable([output], [*files, *maps], options.overwrite)
    model = open_for(options)
    report = Report(model, options, ["encode", *(file.name for file in files)])
    with measured(report):
        size = working_size(model.pipeline, asked_size(options), person.photos[0].size)
        person = with_maps(person, model.pipeline)
        frame = chosen_frame(frame, [person])
        person = cut_out(person, size, frame)
        code = encode_person(model.pipeline, person, size, frame_mode(frame), named_parts(parts) or None)
    words = again(parts=parts, frame=None if frame == "pad" else frame, source_pose=maps)
    own = {"source": person.about(), "frame": frame, "parts": list(parts)}
    settings = report.settings(own, [*words, "-o", output.name])
    report.write_code(code, output, settings)
    report.tell()


def check_code_path(path: Path) -> None:
    """Raise a ValueError unless an appearance code can be written there."""
    if path.suffix != CODE_ENDING:
        raise ValueError(f"--output: appearance codes are written as {CODE_ENDING}, got {path.name}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--output: the folder {path.parent} does not exist; create it first")
