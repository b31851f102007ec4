"""``pocold transfer`` and ``pocold encode``: from what was typed to what is written."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pocold.apps.drawing.draw import Task, draw_all, measured, progress_bar
from pocold.apps.drawing.models import Model, open_model
from pocold.apps.drawing.options import DrawOptions, FrameName, ModelOptions
from pocold.apps.drawing.results import Report, check_replaceable, picture_paths
from pocold.apps.drawing.sources import (
    CODE_ENDING,
    Person,
    Size,
    cut_out,
    encode_person,
    frame_mode,
    framed,
    named_parts,
    read_person,
    through,
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
from pocold.densepose.framing import PersonFrame
from pocold.densepose.maps import DensePose
from pocold.imaging.images import Frame, FrameMode
from pocold.imaging.sheets import sheet_of_rows
from pocold.people.body.camera import parse_size
from pocold.pipeline import PoseTransferPipeline


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
) -> None:
    """The body of ``pocold transfer``; see there for the arguments."""
    options.check()
    if not poses:
        raise ValueError("expected at least one pose, such as --pose walk:side or --pose map.png")
    if paste_back and frame not in ("pad", "person"):
        raise ValueError(f"--paste-back cuts the photograph out around the person: leave out --frame {frame}")
    paths = _paths(output, sheet, poses, options)
    person = read_person(files, maps)
    check_replaceable([*paths, *([sheet] if sheet else [])], [*files, *maps, *map(Path, poses)], options.overwrite)
    model = open_for(options)
    pipeline = model.pipeline
    person = with_maps(person, pipeline)
    size = drawing_size(pipeline, poses, person, asked_size(options))
    if not paste_back:
        person = cut_out(person, size, frame)
    targets, frames = _place(person, poses, size, like, frame, paste_back)
    warn_of_missing(person, targets)

    report = Report(model, options, ["transfer", *(file.name for file in files)])
    own = {"source": person.about(), "size": list(size), "frame": frame}
    if paste_back:
        own |= {"frame": "person, pasted back"}
    words = ["--source-pose", *(path.name for path in maps)] if maps else []
    words += ["--like", Path(like).name] if like != SOURCE else []
    words += ["--frame", frame] if frame != "pad" else []
    words += ["--paste-back"] if paste_back else []

    seeds = [options.seed + i for i in range(options.num_images)]
    drawn: list[Image.Image] = []
    with measured(report), progress_bar(len(targets) * len(seeds)) as progress:
        tasks = _tasks(pipeline, person, targets, frames, seeds, asked_size(options), frame_mode(frame))
        for i, picture in enumerate(draw_all(pipeline, tasks, options, size, frame_mode(frame), progress)):
            target, place = targets[i // len(seeds)], frames[i // len(seeds)]
            drawn.append(picture if place is None else place.paste(picture, person.photos[0].picture))
            report.drawn += 1
            if paths:
                line = [*words, "--pose", Path(target.text).name, "-o", paths[i].name]
                settings = report.settings({**own, **target.settings()}, line, tasks[i].seed)
                report.write(drawn[i], paths[i], settings)
    if sheet:
        rows = [drawn[i :: len(seeds)] for i in range(len(seeds))]
        line = [*words, "--pose", *(Path(pose).name for pose in poses), "--num-images", str(len(seeds))]
        settings = report.settings(
            {**own, "poses": [target.settings() for target in targets]}, [*line, "--sheet", sheet.name], options.seed
        )
        report.write(transfer_sheet(person, targets, rows), sheet, settings)
    report.tell()


def _paths(output: Path | None, sheet: Path | None, poses: Sequence[str], options: DrawOptions) -> list[Path]:
    """Where the pictures go; none with a sheet alone."""
    if output is None and sheet is None:
        raise ValueError("expected a file to write, such as -o out.png (or --sheet out.png)")
    paths = [] if output is None else picture_paths(output, [pose_label(pose) for pose in poses], options.num_images)
    if sheet is not None and (sheet.suffix.lower() != ".png" or not sheet.absolute().parent.is_dir()):
        raise ValueError(f"--sheet: expected a file name ending in .png, in a folder that exists, got {sheet}")
    if sheet in paths:
        raise ValueError(f"--sheet and --output would both write {sheet}; choose another name for one")
    return paths


def open_for(options: ModelOptions) -> Model:
    """The model that the options name, with the scheduler that they name."""
    model = open_model(options.model, options.precision, options.device)
    if isinstance(options, DrawOptions) and options.scheduler is not None:
        model.pipeline.set_scheduler(options.scheduler)
    return model


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


def _tasks(
    pipeline: PoseTransferPipeline,
    person: Person,
    targets: Sequence[Target],
    frames: Sequence[PersonFrame | None],
    seeds: Sequence[int],
    asked: Size | None,
    mode: FrameMode,
) -> list[Task]:
    """Every seed of every pose. The person is encoded once, or once for each part of the photograph."""
    tasks = []
    code = encode_person(pipeline, person, asked, mode) if None in frames else None
    for target, place in zip(targets, frames, strict=True):
        pose = target.pose
        if place is not None:
            pose = framed(pose, place)
            code = encode_person(pipeline, through(person.photos[0], place), place.size)
        assert code is not None  # of the whole photograph, or of this part
        tasks += [Task(code, pose, seed) for seed in seeds]
    return tasks


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
        person = cut_out(person, size, frame)
        code = encode_person(model.pipeline, person, size, frame_mode(frame), named_parts(parts) or None)
    words = ["--parts", *parts] if parts else []
    words += ["--frame", frame] if frame != "pad" else []
    words += ["--source-pose", *(path.name for path in maps)] if maps else []
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
