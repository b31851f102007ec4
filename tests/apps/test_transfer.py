"""pocold transfer and encode as a user runs them, on toy models and drawn people."""

import json

import numpy as np
import pytest
import torch
from drawing_helpers import SIZE, fails, pixels, pocold
from PIL import Image

from pocold import AppearanceCode, DensePose, PoseTransferPipeline
from pocold.cli import main
from pocold.densepose.keypoints import COCO_18
from pocold.imaging.metadata import read_png_metadata
from pocold.people.body.fitting import fit_pose
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import parse_pose


def test_a_picture_is_what_the_pipeline_draws(here, capsys):
    pocold("transfer a.png --pose walk:side -o out.png --like none --seed 3")
    captured = capsys.readouterr()
    assert captured.out == "out.png\n"
    assert "1 picture in " in captured.err
    assert "MB of memory, cpu, float32" in captured.err
    pipeline = PoseTransferPipeline.from_pretrained("toy")
    named = parse_pose("walk:side")
    expected = pipeline(
        "a.png",
        draw_densepose(named.pose, named.view, named.crop, SIZE),
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    np.testing.assert_array_equal(pixels("out.png"), np.asarray(expected))


@pytest.mark.parametrize("model", ["toy", "sized"])
def test_the_same_seed_redraws_the_same_bytes(here, model):
    pocold("transfer a.png --pose b.iuv.png hips:quarter -o out.png --num-images 2 --seed 5", model=model)
    first = {path.name: path.read_bytes() for path in here.glob("out-*.png")}
    assert sorted(first) == ["out-b-1.png", "out-b-2.png", "out-hips-quarter-1.png", "out-hips-quarter-2.png"]
    assert len(set(first.values())) == 4
    assert [read_png_metadata(name)["seed"] for name in sorted(first)] == [5, 6, 5, 6]
    pocold("transfer a.png --pose b.iuv.png hips:quarter -o out.png --num-images 2 --seed 5", model=model)
    assert {path.name: path.read_bytes() for path in here.glob("out-*.png")} == first
    # each alone, by the command that it carries
    for name, content in list(first.items())[1::2]:
        again = read_png_metadata(name)["again"].split()
        assert again[0] == "pocold"
        (here / name).unlink()
        pocold(" ".join(again[1:]), model=None)
        assert (here / name).read_bytes() == content


def test_batches_change_nothing_that_can_be_seen(here):
    pocold("transfer a.png --pose walk:side hips -o alone --num-images 2 --like none")
    pocold("transfer a.png --pose walk:side hips -o together --num-images 2 --batch-size 3 --like none")
    for name in ("walk-side-1.png", "walk-side-2.png", "hips-1.png", "hips-2.png"):
        difference = pixels(f"alone/{name}").astype(int) - pixels(f"together/{name}")
        assert np.abs(difference).max() <= 1  # kernels may round differently in larger batches


@pytest.mark.parametrize("model", ["hint", "sized"])
def test_encoding_first_changes_nothing(here, model, capsys):
    pocold("encode a.png -o a.safetensors", model=model)
    pocold("transfer a.safetensors --pose walk:side -o from-code.png", model=model)
    pocold("transfer a.png --pose walk:side -o direct.png", model=model)
    np.testing.assert_array_equal(pixels("from-code.png"), pixels("direct.png"))
    assert read_png_metadata("from-code.png")["fitted to the person"] is True


def test_encoding_first_changes_nothing_without_maps(here):
    pocold("encode a.png -o a.safetensors")
    pocold("transfer a.safetensors --pose b.iuv.png -o from-code.png")
    pocold("transfer a.png --pose b.iuv.png -o direct.png")
    np.testing.assert_array_equal(pixels("from-code.png"), pixels("direct.png"))


def test_named_poses_are_fitted_to_the_person_unless_they_say_their_crop(here):
    from pocold.apps.drawing.sources import read_person
    from pocold.apps.drawing.targets import read_targets, reference_map

    person = read_person([here / "a.png"])
    reference = reference_map("source", person, SIZE, "pad")
    fitted, cropped, file = read_targets(["walk:side", "wave:30:upper", str(here / "b.iuv.png")], SIZE, reference)
    own = DensePose.read(here / "a.iuv.png")
    np.testing.assert_array_equal(fitted.pose.labels, fit_pose(parse_pose("walk:side"), own).labels)
    assert fitted.fitted
    named = parse_pose("wave:30:upper")
    np.testing.assert_array_equal(cropped.pose.labels, draw_densepose(named.pose, 30, "upper", SIZE).labels)
    assert not cropped.fitted
    np.testing.assert_array_equal(file.pose.labels, DensePose.read(here / "b.iuv.png").labels)
    assert reference_map("none", person, SIZE, "pad") is None
    other = reference_map(str(here / "b.iuv.png"), person, SIZE, "pad")
    np.testing.assert_array_equal(other.labels, DensePose.read(here / "b.iuv.png").labels)


def test_a_person_whose_head_does_not_show_is_drawn_with_the_average_body(here, capsys):
    own = DensePose.read("a.iuv.png")
    headless = np.where(np.isin(own.labels, (23, 24)), 0, own.labels)
    DensePose(headless, own.uv).write("a.iuv.png")
    pocold("transfer a.png --pose walk:side -o out.png")
    assert read_png_metadata("out.png")["fitted to the person"] is False
    assert "shows no head" in fails(capsys, "transfer a.png --pose walk:side -o out.png --like a.iuv.png")


def test_several_photographs_are_one_person(here):
    pocold("transfer a.png a-back.png --pose b.iuv.png -o both.png")
    pipeline = PoseTransferPipeline.from_pretrained("toy")
    code = AppearanceCode.union([pipeline.encode_appearance(name) for name in ("a.png", "a-back.png")])
    expected = pipeline(code, "b.iuv.png", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    np.testing.assert_array_equal(pixels("both.png"), np.asarray(expected))
    assert [item["file"] for item in read_png_metadata("both.png")["source"]] == ["a.png", "a-back.png"]


def test_what_the_photographs_do_not_show_is_told_in_one_line(here, capsys):
    pocold("transfer a.png --pose hips:back b.iuv.png -o out.png --like none")
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pocold: warning:")]
    assert len(warnings) == 1
    assert warnings[0].startswith("pocold: warning: hips:back: 8")
    assert "torso back" in warnings[0]
    pocold("transfer a.png a-back.png --pose hips:back -o out.png --like none")  # both sides are known
    assert "warning" not in capsys.readouterr().err
    pocold("encode a.png -o a.safetensors", model="hint")
    pocold("transfer a.safetensors --pose hips:back -o out.png --like none", model="hint")  # the code knows what it saw
    assert "torso back" in capsys.readouterr().err


def test_a_sheet_shows_source_poses_and_every_seed(here):
    pocold("transfer a.png --pose walk:side hips -o out --sheet sheet.png --num-images 2 --like none")
    sheet = pixels("sheet.png")
    height, width = SIZE
    assert sheet.shape == (16 + 3 * (height + 4) + 4, 3 * (width + 4) + 4, 3)

    def tile(row, column):
        y, x = 16 + 4 + row * (height + 4), 4 + column * (width + 4)
        return sheet[y : y + height, x : x + width]

    np.testing.assert_array_equal(tile(0, 0), pixels("a.png"))
    for column, pose in ((1, "walk-side"), (2, "hips")):
        for row in (1, 2):
            np.testing.assert_array_equal(tile(row, column), pixels(f"out/{pose}-{row}.png"))
    assert read_png_metadata("sheet.png")["command"] == "transfer"


def test_a_sheet_alone_and_of_a_code(here):
    pocold("encode a.png -o a.safetensors", model="hint")
    pocold("transfer a.safetensors --pose b.iuv.png --sheet sheet.png", model="hint")
    np.testing.assert_array_equal(pixels("sheet.png")[20 : 20 + SIZE[0], 4 : 4 + SIZE[1]], pixels("a.png"))
    assert not list(here.glob("out*"))


def place_in_photo(here):
    """The person of ``a.png`` in a photograph three times as wide, with its map."""
    photo = np.random.default_rng(0).integers(0, 255, (200, 264, 3), dtype=np.uint8)
    labels, uv = np.zeros((200, 264), np.uint8), np.zeros((2, 200, 264), np.float32)
    own = DensePose.read("a.iuv.png")
    photo[40 : 40 + SIZE[0], 90 : 90 + SIZE[1]] = pixels("a.png")
    labels[40 : 40 + SIZE[0], 90 : 90 + SIZE[1]] = own.labels
    uv[:, 40 : 40 + SIZE[0], 90 : 90 + SIZE[1]] = own.uv
    Image.fromarray(photo).save("wide.png")
    DensePose(labels, uv).write("wide.iuv.png")
    return photo, labels


@pytest.mark.parametrize("model", ["toy", "sized"])
def test_paste_back_changes_only_the_part_around_the_person(here, model):
    photo, labels = place_in_photo(here)
    size = "" if model == "sized" else " --size 128x88"
    pocold(f"transfer wide.png --pose walk:side hips -o out.png --paste-back --like none{size}", model=model)
    for name in ("out-walk-side.png", "out-hips.png"):
        pasted = pixels(name)
        assert pasted.shape == photo.shape
        changed = (pasted != photo).any(-1)
        columns, rows = np.flatnonzero(changed.any(0)), np.flatnonzero(changed.any(1))
        body_columns = np.flatnonzero(labels.any(0))
        assert columns[0] > 40
        assert columns[-1] < 220
        assert columns[0] < body_columns[0]
        assert len(rows) > 100
        assert changed[labels > 0].mean() > 0.95
    # a picture does not depend on the other poses asked for
    pocold(f"transfer wide.png --pose hips -o alone.png --paste-back --like none{size}", model=model)
    np.testing.assert_array_equal(pixels("alone.png"), pixels("out-hips.png"))


def test_cutting_out_the_person(here):
    from pocold.densepose.framing import PersonFrame

    photo, labels = place_in_photo(here)
    pocold("transfer wide.png --pose b.iuv.png -o out.png --frame person --size 128x88")
    pipeline = PoseTransferPipeline.from_pretrained("toy")
    frame = PersonFrame.around(labels, size=SIZE)
    expected = pipeline(
        frame.image(Image.fromarray(photo)),
        "b.iuv.png",
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
    ).images[0]
    np.testing.assert_array_equal(pixels("out.png"), np.asarray(expected))


def test_a_report_for_programs(here, capsys):
    pocold("transfer a.png --pose walk:side b.iuv.png -o out --json --like none")
    report = json.loads(capsys.readouterr().out)
    assert [file["file"] for file in report["files"]] == ["out/walk-side.png", "out/b.png"]
    assert report["pictures drawn"] == 2
    assert report["seconds"] > 0
    assert report["cpu seconds"] > 0
    assert report["peak bytes"] > 10**7
    assert report["threads"] == 1
    assert report["files"][0]["seed"] == 0
    assert len(report["files"][0]["model sha256"]) == 64
    assert report["files"][1]["pose"]["file"] == "b.iuv.png"


def test_precision_and_scheduler(here, capsys):
    pocold("transfer a.png --pose b.iuv.png -o plain.png")
    pocold("transfer a.png --pose b.iuv.png -o half.png --precision bf16")
    pocold("transfer a.png --pose b.iuv.png -o other.png --scheduler dpm++")
    half, other = read_png_metadata("half.png"), read_png_metadata("other.png")
    assert half["precision"] == "bfloat16"
    assert other["scheduler"] == "DPMSolverMultistepScheduler"
    assert half["model sha256"] == other["model sha256"]  # of the folder, whatever the precision
    difference = np.abs(pixels("half.png").astype(int) - pixels("plain.png"))
    assert difference.max() > 0
    assert difference.mean() < 5
    assert (pixels("other.png") != pixels("plain.png")).any()


def test_a_folder_in_half_precision_is_drawn_in_fp32_on_a_cpu(here):
    from pocold.apps.drawing.models import open_model

    half = PoseTransferPipeline.from_pretrained("toy", dtype=torch.bfloat16)
    half.save_pretrained("halved")
    model = open_model(here / "halved")
    assert model.pipeline.unet.dtype == torch.float32
    assert model.sha256 == open_model(here / "halved", "bf16").sha256
    assert model.sha256 != open_model(here / "toy").sha256


def test_encoding_parts(here, capsys):
    pocold("encode a.png -o legs.safetensors --parts legs 5 --json")
    report = json.loads(capsys.readouterr().out)
    assert report["files"][0]["again"] == "pocold encode a.png --parts legs 5 -o legs.safetensors --model toy"
    pocold("encode a.png -o legs.safetensors --parts legs 5")
    pipeline = PoseTransferPipeline.from_pretrained("toy")
    expected = pipeline.encode_appearance("a.png", source_pose="a.iuv.png", parts=["legs", 5])
    code = AppearanceCode.load("legs.safetensors")
    for mine, theirs in zip(code.values, expected.values, strict=True):
        assert torch.equal(mine, theirs)
    assert "encoded in " in capsys.readouterr().err
    own = DensePose.read("a.iuv.png")
    DensePose(np.where(np.isin(own.labels, (5, 6)), 0, own.labels)).write("a.iuv.png")
    assert "a.png: its map shows nothing of the parts" in fails(capsys, "encode a.png -o x.safetensors --parts feet")


def test_others_may_read_a_code(here):
    pocold("encode a.png -o a.safetensors")
    (here / "plain").touch()
    assert (here / "a.safetensors").stat().st_mode == (here / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("transfer a.png -o out.png", "expected at least one pose, such as --pose walk:side"),
        ("transfer --pose walk -o out.png", "expected a photograph, or an appearance code (.safetensors), got none"),
        ("transfer a.png --pose walk", "expected a file to write, such as -o out.png"),
        ("transfer a.png --pose wolk:side -o out.png", "unknown pose 'wolk'; did you mean"),
        ("transfer a.png --pose walk:sied -o out.png", "unknown view 'sied'"),
        ("transfer a.png --pose gone.png -o out.png", "no such DensePose file: gone.png"),
        ("transfer a.png --pose a.png -o out.png", "this looks like a colour picture"),
        ("transfer gone.png --pose walk -o out.png", "gone.png: no such file"),
        ("transfer gone.safetensors --pose walk -o out.png", "no such appearance code: gone.safetensors"),
        ("transfer a.safetensors b.png --pose walk -o out.png", "expected one appearance code, or photographs of one"),
        ("transfer a.png --pose walk -o out.jpg", "pictures are written as .png (they carry metadata) or into a fold"),
        ("transfer a.png --pose walk -o no/such/out.png", "the folder no/such does not exist; create it first"),
        ("transfer a.png --pose walk -o out.png --sheet sheet.jpg", "--sheet: expected a file name ending in .png"),
        ("transfer a.png --pose walk --sheet no/such/sheet.png", "in a folder that exists, got no/such/sheet.png"),
        ("transfer a.png --pose walk -o x.png --sheet x.png", "--sheet and --output would both write x.png"),
        ("transfer a.png --pose walk -o out.png --paste-back --frame crop", "leave out --frame crop"),
        ("transfer a.png --pose walk -o out.png --steps 0", "--steps: expected a number of at least 1, got 0"),
        ("transfer a.png --pose walk -o out.png --num-images 0", "--num-images: expected a number of at least 1"),
        ("transfer a.png --pose walk -o out.png --seed -1", "--seed: expected a number of at least 0, got -1"),
        ("transfer a.png --pose walk -o out.png --size 130x88", "must be multiples of 8"),
        ("transfer a.png --pose walk -o out.png --size big", "expected a size HEIGHTxWIDTH"),
        ("transfer a.png --pose walk -o out.png --scheduler euler", "unknown scheduler 'euler': expected one of ddim"),
        ("transfer a.png --pose walk -o out.png --guidance none", "unknown guidance 'none': expected one of cond"),
        ("transfer a.png --pose walk -o out.png --device tpu9", "the device 'tpu9' cannot be used"),
        ("transfer a.png --pose walk -o out.png --source-pose gone.png", "no such DensePose file: gone.png"),
        (
            "transfer a.png --pose walk -o out.png --source-pose a.iuv.png b.iuv.png",
            "--source-pose: expected one map for each of 1 photographs, got 2",
        ),
        ("encode a.png", "expected a file to write, such as -o person.safetensors"),
        ("encode a.png -o code.png", "appearance codes are written as .safetensors, got code.png"),
        ("encode a.png -o no/such/a.safetensors", "the folder no/such does not exist"),
        ("encode a.png -o a.safetensors --parts nose", "unknown body part 'nose'"),
    ],
)
def test_mistakes_are_told_in_one_line(here, capsys, command, message):
    before = sorted(here.iterdir())
    assert message in fails(capsys, command)
    assert sorted(here.iterdir()) == before


def test_missing_maps_are_told(here, capsys):
    (here / "a.iuv.png").unlink()
    hint = "a.png: this model needs the DensePose map of the photograph, and no person was found"
    assert hint in fails(capsys, "transfer a.png --pose walk -o out.png", model="hint")
    assert hint in fails(capsys, "encode a.png -o a.safetensors", model="hint")
    assert "--paste-back needs the DensePose map" in fails(capsys, "transfer a.png --pose walk -o o.png --paste-back")
    assert "cutting out the person needs" in fails(capsys, "transfer a.png --pose walk -o out.png --frame person")
    assert "taking parts needs the DensePose" in fails(capsys, "encode a.png -o a.safetensors --parts top")
    pocold("transfer a.png --pose b.iuv.png -o out.png")  # the method itself needs no map of the source


def test_maps_of_another_size_or_without_u_and_v(here, capsys):
    DensePose(np.ones((64, 48))).write("a.iuv.png")
    message = fails(capsys, "transfer a.png --pose walk -o out.png")
    assert "a.iuv.png is 64x48 (height x width), but a.png 128x88: a map has the size of its photograph" in message
    DensePose(np.ones((128, 88))).write("a.iuv.png")
    assert "needs U and V" in fails(capsys, "transfer a.png --pose walk -o out.png --like none", model="hint")
    DensePose(np.ones((64, 48))).write("small.png")
    (here / "a.iuv.png").write_bytes((here / "b.iuv.png").read_bytes())
    message = fails(capsys, "transfer a.png --pose small.png -o out.png --paste-back")
    assert "--paste-back: small.png is 64x48 (height x width), but the photograph is 128x88" in message


def test_codes_and_what_does_not_go_with_them(here, capsys):
    pocold("encode a.png -o a.safetensors")
    capsys.readouterr()
    message = fails(capsys, "transfer a.safetensors --pose walk -o out.png", model="sized")
    assert "made by a model with other weights" in message
    assert "is an appearance code already" in fails(capsys, "encode a.safetensors -o b.safetensors")
    message = fails(capsys, "transfer a.safetensors --pose walk -o out.png --source-pose a.iuv.png")
    assert "--source-pose is the map of a photograph" in message
    message = fails(capsys, "transfer a.safetensors --pose walk -o out.png --paste-back")
    assert "--paste-back needs one photograph" in message
    AppearanceCode.stack([AppearanceCode.load("a.safetensors")] * 2).save("two.safetensors")
    message = fails(capsys, "transfer two.safetensors --pose walk -o out.png")
    assert "expected the code of one person, got 2" in message


def test_model_folders(here, capsys, monkeypatch):
    from pocold.apps.drawing import models

    monkeypatch.setattr(models, "BUNDLED", here / "weights")
    (here / "toy").rename(here / "weights")
    pocold("transfer a.png --pose b.iuv.png -o out.png", model=None)
    assert read_png_metadata("out.png")["model"] == "weights"
    assert "no such model folder: nowhere" in fails(capsys, "transfer a.png --pose walk -o o.png", model="nowhere")
    (here / "empty").mkdir()
    message = fails(capsys, "transfer a.png --pose walk -o o.png", model="empty")
    assert "--model: empty is no model folder, it has no model_index.json" in message


def test_the_demonstration_uses_the_bundled_model(here, capsys, monkeypatch):
    from pocold.apps.drawing import models

    monkeypatch.setattr(models, "BUNDLED", here / "sized")
    pocold("demo --output demo/demo.png --steps 2", model=None)
    assert f"(bundled model {models.open_model().sha256[:12]})" in capsys.readouterr().out
    assert DensePose.read("demo/pose-1.png").size == SIZE
    assert read_png_metadata("demo/demo.png")["model sha256"] == models.open_model().sha256


def test_what_was_drawn_before_an_interrupt_stays(here, capsys, monkeypatch):
    calls = []
    draw = PoseTransferPipeline.__call__

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return draw(self, *arguments, **options)

    monkeypatch.setattr(PoseTransferPipeline, "__call__", interrupted)
    with pytest.raises(SystemExit) as stopped:
        pocold("transfer a.png --pose walk hips -o out --like none")
    assert stopped.value.code == 130
    assert [path.name for path in (here / "out").iterdir()] == ["walk.png"]
    assert read_png_metadata("out/walk.png")["pose"] == "walk"


# x and y of OpenPose's 18 points of someone who stands
STANDING = [
    (44, 20), (44, 34), (35, 34), (32, 48), (31, 60), (53, 34), (56, 48), (57, 60), (39, 62), (38, 84), (37, 106),
    (49, 62), (50, 84), (51, 106), (42, 18), (46, 18), (39, 20), (49, 20),
]  # fmt: skip


def test_keypoints_are_poses_and_sources(here, capsys):
    points = {name: [x, y, 1] for name, (x, y) in zip(COCO_18, STANDING, strict=True)}
    (here / "points.json").write_text(json.dumps({"keypoints": points, "size": list(SIZE)}))
    pocold("transfer a.png --pose points.json -o keypoints.png")
    main(["pose", "points.json", "-o", "points.png"])
    pocold("transfer a.png --pose points.png -o map.png")
    np.testing.assert_array_equal(pixels(here / "keypoints.png"), pixels(here / "map.png"))
    pocold("transfer a.png --source-pose points.json --pose walk:side -o hinted.png", model="hint")
    assert Image.open(here / "hinted.png").size == (SIZE[1], SIZE[0])
    (here / "nobody.json").write_text('{"people": []}')
    assert "nobody was found in the picture" in fails(capsys, "transfer a.png --pose nobody.json -o x.png")
