"""What a run says: the log, TensorBoard, the terminal, and which pictures were left out."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from runs import changed, log
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pocold.training import reporting
from pocold.training.reporting import Reporter
from pocold.training.transfer import train


def test_tensorboard_has_scalars_and_previews_and_no_step_twice(config):
    config = changed(config, run={"max_steps": 3}, validation={"every": 1})
    train(config)
    train(changed(config, run={"max_steps": 4}))
    events = EventAccumulator(str(Path(config.run.output) / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("noise_loss")] == [1, 2, 3, 4]
    assert [event.step for event in events.Images("preview")] == [1, 2, 3, 4]
    logged = [entry["noise_loss"] for entry in log(Path(config.run.output)) if "noise_loss" in entry]
    assert [event.value for event in events.Scalars("noise_loss")] == pytest.approx(logged, abs=1e-5)


def test_the_log_tells_speed_and_the_share_of_loading(config):
    train(config)
    entry = log(Path(config.run.output))[-1]
    assert entry["images_per_second"] > 0
    assert 0 < entry["loader_share"] < 1
    assert {"loss", "noise_loss", "pose_penalty", "learning_rate", "skipped_steps", "eta_minutes"} <= entry.keys()


def test_a_terminal_gets_a_progress_display(tmp_path, monkeypatch):
    written = io.StringIO()

    def terminal(**options):
        return Console(file=written, force_terminal=True, width=120, soft_wrap=True)

    monkeypatch.setattr(reporting, "Console", terminal)
    report = Reporter(tmp_path, 10, 0, main=True)
    for step in range(1, 5):
        report.step(step, 8, "loss 0.1234")
    report.close()
    shown = written.getvalue()
    assert "4/10" in shown
    assert "images/s" in shown
    assert "loss 0.1234" in shown


def test_other_processes_say_nothing(tmp_path, capsys):
    report = Reporter(tmp_path, 10, 0, main=False)
    report.say("hello")
    report.scalars(1, {"loss": 1.0})
    report.skipped({"a": "broken"})
    report.close()
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_broken_pictures_are_counted_listed_and_in_the_card_or_stop_the_run(config, people, tmp_path, capsys):
    copy = tmp_path / "people"
    shutil.copytree(people, copy)
    broken = sorted((copy / "img").iterdir())[-1]
    broken.write_bytes(b"no picture")
    config = changed(config, data={"path": str(copy)}, run={"max_steps": 12, "checkpoint_every": 12})
    with pytest.raises(ValueError, match=f"{broken.stem}: its picture is no picture file"):
        train(config)
    folder = train(changed(config, data={"on_error": "skip"}, run={"output": f"{config.run.output}-2"}))
    listed = json.loads((folder.parent / "skipped.json").read_text())
    assert list(listed) == [broken.stem]
    assert "1 pictures were left out" in capsys.readouterr().err
    assert "pictures left out as broken: 1" in (folder / "README.md").read_text()
