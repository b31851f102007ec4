"""Helpers of the tests of training."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file


def changed(config: Any, **sections: dict[str, Any]) -> Any:
    """The config with fields of its sections replaced: ``changed(config, run={"max_steps": 4})``."""
    return replace(config, **{name: replace(getattr(config, name), **values) for name, values in sections.items()})


def weights(run: Path, step: int, name: str = "model") -> dict[str, Any]:
    """The weights in a checkpoint."""
    return load_file(run / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors")


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def start(function: Callable[..., Any], *arguments: Any) -> multiprocessing.Process:
    """Run a function in a forked process of its own: real files, real signals, and no second import of torch."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    return process


def kill_when(process: multiprocessing.Process, reached: Callable[[], bool], number: int = signal.SIGKILL) -> bool:
    """Send a signal as soon as ``reached``; False if the process ended before."""
    deadline = time.monotonic() + 60
    while not reached():
        if not process.is_alive():
            return False
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.0005)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    return True
