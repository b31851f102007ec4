"""How the benchmarks measure: ratios of CPU time in interleaved rounds, and peak memory in processes of their own."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch


def cpu_times(variants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of the process for each variant, one call of each per round after one round that is not counted.

    Variants alternate, so that a machine that slows down slows all of them; compare ratios, never seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(rounds + 1):
        for name, function in variants.items():
            start = time.process_time()
            function()
            if round_:
                times[name].append(time.process_time() - start)
    return times


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> tuple[float, float, float]:
    """Median, minimum and maximum over the rounds of time(slow) / time(fast)."""
    ratios = [a / b for a, b in zip(times[slow], times[fast], strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def show(label: str, times: dict[str, list[float]], slow: str, fast: str, aim: float | None = None) -> None:
    middle, low, high = ratio(times, slow, fast)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    goal = "" if aim is None else f"  aim {aim:g}x: {'reached' if middle >= aim else 'MISSED'}"
    print(
        f"{label:<44} {slow} {seconds[slow] * 1e3:9.1f} ms  {fast} {seconds[fast] * 1e3:8.1f} ms  "
        f"{middle:5.2f}x ({low:.2f}-{high:.2f}){goal}",
        flush=True,
    )


def peak_memory_added(function: Callable[[], Any]) -> float:
    """MB by which this process's peak exceeds its memory before the call. Linux; needs a process that did nothing like
    it before, because freed memory is reused: see :func:`in_own_process`."""
    before = memory()
    restart_peak()
    function()
    return peak_memory() - before


def memory() -> float:
    """MB that this process holds now. Linux."""
    return _status("VmRSS") / 1e3


def restart_peak() -> None:
    """What this process held before does not count for :func:`peak_memory`. Linux."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory() -> float:
    """MB that this process held at most. Linux: ``ru_maxrss`` would count the parent's memory before ``exec``, too."""
    return _status("VmHWM") / 1e3


def in_own_process(module: str, *arguments: str) -> float:
    """The number that ``python -m MODULE --memory ARGUMENTS`` prints as its last line, from a fresh process."""
    output = subprocess.run(
        [sys.executable, "-m", module, "--memory", *arguments], check=True, capture_output=True, text=True
    ).stdout
    return float(json.loads(output.splitlines()[-1]))


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{field}:"))


def machine() -> str:
    """One line on where the numbers come from."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} torch thread(s), torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


def gemm_peak(size: int = 1024, rounds: int = 7, dtype: torch.dtype = torch.float32) -> float:
    """GFLOP per CPU second of a square matrix product: what the machine can do at best."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    times = cpu_times({"gemm": lambda: a @ b}, rounds)["gemm"]
    return 2 * size**3 / statistics.median(times) / 1e9
