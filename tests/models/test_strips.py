"""The KL autoencoder in strips: the same pictures as whole, and no map beyond input and output of a layer."""

import pytest
import torch
from diffusers import AutoencoderKL
from torch.overrides import TorchFunctionMode

from pocold.models import strips
from pocold.models.autoencoder import decode, encode_moments
from pocold.models.presets import preset

SIZE = (96, 56)


def make_vae(**changes):
    torch.manual_seed(0)
    vae = AutoencoderKL(**{**preset("toy")["vae"], **changes}).eval()
    for parameter in vae.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # norms that are more than ones and zeros
    return vae


def latents_of(count=1, size=SIZE):
    noise = torch.randn(count, 4, size[0] // 8, size[1] // 8, generator=torch.Generator().manual_seed(1))
    return noise + torch.linspace(-3, 3, size[0] // 8)[:, None]  # another brightness at the top than at the bottom


@pytest.fixture
def narrow(monkeypatch):
    """Strips of a few rows at the finest level."""
    monkeypatch.setattr(strips, "STRIP_BYTES", 16 * 56 * 4 * 5)


WIDTHS = {"block_out_channels": (16, 32, 32, 24)}  # on the way up one block widens, one halves


@pytest.mark.parametrize("changes", [{}, {"layers_per_block": 2}, {"use_post_quant_conv": False}, WIDTHS])
@torch.no_grad()
def test_decoding_leaves_no_seam(narrow, changes):
    vae = make_vae(**changes)
    assert strips.runs_in_strips(vae, *SIZE)
    latents = latents_of(2)
    whole = vae.decode(latents / 0.18215).sample
    drawn = decode(vae, latents)
    assert whole.shape == drawn.shape == (2, 3, *SIZE)
    assert whole.std() > 0.1
    # a step of 8 bits is 2/255 of [-1, 1]; rounding is all there is, far below half of one
    assert (drawn - whole).abs().max() < 1e-4
    # which tiles through the whole network do not keep, blended or not
    vae.enable_tiling()
    vae.tile_sample_min_size, vae.tile_latent_min_size = 32, 4
    assert (vae.decode(latents / 0.18215).sample - whole).abs().max() > 2 / 255


@pytest.mark.parametrize("changes", [{}, {"layers_per_block": 2}, {"use_quant_conv": False}])
@torch.no_grad()
def test_encoding_likewise(narrow, changes):
    vae = make_vae(**changes)
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1
    whole = vae.encode(images).latent_dist.parameters
    assert (encode_moments(vae, images) - whole).abs().max() < 1e-4 * whole.abs().max()


@torch.no_grad()
def test_half_precision(narrow):
    vae = make_vae().to(torch.bfloat16)
    latents = latents_of()
    whole = vae.decode((latents / 0.18215).to(torch.bfloat16)).sample
    drawn = decode(vae, latents)
    assert drawn.dtype == torch.bfloat16
    exact = make_vae().decode(latents / 0.18215).sample
    # as near to the exact picture as the plain form in half precision is
    assert (drawn - exact).abs().mean() < 1.2 * (whole - exact).abs().mean()


class Largest(TorchFunctionMode):
    """The largest tensor that is computed, save for those that are only allocated or looked at."""

    def __init__(self):
        self.numel = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if isinstance(result, torch.Tensor) and name not in ("new_empty", "__getitem__", "cat", "split", "__get__"):
            self.numel = max(self.numel, result.numel())
        return result


@torch.no_grad()
def test_nothing_is_whole_but_what_a_layer_reads_and_writes(monkeypatch):
    size = (192, 56)
    vae = make_vae()
    latents = latents_of(size=size)
    with Largest() as plain:
        vae.decode(latents)
    finest = 16 * size[0] * size[1]
    assert plain.numel >= finest
    monkeypatch.setattr(strips, "STRIP_BYTES", finest)  # a quarter of it, at four bytes each
    with Largest() as stripped:
        decode(vae, latents)
    assert stripped.numel < 0.3 * finest


@torch.no_grad()
def test_who_goes_through_whole(narrow):
    vae = make_vae()
    assert strips.runs_in_strips(vae, *SIZE)
    assert not strips.runs_in_strips(vae, 8, 8)  # fits into one strip
    with torch.enable_grad():
        assert not strips.runs_in_strips(vae, *SIZE)
    vae.enable_tiling()
    assert not strips.runs_in_strips(vae, *SIZE)
    mixed = ("UpDecoderBlock2D",) * 3 + ("AttnUpDecoderBlock2D",)
    assert not strips.runs_in_strips(make_vae(up_block_types=mixed), *SIZE)
    assert not strips.runs_in_strips(make_vae(act_fn="relu"), *SIZE)
