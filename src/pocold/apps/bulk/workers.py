"""Units drawn in this process, or in several of this machine. The outcomes come in the order of the rows."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from pocold.apps.bulk.jobs import Unit
from pocold.apps.bulk.painter import How, Outcome, Painter
from pocold.devices import end_with_parent

_painter: Painter  # of a worker process
_stop: Any


def paint_here(painter: Painter, units: Iterable[Unit]) -> Generator[list[Outcome], None, None]:
    """The outcomes of batch after batch, drawn in this process."""
    for unit in units:
        for batch in unit:
            yield painter.paint(batch)


def paint_in_processes(how: How, units: Iterable[Unit], workers: int) -> Generator[list[Outcome], None, None]:
    """The outcomes of unit after unit, drawn in processes. At most two units for each are on their way.

    With ``--device auto`` each process takes a GPU of its own, as far as there are enough.

    Raises:
        ValueError: if a process dies.
    """
    context = multiprocessing.get_context("spawn")
    stop, number = context.Event(), context.Value("i", 0)
    pool = ProcessPoolExecutor(workers, context, _begin, (how, number, stop))
    waiting: deque[Future[list[Outcome]]] = deque()
    try:
        for unit in units:
            waiting.append(pool.submit(_paint, unit))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ValueError(
            "a worker process died, perhaps for want of memory; run the command again to go on, with fewer --workers"
        ) from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _begin(how: How, number: Any, stop: Any) -> None:
    """Open the model of a worker process."""
    global _painter, _stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops us
    end_with_parent()
    device = None
    if how.options.device == "auto" and torch.cuda.is_available():
        with number.get_lock():
            device = f"cuda:{number.value % torch.cuda.device_count()}"
            number.value += 1
    _painter, _stop = Painter(how, device), stop


def _paint(unit: Unit) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for batch in unit:
        if _stop.is_set():
            break
        outcomes += _painter.paint(batch)
    return outcomes
