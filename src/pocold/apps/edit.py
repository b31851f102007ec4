"""``pocold edit``: one region of a photograph in another person's appearance, everything else as it was."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pocold.appearance import AppearanceCode
from pocold.apps.drawing.draw import Task, draw_all, measured, progress_bar
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.drawing.regions import edit_frame, grow, parts_under, put_region, region_mask
from pocold.apps.drawing.results import Report, check_replaceable, origin, picture_paths
from pocold.apps.drawing.sources import (
    Person,
    Photo,
    Size,
    cut_out,
    encode_person,
    framed,
    read_garments,
    read_person,
    read_photo,
    through,
    with_map,
    with_maps,
    working_size,
)
from pocold.apps.mix import mix_people
from pocold.apps.transfer import asked_size, open_for
from pocold.imaging.images import load_mask
from pocold.pipeline import PoseTransferPipeline


def run_edit(
    file: Path,
    like: Path,
    output: Path | None,
    regions: Sequence[str],
    mask_file: Path | None,
    maps: tuple[Path | None, Path | None],
    garments: Path | None,
    grown: int,
    feather: int,
    options: DrawOptions,
) -> None:
    """The body of ``pocold edit``; see there for the arguments. ``maps`` are those of the two photographs."""
    options.check()
    if output is None:
        raise ValueError("expected a file to write, such as -o edited.png")
    name = "-".join([file.stem, *(region.replace(":", "-") for region in regions)])
    paths = picture_paths(output, [name], options.num_images)
    read = [path for path in (file, like, mask_file, garments, *maps) if path is not None]
    check_replaceable(paths, read, options.overwrite)
    photo = read_photo(file, maps[0])
    other = read_person([like], [] if maps[1] is None else [maps[1]])
    model = open_for(options)
    pipeline = model.pipeline
    photo, other = with_map(photo, pipeline), with_maps(other, pipeline)
    pose = photo.need_pose("editing")
    mask = grow(_mask(photo, regions, mask_file, garments), grown)
    size = working_size(pipeline, asked_size(options), photo.size)
    frame = edit_frame(photo.size, pose, mask, size)
    person, part = Person((file,), (photo,)), mask
    if frame is not None:
        person, part, pose = through(photo, frame), frame.labels(mask), framed(pose, frame)

    report = Report(model, options, ["edit", file.name])
    own = {"source": photo.about(), "like": other.about()[0], "size": list(size), "feather": feather, "grow": grown}
    own |= {"region": origin(mask_file) if mask_file else list(regions), "region pixels": int(mask.sum())}
    words = ["--mask", mask_file.name] if mask_file else ["--region", *regions]
    words += ["--like", like.name, "--grow", str(grown), "--feather", str(feather)]
    for flag, given in (("--source-pose", maps[0]), ("--like-pose", maps[1]), ("--garments", garments)):
        words += [flag, given.name] if given is not None else []

    with measured(report), progress_bar(options.num_images) as progress:
        code = _code(pipeline, person, other, parts_under(mask, photo.need_pose("editing")), size)
        tasks = [Task(code, pose, options.seed + i) for i in range(options.num_images)]
        picture = person.photos[0].picture
        pictures = draw_all(pipeline, tasks, options, size, progress=progress, image=picture, mask=part, feather=None)
        for drawn, path, task in zip(pictures, paths, tasks, strict=True):
            report.drawn += 1
            edited = put_region(drawn, photo.picture, mask, frame, feather)
            report.write(edited, path, report.settings(own, [*words, "-o", path.name], task.seed))
    report.tell()


def _mask(photo: Photo, regions: Sequence[str], file: Path | None, garments: Path | None) -> np.ndarray:
    """Bool ``(H, W)``: what may change."""
    if (file is None) == (not regions):
        raise ValueError("expected either a region such as --region top, or --mask FILE")
    if file is None:
        return region_mask(regions, photo.pose, read_garments(photo, garments))
    mask = load_mask(file, str(file))
    if mask.shape != photo.size:
        (height, width), (own_height, own_width) = mask.shape, photo.size
        raise ValueError(
            f"{file} is {height}x{width} (height x width), but {photo.path} {own_height}x{own_width}: a mask has the "
            "size of its photograph"
        )
    if not mask.any():
        raise ValueError(f"{file} is black: there is nothing to change; white is what may change")
    return mask


def _code(
    pipeline: PoseTransferPipeline, person: Person, other: Person, labels: frozenset[int], size: Size
) -> AppearanceCode:
    """The person with the other's parts under the region; the other alone if nothing tells where these are."""
    if other.code is not None or other.photos[0].pose is None:
        return encode_person(pipeline, other, size)
    if other.photos[0].size != size:
        other = cut_out(other, size, "person")
    return mix_people(pipeline, person, other, 1.0, sorted(labels), size)
