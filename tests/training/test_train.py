"""``pocold train``: what it learns, that it resumes to the bit, and that no kill, NaN or full disk loses a run."""

import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image
from runs import changed, kill_when, log, start, weights

from pocold import PoseTransferPipeline
from pocold.cli import main
from pocold.diffusion.sampling import SamplingDefaults
from pocold.diffusion.schedulers import SCHEDULERS, make_scheduler
from pocold.imaging.metadata import read_png_metadata
from pocold.models.presets import build_models
from pocold.training import checkpoints
from pocold.training.config import SamplingConfig
from pocold.training.config_files import save_config
from pocold.training.steps import step_seed
from pocold.training.transfer import TransferModel, build_networks, train


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def folder_of(config):
    return Path(config.run.output)


# -- what it does ----------------------------------------------------------------------------------------------------


def test_a_run_learns_and_ends_with_a_pipeline_that_draws(config):
    config = changed(
        config,
        run={"max_steps": 30, "checkpoint_every": 30, "log_every": 5, "batch_size": 8},
        optimizer={"learning_rate": 3e-3},
    )
    folder = train(config)
    losses = [entry["loss"] for entry in log(folder_of(config))]
    assert np.mean(losses[-2:]) < 0.9 * losses[0]
    pipeline = PoseTransferPipeline.from_pretrained(folder)
    assert pipeline.unet.config.sample_size is None
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    card = (folder / "README.md").read_text()
    assert "pairs seen: 240 of 18 different ones" in card
    assert "steps: 30 of 30, of which 0 were skipped as not finite" in card
    assert 'prediction_type = "v_prediction"' in card


def test_the_pipeline_holds_the_averaged_weights(config):
    config = changed(config, run={"max_steps": 4})
    pipeline = PoseTransferPipeline.from_pretrained(train(config))
    average, last = (weights(folder_of(config), 4, name) for name in ("ema", "model"))
    for name, value in pipeline.unet.state_dict().items():
        assert torch.equal(value, average[f"unet.{name}"])
    assert any(not torch.equal(average[name], last[name]) for name in average)


def test_without_average_the_pipeline_holds_the_weights(config):
    config = changed(config, optimizer={"ema_decay": 0.0})
    pipeline = PoseTransferPipeline.from_pretrained(train(config))
    last = weights(folder_of(config), 2)
    for name, value in pipeline.unet.state_dict().items():
        assert torch.equal(value, last[f"unet.{name}"])


def test_validation_measures_draws_and_finds_the_best_checkpoint(config):
    config = changed(
        config,
        run={"max_steps": 5, "checkpoint_every": 1, "keep_checkpoints": 1},
        validation={"every": 2},
        optimizer={"learning_rate": 0.0},  # nothing is learned, so the first measurement stays the best
    )
    train(config)
    run = folder_of(config)
    measured = [entry for entry in log(run) if "validation/loss" in entry]
    assert [entry["step"] for entry in measured] == [2, 4, 5]
    assert {"validation/psnr", "validation/ssim", "validation/l1"} <= measured[0].keys()
    assert measured[0]["validation/loss"] == measured[2]["validation/loss"]
    assert sorted(path.name for path in (run / "checkpoints").glob("step-*")) == ["step-00000002", "step-00000005"]
    assert json.loads((run / "checkpoints" / "best.json").read_text())["step"] == 2
    sheets = sorted((run / "previews").iterdir())
    assert [path.name for path in sheets] == [f"step-0000000{step}.png" for step in (2, 4, 5)]
    assert read_png_metadata(sheets[0])["synthetic"] is True
    assert Image.open(sheets[0]).size == Image.open(sheets[1]).size


