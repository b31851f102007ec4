"""Several processes of one run (``torchrun``): who one is, waiting for each other, and gathering small results."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from pocold.devices import choose_device

_PATIENCE = timedelta(days=7)  # the first process measures while the others have nothing left to do


@dataclass(frozen=True)
class Processes:
    """This process among all.

    Attributes:
        rank: 0 is the one that measures and writes the report.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in the order of ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that all processes leave together: where one of them fails, all do, instead of waiting for it.

        Raises:
            ValueError: in every process, if the block raised ValueError or OSError in any.
        """
        problem: Exception | None = None
        try:
            yield
        except (ValueError, OSError) as error:
            problem = error
        messages = self.gather(None if problem is None else str(problem))
        if problem is not None:
            raise problem
        for rank, message in enumerate(messages):
            if message is not None:
                raise ValueError(f"process {rank} failed: {message}")

    def device(self, name: str = "auto") -> torch.device:
        """The device of this process: ``auto`` is its own GPU where there are any, else the CPU.

        Raises:
            ValueError: for something that is no device.
        """
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cuda":
            name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % max(1, torch.cuda.device_count())}"
        return choose_device(name)


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, if it did; leave them at the end, unless others joined before."""
    if dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
    elif int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)
        try:
            yield Processes(dist.get_rank(), dist.get_world_size())
        finally:
            dist.destroy_process_group()
