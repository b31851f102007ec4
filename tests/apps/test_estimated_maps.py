"""The drawing commands on photographs without maps: the pipeline's estimator finds them, or else the bundled one."""

from pathlib import Path

import numpy as np
import pytest
from drawing_helpers import fails, pixels, pocold
from PIL import Image

from estimators import colour_estimator, photo_of
from pocold import DensePose, PoseTransferPipeline
from pocold.checkpoints import weights_hash
from pocold.densepose.formats.writing import write_pose
from pocold.imaging.animations import read_notes
from pocold.imaging.metadata import read_png_metadata
from pocold.models import densepose_estimator
from pocold.models.densepose_estimator import estimate_densepose, open_estimator
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person


@pytest.fixture
def own(here):
    """``photo.png`` and ``other.png`` without maps, and the model ``finds`` with an estimator that knows them."""
    photo_of((128, 88), (10, 20, 120, 70)).save("photo.png")
    photo_of((128, 88), (30, 10, 100, 60)).save("other.png")
    model = PoseTransferPipeline.from_preset("toy", surface_hint=True)
    model.register_modules(densepose_estimator=colour_estimator())
    model.save_pretrained("finds")
    return here


def given_maps():
    for name in ("photo", "other"):
        write_pose(estimate_densepose(f"{name}.png", colour_estimator()), f"{name}.npz")


@pytest.mark.parametrize(
    ("command", "maps"),
    [
        ("transfer photo.png --pose walk:side --frame pad", "--source-pose photo.npz"),
        ("transfer photo.png other.png --pose b.iuv.png --frame pad", "--source-pose photo.npz other.npz"),
        ("transfer photo.png --pose walk:side --paste-back", "--source-pose photo.npz"),
        ("edit photo.png --region parts:torso --like other.png", "--source-pose photo.npz --like-pose other.npz"),
        ("mix photo.png other.png --parts torso --frame pad", "--source-pose photo.npz other.npz"),
    ],
)
def test_a_map_that_is_found_draws_what_the_same_map_draws_when_it_is_given(own, capsys, command, maps):
    given_maps()
    pocold(f"{command} -o found.png", model="finds")
    assert "photo.png: no DensePose map was given, so it was estimated" in capsys.readouterr().err
    pocold(f"{command} {maps} -o given.png", model="finds")
    assert "estimated" not in capsys.readouterr().err
    assert np.array_equal(pixels("found.png"), pixels("given.png"))
    sources = read_png_metadata("found.png")["source"]
    for source in sources if isinstance(sources, list) else [sources]:
        assert source["map"] == f"estimated by {weights_hash(colour_estimator())}"
    assert "estimated" not in str(read_png_metadata("given.png")["source"])


@pytest.mark.parametrize(
    ("command", "maps"),
    [
        ("transfer photo.png --pose walk:side", "--source-pose photo.npz"),
        ("mix photo.png other.png --parts torso", "--source-pose photo.npz other.npz"),
        pytest.param("animate photo.png --turn --frames 2", "--source-pose photo.npz", marks=pytest.mark.slow),
    ],
)
def test_a_photograph_without_a_map_is_cut_out_around_who_is_found_in_it(own, command, maps):
    given_maps()
    ending = "webp" if command.startswith("animate") else "png"
    for name, how in (("found", ""), ("cut", f"{maps} --frame person"), ("whole", maps), ("padded", "--frame pad")):
        pocold(f"{command} {how} -o {name}.{ending}", model="finds")
    found, cut, whole, padded = (pixels(f"{name}.{ending}") for name in ("found", "cut", "whole", "padded"))
    assert np.array_equal(found, cut)
    assert np.array_equal(whole, padded)
    assert not np.array_equal(found, whole)
    notes = read_png_metadata(f"found.{ending}") if ending == "png" else read_notes(Path(f"found.{ending}"))
    assert notes["frame"] == "person"


def test_a_code_of_a_photograph_without_a_map(own):
    given_maps()
    pocold("encode photo.png --frame pad -o found.safetensors", model="finds")
    pocold("encode photo.png --source-pose photo.npz -o given.safetensors", model="finds")
    for code in ("found", "given"):
        pocold(f"transfer {code}.safetensors --pose b.iuv.png -o {code}.png", model="finds")
    assert np.array_equal(pixels("found.png"), pixels("given.png"))


