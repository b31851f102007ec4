"""The rows of a job: read as a stream from CSV, JSONL, Parquet or a folder of photographs, and put in drawing order.

A row that cannot be used is not an error of the whole: it goes on as a row with a sentence in ``error``.
"""

import csv
import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pocold.apps.drawing.targets import pose_label
from pocold.apps.pose import names_a_file
from pocold.people.poses import POSES

NEEDED, OPTIONAL = ("photo", "pose"), ("seed", "source_pose", "output")
WINDOW = 2048  # rows that are sorted at a time, so that the pictures of one person follow each other
_UNIT = 8  # rows that are handed to a worker at a time: a person's pictures stay together, and a kill loses few
_FLAT = 10_000  # more pictures get folders of a thousand
_PHOTOGRAPHS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".safetensors"}
_MAPS = (".iuv.png", "_densepose.png", "_iuv.png", ".garments.png")


@dataclass(frozen=True)
class Row:
    """One picture to draw.

    Attributes:
        number: of the row, from 1.
        photo: photograph or appearance code, a path as given.
        pose: a name, or a file.
        seed: of the noise.
        pose_is_file: whether ``pose`` is a path.
        source_pose: DensePose map of the photograph, a path; None looks beside it.
        output: name of the picture, below the folder of the pictures.
        error: why this row cannot be drawn; None if it may be.
        position: in drawing order, from 0.
        wanted: False for a row that is drawn already, and is only there to complete its batch.
    """

    number: int
    photo: str = ""
    pose: str = ""
    seed: int = 0
    pose_is_file: bool = False
    source_pose: str | None = None
    output: str = ""
    error: str | None = None
    position: int = 0
    wanted: bool = True


Batch = tuple[Row, ...]
Unit = tuple[Batch, ...]


@dataclass(frozen=True)
class Survey:
    """What a first reading of all rows found: how many there are, and the SHA-256 of what they say."""

    rows: int
    sha256: str


