"""diffusers' AutoencoderTiny (TAESD's format) as the autoencoder of a pipeline."""

import pytest
import torch
from diffusers import AutoencoderTiny

from pocold import PoseTransferPipeline
from pocold.models import tiny_autoencoder
from pocold.models.autoencoder import decode, downsampling_factor, encode, fit_scaling_factor, load_autoencoder
from pocold.training.autoencoder import build_autoencoder
from pocold.training.autoencoder_config import AutoencoderModelConfig, AutoencoderTrainConfig


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    widths = (8, 8, 8, 8)
    return AutoencoderTiny(encoder_block_out_channels=widths, decoder_block_out_channels=widths).eval()


@torch.no_grad()
def test_its_latents_are_those_of_diffusers(tiny):
    images = torch.rand(2, 3, 32, 24) * 2 - 1
    latents = encode(tiny, images)
    torch.testing.assert_close(latents, tiny.encode(images).latents, rtol=0, atol=0)
    assert (latents.shape[-2] * downsampling_factor(tiny), latents.shape[-1] * downsampling_factor(tiny)) == (32, 24)
    torch.testing.assert_close(decode(tiny, latents), tiny.decode(latents).sample, rtol=0, atol=0)
    # nothing is drawn where there is no distribution
    sampled = encode(tiny, images, sample=True, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sampled, latents, rtol=0, atol=1e-5)


@pytest.mark.parametrize("height", [88, 96])
@torch.no_grad()
def test_strips_leave_no_seam(tiny, monkeypatch, height):
    images = torch.rand(2, 3, height, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = tiny.encode(images).latents
    picture = tiny.decode(whole).sample
    assert not tiny_autoencoder.runs_in_strips(tiny, height, 24)  # fits into one strip
    monkeypatch.setattr(tiny_autoencoder, "STRIP_BYTES", 14 * 24 * 8 * 4)
    assert tiny_autoencoder.runs_in_strips(tiny, height, 24)
    torch.testing.assert_close(encode(tiny, images), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(decode(tiny, whole), picture, rtol=0, atol=1e-6)
    assert picture.std() > 0.001
    with torch.enable_grad():
        assert not tiny_autoencoder.runs_in_strips(tiny, height, 24)
    tiny.enable_tiling()
    assert not tiny_autoencoder.runs_in_strips(tiny, height, 24)


@torch.no_grad()
def test_scale_and_shift_hold(tiny):
    images = torch.rand(1, 3, 32, 24) * 2 - 1
    plain = tiny.encode(images).latents
    tiny.register_to_config(scaling_factor=1.5, shift_factor=0.25)
    torch.testing.assert_close(encode(tiny, images), (plain - 0.25) * 1.5)
    torch.testing.assert_close(decode(tiny, encode(tiny, images)), tiny.decode(plain).sample)
    factor = fit_scaling_factor(tiny, [images])
    assert encode(tiny, images).square().mean().item() == pytest.approx(1, abs=1e-4)
    assert tiny.config.scaling_factor == factor


def test_a_pipeline_draws_is_saved_and_is_loaded_with_it(tiny, tmp_path):
    plain = PoseTransferPipeline.from_preset("toy")
    pipeline = PoseTransferPipeline(tiny, plain.appearance_encoder, plain.unet, plain.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    photo = torch.rand(3, 64, 40, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 25, (64, 40), generator=torch.Generator().manual_seed(1)).numpy()

    def draw(painter):
        generator = torch.Generator().manual_seed(2)
        return painter(photo, labels, num_inference_steps=2, generator=generator, output_type="pt").images

    drawn = draw(pipeline)
    assert drawn.shape == (1, 3, 64, 40)
    pipeline.save_pretrained(tmp_path / "model")
    loaded = PoseTransferPipeline.from_pretrained(tmp_path / "model")
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.vae, AutoencoderTiny)
    assert torch.equal(draw(loaded), drawn)
    # or in place of the one that a folder has
    plain.save_pretrained(tmp_path / "plain")
    swapped = PoseTransferPipeline.from_pretrained(tmp_path / "plain", vae=load_autoencoder(tmp_path / "model" / "vae"))
    swapped.set_progress_bar_config(disable=True)
    assert torch.equal(draw(swapped), drawn)


def test_a_tiny_one_of_other_channels_is_refused():
    plain = PoseTransferPipeline.from_preset("toy")
    other = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4, latent_channels=16
    )
    with pytest.raises(ValueError, match=r"disagree on the number of latent channels: \{.vae.: 16"):
        PoseTransferPipeline(other, plain.appearance_encoder, plain.unet, plain.scheduler)


def test_it_is_not_trained_here(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    config = AutoencoderTrainConfig(model=AutoencoderModelConfig(init=str(tmp_path)))
    with pytest.raises(
        ValueError, match=r"model\.init: .* holds an AutoencoderTiny, whose encoder has no distribution"
    ):
        build_autoencoder(config, None)
