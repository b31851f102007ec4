"""``pocold train`` of PIDM and NTED: they learn, resume to the bit, and end with folders that can be evaluated."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import changed, log, weights

from pocold.cli import main
from pocold.models.baselines.loading import load_baseline
from pocold.training.baseline_config import (
    NtedLossConfig,
    NtedModelConfig,
    NtedTrainConfig,
    PidmLossConfig,
    PidmModelConfig,
    PidmSamplingConfig,
    PidmTrainConfig,
)
from pocold.training.config import PictureValidationConfig, ValidationConfig
from pocold.training.config_files import read_config, save_config
from pocold.training.nted import train_nted
from pocold.training.pidm import train_pidm

TRAIN = {"pidm": train_pidm, "nted": train_nted}


@pytest.fixture(params=["pidm", "nted"])
def method(request):
    return request.param


@pytest.fixture
def baseline_config(config, method):
    """Two steps of a tiny network, a checkpoint after each, no validation."""
    optimizer = replace(config.optimizer, ema_decay=0.9)
    run = replace(config.run, output=f"{config.run.output}-{method}")
    if method == "pidm":
        model = PidmModelConfig(
            block_out_channels=(8, 16, 16), encoder_channels=(8, 16, 16), layers_per_block=1, texture_levels=1,
            num_heads=2, norm_num_groups=4,
        )  # fmt: skip
        validation = ValidationConfig(every=0, pairs=2, preview_pairs=1, steps=2)
        return PidmTrainConfig(
            config.data, model, PidmLossConfig(), optimizer, run, validation, PidmSamplingConfig(steps=2)
        )
    shape = NtedModelConfig(
        block_out_channels=(8, 16, 16), layers_per_block=1, num_heads=2, num_filters=4, norm_num_groups=4
    )
    validation = PictureValidationConfig(every=0, pairs=2, preview_pairs=1)
    return NtedTrainConfig(config.data, shape, NtedLossConfig(perceptual=0.0), optimizer, run, validation)


@pytest.mark.slow
def test_it_learns_and_is_watched(baseline_config, method):
    longer = changed(
        baseline_config,
        run={"max_steps": 32, "checkpoint_every": 32, "log_every": 8, "batch_size": 4},
        optimizer={"learning_rate": 3e-3},
        validation={"every": 16},
    )
    folder = TRAIN[method](longer)
    assert folder.name == method
    entries = log(Path(longer.run.output))
    assert [entry["step"] for entry in entries if "validation/ssim" in entry] == [16, 32]
    column = {"pidm": "noise_loss", "nted": "pixel"}[method]
    losses = [entry[column] for entry in entries if column in entry]
    assert losses[-1] < 0.8 * losses[0]
    sheets = sorted((Path(longer.run.output) / "previews").iterdir())
    assert len(sheets) == 2
    assert Image.open(sheets[0]).width > 4 * 48
    network = load_baseline(folder)
    assert type(network).__name__ == method.upper()
    average = weights(Path(longer.run.output), 32, "ema")
    assert all(torch.equal(value, average[f"{method}.{name}"]) for name, value in network.named_parameters())
    assert f"| {method} | 0." in (folder / "README.md").read_text()


def test_resume_of_a_baseline_equals_a_straight_run_to_the_bit(baseline_config, method):
    straight = changed(baseline_config, run={"max_steps": 4, "output": f"{baseline_config.run.output}-straight"})
    TRAIN[method](straight)
    TRAIN[method](baseline_config)
    TRAIN[method](changed(baseline_config, run={"max_steps": 4}))
    for name in ("model", "ema"):
        a, b = (weights(Path(one.run.output), 4, name) for one in (straight, baseline_config))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    start = weights(Path(straight.run.output), 2)
    assert any(not torch.equal(start[key], value) for key, value in weights(Path(straight.run.output), 4).items())


def test_the_command_trains_what_the_config_names_and_the_result_is_evaluated(
    baseline_config, method, people, tmp_path, capsys
):
    path = tmp_path / "baseline.toml"
    save_config(changed(baseline_config, data={"height": 64, "width": 48}), path, "")
    main(["train", str(path), "--run.max-steps", "1"])
    folder = Path(capsys.readouterr().out.strip())
    assert folder == Path(baseline_config.run.output) / method
    assert tuple(load_baseline(folder).config.sample_size) == (64, 48)
    main(["train", str(folder.parent / "config.toml"), "--run.max-steps", "2"])  # the resolved config goes on
    assert (folder.parent / "checkpoints" / "step-00000002").is_dir()
    capsys.readouterr()
    out = tmp_path / "out"
    main(["evaluate", str(folder), str(people), "--limit", "2", "--without", "fd_stlpips", "st_lpips", "-o", str(out)])
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["painter"] == method.upper()
    assert {"psnr", "ssim_gaussian_1.5", "colour_top"} <= report["metrics"].keys()
    assert (out / "sheet.png").is_file()


def test_pidm_states_how_it_draws_and_nted_has_its_losses(baseline_config, method):
    folder = TRAIN[method](changed(baseline_config, run={"max_steps": 1}))
    entry = log(Path(baseline_config.run.output))[0]
    if method == "pidm":
        assert load_baseline(folder).config.num_inference_steps == 2
        assert entry["loss"] == pytest.approx(entry["noise_loss"] + 1e-3 * entry["vlb"], rel=1e-4)
        assert entry["vlb"] > 0
    else:
        assert entry["attention"] > 0
        assert entry["discriminator"] > 0
        assert entry["perceptual"] == 0
        without = changed(
            baseline_config,
            loss={"adversarial": 0.0},
            run={"max_steps": 1, "output": f"{baseline_config.run.output}-2"},
        )
        train_nted(without)
        entry = log(Path(without.run.output))[0]
        assert entry["loss"] == pytest.approx(entry["pixel"] + 0.1 * entry["attention"], rel=1e-4)
        seeing = changed(
            without, loss={"perceptual": 0.5, "attention": 0.0}, run={"output": f"{baseline_config.run.output}-3"}
        )
        train_nted(seeing)
        entry = log(Path(seeing.run.output))[0]
        assert entry["perceptual"] > 0
        assert entry["loss"] == pytest.approx(entry["pixel"] + 0.5 * entry["perceptual"], rel=1e-4)


def test_it_goes_on_from_a_folder(baseline_config, method):
    first = TRAIN[method](changed(baseline_config, run={"max_steps": 1}))
    again = changed(
        baseline_config,
        model={"init": str(first), "block_out_channels": (8, 8)},
        run={"output": f"{baseline_config.run.output}-2", "max_steps": 1},
        optimizer={"learning_rate": 0.0, "ema_decay": 0.0},
    )
    a, b = (load_baseline(folder).state_dict() for folder in (first, TRAIN[method](again)))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_people_drawn_on_the_fly_can_be_learned_from(baseline_config, method):
    drawn = changed(
        baseline_config,
        data={"layout": "synthetic", "path": "", "height": 64, "width": 48, "per_identity": 2},
        run={"max_steps": 1},
    )
    assert (TRAIN[method](drawn) / "config.json").is_file()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"latents": "x"}}, "learns from pictures"),
        ({"model": {"norm_num_groups": 5}}, "norm_num_groups=5"),
        ({"model": {"init": "/nowhere"}}, "no such file: /nowhere/config.json"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_step(baseline_config, method, sections, message):
    with pytest.raises(ValueError, match=message):
        TRAIN[method](changed(baseline_config, **sections))
    assert not (Path(baseline_config.run.output) / "checkpoints").exists()


def test_a_folder_of_the_other_method_is_refused(baseline_config, method):
    if method == "pidm":
        folder = train_pidm(changed(baseline_config, run={"max_steps": 1}))
        other = NtedTrainConfig(baseline_config.data, NtedModelConfig(init=str(folder)), run=baseline_config.run)
        with pytest.raises(ValueError, match=r"model.init: .* holds PIDM, expected NTED"):
            train_nted(changed(other, run={"output": f"{other.run.output}-2"}))


def test_a_loss_that_says_nothing_of_the_picture_is_refused(baseline_config, method):
    if method == "nted":
        with pytest.raises(ValueError, match="nothing says what the picture should be"):
            train_nted(changed(baseline_config, loss={"pixel": 0.0}))
        with pytest.raises(ValueError, match=r"loss.attention must be at least 0, got -1"):
            NtedLossConfig(attention=-1.0)
    else:
        with pytest.raises(ValueError, match=r"loss.vlb_weight must be at least 0, got -1"):
            PidmLossConfig(vlb_weight=-1.0)


def test_an_unknown_method_is_named(tmp_path, capsys):
    path = tmp_path / "x.toml"
    path.write_text('[model]\nmethod = "pidn"\n')
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(path)])
    assert stopped.value.code == 2
    assert "unknown model.method 'pidn': expected pidm, nted, or none for a pipeline" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "configs" / "baselines").glob("*.toml")), ids=str)
def test_the_configs_can_be_read(path):
    kind = PidmTrainConfig if path.name.startswith("pidm") else NtedTrainConfig
    assert read_config(kind, path).model.method == path.name[:4]


def test_every_pair_of_a_run_is_of_its_own_noise(baseline_config, method):
    """Two runs of other seeds learn otherwise; of one seed alike."""
    found = []
    for number, seed in enumerate((1, 1, 2)):
        one = changed(baseline_config, run={"output": f"{baseline_config.run.output}-{number}", "seed": seed})
        TRAIN[method](one)
        found.append(weights(Path(one.run.output), 2))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    assert not np.allclose(found[0][next(iter(found[0]))], found[2][next(iter(found[2]))])
