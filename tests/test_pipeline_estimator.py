"""A pipeline with an estimator: photographs need no maps. And one without: nothing changes."""

import json

import numpy as np
import pytest
import torch

from estimators import SIZE, colour_estimator, constant_estimator, photo_of
from pocold import DensePose, PoseTransferPipeline
from pocold.models.densepose_estimator import DensePoseEstimator, estimate_densepose
from pocold.photographs import InferredWarning

STEPS = {"num_inference_steps": 1, "output_type": "np"}


def seeded():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def hinted():
    pipeline = PoseTransferPipeline.from_preset("toy", surface_hint=True)
    pipeline.register_modules(densepose_estimator=colour_estimator())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_a_photograph_without_a_map_is_as_good_as_one_with_the_map_that_is_found(hinted):
    photo, pose = photo_of(), estimate_densepose(photo_of(box=(4, 4, 60, 30)), colour_estimator())
    found = estimate_densepose(photo, hinted.densepose_estimator)
    assert found.visible_parts == {1, 2}
    expected = hinted(photo, pose, source_pose=found, generator=seeded(), **STEPS).images
    np.testing.assert_array_equal(hinted(photo, pose, generator=seeded(), **STEPS).images, expected)
    # several photographs, each with its own map
    others = [photo, photo_of(box=(8, 16, 60, 44))]
    maps = [estimate_densepose(other, hinted.densepose_estimator) for other in others]
    expected = hinted(others, pose, source_pose=maps, generator=seeded(), **STEPS).images
    np.testing.assert_array_equal(hinted(others, pose, generator=seeded(), **STEPS).images, expected)


def test_parts_are_found_too(toy):
    photo = photo_of()
    found = estimate_densepose(photo, colour_estimator())
    with_estimator = PoseTransferPipeline(**toy.components | {"densepose_estimator": colour_estimator()})
    code = with_estimator.encode_appearance(photo, parts=1)
    expected = toy.encode_appearance(photo, source_pose=found, parts=1)
    for a, b in zip(code.values, expected.values, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="1 photographs, got 0; this pipeline has no densepose_estimator to find them"):
        toy.encode_appearance(photo, parts=1)


def test_where_nobody_is_found_the_photograph_is_named(hinted):
    photo = photo_of()
    hinted.register_modules(densepose_estimator=constant_estimator(0))
    try:
        with pytest.raises(ValueError, match="source: no person was found"):
            hinted.encode_appearance(photo)
        with pytest.raises(ValueError, match="source 0: no person was found"):
            hinted.encode_appearance([photo, photo])
    finally:
        hinted.register_modules(densepose_estimator=colour_estimator())


def test_too_few_maps_are_not_filled_up(hinted):
    found = estimate_densepose(photo_of(), hinted.densepose_estimator)
    with pytest.raises(ValueError, match=r"each of the 2 photographs, got 1$"):
        hinted.encode_appearance([photo_of(), photo_of()], source_pose=[found])


def test_it_is_saved_with_the_pipeline_and_pipelines_without_stay_as_they_were(hinted, toy, tmp_path):
    hinted.save_pretrained(tmp_path / "with")
    index = json.loads((tmp_path / "with" / "model_index.json").read_text())
    assert index["densepose_estimator"] == ["pocold.models.densepose_estimator", "DensePoseEstimator"]
    loaded = PoseTransferPipeline.from_pretrained(tmp_path / "with")
    picture = torch.rand(1, 3, *SIZE)
    for a, b in zip(loaded.densepose_estimator(picture), hinted.densepose_estimator(picture), strict=True):
        assert torch.equal(a, b)
    assert loaded.densepose_estimator.dtype == torch.float32
    half = PoseTransferPipeline.from_pretrained(tmp_path / "with", dtype=torch.bfloat16)
    assert half.densepose_estimator.dtype == torch.bfloat16

    toy.save_pretrained(tmp_path / "without")
    assert not (tmp_path / "without" / "densepose_estimator").exists()
    assert PoseTransferPipeline.from_pretrained(tmp_path / "without").densepose_estimator is None
    index = json.loads((tmp_path / "without" / "model_index.json").read_text())
    del index["densepose_estimator"]  # as folders were before there were estimators
    (tmp_path / "without" / "model_index.json").write_text(json.dumps(index))
    assert PoseTransferPipeline.from_pretrained(tmp_path / "without").densepose_estimator is None
    given = PoseTransferPipeline.from_pretrained(tmp_path / "without", densepose_estimator=colour_estimator())
    assert isinstance(given.densepose_estimator, DensePoseEstimator)


def test_an_estimator_that_the_index_names_must_be_there(hinted, tmp_path):
    hinted.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "densepose_estimator" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no such file: .*densepose_estimator/config.json"):
        PoseTransferPipeline.from_pretrained(tmp_path / "model")


def test_half_precision_finds_the_same_parts(hinted):
    found = estimate_densepose(photo_of(), hinted.densepose_estimator)
    half = estimate_densepose(photo_of(), colour_estimator().to(torch.bfloat16))
    assert (found.labels == half.labels).mean() > 0.99


def test_maps_with_labels_only_get_u_and_v_from_the_photograph(hinted):
    photo = photo_of()
    found = estimate_densepose(photo, colour_estimator())
    expected = hinted.encode_appearance(photo, source_pose=found)
    with pytest.warns(InferredWarning, match="source: its map has labels only, so U and V were taken from the map"):
        code = hinted.encode_appearance(photo, source_pose=DensePose(found.labels))
    assert torch.equal(code.surface[0].layers[0][1][0].uv, expected.surface[0].layers[0][1][0].uv)