class Jobs:
    """A file of rows, or a folder of photographs with the poses that each is drawn in.

    Args:
        path: ``.csv`` (also ``.tsv``), ``.jsonl`` (also ``.ndjson``), ``.parquet``, or a folder.
        poses: of a folder's photographs.
        seed: of rows that have none, and the first of a folder's.
        num_images: pictures of each pose of a folder.
        tarred: pictures go into shards, whose names have one dot.

    Raises:
        ValueError: if there is no such file, or for poses without a folder or the other way round.
    """

    def __init__(
        self, path: Path, poses: Sequence[str] = (), seed: int = 0, num_images: int = 1, tarred: bool = False
    ) -> None:
        readers = {
            ".csv": self._csv, ".tsv": self._csv, ".jsonl": self._json_lines, ".ndjson": self._json_lines,
            ".parquet": self._parquet,
        }  # fmt: skip
        if not path.exists():
            raise ValueError(f"no such file or folder: {path}")
        if path.is_dir():
            if not poses:
                raise ValueError(f"{path} is a folder: expected the poses of its photographs, such as --pose walk:side")
            self._records = self._folder
        elif path.suffix.lower() not in readers:
            raise ValueError(f"expected jobs as .csv, .jsonl or .parquet, or a folder of photographs, got {path.name}")
        elif poses:
            raise ValueError(f"--pose is for a folder of photographs; the rows of {path.name} have their own poses")
        elif num_images != 1:
            raise ValueError(f"--num-images is for a folder of photographs; give {path.name} a row for each seed")
        else:
            self._records = readers[path.suffix.lower()]
        self.path, self._poses, self._seed, self._num_images, self._tarred = path, poses, seed, num_images, tarred
        self.base = (path if path.is_dir() else path.parent).absolute()
        self.ignored: set[str] = set()  # names of columns that mean nothing here
        self._folders = False

    def __iter__(self) -> Iterator[Row]:
        """The rows, in their order.

        Raises:
            ValueError: if the file as a whole cannot be read.
        """
        for number, record in enumerate(self._records(), 1):
            try:
                yield Row(number, error=record) if isinstance(record, str) else self._row(number, record)
            except ValueError as error:
                yield Row(number, error=str(error))

    def survey(self) -> Survey:
        """Read all rows once, before anything is drawn. Of each only a few bytes are kept.

        Raises:
            ValueError: for a file that cannot be read, no rows, or two rows that would write one picture.
        """
        digest, count, names, numbers = hashlib.sha256(), 0, array("Q"), array("Q")
        for row in self:
            count += 1
            said = [row.photo, row.pose, row.seed, row.source_pose, row.output, row.error]
            digest.update(json.dumps(said).encode())
            for name in _names(row):
                # names that differ in case alone are one file on some systems
                names.append(int.from_bytes(hashlib.blake2b(name.casefold().encode(), digest_size=8).digest()))
                numbers.append(row.number)
        if not count:
            raise ValueError(f"{self.path}: expected at least one row" + (", or photograph" * self.path.is_dir()))
        self._folders = count > _FLAT
        self._refuse_doubles(np.frombuffer(names, np.uint64), np.frombuffer(numbers, np.uint64))
        return Survey(count, digest.hexdigest())

    def _refuse_doubles(self, names: np.ndarray, numbers: np.ndarray) -> None:
        order = np.argsort(names, kind="stable")
        same = np.flatnonzero((names[order][1:] == names[order][:-1]) & (numbers[order][1:] != numbers[order][:-1]))
        if not len(same):
            return
        pairs = numbers[order][np.stack([same, same + 1])].T
        one, two = min(sorted(pair) for pair in pairs.tolist())
        name = next(row.output for row in self if row.number == two)
        raise ValueError(
            f"{self.path}: rows {one} and {two} would both write {name}; give each row an output of its own"
        )

    def _row(self, number: int, record: Mapping[str, Any]) -> Row:
        """A row, checked as far as it can be without opening its files."""
        texts: dict[str, str] = {}
        for name in ("photo", "pose", "source_pose", "output"):
            value = record.get(name)
            if value is not None and not isinstance(value, str):
                raise ValueError(f"{name}: expected text, got {value!r}")
            texts[name] = (value or "").strip()
            if "\0" in texts[name]:
                raise ValueError(f"{name}: expected text, got one with a zero byte")
        for name in NEEDED:
            if not texts[name]:
                raise ValueError(f"{name}: expected {'a file' if name == 'photo' else 'a name or a file'}, got nothing")
        photo, pose, seed = texts["photo"], texts["pose"], self._seed_of(record.get("seed"))
        named = pose.lower().partition(":")[0] in POSES  # a file is looked for only if no pose is called so
        is_file = not named and (names_a_file(pose) or (self.base / pose).is_file())
        label = pose_label(str(self.base / pose) if is_file else pose)
        if texts["output"]:
            name = self._name(texts["output"])
        else:
            name = f"{_numbered(number)}{_plain(Path(photo).stem)}-{_plain(label)}.png"
            name = _in_folder(name, number) if self._folders else name
        return Row(number, photo, pose, seed, is_file, texts["source_pose"] or None, name)

    def _seed_of(self, value: Any) -> int:
        if value is None or value == "" or value != value:  # pandas writes a missing number as NaN
            return self._seed
        try:
            seed = int(value)
        except (TypeError, ValueError, OverflowError):
            seed = -1
        whole = isinstance(value, str) or seed == value
        if isinstance(value, bool) or not whole or not 0 <= seed < 2**63:
            raise ValueError(f"seed: expected a whole number from 0 to 2^63 - 1, got {value!r}")
        return seed

    def _name(self, text: str) -> str:
        path = PurePosixPath(text.replace("\\", "/"))
        usable = text.isprintable() and all(part[0] != "." and len(part.encode()) <= 200 for part in path.parts)
        if path.is_absolute() or ":" in text or path.suffix != ".png" or not usable:
            raise ValueError(
                f"output: expected a name such as people/a.png, below the folder of --output, got {text[:200]!r}"
            )
        if self._tarred and "." in path.stem:
            raise ValueError(f"output: names in shards have no dot but that of .png, got {text!r}")
        return str(path)

    # -- reading -------------------------------------------------------------------------------------------------

    def _columns(self, names: Sequence[Any]) -> list[str]:
        """The names of columns as they are known here."""
        found = [str(name).strip().lower() for name in names]
        missing = [name for name in NEEDED if name not in found]
        if missing:
            raise ValueError(
                f"{self.path}: expected the columns {' and '.join(NEEDED)}, and if need be {', '.join(OPTIONAL)}; "
                f"{' and '.join(missing)} is missing among {', '.join(found) or 'none'}"
            )
        twice = [name for name in NEEDED + OPTIONAL if found.count(name) > 1]
        if twice:
            raise ValueError(f"{self.path}: the column {twice[0]} is there twice")
        self.ignored |= set(found) - {*NEEDED, *OPTIONAL, ""}
        return found

    def _csv(self) -> Iterator[Mapping[str, Any] | str]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                first = file.readline()
                file.seek(0)
                reader = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
                try:
                    names = self._columns(next(reader, []))
                    for cells in reader:
                        if any(cells[len(names) :]):
                            yield f"expected {len(names)} cells in a row, got {len(cells)}"
                        elif any(cells):
                            yield dict(zip(names, cells, strict=False))  # cells at the end may be left out
                except csv.Error as error:
                    raise ValueError(f"{self.path}, line {reader.line_num}: {error}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} is not UTF-8 ({error.reason}); save it as CSV in UTF-8") from None

    def _json_lines(self) -> Iterator[Mapping[str, Any] | str]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 0 else line.strip()
                if not text:
                    continue
                try:
                    record = json.loads(text)
                except (ValueError, RecursionError) as error:
                    yield f"line {number + 1} is no JSON: {error}"
                    continue
                if not isinstance(record, dict):
                    yield f'line {number + 1}: expected an object such as {{"photo": ..., "pose": ...}}'
                    continue
                self.ignored |= record.keys() - set(NEEDED + OPTIONAL)
                yield record

    def _parquet(self) -> Iterator[Mapping[str, Any] | str]:
        try:
            import pyarrow
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise ValueError(
                f'reading Parquet needs the extra "parquet": pip install "pocold[parquet]" ({error})'
            ) from None
        try:
            with ParquetFile(self.path) as file:
                given = file.schema_arrow.names
                known = dict(zip(given, self._columns(given), strict=True))
                wanted = [name for name, column in known.items() if column in NEEDED + OPTIONAL]
                for some in file.iter_batches(batch_size=1024, columns=wanted):
                    for record in some.to_pylist():
                        yield {known[name]: value for name, value in record.items()}
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{self.path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None

    def _folder(self) -> Iterator[Mapping[str, Any] | str]:
        for path in sorted(self.path.iterdir()):
            name = path.name.lower()
            if path.suffix.lower() not in _PHOTOGRAPHS or name.startswith(".") or name.endswith(_MAPS):
                continue
            for pose in self._poses:
                # on the command line a file is meant from where one stands, in a file of jobs from where that lies
                own = str(Path(pose).absolute()) if names_a_file(pose) else pose
                for i in range(self._num_images):
                    yield {"photo": path.name, "pose": own, "seed": self._seed + i}


def _plain(text: str) -> str:
    """Letters, digits and dashes alone, not too many: part of a file's name anywhere."""
    return re.sub(r"[^\w-]", "_", text, flags=re.ASCII)[:80]


def _numbered(number: int) -> str:
    return f"{number:06d}-"


def _names(row: Row) -> set[str]:
    """The names that a row's picture may get: one that was made up goes into a folder if there are many."""
    if row.error is not None:
        return set()
    made_up = row.output.startswith(_numbered(row.number))
    return {row.output, _in_folder(row.output, row.number)} if made_up else {row.output}


def _in_folder(name: str, number: int) -> str:
    return f"{(number - 1) // 1000:04d}/{name}"


def units(rows: Iterable[Row], batch_size: int) -> Iterator[Unit]:
    """All rows in drawing order, in units of batches. They depend on the rows and the batch size alone.

    Within windows rows are sorted by person, so that a small cache of people is enough.

    Args:
        rows: in their order.
        batch_size: rows of a batch.
    """
    stream, position = iter(rows), 0
    size = batch_size * -(-_UNIT // batch_size)
    while window := sorted(islice(stream, WINDOW), key=lambda row: (row.photo, row.source_pose or "", row.number)):
        placed = [replace(row, position=position + i) for i, row in enumerate(window)]
        position += len(window)
        for start in range(0, len(placed), size):
            some = placed[start : start + size]
            yield tuple(tuple(some[i : i + batch_size]) for i in range(0, len(some), batch_size))


def still_wanted(all_units: Iterable[Unit], settled: Sequence[int]) -> Iterator[Unit]:
    """The units without the batches that are settled; of the others the rows that are become unwanted.

    Args:
        all_units: from :func:`units`.
        settled: by row number, whether it needs no more work.
    """
    for unit in all_units:
        marked = (tuple(replace(row, wanted=not settled[row.number]) for row in batch) for batch in unit)
        left = tuple(batch for batch in marked if any(row.wanted for row in batch))
        if left:
            yield left
