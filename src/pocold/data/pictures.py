"""Pictures on disk and lists of pairs of them: what all map-style data sets share. Legend: H W picture size."""

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from pocold.data.keypoints import KeypointFile
from pocold.data.pairs import PairedTransform, Sample, View
from pocold.data.skipping import MissingSplitError, OnError, SkipLog, check_on_error
from pocold.densepose.beside import decode_map
from pocold.densepose.maps import ChannelOrder, DensePose
from pocold.densepose.plausibility import check_body
from pocold.imaging.files import MAX_PIXELS, PICTURE_ERRORS
from pocold.imaging.images import load_image

PHOTO_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_NO_MAP = "no DensePose map was found"
_ANY_MAP = "a map of the data set (pocold data check lists all of them)"
Pair = tuple[str, str]  # names: source, target


@dataclass(frozen=True)
class LmdbKey:
    """One picture in an lmdb folder."""

    folder: Path
    key: str


@dataclass(frozen=True)
class PictureFiles:
    """Where one picture and its maps are stored.

    Attributes:
        name, person: as in :class:`View`.
        photo: a file, or an entry of an lmdb.
        pose: its DensePose map, None if none was found.
        channels: of the map, see :class:`pocold.densepose.beside.Maps`.
        garments: its garment map, if there is one.
        size: (height, width) that all pictures of the data set have; None if they may differ.
        keypoints: where they are stored, if they are; they are not read before they are asked for.
    """

    name: str
    person: str
    photo: Path | LmdbKey
    pose: Path | None
    channels: ChannelOrder = "auto"
    garments: Path | None = None
    size: tuple[int, int] | None = None
    keypoints: KeypointFile = None

    def read(self) -> "RawPicture":
        """The bytes of all files.

        Raises:
            ValueError: if one of them is missing or cannot be read.
        """
        if self.pose is None:
            raise ValueError(f"{self.name}: {_NO_MAP}")
        photo = _lmdb_bytes(self.photo) if isinstance(self.photo, LmdbKey) else _file_bytes(self.photo)
        garments = None if self.garments is None else _file_bytes(self.garments)
        pose = _file_bytes(self.pose)
        return RawPicture(self.name, self.person, photo, pose, garments, self.channels, self.size, self.keypoints)


@dataclass(frozen=True)
class RawPicture:
    """One picture and its maps as encoded files."""

    name: str
    person: str
    photo: bytes
    pose: bytes
    garments: bytes | None = None
    channels: ChannelOrder = "auto"
    size: tuple[int, int] | None = None
    keypoints: KeypointFile = None

    def densepose(self) -> DensePose:
        """The decoded map; ValueError if it is broken, no map, or cannot be that of a body. One of nobody may be."""

        def convert(picture: Image.Image) -> DensePose:
            return check_body(decode_map(picture, self.channels), warn_as=_ANY_MAP, empty=True)

        return _decode(self.pose, f"{self.name}: its DensePose map", convert)

    def decode(self) -> View:
        """Everything decoded.

        Raises:
            ValueError: naming the picture, if a file is broken or of the wrong kind or size.
        """
        photo = _decode(self.photo, f"{self.name}: its picture", load_image)
        if self.size is not None and photo.size[::-1] != self.size:
            raise ValueError(
                f"{self.name}: expected a picture of {self.size[1]}x{self.size[0]} (width x height), as all of this "
                f"data set are, got {photo.width}x{photo.height}"
            )
        garments = None
        if self.garments is not None:
            garments = _decode(self.garments, f"{self.name}: its garment map", _class_map)
        pose = self.densepose()
        return View(self.name, self.person, photo, pose.labels, garments, pose.uv, pose.doubts, self.keypoints)


def _class_map(picture: Image.Image) -> np.ndarray:
    if picture.mode not in ("L", "P"):
        raise ValueError(f"expected one 8-bit channel of classes, got a picture of mode {picture.mode}")
    return np.asarray(picture)


