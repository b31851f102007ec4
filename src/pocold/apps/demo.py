"""The demonstration: synthetic people in several poses, end to end, offline.

The bundled model draws people of its test split, whom it has never seen, beside what it should have drawn.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw

from pocold.apps.drawing.models import open_model
from pocold.apps.drawing.results import check_replaceable
from pocold.imaging import metadata
from pocold.imaging.metadata import is_generated
from pocold.imaging.sheets import sheet_of_rows
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Person, Picture, Shot, random_person
from pocold.pipeline import PoseTransferPipeline

_SIZE = (256, 176)  # unless the model has one of its own
SOURCE_POSE = "relaxed:front"
TARGET_POSES = ("walk:quarter", "hips:back")
_PEOPLE = ((1, 1), (1, 11), (1, 21))  # seeds and numbers; of the test split, nobody that a model was trained on
_LINE = 20


class DemoFiles(NamedTuple):
    """What the demonstration wrote: the sheet, the files beside it, and who drew."""

    sheet: Path
    parts: list[Path]
    notice: str


def run_demo(output: Path, steps: int | None, seed: int, device: str = "auto", overwrite: bool = False) -> DemoFiles:
    """Draw the sheet: a person per row, their photograph, then for each pose its map, the truth, and what is drawn.

    Args:
        output: the sheet, a ``.png``; the first person's photograph and maps are written beside it: ``person.png``,
            ``person.iuv.png``, ``pose-1.png``, ...
        steps: denoising steps; None takes the model's own number.
        seed: of each person's first drawn picture; the next ones count up.
        device: see :func:`pocold.devices.choose_device`.
        overwrite: replace files that pocold did not write, too.

    Raises:
        ValueError: if ``output`` is not a ``.png``, or ``steps`` or ``seed`` are impossible, there is no such device,
            or a file is in the way.
    """
    if output.suffix.lower() != ".png":
        raise ValueError(f"--output: expected a file name ending in .png, got {output}")
    if seed < 0:
        raise ValueError(f"--seed: expected a number of at least 0, got {seed}")
    files = [output.parent / "person.png", output.parent / "person.iuv.png"]
    files += [output.parent / f"pose-{i}.png" for i in range(1, len(TARGET_POSES) + 1)]
    check_replaceable([output, *files], [], overwrite, is_generated)
    output.parent.mkdir(parents=True, exist_ok=True)
    pipeline, _, digest = open_model(device=device)
    notice = f"bundled model {digest[:12]}"
    size = pipeline.native_size or _SIZE

    people = []
    for number in _PEOPLE:
        person = random_person(*number)
        people.append([photograph(person, pose, size) for pose in (SOURCE_POSE, *TARGET_POSES)])
    rows = [_row(pipeline, source, targets, steps, seed) for source, *targets in people]
    captions = ["photograph"]
    for pose in TARGET_POSES:
        captions += [pose, "truth", "drawn"]
    used = pipeline.sampling.filled(steps, None, None)
    settings = {
        "model": notice, "model sha256": digest, "steps": used.num_inference_steps, "seed": seed,
    }  # fmt: skip
    metadata.write_png(_noted(sheet_of_rows(rows, captions), notice), output, settings)

    source, *targets = people[0]
    about = {"person": list(_PEOPLE[0]), "pose": SOURCE_POSE}
    metadata.write_png(Image.fromarray(source.image), files[0], about)
    source.densepose.write(files[1])
    for target, path in zip(targets, files[2:], strict=True):
        target.densepose.write(path)
    return DemoFiles(output, files, notice)


def photograph(person: Person, pose: str, size: tuple[int, int]) -> Picture:
    """A picture of a synthetic person in a named pose, with its labels."""
    named = parse_pose(pose)
    return person.draw([Shot(named.pose, named.view, named.crop)], size)[0]


def _row(
    pipeline: PoseTransferPipeline, source: Picture, targets: list[Picture], steps: int | None, seed: int
) -> list[Image.Image]:
    """One person's tiles."""
    code = pipeline.encode_appearance(source.image, source_pose=source.densepose)
    drawn = pipeline(
        code,
        [target.densepose for target in targets],
        num_inference_steps=steps,
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
