"""The demonstration: one synthetic person in several poses, end to end, offline.

There are no trained weights yet: the toy model that draws is built from a fixed seed and has learned nothing. What the
sheet shows is the way of the data, beside what a trained model should draw.
"""

from pathlib import Path

import torch
from PIL import Image, ImageDraw

from pocold import images
from pocold.people.poses import parse_pose
from pocold.people.render import Person, Picture, Shot, random_person
from pocold.pipeline import PoseTransferPipeline

SIZE = (256, 176)
NOTICE = "untrained toy model: 'drawn' shows the data flow, not a result"
SOURCE_POSE = "relaxed:front"
TARGET_POSES = ("walk:quarter", "hips:back")
_PERSON = (1, 0)  # seed and number of the synthetic person; any would do
_GAP, _CAPTION = 8, 18


def run_demo(output: Path, steps: int, seed: int) -> list[Path]:
    """Draw the sheet (photograph; then for each pose its map, the truth, and what the model draws), and its parts.

    Args:
        output: the sheet, a ``.png``; ``person.png`` and ``pose-1.png``, ... are written beside it.
        steps: denoising steps.
        seed: of the first drawn picture; the next ones count up.

    Returns:
        The files written, the sheet first.

    Raises:
        ValueError: if ``output`` is not a ``.png``, or ``steps`` or ``seed`` are impossible.
    """
    if output.suffix.lower() != ".png":
        raise ValueError(f"--output: expected a file name ending in .png, got {output}")
    if seed < 0:
        raise ValueError(f"--seed: expected a number of at least 0, got {seed}")
    output.parent.mkdir(parents=True, exist_ok=True)
    person = random_person(*_PERSON)
    source, *targets = (photograph(person, pose) for pose in (SOURCE_POSE, *TARGET_POSES))

    pipeline = PoseTransferPipeline.from_preset("toy", seed=0)
    code = pipeline.encode_appearance(source.image)
    drawn = pipeline(
        code,
        [target.densepose for target in targets],
        num_inference_steps=steps,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(len(targets))],
    ).images

    tiles = [("photograph", Image.fromarray(source.image))]
    for name, target, picture in zip(TARGET_POSES, targets, drawn, strict=True):
        tiles += [(name, target.densepose.to_image()), ("truth", Image.fromarray(target.image)), ("drawn", picture)]
    settings = {"model": "toy preset, untrained", "steps": steps, "seed": seed}
    images.write_png(_sheet(tiles), output, {**settings, "note": NOTICE})

    paths = [output, output.parent / "person.png"]
    images.write_png(tiles[0][1], paths[1], {"person": list(_PERSON), "pose": SOURCE_POSE})
    for i, target in enumerate(targets):
        paths.append(output.parent / f"pose-{i + 1}.png")
        target.densepose.write(paths[-1])
    return paths


def photograph(person: Person, pose: str) -> Picture:
    """A picture of a synthetic person in a named pose, with its labels."""
    named = parse_pose(pose)
    return person.draw([Shot(named.pose, named.view, named.crop)], SIZE)[0]


def _sheet(tiles: list[tuple[str, Image.Image]]) -> Image.Image:
    """Tiles in a row, their captions above, the notice below."""
    height, width = SIZE
    sheet = Image.new("RGB", ((width + _GAP) * len(tiles) + _GAP, height + 2 * _CAPTION + 2 * _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (caption, tile) in enumerate(tiles):
        left = _GAP + i * (width + _GAP)
        pen.text((left, _GAP // 2), caption, fill="black", font_size=13)
        sheet.paste(tile, (left, _GAP // 2 + _CAPTION))
    pen.text((_GAP, height + _CAPTION + _GAP), NOTICE, fill="black", font_size=13)
    return sheet