def test_gradient_accumulation_is_one_larger_batch(config):
    config = changed(config, loss={"pose_dropout": 0.0, "appearance_dropout": 0.0, "both_dropout": 0.0})
    steps = {}
    for name, batch, parts in (("whole", 2, 1), ("parts", 1, 2)):
        one = changed(
            config, run={"output": f"{config.run.output}-{name}", "batch_size": batch, "gradient_accumulation": parts}
        )
        train(one)
        steps[name] = (
            [entry["images_per_second"] for entry in log(folder_of(one))],
            checkpoints.read_progress(folder_of(one) / "checkpoints" / "step-00000002"),
        )
    # noise is drawn for each part, so the numbers differ; what was taken from the data does not
    assert steps["whole"][1].samples == steps["parts"][1].samples == 4


def test_gradient_checkpointing_learns_the_same(config):
    other = changed(config, run={"output": f"{config.run.output}-2", "gradient_checkpointing": True})
    for one in (config, other):
        train(one)
    a, b = (weights(folder_of(one), 2) for one in (config, other))
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=1e-5)


def test_all_trained_parts_are_clipped_together(config):
    """With a tiny norm nothing but weight decay moves any weight, of either network."""
    config = changed(config, optimizer={"max_grad_norm": 1e-12, "weight_decay": 0.0, "warmup_steps": 0})
    _, unet, encoder = build_networks(config)
    train(changed(config, run={"max_steps": 1}))
    after = weights(folder_of(config), 1)
    for prefix, network in (("unet", unet), ("appearance_encoder", encoder)):
        for name, before in network.state_dict().items():
            # AdamW divides by the gradient's own size plus 1e-8, which rules here
            assert (after[f"{prefix}.{name}"] - before).abs().max() < 1e-6, name


def test_a_batch_without_any_source_still_gives_every_weight_a_gradient(config):
    """Else processes would wait for each other's gradients."""
    config = changed(config, loss={"pose_dropout": 0.0, "appearance_dropout": 1.0, "both_dropout": 0.0})
    _, unet, encoder = build_networks(config)
    model = TransferModel(unet, encoder, make_scheduler("ddim"), config.loss)
    latents, labels = torch.randn(2, 4, 8, 6), torch.zeros(2, 64, 48, dtype=torch.uint8)
    inputs = {"latents": latents, "source_latents": latents, "labels": labels, "source_labels": labels}
    model(inputs, torch.Generator().manual_seed(0))[0].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert float(encoder.conv_in.weight.grad.abs().max()) == 0.0
    assert float(unet.conv_in.weight.grad.abs().max()) > 0.0


def test_the_pipeline_knows_the_size_it_was_trained_for(config):
    config = changed(config, data={"height": 48, "width": 32})
    folder = train(config)
    assert PoseTransferPipeline.from_pretrained(folder).native_size == (48, 32)
    again = changed(
        config, model={"init": str(folder)}, data={"height": 64, "width": 48}, run={"output": f"{folder}-2"}
    )
    assert PoseTransferPipeline.from_pretrained(train(again)).native_size == (64, 48)


def test_the_pipeline_draws_as_the_config_says(config):
    how = SamplingConfig("dpm++", 6, 1.5, 2.5)
    pipeline = PoseTransferPipeline.from_pretrained(train(dataclasses.replace(config, sampling=how)))
    assert pipeline.sampling == SamplingDefaults(6, 1.5, 2.5)
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    with pytest.raises(ValueError, match=r"sampling.steps must be at least 1, got 0"):
        SamplingConfig(steps=0)
    assert set(get_args(get_type_hints(SamplingConfig)["scheduler"])) == set(SCHEDULERS)


def test_a_run_can_start_from_a_pipeline(config):
    first = train(config)
    second = changed(
        config, model={"init": str(first), "vae": str(first / "vae")}, run={"output": f"{config.run.output}-2"},
        optimizer={"learning_rate": 0.0, "weight_decay": 0.0},
    )  # fmt: skip
    a, b = (PoseTransferPipeline.from_pretrained(folder) for folder in (first, train(second)))
    assert_same(a.unet.state_dict(), b.unet.state_dict())
    assert_same(a.appearance_encoder.state_dict(), b.appearance_encoder.state_dict())


