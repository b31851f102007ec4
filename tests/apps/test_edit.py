"""pocold edit as a user runs it: what changes, what stays to the bit, where the region comes from."""

import numpy as np
import pytest
import torch
from drawing_helpers import SIZE, fails, pixels, pocold
from PIL import Image

from pocold import AppearanceCode, DensePose, PoseTransferPipeline
from pocold.apps.drawing.regions import grow, parts_under, put_region, region_mask
from pocold.imaging.metadata import read_png_metadata
from pocold.people.rendering.surface import CLASS_ID


def garments():
    return np.asarray(Image.open("a.garments.png"))


@pytest.mark.parametrize("model", ["toy", "sized"])
def test_only_the_garment_changes(here, model):
    pocold("edit a.png --region top --like b.png -o out.png", model=model)
    top = garments() == CLASS_ID["top"]
    changed = (pixels("out.png") != pixels("a.png")).any(-1)
    assert not changed[~top].any()
    assert changed[top].mean() > 0.9
    first = (here / "out.png").read_bytes()
    pocold("edit a.png --region top --like b.png -o out.png", model=model)
    assert (here / "out.png").read_bytes() == first


def test_the_drawn_region_is_the_pipelines(here):
    pocold("edit a.png --region top --like b.png -o out.png --feather 0 --seed 4")
    pipeline = PoseTransferPipeline.from_pretrained("toy")
    top = garments() == CLASS_ID["top"]
    parts = sorted(parts_under(top, DensePose.read("a.iuv.png")))
    assert {1, 2} & set(parts)
    assert not {5, 6, 23, 24} & set(parts)
    rest = sorted(set(range(25)) - set(parts))
    code = AppearanceCode.union(
        [
            pipeline.encode_appearance("a.png", source_pose="a.iuv.png", parts=rest),
            pipeline.encode_appearance("b.png", source_pose="b.iuv.png", parts=parts),
        ]
    )
    expected = pipeline(
        code,
        "a.iuv.png",
        image="a.png",
        mask=top,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(4),
        feather=0,
    ).images[0]
    np.testing.assert_array_equal(pixels("out.png"), np.asarray(expected))


def test_the_seam_lies_inside_the_region(here):
    mask = np.zeros(SIZE, np.uint8)
    mask[40:100, 20:70] = 255
    Image.fromarray(mask).save("mask.png")
    for feather in (0, 6):
        pocold(f"edit a.png --mask mask.png --like b.png -o out-{feather}.png --feather {feather}")
    hard, soft, photo = (pixels(name).astype(int) for name in ("out-0.png", "out-6.png", "a.png"))
    inner = np.zeros(SIZE, bool)
    inner[46:94, 26:64] = True
    assert np.abs(hard - soft)[inner].max() == 0
    assert (soft == photo)[mask == 0].all()
    border = np.zeros(SIZE, bool)
    border[40, 20:70] = True
    assert np.abs(soft - photo)[border].mean() < 0.4 * np.abs(hard - photo)[border].mean()


def test_a_photograph_of_another_size_keeps_its_size_and_its_other_pixels(here):
    photo = np.random.default_rng(0).integers(0, 255, (300, 260, 3), dtype=np.uint8)
    own = DensePose.read("a.iuv.png")
    labels, uv = np.zeros((300, 260), np.uint8), np.zeros((2, 300, 260), np.float32)
    rows, columns = slice(100, 100 + SIZE[0]), slice(90, 90 + SIZE[1])
    photo[rows, columns], labels[rows, columns], uv[:, rows, columns] = pixels("a.png"), own.labels, own.uv
    Image.fromarray(photo).save("large.png")
    DensePose(labels, uv).write("large.iuv.png")
    pocold("edit large.png --region parts:torso --like b.png -o out.png", model="sized")
    edited = pixels("out.png")
    assert edited.shape == photo.shape
    torso = np.isin(labels, (1, 2))
    changed = (edited != photo).any(-1)
    assert not changed[~torso].any()
    assert changed[torso].mean() > 0.9
    assert read_png_metadata("out.png")["region pixels"] == int(torso.sum())


def test_regions_by_name(here):
    pose, classes = DensePose.read("a.iuv.png"), garments()
    top, body = classes == CLASS_ID["top"], np.isin(pose.labels, [1, 2, *range(15, 23)])
    np.testing.assert_array_equal(region_mask(["top"], pose, classes), top)
    np.testing.assert_array_equal(region_mask(["top"], pose, None), body)
    np.testing.assert_array_equal(region_mask(["parts:top"], pose, classes), body)
    np.testing.assert_array_equal(
        region_mask(["garment:top", "parts:5", "6"], pose, classes), top | (pose.labels == 5) | (pose.labels == 6)
    )
    np.testing.assert_array_equal(region_mask(["legs"], pose, classes), np.isin(pose.labels, range(7, 15)))


