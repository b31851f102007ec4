"""``pocold train-estimator``: learns, resumes to the bit, and ends with a folder that finds people."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import changed, log, weights

from pocold.cli import main
from pocold.data.pairs import collate
from pocold.models.densepose_estimator import EstimatorLoss, load_estimator
from pocold.training.config_files import save_config
from pocold.training.estimator import EstimatorTrainConfig, examples, stacked, train_estimator
from pocold.training.estimator_config import CorruptionConfig, EstimatorModelConfig, EstimatorValidationConfig
from pocold.training.loader import first_samples, open_training_data


@pytest.fixture
def estimator_config(config):
    """Two steps of a small estimator."""
    return EstimatorTrainConfig(
        config.data,
        EstimatorModelConfig(
            channels=(8, 16, 16), encoder_layers=(0, 1, 1), decoder_layers=(1, 1), height=64, width=48
        ),
        CorruptionConfig(),
        EstimatorLoss(),
        replace(config.optimizer, ema_decay=0.9),
        replace(config.run, output=f"{config.run.output}-estimator"),
        EstimatorValidationConfig(every=0, pairs=4, preview_pairs=2),
    )


def test_it_learns_to_find_people(estimator_config):
    longer = changed(
        estimator_config,
        corruption={"strength": 0.2},
        run={"max_steps": 60, "checkpoint_every": 60, "log_every": 10},
        optimizer={"learning_rate": 5e-3},
        validation={"every": 30},
    )
    folder = train_estimator(longer)
    assert folder.name == "densepose_estimator"
    entries = log(Path(longer.run.output))
    validated = [entry for entry in entries if "validation/miou" in entry]
    assert [entry["step"] for entry in validated] == [30, 60]
    assert {"validation/hard_miou", "validation/mirrored", "validation/loss"} <= validated[0].keys()
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < 0.85 * losses[0]
    assert len(list((Path(longer.run.output) / "previews").iterdir())) == 2
    estimator = load_estimator(folder)
    assert estimator.size == (64, 48)
    card = (folder / "README.md").read_text()
    assert "| densepose_estimator | 0.0" in card
    assert "hard_miou" in card
    samples = first_samples(open_training_data(longer.data, 0, uv=True), 12)
    batch = stacked(examples(collate(samples)), torch.device("cpu"))
    with torch.no_grad():
        found = estimator(batch["photo"]).labels.argmax(1) > 0
    body = batch["labels"] > 0
    assert (found & body).sum() > 0.4 * (found | body).sum()


def test_resume_of_an_estimator_equals_a_straight_run_to_the_bit(estimator_config):
    straight = changed(estimator_config, run={"max_steps": 4, "output": f"{estimator_config.run.output}-straight"})
    train_estimator(straight)
    train_estimator(estimator_config)
    train_estimator(changed(estimator_config, run={"max_steps": 4}))
    for name in ("model", "ema"):
        a, b = (weights(Path(one.run.output), 4, name) for one in (straight, estimator_config))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_both_pictures_of_a_pair_are_learned_from(estimator_config):
    samples = first_samples(open_training_data(estimator_config.data, 0, uv=True), 2)
    rows = examples(collate(samples))
    assert len(rows) == 4
    for role, pair in (("source", rows[:2]), ("target", rows[2:])):
        for sample, row in zip(samples, pair, strict=True):
            assert torch.equal(row.photo, sample[role])
            assert torch.equal(row.labels, sample[f"{role}_pose"])
            assert torch.equal(row.uv, sample[f"{role}_uv"])
            assert torch.equal(row.garments, sample[f"{role}_garments"])


def test_people_drawn_on_the_fly_can_be_learned_from(estimator_config):
    drawn = changed(
        estimator_config,
        data={"layout": "synthetic", "path": "", "height": 64, "width": 48, "per_identity": 2},
        run={"max_steps": 1},
    )
    assert (train_estimator(drawn) / "config.json").is_file()


def test_it_goes_on_from_a_folder_and_is_written_in_half_precision(estimator_config):
    first = train_estimator(changed(estimator_config, run={"export_precision": "fp16"}))
    size = next(first.glob("*.safetensors")).stat().st_size
    count = sum(p.numel() for p in load_estimator(first).parameters())
    assert size < 2.5 * count + 20_000
    again = changed(
        estimator_config,
        model={"init": str(first), "channels": (8, 8, 8)},
        run={"output": f"{estimator_config.run.output}-2", "max_steps": 1},
        optimizer={"learning_rate": 0.0},
    )
    a, b = load_estimator(first), load_estimator(train_estimator(again))
    assert all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())
    assert a.size == b.size
    larger = changed(
        again, model={"init": str(first), "height": 96, "width": 64}, run={"output": f"{again.run.output}-larger"}
    )
    assert load_estimator(train_estimator(larger)).size == (96, 64)


def test_data_without_garment_maps_is_told(estimator_config, people, tmp_path, capsys):
    import shutil

    shutil.copytree(people, tmp_path / "bare", ignore=shutil.ignore_patterns("garments"))
    train_estimator(changed(estimator_config, data={"path": str(tmp_path / "bare")}, run={"max_steps": 1}))
    assert "no garment maps: backgrounds and clothes stay as they are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"latents": "x"}}, "an estimator learns from pictures"),
        ({"run": {"gradient_checkpointing": True}}, "too small to need it"),
        ({"model": {"channels": (8,)}}, "of 2 to 6 levels"),
        ({"model": {"init": "/nowhere"}}, "no such file: /nowhere/config.json"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_step(estimator_config, sections, message):
    with pytest.raises(ValueError, match=message):
        train_estimator(changed(estimator_config, **sections))
    assert not (Path(estimator_config.run.output) / "checkpoints").exists()


def test_a_strength_is_a_share():
    with pytest.raises(ValueError, match=r"corruption.strength must lie in \[0, 1\], got 2"):
        CorruptionConfig(2)


def test_the_command_and_its_estimator_at_work(estimator_config, tmp_path, capsys):
    path = tmp_path / "estimator.toml"
    save_config(estimator_config, path, "")
    main(["train-estimator", str(path), "--run.max-steps", "1", "--corruption.strength", "0.5"])
    folder = capsys.readouterr().out.strip()
    photo = next((Path(estimator_config.data.path) / "img").iterdir())
    with pytest.raises(SystemExit) as stopped:
        main(["pose", str(photo), "--estimator", folder, "-o", str(tmp_path / "pose.png")])
    assert stopped.value.code == 2
    assert "no person was found" in capsys.readouterr().err
