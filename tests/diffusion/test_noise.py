"""Noise that moves with the body."""

import torch

from pocold.diffusion.noise import surface_noise


def body(shift=0):
    labels = torch.zeros(1, 64, 48, dtype=torch.uint8)
    uv = torch.zeros(1, 2, 64, 48)
    labels[0, 8:56, 8 + shift : 32 + shift] = 2
    uv[0, 0, 8:56, 8 + shift : 32 + shift] = torch.linspace(0, 1, 48)[:, None]
    uv[0, 1, 8:56, 8 + shift : 32 + shift] = torch.linspace(0, 1, 24)
    return labels, uv


def test_it_moves_with_the_body_and_stays_in_the_background():
    still, moved = (surface_noise(*body(shift), 4, (16, 12), seed=3) for shift in (0, 8))  # two latent pixels
    on_body = body()[0][0, ::4, ::4] > 0
    assert torch.equal(moved.roll(-2, -1)[0, :, on_body], still[0, :, on_body])
    nobody = torch.zeros(1, 64, 48, dtype=torch.uint8)
    background = surface_noise(nobody, body()[1], 4, (16, 12), seed=3)
    assert torch.equal(background[0, :, ~on_body], still[0, :, ~on_body])
    assert not torch.equal(background[0, :, on_body], still[0, :, on_body])
    assert not torch.equal(surface_noise(*body(), 4, (16, 12), seed=4), still)


def test_it_is_of_unit_variance():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 25, (2, 128, 96), generator=generator, dtype=torch.uint8)
    noise = surface_noise(labels, torch.rand(2, 2, 128, 96, generator=generator), 16, (32, 24), seed=0)
    assert abs(float(noise.mean())) < 0.05
    assert abs(float(noise.var()) - 1) < 0.05
