"""Uploaded files: looked at before they are decoded, and in a folder that is gone with the request."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from pocold.apps.serve.problems import ProblemError
from pocold.apps.serve.requests import File
from pocold.densepose.formats.reading import is_dump
from pocold.imaging.files import PICTURE_ERRORS

# Others that Pillow opens start programs (EPS) or are rarely tested.
_FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF"})


class Uploads:
    """The files of one request.

    Args:
        folder: that they are written into.
        max_pixels: of one picture.
    """

    def __init__(self, folder: Path, max_pixels: float) -> None:
        self.folder, self._max_pixels, self._number = folder, max_pixels, 0

    def save(self, file: File, ending: str = ".png") -> Path:
        """Write a file; each in its own folder, so that none is found beside another.

        Args:
            file: what was uploaded. Of its name only harmless characters are kept.
            ending: of files that have none.

        Raises:
            ProblemError: for a picture of too many pixels or of a strange format, a dump, or an empty file.
        """
        self._number += 1
        place = self.folder / str(self._number)
        place.mkdir()
        name = re.sub(r"[^\w. -]", "_", file.name.replace("\\", "/").rpartition("/")[2]).strip(". ")[-80:] or "file"
        path = place / (name if "." in name else name + ending)
        if not file.data:
            raise ProblemError(422, f"{path.name}: the file is empty")
        path.write_bytes(file.data)
        self._check(path)
        return path

    def plain(self, sentence: str) -> str:
        """A sentence without the names of the folders."""
        return re.sub(re.escape(str(self.folder)) + r"/(\d+/)?", "", sentence)

    def _check(self, path: Path) -> None:
        try:
            with warnings.catch_warnings(), Image.open(path) as opened:  # reads the header alone
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                kind, (width, height) = opened.format, opened.size
        except PICTURE_ERRORS:
            kind = None
        if kind is None:
            if path.suffix != ".safetensors" and is_dump(path):
                raise ProblemError(
                    422, f"{path.name}: dumps are not read over HTTP; pocold pose DUMP -o FOLDER converts them"
                )
            return
        if kind not in _FORMATS:
            raise ProblemError(422, f"{path.name}: expected a JPEG, PNG or WebP, got {kind}")
        if width * height > self._max_pixels:
            limit = f"{self._max_pixels / 1e6:g} megapixels"
            raise ProblemError(413, f"{path.name}: {width}x{height} is more than {limit}; scale it down before")


@contextmanager
def uploads(max_pixels: float) -> Iterator[Uploads]:
    """A folder for the files of one request; it is gone when the block ends, however that is."""
    with TemporaryDirectory(prefix="pocold-") as folder:
        yield Uploads(Path(folder), max_pixels)
