"""Configs: TOML in, flags over it, TOML out, and what a resumed run may change."""

from dataclasses import replace
from pathlib import Path

import pytest

from pocold.training.autoencoder import AutoencoderTrainConfig
from pocold.training.config import OptimizerConfig, RunConfig, TrainConfig
from pocold.training.config_files import check_same_run, parse_flags, read_config, save_config, to_toml
from pocold.training.distillation_config import DistillTrainConfig
from pocold.training.estimator import EstimatorTrainConfig
from pocold.training.refiner import RefinerTrainConfig

ROOT = Path(__file__).parent.parent.parent


def written(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_fields_that_a_file_does_not_name_have_the_published_defaults(tmp_path):
    config = read_config(TrainConfig, written(tmp_path, "[run]\nmax_steps = 7\n"))
    assert config.run.max_steps == 7
    assert config.optimizer == OptimizerConfig(learning_rate=5e-5, weight_decay=1e-2, max_grad_norm=1.0)
    assert (config.run.batch_size, RunConfig().max_steps) == (32, 600_000)
    assert (config.loss.pose_dropout, config.loss.appearance_dropout, config.loss.penalty_weight) == (0.15, 0.15, 1.0)
    assert config.loss.prediction_type == "epsilon"
    assert config.model.block_out_channels == (128, 256, 512, 512)


@pytest.mark.parametrize("cls", [TrainConfig, AutoencoderTrainConfig, EstimatorTrainConfig])
def test_what_is_written_reads_back_the_same(tmp_path, cls):
    config = replace(cls(), run=RunConfig(output='a "quoted" \\ path', max_minutes=1.5, batch_size=3))
    path = tmp_path / "config.toml"
    save_config(config, path, "two\nlines")
    assert path.read_text().startswith("# two\n# lines\n")
    assert read_config(cls, path) == config
    assert to_toml(read_config(cls, path)) == to_toml(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\nmax_step = 3", r"unknown keys in \[run\]: max_step; known are output, seed, max_steps"),
        ("[runs]\nmax_steps = 3", "unknown keys in the top level: runs; known are data, model"),
        ("run = 3", r"expected a table \[run\], got 3"),
        ("[run]\nmax_steps = 3.5", "run.max_steps must be a whole number, got 3.5"),
        ("[run]\nmax_steps = true", "run.max_steps must be a whole number, got True"),
        ("[run]\nmax_minutes = 'long'", "run.max_minutes must be a number, got 'long'"),
        ("[run]\nprecision = 'half'", "run.precision must be one of 'fp32', 'fp16', 'bf16', got 'half'"),
        ("[run]\nmax_steps = 0", "run.max_steps must be at least 1, got 0"),
        ("[optimizer]\nbetas = [0.9]", "optimizer.betas must be .*got .0.9."),
        ("[optimizer]\nema_decay = 1.0", r"optimizer.ema_decay must lie in \[0, 1\), got 1.0"),
        ("[data]\nflip = 2", r"data.flip is a probability in \[0, 1\], got 2"),
        ("[data]\nheight = 64", "height and width are given together, got 64 and 0"),
        ("[data", "cannot be read as TOML"),
    ],
)
def test_a_config_that_says_something_wrong_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_config(TrainConfig, written(tmp_path, text))


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no such config: .*nowhere.toml"):
        read_config(TrainConfig, tmp_path / "nowhere.toml")


def test_an_autoencoder_of_kind_kl_needs_its_config(tmp_path):
    with pytest.raises(ValueError, match=r"kind kl needs the config.json of an AutoencoderKL"):
        read_config(AutoencoderTrainConfig, written(tmp_path, "[model]\nkind = 'kl'"))


def test_flags_go_over_the_file(tmp_path):
    config = read_config(TrainConfig, written(tmp_path, "[run]\nmax_steps = 7\nseed = 3\n"))
    flags = ["--run.max-steps", "9", "--model.block-out-channels", "16", "32", "--loss.min-snr-gamma", "5"]
    chosen = parse_flags(TrainConfig, config, flags, "pocold train")
    assert (chosen.run.max_steps, chosen.run.seed) == (9, 3)
    assert chosen.model.block_out_channels == (16, 32)
    assert chosen.loss.min_snr_gamma == 5.0


def test_what_all_commands_have_is_called_as_everywhere(tmp_path):
    config = read_config(TrainConfig, written(tmp_path, "[run]\nseed = 3\n"))
    flags = ["-o", "out", "--seed", "4", "--precision", "bf16", "--device", "cpu"]
    run = parse_flags(TrainConfig, config, flags, "pocold train").run
    assert (run.output, run.seed, run.precision, run.device) == ("out", 4, "bf16", "cpu")


def test_a_run_goes_on_with_its_own_settings_only(tmp_path):
    config = TrainConfig()
    path = tmp_path / "config.toml"
    save_config(config, path, "")
    check_same_run(replace(config, run=replace(config.run, max_steps=9, log_every=3)), path)
    different = replace(config, optimizer=replace(config.optimizer, learning_rate=1.0))
    with pytest.raises(ValueError, match=r"other settings: optimizer.learning_rate = 1.0 instead of 5e-05; choose"):
        check_same_run(different, path)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.stem)
def test_the_configs_that_come_along_can_be_read(path):
    classes = {
        "autoencoder": AutoencoderTrainConfig,
        "estimator": EstimatorTrainConfig,
        "refiner": RefinerTrainConfig,
        "guidance": DistillTrainConfig,
        "steps": DistillTrainConfig,
    }
    cls = classes.get(path.stem.rpartition("-")[2], TrainConfig)
    config = read_config(cls, path)
    assert path.read_text().startswith("# "), "a config begins with its command, hardware, duration and result"
    assert config.run.output != RunConfig().output
