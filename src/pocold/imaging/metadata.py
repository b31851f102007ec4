"""What a picture that pocold wrote says of itself: settings in a text chunk, and that it is synthetic."""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from pocold.imaging.files import PICTURE_ERRORS, atomic_write
from pocold.imaging.images import open_picture

_METADATA_KEY = "pocold"


def write_png(image: Image.Image, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
    """Write a generated picture as PNG, atomically, marked as synthetic.

    Args:
        image: RGB picture.
        path: file name ending in ``.png``.
        metadata: JSON-serialisable settings, kept in the text chunk ``pocold``; ``{"synthetic": true}`` is added.

    Raises:
        ValueError: if the name does not end in ``.png`` or the folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"generated pictures are written as .png (they carry metadata), got {path.name}")
    content = png_bytes(image, metadata)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def png_bytes(image: Image.Image, metadata: Mapping[str, Any] | None = None) -> bytes:
    """The content of the file that :func:`write_png` writes."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text(_METADATA_KEY, json.dumps({**(metadata or {}), "synthetic": True}, sort_keys=True))
    content = io.BytesIO()
    image.save(content, format="PNG", pnginfo=notes)
    return content.getvalue()


def read_png_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings that :func:`write_png` stored.

    Raises:
        ValueError: if the file cannot be read or was not written by pocold.
    """
    picture = open_picture(Path(path), "picture")
    try:
        text = getattr(picture, "text", {}).get(_METADATA_KEY)
    except PICTURE_ERRORS as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error
    if text is None:
        raise ValueError(f"{path} carries no pocold metadata")
    try:
        notes = json.loads(text)
    except json.JSONDecodeError:
        notes = None
    if not isinstance(notes, dict):
        raise ValueError(f"{path} carries metadata under pocold's name that pocold did not write")
    return notes


def is_generated(path: Path) -> bool:
    """Whether pocold wrote this picture: any that says so, or a map that it wrote."""
    try:
        with Image.open(path) as picture:
            return any(str(key).startswith("pocold") for key in picture.info)
    except PICTURE_ERRORS:
        return False
