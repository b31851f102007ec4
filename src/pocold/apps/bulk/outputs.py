"""What a run leaves in its folder, such that it can be killed at any moment and gone on with.

- ``run.json``: what the run is; only the same run may go on.
- ``manifest.jsonl``: a line for each picture that is done. A line is written after its picture.
- ``errors.jsonl``: a line for each row that failed.
- pictures as files, or as WebDataset shards (``shard-000000.tar`` with ``NAME.png`` and ``NAME.json``); a shard that
  grows is called ``.shard-000000.tar.partial``.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pocold.apps.bulk.jobs import Row
from pocold.apps.bulk.painter import Outcome
from pocold.apps.drawing.results import is_drawn
from pocold.imaging.files import atomic_write, read_json

RUN, MANIFEST, ERRORS = "run.json", "manifest.jsonl", "errors.jsonl"
_LOCK = ".lock"
_BLOCK, _RECORD = 512, 10240  # of tar files


class Lines:
    """A file of JSON objects, one a line, that only grows. A last line that a crash cut off is taken away.

    Args:
        path: is created if need be.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        whole = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n") or _object(line) is None:
                break
            whole += len(line)
        self._file.truncate(whole)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write lines, at once; when this returns they are on the disk."""
        content = "".join(json.dumps(record) + "\n" for record in records).encode()
        if content:
            self._file.write(content)
            _to_disk(self._file)

    def clear(self) -> None:
        """Take all lines away."""
        self._file.truncate(0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Output:
    """The folder of a run, with pictures as files.

    Args:
        folder: a new or empty one, or one of an earlier run.
        run: what the run is: JSON by name. A run that differs is not gone on with.
        rows: of the job.
        overwrite: remove what an earlier run left, and begin anew.

    Attributes:
        settled: by row number, 1 for rows that need no more work.
        done, failed: number of pictures, and of rows that failed, of this run and those before it.

    Raises:
        ValueError: for a folder with other files in it, one of another run, or one where a run is at work.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], rows: int, overwrite: bool) -> None:
        self.folder = folder
        self._refuse_foreign()
        folder.mkdir(exist_ok=True)
        self._lock = _locked(folder)
        try:
            self._begin(run, overwrite)
            self._manifest, self._errors = Lines(folder / MANIFEST), Lines(folder / ERRORS)
            self.settled = bytearray(rows + 1)
            self.done = self.failed = 0
            for record in self._manifest:
                self._settle(record)
            self._go_on()
        except BaseException:
            self._unlock()
            raise

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Keep what was drawn; when this returns it is on the disk.

        Raises:
            OSError: if it cannot be written.
        """
        kept, failures = [], []
        for outcome in outcomes:
            error = outcome.error
            if outcome.png is not None:
                record = _record(outcome.row, outcome.png, outcome.notes)
                error = self._keep(outcome.row, outcome.png, record)
                if error is None:
                    kept.append(record)
            if error is not None:
                failures.append({"row": outcome.row.number, "error": error})
        self._kept(kept)
        self._errors.add(failures)
        for record in kept:
            self._settle(record)
        self.failed += len(failures)

    def finish(self) -> None:
        """Nothing more will come."""

    def close(self) -> None:
        """Leave everything as it is."""
        self._manifest.close()
        self._errors.close()
        self._unlock()

    def _settle(self, record: Mapping[str, Any]) -> None:
        self.settled[record["row"]] = 1
        self.done += 1

    def _go_on(self) -> None:
        """Take up what lies in the folder. Rows that failed are tried again: their files may have been mended."""
        self._errors.clear()

    def _keep(self, row: Row, png: bytes, record: Mapping[str, Any]) -> str | None:
        """Write a picture; why it cannot be if the row is to blame."""
        path = self.folder / row.output
        try:
            if path.exists() and not is_drawn(path):
                return f"{path} exists and was not written by pocold; move it away"
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_bytes(png)
        except (ValueError, FileExistsError, NotADirectoryError) as error:
            return str(error)
        return None

    def _kept(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Say that pictures are there."""
        self._manifest.add(records)

    # -- the folder ----------------------------------------------------------------------------------------------

    def _refuse_foreign(self) -> None:
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--output: expected a folder, got the file {folder}")
        if not folder.absolute().parent.is_dir():
            raise ValueError(f"--output: the folder {folder.parent} does not exist; create it first")
        if folder.exists() and not (folder / RUN).is_file() and any(path.name != _LOCK for path in folder.iterdir()):
            raise ValueError(f"{folder} holds files that no run of pocold bulk left; choose a new or an empty folder")

    def _begin(self, run: Mapping[str, Any], overwrite: bool) -> None:
        told = self.folder / RUN
        before = read_json(told) if told.is_file() else run
        other = [name for name in {**before, **run} if before.get(name) != run.get(name)]
        if other and not overwrite:
            raise ValueError(
                f"{self.folder} was begun otherwise: {'; '.join(_difference(name, before, run) for name in other)}; "
                "write elsewhere, or begin anew with --overwrite"
            )
        if overwrite and told.is_file():
            self._clear()
        with atomic_write(told) as temporary:
            temporary.write_text(json.dumps(run, indent=2))

    def _clear(self) -> None:
        """Remove what an earlier run left, and nothing else."""
        with atomic_write(self.folder / RUN) as temporary:  # should this be cut short, no run goes on with the rest
            temporary.write_text(json.dumps({"state": "being removed"}))
        manifest = Lines(self.folder / MANIFEST)
        for record in manifest:
            path = self.folder / str(record.get("output"))
            if "shard" not in record and path.resolve().is_relative_to(self.folder.resolve()) and path.is_file():
                path.unlink()
        manifest.close()
        for path in (*self.folder.glob("shard-*.tar"), *self.folder.glob(".shard-*.tar.partial")):
            path.unlink()
        (self.folder / ERRORS).unlink(missing_ok=True)
        (self.folder / MANIFEST).unlink()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()


