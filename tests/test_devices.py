"""Devices by name, and the memory that was used."""

import os
import platform
from pathlib import Path

import psutil
import pytest
import torch

from pocold.devices import choose_device, peak_memory, release_memory


def test_devices_by_name():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("meta").type == "meta"
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="the device 'nonsense' cannot be used: "):
        choose_device("nonsense")


def test_free_memory_is_given_back():
    if not Path("/proc/self/statm").exists() or platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc keeps free memory")

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    small = [bytes(100_000) for _ in range(2000)]  # below the size that glibc maps by itself
    kept = small[::50]
    del small
    held = resident()
    release_memory()
    assert resident() < held - 100e6
    assert len(kept) == 40


def test_peak_memory_counts_what_was_held():
    before = peak_memory(torch.device("cpu"))
    if before is None:
        pytest.skip("this system does not tell")
    free = before - psutil.Process().memory_info().rss
    held = torch.ones(free + 100_000_000, dtype=torch.uint8)  # more than ever before
    after = peak_memory(torch.device("cpu"))
    assert after >= before + 90_000_000
    assert after >= len(held)
