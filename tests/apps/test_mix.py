"""pocold mix as a user runs it."""

import numpy as np
import pytest
import torch
from drawing_helpers import SIZE, fails, pixels, pocold

from pocold import AppearanceCode, PoseTransferPipeline
from pocold.apps.drawing.sources import read_person
from pocold.apps.drawing.targets import between
from pocold.apps.mix import mix_people
from pocold.imaging.metadata import read_png_metadata
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import interpolate, parse_pose


@pytest.mark.parametrize("model", ["toy", "hint"])
def test_the_ends_of_a_blend_are_the_people(here, model):
    for name, weight in (("a", 0), ("b", 1)):
        pocold(f"mix a.png b.png --weight {weight} --pose b.iuv.png -o mixed-{name}.png", model=model)
        pocold(f"transfer {name}.png --pose b.iuv.png -o {name}-alone.png", model=model)
        np.testing.assert_array_equal(pixels(f"mixed-{name}.png"), pixels(f"{name}-alone.png"))
    pocold("mix a.png b.png --pose b.iuv.png -o half.png", model=model)
    assert read_png_metadata("half.png")["weight"] == 0.5
    for name in ("a", "b"):
        assert (pixels("half.png") != pixels(f"{name}-alone.png")).any()


def test_parts_of_the_second(here):
    pocold("mix a.png b.png --parts legs 5 6 --pose b.iuv.png -o out.png")
    pipeline = PoseTransferPipeline.from_pretrained("toy")
    legs = [5, 6, *range(7, 15)]
    codes = [
        pipeline.encode_appearance(f"{name}.png", source_pose=f"{name}.iuv.png", parts=parts)
        for name, parts in (("a", [label for label in range(25) if label not in legs]), ("b", legs))
    ]
    expected = pipeline(
        AppearanceCode.union(codes), "b.iuv.png", num_inference_steps=2, generator=torch.Generator().manual_seed(0)
    ).images[0]
    np.testing.assert_array_equal(pixels("out.png"), np.asarray(expected))
    assert read_png_metadata("out.png")["weight"] == 1.0
    pocold("mix a.png b.png --weight 0.123456789 --pose walk b.iuv.png --num-images 2 --like none -o out.png")
    content = (here / "out-b-2.png").read_bytes()
    assert [read_png_metadata(f"out-walk-{i}.png")["seed"] for i in (1, 2)] == [0, 1]
    pocold(" ".join(read_png_metadata("out-b-2.png")["again"].split()[1:]), model=None)
    assert (here / "out-b-2.png").read_bytes() == content


@pytest.mark.parametrize("model", ["toy", "hint"])
def test_weights_within_parts(here, model):
    pipeline = PoseTransferPipeline.from_pretrained(here / model)
    a, b = (read_person([here / f"{name}.png"]) for name in "ab")
    mixed = [mix_people(pipeline, a, b, weight, ["top"]) for weight in (0.0, 0.5, 1.0)]
    alone = pipeline.encode_appearance(here / "a.png", source_pose=here / "a.iuv.png")
    for layer in range(len(alone.values)):
        assert torch.equal(mixed[0].values[layer], alone.values[layer])
    middle = sum((mixed[1].values[i] - mixed[0].values[i]).norm() for i in range(len(alone.values)))
    whole = sum((mixed[2].values[i] - mixed[0].values[i]).norm() for i in range(len(alone.values)))
    assert 0 < middle < whole


