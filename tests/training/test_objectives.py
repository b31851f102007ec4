"""The parts of the autoencoder's loss against numbers by hand, and their sum against both kinds of autoencoder."""

import math
from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from pocold.models.discriminator import PatchDiscriminator
from pocold.models.patch_autoencoder import PatchAutoencoder
from pocold.models.presets import preset
from pocold.training.objectives import (
    ReconstructionWeights,
    adaptive_weight,
    discriminator_loss,
    generator_loss,
    gradient_loss,
    kl_divergence,
    pixel_loss,
    reconstruction_loss,
)

NAMES = ("pixel", "gradient", "kl", "perceptual", "adversarial")


def row(*values):
    """A picture ``(1, 1, 4, W)`` whose four rows are these values."""
    return torch.tensor(values).expand(1, 1, 4, -1)


def posterior_of(mean, std):
    return SimpleNamespace(mean=torch.tensor(mean), logvar=2 * torch.tensor(std).log())


# -- parts -------------------------------------------------------------------------------------------------------------


def test_pixel_loss_by_hand():
    images, reconstructions = row(0.0, 0.5, 1.0, -1.0), row(0.3, 0.5, 0.6, -1.0)
    assert pixel_loss(images, reconstructions).item() == pytest.approx((0.3 + 0.4) / 4)
    # sqrt(0.3^2 + 0.4^2) = 0.5 and sqrt(0.4^2 + 0.4^2) = 0.4 sqrt(2)
    expected = (0.5 + 0.4 * 2**0.5 + 2 * 0.4) / 4 - 0.4
    assert pixel_loss(images, reconstructions, charbonnier=0.4).item() == pytest.approx(expected)


@pytest.mark.parametrize("charbonnier", [0.0, 1e-3])
def test_pixel_loss_has_a_gradient_where_nothing_is_wrong(charbonnier):
    images = torch.rand(1, 3, 4, 4)
    reconstructions = images.clone().requires_grad_()
    pixel_loss(images, reconstructions, charbonnier).backward()
    assert torch.equal(reconstructions.grad, torch.zeros_like(images))


def test_gradient_loss_by_hand():
    images, reconstructions = torch.zeros(1, 1, 4, 4), row(0.0, 0.2, 0.2, 0.8)
    # differences of rows 0.2, 0, 0.6 and of columns 0; at half size 0.1 and 0.5: 0.4
    assert gradient_loss(images, reconstructions, 1).item() == pytest.approx((0.8 / 3 + 0) / 2)
    assert gradient_loss(images, reconstructions, 2).item() == pytest.approx((0.8 / 3 + 0 + 0.4 + 0) / 4)


def test_gradient_loss_overlooks_a_constant_and_sees_a_shift():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert gradient_loss(images, images + 0.3).item() == pytest.approx(0, abs=1e-6)
    assert gradient_loss(images, images.roll(1, -1)) > 0.1


def test_gradient_loss_needs_room():
    with pytest.raises(ValueError, match=r"gradients at 3 scales need pictures of at least 8x8, got 16x4"):
        gradient_loss(torch.zeros(1, 3, 16, 4), torch.zeros(1, 3, 16, 4), 3)


def test_kl_by_hand_and_as_diffusers_counts_it():
    assert kl_divergence(posterior_of([0.0, 0.0], [1.0, 1.0])).item() == 0
    expected = 0.5 * (4 + 0.25 - 1 - math.log(0.25)) / 2
    assert kl_divergence(posterior_of([2.0, 0.0], [0.5, 1.0])).item() == pytest.approx(expected)
    distribution = DiagonalGaussianDistribution(torch.randn(3, 8, 2, 5))
    assert kl_divergence(distribution).item() == pytest.approx(distribution.kl().mean().item() / (4 * 2 * 5))


def test_hinge_losses_by_hand():
    assert generator_loss(torch.tensor([[1.0, -3.0]])).item() == 1
    # photographs: 0 above 1, 0.5 short of it, 3 short; reconstructions: 0 below -1, 1.5 above, 3 above
    loss = discriminator_loss(torch.tensor([4.0, 0.5, -2.0]), torch.tensor([-4.0, 0.5, 2.0]))
    assert loss.item() == pytest.approx(0.5 * (3.5 / 3 + 4.5 / 3))


def test_adaptive_weight_makes_both_pull_equally():
    layer = torch.tensor([1.0, 2.0], requires_grad=True)
    fidelity, adversarial = (layer * torch.tensor([3.0, 4.0])).sum(), (layer * torch.tensor([0.0, 0.5])).sum()
    weight = adaptive_weight(fidelity, adversarial, layer)
    assert weight.item() == pytest.approx(5 / 0.5, rel=1e-4)
    assert not weight.requires_grad
    assert adaptive_weight(fidelity, adversarial * 0, layer, limit=7).item() == 7


