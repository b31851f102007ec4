"""PIDM and NTED as painters: steered by keypoints, framed as everybody, each picture with noise of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pocold.cli import main
from pocold.data.opening import open_data
from pocold.data.pairs import PairedTransform
from pocold.densepose.skeleton import skeleton_map
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation.selection import Selection
from pocold.evaluation.trained_baselines import NtedPainter, PidmPainter, baseline_painter
from pocold.imaging.images import to_pil, to_tensor
from pocold.models.baselines.nted import NTED
from pocold.models.baselines.pidm import PIDM

SIZE = (64, 48)


@pytest.fixture(scope="module")
def pairs(people):
    selection = Selection(open_data(people, "test"))
    return [selection.views(pair) for pair in selection.pairs[:3]]


@pytest.fixture(scope="module")
def networks():
    return {"PIDM": PIDM.from_preset("toy", num_inference_steps=2), "NTED": NTED.from_preset("toy")}


def test_nted_draws_what_its_network_draws(networks, pairs):
    painter = baseline_painter(networks["NTED"])
    assert isinstance(painter, NtedPainter)
    source, target = pairs[1]
    pose = skeleton_map(torch.from_numpy(target.points())[None], SIZE)
    with torch.no_grad():
        expected = to_pil(networks["NTED"](to_tensor(source.photo), pose))[0]
    drawn = painter(pairs, SIZE, "pad")
    assert abs(np.asarray(drawn[1], int) - np.asarray(expected, int)).max() <= 1  # other batches may round otherwise
    assert painter(pairs, (48, 40), "crop")[0].size == (40, 48)


def test_pidm_draws_each_picture_with_noise_of_its_own(networks, pairs):
    painter = baseline_painter(networks["PIDM"], DrawSettings(seed=3))
    assert isinstance(painter, PidmPainter)
    together, alone = painter(pairs, SIZE, "pad"), painter(pairs[1:2], SIZE, "pad")
    assert abs(np.asarray(together[1], int) - np.asarray(alone[0], int)).max() <= 1
    other = baseline_painter(networks["PIDM"], DrawSettings(seed=4))(pairs[1:2], SIZE, "pad")
    assert (np.asarray(other[0]) != np.asarray(alone[0])).any()


@pytest.mark.parametrize("name", ["PIDM", "NTED"])
def test_they_see_the_keypoints_and_not_the_map(networks, pairs, name):
    painter = baseline_painter(networks[name])
    before = np.asarray(painter(pairs[:1], SIZE, "pad")[0])
    source, target = pairs[0]
    blind = [(source, replace(target, labels=np.zeros_like(target.labels)))]
    np.testing.assert_array_equal(np.asarray(painter(blind, SIZE, "pad")[0]), before)
    moved = [(source, replace(target, keypoints=pairs[1][0].keypoints))]
    assert (np.asarray(painter(moved, SIZE, "pad")[0]) != before).any()
    with pytest.raises(ValueError, match=f"{target.name}: no keypoints were found, and this model is steered by them"):
        painter([(source, replace(target, keypoints=None))], SIZE, "pad")


def test_settings_are_those_that_it_draws_with(networks):
    model = baseline_painter(networks["PIDM"], DrawSettings(steps=5, pose_scale=1.5)).settings()
    assert {k: model[k] for k in ("painter", "steps", "pose_scale", "appearance_scale", "scheduler")} == {
        "painter": "PIDM",
        "steps": 5,
        "pose_scale": 1.5,
        "appearance_scale": 2.0,
        "scheduler": "ddim",
    }
    assert "guidance" not in model
    assert set(baseline_painter(networks["NTED"]).settings()) == {"painter", "weights", "dtype"}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("NTED", {"steps": 3}, "--steps: NTED has no such setting; leave it out"),
        ("PIDM", {"guidance": "joint"}, "--guidance: PIDM has no such setting; leave it out"),
        ("PIDM", {"scheduler": "pndm"}, "unknown sampler 'pndm' of PIDM: expected one of ddim, ddpm"),
        ("PIDM", {"steps": 0}, "--steps: expected a number of at least 1, got 0"),
    ],
)
def test_settings_that_it_does_not_have(networks, name, settings, message):
    with pytest.raises(ValueError, match=message):
        baseline_painter(networks[name], DrawSettings(**settings))


def test_the_size_is_the_networks(networks):
    assert baseline_painter(networks["NTED"]).size is None
    assert baseline_painter(NTED.from_preset("toy", sample_size=(64, 48))).size == (64, 48)


def test_keypoints_count_for_the_checksum(people):
    plain, asked = (
        Selection(open_data(people, "test", transform=PairedTransform(keypoints=keypoints)), 2).checksum
        for keypoints in (False, True)
    )
    assert plain != asked


def test_mistakes_of_the_command_end_in_one_line(networks, people, tmp_path, capsys):
    networks["NTED"].save_pretrained(tmp_path / "nted")

    def said(*words):
        with pytest.raises(SystemExit) as stopped:
            main(["evaluate", str(tmp_path / "nted"), str(people), "-o", str(tmp_path / "out"), "--limit", "2", *words])
        assert stopped.value.code == 2
        return capsys.readouterr().err

    few = ("--without", "st_lpips", "fd_stlpips")
    assert "holds NTED, which draws pixels: it has no autoencoder" in said("--baseline", "autoencoder")
    assert "NTED has no such setting" in said("--steps", "3", *few)
    assert "no keypoints were found" in said("--poses", "estimated", *few)
    main([
        "evaluate", str(tmp_path / "nted"), str(people), "-o", str(tmp_path / "copy"), "--limit", "2", *few,
        "--baseline", "copy",
    ])  # fmt: skip
    assert "psnr" in capsys.readouterr().out