def test_everything_of_the_second_is_the_second(here):
    pipeline = PoseTransferPipeline.from_pretrained(here / "toy")
    a, b = (read_person([here / f"{name}.png"]) for name in "ab")
    mixed = mix_people(pipeline, a, b, 1.0, ["body", "background"])
    alone = pipeline.encode_appearance(here / "b.png")
    for mine, theirs in zip(mixed.values, alone.values, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_the_first_persons_own_pose_is_the_default(here, capsys):
    pocold("mix a.png b.png --parts top -o out.png")
    pocold("mix a.png b.png --parts top --pose a.iuv.png -o told.png")
    np.testing.assert_array_equal(pixels("out.png"), pixels("told.png"))
    (here / "a.iuv.png").unlink()
    message = fails(capsys, "mix a.png b.png -o out.png")
    assert "a.png has no DensePose map, so its own pose is not known; give --pose" in message


@pytest.mark.parametrize("model", ["toy", "hint"])
def test_a_mixed_code_draws_what_mixing_draws(here, model, capsys):
    pocold("mix a.png b.png --parts top -o outfit.safetensors", model=model)
    assert capsys.readouterr().out == "outfit.safetensors\n"
    pocold("transfer outfit.safetensors --pose b.iuv.png -o from-code.png", model=model)
    pocold("mix a.png b.png --parts top --pose b.iuv.png -o direct.png", model=model)
    np.testing.assert_array_equal(pixels("from-code.png"), pixels("direct.png"))
    # codes mix again
    pocold("mix outfit.safetensors outfit.safetensors --pose b.iuv.png -o same.png", model=model)
    difference = np.abs(pixels("same.png").astype(int) - pixels("direct.png"))
    assert difference.max() <= 2


def test_a_grid_goes_from_one_person_and_pose_to_the_other(here):
    pocold("mix a.png b.png --grid 3x3 --pose walk:front walk:side --like none -o grid.png")
    height, width = SIZE
    grid = pixels("grid.png")
    assert grid.shape == (4 * (height + 4) + 4, 4 * (width + 4) + 4, 3)

    def tile(row, column):
        y, x = 4 + row * (height + 4), 4 + column * (width + 4)
        return grid[y : y + height, x : x + width]

    np.testing.assert_array_equal(tile(1, 0), pixels("a.png"))
    np.testing.assert_array_equal(tile(3, 0), pixels("b.png"))
    for row, name in ((1, "a"), (3, "b")):
        for column, pose in ((1, "walk:front"), (3, "walk:side")):
            pocold(f"transfer {name}.png --pose {pose} --like none -o one.png")
            np.testing.assert_array_equal(tile(row, column), pixels("one.png"))
    assert len({tile(row, column).tobytes() for row in (1, 2, 3) for column in (1, 2, 3)}) == 9
    assert read_png_metadata("grid.png")["weights"] == [0.0, 0.5, 1.0]
    content = (here / "grid.png").read_bytes()
    pocold(" ".join(read_png_metadata("grid.png")["again"].split()[1:]), model=None)
    assert (here / "grid.png").read_bytes() == content


def test_poses_between_turn_the_shorter_way():
    start, end = parse_pose("walk:back"), parse_pose("hips:back-left")  # 180 and -145 degrees
    middle = between("walk:back", "hips:back-left", 0.5, SIZE, None)
    expected = draw_densepose(interpolate(start.pose, end.pose, 0.5), 197.5, "full", SIZE)
    np.testing.assert_array_equal(middle.pose.labels, expected.labels)
    assert [between("walk", "hips", t, SIZE, None).text for t in (0, 0.25, 1)] == ["walk", "walk 25% hips", "hips"]


def test_one_row_or_column(here):
    pocold("mix a.png b.png --grid 1x2 --weight 0.25 --pose walk hips --like none -o row.png")
    pocold("mix a.png b.png --grid 3x1 -o column.png")
    assert read_png_metadata("row.png")["weights"] == [0.25]
    content = (here / "row.png").read_bytes()
    pocold(" ".join(read_png_metadata("row.png")["again"].split()[1:]), model=None)
    assert (here / "row.png").read_bytes() == content
    assert pixels("column.png").shape[1] == 2 * (SIZE[1] + 4) + 4


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("mix a.png b.png", "expected a file to write, such as -o mixed.png, or mixed.safetensors for the code alone"),
        ("mix a.png b.png --weight 1.5 -o out.png", "--weight: expected a number in [0, 1], got 1.5"),
        ("mix a.png b.png --parts nose -o out.png", "unknown body part 'nose'"),
        ("mix a.png gone.png -o out.png", "gone.png: no such file"),
        ("mix a.png b.png --grid 3 -o out.png", "--grid: expected ROWSxCOLUMNS, such as 3x5 (from 1 to 99), got '3'"),
        ("mix a.png b.png --grid 0x2 -o out.png", "--grid: expected ROWSxCOLUMNS"),
        (
            "mix a.png b.png --grid 3x2 --pose walk -o out.png",
            "columns go from one named pose to another, expected two",
        ),
        ("mix a.png b.png --grid 3x1 --pose walk hips -o out.png", "one column shows one pose, got 2"),
        ("mix a.png b.png --grid 3x2 --pose walk a.iuv.png -o out.png", "named poses, but a.iuv.png is a file"),
        ("mix a.png b.png --grid 3x1 --weight 0.5 -o out.png", "leave out --weight"),
        ("mix a.png b.png --grid 3x1 --num-images 2 -o out.png", "leave out --num-images"),
        (
            "mix a.png b.png --source-pose a.iuv.png -o out.png",
            "expected one map for each of the two photographs, got 1",
        ),
        ("mix a.png b.png --pose walk -o out.safetensors", "is the code alone, without a picture: leave out --pose"),
    ],
)
def test_mistakes_are_told_in_one_line(here, capsys, command, message):
    before = sorted(here.iterdir())
    assert message in fails(capsys, command)
    assert sorted(here.iterdir()) == before


def test_parts_need_photographs_with_maps(here, capsys):
    pocold("encode b.png -o b.safetensors")
    message = fails(capsys, "mix a.png b.safetensors --parts top -o out.png")
    assert "parts are taken from a photograph and its map, but b.safetensors is a code" in message
    (here / "b.iuv.png").unlink()
    assert "b.png: taking parts needs the DensePose map" in fails(capsys, "mix a.png b.png --parts top -o out.png")
