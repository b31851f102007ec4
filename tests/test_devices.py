"""Devices by name, and the memory that was used."""

import pytest
import torch

from pocold.devices import choose_device, peak_memory


def test_devices_by_name():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("meta").type == "meta"
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="the device 'nonsense' cannot be used: "):
        choose_device("nonsense")


def test_peak_memory_counts_what_was_held():
    before = peak_memory(torch.device("cpu"))
    if before is None:
        pytest.skip("this system does not tell")
    held = torch.ones(2 * before, dtype=torch.uint8)  # more than ever before
    after = peak_memory(torch.device("cpu"))
    assert after >= len(held)
