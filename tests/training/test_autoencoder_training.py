"""``pocold train-autoencoder``: learns, resumes to the bit, and ends with a folder that ``pocold train`` takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import changed, log, weights

from pocold.cli import main
from pocold.models import autoencoder
from pocold.models.autoencoder import load_autoencoder
from pocold.models.discriminator import PatchDiscriminator
from pocold.models.patch_autoencoder import PatchAutoencoder
from pocold.models.presets import PRESETS
from pocold.training.autoencoder import AutoencoderModel, AutoencoderTrainConfig, train_autoencoder
from pocold.training.autoencoder_config import AutoencoderModelConfig
from pocold.training.config_files import save_config
from pocold.training.loader import first_samples, open_training_data
from pocold.training.objectives import ReconstructionWeights
from pocold.training.transfer import train


@pytest.fixture
def vae_config(config):
    """Two steps of a small patch autoencoder."""
    return AutoencoderTrainConfig(
        config.data,
        AutoencoderModelConfig(
            latent_channels=4,
            encoder_channels=(8, 16),
            encoder_layers=(1, 1),
            decoder_channels=(8, 16),
            decoder_layers=(1, 1),
        ),
        ReconstructionWeights(),
        replace(config.optimizer, ema_decay=0.9),
        replace(config.run, output=f"{config.run.output}-vae"),
        config.validation,
    )


def test_it_learns_and_a_pipeline_is_trained_with_it(vae_config, config):
    longer = changed(
        vae_config,
        run={"max_steps": 40, "checkpoint_every": 40, "log_every": 10},
        optimizer={"learning_rate": 3e-3},
        validation={"every": 20},
    )
    folder = train_autoencoder(longer)
    entries = log(Path(longer.run.output))
    validated = [entry for entry in entries if "validation/psnr" in entry]
    assert [entry["step"] for entry in validated] == [20, 40]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < 0.95 * losses[0]
    assert len(list((Path(longer.run.output) / "previews").iterdir())) == 2
    vae = load_autoencoder(folder)
    assert isinstance(vae, PatchAutoencoder)
    data = [torch.rand(1, 3, 64, 48) * 2 - 1]
    assert "PatchAutoencoder" in (folder / "config.json").read_text()
    assert "| vae |" in (folder / "README.md").read_text()
    assert autoencoder.encode(vae, data[0]).shape == (1, 4, 8, 6)
    pipeline = train(changed(config, model={"vae": str(folder)}))
    assert json.loads((pipeline / "vae" / "config.json").read_text())["_class_name"] == "PatchAutoencoder"


def test_its_latents_have_unit_size_on_the_data(vae_config):
    vae = load_autoencoder(train_autoencoder(vae_config))
    pictures = torch.stack([sample["target"] for sample in first_samples(open_training_data(vae_config.data, 0), 18)])
    with torch.no_grad():
        assert float(autoencoder.encode(vae, pictures).square().mean()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("adversarial", [0.0, 0.5])
def test_resume_of_an_autoencoder_equals_a_straight_run_to_the_bit(vae_config, adversarial):
    config = changed(vae_config, loss={"adversarial": adversarial})
    straight = changed(config, run={"max_steps": 4, "output": f"{config.run.output}-straight"})
    train_autoencoder(straight)
    train_autoencoder(config)
    train_autoencoder(changed(config, run={"max_steps": 4}))
    for name in ("model", "ema"):
        a, b = (weights(Path(one.run.output), 4, name) for one in (straight, config))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(key.startswith("discriminator.") for key in a) == (adversarial > 0)


def test_any_autoencoder_kl_can_be_trained(vae_config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"_class_name": "AutoencoderKL", **PRESETS["toy"]["vae"]}))
    model = AutoencoderModelConfig(kind="kl", config=str(path))
    folder = train_autoencoder(replace(changed(vae_config, run={"gradient_checkpointing": True}), model=model))
    vae = load_autoencoder(folder)
    assert type(vae).__name__ == "AutoencoderKL"
    again = changed(vae_config, run={"output": f"{vae_config.run.output}-2"})
    train_autoencoder(replace(again, model=AutoencoderModelConfig(init=str(folder))))


def test_the_discriminator_learns_from_its_own_loss_alone():
    """The autoencoder's wish to be taken for a photograph must not teach the discriminator."""
    torch.manual_seed(0)
    levels = {"encoder_channels": (8,), "encoder_layers": (1,), "decoder_channels": (8,), "decoder_layers": (1,)}
    vae = PatchAutoencoder(latent_channels=4, **levels)
    pictures = torch.rand(2, 3, 32, 24) * 2 - 1
    vae.init_from_patches(pictures)
    model = AutoencoderModel(vae, ReconstructionWeights(adversarial=1.0))
    model(pictures, torch.Generator().manual_seed(0))[0].backward()
    assert isinstance(model.discriminator, PatchDiscriminator)
    got = {name: p.grad.clone() for name, p in model.discriminator.named_parameters()}
    model.zero_grad()
    losses = model(pictures, torch.Generator().manual_seed(0))
    losses[6].backward()  # the discriminator's own
    for name, p in model.discriminator.named_parameters():
        torch.testing.assert_close(got[name], p.grad)
    assert losses[5].item() != 0.0


def test_the_perceptual_part_is_learned_but_not_kept(vae_config):
    config = changed(vae_config, loss={"perceptual": 0.5})
    train_autoencoder(config)
    assert all(entry["perceptual"] > 0 for entry in log(Path(config.run.output)))
    assert all(name.startswith("vae.") for name in weights(Path(config.run.output), 2))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"height": 60, "width": 44}}, r"multiples of 8, got \(60, 44\); set data.height and data.width"),
        ({"data": {"latents": "x"}}, "an autoencoder learns from pictures"),
        ({"run": {"gradient_checkpointing": True}}, "too small to need it"),
        ({"run": {"fsdp": True}, "loss": {"adversarial": 1.0}}, "fsdp and loss.adversarial do not go together"),
        ({"model": {"latent_channels": 4000}}, r"latent_channels must lie in 1..192, got 4000"),
        ({"model": {"init": "/nowhere"}}, "no such file: /nowhere/config.json"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_step(vae_config, sections, message):
    with pytest.raises(ValueError, match=message):
        train_autoencoder(changed(vae_config, **sections))
    assert not (Path(vae_config.run.output) / "checkpoints").exists()


def test_the_commands_from_pictures_to_latents_to_training(vae_config, config, tmp_path, capsys):
    path = tmp_path / "vae.toml"
    save_config(vae_config, path, "")
    main(["train-autoencoder", str(path), "--run.max-steps", "1"])
    folder = capsys.readouterr().out.strip()
    main(["data", "latents", config.data.path, "--vae", folder, "--out", str(tmp_path / "latents"), "--hint"])
    assert "train: 18 pairs, 0 pictures skipped" in capsys.readouterr().out
    save_config(config, tmp_path / "train.toml", "")
    flags = ["--model.vae", folder, "--data.latents", str(tmp_path / "latents"), "--model.surface-hint"]
    main(["train", str(tmp_path / "train.toml"), *flags])
    assert capsys.readouterr().out.strip() == str(Path(config.run.output) / "pipeline")
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(tmp_path / "train.toml"), "--data.latents", str(tmp_path / "latents"), "--run.output", "x"])
    assert stopped.value.code == 2
    assert "was made by another autoencoder" in capsys.readouterr().err
