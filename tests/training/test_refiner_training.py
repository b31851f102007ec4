"""``pocold train-refiner``: makes its pairs, learns, resumes to the bit, and ends with a folder that can be loaded."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import changed, log, weights

from pocold import PoseTransferPipeline
from pocold.cli import main
from pocold.data.repairs import RepairPairs, change_backdrop, check_repairs, write_repairs
from pocold.models.refiner import enlarged, load_refiner
from pocold.training.config import PictureValidationConfig
from pocold.training.config_files import save_config
from pocold.training.loader import open_training_data
from pocold.training.refiner import RefinerTrainConfig, augmented, train_refiner
from pocold.training.refiner_config import (
    RefinerAugmentationConfig,
    RefinerLossConfig,
    RefinerModelConfig,
    RepairConfig,
)
from pocold.training.repairs import blurred


@pytest.fixture
def refiner_config(config):
    """Two steps of a small refiner on six pairs, without a pipeline and without the perceptual term."""
    return RefinerTrainConfig(
        config.data,
        RepairConfig(count=6, at_once=4),
        RefinerModelConfig(channels=(12, 16), layers=(1, 1), label_channels=4),
        RefinerAugmentationConfig(),
        RefinerLossConfig(perceptual=0.0),
        replace(config.optimizer, ema_decay=0.9),
        replace(config.run, output=f"{config.run.output}-refiner"),
        PictureValidationConfig(every=0, pairs=3, preview_pairs=2),
    )


@pytest.mark.slow
def test_it_learns_to_repair(refiner_config):
    longer = changed(
        refiner_config,
        data={"flip": 0.0},
        model={"channels": (24, 32)},
        augmentation={"colour": 0.0, "grain": 0.0, "shift": 0.0},
        run={"max_steps": 100, "checkpoint_every": 100, "log_every": 10, "batch_size": 6},
        optimizer={"learning_rate": 1e-3, "warmup_steps": 10},
        validation={"every": 50},
    )
    folder = train_refiner(longer)
    assert folder.name == "refiner"
    entries = log(Path(longer.run.output))
    validated = [entry for entry in entries if "validation/ssim" in entry]
    assert [entry["step"] for entry in validated] == [50, 100]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < 0.8 * losses[0]
    assert len(list((Path(longer.run.output) / "previews").iterdir())) == 2
    assert "| refiner | 0.0" in (folder / "README.md").read_text()
    pairs = RepairPairs(Path(longer.run.output) / "pairs")
    batch = torch.utils.data.default_collate([pairs[i] for i in range(6)])
    with torch.no_grad():
        repaired = load_refiner(folder)(*(batch[n] for n in ("drawn", "completed", "confidence", "labels", "uv")))
    errors = [(picture - batch["target"]).abs().mean() for picture in (repaired, batch["completed"])]
    assert errors[0] < 0.9 * errors[1]


def test_resume_of_a_refiner_equals_a_straight_run_to_the_bit(refiner_config):
    refiner_config = changed(refiner_config, loss={"adversarial": 0.1})
    straight = changed(refiner_config, run={"max_steps": 4, "output": f"{refiner_config.run.output}-straight"})
    train_refiner(straight)
    train_refiner(refiner_config)
    train_refiner(changed(refiner_config, run={"max_steps": 4}))
    for name in ("model", "ema"):
        a, b = (weights(Path(one.run.output), 4, name) for one in (straight, refiner_config))
        assert a.keys() == b.keys()
        assert any(key.startswith("discriminator.") for key in a)
        assert all(torch.equal(a[key], b[key]) for key in a)
    start = weights(Path(straight.run.output), 2)
    assert all(not torch.equal(start[key], value) for key, value in a.items() if key.endswith("conv1.weight"))


def test_pairs_are_completed_in_the_light_of_the_pose(refiner_config):
    plain = changed(refiner_config, run={"max_steps": 1})
    relit = changed(plain, pairs={"relit": True}, run={"output": f"{plain.run.output}-relit"})
    assert [load_refiner(train_refiner(one)).config.relit for one in (plain, relit)] == [False, True]
    first, other = (RepairPairs(Path(one.run.output) / "pairs")[0] for one in (plain, relit))
    assert torch.equal(first["confidence"], other["confidence"])
    assert not torch.equal(first["completed"], other["completed"])
    with pytest.raises(ValueError, match=r"made with other settings.*\(relit: False there, True now"):
        train_refiner(changed(relit, pairs={"folder": str(Path(plain.run.output) / "pairs")}))


@pytest.mark.parametrize("enlarges", [1, 2])
def test_pairs_are_drawn_by_a_pipeline_and_go_on_where_they_stopped(refiner_config, tmp_path, enlarges):
    PoseTransferPipeline.from_preset("toy", surface_hint=True).save_pretrained(tmp_path / "model")
    drawing = changed(
        refiner_config,
        pairs={"pipeline": str(tmp_path / "model"), "steps": 1, "at_once": 2, "enlarges": enlarges},
        run={"max_steps": 1},
    )
    assert load_refiner(train_refiner(drawing)).config.enlarges == enlarges
    first = RepairPairs(Path(drawing.run.output) / "pairs")
    assert len(first) == 6
    drawn = first[0]["drawn"]
    assert drawn.shape == (3, 64, 48)
    assert (drawn - first[0]["completed"]).abs().mean() > 0.1  # an untrained pipeline's
    coarse = torch.nn.functional.avg_pool2d(drawn[None], 2)
    detail = (drawn - enlarged(coarse, (64, 48))[0]).abs().mean()
    assert (detail < 0.08) == (enlarges == 2)
    # the same pairs, stopped half way
    whole = [first[i] for i in range(6)]
    about = first.index["about"]
    assert about["drawn"] == "sampled"
    rows = {
        name: torch.from_numpy(np.array(first._array(name)[:6])) for name in ("drawn", "completed", "confidence")
    } | {name: torch.from_numpy(np.array(first._array(name)[:6])) for name in ("target", "labels", "uv")}

    def batches(done):
        for start in range(done, 6, 2):
            yield {name: value[start : start + 2] for name, value in rows.items()}

    def stopping(done):
        yield from list(batches(done))[:1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_repairs(tmp_path / "again", stopping, 6, about)
    assert not check_repairs(tmp_path / "again", about)
    with pytest.raises(
        ValueError, match=r"pairs made with other settings, or of other pictures \(steps: 1 there, 9 now\)"
    ):
        write_repairs(tmp_path / "again", batches, 6, about | {"steps": 9})
    taken = []
    write_repairs(tmp_path / "again", lambda done: taken.append(done) or batches(done), 6, about)
    assert taken == [2]
    again = RepairPairs(tmp_path / "again")
    for i in range(6):
        assert all(torch.equal(again[i][name], whole[i][name]) for name in whole[i])
    assert check_repairs(tmp_path / "again", about)


def test_pairs_of_other_settings_are_refused(refiner_config):
    train_refiner(changed(refiner_config, run={"max_steps": 1}))
    folder = str(Path(refiner_config.run.output) / "pairs")
    other = changed(
        refiner_config,
        pairs={"folder": folder, "backdrop_share": 1.0},
        run={"output": f"{refiner_config.run.output}-2"},
    )
    with pytest.raises(ValueError, match=r"backdrop_share: 0.25 there, 1.0 now\); choose another pairs.folder"):
        train_refiner(other)
    (Path(folder) / "drawn.u8").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"drawn.u8 should have \d+ bytes"):
        RepairPairs(folder)


def test_a_mirrored_pair_is_mirrored_throughout(refiner_config):
    train_refiner(changed(refiner_config, run={"max_steps": 1}))
    folder = Path(refiner_config.run.output) / "pairs"
    plain, mirrored = RepairPairs(folder)[1], RepairPairs(folder, flip=1.0)[1]
    for name in ("drawn", "completed", "confidence", "target"):
        assert torch.equal(mirrored[name], plain[name].flip(-1))
    body = plain["labels"].flip(-1) > 0
    assert torch.equal(mirrored["labels"] > 0, body)
    assert not torch.equal(mirrored["labels"], plain["labels"].flip(-1))
    assert (RepairPairs(folder, flip=0.5).at(1, 0)["labels"].shape) == body.shape


def test_augmentation_changes_what_it_should(refiner_config):
    train_refiner(changed(refiner_config, run={"max_steps": 1}))
    pairs = RepairPairs(Path(refiner_config.run.output) / "pairs")
    batch = torch.utils.data.default_collate([pairs[i] for i in range(4)])

    def change(**settings):
        nothing = {"colour": 0.0, "grain": 0.0, "shift": 0.0}
        return augmented(batch, RefinerAugmentationConfig(**nothing | settings), torch.Generator().manual_seed(0))

    same = change()
    assert all(torch.allclose(same[name], batch[name], atol=1e-6) for name in batch)
    coloured = change(colour=1.0)
    for i in range(4):  # equal colours stay equal, in all three pictures
        equal = (batch["completed"][i] == batch["target"][i]).all(0)
        assert torch.equal(coloured["completed"][i][:, equal], coloured["target"][i][:, equal])
    assert (coloured["target"] - batch["target"]).abs().mean() > 0.03
    grainy = change(grain=1.0)
    noise = [grainy[name] - batch[name] for name in ("completed", "target", "drawn")]
    assert noise[0].abs().mean() > 0.003
    assert torch.allclose(noise[2], torch.zeros(()), atol=1e-6)
    inside = (batch["completed"].abs() < 0.6) & (batch["target"].abs() < 0.6)
    assert torch.allclose(noise[0][inside], noise[1][inside], atol=1e-5)
    pulled = change(shift=1.0)
    assert torch.equal(pulled["target"], same["target"])
    assert not torch.equal(pulled["completed"], same["completed"])
    assert set(pulled["confidence"].unique().tolist()) <= set(same["confidence"].unique().tolist())


def test_parts_of_pairs_lie_around_the_body_and_belong_together(refiner_config):
    train_refiner(changed(refiner_config, run={"max_steps": 1}))
    pairs = RepairPairs(Path(refiner_config.run.output) / "pairs")
    batch = torch.utils.data.default_collate([pairs[i] for i in range(4)])
    settings = RefinerAugmentationConfig(colour=0.0, grain=0.0, shift=0.0, height=40, width=32)
    places = set()
    for seed in range(4):
        parts = augmented(batch, settings, torch.Generator().manual_seed(seed))
        assert parts["target"].shape == (4, 3, 40, 32)
        assert (parts["labels"] > 0).flatten(1).any(1).all()
        for i in range(4):
            windows = batch["target"][i].unfold(1, 40, 1).unfold(2, 32, 1)  # (3, rows, columns, 40, 32)
            same = (windows - parts["target"][i][:, None, None]).abs().amax((0, 3, 4)) < 1e-6
            top, left = same.nonzero()[0].tolist()
            places.add((top, left))
            for name in ("confidence", "labels", "uv", "drawn", "completed"):
                whole = batch[name][i][..., top : top + 40, left : left + 32]
                torch.testing.assert_close(parts[name][i], whole, atol=1e-6, rtol=0)
    assert len(places) > 4
    empty = augmented(batch | {"labels": torch.zeros_like(batch["labels"])}, settings, torch.Generator())
    assert empty["target"].shape == (4, 3, 40, 32)
    with pytest.raises(ValueError, match=r"augmentation.width must be at least 32"):
        RefinerAugmentationConfig(height=64)


def test_backdrops_are_changed_alike_behind_both_pictures(refiner_config, tmp_path):
    sample = open_training_data(replace(refiner_config.data, flip=0.0), 0, uv=True)[0]
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    for photographs in ((), (str(tmp_path / "a.png"),)):
        other = change_backdrop(sample, photographs, torch.Generator().manual_seed(3))
        free = torch.ones(64, 48, dtype=torch.bool)
        for role in ("source", "target"):
            person = (sample[f"{role}_garments"] > 0) | (sample[f"{role}_pose"] > 0)
            free &= ~person
            assert (other[role] - sample[role])[:, ~person].abs().mean() > 0.05
            inner = torch.nn.functional.avg_pool2d(person[None, None].float(), 3, 1, 1)[0, 0] == 1
            assert torch.allclose(other[role][:, inner], sample[role][:, inner], atol=1e-6)
        assert torch.equal(other["source"][:, free], other["target"][:, free])
    bare = {key: value for key, value in sample.items() if "garments" not in key}
    assert change_backdrop(bare, (), torch.Generator()) is bare


def test_blur_leaves_averages():
    picture = torch.zeros(1, 3, 20, 16, dtype=torch.uint8)
    picture[..., 8:] = 200
    soft = blurred(picture)
    assert soft.shape == picture.shape
    assert 60 < soft.float().mean() < 140
    assert len(soft.unique()) > 4


def test_the_perceptual_term_sees_its_share(refiner_config):
    seeing = changed(refiner_config, loss={"perceptual": 0.5, "perceptual_share": 0.5}, run={"max_steps": 1})
    train_refiner(seeing)
    entry = log(Path(seeing.run.output))[0]
    assert entry["perceptual"] > 0
    parts = entry["pixel"] + 0.5 * entry["gradient"] + 0.5 * entry["perceptual"]
    assert entry["loss"] == pytest.approx(parts, abs=1e-5)


def test_it_goes_on_from_a_folder_and_is_written_in_half_precision(refiner_config):
    first = train_refiner(changed(refiner_config, run={"export_precision": "fp16"}))
    size = next(first.glob("*.safetensors")).stat().st_size
    assert size < 2.5 * sum(p.numel() for p in load_refiner(first).parameters()) + 20_000
    again = changed(
        refiner_config,
        model={"init": str(first), "channels": (8, 8, 8)},
        run={"output": f"{refiner_config.run.output}-2", "max_steps": 1},
        optimizer={"learning_rate": 0.0},
    )
    a, b = load_refiner(first).state_dict(), load_refiner(train_refiner(again)).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_people_drawn_on_the_fly_can_be_learned_from(refiner_config):
    drawn = changed(
        refiner_config,
        data={"layout": "synthetic", "path": "", "height": 64, "width": 48, "per_identity": 2},
        pairs={"count": 3, "at_once": 2},
        run={"max_steps": 1},
    )
    assert (train_refiner(drawn) / "config.json").is_file()
    assert len(RepairPairs(Path(drawn.run.output) / "pairs")) == 3


def test_data_without_garment_maps_keeps_its_backdrops(refiner_config, people, tmp_path):
    shutil.copytree(people, tmp_path / "bare", ignore=shutil.ignore_patterns("garments"))
    bare = changed(refiner_config, data={"path": str(tmp_path / "bare")}, pairs={"backdrop_share": 1.0})
    assert (train_refiner(changed(bare, run={"max_steps": 1})) / "config.json").is_file()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"latents": "x"}}, "a refiner learns from pictures"),
        ({"run": {"gradient_checkpointing": True}}, "too small to need it"),
        ({"model": {"channels": (8,)}}, "of 2 to 6 levels"),
        ({"model": {"init": "/nowhere"}}, "no such file: /nowhere/config.json"),
        ({"pairs": {"pipeline": "/nowhere"}}, "no such model folder: /nowhere"),
        ({"pairs": {"photographs": ("/nowhere",)}}, "pairs.photographs: no such folder: /nowhere"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_step(refiner_config, sections, message):
    with pytest.raises(ValueError, match=message):
        train_refiner(changed(refiner_config, **sections))
    assert not (Path(refiner_config.run.output) / "checkpoints").exists()


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (RepairConfig, {"backdrop_share": 2.0}, r"pairs.backdrop_share must lie in \[0, 1\], got 2"),
        (RepairConfig, {"count": 0}, "pairs.count must be at least 1"),
        (RefinerAugmentationConfig, {"grain": -0.5}, r"augmentation.grain must lie in \[0, 1\], got -0.5"),
        (RefinerLossConfig, {"perceptual_share": 0.0}, r"loss.perceptual_share must lie in \(0, 1\]"),
        (RefinerLossConfig, {"pixel": -1.0}, "loss.pixel must be at least 0"),
    ],
)
def test_impossible_settings(section, values, message):
    with pytest.raises(ValueError, match=message):
        section(**values)


def test_the_command(refiner_config, tmp_path, capsys):
    path = tmp_path / "refiner.toml"
    save_config(refiner_config, path, "")
    main(["train-refiner", str(path), "--run.max-steps", "1", "--pairs.count", "4"])
    folder = Path(capsys.readouterr().out.strip())
    assert load_refiner(folder).factor == 4
