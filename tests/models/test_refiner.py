"""The refiner: any size, little change at first, folders as its siblings have, and the pipeline that has one."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation

from pocold import AppearanceCode, DensePose, PoseTransferPipeline
from pocold.densepose.completion import complete
from pocold.densepose.correspondence import Photograph, Surface
from pocold.densepose.relighting import complete_relit
from pocold.diffusion.editing import EditedImage
from pocold.diffusion.refining import refine
from pocold.imaging.images import from_uint8
from pocold.models.refiner import Refiner, load_refiner
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

SIZE = (64, 48)
OPTIONS = {"num_inference_steps": 1, "output_type": "np"}
TINY = {"channels": (8, 12), "layers": (1, 1), "label_channels": 4}


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    return Refiner(**{**TINY, **changes}).eval()


@pytest.fixture(scope="module")
def views():
    """Labels and U, V in 0..255 of one person from the front and from behind."""
    maps = [parse_pose(name) for name in ("relaxed:front", "hips:back")]
    found = [found.densepose for found in random_person(1, 0).draw([Shot(p.pose, p.view, p.crop) for p in maps], SIZE)]
    return [(torch.from_numpy(p.labels.copy()), (torch.from_numpy(p.uv) * 255).round().to(torch.uint8)) for p in found]


def inputs(size=SIZE, count=2):
    generator = torch.Generator().manual_seed(1)
    drawn, completed = 2 * torch.rand(2, count, 3, *size, generator=generator) - 1
    confidence = torch.rand(count, 1, *size, generator=generator)
    labels = torch.randint(0, 25, (count, *size), generator=generator, dtype=torch.uint8)
    return drawn, completed, confidence, labels, torch.rand(count, 2, *size, generator=generator)


def photo(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def figure(shift=0, uv=True):
    labels, coordinates = np.zeros(SIZE, dtype=np.uint8), np.zeros((2, *SIZE), dtype=np.float32)
    for label, top, bottom in ((23, 8, 16), (2, 16, 32), (9, 32, 60)):
        columns = slice(12 + shift, 28 + shift)
        labels[top:bottom, columns] = label
        coordinates[0, top:bottom, columns] = np.linspace(0, 1, bottom - top)[:, None]
        coordinates[1, top:bottom, columns] = np.linspace(0, 1, 16)
    return DensePose(labels, coordinates if uv else None)


def seeded():
    return torch.Generator().manual_seed(0)


def with_refiner(toy, **options):
    pipeline = PoseTransferPipeline.from_preset("toy", **options) if options else toy
    made = PoseTransferPipeline(**pipeline.components | {"refiner": tiny()})
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("size", [(64, 48), (33, 41), (8, 9)])
def test_any_size(size):
    seen = inputs(size)
    with torch.no_grad():
        repaired = tiny()(*seen)
    assert repaired.shape == seen[0].shape
    assert torch.isfinite(repaired).all()


def test_it_starts_near_the_completed_picture_and_can_leave_it():
    seen = inputs()
    refiner = tiny(channels=(24, 32, 48), layers=(1, 2, 2))
    added = refiner(*seen) - seen[1]
    assert 0.005 < added.std() < 0.1
    added.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in refiner.parameters())


@pytest.mark.parametrize("changed", range(5))
def test_it_sees_everything(changed):
    seen = list(inputs())
    refiner = tiny()
    before = refiner(*seen)
    seen[changed] = (24 - seen[changed]) if changed == 3 else seen[changed].flip(-1)
    assert (refiner(*seen) - before).abs().max() > 1e-4


def test_far_away_pixels_do_not_matter():
    """Convolutions only: what is drawn at the bottom does not depend on the top, whatever its contrast."""
    seen = list(inputs((128, 48)))
    refiner = tiny()
    before = refiner(*seen)
    seen[0] = torch.cat([seen[0][:, :, :16] * 0, seen[0][:, :, 16:]], 2)
    after = refiner(*seen)
    assert torch.equal(before[:, :, 96:], after[:, :, 96:])
    assert not torch.equal(before[:, :, :16], after[:, :, :16])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": (8,), "layers": (1,)}, "of 2 to 6 levels, as many of each"),
        ({"layers": (1, 1, 1)}, "of 2 to 6 levels, as many of each"),
        ({"layers": (1, -1)}, "layers at least 0"),
        ({"label_channels": 0}, "at least 1"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        tiny(**settings)


def test_shapes_that_do_not_belong_together():
    seen = list(inputs())
    seen[2] = seen[2][:, 0]
    with pytest.raises(ValueError, match=r"confidence \(B, 1, H, W\), labels .* of one size, got"):
        tiny()(*seen)


def test_a_folder_gives_the_same_pictures(tmp_path):
    refiner = tiny()
    refiner.save_pretrained(tmp_path)
    loaded = load_refiner(tmp_path)
    seen = inputs()
    assert torch.equal(loaded(*seen), refiner(*seen))
    with pytest.raises(ValueError, match="no such file"):
        load_refiner(tmp_path / "nowhere")


def test_a_folder_written_before_relighting_loads_as_it_was(tmp_path):
    tiny(relit=True).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("relit") is True
    path.write_text(json.dumps(config))
    assert load_refiner(tmp_path).config.relit is False


@pytest.mark.parametrize("relit", [False, True])
def test_it_sees_the_photograph_in_the_light_that_it_has_learned_from(relit, views):
    """A refiner that adds nothing shows what it was given."""
    refiner = tiny(relit=relit)
    with torch.no_grad():
        refiner.conv_out.weight.zero_()
        refiner.conv_out.bias.zero_()
    (labels, uv), (other, other_uv) = views
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (3, *labels.shape), generator=generator, dtype=torch.uint8)
    surface = Surface(((1.0, (Photograph(picture, labels, uv),)),))
    with torch.no_grad():
        shown = refine(refiner, torch.zeros(1, 3, *labels.shape), [surface], other[None], other_uv[None].float() / 255)
    given = [how(surface, other, other_uv)[0].clamp(-1, 1) for how in (complete, complete_relit)]
    assert torch.equal(shown[0], given[relit])
    assert not torch.equal(shown[0], given[not relit])


def test_the_usual_size():
    count = sum(p.numel() for p in Refiner().parameters())
    assert 2 * count < 12e6  # bytes in half precision


# -- in a pipeline ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"surface_hint": True}])
def test_the_pipeline_repairs_what_it_draws(toy, options):
    """With a surface hint or without; the toy's autoencoder is diffusers' AutoencoderKL."""
    pipeline = with_refiner(toy, **options)
    assert type(pipeline.vae).__name__ == "AutoencoderKL"
    pose = figure(6)
    plain = pipeline(photo(), pose, source_pose=figure(), generator=seeded(), refine=False, **OPTIONS).images
    repaired = pipeline(photo(), pose, source_pose=figure(), generator=seeded(), **OPTIONS).images
    surface = pipeline.encode_appearance(photo(), source_pose=figure()).surface
    maps = torch.from_numpy(pose.labels)[None], torch.from_numpy(pose.uv)[None]
    drawn = torch.from_numpy(plain).permute(0, 3, 1, 2) * 2 - 1
    expected = refine(pipeline.refiner, drawn, surface, *maps)
    np.testing.assert_allclose(repaired, (expected.detach().permute(0, 2, 3, 1) + 1) / 2, atol=1e-4)
    assert np.abs(repaired - plain).mean() > 0.01


def test_each_person_is_repaired_with_their_own_photograph(toy):
    pipeline = with_refiner(toy)
    codes = [pipeline.encode_appearance(photo(i), source_pose=figure()) for i in range(2)]
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    poses = [figure(6), figure(3)]
    together = pipeline(AppearanceCode.stack(codes), poses, generator=generators, batch_size=2, **OPTIONS).images
    for i in range(2):
        alone = pipeline(codes[i], poses[i], generator=torch.Generator().manual_seed(i), **OPTIONS).images
        np.testing.assert_allclose(alone[0], together[i], atol=1e-4)


def test_kept_pixels_stay_to_the_bit(toy):
    pipeline = with_refiner(toy)
    mask = np.zeros(SIZE, dtype=bool)
    mask[20:40, 10:30] = True
    edited = pipeline(
        photo(), figure(6), source_pose=figure(), image=photo(5), mask=mask, generator=seeded(), feather=0, **OPTIONS
    ).images[0]
    given = np.asarray(photo(5)) / np.float32(255)
    np.testing.assert_array_equal((edited[~mask] * 255).round(), (given[~mask] * 255).round())
    assert np.abs(edited[mask] - given[mask]).mean() > 0.01


def test_what_is_kept_is_certain_and_comes_out_as_drawn():
    seen = {}

    class Spy(Refiner):
        def forward(self, drawn, completed, confidence, labels, uv):
            seen.update(completed=completed, confidence=confidence)
            return super().forward(drawn, completed, confidence, labels, uv)

    torch.manual_seed(0)
    spy = Spy(**TINY)
    drawn, pixels, *_ = inputs(count=1)
    generate = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    generate[..., 20:40, 10:30] = True
    edited = EditedImage(pixels, generate, torch.zeros(1, 4, 8, 6), torch.zeros(1, 1, 8, 6, dtype=torch.bool))
    source = torch.from_numpy(np.asarray(photo()).copy()).permute(2, 0, 1).contiguous()
    pose = figure()
    labels, uv = torch.from_numpy(pose.labels), torch.from_numpy(pose.uv)
    surface = Surface(((1.0, (Photograph(source, labels, (uv * 255).round().to(torch.uint8)),)),))
    repaired = refine(spy, drawn, [surface], labels[None], uv[None], edited)
    where = generate.expand(-1, 3, -1, -1)
    assert torch.equal(repaired[~where], drawn[~where])
    assert not torch.equal(repaired[where], drawn[where])
    assert torch.equal(seen["completed"][~where], pixels[~where])
    assert (seen["confidence"][~generate] == 1).all()


def test_maps_are_asked_for_and_may_be_left_out(toy):
    pipeline = with_refiner(toy)
    with pytest.raises(ValueError, match=r"the pipeline's refiner \(refine=False leaves it out\) need one source_pose"):
        pipeline(photo(), figure(6), **OPTIONS)
    with pytest.raises(ValueError, match=r"pose: its DensePose map has labels only, .*refine=False"):
        pipeline(photo(), figure(6, uv=False), source_pose=figure(), **OPTIONS)
    bare = toy.encode_appearance(photo())
    with pytest.raises(ValueError, match="has a refiner, but the appearance code holds no surface; encode again"):
        pipeline(bare, figure(6), **OPTIONS)
    plain = toy(photo(), figure(6, uv=False), generator=seeded(), **OPTIONS).images
    without = pipeline(photo(), figure(6, uv=False), generator=seeded(), refine=False, **OPTIONS).images
    np.testing.assert_array_equal(plain, without)


def test_latents_and_pictures_of_nobody_are_not_refined(toy):
    pipeline = with_refiner(toy)
    given = {"source_pose": figure(), "generator": None, "num_inference_steps": 1, "output_type": "latent"}
    a, b = (p(photo(), figure(6), **given | {"generator": seeded()}).images for p in (pipeline, toy))
    assert torch.equal(a, b)
    nobody = [p(None, figure(6), guidance="pose_only", generator=seeded(), **OPTIONS).images for p in (pipeline, toy)]
    np.testing.assert_array_equal(*nobody)


def test_it_is_saved_with_the_pipeline_and_folders_without_load_as_before(toy, tmp_path):
    pipeline = with_refiner(toy)
    pipeline.save_pretrained(tmp_path / "with")
    index = json.loads((tmp_path / "with" / "model_index.json").read_text())
    assert index["refiner"] == ["pocold.models.refiner", "Refiner"]
    loaded = PoseTransferPipeline.from_pretrained(tmp_path / "with")
    loaded.set_progress_bar_config(disable=True)
    given = {"source_pose": figure(), **OPTIONS}
    a, b = (p(photo(), figure(6), generator=seeded(), **given).images for p in (pipeline, loaded))
    np.testing.assert_array_equal(a, b)
    assert PoseTransferPipeline.from_pretrained(tmp_path / "with", refiner=None).refiner is None

    toy.save_pretrained(tmp_path / "without")
    path = tmp_path / "without" / "model_index.json"
    index = json.loads(path.read_text())
    del index["refiner"]  # as folders were before there were refiners
    path.write_text(json.dumps(index))
    assert PoseTransferPipeline.from_pretrained(tmp_path / "without").refiner is None
    assert isinstance(PoseTransferPipeline.from_pretrained(tmp_path / "without", refiner=tiny()).refiner, Refiner)


def test_half_precision(toy):
    pipeline = PoseTransferPipeline.from_preset("toy")
    pipeline = with_refiner(pipeline).to(torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    assert np.isfinite(pipeline(photo(), figure(6), source_pose=figure(), **OPTIONS).images).all()


@pytest.mark.parametrize("options", [{}, {"surface_hint": True}])
def test_a_refiner_that_enlarges(toy, options):
    """Drawn at half the size, repaired at the whole: the drawing is that of the shrunk photograph and poses."""
    pipeline = with_refiner(toy, **options)
    pipeline.register_modules(refiner=tiny(enlarges=2))
    large = figure(6).labels.repeat(2, 0).repeat(2, 1)
    pose = DensePose(large, figure(6).uv.repeat(2, 1).repeat(2, 2))
    seen = DensePose(figure().labels.repeat(2, 0).repeat(2, 1), figure().uv.repeat(2, 1).repeat(2, 2))
    person = photo().resize((2 * SIZE[1], 2 * SIZE[0]), Image.Resampling.NEAREST)
    given = {"height": 2 * SIZE[0], "width": 2 * SIZE[1], "generator": None}
    picture = pipeline(person, pose, source_pose=seen, **OPTIONS | given | {"generator": seeded()}).images
    assert picture.shape == (1, 2 * SIZE[0], 2 * SIZE[1], 3)
    small = pipeline(photo(), figure(6), source_pose=figure(), refine=False, generator=seeded(), **OPTIONS).images
    surface = pipeline.encode_appearance(person, source_pose=seen, height=128, width=96).surface
    assert surface[0].layers[0][1][0].picture.shape == (3, 128, 96)
    drawn = torch.from_numpy(small).permute(0, 3, 1, 2) * 2 - 1
    maps = torch.from_numpy(pose.labels)[None], torch.from_numpy(pose.uv)[None]
    expected = (refine(pipeline.refiner, drawn, surface, *maps).detach().permute(0, 2, 3, 1) + 1) / 2
    np.testing.assert_allclose(picture, expected, atol=2e-2)
    with pytest.raises(ValueError, match="height and width must be multiples of 16"):
        pipeline(person, pose, source_pose=seen, **OPTIONS | {"height": 120, "width": 96})


def test_an_edit_with_a_refiner_that_enlarges(toy):
    pipeline = with_refiner(toy)
    pipeline.register_modules(refiner=tiny(enlarges=2))
    mask = np.zeros(SIZE, dtype=bool)
    mask[20:40, 10:30] = True
    edited = pipeline(
        photo(), figure(6), source_pose=figure(), image=photo(5), mask=mask, generator=seeded(), feather=0, **OPTIONS
    ).images[0]
    given = np.asarray(photo(5)) / np.float32(255)
    np.testing.assert_array_equal((edited[~mask] * 255).round(), (given[~mask] * 255).round())


def test_a_factor_below_one():
    with pytest.raises(ValueError, match="enlarges must be at least 1, got 0"):
        tiny(enlarges=0)


# -- completion -------------------------------------------------------------------------------------------------------


def surface_of(pose, picture):
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).contiguous()
    steps = (torch.from_numpy(pose.uv) * 255).round().to(torch.uint8)
    return Surface(((1.0, (Photograph(pixels, torch.from_numpy(pose.labels), steps),)),))


def test_what_is_seen_is_the_warp_and_certain():
    pose = figure()
    labels, uv = torch.from_numpy(pose.labels), torch.from_numpy(pose.uv)
    picture, confidence = complete(surface_of(pose, photo()), labels, uv)
    shifted = [np.roll(pose.labels, *by) for by in ((1, 0), (-1, 0), (1, 1), (-1, 1))]
    edge = np.logical_or.reduce([pose.labels != other for other in shifted])  # its parts lie one over another
    rim = torch.from_numpy(binary_dilation(pose.labels == 0, np.ones((3, 3))) | edge) & (labels > 0)
    assert (~rim & (labels > 0)).sum() > 100
    seen = from_uint8(torch.from_numpy(np.asarray(photo()).copy())).permute(2, 0, 1)
    assert torch.equal(picture[:, ~rim], seen[:, ~rim])
    assert (confidence[~rim] == 1).all()


def test_a_hidden_part_takes_the_colour_of_its_mirror_image_and_hands_only_that_of_hands():
    """Shown: a red left upper leg (8), a green left hand (4); asked for: both right ones, and a left foot."""
    labels, uv = torch.zeros(8, 12, dtype=torch.uint8), torch.zeros(2, 8, 12)
    uv[0] = torch.linspace(0, 1, 8)[:, None]
    uv[1] = torch.linspace(0, 1, 12)
    picture = np.full((8, 12, 3), 255, np.uint8)
    labels[:, :4], labels[:, 4:6] = 8, 4
    picture[:, :4], picture[:, 4:6] = (200, 0, 0), (0, 200, 0)
    surface = surface_of(DensePose(labels.numpy(), uv.numpy()), Image.fromarray(picture))
    asked = torch.zeros(8, 12, dtype=torch.uint8)
    asked[:, :4], asked[:, 4:6], asked[:, 8:] = 7, 3, 5
    drawn, confidence = complete(surface, asked, uv)
    red, green = (torch.tensor(c).view(3, 1, 1).float() / 127.5 - 1 for c in ((200, 0, 0), (0, 200, 0)))
    torch.testing.assert_close(drawn[:, :, :4], red.expand(3, 8, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(drawn[:, :, 4:6], green.expand(3, 8, 2), atol=1e-5, rtol=0)
    assert (confidence[:, :4] < 1).all()
    assert confidence[:, :4].mean() > confidence[:, 8:].mean()
    assert (confidence[:, 8:] > 0).all()


def test_the_packed_chart_is_what_the_script_computes():
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "scripts" / "pack_surface_chart.py"
    spec = importlib.util.spec_from_file_location("pack_surface_chart", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    from pocold.densepose.chart import surface_chart

    np.testing.assert_allclose(surface_chart(), script.surface_chart().astype(np.float32), atol=2e-3)
