"""The autoencoder of patches: it starts as the principal components, learns everywhere, and keeps its folder format."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from pocold import PoseTransferPipeline
from pocold.imaging.images import to_tensor
from pocold.models.autoencoder import decode, downsampling_factor, encode, load_autoencoder
from pocold.models.patch_autoencoder import PatchAutoencoder

TINY = {
    "latent_channels": 4,
    "encoder_channels": (8, 12),
    "encoder_layers": (1, 2),
    "decoder_channels": (8, 8, 12),
    "decoder_layers": (1, 1, 2),
}


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    return PatchAutoencoder(**{**TINY, **changes}).eval()


@pytest.fixture(scope="module")
def pictures():
    """``(6, 3, 32, 24)``: smooth colours with a little noise, so that few directions carry most."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 3, 2, generator=generator) * 2 - 1
    smooth = F.interpolate(coarse, size=(32, 24), mode="bicubic", align_corners=False)
    return (smooth + 0.05 * torch.randn(6, 3, 32, 24, generator=generator)).clamp(-1, 1)


@pytest.fixture
def started(pictures):
    vae = tiny()
    vae.init_from_patches(pictures)
    return vae


def literal_reconstruction(pictures, components):
    """The same by cutting the patches out one by one and numpy's singular values."""
    x = pictures.double().numpy()
    cut = [(b, i, j) for b in range(x.shape[0]) for i in range(0, x.shape[2], 8) for j in range(0, x.shape[3], 8)]
    patches = np.stack([x[b, :, i : i + 8, j : j + 8].ravel() for b, i, j in cut])
    mean = patches.mean(0)
    basis = np.linalg.svd(patches - mean, full_matrices=False)[2][:components]
    result = np.zeros_like(x)
    for (b, i, j), patch in zip(cut, (patches - mean) @ basis.T @ basis + mean, strict=True):
        result[b, :, i : i + 8, j : j + 8] = patch.reshape(3, 8, 8)
    return torch.from_numpy(result).float()


