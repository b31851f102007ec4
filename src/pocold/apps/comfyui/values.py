"""What flows between nodes: ComfyUI's pictures and masks, and the maps and people that they become.

An IMAGE is a float tensor ``(B, H, W, 3)`` in [0, 1], a MASK one of ``(B, H, W)``. Legend: B pictures of a batch, H W
their size.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pocold.appearance import AppearanceCode
from pocold.apps.comfyui import host
from pocold.apps.drawing.models import Model
from pocold.apps.drawing.sources import Person
from pocold.densepose.maps import DensePose
from pocold.imaging.images import load_image
from pocold.photographs import Photo, Size, check_map_size

Maps = tuple[DensePose, ...]  # POCOLD_MAP
_SAME_SHAPE = 0.02  # by which a scaled mask's height : width may differ, from rounding its sides


def named(name: str, count: int) -> list[str]:
    """What errors call each of a batch."""
    return [name] if count == 1 else [f"{name} {i}" for i in range(1, count + 1)]


def to_pictures(image: Any, name: str = "image") -> list[Image.Image]:
    """An IMAGE as RGB pictures; values a little outside [0, 1], as resizing leaves them, are cut off.

    Raises:
        ValueError: if it is none, or a picture holds NaN or is too small.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or not len(image):
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"{name}: expected pictures (B, H, W, 3), got {got}")
    batch = image.detach().float().clamp(0, 1).cpu().numpy()
    return [load_image(one, of) for one, of in zip(batch, named(name, len(batch)), strict=True)]


def to_image(pictures: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size as an IMAGE, float32."""
    return torch.from_numpy(np.stack([np.asarray(picture, dtype=np.float32) / 255 for picture in pictures]))


def to_masks(mask: Any, photos: Sequence[Photo]) -> list[np.ndarray]:
    """A MASK as one bool ``(H, W)`` for each photograph, True from 0.5 up; scaled, if it has the photograph's shape.

    Raises:
        ValueError: if it is none, is black, has another shape, or there are neither one nor as many as photographs.
    """
    if isinstance(mask, Tensor) and mask.ndim == 2:
        mask = mask[None]
    if not isinstance(mask, Tensor) or mask.ndim != 3:
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask: expected masks (B, H, W), got {got}")
    if len(mask) not in (1, len(photos)):
        raise ValueError(f"mask: expected one for all photographs, or one for each of {len(photos)}, got {len(mask)}")
    names, found = named("mask", len(mask)), []
    for i, photo in enumerate(photos):
        number = i if len(mask) > 1 else 0
        one, name = mask[number].detach().float().cpu(), names[number]
        if not (one >= 0.5).any():  # first: for a picture without transparency ComfyUI makes a small black one
            raise ValueError(f"{name} is black: there is nothing to change; white is what may change")
        height, width = one.shape
        if abs(height * photo.size[1] / (width * photo.size[0]) - 1) > _SAME_SHAPE:
            check_map_size((height, width), photo.picture, Path(name), photo.path)
        scaled = F.interpolate(one[None, None], photo.size, mode="bilinear") if one.shape != photo.size else one
        region = scaled.reshape(photo.size).numpy() >= 0.5
        if not region.any():
            raise ValueError(f"{name} is too small a spot to be seen at the photograph's size; draw a larger one")
        found.append(region)
    return found


def find_maps(model: Model, pictures: Sequence[Image.Image], name: str) -> Maps:
    """The maps of photographs.

    Raises:
        ValueError: for a photograph in which nobody is found.
    """
    estimator = model.pipeline.densepose_estimator
    assert estimator is not None  # the node that loads a model sees to it
    tell, found = host.progress(len(pictures)), list[DensePose]()
    for i, (picture, of) in enumerate(zip(pictures, named(name, len(pictures)), strict=True), 1):
        found.append(Photo(Path(of), picture).found(estimator).need_pose("drawing"))
        tell(i)
    return tuple(found)


def to_photos(model: Model, image: Any, maps: Maps | None, name: str, needed: bool = True) -> tuple[Photo, ...]:
    """Photographs with their maps.

    Args:
        model: its estimator finds the maps if there are none.
        image: an IMAGE.
        maps: of each, or None.
        name: what to call them in errors.
        needed: whether maps are to be found at all.

    Raises:
        ValueError: for no pictures, maps of another number or size, or a photograph in which nobody is found.
    """
    pictures = to_pictures(image, name)
    names = [Path(of) for of in named(name, len(pictures))]
    poses: Sequence[DensePose | None] = [None] * len(pictures)
    if maps is not None:
        if len(maps) != len(pictures):
            raise ValueError(f"{name}: expected one map for each of {len(pictures)} photographs, got {len(maps)}")
        for pose, picture, of in zip(maps, pictures, names, strict=True):
            check_map_size(pose.size, picture, Path("the map"), of)
        poses = maps
    elif needed:
        poses = find_maps(model, pictures, name)
    return tuple(Photo(*one) for one in zip(names, pictures, poses, strict=True))


def to_person(
    model: Model, name: str, given: tuple[Any, Maps | None, AppearanceCode | None], needed: bool = True
) -> Person:
    """A person, given as IMAGE, maps or None, and code.

    Raises:
        ValueError: unless exactly one of image and code is given; as :func:`to_photos`.
    """
    image, maps, code = given
    if (image is None) == (code is None):
        got = "neither" if code is None else "both"
        raise ValueError(f"expected photographs as {name}_image, or a code as {name}_code, got {got}")
    if code is None:
        photos = to_photos(model, image, maps, f"{name}_image", needed)
        return Person(tuple(photo.path for photo in photos), photos)
    if maps is not None:
        raise ValueError(f"{name}_map is the map of a photograph, but {name}_code is an appearance code")
    return Person((Path(f"{name}_code"),), code=code)


def scaled_down(size: Size, longest: int) -> Size:
    """(height, width) of the same shape, with sides of at most ``longest``."""
    factor = min(1.0, longest / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
