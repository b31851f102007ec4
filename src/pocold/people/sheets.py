"""Contact sheets: the library of poses, and people with their maps, for people to look at."""

import json
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pocold.densepose.maps import DensePose
from pocold.imaging.files import atomic_write
from pocold.imaging.metadata import write_png
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import POSES
from pocold.people.rendering.render import Picture
from pocold.people.rendering.surface import CLASSES

_COLOURS = np.array(
    [[24, 24, 26], [231, 188, 158], [250, 226, 198], [112, 72, 40], [214, 66, 66], [66, 96, 214], [190, 84, 206],
     [242, 158, 48], [62, 190, 122], [88, 190, 214], [245, 245, 245]], dtype=np.uint8,
)  # fmt: skip
assert len(_COLOURS) == len(CLASSES)


def garment_image(garments: np.ndarray) -> np.ndarray:
    """A garment map ``(H, W)`` in colours, uint8 ``(H, W, 3)``."""
    return _COLOURS[garments]


_COLUMNS, _TILE, _LINE = 10, (192, 132), 16  # of the sheet of poses: tiles (height, width), each below its name


def pose_sheet(view: float = 25.0) -> Image.Image:
    """All named poses with their names."""
    height, width = _TILE
    rows = -(-len(POSES) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width, rows * (height + _LINE)), (18, 18, 20))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, (name, pose) in enumerate(POSES.items()):
        left, top = i % _COLUMNS * width, i // _COLUMNS * (height + _LINE)
        sheet.paste(shaded_pose(draw_densepose(pose, view, "full", _TILE)), (left, top + _LINE))
        pen.text((left + width / 2, top + _LINE / 2), name, fill=(235, 235, 235), font=font, anchor="mm")
    return sheet


def pose_tiles(sheet: Image.Image, count: int) -> list[Image.Image]:
    """The first ``count`` pictures of a sheet that :func:`pose_sheet` drew, without their names.

    Raises:
        ValueError: if the sheet has another size.
    """
    height, width = _TILE
    size = _COLUMNS * width, -(-count // _COLUMNS) * (height + _LINE)
    if sheet.size != size:
        raise ValueError(f"expected a sheet of {count} poses, {size[0]}x{size[1]}, got {sheet.width}x{sheet.height}")
    corners = [(i % _COLUMNS * width, i // _COLUMNS * (height + _LINE) + _LINE) for i in range(count)]
    return [sheet.crop((left, top, left + width, top + height)) for left, top in corners]


def shaded_pose(densepose: DensePose) -> Image.Image:
    """Label colours, brighter along V, which shows the roundness of limbs."""
    picture = np.asarray(densepose.to_image(), dtype=np.float32)
    if densepose.uv is not None:
        picture = picture * (0.65 + 0.35 * np.sin(np.pi * densepose.uv[1]))[..., None]
    return Image.fromarray(picture.astype(np.uint8))


def write_pose_sheet(path: str | os.PathLike[str]) -> None:
    """Draw the library into a PNG file.

    Raises:
        ValueError: if the name does not end in ``.png`` or cannot be written.
    """
    write_png(pose_sheet(), path, {"picture": "library of poses"})


def write_people_sheet(rows: list[list[Picture]], path: str | os.PathLike[str], quality: int = 84) -> None:
    """Write people, one per row (see :func:`people_row`), as a JPEG that says it is synthetic.

    Raises:
        ValueError: if the name does not end in ``.jpg``, or the folder does not exist.
    """
    if not str(path).endswith(".jpg"):
        raise ValueError(f"contact sheets of people are written as .jpg (a PNG would be huge), got {path}")
    sheet = Image.fromarray(np.concatenate([people_row(row) for row in rows], 0))
    comment = json.dumps({"synthetic": True, "software": "pocold"}).encode()
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="JPEG", quality=quality, comment=comment)


def people_row(pictures: list[Picture]) -> np.ndarray:
    """Pictures of one person side by side, then their maps at half size: DensePose above, garments below."""
    photos = np.concatenate([picture.image for picture in pictures], 1)
    maps = [
        np.concatenate([np.asarray(shaded_pose(p.densepose))[::2, ::2], garment_image(p.garments)[::2, ::2]], 0)
        for p in pictures
    ]
    return np.concatenate([photos, *maps], 1)
