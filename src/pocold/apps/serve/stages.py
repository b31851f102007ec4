"""How requests go through the server: read and prepared by two threads, drawn by the drawer, answered by a third.

A request that waits holds no thread, so that memory and cores do not depend on how many wait.
"""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

from PIL import Image

from pocold.apps.serve.batching import Drawer, Job, StoppedError
from pocold.apps.serve.exchange import Answer

# The work of one request: yields what is to be drawn, is sent the pictures, and returns the answer.
Steps = Generator[list[Job], list[Image.Image], Answer]

_PREPARING = 2  # photographs read and encoded at a time, so that the drawer gets its share of the cores


class Stages:
    """Moves the work of requests on, each step in the thread that is meant for it.

    Args:
        drawer: draws what a step asks for.
    """

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer
        self._preparing = ThreadPoolExecutor(_PREPARING, thread_name_prefix="pocold-preparing")
        # On its own, so that a picture that is drawn need not wait behind photographs that are yet to be read.
        self._answering = ThreadPoolExecutor(1, thread_name_prefix="pocold-answering")

    async def run(self, steps: Steps, stop: Event) -> Answer:
        """The answer of a request, or the error that its work ends with; StoppedError if nobody waits any more."""
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(self._preparing, _next, partial(_begin, steps, stop))
        while not isinstance(asked, Answer):
            step = await self._drawn(steps, asked, stop)
            asked = await loop.run_in_executor(self._answering, _next, step)
        return asked

    async def _drawn(self, steps: Steps, jobs: list[Job], stop: Event) -> Callable[[], list[Job]]:
        """What goes on with the work, once the pictures are drawn: with them, or with what kept them from it."""
        try:
            self._drawer.submit(jobs)
            pictures = await asyncio.gather(*(asyncio.wrap_future(job.result) for job in jobs))
        except Exception as error:
            stop.set()  # the other pictures of this request are of no use
            return partial(steps.throw, error)
        return partial(steps.send, pictures)

    def close(self) -> None:
        """End the threads; no work may be under way."""
        self._preparing.shutdown()
        self._answering.shutdown()


def _begin(steps: Steps, stop: Event) -> list[Job]:
    if stop.is_set():
        raise StoppedError
    return next(steps)


def _next(step: Callable[[], list[Job]]) -> list[Job] | Answer:
    """What the work asks for next, or its answer. (An executor cannot hand on a StopIteration.)"""
    try:
        return step()
    except StopIteration as end:
        answer: Answer = end.value
        return answer
