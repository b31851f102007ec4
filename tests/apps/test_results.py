"""What the commands leave behind: names, what may be replaced, metadata, and pocold show."""

import json
from pathlib import Path

import pytest
from drawing_helpers import fails, pocold
from PIL import Image

from pocold import PoseTransferPipeline
from pocold.apps.drawing.results import again, as_lines, picture_paths
from pocold.cli import main
from pocold.imaging.metadata import read_png_metadata


def test_names_of_pictures(tmp_path):
    def names(output, labels, count=1):
        return [path.relative_to(tmp_path).as_posix() for path in picture_paths(tmp_path / output, labels, count)]

    assert names("out.png", ["walk"]) == ["out.png"]
    assert names("out.png", ["walk"], 2) == ["out-1.png", "out-2.png"]
    assert names("out.png", ["walk", "hips"]) == ["out-walk.png", "out-hips.png"]
    assert names("new", ["walk"]) == ["new/walk.png"]
    assert names("new", ["walk", "hips"], 2) == ["new/walk-1.png", "new/walk-2.png", "new/hips-1.png", "new/hips-2.png"]
    (tmp_path / "there.d").mkdir()
    assert names("there.d", ["walk"]) == ["there.d/walk.png"]
    assert names("out.png", ["walk", "hips", "walk"]) == ["out-walk.1.png", "out-hips.png", "out-walk.2.png"]
    with pytest.raises(ValueError, match=r"the folder .*/no/such does not exist"):
        names("no/such/out.png", ["walk"])


def test_own_pictures_are_replaced_and_others_are_not(here, capsys):
    pocold("transfer a.png --pose b.iuv.png -o out.png")
    pocold("transfer a.png --pose b.iuv.png -o out.png --seed 1")  # its own: replaced
    assert read_png_metadata("out.png")["seed"] == 1
    photo = Path("b.png").read_bytes()
    message = fails(capsys, "transfer a.png --pose b.iuv.png -o b.png")
    assert (
        "b.png exists and was not written by this command; write elsewhere, or replace it with --overwrite" in message
    )
    assert Path("b.png").read_bytes() == photo
    pocold("transfer a.png --pose b.iuv.png -o b.png --overwrite")
    assert read_png_metadata("b.png")["command"] == "transfer"


def test_inputs_are_not_replaced(here, capsys):
    pocold("transfer a.png --pose a.iuv.png -o out.png")  # a picture of ours, so it could be replaced
    Path("out.iuv.png").write_bytes(Path("a.iuv.png").read_bytes())
    drawn = Path("out.png").read_bytes()
    for command in (
        "transfer out.png --pose walk -o out.png",
        "transfer out.png --pose walk --sheet out.png",
        "edit out.png --region parts:top --like b.png -o out.png",
        "mix b.png out.png -o out.png",
    ):
        assert "out.png is an input of this command" in fails(capsys, command)
        assert Path("out.png").read_bytes() == drawn
    assert "a.iuv.png is an input" in fails(capsys, "transfer a.png --pose a.iuv.png -o a.iuv.png")
    pocold("edit out.png --region parts:top --like b.png -o out.png --overwrite")
    assert read_png_metadata("out.png")["command"] == "edit"


def test_codes_are_replaced_and_other_weights_are_not(here, capsys):
    pocold("encode a.png -o a.safetensors")
    pocold("encode b.png -o a.safetensors")
    weights = Path("toy/unet/diffusion_pytorch_model.safetensors")
    before = weights.read_bytes()
    assert "was not written by this command" in fails(capsys, f"encode a.png -o {weights}")
    assert weights.read_bytes() == before


def test_show_prints_what_was_written(here, capsys):
    pocold("transfer a.png --pose walk:side -o out.png --seed 9 --appearance-scale 2.5")
    capsys.readouterr()
    pocold("show out.png", model=None)
    lines = capsys.readouterr().out.splitlines()
    settings = read_png_metadata("out.png")
    for line in (
        "command: transfer", "synthetic: true", "pose: walk:side", "seed: 9", "steps: 2", "appearance scale: 2.5",
        "scheduler: DDIMScheduler", "source file: a.png", "model: toy", f"model sha256: {settings['model sha256']}",
        "again: pocold transfer a.png --pose walk:side -o out.png --model toy --steps 2 "
        "--appearance-scale 2.5 --seed 9",
    ):  # fmt: skip
        assert line in lines
    assert any(line.startswith("software pocold: ") for line in lines)
    pocold("show out.png --json", model=None)
    assert json.loads(capsys.readouterr().out) == settings


def test_metadata_say_what_the_model_chose(here):
    model = PoseTransferPipeline.from_pretrained("toy")
    model.set_sampling(num_inference_steps=3, pose_guidance_scale=1.5)
    model.save_pretrained("own")
    main(["transfer", "a.png", "--pose", "b.iuv.png", "-o", "out.png", "--model", "own", "--appearance-scale", "2"])
    written = read_png_metadata("out.png")
    assert [written[name] for name in ("steps", "pose scale", "appearance scale")] == [3, 1.5, 2.0]
    assert "--steps" not in written["again"]


def test_metadata_name_files_without_their_folders(here):
    pocold(f"transfer {here}/a.png --pose {here}/b.iuv.png -o {here}/out.png", model=str(here / "toy"))
    assert str(here) not in json.dumps(read_png_metadata("out.png"))


def test_show_of_other_pictures(here, capsys):
    message = fails(capsys, "show a.png", model=None)
    assert "a.png carries no pocold metadata: it is a photograph, or was drawn by something else, or lost" in message
    assert "no such file: gone.png" in fails(capsys, "show gone.png", model=None)
    Path("text.png").write_text("no picture")
    assert "text.png cannot be read as a picture" in fails(capsys, "show text.png", model=None)
    Image.new("RGB", (8, 8)).save("plain.jpg")
    assert "plain.jpg carries no pocold metadata" in fails(capsys, "show plain.jpg", model=None)


def test_nested_settings_as_lines():
    settings = {"a": 1, "b": {"c": "x", "d": None}, "e": [{"f": 1}, {"f": 2}], "g": [1, 2]}
    assert as_lines(settings) == ["a: 1", "b c: x", "b d: null", "e f: 1", "e f: 2", "g: [1, 2]"]


def test_flags_to_do_it_again():
    assert again(pose=[Path("maps/a.png"), Path("walk:side")], grow=0, paste_back=True, like="none") == [
        "--pose", "a.png", "walk:side", "--grow", "0", "--paste-back", "--like", "none",
    ]  # fmt: skip
    assert again(mask=None, region=(), json=False, parts=[]) == []
