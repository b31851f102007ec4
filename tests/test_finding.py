"""Whose map is taken for a photograph's: BlazePose's where it is installed, else the estimator's."""

import numpy as np
import pytest
import torch
from PIL import Image

from dotted_people import blazepose, dots
from estimators import colour_estimator, constant_estimator, photo_of
from pocold import DensePose, PoseTransferPipeline, finding
from pocold.checkpoints import weights_hash
from pocold.cli import main
from pocold.densepose.correspondence import BESIDE
from pocold.finding import NobodyFoundError, find_densepose
from pocold.imaging.images import Frame
from pocold.models.densepose_estimator import estimate_densepose

TORSO, HEAD = {1, 2}, {23, 24}


@pytest.fixture
def installed(monkeypatch):
    found = blazepose()
    found.fingerprint = "dots"
    monkeypatch.setattr(finding, "open_blazepose", lambda folder=None: found)


def street():
    return dots((400, 600), [(150, 205, 170, 0), (450, 205, 170, 0)])[0]


def test_without_blazepose_the_estimator_looks():
    estimator = colour_estimator()
    found = find_densepose(photo_of(), estimator)
    assert np.array_equal(found.pose.labels, estimate_densepose(photo_of(), estimator).labels)
    assert found.by == weights_hash(estimator)
    advice = r'; people in photographs are found far better with BlazePose: pip install "pocold\[pose\]", then'
    with pytest.raises(NobodyFoundError, match=rf"anna: no person was found .*{advice}"):
        find_densepose(photo_of(), constant_estimator(0), "anna")
    with pytest.raises(ValueError, match="anna: people in a photograph are told apart by BlazePose: pip install"):
        find_densepose(photo_of(), estimator, "anna", person=2)


def test_a_body_is_fitted_to_its_points_and_held_to_its_mask(installed):
    picture, (places,) = dots((400, 300), [(150, 205, 170, 0)])
    found = find_densepose(picture, constant_estimator(0))
    assert found.by == "dots"
    labels = found.pose.labels
    assert labels.shape == (400, 300)
    assert found.pose.uv is not None
    body = np.argwhere(labels > 0)
    # the toy's mask is a circle around the hips: only there the body is kept
    assert np.hypot(*(body - [205, 150]).T).max() < 40 * 2.5 * 170 / 256 + 4
    x, y = places[24]
    assert labels[round(y), round(x)] in TORSO | {7, 8, 9, 10}  # of the hips' right side, or the leg's upper end


def test_people_are_counted_from_the_left(installed):
    first, second = (find_densepose(street(), constant_estimator(0), person=n).pose.labels for n in (1, 2))
    assert np.nonzero(first)[1].max() < 300 < np.nonzero(second)[1].min()
    with pytest.raises(NobodyFoundError, match="street: expected a person from 1 to 2, from left to right, got 3"):
        find_densepose(street(), constant_estimator(0), "street", person=3)


def test_where_blazepose_finds_nobody_the_estimator_looks(installed):
    estimator = colour_estimator()
    assert find_densepose(photo_of(), estimator).by == weights_hash(estimator)
    with pytest.raises(NobodyFoundError, match=r"a DensePose map$"):  # no advice to install what is installed
        find_densepose(photo_of(), constant_estimator(0))


def test_the_pipeline_takes_it(installed, toy):
    pipeline = PoseTransferPipeline(**toy.components | {"densepose_estimator": constant_estimator(0)})
    found = find_densepose(street(), constant_estimator(0)).pose
    code = pipeline.encode_appearance(street(), parts="body")
    expected = toy.encode_appearance(street(), source_pose=found, parts="body")
    for a, b in zip(code.values, expected.values, strict=True):
        assert torch.equal(a, b)


def test_what_of_the_person_has_no_part_is_no_backdrop(installed):
    picture = dots((400, 300), [(150, 205, 170, 0)])[0]
    found = find_densepose(picture, constant_estimator(0)).pose
    hinted = PoseTransferPipeline.from_preset("toy", seed=0, surface_hint=True)
    code = hinted.encode_appearance(picture, source_pose=found, height=128, width=96)
    labels = code.surface[0].layers[0][1][0].labels
    frame = Frame((400, 300), (128, 96), "pad")
    beside = torch.from_numpy((frame.labels(found.person) > 0) & (frame.labels(found.labels) == 0))
    assert beside.sum() > 20
    assert torch.equal(labels == BESIDE, beside)


def test_pocold_pose_tells_people_apart(installed, tmp_path, capsys):
    street().save(tmp_path / "street.png")
    main(["pose", str(tmp_path / "street.png"), "--person", "2", "-o", str(tmp_path / "map.png")])
    found = DensePose.read(tmp_path / "map.png")
    assert found.size == (400, 600)
    assert np.nonzero(found.labels)[1].min() > 300
    assert "taken for a photograph" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["pose", str(tmp_path / "street.png"), "--person", "3", "-o", str(tmp_path / "other.png")])
    assert stopped.value.code == 2
    assert "expected a person from 1 to 2, from left to right, got 3" in capsys.readouterr().err
    assert not (tmp_path / "other.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["walk:side", "--pose-model", "x"], "--pose-model is for files; walk:side is a named pose"),
        (["{photo}", "--pose-model", "{empty}"], "--pose-model: expected pose_solution_packed_assets.data and"),
        (["{photo}", "--pose-model", "{empty}", "--read-as", "iuv"], "--read-as is for files that hold a map"),
    ],
)
def test_pose_model_must_be_one(words, message, tmp_path, capsys):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photo.png")
    (tmp_path / "empty").mkdir()
    places = {"photo": tmp_path / "photo.png", "empty": tmp_path / "empty"}
    with pytest.raises(SystemExit) as stopped:
        main(["pose", *(word.format(**places) for word in words), "-o", str(tmp_path / "map.png")])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