@torch.no_grad()
def test_it_starts_as_the_principal_components(started, pictures):
    torch.testing.assert_close(started(pictures).sample, literal_reconstruction(pictures, 4), atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_start_is_far_better_than_the_mean_picture(started, pictures):
    mean_picture = F.mse_loss(pictures.mean(0, keepdim=True).expand_as(pictures), pictures)
    assert F.mse_loss(started(pictures).sample, pictures) < 0.25 * mean_picture


@torch.no_grad()
def test_latents_start_centred_with_mean_square_one_and_roots_of_the_deviations(started, pictures):
    latents = encode(started, pictures)
    assert latents.shape == (6, 4, 4, 3)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    squares = latents.square().mean((0, 2, 3))
    assert squares.mean().item() == pytest.approx(1, abs=1e-5)
    patches = F.pixel_unshuffle(pictures, 8).movedim(1, -1).reshape(-1, 192)
    deviations = torch.linalg.svdvals(patches - patches.mean(0))[:4] / len(patches) ** 0.5
    torch.testing.assert_close(squares, deviations / deviations.mean(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(decode(started, latents), started(pictures).sample)


def test_pictures_may_come_in_batches(started, pictures):
    batched = tiny()
    batched.init_from_patches(pictures[i : i + 2] for i in (0, 2, 4))
    torch.testing.assert_close(batched.encoder.linear.weight, started.encoder.linear.weight, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(batched.decoder.linear.bias, started.decoder.linear.bias)


@torch.no_grad()
def test_a_trained_model_starts_anew(started, pictures):
    trained = tiny(seed=1, scaling_factor=0.3, shift_factor=0.1)
    for part in (trained.encoder, trained.decoder):
        torch.nn.init.normal_(part.conv_out.weight)
    trained.init_from_patches(pictures)
    assert (trained.config.scaling_factor, trained.config.shift_factor) == (1.0, None)
    torch.testing.assert_close(trained(pictures).sample, started(pictures).sample)


@torch.no_grad()
def test_the_draw_starts_with_little_noise(started, pictures):
    distribution = started.encode(pictures).latent_dist
    torch.testing.assert_close(distribution.std, torch.full_like(distribution.mean, 0.0498), atol=1e-4, rtol=0)
    drawn = started.decode(distribution.sample(torch.Generator().manual_seed(0))).sample
    loss = [F.mse_loss(result, pictures) for result in (started(pictures).sample, drawn)]
    assert loss[0] < loss[1] < 1.5 * loss[0]


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (torch.zeros(2, 3, 16, 16), r"vary in fewer than 4 directions; give more or other pictures"),
        ([], "at least one picture to find the principal components of, got none"),
        ([torch.zeros(3, 16, 16)], r"expected pictures \(B, 3, H, W\) .* multiples of 8, got \(3, 16, 16\)"),
    ],
)
def test_pictures_without_principal_components_are_refused(pictures, message):
    with pytest.raises(ValueError, match=message):
        tiny().init_from_patches(pictures)


def test_the_first_steps_do_not_undo_the_start(pictures):
    torch.manual_seed(0)
    vae = PatchAutoencoder()
    vae.init_from_patches(pictures)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = F.mse_loss(vae(pictures).sample, pictures)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert max(losses) < 1.5 * losses[0]
    assert losses[-1] < losses[0]


def test_every_parameter_gets_a_gradient(started, pictures):
    """In the first step but for what lies behind the zeros of the last convolutions; in the second all."""
    optimizer = torch.optim.SGD(started.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        distribution = started.encode(pictures).latent_dist
        drawn = distribution.sample(torch.Generator().manual_seed(step))
        F.mse_loss(started.decode(drawn).sample, pictures).backward()
        idle = {name for name, p in started.named_parameters() if p.grad is None or not p.grad.any()}
        behind = {n for n, _ in started.named_parameters() if n.split(".")[1] not in ("linear", "conv_out")}
        assert idle == (behind if step == 0 else set())
        optimizer.step()


@torch.no_grad()
def test_signals_keep_their_size_down_to_the_last_convolutions():
    """Of a fresh model of the real size; torch's own initial weights would leave a tenth of it."""
    torch.manual_seed(0)
    vae, sizes = PatchAutoencoder(), []
    for part in (vae.encoder, vae.decoder):
        part.blocks[0].register_forward_hook(lambda module, inputs, output: sizes.append(output.std().item()))
        part.blocks[-1].register_forward_hook(lambda module, inputs, output: sizes.append(output.std().item()))
    vae.encode(torch.randn(1, 3, 64, 64))
    vae.decode(torch.randn(1, 16, 8, 8))
    assert len(sizes) == 4
    assert all(0.7 < size < 2 for size in sizes), sizes


@torch.no_grad()
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_any_number_of_levels_works(levels):
    sizes = {"encoder_channels": (4,) * levels, "encoder_layers": (1,) * levels}
    vae = tiny(**sizes, decoder_channels=sizes["encoder_channels"], decoder_layers=sizes["encoder_layers"])
    for part in (vae.encoder, vae.decoder):
        torch.nn.init.normal_(part.conv_out.weight)
    assert encode(vae, torch.rand(1, 3, 24, 16)).shape == (1, 4, 3, 2)
    assert vae(torch.rand(1, 3, 24, 16)).sample.shape == (1, 3, 24, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_channels": 0}, r"latent_channels must lie in 1\.\.192, got 0"),
        ({"encoder_channels": (8,)}, r"encoder_channels and encoder_layers of 1 to 4 levels.*got \(8,\) and \(1, 2\)"),
        ({"decoder_layers": (1, 0, 1)}, r"decoder_layers .* all at least 1, got \(8, 8, 12\) and \(1, 0, 1\)"),
        ({"encoder_channels": (), "encoder_layers": ()}, r"encoder_channels .* got \(\) and \(\)"),
        ({"decoder_channels": (8,) * 5, "decoder_layers": (1,) * 5}, "of 1 to 4 levels"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize("shape", [(1, 3, 20, 16), (1, 3, 16, 4), (1, 1, 16, 16), (3, 16, 16)])
def test_pictures_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"H and W multiples of 8, got .*; frame them first"):
        tiny().encode(torch.zeros(shape))


def test_default_size_is_small():
    parameters = sum(p.numel() for p in PatchAutoencoder().parameters())
    assert parameters * 2 < 8e6  # bytes in half precision


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(started, tmp_path):
    started.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


@torch.no_grad()
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_it_loads_as_it_was_saved(started, folder, pictures, dtype):
    loaded = load_autoencoder(folder, dtype)
    assert type(loaded) is PatchAutoencoder
    assert not loaded.training
    assert downsampling_factor(loaded) == 8
    expected = started if dtype is None else started.to(dtype)
    assert torch.equal(loaded(pictures.to(loaded.dtype)).sample, expected(pictures.to(loaded.dtype)).sample)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"_class_name": "VQModel"},
            "vae holds a VQModel, expected an AutoencoderKL, an AutoencoderTiny or a PatchAutoencoder",
        ),
        ({"_class_name": "AutoencoderKL"}, "vae/config.json has unknown keys: decoder_channels"),
        ({"latent_channels": 5}, "of another shape"),
        ({"decoder_layers": [1, 1]}, "describes no PatchAutoencoder: expected decoder_channels and decoder_layers"),
        ({"colour": "red"}, "unknown keys: colour"),
        ({"scaling_factor": ...}, "lacks the keys: scaling_factor"),
    ],
)
def test_damaged_configs_are_refused(folder, changes, message):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
    with pytest.raises(ValueError, match=message):
        load_autoencoder(folder)


