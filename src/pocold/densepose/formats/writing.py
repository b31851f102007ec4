"""One door for writing a map; the format follows the file's ending."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from pocold.densepose.formats.arrays import write_array
from pocold.densepose.formats.colours import paint
from pocold.densepose.formats.dumps import quantised, write_dump
from pocold.densepose.formats.reading import Layout
from pocold.densepose.maps import CHANNEL_ORDER_KEY, DensePose
from pocold.imaging.files import atomic_write

WRITABLE = (".png", ".npz", ".npy", ".pkl")


def check_writable(path: str | os.PathLike[str], layout: Layout = "auto") -> None:
    """Raise a ValueError unless :func:`write_pose` knows the ending of ``path``, and ``layout`` for it."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITABLE:
        raise ValueError(f"a map is written as {', '.join(WRITABLE)}, got {Path(path).name}")
    if suffix != ".png" and layout != "auto":
        raise ValueError(f"the layout {layout!r} is one of .png files, got {Path(path).name}")


def write_pose(pose: DensePose, path: str | os.PathLike[str], layout: Layout = "auto", *, photo: str = "") -> None:
    """Write a map, atomically.

    Args:
        pose: the map.
        path: ``.png``; ``.npz`` or ``.npy`` (see :func:`pocold.densepose.formats.arrays.write_array`); ``.pkl``, a
            dump as detectron2's ``apply_net.py`` writes it.
        layout: of a ``.png``: ``labels``, a channel order such as ``vui``, or the colours of a visualiser; ``auto`` is
            pocold's own, ``iuv`` where U and V are known and else ``labels``.
        photo: the file name that a dump gives its picture.

    Raises:
        ValueError: for another ending, a layout that does not fit it or needs unknown U and V, or if the file cannot be
            written.
    """
    path = Path(path)
    check_writable(path, layout)
    if path.suffix.lower() == ".pkl":
        write_dump(pose, path, photo or f"{path.stem}.jpg")
    elif path.suffix.lower() != ".png":
        write_array(pose, path)
    elif layout == "auto" or (layout == "iuv" and pose.uv is not None):
        pose.write(path)
    elif layout == "labels":
        DensePose(pose.labels).write(path)
    elif layout == "parula" or layout == "viridis":
        _write_picture(paint(pose, layout), path)
    elif pose.uv is None:
        raise ValueError(f"the layout {layout!r} needs U and V, which this map does not have; write labels")
    else:
        channels = dict(zip("iuv", quantised(pose), strict=True))
        _write_picture(Image.fromarray(np.stack([channels[name] for name in layout], -1)), path, layout)


def _write_picture(picture: Image.Image, path: Path, order: str = "") -> None:
    notes = PngImagePlugin.PngInfo()
    if order:
        notes.add_text(CHANNEL_ORDER_KEY, order)
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=notes)
