"""An animation before it is drawn: one person, one noise, many poses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from pocold.appearance import AppearanceCode
from pocold.apps.animate.motions import Asked, Motion, from_files
from pocold.apps.animate.steadying import steadied
from pocold.apps.drawing.draw import Task
from pocold.apps.drawing.options import STEADY, DrawOptions, FrameName
from pocold.apps.drawing.results import Report, again
from pocold.apps.drawing.sources import (
    Person,
    Tell,
    chosen_frame,
    cut_out,
    encode_person,
    frame_mode,
    keeps_surface,
)
from pocold.apps.drawing.targets import SOURCE, drawing_size, reference_map
from pocold.apps.transfer import asked_size, map_tile
from pocold.densepose.framing import framed
from pocold.densepose.maps import DensePose, require_uv
from pocold.diffusion.noise import surface_noise
from pocold.imaging.images import Frame, FrameMode
from pocold.models.densepose_estimator import DensePoseEstimator, open_estimator
from pocold.people.body.fitting import Stage
from pocold.people.body.label_keypoints import with_fitted_clip
from pocold.photographs import Size
from pocold.pipeline import PoseTransferPipeline

Noise = Literal["shared", "surface", "fresh"]
_HEAD = {23, 24}


@dataclass(frozen=True, eq=False)
class AnimationPlan:
    """One person who moves, before anything is drawn.

    Attributes:
        report: of the command.
        person: with the maps of the photographs.
        asked: the motion.
        motion: its maps.
        poses: the same, framed to the pictures' size.
        size: (height, width) of the pictures.
        frame: how photographs and poses are framed.
        noise: where each frame begins.
        steady: share of the frame before in the body, see :mod:`pocold.apps.animate.steadying`.
        with_map: whether the maps stand beside the pictures.
        words: of the command line.
    """

    report: Report
    person: Person
    asked: Asked
    motion: Motion
    poses: Sequence[DensePose]
    size: Size
    frame: FrameName
    noise: Noise
    steady: float
    with_map: bool
    words: Sequence[str]

    @property
    def mode(self) -> FrameMode:
        """How poses are brought to the pictures' size."""
        return frame_mode(self.frame)

    @property
    def options(self) -> DrawOptions:
        """How pictures are drawn."""
        assert isinstance(self.report.options, DrawOptions)
        return self.report.options

    @cached_property
    def code(self) -> AppearanceCode:
        """The person, encoded."""
        return encode_person(self.report.model.pipeline, self.person, asked_size(self.options), self.mode)

    def tasks(self) -> list[Task]:
        """What is to be drawn. The person is encoded here."""
        return frame_tasks(self.report.model.pipeline, self.code, self.poses, self.noise, self.options.seed)

    def finished(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        """The pictures of the tasks as frames."""
        if self.steady:
            assert self.code.surface is not None
            pictures = list(steadied(pictures, self.poses, self.code.surface[0], self.steady))
        if self.with_map:
            pairs = zip(self.poses, pictures, strict=True)
            pictures = [_beside(picture, map_tile(pose, self.size)) for pose, picture in pairs]
        return list(pictures) * self.motion.repeats

    def settings(self, name: str) -> dict[str, Any]:
        """The metadata of the animation, written as ``name``."""
        own = {
            "source": self.person.about(), "size": list(self.size), "frame": self.frame, **self.motion.about,
            "frames": len(self.poses) * self.motion.repeats, "fps": self.asked.length.fps, "noise": self.noise,
            "steady": self.steady,
        }  # fmt: skip
        return self.report.settings(own, [*self.words, "-o", name], self.options.seed)


def plan_animation(
    report: Report,
    person: Person,
    asked: Asked,
    *,
    noise: Noise = "shared",
    steady: float = STEADY,
    maps: Sequence[Path] = (),
    like: str = SOURCE,
    frame: FrameName = "auto",
    with_map: bool = False,
    tell: Tell,
) -> AnimationPlan:
    """What ``pocold animate`` draws of a person whose maps are known; see there for the arguments.

    Raises:
        ValueError: for a motion, maps or a frame that cannot be used.
    """
    assert isinstance(report.options, DrawOptions)
    asked.check()
    check_steady(steady)
    pipeline = report.model.pipeline
    size = drawing_size(pipeline, (), person, asked_size(report.options))
    frame = chosen_frame(frame, [person])
    person = cut_out(person, size, frame)
    mode = frame_mode(frame)
    if asked.poses is not None:
        motion = from_files(asked.poses, asked.length, _estimator(pipeline), tell)
    else:
        reference = reference_map(like, person, size, mode)
        if like == SOURCE and reference is not None and not reference.visible_parts & _HEAD:
            reference = None  # nothing tells how tall the person is
        motion = asked.moved(Stage.of(reference, size))
    maps_drawn = motion.maps
    if _keeps_surface(pipeline, person):
        maps_drawn = with_fitted_clip(maps_drawn, asked.length.fps, str(asked.poses))
    poses = [framed(pose, Frame(pose.size, size, mode)) for pose in maps_drawn]
    words = asked.words() + again(
        with_map=with_map,
        noise=None if noise == "shared" else noise,
        steady=None if steady == STEADY else f"{steady:g}",
        source_pose=maps,
        like=None if like == SOURCE else Path(like),
        frame=None if frame == "pad" else frame,
    )
    if not _keeps_surface(pipeline, person) or any(pose.uv is None for pose in poses):
        steady = 0.0  # what is seen cannot be told
    return AnimationPlan(report, person, asked, motion, poses, size, frame, noise, steady, with_map, words)


def check_steady(steady: float) -> None:
    """Raise a ValueError for a share that is none, or leaves nothing of the frame itself."""
    if not 0 <= steady < 1:
        raise ValueError(f"--steady: expected a share of at least 0 and below 1, got {steady:g}")


def _keeps_surface(pipeline: PoseTransferPipeline, person: Person) -> bool:
    """Whether the person's code holds what the photographs show."""
    if person.code is not None:
        return person.code.surface is not None
    return keeps_surface(pipeline)


def _estimator(pipeline: PoseTransferPipeline) -> Callable[[], DensePoseEstimator]:
    own = pipeline.densepose_estimator
    return lambda: own or open_estimator().to(pipeline.device)


def frame_tasks(
    pipeline: PoseTransferPipeline, code: AppearanceCode, poses: Sequence[DensePose], noise: Noise, seed: int
) -> list[Task]:
    """What is to be drawn of one person for frames that follow each other.

    Args:
        pipeline: draws.
        code: the person.
        poses: the maps, framed to the pictures' size.
        noise: ``shared`` by all frames, of the body's ``surface``, or ``fresh`` for each.
        seed: of the noise; ``fresh`` counts up from it.

    Raises:
        ValueError: for ``surface`` noise, if a map has no U and V.
    """
    starts = _starts(pipeline, poses, noise, seed)
    return [
        Task(code, pose, seed + (i if noise == "fresh" else 0), start)
        for i, (pose, start) in enumerate(zip(poses, starts, strict=True))
    ]


def _starts(
    pipeline: PoseTransferPipeline, poses: Sequence[DensePose], noise: Noise, seed: int
) -> list[torch.Tensor | None]:
    """The noise that each frame starts from; None leaves it to the frame's seed."""
    if noise != "surface":
        return [None] * len(poses)
    purpose = "--noise surface"
    uv = [torch.from_numpy(require_uv(pose.uv, f"pose {i}", purpose)) for i, pose in enumerate(poses, 1)]
    labels = torch.stack([torch.from_numpy(pose.labels) for pose in poses])
    channels = int(pipeline.unet.config.latent_channels)
    drawn = surface_noise(labels, torch.stack(uv), channels, pipeline.latent_size(*poses[0].size), seed)
    return list(drawn.split(1))


def _beside(picture: Image.Image, tile: Image.Image) -> Image.Image:
    pair = Image.new("RGB", (tile.width + picture.width, picture.height))
    pair.paste(tile, (0, 0))
    pair.paste(picture, (tile.width, 0))
    return pair