def test_missing_weights_are_named(folder):
    path = folder / "diffusion_pytorch_model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if name != "decoder.linear.bias"}, path)
    with pytest.raises(ValueError, match=r"does not fit PatchAutoencoder; missing: decoder\.linear\.bias"):
        load_autoencoder(folder)


# -- in the pipeline ---------------------------------------------------------------------------------------------------


@pytest.fixture
def pipeline(toy, started):
    """The toy pipeline with this autoencoder, whose latents have as many channels."""
    pipeline = PoseTransferPipeline(started, toy.appearance_encoder, toy.unet, toy.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8))
POSE = np.pad(np.full((16, 12), 2, dtype=np.uint8), ((8, 8), (6, 6)))


def draw(pipeline, source=PHOTO, **options):
    generator = torch.Generator().manual_seed(0)
    return np.asarray(pipeline(source, POSE, num_inference_steps=2, generator=generator, **options).images[0])


def test_a_pipeline_with_it_draws_and_survives_its_folder(pipeline, tmp_path):
    picture = draw(pipeline)
    assert picture.shape == (32, 24, 3)
    pipeline.save_pretrained(tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["vae"] == ["pocold.models.patch_autoencoder", "PatchAutoencoder"]  # a file format: never moves
    loaded = PoseTransferPipeline.from_pretrained(tmp_path / "model")
    loaded.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(draw(loaded), picture)


def test_editing_with_it_keeps_the_rest(pipeline):
    mask = np.zeros((32, 24), dtype=bool)
    mask[8:24, 8:16] = True
    edited = draw(pipeline, image=PHOTO, mask=mask)
    np.testing.assert_array_equal(edited[~mask], np.asarray(PHOTO)[~mask])
    assert (edited[mask] != np.asarray(PHOTO)[mask]).any()
    with torch.no_grad():
        expected = encode(pipeline.vae, to_tensor(PHOTO))
    generator = torch.Generator().manual_seed(0)
    options = {"image": PHOTO, "mask": mask, "output_type": "latent", "generator": generator}
    latents = pipeline(PHOTO, POSE, num_inference_steps=2, **options).images
    assert torch.equal(latents[..., 0], expected[..., 0])  # the columns beside the mask
    assert torch.equal(latents[..., 2], expected[..., 2])


def test_codes_tell_this_autoencoder_from_others(pipeline, toy, pictures):
    code = pipeline.encode_appearance(PHOTO)
    draw(pipeline, code)
    with pytest.raises(ValueError, match="made by a model with other weights"):
        draw(toy, code)
    pipeline.vae.init_from_patches(-pictures[:3])
    with pytest.raises(ValueError, match="made by a model with other weights"):
        draw(pipeline, code)


def test_its_size_rules_are_the_pipelines(pipeline):
    with pytest.raises(ValueError, match="height and width must be multiples of 8, got 36x24"):
        draw(pipeline, height=36, width=24)


def test_encoding_and_decoding_wake_an_offloaded_autoencoder(started):
    """Offloading hangs on ``forward``, but the pipeline calls ``encode`` and ``decode``."""
    calls = []

    class Hook:
        def pre_forward(self, module, *args, **kwargs):
            calls.append(type(module).__name__)

    started._hf_hook = Hook()
    started.decode(started.encode(torch.zeros(1, 3, 8, 8)).latent_dist.mean)
    assert calls == ["PatchAutoencoder"] * 2
