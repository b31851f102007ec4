"""The body of ``pocold animate``: one person, one noise, many poses, one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from pocold.appearance import AppearanceCode
from pocold.apps.animate.motions import Length, Motion, between, from_files, turn, walk
from pocold.apps.drawing.draw import Task, draw_all, measured
from pocold.apps.drawing.front import TERMINAL, FrontEnd
from pocold.apps.drawing.options import DrawOptions, FrameName
from pocold.apps.drawing.results import Report, check_replaceable
from pocold.apps.drawing.sources import cut_out, encode_person, frame_mode, framed, read_person, with_maps
from pocold.apps.drawing.targets import SOURCE, drawing_size, reference_map
from pocold.apps.transfer import asked_size, map_tile
from pocold.densepose.maps import DensePose, require_uv
from pocold.diffusion.noise import surface_noise
from pocold.imaging.animations import check_animation_path, read_notes, write_animation
from pocold.imaging.images import Frame
from pocold.models.densepose_estimator import open_estimator
from pocold.people.body.fitting import Stage
from pocold.pipeline import PoseTransferPipeline

Noise = Literal["shared", "surface", "fresh"]


def run_animate(
    files: Sequence[Path],
    output: Path | None,
    motion: dict[str, Any],
    length: Length,
    loop: bool,
    with_map: bool,
    noise: Noise,
    maps: Sequence[Path],
    like: str,
    frame: FrameName,
    options: DrawOptions,
    front: FrontEnd = TERMINAL,
) -> None:
    """The body of ``pocold animate``; see there. ``motion`` holds ``turn``, ``walk``, ... as given."""
    options.check()
    length.check()
    if options.num_images != 1:
        raise ValueError("--num-images: an animation is drawn once; run the command again with another --seed")
    if output is None:
        raise ValueError("expected a file to write, such as -o out.mp4 (or .webm, .gif, .webp, or a folder of frames)")
    check_animation_path(output)
    words = _words(motion)
    person = read_person(files, maps)
    poses = [motion["poses"]] if motion["poses"] is not None else []
    check_replaceable([output], [*files, *maps, *poses], options.overwrite, is_ours=_is_animation)
    model = front.open(options)
    pipeline = model.pipeline
    person = with_maps(person, pipeline, front.tell)
    report = Report(model, options, ["animate", *(file.name for file in files)])

    size = drawing_size(pipeline, (), person, asked_size(options))
    person = cut_out(person, size, frame)
    mode = frame_mode(frame)
    if poses:
        estimator = pipeline.densepose_estimator
        moved = from_files(poses[0], length, lambda: estimator or open_estimator().to(pipeline.device), front.tell)
    else:
        reference = reference_map(like, person, size, mode)
        if like == SOURCE and reference is not None and not reference.visible_parts & {23, 24}:
            reference = None
        moved = _moved(Stage.of(reference, size), motion, length, loop)

    with measured(report), front.progress(len(moved.maps)) as progress:
        code = encode_person(pipeline, person, asked_size(options), mode)
        shown = [framed(pose, Frame(pose.size, size, mode)) for pose in moved.maps]
        tasks = frame_tasks(pipeline, code, shown, noise, options.seed)
        frames = []
        for pose, picture in zip(shown, draw_all(pipeline, tasks, options, size, mode, progress), strict=True):
            frames.append(_beside(picture, map_tile(pose, size)) if with_map else picture)
            report.drawn += 1
    frames *= moved.repeats
    own = {
        "source": person.about(), "size": list(size), "frame": frame, **moved.about,
        "frames": len(frames), "fps": length.fps, "noise": noise,
    }  # fmt: skip
    words += _length_words(length) + (["--no-loop"] if not loop else []) + (["--with-map"] if with_map else [])
    words += ["--noise", noise] if noise != "shared" else []
    words += ["--source-pose", *(path.name for path in maps)] if maps else []
    words += ["--like", Path(like).name] if like != SOURCE else []
    words += ["--frame", frame] if frame != "pad" else []
    settings = report.settings(own, [*words, "-o", output.name], options.seed)
    write_animation(frames, output, length.fps, settings)
    report.files[str(output)] = settings
    front.take(report)


def _words(motion: dict[str, Any]) -> list[str]:
    """The motion as it was asked for; a ValueError unless it is exactly one."""
    asked = [name for name in ("turn", "walk", "between", "poses") if motion[name]]
    if len(asked) != 1:
        got = " and ".join(f"--{name}" for name in asked) or "none"
        raise ValueError(f"expected one motion: --turn, --walk, --between POSE POSE ... or --poses PATH, got {got}")
    name = asked[0]
    if name == "between":
        return ["--between", *motion["between"]]
    if name == "poses":
        return ["--poses", motion["poses"].name]
    return [f"--{name}", *(["--pose", motion["pose"]] if name == "turn" else ["--view", motion["view"]])]


def _length_words(length: Length) -> list[str]:
    words = ["--fps", f"{length.fps:g}"]
    words += ["--frames", str(length.frames)] if length.frames is not None else []
    return words + (["--seconds", f"{length.seconds:g}"] if length.seconds is not None else [])


def _moved(stage: Stage, motion: dict[str, Any], length: Length, loop: bool) -> Motion:
    if motion["turn"]:
        return turn(stage, motion["pose"], length)
    if motion["walk"]:
        return walk(stage, motion["view"], length)
    return between(stage, motion["between"], length, loop)


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


def _is_animation(path: Path) -> bool:
    try:
        return "command" in read_notes(path)
    except ValueError:
        return False
