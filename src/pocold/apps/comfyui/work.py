"""What the nodes do: each calls what a command calls. Loaded when a node runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pocold.appearance import AppearanceCode
from pocold.apps.animate import motions
from pocold.apps.animate.plan import Noise, frame_tasks
from pocold.apps.comfyui import host
from pocold.apps.comfyui.values import (
    Maps,
    find_maps,
    scaled_down,
    to_image,
    to_masks,
    to_person,
    to_photos,
    to_pictures,
)
from pocold.apps.comfyui.widgets import pose_names
from pocold.apps.drawing.draw import Task, draw_all
from pocold.apps.drawing.models import Model, open_model, with_estimator
from pocold.apps.drawing.options import DrawOptions, Precision
from pocold.apps.drawing.regions import edit_frame, grow, region_mask
from pocold.apps.drawing.results import Report
from pocold.apps.drawing.sources import (
    DEFAULT_SIZE,
    Person,
    encode_person,
    named_parts,
    warn,
    working_size,
)
from pocold.apps.drawing.targets import Target, read_targets, warn_of_missing
from pocold.apps.edit import EditPlan
from pocold.apps.mix import mix_people
from pocold.apps.transfer import asked_size, map_tile
from pocold.densepose.formats.reading import read_pose
from pocold.densepose.framing import framed
from pocold.densepose.keypoints import is_keypoints, openpose_people
from pocold.densepose.maps import DensePose
from pocold.imaging.images import Frame, FrameMode
from pocold.people.body.camera import parse_size
from pocold.people.body.fitting import Stage
from pocold.people.body.keypoint_maps import draw_keypoints, read_keypoint_pose
from pocold.photographs import Size

_LONGEST = 1024  # side of the maps that are drawn for a larger photograph
Given = tuple[Any, Maps | None, AppearanceCode | None]  # a person: IMAGE, its maps, or a code


def load_model(folder: str, precision: Precision, device: str, scheduler: str | None) -> Model:
    """A model folder, or the bundled one, with an estimator; on ComfyUI's device if it is ``auto``."""
    place = host.device() if device == "auto" else device
    model = with_estimator(open_model(host.find_path(folder) if folder.strip() else None, precision, place))
    if scheduler is not None:
        model.pipeline.set_scheduler(scheduler)
    return model


# -- maps ------------------------------------------------------------------------------------------------------------


def find_body(model: Model, image: Any) -> tuple[Maps, Tensor]:
    """The maps of photographs, and their colours over the photographs."""
    pictures = to_pictures(image)
    maps = find_maps(model, pictures, "image")
    return maps, to_image([pose.over(picture) for pose, picture in zip(maps, pictures, strict=True)])


def cut_out_people(model: Model, image: Any, maps: Maps) -> tuple[Tensor, Maps]:
    """Photographs and maps cut out around the person, at the model's size, or that of the first photograph."""
    photos = to_photos(model, image, maps, "image")
    size = working_size(model.pipeline, None, photos[0].size)
    parts = [photo.cut_out(size) for photo in photos]
    return to_image([part.picture for part in parts]), tuple(part.need_pose("cutting out") for part in parts)


def shown(maps: Maps) -> tuple[Maps, Tensor]:
    """Maps, and their colours at the size of the first."""
    return maps, to_image([map_tile(pose, maps[0].size) for pose in maps])


def named_poses(text: str, like: Maps | None, size: str | None) -> Maps:
    """The maps of named poses, fitted to the person of the first of ``like``."""
    reference, drawn = _reference(like, size)
    return tuple(target.pose for target in read_targets(pose_names(text), drawn, reference))


def moving(
    motion: Literal["turn", "walk", "between"],
    poses: str,
    view: str,
    frames: int,
    loop: bool,
    like: Maps | None,
    size: str | None,
) -> Maps:
    """The maps of a motion, of the person of the first of ``like``."""
    reference, drawn = _reference(like, size)
    if reference is not None and not reference.visible_parts & {23, 24}:
        reference = None
    stage, length = Stage.of(reference, drawn), motions.Length(frames=frames)
    length.check()
    if motion == "walk":
        return tuple(motions.walk(stage, view, length).maps)
    names = pose_names(poses)
    if motion == "between":
        return tuple(motions.between(stage, names, length, loop).maps)
    if len(names) != 1:
        raise ValueError(f"poses: a turn shows one pose, got {', '.join(names)}")
    return tuple(motions.turn(stage, names[0], length).maps)


def _reference(like: Maps | None, size: str | None) -> tuple[DensePose | None, Size]:
    """The map that poses are fitted to, and (height, width) of theirs."""
    asked = None if size is None else parse_size(size)
    if not like:
        return None, asked or DEFAULT_SIZE
    drawn = asked or scaled_down(like[0].size, _LONGEST)
    return framed(like[0], Frame(like[0].size, drawn)), drawn


def read_poses(text: str, person: int | None) -> Maps:
    """The map of a file, or those of a folder in the order of the numbers in their names."""
    path = host.find_path(text)
    if path.is_dir():
        if person is not None:
            raise ValueError(f"person: of each file of a folder the largest is taken; leave it at 0, got {person}")
        return tuple(motions.from_files(path, motions.Length(), _no_estimator, warn).maps)
    if is_keypoints(path):
        return (read_keypoint_pose(path, person=person),)
    return (read_pose(path, person=person or 1),)


