"""Gradient checkpointing of both networks: the same numbers, fewer activations."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from pocold.densepose.encoding import one_hot
from pocold.models.pose_constraint import PoseConstraint
from pocold.models.presets import build_models


class Kept:
    """Bytes that are kept for the backward pass: saved tensors, and inputs of checkpointed units; each once."""

    def __init__(self):
        self.storages, self.units = {}, 0

    def note(self, tensor):
        self.storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    def unit(self, function, *inputs):
        self.units += 1
        for tensor in inputs:
            self.note(tensor)
        return checkpoint(function, *inputs, use_reentrant=False)

    @property
    def bytes(self):
        return sum(storage.nbytes() for storage in self.storages.values())


def step(checkpointed, rows=None):
    """Loss, penalty, gradients and kept bytes of one training step."""
    models = build_models("toy", seed=2)
    unet, encoder = models["unet"], models["appearance_encoder"]
    kept = Kept()
    if checkpointed:
        for model in (unet, encoder):
            model.enable_gradient_checkpointing(kept.unit)
    generator = torch.Generator().manual_seed(0)
    latents, source = torch.randn(2, 2, 4, 24, 17, generator=generator)
    labels = torch.randint(25, (2, 24, 17), generator=generator)
    chosen = labels if rows is None else labels[rows]
    weights = {parameter.data_ptr() for model in (unet, encoder) for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(kept.note, lambda tensor: tensor):
        features = encoder(source if rows is None else source[rows])
        output = unet(
            latents,
            torch.tensor([5, 600]),
            one_hot(labels, (24, 17)),
            features,
            appearance_rows=rows,
            pose_constraint=PoseConstraint(chosen, chosen.flip(1)),
        )
        loss = output.sample.square().mean() + output.pose_penalty.sum()
    for pointer in weights & kept.storages.keys():
        del kept.storages[pointer]
    size = kept.bytes
    loss.backward()
    gradients = {f"{k}.{n}": p.grad for k in ("unet", "appearance_encoder") for n, p in models[k].named_parameters()}
    return loss.detach(), output.pose_penalty.detach(), gradients, size, kept.units


@pytest.mark.parametrize("rows", [None, torch.tensor([1])])
def test_same_numbers_from_fewer_activations(rows):
    loss, penalty, gradients, size, units = step(False, rows)
    again = step(True, rows)
    assert units == 0
    assert again[4] == 4 + 2 + 8 + 4  # UNet: down, middle, up; encoder
    assert torch.equal(again[0], loss)
    assert torch.equal(again[1], penalty)
    assert gradients.keys() == again[2].keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[2][name], gradient, atol=1e-6, rtol=1e-6, msg=name)
    assert again[3] < size / 3


def test_the_default_function_of_diffusers_works_and_can_be_turned_off():
    unet = build_models("toy")["unet"]
    unet.enable_gradient_checkpointing()
    assert unet.is_gradient_checkpointing
    pose = torch.zeros(1, 25, 8, 6)
    with torch.no_grad():
        before = unet(torch.ones(1, 4, 8, 6), 5, pose).sample
    after = unet(torch.ones(1, 4, 8, 6), 5, pose).sample
    after.sum().backward()
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    unet.disable_gradient_checkpointing()
    assert not unet.is_gradient_checkpointing
