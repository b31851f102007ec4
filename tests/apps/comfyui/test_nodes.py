"""What each node does, with a toy model: the same as the pipeline and the commands."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from drawing_helpers import pixels, pocold
from PIL import Image

from estimators import colour_estimator, photo_of
from pocold.appearance import AppearanceCode
from pocold.apps.comfyui import NODE_CLASS_MAPPINGS
from pocold.densepose.maps import DensePose
from pocold.people.body.fitting import Stage
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import parse_pose

SIZE = (128, 88)
OWN = "the model's own"


def run(kind, *values, **given):
    """One node, with the defaults of its widgets, as ComfyUI runs it."""
    node = NODE_CLASS_MAPPINGS[kind]
    required = node.INPUT_TYPES()["required"]
    defaults = {name: options["default"] for name, (_, options) in required.items() if "default" in options}
    given |= dict(zip(required, values, strict=False))
    with torch.inference_mode():
        outputs = getattr(node(), node.FUNCTION)(**defaults | given)
    assert len(outputs) == len(node.RETURN_TYPES)
    return outputs[0] if len(outputs) == 1 else outputs


def image(*paths):
    return torch.from_numpy(np.stack([pixels(path) for path in paths])).float() / 255


def picture(batch, i=0):
    """One picture of an IMAGE, as ComfyUI saves it."""
    assert batch.dtype == torch.float32
    return (255 * batch[i].numpy()).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model(drawn_folder):
    return run("PocoldLoadModel", str(drawn_folder / "sized"), device="cpu")


@pytest.fixture(scope="module")
def maps(drawn_folder):
    return {name: (DensePose.read(drawn_folder / f"{name}.iuv.png"),) for name in ("a", "b", "a-back", "b-back")}


@pytest.fixture(scope="module")
def code(model, maps, drawn_folder):
    return run("PocoldEncode", model, image(drawn_folder / "a.png"), map=maps["a"])


def test_a_pixel_survives_the_way_through():
    from pocold.apps.comfyui.values import to_image, to_pictures

    every = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    batch = to_image([every])
    assert batch.shape == (1, 16, 16, 3)
    np.testing.assert_array_equal(picture(batch), np.asarray(every))
    np.testing.assert_array_equal(np.asarray(to_pictures(batch * 1.00001)[0]), np.asarray(every))
    with pytest.raises(ValueError, match="image 2: the array holds NaN"):
        to_pictures(torch.cat([batch, batch * torch.nan]))
    with pytest.raises(ValueError, match=r"image: expected pictures \(B, H, W, 3\), got \(16, 16, 3\)"):
        to_pictures(batch[0])


# -- people and pictures ---------------------------------------------------------------------------------------------


def test_transfer_is_the_pipelines_own(model, maps, code, drawn_folder):
    poses = maps["a"] + maps["a-back"]
    batch = run("PocoldTransfer", model, code, poses, seed=5, steps=2, num_images=2)
    assert batch.shape == (4, *SIZE, 3)
    own = model.pipeline.encode_appearance(pixels(drawn_folder / "a.png"), source_pose=maps["a"][0])
    for i, (pose, seed) in enumerate([(0, 5), (0, 6), (1, 5), (1, 6)]):
        drawn = model.pipeline(
            own, poses[pose], num_inference_steps=2, generator=torch.Generator().manual_seed(seed)
        ).images[0]
        np.testing.assert_array_equal(picture(batch, i), np.asarray(drawn))


def test_settings_are_followed(model, maps, code):
    settings = run(
        "PocoldSettings", "joint", pose_scale=2, appearance_scale=0, guidance_floor=-1, height=64, width=48
    )  # fmt: skip
    batch = run("PocoldTransfer", model, code, maps["a"], steps=2, settings=settings)
    drawn = model.pipeline(
        code, maps["a"][0], num_inference_steps=2, guidance="joint", pose_guidance_scale=2,
        appearance_guidance_scale=0, guidance_floor=None, height=64, width=48,
        generator=torch.Generator().manual_seed(0),
    ).images[0]  # fmt: skip
    np.testing.assert_array_equal(picture(batch), np.asarray(drawn))
    assert run("PocoldSettings").arguments() == type(settings)().arguments()
    with pytest.raises(ValueError, match="expected both height and width, or 0 for both, got 64 and 0"):
        run("PocoldSettings", height=64)


def test_a_batch_is_one_person(model, maps, drawn_folder):
    both = image(drawn_folder / "a.png", drawn_folder / "a-back.png")
    together = run("PocoldEncode", model, both, map=maps["a"] + maps["a-back"])
    photos = [pixels(drawn_folder / f"{name}.png") for name in ("a", "a-back")]
    own = model.pipeline.encode_appearance(photos, source_pose=[*maps["a"], *maps["a-back"]])
    first = run("PocoldEncode", model, both[:1], map=maps["a"])
    one_by_one = run("PocoldEncode", model, both[1:], map=maps["a-back"], more=first)
    parts = run("PocoldEncode", model, both[:1], "top, legs", map=maps["a"])
    for layer, values in enumerate(own.values):
        torch.testing.assert_close(together.values[layer], values, rtol=0, atol=0)
        torch.testing.assert_close(one_by_one.values[layer], values, rtol=0, atol=0)
    assert not torch.equal(parts.values[0], first.values[0])
    assert isinstance(parts, AppearanceCode)


def test_edit_is_the_commands(here, model, maps):
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[40:80, 20:60] = 255
    Image.fromarray(mask).save(here / "mask.png")
    pocold("edit a.png --like b.png --mask mask.png -o edited.png --seed 3", model="sized")
    photos, like = image(here / "a.png", here / "b.png"), image(here / "b.png")
    white = torch.from_numpy(mask).float() / 255
    given = {"map": maps["a"] + maps["b"], "like_image": like, "like_map": maps["b"], "seed": 3, "steps": 2}
    batch = run("PocoldEdit", model, photos, white[None], **given)
    assert batch.shape == (2, *SIZE, 3)
    np.testing.assert_array_equal(picture(batch), pixels(here / "edited.png"))
    assert (picture(batch, 1)[mask == 0] == pixels(here / "b.png")[mask == 0]).all()
    assert (picture(batch, 1) != pixels(here / "b.png")).any()
    half = run("PocoldEdit", model, photos, white[None, ::2, ::2], **given)
    np.testing.assert_array_equal(picture(half), pixels(here / "edited.png"))
    coded = run("PocoldEncode", model, like, map=maps["b"])
    given |= {"like_image": None, "like_map": None, "like_code": coded, "num_images": 2}
    assert run("PocoldEdit", model, photos, white[None], **given).shape == (4, *SIZE, 3)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(1, 64, 64), "mask is black: there is nothing to change; white is what may change"),
        (
            torch.ones(1, 64, 64),
            r"mask is 64x64 \(height x width\), but image 128x88: a map has the size of its photograph",
        ),
        (torch.ones(2, *SIZE), "mask: expected one for all photographs, or one for each of 1, got 2"),
        (torch.ones(1, *SIZE, 3), r"mask: expected masks \(B, H, W\), got \(1, 128, 88, 3\)"),
    ],
)
def test_masks_that_cannot_be_used(model, maps, drawn_folder, mask, message):
    photo = image(drawn_folder / "a.png")
    with pytest.raises(ValueError, match=message):
        run("PocoldEdit", model, photo, mask, map=maps["a"], like_image=photo, like_map=maps["a"])


def test_mix_is_the_commands(here, model, maps):
    people = {"first_image": image(here / "a.png"), "first_map": maps["a"]}
    people |= {"second_image": image(here / "b.png"), "second_map": maps["b"]}
    mixed = run("PocoldMix", model, "top", **people)
    pocold("mix a.png b.png --parts top -o mixed.safetensors", model="sized")
    for own, told in zip(mixed.values, AppearanceCode.load(here / "mixed.safetensors").values, strict=True):
        torch.testing.assert_close(own, told, rtol=0, atol=0)
    codes = [run("PocoldEncode", model, image(here / f"{n}.png"), map=maps[n]) for n in "ab"]
    blend = run("PocoldMix", model, "", weight=0.25, first_code=codes[0], second_code=codes[1])
    torch.testing.assert_close(blend.values[0], codes[0].blend(codes[1], 0.25).values[0], rtol=0, atol=0)
    with pytest.raises(ValueError, match="expected photographs as second_image, or a code as second_code, got neither"):
        run("PocoldMix", model, first_code=codes[0])
    with pytest.raises(ValueError, match="first_map is the map of a photograph, but first_code is an appearance code"):
        run("PocoldMix", model, first_code=codes[0], first_map=maps["a"], second_code=codes[1])
    with pytest.raises(ValueError, match="parts are taken from a photograph and its map, but second_code is a code"):
        run("PocoldMix", model, "top", first_code=codes[0], second_code=codes[1])


def test_frames_share_their_noise(model, maps, code):
    poses = maps["a"] + maps["a-back"]
    frames = {
        noise: run("PocoldAnimate", model, code, poses, steps=2, noise=noise)
        for noise in ("shared", "surface", "fresh")
    }
    torch.testing.assert_close(frames["shared"], run("PocoldTransfer", model, code, poses, steps=2), rtol=0, atol=0)
    torch.testing.assert_close(frames["fresh"][0], frames["shared"][0], rtol=0, atol=0)
    assert (frames["fresh"][1] != frames["shared"][1]).any()
    assert (frames["surface"] != frames["shared"]).any()


# -- maps ------------------------------------------------------------------------------------------------------------


def test_find_body(model, monkeypatch):
    monkeypatch.setattr(model.pipeline, "densepose_estimator", colour_estimator())
    photo = torch.from_numpy(np.asarray(photo_of()).copy())[None].float() / 255
    found, preview = run("PocoldFindBody", model, torch.cat([photo, photo.flip(2)]))
    assert [pose.size for pose in found] == [(64, 48)] * 2
    assert found[0].visible_parts == {1, 2}
    np.testing.assert_array_equal(found[0].labels, found[1].labels[:, ::-1])
    assert preview.shape == (2, 64, 48, 3)
    with pytest.raises(ValueError, match="image 2: no person was found"):
        run("PocoldFindBody", model, torch.cat([photo, photo * 0]))
    mask = run("PocoldPartMask", found, "1", grow=0)
    assert mask.dtype == torch.float32
    np.testing.assert_array_equal(mask.numpy() > 0, np.stack([pose.labels for pose in found]) == 1)
    with pytest.raises(ValueError, match="the photograph shows nothing of the region 'parts:feet'"):
        run("PocoldPartMask", found, "1 feet")


def test_cut_out(model, maps, drawn_folder):
    photo = torch.nn.functional.pad(image(drawn_folder / "a.png"), (0, 0, 100, 20, 10, 60))
    wide = DensePose(
        np.pad(maps["a"][0].labels, ((10, 60), (100, 20))), np.pad(maps["a"][0].uv, ((0, 0), (10, 60), (100, 20)))
    )
    cut, (pose,) = run("PocoldCutOut", model, photo, (wide,))
    assert cut.shape == (1, *SIZE, 3)
    assert pose.size == SIZE
    assert len(pose.visible_parts ^ maps["a"][0].visible_parts) <= 1  # a sliver may be lost in scaling
    with pytest.raises(ValueError, match=r"the map is 128x88 \(height x width\), but image 198x208"):
        run("PocoldCutOut", model, photo, maps["a"])
    with pytest.raises(ValueError, match="image: expected one map for each of 1 photographs, got 2"):
        run("PocoldCutOut", model, photo, (wide, wide))


def test_named_poses_are_fitted_as_the_command_does(here, model, maps, code):
    pocold("transfer a.png --pose walk:side hips:back:upper -o drawn", model="sized")
    poses, preview = run("PocoldPoseByName", "walk:side, \n hips:back:upper\n", like=maps["a"])
    assert preview.shape == (2, *SIZE, 3)
    batch = run("PocoldTransfer", model, code, poses, steps=2)
    np.testing.assert_array_equal(picture(batch), pixels(here / "drawn" / "walk-side.png"))
    np.testing.assert_array_equal(picture(batch, 1), pixels(here / "drawn" / "hips-back-upper.png"))
    plain, _ = run("PocoldPoseByName", "stand", 64, 48, before=maps["a"])
    assert plain[0] is maps["a"][0]
    np.testing.assert_array_equal(plain[1].labels, draw_densepose(parse_pose("stand").pose, 0, "full", (64, 48)).labels)


def test_names_are_checked_before_anything_runs():
    validate = NODE_CLASS_MAPPINGS["PocoldPoseByName"].VALIDATE_INPUTS
    assert validate(poses="walk:side\nhips") is True
    assert validate(poses=None) is True  # another node gives it
    assert validate(poses="wlak").startswith("unknown pose 'wlak'; did you mean walk")
    assert validate(poses=" \n,") == "expected at least one pose, such as walk:side"


def test_poses_of_files(tmp_path, maps, monkeypatch):
    node = NODE_CLASS_MAPPINGS["PocoldPoseFromFile"]
    (tmp_path / "maps").mkdir()
    for number, name in ((10, "a"), (9, "b")):
        maps[name][0].write(tmp_path / "maps" / f"{number}.png")
    monkeypatch.setitem(sys.modules, "folder_paths", types.SimpleNamespace(get_input_directory=lambda: tmp_path))
    (one,), _ = run("PocoldPoseFromFile", ' "maps/10.png" ')
    np.testing.assert_array_equal(one.labels, maps["a"][0].labels)
    both, _ = run("PocoldPoseFromFile", "maps", before=maps["a-back"])
    assert [len(both), both[0] is maps["a-back"][0]] == [3, True]
    np.testing.assert_array_equal(both[1].labels, maps["b"][0].labels)
    seen = node.IS_CHANGED(path="maps/10.png", person=0)
    assert node.IS_CHANGED(path="maps/10.png", person=0) == seen
    maps["b"][0].write(tmp_path / "maps" / "10.png")
    assert node.IS_CHANGED(path="maps/10.png", person=0) != seen
    assert node.IS_CHANGED(path="no.png") == "missing"
    assert node.VALIDATE_INPUTS(path="maps") is True
    assert node.VALIDATE_INPUTS(path=None) is True
    assert node.VALIDATE_INPUTS(path="no.png") == f"path: no such file or folder: {tmp_path / 'no.png'}"
    assert node.VALIDATE_INPUTS(path=" ") == "path: expected a file or a folder, got nothing"
    with pytest.raises(ValueError, match="person: of each file of a folder the largest is taken"):
        run("PocoldPoseFromFile", "maps", 2)


def openpose(shift=0.0):
    """Eighteen points of somebody who stands, in a picture of 128x88."""
    points = {
        0: (44, 20), 1: (44, 34), 2: (34, 34), 3: (30, 50), 4: (29, 64), 5: (54, 34), 6: (58, 50), 7: (59, 64),
        8: (38, 66), 9: (38, 90), 10: (38, 114), 11: (50, 66), 12: (50, 90), 13: (50, 114), 14: (42, 18), 15: (46, 18),
    }  # fmt: skip
    flat = [
        value for i in range(18) for value in ((points[i][0] + shift, points[i][1], 1.0) if i in points else (0, 0, 0))
    ]
    return {"people": [{"pose_keypoints_2d": flat}], "canvas_height": 128, "canvas_width": 88}


def test_poses_of_keypoints(tmp_path, capsys):
    (tmp_path / "one.json").write_text(json.dumps(openpose()))
    (file,), _ = run("PocoldPoseFromFile", str(tmp_path / "one.json"))
    nobody = {"people": [], "canvas_height": 128, "canvas_width": 88}
    maps, preview = run("PocoldPoseFromKeypoints", [openpose(), nobody, openpose(8)])
    assert preview.shape == (2, *SIZE, 3)
    np.testing.assert_array_equal(maps[0].labels, file.labels)
    columns = [np.nonzero(pose.labels)[1].mean() for pose in maps]
    assert columns[1] - columns[0] == pytest.approx(8, abs=2)
    assert "1 of 3 pictures show too few people; left out" in capsys.readouterr().err
    with pytest.raises(ValueError, match="keypoints: none of 1 pictures shows 2 people"):
        run("PocoldPoseFromKeypoints", openpose(), 2)
    with pytest.raises(ValueError, match="keypoints 1: expected OpenPose's people with pose_keypoints_2d, got str"):
        run("PocoldPoseFromKeypoints", ["x"])
    with pytest.raises(ValueError, match="keypoints 1: keypoints that cannot be understood: OpenPose writes 25 or 18"):
        run("PocoldPoseFromKeypoints", [{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}])


def test_motions(maps):
    stage = Stage.of(maps["a"][0], SIZE)
    turned, preview = run("PocoldMotion", "turn", "stand", frames=4, like=maps["a"])
    assert preview.shape == (4, *SIZE, 3)
    np.testing.assert_array_equal(turned[2].labels, stage.draw(parse_pose("stand").pose, -180).labels)
    between, _ = run("PocoldMotion", "between", "stand\nhips:back", frames=3, loop=False, like=maps["a"])
    np.testing.assert_array_equal(between[0].labels, stage.draw(parse_pose("stand").pose, 0).labels)
    np.testing.assert_array_equal(between[2].labels, stage.draw(parse_pose("hips").pose, -180).labels)
    walked, _ = run("PocoldMotion", "walk", "", view="left", frames=2, height=64, width=48)
    assert [pose.size for pose in walked] == [(64, 48)] * 2
    with pytest.raises(ValueError, match="poses: a turn shows one pose, got stand, hips"):
        run("PocoldMotion", "turn", "stand, hips")


# -- the model, and ComfyUI's own hooks ------------------------------------------------------------------------------


def test_models_are_checked_before_anything_runs(drawn_folder, tmp_path):
    node = NODE_CLASS_MAPPINGS["PocoldLoadModel"]
    assert node.VALIDATE_INPUTS(folder="") is True
    assert node.VALIDATE_INPUTS(folder=None) is True
    assert node.VALIDATE_INPUTS(folder=str(drawn_folder / "toy")) is True
    assert (
        node.VALIDATE_INPUTS(folder=str(tmp_path))
        == f"folder: {tmp_path} is no model folder, it has no model_index.json"
    )
    assert node.VALIDATE_INPUTS(folder=str(tmp_path / "no")).startswith("path: no such file or folder: ")
    assert node.IS_CHANGED(folder="", device="cpu") == "bundled"
    assert node.IS_CHANGED(folder=str(drawn_folder / "toy")) != node.IS_CHANGED(folder=str(drawn_folder / "hint"))


class StopError(Exception):
    pass


@pytest.fixture
def comfy(monkeypatch):
    """Stand-ins of the parts of ComfyUI that nodes see: bars that are kept, and a button to stop."""

    class ProgressBar:
        def __init__(self, total):
            self.total, self.values = total, []
            comfy.bars.append(self)

        def update_absolute(self, value, total=None, preview=None):
            self.values.append(value)
            comfy.pressed = comfy.pressed or len(self.values) == comfy.stop_after

    def throw():
        if comfy.pressed:
            comfy.pressed = False
            raise StopError

    comfy = types.SimpleNamespace(bars=[], pressed=False, stop_after=None)
    monkeypatch.setitem(sys.modules, "comfy.utils", types.SimpleNamespace(ProgressBar=ProgressBar))
    monkeypatch.setitem(
        sys.modules, "comfy.model_management",
        types.SimpleNamespace(
            throw_exception_if_processing_interrupted=throw, get_torch_device=lambda: torch.device("cpu")
        ),
    )  # fmt: skip
    return comfy


def test_progress_is_told_and_a_stop_is_heard(model, maps, code, comfy):
    poses = maps["a"] + maps["a-back"]
    whole = run("PocoldTransfer", model, code, poses, steps=2)
    assert comfy.bars[0].total == 200
    assert comfy.bars[0].values == [0, 50, 100, 150, 200]
    comfy.stop_after = 3
    with pytest.raises(StopError):
        run("PocoldTransfer", model, code, poses, steps=2)
    assert comfy.bars[1].values == [0, 50, 100]
    comfy.stop_after = None
    again = run("PocoldTransfer", model, code, poses, steps=2)  # nothing of the stopped run is left
    torch.testing.assert_close(again, whole, rtol=0, atol=0)
    comfy.stop_after = 1
    with pytest.raises(StopError):
        run("PocoldPoseFromKeypoints", [openpose(), openpose()])


def test_the_model_goes_where_comfyui_computes(drawn_folder, comfy):
    loaded = run("PocoldLoadModel", str(drawn_folder / "toy"), scheduler="unipc")
    assert loaded.pipeline.device == torch.device("cpu")
    assert type(loaded.pipeline.scheduler).__name__ == "UniPCMultistepScheduler"
    assert loaded.pipeline.densepose_estimator is not None
