"""What one opened page has: its files, its pose, and whether it wants to stop. All of it is gone when it is closed."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Timer

from pocold.apps.drawing.sources import Person
from pocold.apps.serve.requests import File
from pocold.apps.serve.uploads import Uploads
from pocold.apps.ui.example import Example

_RESULTS = "0"  # files are kept in folders 1, 2, ...
_GRACE = 300.0  # seconds; a telephone that shows its camera leaves the page for a while, and comes back


@dataclass(eq=False)
class Session:
    """One opened page.

    Attributes:
        folder: of its files.
        files: saves what is uploaded.
        photos: of the person.
        maps: of the photographs, as far as they were given: none, or one for each.
        second: photographs of others, by the part of the page that they were given to.
        name: of the named pose that is chosen.
        view: in degrees, that it is seen from.
        pose_file: a map or keypoints instead.
        extras: maps by the part of the page that they were given to.
        person: the photographs with their maps, once they were looked at.
        stop: set when what is being drawn is not wanted any more.
        left: a token of when the page was last seen to go; None while it is there.
    """

    folder: Path
    files: Uploads
    photos: list[Path]
    second: dict[str, Path]
    name: str
    view: float
    maps: list[Path] = field(default_factory=list)
    pose_file: Path | None = None
    extras: dict[str, Path] = field(default_factory=dict)
    person: Person | None = None
    stop: Event = field(default_factory=Event)
    left: object | None = None

    @property
    def pose(self) -> str:
        """The pose as the commands take it: ``walk:35``, or the path of a file."""
        return f"{self.name}:{self.view:g}" if self.pose_file is None else str(self.pose_file)

    def save(self, path: str | Path | None) -> Path | None:
        """Keep an uploaded file, in a folder of its own.

        Raises:
            ProblemError: for what cannot be used, see :class:`pocold.apps.serve.uploads.Uploads`.
        """
        if path is None:
            return None
        path = Path(path)
        return self.files.save(File(name=path.name[-200:], data=path.read_bytes()))

    def save_all(self, paths: Sequence[str | Path] | None) -> list[Path]:
        """Keep several."""
        return [kept for path in paths or () if (kept := self.save(path)) is not None]

    def results(self) -> Path:
        """An empty folder for what is drawn next."""
        folder = self.folder / _RESULTS
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def plain(self, sentence: str) -> str:
        """A sentence without the names of the server's folders."""
        return re.sub(re.escape(str(self.folder.parent.parent)) + r"/(?:[^/\s]+/)*", "", sentence)


class Sessions:
    """The opened pages. Safe in threads.

    Args:
        root: folder, in which each has one.
        example: that every page begins with.
        max_pixels: of one picture.
        grace: seconds that files of a page are kept after it went.
    """

    def __init__(self, root: Path, example: Example, max_pixels: float, grace: float = _GRACE) -> None:
        self._root, self._example, self._max_pixels, self._grace = root / "sessions", example, max_pixels, grace
        self._root.mkdir(exist_ok=True)
        self._lock = Lock()
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, key: str) -> Session:
        """A page that was loaded. It begins anew if it was there before."""
        self.close(key)
        with self._lock:
            folder = self._root / re.sub(r"\W", "_", key)[-64:]
            folder.mkdir()
            example = self._example
            second = {"edit": example.other, "mix": example.other}
            session = Session(
                folder, Uploads(folder, self._max_pixels), [example.photo], second, *example.pose, person=example.person
            )
            self._sessions[key] = session
            return session

    def get(self, key: str) -> Session:
        """The session of a page.

        Raises:
            ValueError: if the server does not know it, or no longer.
        """
        session = self._sessions.get(key)
        if session is None:
            raise ValueError("the server has forgotten this page and its files: load the page again")
        session.left = None
        return session

    def leave(self, key: str) -> None:
        """A page went: what is drawn for it stops at once, and its files go unless it comes back in time."""
        session = self._sessions.get(key)
        if session is None:
            return
        session.stop.set()
        left = session.left = object()

        def close() -> None:
            if session.left is left:
                self.close(key)

        timer = Timer(self._grace, close)
        timer.daemon = True
        timer.start()

    def close(self, key: str) -> None:
        """Stop what is drawn for a page, and remove its files."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is not None:
            session.stop.set()
            shutil.rmtree(session.folder, ignore_errors=True)
