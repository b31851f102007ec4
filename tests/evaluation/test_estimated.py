"""Drawing from maps found in the photographs instead of the data's own."""

import json

import numpy as np
import pytest
import torch

from estimators import colour_estimator, constant_estimator, photo_of
from pocold.cli import main
from pocold.data.opening import open_data
from pocold.data.pairs import View
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation.baselines import ModelPainter, WarpSource
from pocold.evaluation.estimated import EstimatedPoses, EstimationWarning, LabelFinder
from pocold.imaging.images import to_tensor
from pocold.pipeline import PoseTransferPipeline


class Spy:
    size, synthetic = (64, 48), False

    def __init__(self):
        self.seen = []

    def settings(self):
        return {"painter": "spy"}

    def __call__(self, pairs, size, frame):
        self.seen += pairs
        return [target.photo for _, target in pairs]


def view(name, box=(6, 10, 58, 38)):
    return View(name, "anna", photo_of(box=box), np.full((64, 48), 9, dtype=np.uint8))


def test_the_painter_sees_found_maps_of_both_ends_and_never_the_true_ones():
    spy, source, target = Spy(), view("a"), view("b", (20, 4, 60, 44))
    EstimatedPoses(spy, colour_estimator())([(source, target)], (64, 48), "pad")
    (seen,) = spy.seen
    for original, found in zip((source, target), seen, strict=True):
        assert set(np.unique(found.labels)) == {0, 1, 2}
        assert found.uv.shape == (2, 64, 48)
        assert found.photo is original.photo
        assert (original.labels == 9).all()  # metrics that look at the truth still do
    assert (seen[0].labels != seen[1].labels).any()


def test_settings_tell_estimated_pictures_apart():
    spy = Spy()
    settings = [EstimatedPoses(spy, estimator).settings() for estimator in (colour_estimator(), constant_estimator(2))]
    assert settings[0]["poses"] == "estimated, source and target"
    assert settings[0]["painter"] == "spy"
    assert settings[0] != spy.settings()
    assert EstimatedPoses(spy, colour_estimator()).size == (64, 48)


def test_where_nobody_is_found_the_map_is_empty_and_it_is_told():
    spy = Spy()
    with pytest.warns(EstimationWarning, match="^a: no person was found .*; drawn with an empty map"):
        EstimatedPoses(spy, constant_estimator(0))([(view("a"), view("a"))], (64, 48), "pad")
    assert not spy.seen[0][0].labels.any()


@pytest.mark.filterwarnings("ignore::pocold.evaluation.estimated.EstimationWarning")
def test_models_and_baselines_draw_from_empty_maps(people):
    pairs = open_data(people, "test")
    views = [pairs.pictures[name].read().decode() for name in pairs.pairs[0]]
    pipeline = PoseTransferPipeline.from_preset("toy", surface_hint=True)
    for painter in (ModelPainter(pipeline, DrawSettings(steps=1)), WarpSource()):
        (picture,) = EstimatedPoses(painter, constant_estimator(0))([(views[0], views[1])], (64, 48), "pad")
        assert picture.size == (48, 64)


def test_labels_are_found_at_the_size_the_estimator_was_trained_for():
    find = LabelFinder(colour_estimator())
    for scale in (1, 2):
        box = tuple(side * scale for side in (6, 10, 58, 38))
        labels = find(to_tensor(photo_of((64 * scale, 48 * scale), box)))
        assert labels.shape == (1, 64 * scale, 48 * scale)
        assert (labels == 1).sum() == pytest.approx(13 * 28 * scale**2, rel=0.15)
    assert torch.equal(find(to_tensor(photo_of()))[0, :2], torch.zeros(2, 48, dtype=torch.int64))


def test_the_command(people, toy_folder, weight_files, tmp_path, capsys):
    constant_estimator(2).save_pretrained(tmp_path / "estimator")
    arguments = [
        "evaluate", str(toy_folder), str(people), "--steps", "1", "--limit", "3", "--real-limit", "3",
        "--device", "cpu", "--st-lpips-weights", str(weight_files / "st_lpips.pth"),
        "--estimator", str(tmp_path / "estimator"),
    ]  # fmt: skip
    reports = {}
    for poses in ("true", "estimated"):
        main([*arguments, "--poses", poses, "--out", str(tmp_path / poses)])
        reports[poses] = json.loads((tmp_path / poses / "report.json").read_text())
    capsys.readouterr()
    assert reports["estimated"]["settings"]["poses"] == "estimated, source and target"
    assert "poses" not in reports["true"]["settings"]
    shares = [reports[poses]["metrics"]["pose_consistency"]["value"] for poses in reports]
    assert shares[0] == shares[1]  # a network that finds a torso everywhere finds the true torso, whatever was drawn
    assert 0 < shares[0] < 1
    metrics = [reports[poses]["metrics"]["l1"]["value"] for poses in reports]
    assert metrics[0] != metrics[1]  # a model that sees the pose draws something else
    with pytest.raises(SystemExit):  # and such pictures are not mixed with others
        main([*arguments, "--out", str(tmp_path / "x"), "--drawn", str(tmp_path / "estimated" / "pictures")])
    assert "holds pictures of another run (estimator: " in capsys.readouterr().err
