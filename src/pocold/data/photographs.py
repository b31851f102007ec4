"""Photographs that stand behind people in training: which there are in some folders, and parts of them.

Legend: H W picture size.
"""

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pocold.imaging.files import PICTURE_ERRORS
from pocold.imaging.images import load_image, to_tensor

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
_KEPT_SIDE = 512  # photographs are kept in memory at this size


def photograph_part(path: str, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A random part of a photograph, half of the time out of focus, ``(3, H, W)`` in [-1, 1]."""
    picture = _shrunk(path)
    share = _uniform(generator, 0.5, 1.0)
    height = share * min(picture.height, picture.width * size[0] / size[1])
    width = height * size[1] / size[0]
    left, top = _uniform(generator, 0, picture.width - width), _uniform(generator, 0, picture.height - height)
    box = (left, top, left + width, top + height)
    part = to_tensor(picture.resize(size[::-1], Image.Resampling.BILINEAR, box=box))[0]
    if _uniform(generator) < 0.5:
        coarse = [max(2, int(side / _uniform(generator, 1.5, 6))) for side in size]
        small = F.interpolate(part[None], coarse, mode="area")
        part = F.interpolate(small, size, mode="bilinear")[0]
    return part.clamp(-1, 1)


@lru_cache(maxsize=512)
def _shrunk(path: str) -> Image.Image:
    picture = load_image(path, path)
    share = _KEPT_SIDE / min(picture.size)
    if share < 1:
        picture = picture.resize((round(picture.width * share), round(picture.height * share)), reducing_gap=2.0)
    return picture


def find_photographs(folders: tuple[str, ...], name: str = "photographs") -> tuple[str, ...]:
    """The pictures in some folders and below, sorted; broken ones are left out.

    Args:
        folders: to look in.
        name: of the setting that says so, for errors.

    Raises:
        ValueError: for a folder that does not exist or holds none.
    """
    found: list[str] = []
    for folder in folders:
        if not Path(folder).is_dir():
            raise ValueError(f"{name}: no such folder: {folder}")
        here = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in _ENDINGS)
        whole = [path for path in here if _opens(path)]
        if not whole:
            raise ValueError(f"{name}: {folder} holds no pictures ({', '.join(_ENDINGS)})")
        found += whole
    return tuple(found)


def _opens(path: str) -> bool:
    try:
        with Image.open(path) as picture:
            return min(picture.size) >= 128
    except PICTURE_ERRORS:
        return False


def _uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