class Shards(Output):
    """The folder of a run, with pictures in shards. Rows come in drawing order, and each shard has its share of it.

    A row that failed stays so, because shards are not opened again.

    Args:
        per_shard: rows of a shard; it has fewer pictures if some of them failed.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], rows: int, overwrite: bool, per_shard: int) -> None:
        self._per_shard = per_shard
        self._file: IO[bytes] | None = None
        self._index = 0
        self._records: list[Mapping[str, Any]] = []  # of the shard that grows
        super().__init__(folder, run, rows, overwrite)

    def finish(self) -> None:
        """Complete the last shard."""
        self._complete()

    def close(self) -> None:
        """Leave everything as it is."""
        if self._file is not None:
            self._file.close()
        super().close()

    def _go_on(self) -> None:
        for record in self._errors:
            self.settled[record["row"]] = 1
            self.failed += 1
        told = {record["shard"] for record in self._manifest}
        for path in sorted(self.folder.glob("shard-*.tar")):
            if path.name not in told:  # complete, but the run ended before it could say so
                with path.open("rb") as file:
                    records, _ = _samples(file)
                self._tell(records, path)
                for record in records:
                    self._settle(record)
        for path in self.folder.glob(".shard-*.tar.partial"):
            self._index = int(path.name.split("-")[1].split(".")[0])
            self._file = path.open("r+b")
            samples, end = _samples(self._file)
            self._file.truncate(end)
            self._file.seek(end)
            self._records = [*samples]
            for record in samples:
                self._settle(record)

    def _keep(self, row: Row, png: bytes, record: Mapping[str, Any]) -> str | None:
        index = row.position // self._per_shard
        if index != self._index:
            self._complete()
        if self._file is None:
            self._index = index
            self._file = self._path(partial=True).open("xb")
        self._file.write(_member(row.output, png))
        self._file.write(_member(row.output.removesuffix(".png") + ".json", json.dumps(record).encode()))
        self._records.append(record)
        return None

    def _kept(self, records: Sequence[Mapping[str, Any]]) -> None:
        if self._file is not None:
            _to_disk(self._file)

    def _complete(self) -> None:
        if self._file is None:
            return
        end = self._file.tell() + 2 * _BLOCK
        self._file.write(bytes(2 * _BLOCK + -end % _RECORD))
        _to_disk(self._file)
        self._file.close()
        self._file = None
        self._path(partial=True).replace(self._path())
        self._tell(self._records, self._path())
        self._records = []

    def _tell(self, records: Sequence[Mapping[str, Any]], path: Path) -> None:
        self._manifest.add({**record, "shard": path.name} for record in records)

    def _path(self, partial: bool = False) -> Path:
        name = f"shard-{self._index:06d}.tar"
        return self.folder / (f".{name}.partial" if partial else name)


def _record(row: Row, png: bytes, notes: Sequence[str]) -> dict[str, Any]:
    """What the manifest says of a picture."""
    record = {"row": row.number, "output": row.output, "photo": row.photo, "pose": row.pose, "seed": row.seed}
    if row.source_pose is not None:
        record["source_pose"] = row.source_pose
    record["sha256"] = hashlib.sha256(png).hexdigest()
    return {**record, "notes": list(notes)} if notes else record


def _difference(name: str, before: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    return f"{name} was {before.get(name)}, is now {run.get(name)}"


def _object(text: bytes) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _locked(folder: Path) -> IO[str] | None:
    """A lock on the folder, which ends with the process; None where there are none."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = (folder / _LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ValueError(f"another run is at work in {folder}; wait for it, or write elsewhere") from None
    except OSError:  # some network file systems have no locks
        pass
    return file


def _member(name: str, content: bytes) -> bytes:
    """A file in a tar archive; the same bytes whenever it is written."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8") + content + bytes(-len(content) % _BLOCK)


def _samples(file: IO[bytes]) -> tuple[list[dict[str, Any]], int]:
    """The whole samples of a shard, and where the last one ends. What a crash cut off is left out."""
    records: list[dict[str, Any]] = []
    end, png = 0, None
    with suppress(tarfile.TarError), tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            content = file_in.read() if (file_in := archive.extractfile(member)) else b""
            if member.name.endswith(".png"):
                png = content
                continue
            record = _object(content)
            if record is None or png is None or hashlib.sha256(png).hexdigest() != record.get("sha256"):
                break
            records.append(record)
            end, png = member.offset_data + -(-member.size // _BLOCK) * _BLOCK, None
    return records, end
