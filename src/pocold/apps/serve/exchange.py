"""One request while it is worked on: its files, what it is warned of, its answer."""

import base64
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from pocold.apps.serve.problems import ProblemError
from pocold.apps.serve.requests import File
from pocold.apps.serve.uploads import Uploads, uploads
from pocold.imaging.metadata import png_bytes
from pocold.people.poses import parse_pose

WARNINGS = "X-Pocold-Warnings"


@dataclass(frozen=True)
class Answer:
    """What a request gets: content, its media type, and headers."""

    content: bytes
    media_type: str
    headers: dict[str, str]


@dataclass
class Exchange:
    """A request.

    Attributes:
        files: what was uploaded.
        told: warnings so far.
    """

    files: Uploads
    told: list[str] = field(default_factory=list)

    def tell(self, message: str) -> None:
        """Warn."""
        self.told.append(self.files.plain(message))

    def pose(self, pose: str | File) -> str:
        """A pose as the commands take it: the name of one, or the path of a file that was sent.

        Raises:
            ValueError: for any other text; files of the server are not to be had by their names.
        """
        if isinstance(pose, File):
            return str(self.files.save(pose))
        parse_pose(pose)
        return pose

    def answer(self, content: bytes, media_type: str, name: str) -> Answer:
        """A file."""
        headers = {"Content-Disposition": f'inline; filename="{name}"'}
        return Answer(content, media_type, headers | ({WARNINGS: json.dumps(self.told)} if self.told else {}))

    def pictures(
        self,
        names: Sequence[str],
        pictures: Sequence[Image.Image],
        settings: Sequence[Mapping[str, Any]],
        form: str | None,
    ) -> Answer:
        """Pictures as PNG, zip or JSON.

        Raises:
            ValueError: for several as one PNG.
        """
        form = form or ("png" if len(pictures) == 1 else "zip")
        if form == "png" and len(pictures) != 1:
            raise ValueError(f"format: a png is one picture, got {len(pictures)}; ask for zip or json")
        files = [png_bytes(picture, about) for picture, about in zip(pictures, settings, strict=True)]
        if form == "png":
            return self.answer(files[0], "image/png", names[0].encode("ascii", "replace").decode().replace('"', "_"))
        if form == "zip":
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:  # a PNG gets no smaller
                for name, file in zip(names, files, strict=True):
                    archive.writestr(name, file)
            return self.answer(content.getvalue(), "application/zip", "pictures.zip")
        rows = zip(names, files, settings, strict=True)
        drawn = [{"name": n, "data": base64.b64encode(file).decode(), "settings": s} for n, file, s in rows]
        content_json = json.dumps({"pictures": drawn, "warnings": self.told}).encode()
        return Answer(content_json, "application/json", {})


@contextmanager
def exchange(max_pixels: float) -> Iterator[Exchange]:
    """A request: its files are gone when the block ends, and a ValueError becomes a problem that names no folder."""
    with uploads(max_pixels) as files:
        try:
            yield Exchange(files)
        except ValueError as error:
            raise ProblemError(422, files.plain(str(error))) from error
