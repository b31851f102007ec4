"""Where the networks compute, in which precision, the memory that it takes, and when worker processes end."""

import ctypes
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from multiprocessing.connection import wait
from threading import Thread
from typing import Any

import torch

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_SIDE = 1024  # of the matrices that are timed
_WORTH_IT = 1.2  # times as fast as float32, from which on bfloat16 is chosen


def choose_device(name: str = "auto") -> torch.device:
    """A device by name, ``auto`` for a GPU where there is one.

    Raises:
        ValueError: for something that is no device, or that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"the device {name!r} cannot be used: {str(error).splitlines()[0]}") from None


@lru_cache(maxsize=1)
def fast_bf16() -> tuple[bool, str]:
    """Whether this machine's processor computes faster in bfloat16 than in float32, and why, in a few words.

    With AMX it does; without any instructions for it, it emulates. AVX-512 BF16 alone is faster than float32 on some
    processors and slower on others: there a product is timed, once in a process (a tenth of a second).
    """
    known = _bf16_instructions()
    if "amx" in known:
        return True, "has bfloat16 units"
    if not known:
        return False, "has no bfloat16 units"
    faster = _bf16_speed() > _WORTH_IT
    return faster, "has bfloat16 units" if faster else "has bfloat16 units that are no faster than its float32"


def _bf16_instructions() -> set[str]:
    """Of ``amx`` and ``avx512`` those that the processor has for bfloat16 products."""
    known: Callable[[], Mapping[str, Any]] | None = getattr(torch.cpu, "get_capabilities", None)
    if known is not None:
        return {name for name in ("amx", "avx512") if known().get(f"{name}_bf16")}
    names = {"amx": "_is_amx_tile_supported", "avx512": "_is_avx512_bf16_supported"}  # before torch 2.10
    return {name for name, asked in names.items() if getattr(torch.cpu, asked, lambda: False)()}


def _bf16_speed() -> float:
    """How many times as fast as in float32 a product of matrices is, the best of three times of each."""
    best = []
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(_SIDE, _SIDE, dtype=dtype)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            times.append(time.perf_counter() - start)
        best.append(min(times))
    return best[0] / best[1]


def peak_memory(device: torch.device) -> int | None:
    """The most bytes held so far: of the GPU if ``device`` is one, else resident; None where the system does not tell.

    On a GPU ``torch.cuda.reset_peak_memory_stats`` starts anew.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; else it works on while a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release_memory() -> None:
    """Give free memory back to the system, where the C library keeps it for itself (glibc does); else do nothing."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return
    trim(0)


def end_with_parent() -> None:
    """Have this worker process end when its parent does: one that was killed cannot end it, and it would wait for ever.

    Raises:
        ValueError: in a process that multiprocessing did not start.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise ValueError("expected a process started by multiprocessing")

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()
