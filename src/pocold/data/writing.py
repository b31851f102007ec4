"""Write synthetic people to disk: folders or WebDataset shards, with worker processes, resumable after any stop."""

import errno
import io
import multiprocessing
import os
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from pocold.data.synthetic import MANIFEST, SyntheticConfig, encode_view, is_test, sample_name, write_manifest
from pocold.devices import end_with_parent
from pocold.imaging.files import atomic_write

IDENTITIES_PER_SHARD = 32
ENDINGS = {"img": "jpg", "iuv": "png", "garments": "png", "keypoints": "json"}


@dataclass(frozen=True)
class _Task:
    """What one worker draws at a time: one person into folders, or one shard of people."""

    config: SyntheticConfig
    folder: Path
    identities: tuple[int, ...]
    shard: str | None

    @property
    def pictures(self) -> int:
        return len(self.identities) * self.config.per_identity

    def missing(self) -> bool:
        """Whether any of its files is not there yet. Files are written atomically: what is there is complete."""
        if self.shard is not None:
            return not (self.folder / "shards" / self.shard).is_file()
        return any(
            not _sample_path(self.folder, kind, i, v).is_file()
            for i in self.identities
            for v in range(self.config.per_identity)
            for kind in ENDINGS
        )


def _sample_path(folder: Path, kind: str, identity: int, view: int) -> Path:
    return folder / kind / f"{sample_name(identity, view)}.{ENDINGS[kind]}"


def write_people(
    config: SyntheticConfig,
    folder: str | os.PathLike[str],
    *,
    workers: int = 1,
    shards: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a data set, or what is still missing of it.

    Folders: ``img/NAME.jpg``, ``iuv/NAME.png`` (I, U, V), ``garments/NAME.png``, ``keypoints/NAME.json``. Shards:
    ``shards/SPLIT-000000.tar`` with ``NAME.jpg``, ``NAME.iuv.png``, ``NAME.garments.png``, ``NAME.json``. Both with
    ``manifest.json``, ``pairs-train.csv`` and ``pairs-test.csv``.

    Args:
        config: what to draw.
        folder: where; created if its parent exists.
        workers: processes; the bytes do not depend on it.
        shards: tar files instead of folders.
        progress: called with (pictures there, pictures in all) at the start and after each person or shard.

    Returns:
        The number of pictures drawn now.

    Raises:
        ValueError: if the folder cannot be written, is full, or holds another run. What was written stays valid, and
            the same call continues.
    """
    if workers < 1:
        raise ValueError(f"expected at least one worker, got {workers}")
    folder = Path(folder)
    with _readable_errors(folder):
        _prepare(config, folder, shards)
        tasks = list(_tasks(config, folder, shards))
        todo = [task for task in tasks if task.missing()]
        total = sum(task.pictures for task in tasks)
        done = total - sum(task.pictures for task in todo)
        drawn = 0
        if progress:
            progress(done, total)
        for finished in _run_all(todo, workers):
            done, drawn = done + finished, drawn + finished
            if progress:
                progress(done, total)
    return drawn


@contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise ValueError(
            f"a worker process died (out of memory?) while writing {folder}; what is written is complete, run the same "
            "command again to continue, perhaps with fewer workers"
        ) from None
    except OSError as error:
        hint = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "; what is written is complete: free some space and run the same command again to continue"
        raise ValueError(f"cannot write to {folder}: {error.strerror or error}{hint}") from error


def _prepare(config: SyntheticConfig, folder: Path, shards: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected a folder to write to, but {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    strangers = [p.name for p in folder.iterdir()] if not (folder / MANIFEST).exists() else []
    if any(name in ENDINGS or name == "shards" for name in strangers):
        raise ValueError(f"{folder} holds pictures but no {MANIFEST}; choose another folder")
    write_manifest(config, folder, shards)
    for name in ["shards"] if shards else ENDINGS:
        place = folder / name
        place.mkdir(exist_ok=True)
        for leftover in place.glob(".*"):  # temporary files of a run that was killed
            leftover.unlink()


def _tasks(config: SyntheticConfig, folder: Path, shards: bool) -> Iterator[_Task]:
    if not shards:
        for identity in range(config.identities):
            yield _Task(config, folder, (identity,), None)
        return
    for split in ("train", "test"):
        people = [i for i in range(config.identities) if is_test(i) == (split == "test")]
        for number, start in enumerate(range(0, len(people), IDENTITIES_PER_SHARD)):
            yield _Task(
                config, folder, tuple(people[start : start + IDENTITIES_PER_SHARD]), f"{split}-{number:06d}.tar"
            )


def _run_all(tasks: list[_Task], workers: int) -> Iterator[int]:
    """Carry out tasks and yield the number of pictures of each as it ends."""
    if workers == 1 or len(tasks) < 2:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in the workers: sums must round alike
        try:
            yield from map(_run, tasks)
        finally:
            torch.set_num_threads(threads)
        return
    # spawn: a forked torch may hang, and every platform has it
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        futures: list[Future[int]] = [pool.submit(_run, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Prepare a worker process."""
    end_with_parent()
    torch.set_num_threads(1)


def _run(task: _Task) -> int:
    if task.shard is not None:
        _write_shard(task)
        return task.pictures
    for identity in task.identities:
        for view in range(task.config.per_identity):
            paths = {kind: _sample_path(task.folder, kind, identity, view) for kind in ENDINGS}
            if all(path.is_file() for path in paths.values()):
                continue
            for kind, content in encode_view(task.config, identity, view).items():
                with atomic_write(paths[kind]) as temporary:
                    temporary.write_bytes(content)
    return task.pictures


def _write_shard(task: _Task) -> None:
    assert task.shard is not None
    path = task.folder / "shards" / task.shard
    with atomic_write(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for identity in task.identities:
            for view in range(task.config.per_identity):
                name = sample_name(identity, view)
                for kind, content in encode_view(task.config, identity, view).items():
                    middle = "" if kind in ("img", "keypoints") else f"{kind}."
                    entry = tarfile.TarInfo(f"{name}.{middle}{ENDINGS[kind]}")  # time 0, owner 0: same bytes always
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
