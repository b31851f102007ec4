"""The pipeline of a model that takes a surface hint, and of one that sees U and V of the pose."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pocold import AppearanceCode, DensePose, PoseTransferPipeline
from pocold.densepose.completion import complete
from pocold.densepose.correspondence import HIDDEN, surface_correspondence, warp_by_surface
from pocold.densepose.holes import fill_holes
from pocold.imaging.images import from_uint8
from pocold.models.autoencoder import encode_hint

SIZE = (64, 48)
OPTIONS = {"num_inference_steps": 2, "output_type": "np"}


def load(**options):
    pipeline = PoseTransferPipeline.from_preset("toy", seed=0, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def hinted():
    return load(surface_hint=True)


def photo(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def figure(shift=0, uv=True, parts=((23, 8, 16), (2, 16, 32), (9, 32, 60))):
    """Parts (label, first row, last row) whose U, V move along with ``shift``."""
    labels, coordinates = np.zeros(SIZE, dtype=np.uint8), np.zeros((2, *SIZE), dtype=np.float32)
    for label, top, bottom in parts:
        columns = slice(12 + shift, 28 + shift)
        labels[top:bottom, columns] = label
        coordinates[0, top:bottom, columns] = np.linspace(0, 1, bottom - top)[:, None]
        coordinates[1, top:bottom, columns] = np.linspace(0, 1, 16)
    return DensePose(labels, coordinates if uv else None)


def seeds(*values):
    return [torch.Generator().manual_seed(value) for value in values]


def draw(pipeline, source, pose, *values, **options):
    return pipeline(source, pose, generator=seeds(*(values or (0,))), **OPTIONS, **options).images


def pixels(seed=0):
    return from_uint8(torch.from_numpy(np.array(photo(seed)))).permute(2, 0, 1)


def warp(surface, pose):
    return surface.warp(torch.from_numpy(pose.labels), torch.from_numpy(pose.uv))


def test_the_code_warps_the_photograph(hinted):
    code = hinted.encode_appearance(photo(), source_pose=figure())
    warped, visible = warp(code.surface[0], figure())
    assert torch.equal(warped, pixels())
    assert (visible == 1).all()
    warped, visible = warp(code.surface[0], figure(6))
    body = torch.from_numpy(figure(6).labels > 0)
    assert torch.equal(warped[:, body], pixels().roll(6, -1)[:, body])
    behind = torch.from_numpy((figure().labels > 0) & (figure(6).labels == 0))
    assert torch.equal(visible == 0, behind)  # a hole, filled with what is around it
    index, _ = surface_correspondence(
        *(torch.from_numpy(v) for pose in (figure(6), figure()) for v in (pose.labels, pose.uv))
    )
    holes = warp_by_surface(pixels(), index)
    assert (holes[:, behind] == 0).all()
    assert torch.equal(warped, fill_holes(holes, index >= 0, torch.from_numpy(figure(6).labels)))


def test_a_model_with_a_completed_hint_sees_what_is_completed(monkeypatch):
    pipeline, warped = load(surface_hint=True, hint_completed=True), load(surface_hint=True)
    source, pose = figure(), figure(6, parts=((23, 8, 16), (1, 16, 32), (9, 32, 60)))  # the back is not seen
    code = pipeline.encode_appearance(photo(), source_pose=source)
    seen = []
    own = pipeline.unet.forward
    monkeypatch.setattr(pipeline.unet, "forward", lambda *a, **k: seen.append(k["hint"]) or own(*a, **k))
    drawn = draw(pipeline, code, pose)
    picture, confidence = complete(code.surface[0], torch.from_numpy(pose.labels), torch.from_numpy(pose.uv))
    expected = encode_hint(pipeline.vae, picture[None], confidence[None])
    torch.testing.assert_close(seen[0][-1:], expected)  # the branch that sees all is the last
    back = confidence[torch.from_numpy(pose.labels == 1)]
    assert ((back > 0) & (back < 1)).all()
    assert not np.allclose(drawn, draw(warped, code, pose), atol=1e-3)


def test_a_completed_hint_needs_a_hint():
    with pytest.raises(ValueError, match=r"hint_completed says how the surface hint is made: it needs surface_hint"):
        load(hint_completed=True)


def test_the_hint_changes_the_picture_and_only_through_appearance(hinted):
    plain = draw(hinted, photo(), figure(6), source_pose=figure())
    moved = draw(hinted, photo(), figure(6), source_pose=figure(2))  # another correspondence, the same photograph
    assert not np.allclose(plain, moved, atol=1e-3)
    without = [draw(hinted, None, figure(6, uv), guidance="pose_only") for uv in (True, False)]
    np.testing.assert_array_equal(*without)


def test_a_saved_code_draws_what_the_photograph_draws(hinted, tmp_path):
    direct = draw(hinted, photo(), figure(6), source_pose=figure())
    code = hinted.encode_appearance(photo(), source_pose=figure(), height=SIZE[0], width=SIZE[1])
    code.save(tmp_path / "person.safetensors")
    loaded = AppearanceCode.load(tmp_path / "person.safetensors")
    np.testing.assert_array_equal(draw(hinted, loaded, figure(6)), direct)
    np.testing.assert_array_equal(draw(hinted, loaded.to("cpu", torch.float32), figure(6)), direct)


def test_a_picture_does_not_depend_on_its_batch(hinted):
    codes = [hinted.encode_appearance(photo(i), source_pose=figure()) for i in range(2)]
    both = AppearanceCode.stack(codes)
    poses = [figure(2), figure(6)]
    together = draw(hinted, both, poses, 1, 2, batch_size=2)
    np.testing.assert_allclose(draw(hinted, both, poses, 1, 2, batch_size=1), together, atol=1e-4)
    np.testing.assert_allclose(draw(hinted, codes[1], poses[1], 2), together[1:], atol=1e-4)
    np.testing.assert_allclose(draw(hinted, both[1], poses[1], 2), together[1:], atol=1e-4)
    one_person = draw(hinted, codes[0], poses, 1, 2, batch_size=2)
    np.testing.assert_allclose(one_person[:1], together[:1], atol=1e-4)
    assert not np.allclose(one_person[1:], together[1:], atol=1e-3)


def test_several_photographs_show_what_any_of_them_shows(hinted):
    upper, lower = figure(parts=((23, 8, 16), (2, 16, 32))), figure(parts=((9, 32, 60),))
    code = hinted.encode_appearance([photo(0), photo(1)], source_pose=[upper, lower])
    warped, visible = warp(code.surface[0], figure(6))
    labels = torch.from_numpy(figure(6).labels)
    legs, trunk = labels == 9, (labels == 23) | (labels == 2)
    assert torch.equal(warped[:, trunk], pixels(0).roll(6, -1)[:, trunk])
    assert torch.equal(warped[:, legs], pixels(1).roll(6, -1)[:, legs])
    assert (visible[legs | trunk] == 1).all()
    np.testing.assert_array_equal(
        draw(hinted, code, figure(6)), draw(hinted, [photo(0), photo(1)], figure(6), source_pose=[upper, lower])
    )


def test_parts_show_nothing_else(hinted):
    code = hinted.encode_appearance(photo(), source_pose=figure(), parts="torso")
    assert set(code.surface[0].layers[0][1][0].labels.unique().tolist()) == {2, HIDDEN}
    warped, visible = warp(code.surface[0], figure())
    torso = torch.from_numpy(figure().labels == 2)
    labels = torch.from_numpy(figure().labels)
    assert torch.equal(visible > 0, torso)
    assert torch.equal(warped, fill_holes(pixels() * torso, torso, labels))  # the torso's colours all over
    legs = hinted.encode_appearance(photo(1), source_pose=figure(), parts="legs")
    outfit = AppearanceCode.union([code, legs])
    shown = torch.where(torso, pixels(), pixels(1) * (labels == 9))
    assert torch.equal(warp(outfit.surface[0], figure())[0], fill_holes(shown, torso | (labels == 9), labels))


def test_blended_codes_blend_the_warped_pictures(hinted):
    a = hinted.encode_appearance(photo(0), source_pose=figure())
    b = hinted.encode_appearance(photo(1), source_pose=figure(), parts="body")
    warped, visible = warp(a.blend(b, 0.25).surface[0], figure())
    body = torch.from_numpy(figure().labels > 0)
    torch.testing.assert_close(warped[:, body], (0.75 * pixels(0) + 0.25 * pixels(1))[:, body])
    torch.testing.assert_close(warped[:, ~body], pixels(0)[:, ~body])  # b shows no background: only a counts there
    assert torch.allclose(visible, torch.ones(()))
    for weight, one in ((0, a), (1, b)):
        assert torch.equal(warp(a.blend(b, weight).surface[0], figure())[0], warp(one.surface[0], figure())[0])
    # a third photograph of a blended person: every layer gains it
    shoes = hinted.encode_appearance(photo(2), source_pose=figure(parts=((6, 40, 60),)), parts=6)
    surface = AppearanceCode.union([a.blend(b, 0.25), shoes]).surface[0]
    assert [(weight, len(photographs)) for weight, photographs in surface.layers] == [(0.75, 2), (0.25, 2)]


def test_blends_and_unions_survive_a_file(hinted, tmp_path):
    a, b = (hinted.encode_appearance(photo(i), source_pose=figure()) for i in range(2))
    code = AppearanceCode.stack([AppearanceCode.union([a.blend(b, 0.3), b]), a])
    code.save(tmp_path / "people.safetensors")
    loaded = AppearanceCode.load(tmp_path / "people.safetensors")
    assert [len(surface.layers) for surface in loaded.surface] == [2, 1]
    assert (tmp_path / "people.safetensors").stat().st_size < 2.2 * (SIZE[0] * SIZE[1] * 6) + 40_000  # two photographs
    for mine, theirs in zip(code.surface, loaded.surface, strict=True):
        for first, second in zip(warp(mine, figure(4)), warp(theirs, figure(4)), strict=True):
            assert torch.equal(first, second)


def test_a_file_without_its_photographs_is_refused(hinted, tmp_path):
    path = tmp_path / "person.safetensors"
    hinted.encode_appearance(photo(), source_pose=figure()).save(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({n: t for n, t in load_file(path).items() if n != "photographs.0.uv"}, path, metadata)
    with pytest.raises(ValueError, match="cannot be read as an appearance code"):
        AppearanceCode.load(path)


def test_u_and_v_of_the_pose_matter_where_they_are_seen():
    pipeline = load(pose_encoding="iuv")
    pose = figure()
    turned = DensePose(pose.labels, np.where(pose.labels > 0, 1 - pose.uv, 0))
    assert not np.allclose(draw(pipeline, photo(), pose), draw(pipeline, photo(), turned), atol=1e-3)
    with pytest.raises(
        ValueError, match="pose: its DensePose map has labels only, but the model's pose encoding 'iuv'"
    ):
        draw(pipeline, photo(), figure(uv=False))


def test_both_options_together_and_saved(tmp_path):
    pipeline = load(surface_hint=True, pose_encoding="iuv")
    expected = draw(pipeline, photo(), figure(6), source_pose=figure())
    pipeline.save_pretrained(tmp_path / "model")
    loaded = PoseTransferPipeline.from_pretrained(tmp_path / "model")
    loaded.set_progress_bar_config(disable=True)
    assert loaded.takes_surface_hint
    np.testing.assert_array_equal(draw(loaded, photo(), figure(6), source_pose=figure()), expected)


def test_half_precision(hinted):
    pipeline = load(surface_hint=True).to(torch.bfloat16)
    assert np.isfinite(draw(pipeline, photo(), figure(6), source_pose=figure())).all()


def test_sizes_are_framed_together(hinted):
    """Photograph and map are framed alike, so that the code warps the framed photograph."""
    code = hinted.encode_appearance(photo(), source_pose=figure(), height=80, width=80)
    shown = code.surface[0].layers[0][1][0]
    assert shown.picture.shape == (3, 80, 80)
    assert shown.uv.shape == (2, 80, 80)
    index, _ = surface_correspondence(shown.labels, shown.uv, shown.labels, shown.uv)
    warped = warp_by_surface(from_uint8(shown.picture), index)
    assert (warped - from_uint8(shown.picture)).abs().mean() < 0.3
    assert np.isfinite(draw(hinted, photo(), figure(6), source_pose=figure(), height=80, width=80)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"source_pose": None},
            "surface hint need.* one source_pose with U and V for each of the 1 photographs, got 0",
        ),
        ({"source_pose": figure(uv=False)}, "source_pose: its DensePose map has labels only, .* hint needs U and V"),
        ({"pose": figure(uv=False)}, "pose: its DensePose map has labels only, but the model's surface hint needs U"),
        ({"pose": [figure(), figure(uv=False)]}, "pose 1: its DensePose map has labels only"),
        ({"source": "code"}, "source_pose is the map of a photograph, but source is an appearance code"),
        ({"source": "bare", "source_pose": None}, "takes a surface hint, but the appearance code holds no surface"),
    ],
)
def test_what_is_missing_is_named(hinted, change, message):
    given = {"source": photo(), "pose": figure(6), "source_pose": figure(), **change}
    if isinstance(given["source"], str):
        code = hinted.encode_appearance(photo(), source_pose=figure())
        bare = AppearanceCode(code.values, code.mass, code.fingerprint)
        given["source"] = code if given["source"] == "code" else bare
    with pytest.raises(ValueError, match=message):
        hinted(**given, num_inference_steps=1)


def test_several_people_through_the_inner_door(hinted, tmp_path):
    pose = figure()
    maps = [torch.from_numpy(values)[None].repeat_interleave(2, 0) for values in (pose.labels, pose.uv)]
    code = hinted.encode_tensors(torch.stack([pixels(0), pixels(1)]), maps[0], uv=maps[1])
    code.save(tmp_path / "two.safetensors")
    loaded = AppearanceCode.load(tmp_path / "two.safetensors")
    for i in range(2):
        assert torch.equal(warp(loaded[i].surface[0], figure(6))[0], warp(code[i].surface[0], figure(6))[0])
        single = hinted.encode_appearance(photo(i), source_pose=pose)
        assert torch.equal(warp(single.surface[0], figure(6))[0], warp(code[i].surface[0], figure(6))[0])


def test_tensors_need_labels_and_uv(hinted):
    with pytest.raises(ValueError, match="this model takes a surface hint: it needs labels and uv of the photographs"):
        hinted.encode_tensors(pixels()[None])


def test_codes_with_and_without_surface_do_not_mix(hinted):
    code = hinted.encode_appearance(photo(), source_pose=figure())
    bare = AppearanceCode(code.values, code.mass, code.fingerprint)
    for mix in (AppearanceCode.stack, AppearanceCode.union, lambda codes: codes[0].blend(codes[1], 0.5)):
        with pytest.raises(ValueError, match="either all hold surfaces or none"):
            mix([code, bare])
    with pytest.raises(ValueError, match="expected a surface for each of 1, got 2"):
        AppearanceCode(code.values, code.mass, code.fingerprint, code.surface * 2)


def test_models_without_hint_make_codes_without_surface(toy, tmp_path):
    code = toy.encode_appearance(photo(), source_pose=figure())
    assert code.surface is None
    code.save(tmp_path / "person.safetensors")
    assert AppearanceCode.load(tmp_path / "person.safetensors").surface is None
    np.testing.assert_array_equal(
        draw(toy, photo(), figure(6)), draw(toy, photo(), figure(6, uv=False), source_pose=figure())
    )