def test_a_run_can_add_the_linear_path_of_the_hint_to_a_pipeline(config):
    config = changed(config, model={"surface_hint": True})
    first = train(config)
    more = changed(config, model={"hint_skip": True, "init": str(first)}, run={"output": f"{first}-2"})
    _, begun, _ = build_networks(more)
    before = PoseTransferPipeline.from_pretrained(first).unet
    assert begun.config.hint_skip
    assert float(begun.skip_weights.weight.detach().abs().max()) == 0
    for name, value in before.state_dict().items():
        assert torch.equal(begun.state_dict()[name], value), name
    after = PoseTransferPipeline.from_pretrained(train(more)).unet
    assert after.skip_weights.weight.detach().abs().amax() > 0
    again = changed(config, model={"hint_skip": True, "init": f"{first}-2/pipeline"})
    _, kept, _ = build_networks(again)
    assert torch.equal(kept.skip_weights.weight, after.skip_weights.weight)


def test_a_run_can_complete_the_hint_of_a_pipeline(config):
    plain = train(config)
    first = train(changed(config, model={"surface_hint": True}, run={"output": f"{config.run.output}-1"}))
    written = first / "unet" / "config.json"  # as of a pipeline from before there was such a hint
    written.write_text(json.dumps({k: v for k, v in json.loads(written.read_text()).items() if k != "hint_completed"}))
    settings = {"hint_completed": True, "init": str(first)}
    folder = train(changed(config, model=settings, run={"output": f"{config.run.output}-2"}))
    assert PoseTransferPipeline.from_pretrained(folder).unet.config.hint_completed
    again = changed(config, model={"init": str(folder)})
    assert build_networks(again)[1].config.hint_completed  # the shape, and what it is shown, of model.init count
    with pytest.raises(ValueError, match=r"model.hint_completed: the UNet of model.init takes no surface hint"):
        build_networks(changed(config, model=settings | {"init": str(plain)}))


def test_seeds_of_steps_and_parts_are_all_different():
    seeds = {step_seed(seed, step, part) for seed in range(4) for step in range(50) for part in range(8)}
    assert len(seeds) == 4 * 50 * 8
    assert all(0 <= seed < 2**63 for seed in seeds)


# -- resuming --------------------------------------------------------------------------------------------------------


def test_resume_two_and_two_steps_equal_four_to_the_bit(config):
    straight = changed(config, run={"max_steps": 4})
    train(straight)
    resumed = changed(config, run={"output": f"{config.run.output}-2"})
    train(resumed)
    train(changed(resumed, run={"max_steps": 4}))
    for name in ("model", "ema"):
        assert_same(weights(folder_of(straight), 4, name), weights(folder_of(resumed), 4, name))
    a, b = (torch.load(folder_of(c) / "checkpoints/step-00000004/optimizer.pt") for c in (straight, resumed))
    assert a["schedule"] == b["schedule"]
    assert a["average_updates"] == b["average_updates"] == 4
    for name, state in a["optimizer"]["state"].items():
        assert_same(state, b["optimizer"]["state"][name])
    rows = [
        [{k: row[k] for k in ("step", "loss", "pose_penalty")} for row in log(folder_of(c))]
        for c in (straight, resumed)
    ]
    assert rows[0] == rows[1]


def test_resume_of_a_finished_run_does_nothing_but_write_the_pipeline(config):
    folder = train(config)
    before = weights(folder_of(config), 2)
    assert train(config) == folder
    assert_same(before, weights(folder_of(config), 2))


def test_resume_with_other_settings_is_refused(config):
    train(config)
    with pytest.raises(ValueError, match=r"holds a run with other settings: run.seed = 7 instead of 42"):
        train(changed(config, run={"seed": 7}))


