"""PIDM's networks: the published size, any picture size, what each input changes, folders."""

import json

import pytest
import torch

from pocold.models.baselines.loading import is_baseline, load_baseline
from pocold.models.baselines.pidm import PIDM

SIZE = (40, 30)


def inputs(size=SIZE, count=2):
    generator = torch.Generator().manual_seed(1)
    noisy, source = torch.randn(2, count, 3, *size, generator=generator)
    return noisy, torch.tensor([13, 800])[:count], torch.rand(count, 20, *size, generator=generator), source


def predict(model, noisy, timestep, pose, source):
    return torch.cat(model(noisy, timestep, pose, model.encode(source)), dim=1)


def test_the_published_size():
    with torch.device("meta"):
        model = PIDM.from_preset("pidm")
    denoiser, encoder = (sum(p.numel() for p in part.parameters()) for part in (model.denoiser, model.texture_encoder))
    assert denoiser == pytest.approx(142e6, rel=0.03)
    assert encoder == pytest.approx(38e6, rel=0.03)


def test_textures_are_of_32_16_and_8_pixels():
    with torch.device("meta"):
        model = PIDM.from_preset("pidm")
        textures = model.encode(torch.zeros(1, 3, 256, 256))
    assert [one.shape[-1] for one in textures] == [32, 16, 8]


@pytest.mark.parametrize("size", [(40, 30), (33, 41), (8, 9)])
def test_any_size(size):
    noisy, timestep, pose, source = inputs(size)
    model = PIDM.from_preset("toy")
    with torch.no_grad():
        noise, variance = model(noisy, timestep, pose, model.encode(source))
    assert noise.shape == variance.shape == (2, 3, *size)
    assert torch.isfinite(noise).all()


@pytest.mark.parametrize("changed", range(4))
def test_it_sees_everything(changed):
    model, seen = PIDM.from_preset("toy"), list(inputs())
    with torch.no_grad():
        before = predict(model, *seen)
        seen[changed] = seen[changed] + (100 if changed == 1 else 1)
        after = predict(model, *seen)
    assert (after - before).abs().amax((1, 2, 3)).min() > 1e-3


def test_every_parameter_learns_and_checkpointing_changes_nothing():
    gradients = []
    for checkpointing in (False, True):
        model = PIDM.from_preset("toy").train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        predict(model, *inputs()).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        # softmax does not see a constant added to all keys
        assert gradient.abs().max() > 0 or name.endswith("to_k.bias"), name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_a_folder_gives_the_same_predictions(tmp_path):
    model = PIDM.from_preset("toy", seed=3)
    model.register_to_config(sample_size=(40, 30), num_inference_steps=7)
    model.save_pretrained(tmp_path / "pidm")
    loaded = load_baseline(tmp_path / "pidm")
    assert isinstance(loaded, PIDM)
    assert loaded.config.num_inference_steps == 7
    with torch.no_grad():
        assert torch.equal(predict(loaded, *inputs()), predict(model, *inputs()))
        assert not torch.equal(predict(PIDM.from_preset("toy"), *inputs()), predict(model, *inputs()))
    assert is_baseline(tmp_path / "pidm")
    config = json.loads((tmp_path / "pidm" / "config.json").read_text())
    (tmp_path / "pidm" / "config.json").write_text(json.dumps({**config, "_class_name": "UNet"}))
    assert not is_baseline(tmp_path / "pidm")
    with pytest.raises(ValueError, match="holds a UNet, expected one of PIDM, NTED"):
        load_baseline(tmp_path / "pidm")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texture_levels": 5}, "texture_levels among them, got .* and 5"),
        ({"encoder_channels": (8, 16)}, "as many encoder_channels as block_out_channels"),
        ({"num_heads": 3}, "num_heads=3 and norm_num_groups=4 must divide every width"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ValueError, match=message):
        PIDM.from_preset("toy", **options)
    with pytest.raises(ValueError, match="unknown preset 'large': expected one of pidm, narrow, small, toy"):
        PIDM.from_preset("large")


def test_shapes_that_do_not_belong_together():
    model, (noisy, timestep, pose, source) = PIDM.from_preset("toy"), inputs()
    textures = model.encode(source)
    with pytest.raises(ValueError, match=r"a pose \(2, 20, 40, 30\) of their size, got .* \(2, 20, 39, 30\)"):
        model(noisy, timestep, pose[:, :, 1:], textures)
    with pytest.raises(ValueError, match="expected 2 texture maps of 2 sources"):
        model(noisy, timestep, pose, textures[:1])
    with pytest.raises(ValueError, match=r"source: expected pictures \(B, 3, H, W\)"):
        model.encode(source[0])
