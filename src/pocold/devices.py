"""Where the networks compute, in which precision, the memory that it takes, and when worker processes end."""

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from threading import Thread
from typing import Any

import torch

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


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


def has_bf16_units() -> bool:
    """Whether this machine's processor has instructions for bfloat16 products (AVX-512 BF16, AMX); else it emulates."""
    known: Callable[[], Mapping[str, Any]] | None = getattr(torch.cpu, "get_capabilities", None)
    if known is not None:
        return any(bool(known().get(name)) for name in ("avx512_bf16", "amx_bf16"))
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # before torch 2.10
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


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
