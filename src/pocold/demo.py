"""The demonstration: synthetic people in several poses, end to end, offline.

The bundled model draws if this version comes with one. Otherwise a toy model does that was built from a fixed seed and
has learned nothing: then the sheet shows the way of the data, beside what a trained model should draw.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw

from pocold import images
from pocold.drawing.models import bundled_pipeline, open_model, pipeline_hash
from pocold.people.poses import parse_pose
from pocold.people.render import Person, Picture, Shot, random_person
from pocold.pipeline import PoseTransferPipeline
from pocold.sheets import sheet_of_rows

SIZE = (256, 176)  # unless the model has one of its own
NOTICE = "untrained toy model: 'drawn' shows the data flow, not a result"
SOURCE_POSE = "relaxed:front"
TARGET_POSES = ("walk:quarter", "hips:back")
_PEOPLE = ((1, 1), (1, 11), (1, 21))  # seeds and numbers; of the test split, nobody that a model was trained on
_SCALE = (
    3.0  # guidance of pose and appearance, constant: the best of those tried for the bundled model (docs/results.md)
)
_LINE = 20


class DemoFiles(NamedTuple):
    """What the demonstration wrote: the sheet, the files beside it, and who drew."""

    sheet: Path
    parts: list[Path]
    notice: str


def run_demo(output: Path, steps: int, seed: int) -> DemoFiles:
    """Draw the sheet: a person per row, their photograph, then for each pose its map, the truth, and what is drawn.

    Args:
        output: the sheet, a ``.png``; the first person's photograph and maps are written beside it: ``person.png``,
            ``person.iuv.png``, ``pose-1.png``, ...
        steps: denoising steps.
        seed: of each person's first drawn picture; the next ones count up.

    Raises:
        ValueError: if ``output`` is not a ``.png``, or ``steps`` or ``seed`` are impossible.
    """
    if output.suffix.lower() != ".png":
        raise ValueError(f"--output: expected a file name ending in .png, got {output}")
    if seed < 0:
        raise ValueError(f"--seed: expected a number of at least 0, got {seed}")
    output.parent.mkdir(parents=True, exist_ok=True)
    pipeline, notice = _pipeline()
    size = pipeline.native_size or SIZE

    people = []
    for number in _PEOPLE:
        person = random_person(*number)
        people.append([photograph(person, pose, size) for pose in (SOURCE_POSE, *TARGET_POSES)])
    rows = [_row(pipeline, source, targets, steps, seed) for source, *targets in people]
    captions = ["photograph"]
    for pose in TARGET_POSES:
        captions += [pose, "truth", "drawn"]
    settings = {"model": notice, "model sha256": pipeline_hash(pipeline), "steps": steps, "seed": seed}
    images.write_png(_noted(sheet_of_rows(rows, captions), notice), output, settings)

    source, *targets = people[0]
    files = [output.parent / "person.png", output.parent / "person.iuv.png"]
    about = {"person": list(_PEOPLE[0]), "pose": SOURCE_POSE}
    images.write_png(Image.fromarray(source.image), files[0], about)
    source.densepose.write(files[1])
    for i, target in enumerate(targets):
        files.append(output.parent / f"pose-{i + 1}.png")
        target.densepose.write(files[-1])
    return DemoFiles(output, files, notice)


def _pipeline() -> tuple[PoseTransferPipeline, str]:
    """Who draws, and what is to be said of it."""
    if bundled_pipeline() is not None:
        model = open_model()
        return model.pipeline, f"bundled model {model.sha256[:12]}"
    pipeline = PoseTransferPipeline.from_preset("toy", seed=0)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, NOTICE


def photograph(person: Person, pose: str, size: tuple[int, int] = SIZE) -> Picture:
    """A picture of a synthetic person in a named pose, with its labels."""
    named = parse_pose(pose)
    return person.draw([Shot(named.pose, named.view, named.crop)], size)[0]


def _row(
    pipeline: PoseTransferPipeline, source: Picture, targets: list[Picture], steps: int, seed: int
) -> list[Image.Image]:
    """One person's tiles."""
    code = pipeline.encode_appearance(
        source.image, source_pose=source.densepose if pipeline.takes_surface_hint else None
    )
    drawn = pipeline(
        code,
        [target.densepose for target in targets],
        num_inference_steps=steps,
        pose_guidance_scale=_SCALE,
        appearance_guidance_scale=_SCALE,
        guidance_floor=None,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(len(targets))],
    ).images
    tiles = [Image.fromarray(source.image)]
    for target, picture in zip(targets, drawn, strict=True):
        tiles += [target.densepose.to_image(), Image.fromarray(target.image), picture]
    return tiles


def _noted(sheet: Image.Image, notice: str) -> Image.Image:
    """The sheet with a line below."""
    noted = Image.new("RGB", (sheet.width, sheet.height + _LINE), "white")
    noted.paste(sheet)
    ImageDraw.Draw(noted).text((4, sheet.height), notice, fill="black", font_size=13)
    return noted