def test_resume_on_other_pictures_or_with_another_autoencoder_is_refused(config, people, tmp_path):
    folder = shutil.copytree(people, tmp_path / "people")
    build_models("toy")["vae"].save_pretrained(tmp_path / "vae")
    config = changed(config, data={"path": str(folder)}, model={"vae": str(tmp_path / "vae")})
    train(changed(config, run={"max_steps": 1}))
    moved = changed(config, data={"path": str(folder.rename(tmp_path / "moved"))})
    train(moved)  # the same pictures at another place
    photo = next((tmp_path / "moved" / "img").glob("*.jpg"))
    content = photo.read_bytes()
    Image.new("RGB", (48, 64)).save(photo)
    with pytest.raises(ValueError, match=r"holds a run on other data or weights \(pictures, maps and pairs: '"):
        train(changed(moved, run={"max_steps": 3}))
    photo.write_bytes(content)
    build_models("toy", seed=1)["vae"].save_pretrained(tmp_path / "vae")
    with pytest.raises(ValueError, match=r"\(autoencoder: '.*choose another run\.output"):
        train(changed(moved, run={"max_steps": 3}))


def test_resume_from_a_broken_checkpoint_names_it(config):
    train(config)
    path = folder_of(config) / "checkpoints" / "step-00000002" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"model.safetensors cannot be read .*; remove .*step-00000002 to go on"):
        train(changed(config, run={"max_steps": 3}))


def test_resume_drops_what_the_log_says_beyond_the_checkpoint(config):
    train(changed(config, run={"max_steps": 1}))
    path = folder_of(config) / "log.jsonl"
    with path.open("a") as file:  # as a run leaves it that was killed between two checkpoints
        file.write('{"step": 2, "loss": 99.0}\n{"step": 3, "lo')
    train(config)
    assert [entry["step"] for entry in log(folder_of(config))] == [1, 2]
    assert log(folder_of(config))[1]["loss"] != 99.0


def test_resume_after_max_minutes_goes_on_where_it_stopped(config):
    train(changed(config, run={"max_minutes": 0.0, "max_steps": 3, "checkpoint_every": 100}))
    assert checkpoints.Checkpoints(folder_of(config) / "checkpoints", 3).steps() == [1]
    train(changed(config, run={"max_steps": 3}))
    straight = changed(config, run={"max_steps": 3, "output": f"{config.run.output}-2"})
    train(straight)
    assert_same(weights(folder_of(config), 3), weights(folder_of(straight), 3))


# -- what can go wrong -----------------------------------------------------------------------------------------------


def quiet_train(config):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    train(config)


@pytest.mark.slow
def test_kill_at_random_moments_loses_nothing_before_the_last_checkpoint(config):
    config = changed(config, run={"max_steps": 8})
    straight = changed(config, run={"output": f"{config.run.output}-straight"})
    train(straight)
    folder = folder_of(config) / "checkpoints"
    store = checkpoints.Checkpoints(folder, 3)
    draw = random.Random(0)
    kills, reached = 0, 0
    while True:
        wait = draw.randint(1, 3)
        goal = reached + wait
        process = start(quiet_train, config)
        if not kill_when(process, lambda goal=goal: (store.steps() or [0])[-1] >= goal and draw.random() < 0.02):
            assert process.exitcode == 0
            break
        kills += 1
        now = (store.steps() or [0])[-1]
        assert now >= reached  # nothing that was there is gone
        reached = now
    assert kills >= 2
    for name in ("model", "ema"):
        assert_same(weights(folder_of(config), 8, name), weights(folder_of(straight), 8, name))
    assert [entry["step"] for entry in log(folder_of(config))] == list(range(1, 9))


def slow_disk_train(config):
    fsync = os.fsync

    def slow(handle):
        time.sleep(0.05)
        fsync(handle)

    os.fsync = slow
    quiet_train(config)


def test_kill_during_a_save_leaves_the_checkpoint_before(config):
    train(changed(config, run={"max_steps": 1}))
    run = folder_of(config)
    longer = changed(config, run={"max_steps": 3})
    process = start(slow_disk_train, longer)
    assert kill_when(process, lambda: any((run / "checkpoints").glob(".step-00000002.*/new/model.safetensors")))
    store = checkpoints.Checkpoints(run / "checkpoints", 3)
    assert store.steps() == [1]
    assert list((run / "checkpoints").glob(".step-*"))  # what the killed run left
    train(longer)
    assert store.steps() == [1, 2, 3]
    assert not list((run / "checkpoints").glob(".step-*"))