def test_a_model_without_an_estimator_uses_the_bundled_one(own, tmp_path, monkeypatch, capsys):
    colour_estimator().save_pretrained(tmp_path / "bundled" / "densepose_estimator")
    monkeypatch.setattr(densepose_estimator, "BUNDLED", tmp_path / "bundled")
    pocold("transfer photo.png --pose b.iuv.png -o without.png", model="hint")
    pocold("transfer photo.png --pose b.iuv.png -o with.png", model="finds")
    assert np.array_equal(pixels("without.png"), pixels("with.png"))


def test_where_nobody_is_found_a_map_is_asked_for_if_the_model_needs_one(own, capsys):
    message = fails(capsys, "transfer photo.png --pose b.iuv.png -o out.png", model="hint")
    assert "photo.png: this model needs the DensePose map of the photograph, and no person was found in it" in message
    assert "expected photo.iuv.png beside it, or --source-pose FILE" in message
    message = fails(capsys, "edit photo.png --region parts:torso --like other.png -o out.png", model="hint")
    assert "photo.png: editing needs the DensePose map" in message
    pocold("transfer photo.png --pose b.iuv.png -o out.png", model="toy")  # as published: it needs none
    assert "map" not in read_png_metadata("out.png")["source"][0]


def synthetic():
    person = random_person(1, 31)  # of the test split
    return Image.fromarray(person.draw([Shot(parse_pose("relaxed").pose, 0.0)], (256, 176))[0].image)


def astronaut():
    return Image.fromarray(pytest.importorskip("skimage.data").astronaut())


@pytest.mark.parametrize("photograph", [synthetic, astronaut])
def test_ones_own_photograph_needs_nothing_else(tmp_path, monkeypatch, capsys, photograph):
    """With the bundled model and the bundled estimator, as they are."""
    monkeypatch.chdir(tmp_path)
    photograph().save("photo.jpg")
    pocold("pose photo.jpg -o pose.png --show look.png", model=None)
    assert 24 in DensePose.read("pose.png").visible_parts  # half of a face at least
    pocold("transfer photo.jpg --pose walk:side -o out.png", model=None)
    assert "photo.jpg: no DensePose map was given, so it was estimated" in capsys.readouterr().err
    assert pixels("out.png").shape == (256, 176, 3)


def test_the_bundled_estimator_finds_a_synthetic_person():
    found = estimate_densepose(synthetic(), open_estimator())
    person = random_person(1, 31)
    truth = person.draw([Shot(parse_pose("relaxed").pose, 0.0)], (256, 176))[0].densepose
    body = truth.labels > 0
    assert (found.labels == truth.labels)[body].mean() > 0.75
    assert ((found.labels > 0) & body).sum() / ((found.labels > 0) | body).sum() > 0.75


def test_a_map_of_labels_only_is_completed_from_the_photograph(own, capsys):
    found = estimate_densepose("photo.png", colour_estimator())
    write_pose(found, "given.npz")
    DensePose(found.labels).write("labels.png")
    pocold("transfer photo.png --source-pose labels.png --pose b.iuv.png -o labels-only.png", model="finds")
    assert "photo.png: its map has labels only, so U and V were taken from the map" in capsys.readouterr().err
    (source,) = read_png_metadata("labels-only.png")["source"]
    assert source["map"] == f"U and V estimated by {weights_hash(colour_estimator())}"
    pocold("transfer photo.png --source-pose given.npz --pose b.iuv.png -o given.png", model="finds")
    assert np.array_equal(pixels("labels-only.png"), pixels("given.png"))
    pocold("transfer photo.png --source-pose labels.png --pose b.iuv.png -o not-needed.png", model="toy")
    assert "labels only" not in capsys.readouterr().err
    message = fails(capsys, "transfer photo.png --source-pose labels.png --pose b.iuv.png -o out.png", model="hint")
    assert "its DensePose map has labels only" in message