def _no_estimator() -> Any:
    raise AssertionError("a folder of maps needs no estimator")


def keypoint_poses(keypoints: Any, person: int) -> Maps:
    """The maps of keypoints as ComfyUI's nodes have them: OpenPose's form, one of each picture.

    Raises:
        ValueError: if they are of another kind, or no picture shows so many people.
    """
    pictures = keypoints if isinstance(keypoints, list | tuple) else [keypoints]
    tell, maps = host.progress(len(pictures)), list[DensePose]()
    for i, content in enumerate(pictures, 1):
        people = openpose_people(content, f"keypoints {i}")
        if len(people) >= person:
            maps.append(draw_keypoints(people[person - 1]))
        tell(i)
    if not maps:
        raise ValueError(f"keypoints: none of {len(pictures)} pictures shows {person} people")
    if len(maps) < len(pictures):
        warn(f"keypoints: {len(pictures) - len(maps)} of {len(pictures)} pictures show too few people; left out")
    return tuple(maps)


def part_masks(maps: Maps, parts: str, pixels: int) -> Tensor:
    """Where maps of one size show parts of the body, float32 ``(B, H, W)``."""
    regions = [f"parts:{name}" for name in _words(parts)]
    masks = [grow(region_mask(regions, pose, None), pixels) for pose in maps]
    if len({mask.shape for mask in masks}) > 1:
        raise ValueError("map: expected maps of one size, that of the pictures of one batch")
    return torch.from_numpy(np.stack(masks).astype(np.float32))


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


# -- people ----------------------------------------------------------------------------------------------------------


def encode(
    model: Model,
    image: Any,
    maps: Maps | None,
    parts: str,
    frame: FrameMode,
    size: str | None,
    more: AppearanceCode | None,
) -> AppearanceCode:
    """The code of one person's photographs, together with those of ``more``."""
    names = named_parts(_words(parts)) or None
    photos = to_photos(model, image, maps, "image", names is not None or _takes_maps(model))
    person = Person(tuple(photo.path for photo in photos), photos)
    code = encode_person(model.pipeline, person, _asked(size), frame, names)
    return code if more is None else AppearanceCode.union([more, code])


def mix(
    model: Model, people: tuple[Given, Given], parts: str, weight: float, frame: FrameMode, size: str | None
) -> AppearanceCode:
    """The code of the first person with a share of the second."""
    names = named_parts(_words(parts)) or None
    needed = names is not None or _takes_maps(model)
    first, second = (
        to_person(model, name, person, needed) for name, person in zip(("first", "second"), people, strict=True)
    )
    return mix_people(model.pipeline, first, second, weight, names, _asked(size), frame)


def _takes_maps(model: Model) -> bool:
    return model.pipeline.takes_surface_hint or model.pipeline.refiner is not None


def _asked(size: str | None) -> Size | None:
    return None if size is None else parse_size(size)


# -- pictures --------------------------------------------------------------------------------------------------------


def transfer(model: Model, code: AppearanceCode, maps: Maps, options: DrawOptions, frame: FrameMode) -> Tensor:
    """One person in some poses, ``options.num_images`` of each: IMAGE."""
    size = working_size(model.pipeline, asked_size(options), maps[0].size)
    targets = [Target(f"pose {i}", pose) for i, pose in enumerate(maps, 1)]
    warn_of_missing(Person((Path("code"),), code=code), targets)
    seeds = range(options.seed, options.seed + options.num_images)
    tasks = [Task(code, pose, seed) for pose in maps for seed in seeds]
    return _drawn(model, tasks, options, size, frame)


def animate(
    model: Model, code: AppearanceCode, maps: Maps, options: DrawOptions, frame: FrameMode, noise: Noise
) -> Tensor:
    """The frames of a motion: IMAGE."""
    size = working_size(model.pipeline, asked_size(options), maps[0].size)
    poses = [framed(pose, Frame(pose.size, size, frame)) for pose in maps]
    return _drawn(model, frame_tasks(model.pipeline, code, poses, noise, options.seed), options, size, frame)


def _drawn(model: Model, tasks: Sequence[Task], options: DrawOptions, size: Size, frame: FrameMode) -> Tensor:
    return to_image(list(draw_all(model.pipeline, tasks, options, size, frame, host.progress(len(tasks)))))


def edit(
    model: Model,
    image: Any,
    mask: Any,
    maps: Maps | None,
    like: Given,
    grown: int,
    feather: int,
    options: DrawOptions,
) -> Tensor:
    """Photographs with one region in another person's appearance, ``options.num_images`` of each: IMAGE."""
    photos = to_photos(model, image, maps, "image")
    masks = [grow(region, grown) for region in to_masks(mask, photos)]
    other = to_person(model, "like", like)
    size = working_size(model.pipeline, asked_size(options), photos[0].size)
    report = Report(model, options, ["edit"])
    tell, drawn = host.progress(len(photos) * options.num_images), list[Image.Image]()
    for photo, region in zip(photos, masks, strict=True):
        frame = edit_frame(photo.size, photo.need_pose("editing"), region, size)
        plan = EditPlan(report, photo, other, region, size, frame, feather, {}, ())

        def progress(done: float, before: int = len(drawn)) -> None:
            tell(before + done)

        pictures = draw_all(model.pipeline, plan.tasks(), options, size, progress=progress, **plan.editing)
        drawn += [plan.finished(picture) for picture in pictures]
    return to_image(drawn)
