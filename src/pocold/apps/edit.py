"""``pocold edit``: one region of a photograph in another person's appearance, everything else as it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pocold.appearance import AppearanceCode
from pocold.apps.drawing.draw import Task, draw_all, measured
from pocold.apps.drawing.front import TERMINAL, FrontEnd
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.drawing.regions import edit_frame, grow, parts_under, put_region, region_mask
from pocold.apps.drawing.results import Report, again, check_replaceable, picture_paths
from pocold.apps.drawing.sources import (
    Person,
    cut_out,
    encode_person,
    read_garments,
    read_person,
    with_map,
    with_maps,
    working_size,
)
from pocold.apps.mix import mix_people
from pocold.apps.transfer import asked_size
from pocold.densepose.framing import PersonFrame, framed
from pocold.imaging.files import origin
from pocold.imaging.images import load_mask
from pocold.photographs import Photo, Size, read_photo
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
    front: FrontEnd = TERMINAL,
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
    model = front.open(options)
    pipeline = model.pipeline
    photo, other = with_map(photo, pipeline, front.tell), with_maps(other, pipeline, front.tell)
    report = Report(model, options, ["edit", file.name])
    plan = plan_edit(report, photo, other, like, regions, mask_file, maps, garments, grown, feather)
    with measured(report), front.progress(options.num_images) as progress:
        tasks = plan.tasks()
        pictures = draw_all(pipeline, tasks, options, plan.size, progress=progress, **plan.editing)
        for i, (drawn, path) in enumerate(zip(pictures, paths, strict=True)):
            report.drawn += 1
            report.write(plan.finished(drawn), path, plan.settings(i, path.name))
    front.take(report)


@dataclass(frozen=True, eq=False)
class EditPlan:
    """A region of a photograph and whose appearance it gets, before anything is drawn.

    Attributes:
        report: of the command.
        photo: the photograph, with its map.
        other: whose appearance.
        mask: bool ``(H, W)``, what may change.
        size: (height, width) that the model works at.
        frame: the part of the photograph that it works on; None for all of it.
        feather: pixels inside the region over which it blends.
        own, words: what metadata say of it, and the words of the command line.
    """

    report: Report
    photo: Photo
    other: Person
    mask: np.ndarray
    size: Size
    frame: PersonFrame | None
    feather: int
    own: dict[str, Any]
    words: Sequence[str]

    @property
    def seeds(self) -> list[int]:
        """Of the pictures."""
        options = self.report.options
        assert isinstance(options, DrawOptions)
        return [options.seed + i for i in range(options.num_images)]

    @property
    def editing(self) -> dict[str, Any]:
        """What the pipeline is told of the photograph and the region."""
        picture = self._person.photos[0].picture
        part = self.mask if self.frame is None else self.frame.labels(self.mask)
        return {"image": picture, "mask": part, "feather": None}

    @property
    def _person(self) -> Person:
        seen = self.photo if self.frame is None else self.photo.through(self.frame)
        return Person((self.photo.path,), (seen,))

    def tasks(self) -> list[Task]:
        """What is to be drawn; both people are encoded here."""
        pose = self.photo.need_pose("editing")
        labels = parts_under(self.mask, pose)
        code = _code(self.report.model.pipeline, self._person, self.other, labels, self.size)
        pose = pose if self.frame is None else framed(pose, self.frame)
        return [Task(code, pose, seed) for seed in self.seeds]

    def finished(self, picture: Image.Image) -> Image.Image:
        """A drawn picture in its photograph."""
        return put_region(picture, self.photo.picture, self.mask, self.frame, self.feather)

    def settings(self, i: int, name: str) -> dict[str, Any]:
        """The metadata of picture ``i``, written as ``name``."""
        return self.report.settings(self.own, [*self.words, "-o", name], self.seeds[i])


def plan_edit(
    report: Report,
    photo: Photo,
    other: Person,
    like: Path,
    regions: Sequence[str],
    mask_file: Path | None = None,
    maps: tuple[Path | None, Path | None] = (None, None),
    garments: Path | None = None,
    grown: int = 0,
    feather: int = 2,
) -> EditPlan:
    """What ``pocold edit`` draws of people whose maps are known; see there for the arguments.

    Raises:
        ValueError: for a region, a mask or maps that cannot be used.
    """
    pose = photo.need_pose("editing")
    mask = grow(_mask(photo, regions, mask_file, garments), grown)
    size = working_size(report.model.pipeline, asked_size(report.options), photo.size)
    own = {"source": photo.about(), "like": other.about()[0], "size": list(size), "feather": feather, "grow": grown}
    own |= {"region": origin(mask_file) if mask_file else list(regions), "region pixels": int(mask.sum())}
    words = again(
        mask=mask_file, region=() if mask_file else regions, like=like, grow=grown, feather=feather,
        source_pose=maps[0], like_pose=maps[1], garments=garments,
    )  # fmt: skip
    frame = edit_frame(photo.size, pose, mask, size)
    return EditPlan(report, photo, other, mask, size, frame, feather, own, words)


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