def test_a_polite_signal_saves_before_it_ends(config):
    config = changed(config, run={"max_steps": 100_000, "checkpoint_every": 100_000})
    run = folder_of(config)
    process = start(quiet_train, config)
    path = run / "log.jsonl"
    assert kill_when(process, lambda: path.exists() and path.read_text().count("\n") >= 2, signal.SIGTERM)
    assert process.exitcode == 0
    (step,) = checkpoints.Checkpoints(run / "checkpoints", 3).steps()
    assert 2 <= step < 1000
    assert (run / "pipeline" / "model_index.json").is_file()


def full_disk_train(config, limit, errors):
    """Files larger than ``limit`` bytes cannot be written: what a full disk says, without filling one."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        train(config)
    except ValueError as error:
        os.write(errors, str(error).encode())


def test_a_full_disk_during_a_save_leaves_the_checkpoint_before(config):
    train(changed(config, run={"max_steps": 1}))
    before = weights(folder_of(config), 1)
    reader, writer = os.pipe()
    longer = changed(config, run={"max_steps": 3})
    process = start(full_disk_train, longer, 200_000, writer)
    process.join(60)
    os.close(writer)
    message = os.read(reader, 5000).decode()
    os.close(reader)
    assert "step-00000002 could not be written" in message
    assert "the last whole one is step-00000001; make room and give the same command again" in message
    assert checkpoints.Checkpoints(folder_of(config) / "checkpoints", 3).steps() == [1]
    assert not list((folder_of(config) / "checkpoints").glob(".step-*"))
    assert_same(before, weights(folder_of(config), 1))
    train(longer)  # there is room again
    straight = changed(config, run={"max_steps": 3, "output": f"{config.run.output}-2"})
    train(straight)
    assert_same(weights(folder_of(config), 3), weights(folder_of(straight), 3))


@pytest.fixture
def poison(monkeypatch):
    """Makes the loss NaN at certain steps: a real NaN in the latents, through the real loss."""
    calls = {"n": 0}
    forward = TransferModel.forward

    def at(steps):
        def poisoned(self, inputs, generator):
            step = calls["n"] - 1  # the first call is the check before step 1
            calls["n"] += 1
            if step in steps:
                inputs = {**inputs, "latents": inputs["latents"] * float("nan")}
            return forward(self, inputs, generator)

        monkeypatch.setattr(TransferModel, "forward", poisoned)

    return at


def test_nan_is_skipped_and_counted(config, poison):
    poison({1, 3})
    config = changed(config, run={"max_steps": 5, "max_bad_steps": 2})
    train(config)
    run = folder_of(config)
    assert checkpoints.read_progress(run / "checkpoints" / "step-00000005").skipped == 2
    assert [entry["skipped_steps"] for entry in log(run)] == [0, 1, 1, 2, 2]
    final = weights(run, 5)
    assert all(bool(torch.isfinite(value).all()) for value in final.values())
    assert_same(weights(run, 3), weights(run, 4))  # the fourth step did nothing


def test_nan_without_end_stops_the_run_and_says_what_to_do(config, poison):
    poison(set(range(2, 100)))
    config = changed(config, run={"max_steps": 50, "max_bad_steps": 4, "checkpoint_every": 2})
    with pytest.raises(
        ValueError, match=r"stopped at step 6: .*NaN or infinite 4 times in a row.*lower optimizer.lear"
    ):
        train(config)
    assert checkpoints.Checkpoints(folder_of(config) / "checkpoints", 3).steps()[0] == 2


def test_a_nan_before_the_first_step_is_refused(config, poison):
    poison({-1})
    with pytest.raises(ValueError, match="the first loss is nan: look at the data"):
        train(config)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"path": "/nowhere"}}, "no folder /nowhere"),
        ({"model": {"vae": "/nowhere"}}, "no such file: /nowhere/config.json"),
        ({"model": {"init": "/nowhere"}}, "no such file: /nowhere/unet/config.json"),
        ({"model": {"num_heads": 5}}, "heads"),
        ({"run": {"precision": "fp16"}}, "precision fp16 needs a GPU"),
        ({"run": {"fsdp": True}}, "fsdp shards over several processes"),
        ({"loss": {"pose_dropout": 0.9, "both_dropout": 0.9}}, "dropout probabilities must be"),
        ({"loss": {"min_snr_gamma": -1.0}}, "min_snr_gamma must be a positive"),
        ({"data": {"height": 60, "width": 44}}, "multiples of 8"),
        ({"data": {"validation_split": "valid"}, "validation": {"every": 1}}, "unknown split 'valid'"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_step(config, sections, message):
    with pytest.raises(ValueError, match=message):
        train(changed(config, **sections))
    assert not (folder_of(config) / "checkpoints").exists()


# -- the command, and several processes ------------------------------------------------------------------------------


def test_the_command_trains_and_a_mistake_ends_in_one_line(config, tmp_path, capsys):
    path = tmp_path / "config.toml"
    save_config(config, path, "")
    main(["train", str(path), "--run.max-steps", "1"])
    assert capsys.readouterr().out.strip() == str(folder_of(config) / "pipeline")
    for arguments, message in (
        (["train"], "expected a config file, then flags"),
        (["train", "nowhere.toml"], "no such config: nowhere.toml"),
        (["train", str(path), "--run.seed", "1"], "holds a run with other settings"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("pocold: error: ")
        assert message in error


def torchrun(config, path, *flags):
    save_config(config, path, "")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "pocold", "train", str(path), *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
def test_two_processes_train_together_and_one_goes_on_alone(config, tmp_path, sharded):
    config = changed(config, run={"batch_size": 1, "fsdp": sharded}, validation={"every": 2})
    result = torchrun(config, tmp_path / "config.toml")
    assert result.returncode == 0, result.stderr[-3000:]
    run = folder_of(config)
    progress = checkpoints.read_progress(run / "checkpoints" / "step-00000002")
    assert progress.samples == 4  # two of each process
    assert progress.metrics["psnr"] > 0
    pipeline = PoseTransferPipeline.from_pretrained(run / "pipeline")
    average = weights(run, 2, "ema")
    for name, value in pipeline.unet.state_dict().items():
        assert torch.equal(value, average[f"unet.{name}"])  # whole, though each process had a part
    train(changed(config, run={"max_steps": 3, "fsdp": False}))
    assert checkpoints.read_progress(run / "checkpoints" / "step-00000003").samples == 5


@pytest.mark.slow
def test_two_processes_learn_what_one_with_accumulation_does(config, tmp_path):
    """Noise is drawn per process and part alike: two processes are two parts of one batch, copied or sharded."""
    alone = changed(config, run={"batch_size": 1, "gradient_accumulation": 2})
    train(alone)
    expected = weights(folder_of(alone), 2)
    for name, sharded in (("copied", False), ("sharded", True)):
        run = {"output": f"{config.run.output}-{name}", "batch_size": 1, "fsdp": sharded}
        result = torchrun(changed(config, run=run), tmp_path / f"{name}.toml")
        assert result.returncode == 0, result.stderr[-3000:]
        for key, value in weights(Path(run["output"]), 2).items():
            torch.testing.assert_close(value, expected[key], atol=2e-5, rtol=1e-4, msg=f"{name} {key}")


@pytest.mark.slow
def test_a_mistake_of_several_processes_is_one_line_each_and_code_2(config, tmp_path):
    result = torchrun(changed(config, data={"path": "/nowhere"}), tmp_path / "config.toml")
    assert result.returncode != 0
    assert "pocold: error: expected the folder of a data set, but there is no folder /nowhere" in result.stderr
