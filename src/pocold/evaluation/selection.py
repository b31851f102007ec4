"""Which pairs and which real pictures are looked at, and how they are read. Nothing is left out silently."""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from pocold.data.contents import Contents, bytes_checksum, files_checksum
from pocold.data.folder import photographs_of
from pocold.data.pairs import View
from pocold.data.pictures import Pair, PairDataset, RawPicture, require_folder
from pocold.data.shards import ShardPairs
from pocold.imaging.images import load_image

_VIEWS_KEPT = 16  # decoded pictures; neighbouring pairs share sources


def evenly(items: list[Any], limit: int | None) -> list[Any]:
    """``limit`` of the items, evenly spread from the first on; all of them if there are no more.

    Raises:
        ValueError: if ``limit`` is not positive.
    """
    if limit is None:
        return items
    if limit < 1:
        raise ValueError(f"a limit must be at least 1, got {limit}")
    if limit >= len(items):
        return items
    return [items[i * len(items) // limit] for i in range(limit)]


class Selection:
    """The pairs of a test split that are evaluated, those of one source next to each other.

    Args:
        data: opened; its ``on_error`` decides whether broken files stop the run or are listed.
        limit: at most this many pairs, evenly spread.

    Attributes:
        pairs: names, source and target.
        listed: pairs that the split names, missing and repeated ones included.
        repeated: how many of these are named before; such pairs count once.

    Raises:
        ValueError: for a limit below 1, or no pairs at all.
    """

    def __init__(self, data: PairDataset | ShardPairs, limit: int | None = None) -> None:
        self.data = data
        pairs: list[Pair]
        if isinstance(data, PairDataset):
            pairs, self.listed = list(data.pairs), data.listed
        else:
            pairs = [pair for group in data.people() for pair in group.pairs]
            self.listed = len(pairs)
        unique = list(dict.fromkeys(pairs))
        self.repeated = len(pairs) - len(unique)
        self.pairs = sorted(evenly(unique, limit), key=lambda pair: pair[0])
        if not self.pairs:
            raise ValueError(f"{data.origin}: there are no pairs")
        self._raw: dict[str, RawPicture] = {}
        if isinstance(data, ShardPairs):  # a stream knows no access by name: what is needed is kept, encoded
            needed = {name for pair in self.pairs for name in pair}
            for group in data.people():
                self._raw |= {name: group.pictures[name] for name in group.pictures.keys() & needed}
        self._view = lru_cache(_VIEWS_KEPT)(lambda name: self.raw(name).decode())

    def raw(self, name: str) -> RawPicture:
        """The files of a picture; ValueError if one cannot be read."""
        if isinstance(self.data, PairDataset):
            return self.data.pictures[name].read()
        if name not in self._raw:
            raise ValueError(f"{name}: in a pair, but not among the pictures of its person")
        return self._raw[name]

    def views(self, pair: Pair) -> tuple[View, View] | None:
        """Both pictures of a pair; None if one is broken and the data set is to skip it (its log then has it)."""
        views = []
        for name in pair:
            try:
                views.append(self._view(name))
            except ValueError as error:
                self.data.handle(name, error)
                return None
        return views[0], views[1]

    @cached_property
    def checksum(self) -> str:
        """Of the pairs and of all their photographs and maps, see :mod:`pocold.data.contents`."""
        contents = Contents(self.data.transform.keypoints)
        contents.pairs(self.pairs)
        for name in dict.fromkeys(name for pair in self.pairs for name in pair):
            try:
                contents.picture(self.raw(name))
            except ValueError as error:
                self.data.handle(name, error)
        return contents.checksum()


class RealPictures:
    """The real pictures that a Frechet distance compares with.

    Args:
        origin: an opened training split, of which every picture that occurs in a pair counts once; or a folder, of
            which every picture counts that is no map.
        limit: at most this many, evenly spread.

    Attributes:
        names: of the pictures.

    Raises:
        ValueError: for a limit below 1, or if there are fewer than two pictures.
    """

    def __init__(self, origin: PairDataset | ShardPairs | Path, limit: int | None = None) -> None:
        self.origin = origin
        if isinstance(origin, Path):
            names = [str(path) for path in photographs_of(require_folder(origin))]
        elif isinstance(origin, PairDataset):
            names = sorted({name for pair in origin.pairs for name in pair})
        else:
            names = sorted({name for group in origin.people() for pair in group.pairs for name in pair})
        self.listed = len(names)
        self.names = evenly(names, limit)
        if len(self.names) < 2:
            raise ValueError(
                f"{self.where}: a Frechet distance needs at least 2 real pictures, found {len(self.names)}"
            )

    @property
    def where(self) -> str:
        """What they come from."""
        return str(self.origin) if isinstance(self.origin, Path) else self.origin.origin

    @property
    def skipped(self) -> dict[str, str]:
        """Pictures that could not be used so far, and why."""
        return {} if isinstance(self.origin, Path) else self.origin.skipped

    def photos(self) -> Iterator[Image.Image]:
        """The pictures, RGB; a broken one raises ValueError or is skipped and logged, as the data set says."""
        origin = self.origin
        if isinstance(origin, Path):
            yield from (load_image(name, name) for name in self.names)
            return
        for raw in self._raw():
            try:
                photo = raw.decode().photo
            except ValueError as error:
                origin.handle(raw.name, error)
                continue
            yield photo

    def checksum(self) -> str:
        """Of the bytes of all pictures: equal names do not make them equal."""
        if isinstance(self.origin, Path):
            return files_checksum(self.names)
        return bytes_checksum(raw.photo for raw in self._raw())

    def _raw(self) -> Iterator[RawPicture]:
        """The files of each picture of a data set."""
        origin = self.origin
        assert not isinstance(origin, Path)
        if isinstance(origin, PairDataset):
            for name in self.names:
                try:
                    raw = origin.pictures[name].read()
                except ValueError as error:
                    origin.handle(name, error)
                    continue
                yield raw
            return
        wanted = set(self.names)
        for group in origin.people():
            for name in sorted(group.pictures.keys() & wanted):
                wanted.remove(name)
                yield group.pictures[name]