def _decode(content: bytes, what: str, convert: Callable[[Image.Image], Any]) -> Any:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} is more than {MAX_PIXELS // 10**6} megapixels")
            return convert(picture)
    except Image.UnidentifiedImageError:
        raise ValueError(f"{what} is no picture file ({len(content)} bytes)") from None
    except (ValueError, *PICTURE_ERRORS) as error:
        raise ValueError(f"{what} cannot be used: {error}") from None


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None


def _lmdb_bytes(entry: LmdbKey) -> bytes:
    with open_lmdb(entry.folder).begin() as transaction:
        content = transaction.get(entry.key.encode())
    if content is None:
        raise ValueError(f"{entry.folder} has no key {entry.key!r}")
    return bytes(content)


@lru_cache(maxsize=8)
def open_lmdb(folder: Path) -> Any:
    """The lmdb environment of a folder, opened once in a process.

    Raises:
        ValueError: if the package lmdb is missing or the folder holds no lmdb.
    """
    try:
        import lmdb
    except ImportError:
        raise ValueError("reading lmdb folders needs the package lmdb: pip install 'pocold[data]'") from None
    try:
        return lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise ValueError(f"{folder} cannot be read as lmdb: {error}") from None


if hasattr(os, "register_at_fork"):
    # An environment must not be used on both sides of a fork, nor be opened twice; workers open their own.
    os.register_at_fork(before=open_lmdb.cache_clear)


def list_photos(folder: Path) -> list[Path]:
    """All picture files below a folder, sorted; hidden files are left out."""
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        # a link to a folder above would be walked for ever, and count its people once more each time
        above = {os.path.realpath(parent)} | {os.path.realpath(up) for up in Path(parent).parents}
        folders[:] = [
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(parent, name)) not in above
        ]
        found += [Path(parent, f) for f in files if Path(f).suffix.lower() in PHOTO_ENDINGS and not f.startswith(".")]
    return sorted(found)


def require_one_file(name: str, photo: Path | LmdbKey, other: Path | LmdbKey | None) -> None:
    """Raise a ValueError if two files would be one picture: ``X.jpg`` and ``X.png``, of which one would be lost."""
    if other is not None:
        raise ValueError(f"{name}: {photo} and {other} have the same name but for the ending; rename or remove one")


def without_ending(name: str) -> str:
    """A listed name without the ending of a picture file, if it has one."""
    return name[: name.rfind(".")] if name.lower().endswith(tuple(PHOTO_ENDINGS)) else name


def require_folder(root: str | os.PathLike[str]) -> Path:
    """``root`` as a path; ValueError if it is no folder."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"expected the folder of a data set, but there is no folder {root}")
    return root


def read_pairs_csv(path: Path, name_of: Callable[[str], str] = str) -> list[Pair]:
    """A list of pairs with a header and the columns ``from`` and ``to``; other columns do not matter.

    Raises:
        MissingSplitError: if there is no such file.
        ValueError: if it lacks the columns or has an incomplete line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"from", "to"} <= set(rows.fieldnames or ()):
                raise ValueError(f"{path}: expected the columns 'from' and 'to', got {rows.fieldnames}")
            pairs = []
            for row in rows:
                if not row["from"] or not row["to"]:
                    raise ValueError(f"{path}, line {rows.line_num}: expected two names, got {row}")
                pairs.append((name_of(row["from"].strip()), name_of(row["to"].strip())))
            return pairs
    except FileNotFoundError:
        raise MissingSplitError(f"no such list of pairs: {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a list of pairs: {error}") from None


@dataclass
class Group:
    """One person: the pictures that occur in pairs, by name, and the pairs."""

    person: str
    pictures: dict[str, RawPicture] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)


class PairSource:
    """What data sets of pairs have in common: pairs become samples, and what cannot be used is raised, or left out and
    listed.

    Args:
        transform: frames and flips; the default keeps pictures as they are.
        on_error: ``raise`` or ``skip``.

    Raises:
        ValueError: for another ``on_error``.
    """

    def __init__(self, transform: PairedTransform | None, on_error: OnError) -> None:
        check_on_error(on_error)
        self.transform, self.on_error = transform or PairedTransform(), on_error
        self._log = SkipLog()
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # living workers see a new epoch

    @property
    def skipped(self) -> dict[str, str]:
        """Names of the pictures (and shards) skipped so far, by any worker, and why."""
        return self._log.entries()

    def set_epoch(self, epoch: int) -> None:
        """Another epoch draws other flips, and where pairs are shuffled another order."""
        self._epoch.fill_(epoch)

    def handle(self, name: str, error: ValueError) -> None:
        """Raise or note a picture that cannot be used, as ``on_error`` says."""
        if self.on_error == "raise":
            raise error
        self._log.add(name, str(error))

    def _sample_of(self, pair: Pair, epoch: int, read: Callable[[str], View]) -> Sample | None:
        """The sample of a pair whose pictures ``read`` gives by name; None if one was left out."""
        views = []
        for name in pair:
            try:
                views.append(read(name))
                self.transform.check(views[-1])
            except ValueError as error:
                self.handle(name, error)
                return None
        return self.transform(views[0], views[1], epoch)