def test_growing():
    mask = np.zeros((7, 9), bool)
    mask[3, 4] = True
    grown = grow(mask, 2)
    assert grown.sum() == 25
    assert grown[1:6, 2:7].all()
    assert grow(mask, 0) is not None
    np.testing.assert_array_equal(grow(mask, 0), mask)
    with pytest.raises(ValueError, match="--grow: expected at least 0 pixels, got -1"):
        grow(mask, -1)


def test_slivers_of_other_parts_do_not_count():
    labels = np.zeros((20, 20), np.uint8)
    labels[:10], labels[10:], labels[0, 0] = 1, 2, 7
    assert parts_under(np.ones((20, 20), bool), DensePose(labels)) == {1, 2}
    with pytest.raises(ValueError, match="there is no body under the region"):
        parts_under(np.ones((4, 4), bool), DensePose(np.zeros((4, 4))))


def test_kept_pixels_of_every_value_stay():
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    mask = np.zeros((16, 16), bool)
    mask[:2] = True
    put = put_region(Image.new("RGB", (16, 16)), Image.fromarray(values), mask, None, 0)
    np.testing.assert_array_equal(np.asarray(put)[2:], values[2:])
    assert np.asarray(put)[:2].max() == 0


def test_without_a_map_the_other_person_is_taken_as_a_whole(here, capsys):
    (here / "b.iuv.png").unlink()
    pocold("edit a.png --region top --like b.png -o whole.png")
    pocold("encode b.png -o b.safetensors")
    pocold("edit a.png --region top --like b.safetensors -o from-code.png")
    np.testing.assert_array_equal(pixels("whole.png"), pixels("from-code.png"))
    assert "b.png: this model needs the DensePose map" in fails(
        capsys, "edit a.png --region top --like b.png -o out.png", model="hint"
    )


def test_the_command_in_the_metadata_draws_it_again(here):
    pocold("edit a.png --region parts:torso 5 --like b.png --grow 2 --feather 1 --num-images 2 --seed 7 -o out.png")
    second = (here / "out-2.png").read_bytes()
    settings = read_png_metadata("out-2.png")
    assert settings["command"] == "edit"
    assert settings["seed"] == 8
    assert settings["region"] == ["parts:torso", "5"]
    pocold(" ".join(settings["again"].split()[1:]), model=None)
    assert (here / "out-2.png").read_bytes() == second


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("edit a.png --region top -o out.png --like gone.png", "gone.png: no such file"),
        ("edit a.png --like b.png -o out.png", "expected either a region such as --region top, or --mask FILE"),
        ("edit a.png --like b.png --region top --mask m.png -o out.png", "expected either a region"),
        ("edit a.png --like b.png --region top", "expected a file to write, such as -o edited.png"),
        ("edit a.png --like b.png --region hat -o out.png", "unknown region 'hat': there are garments skin, face"),
        ("edit a.png --like b.png --region garment:legs -o out.png", "unknown garment 'legs': expected one of"),
        ("edit a.png --like b.png --region parts:dress -o out.png", "the region 'dress' is a garment"),
        ("edit a.png --like b.png --region dress -o out.png", "shows nothing of the region 'dress'"),
        ("edit a.png --like b.png --region 30 -o out.png", "unknown body part 30"),
        ("edit a.png --like b.png --region top --garments gone.png -o out.png", "no such garment map: gone.png"),
        ("edit a.png --like b.png --region top --garments a.png -o out.png", "expected one 8-bit channel of classes"),
        ("edit a.png --like b.png --region top --feather -1 -o out.png", "--feather: expected at least 0 pixels"),
        ("edit a.png --like b.png --region top --grow -1 -o out.png", "--grow: expected at least 0 pixels"),
        ("edit a.png --like b.png --mask a.png -o out.png", "a.png: expected a binary mask"),
        ("edit a.png --like b.png --mask small.png -o out.png", "small.png is 8x8 (height x width), but a.png 128x88"),
        ("edit a.png --like b.png --mask black.png -o out.png", "black.png is black: there is nothing to change"),
    ],
)
def test_mistakes_are_told_in_one_line(here, capsys, command, message):
    Image.new("L", (8, 8), 255).save("small.png")
    Image.new("L", SIZE[::-1]).save("black.png")
    assert message in fails(capsys, command)
    assert not (here / "out.png").exists()


def test_missing_maps_are_told(here, capsys):
    (here / "a.garments.png").unlink()
    message = fails(capsys, "edit a.png --like b.png --region garment:top -o out.png")
    assert "'garment:top' needs a garment map: STEM.garments.png beside the photograph or --garments FILE" in message
    (here / "a.iuv.png").unlink()
    message = fails(capsys, "edit a.png --like b.png --region top -o out.png")
    assert "a.png: editing needs the DensePose map of the photograph, and no person was found" in message
