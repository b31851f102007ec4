"""What a training leaves behind: the averaged network, its folder, sheets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from estimators import colour_estimator
from pocold.imaging.metadata import read_png_metadata
from pocold.models.densepose_estimator import load_estimator
from pocold.training.results import averaged, write_network, write_preview
from pocold.training.start import first_losses


def test_the_average_is_a_copy_that_is_not_trained():
    network = colour_estimator().train()
    before = network.labels_out.bias.clone()
    weights = {f"estimator.{name}": value + 1 for name, value in network.state_dict().items()}
    result = averaged(network, {**weights, "discriminator.weight": torch.zeros(1)}, "estimator")
    assert not result.training
    assert torch.equal(result.labels_out.bias, before + 1)
    assert torch.equal(network.labels_out.bias, before)
    assert result.size == network.size


def test_the_folder_holds_weights_in_the_precision_and_the_card(tmp_path):
    write_network(colour_estimator(), tmp_path / "network", "fp16", "# What it is")
    assert (tmp_path / "network" / "README.md").read_text() == "# What it is"
    found = load_estimator(tmp_path / "network", torch.float16)
    assert torch.equal(found.labels_out.weight, colour_estimator().half().labels_out.weight)
    size = sum(file.stat().st_size for file in Path(tmp_path / "network").glob("*.safetensors"))
    assert size < 3 * sum(p.numel() for p in found.parameters()) + 10_000


def test_sheets_say_their_step(tmp_path):
    write_preview(Image.new("RGB", (4, 4), "red"), tmp_path / "new" / "previews", 12)
    path = tmp_path / "new" / "previews" / "step-00000012.png"
    assert (np.asarray(Image.open(path)) == [255, 0, 0]).all()
    assert read_png_metadata(path)["step"] == 12


class Model(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.weight, self.factor = nn.Parameter(torch.ones(())), factor

    def forward(self, inputs, generator):
        return torch.stack([self.weight * inputs * self.factor, torch.rand((), generator=generator)])


def test_first_losses_leave_no_gradient_and_have_to_be_finite():
    model = Model(3.0)
    losses = first_losses(model, torch.tensor(2.0))
    assert losses[0] == 6
    assert torch.equal(losses, first_losses(model, torch.tensor(2.0)))
    assert model.weight.grad is None
    with pytest.raises(ValueError, match=r"the first losses are .*nan.*: look at the data"):
        first_losses(Model(float("nan")), torch.tensor(2.0))
