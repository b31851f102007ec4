import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from pocold.models.autoencoder import decode, downsampling_factor, encode, fit_scaling_factor, load_autoencoder
from pocold.models.presets import preset


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return AutoencoderKL(**preset("toy")["vae"]).eval()


@torch.no_grad()
def test_encoding_is_the_scaled_mean(vae):
    images = torch.rand(2, 3, 32, 24) * 2 - 1
    latents = encode(vae, images)
    assert latents.shape == (2, 4, 4, 3)
    torch.testing.assert_close(latents, vae.encode(images).latent_dist.mean * 0.18215)


@torch.no_grad()
def test_sampling_draws_from_the_distribution(vae):
    images = torch.rand(1, 3, 32, 24) * 2 - 1
    distribution = vae.encode(images).latent_dist
    noise = torch.randn(distribution.mean.shape, generator=torch.Generator().manual_seed(3))
    expected = (distribution.mean + distribution.std * noise) * 0.18215
    sampled = encode(vae, images, sample=True, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(sampled, expected)


@torch.no_grad()
def test_decoding_undoes_scale_and_shift(vae):
    images = torch.rand(1, 3, 32, 24) * 2 - 1
    plain = decode(vae, encode(vae, images))
    torch.testing.assert_close(plain, vae.decode(vae.encode(images).latent_dist.mean).sample)
    vae.register_to_config(scaling_factor=1.5, shift_factor=0.3)
    assert not torch.allclose(encode(vae, images), vae.encode(images).latent_dist.mean * 1.5)
    torch.testing.assert_close(decode(vae, encode(vae, images)), plain, atol=1e-5, rtol=1e-5)


def test_downsampling_factor(vae):
    assert downsampling_factor(vae) == 8


def test_loading_an_autoencoder_with_former_names(vae, tmp_path):
    """Stable Diffusion's autoencoders were saved when the attention's weights had other names."""
    vae.save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(path)
    renamed = {}
    for name, tensor in state.items():
        for today, before in former.items():
            name = name.replace(f".{today}.", f".{before}.")
        renamed[name] = tensor
    assert renamed.keys() != state.keys()
    save_file(renamed, path)
    loaded = load_autoencoder(tmp_path)
    for name, tensor in vae.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_unknown_weights_are_named(vae, tmp_path):
    vae.save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(path), "encoder.extra.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"unknown: encoder\.extra\.weight"):
        load_autoencoder(tmp_path)


@torch.no_grad()
def test_the_scaling_factor_is_fitted_to_pictures(vae):
    pictures = torch.rand(4, 3, 32, 24) * 2 - 1
    vae.register_to_config(shift_factor=0.1)
    factor = fit_scaling_factor(vae, [pictures[:1], pictures[1:]])
    assert vae.config.scaling_factor == factor != 0.18215
    assert encode(vae, pictures).square().mean().item() == pytest.approx(1, abs=1e-4)


def test_no_pictures_give_no_scaling_factor(vae):
    with pytest.raises(ValueError, match="needs pictures whose latents are not all zero, got none"):
        fit_scaling_factor(vae, [])