class PairDataset(PairSource, Dataset[Sample]):
    """Pairs of pictures by index.

    ``dataset[i]`` is for training: with ``on_error="skip"`` a broken pair is replaced by the next whole one, so that
    batches keep their size. Iterating is for evaluation: broken pairs are left out. Either way :attr:`skipped` tells
    which pictures they were, also those that the workers of a DataLoader met.

    Args:
        pairs: (source, target) names.
        pictures: name -> its files.
        origin: what the pairs come from, for messages.
        transform: frames and flips; the default keeps pictures as they are.
        on_error: ``raise`` stops at a missing or broken file, naming it; ``skip`` leaves it out and counts it.

    Raises:
        ValueError: if pairs name pictures that do not exist or have no map (with ``raise``), or none is left.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        pictures: Mapping[str, PictureFiles],
        origin: str,
        transform: PairedTransform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(transform, on_error)
        self.pictures, self.origin = pictures, origin
        self.listed = len(pairs)  # pairs named, missing ones included
        self.pairs = self._present(pairs)

    def _present(self, pairs: Sequence[Pair]) -> list[Pair]:
        missing: dict[str, str] = {}
        for name in dict.fromkeys(name for pair in pairs for name in pair):
            if name not in self.pictures:
                missing[name] = "no such picture"
            elif self.pictures[name].pose is None:
                missing[name] = _NO_MAP
        present = [pair for pair in pairs if pair[0] not in missing and pair[1] not in missing]
        if missing and (self.on_error == "raise" or not present):
            shown = "; ".join(f"{name}: {reason}" for name, reason in list(missing.items())[:3])
            hint = "; maps=... (--maps) says where maps lie" if _NO_MAP in missing.values() else ""
            raise ValueError(
                f"{self.origin}: {len(missing)} pictures are missing, in {len(pairs) - len(present)} of {len(pairs)} "
                f"pairs: {shown}{'; ...' if len(missing) > 3 else ''} (on_error='skip' leaves such pairs out{hint})"
            )
        if not present:
            raise ValueError(f"{self.origin}: there are no pairs")
        for name, reason in missing.items():
            self._log.add(name, reason)
        return present

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        return self.at(index, int(self._epoch))

    def at(self, index: int, epoch: int) -> Sample:
        """The sample of a pair in an epoch, whatever :meth:`set_epoch` said."""
        for step in range(len(self)):
            sample = self._sample(self.pairs[(index + step) % len(self)], epoch)
            if sample is not None:
                return sample
        raise ValueError(f"{self.origin}: not one of {len(self)} pairs can be read")

    def __iter__(self) -> Iterator[Sample]:
        for pair in self.pairs:
            sample = self._sample(pair, int(self._epoch))
            if sample is not None:
                yield sample

    def _sample(self, pair: Pair, epoch: int) -> Sample | None:
        return self._sample_of(pair, epoch, lambda name: self.pictures[name].read().decode())

    def people(self) -> Iterator[Group]:
        """The people one by one, with the bytes of their pictures; a file that cannot be read is handled as ever.

        A pair of two people is listed with the target's person.
        """
        groups: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            groups.setdefault(self.pictures[pair[1]].person, []).append(pair)
        for person, pairs in groups.items():
            group = Group(person, pairs=pairs)
            for name in dict.fromkeys(name for pair in pairs for name in pair):
                try:
                    group.pictures[name] = self.pictures[name].read()
                except ValueError as error:
                    self.handle(name, error)
            yield group