# -- the sum -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["patches", "diffusers"])
def vae(request):
    torch.manual_seed(0)
    if request.param == "diffusers":
        return AutoencoderKL(**preset("toy")["vae"])
    return PatchAutoencoder(4, (8, 8), (1, 1), (8, 8), (1, 1))


def distance(a, b):
    return (a - b).square().mean((1, 2, 3))


def loss_of(vae, weights=None, **options):
    torch.manual_seed(1)
    images = torch.rand(2, 3, 32, 24) * 2 - 1
    posterior = vae.encode(images).latent_dist
    return reconstruction_loss(images, vae.decode(posterior.sample()).sample, posterior, weights, **options)


def test_every_part_counts_with_its_weight(vae):
    torch.manual_seed(0)
    options = {
        "perceptual": distance,
        "discriminator": PatchDiscriminator((8, 8), 4),
        "last_layer": vae.decoder.conv_out.weight,
    }
    weights = ReconstructionWeights(
        pixel=1.5, charbonnier=0.1, gradient=0.7, gradient_scales=1, kl=0.01, perceptual=0.3, adversarial=0.2
    )
    loss = loss_of(vae, weights, **options)
    expected = sum(
        getattr(weights, name) * getattr(loss, name) * (loss.adaptive_weight if name == "adversarial" else 1)
        for name in NAMES
    )
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.adaptive_weight > 0
    # each part is what its function says
    torch.manual_seed(1)
    images = torch.rand(2, 3, 32, 24) * 2 - 1
    posterior = vae.encode(images).latent_dist
    reconstructions = vae.decode(posterior.sample()).sample
    assert loss.pixel.item() == pytest.approx(pixel_loss(images, reconstructions, 0.1).item())
    assert loss.gradient.item() == pytest.approx(gradient_loss(images, reconstructions, 1).item())
    assert loss.kl.item() == pytest.approx(kl_divergence(posterior).item())
    assert loss.perceptual.item() == pytest.approx(distance(images, reconstructions).mean().item())
    assert loss.adversarial.item() == pytest.approx(-options["discriminator"](reconstructions).mean().item())


def test_the_default_needs_nothing_else_and_trains(vae):
    loss = loss_of(vae)
    assert loss.perceptual == loss.adversarial == loss.adaptive_weight == 0
    loss.total.backward()
    assert vae.decoder.conv_out.weight.grad.any()
    assert vae.encoder.conv_out.weight.grad.any()


def forbidden(*pictures):
    raise AssertionError("computed in vain")


@pytest.mark.parametrize("name", ["pixel", "gradient", "kl", "perceptual"])
def test_parts_of_weight_zero_are_not_computed(vae, name):
    weights = ReconstructionWeights(**{**dict.fromkeys(NAMES, 0.0), name: 1.0})
    loss = loss_of(vae, weights, perceptual=distance if name == "perceptual" else forbidden, discriminator=forbidden)
    assert loss.total == getattr(loss, name) > 0
    assert all(getattr(loss, other) == 0 for other in NAMES if other != name)


@torch.no_grad()
def test_losses_are_float32_in_half_precision():
    images = torch.rand(1, 3, 8, 8)
    posterior = DiagonalGaussianDistribution(torch.randn(1, 8, 1, 1).bfloat16())
    loss = reconstruction_loss(images, images.bfloat16(), posterior)
    assert {getattr(loss, field.name).dtype for field in fields(loss)} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl": -1.0}, "kl must be a finite number of at least 0, got -1.0"),
        ({"adversarial": math.inf}, "adversarial must be a finite number of at least 0, got inf"),
        ({"gradient_scales": 0}, "gradient_scales must be at least 1, got 0"),
    ],
)
def test_impossible_weights_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ReconstructionWeights(**changes)


def test_what_a_weight_asks_for_must_come(vae):
    with pytest.raises(ValueError, match="above 0: pass perceptual=, a distance of pictures"):
        loss_of(vae, ReconstructionWeights(perceptual=1))
    with pytest.raises(ValueError, match="above 0: pass discriminator= and last_layer="):
        loss_of(vae, ReconstructionWeights(adversarial=1), discriminator=PatchDiscriminator((8, 8), 4))


def test_shapes_must_agree():
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"images' shape \(1, 3, 8, 8\), got \(1, 3, 8, 16\)"):
        reconstruction_loss(images, torch.zeros(1, 3, 8, 16), posterior_of([0.0], [1.0]))
