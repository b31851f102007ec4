"""What a data set does about broken files, and how processes share its work."""

import json
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Literal, get_args

import torch.distributed
from torch.utils.data import get_worker_info

OnError = Literal["raise", "skip"]
SPLITS = ("train", "test")


class MissingSplitError(ValueError):
    """A data set has no such split, or no list of its pairs."""


def check_on_error(on_error: str) -> None:
    """Raises ValueError unless it is ``raise`` or ``skip``."""
    if on_error not in get_args(OnError):
        raise ValueError(f"unknown on_error {on_error!r}: expected 'raise' or 'skip'")


def check_split(split: str) -> None:
    """Raises ValueError unless it is ``train`` or ``test``."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected 'train' or 'test'")


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker must not take it from its parent
        shutil.rmtree(folder, ignore_errors=True)


class SkipLog:
    """Which files were skipped and why, written by any worker process, readable in the main one.

    A line is appended to a private temporary file per skipped file; it is removed with the data set.
    """

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="pocold-skipped-")
        self._path = os.path.join(folder, "skipped.jsonl")
        self._noted: set[str] = set()  # by this process: the same file fails again in every epoch
        weakref.finalize(self, _remove, folder, os.getpid())

    def add(self, name: str, reason: str) -> None:
        """Note that ``name`` was skipped; the first reason of a name counts."""
        if name in self._noted:
            return
        self._noted.add(name)
        line = json.dumps([name, reason]) + "\n"
        # one write in append mode: lines of several processes do not mix
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def entries(self) -> dict[str, str]:
        """Name -> reason, in the order in which they were met."""
        path = Path(self._path)
        if not path.exists():
            return {}
        entries: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            name, reason = json.loads(line)
            entries.setdefault(name, reason)
        return entries


def share_of_work() -> tuple[int, int]:
    """(index, count): this DataLoader worker among all workers of all processes.

    Processes are those of ``torch.distributed``, or of ``torchrun``'s environment before it is initialised.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    else:
        rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    worker = get_worker_info()
    index, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
    return rank * workers + index, processes * workers


def given_by_worker(batches: int, batch_size: int) -> int:
    """Samples that this DataLoader worker gave towards the first ``batches`` of its process, which come in turn."""
    worker = get_worker_info()
    index, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
    return (batches + workers - 1 - index) // workers * batch_size
