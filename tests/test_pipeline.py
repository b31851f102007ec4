"""The pipeline on the toy models: what goes in, what comes out, and that a seed means one picture."""

import json
import shutil

import accelerate
import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image

from pocold import AppearanceCode, DensePose, PoseTransferPipeline
from pocold.diffusion.guidance import GUIDANCE
from pocold.diffusion.schedulers import SCHEDULERS
from pocold.imaging.images import to_tensor

HEIGHT, WIDTH = 64, 48
STEPS = {"num_inference_steps": 3}


def photo(seed=0, size=(HEIGHT, WIDTH)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def figure(shift=0, size=(HEIGHT, WIDTH)):
    """A map with a head, a torso and legs."""
    labels = np.zeros(size, dtype=np.uint8)
    h, w = size
    labels[h // 8 : h // 4, w // 3 + shift : w // 2 + shift] = 23
    labels[h // 4 : h // 2, w // 4 + shift : w // 2 + shift] = 2
    labels[h // 2 : h - 4, w // 4 + shift : w // 2 + shift] = 9
    return DensePose(labels)


def seeds(*values):
    return [torch.Generator().manual_seed(value) for value in values]


def pixels(result):
    return [np.asarray(image) for image in result.images]


def test_a_photograph_in_a_pose_gives_a_picture(toy):
    (picture,) = toy(photo(), figure(), **STEPS, generator=seeds(0)).images
    assert picture.size == (WIDTH, HEIGHT)
    assert picture.mode == "RGB"


def test_pose_and_source_both_matter(toy):
    base = pixels(toy(photo(), figure(), **STEPS, generator=seeds(0)))[0]
    for source, pose in ((photo(1), figure()), (photo(), figure(8))):
        other = pixels(toy(source, pose, **STEPS, generator=seeds(0)))[0]
        assert not np.array_equal(base, other)


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_one_seed_gives_one_picture_whatever_the_batch(toy, name):
    toy.set_scheduler(name)
    poses = [figure(shift) for shift in (0, 4, 8)]
    options = {**STEPS, "output_type": "np"}
    together = toy(photo(), poses, generator=seeds(5, 6, 7), batch_size=3, **options).images
    in_twos = toy(photo(), poses, generator=seeds(5, 6, 7), batch_size=2, **options).images
    alone = [
        toy(photo(), pose, generator=seeds(s), **options).images[0] for pose, s in zip(poses, (5, 6, 7), strict=True)
    ]
    # one pixel value is 4e-3: kernels sum in another order for another batch size
    np.testing.assert_allclose(in_twos, together, atol=1e-4)
    np.testing.assert_allclose(np.stack(alone), together, atol=1e-4)


def test_seeds_cover_the_noise_of_the_steps_too(toy):
    options = {**STEPS, "eta": 1.0, "output_type": "np"}
    poses = [figure(), figure(8)]
    together = toy(photo(), poses, generator=seeds(1, 2), **options).images
    in_ones = toy(photo(), poses, generator=seeds(1, 2), batch_size=1, **options).images
    np.testing.assert_allclose(in_ones, together, atol=1e-4)
    alone = toy(photo(), poses[1], generator=seeds(2), **options).images
    np.testing.assert_allclose(together[1:], alone, atol=1e-4)
    assert not np.allclose(alone, toy(photo(), poses[1], generator=seeds(3), **options).images, atol=1e-2)


def test_one_generator_does_not_depend_on_the_batch_size(toy):
    poses = [figure(), figure(4), figure(8)]
    options = {**STEPS, "output_type": "np"}
    one = toy(photo(), poses, generator=torch.Generator().manual_seed(0), batch_size=1, **options).images
    three = toy(photo(), poses, generator=torch.Generator().manual_seed(0), batch_size=3, **options).images
    np.testing.assert_allclose(one, three, atol=1e-4)


@pytest.mark.parametrize("guidance", sorted(GUIDANCE))
def test_every_guidance_draws(toy, guidance):
    images = toy(photo(), figure(), guidance=guidance, **STEPS, generator=seeds(0), output_type="np").images
    assert np.isfinite(images).all()


def test_guidance_without_appearance_needs_no_source(toy):
    images = toy(None, figure(), guidance="pose_only", **STEPS, generator=seeds(0), output_type="np").images
    with_source = toy(photo(), figure(), guidance="pose_only", **STEPS, generator=seeds(0), output_type="np").images
    np.testing.assert_array_equal(images, with_source)


def test_an_appearance_scale_of_zero_needs_no_source(toy):
    assert len(toy(None, figure(), appearance_guidance_scale=0.0, **STEPS, generator=seeds(0)).images) == 1


def test_numpy_numbers_are_numbers(toy):
    assert len(toy(photo(), figure(), num_inference_steps=np.int64(2), generator=seeds(0)).images) == 1


def test_decay_never_raises_a_scale(toy):
    """Scales of 1 are no guidance, also with the default floor of 3."""
    options = {**STEPS, "generator": seeds(0), "output_type": "np"}
    guided = toy(photo(), figure(), pose_guidance_scale=1.0, appearance_guidance_scale=1.0, **options).images
    options["generator"] = seeds(0)
    plain = toy(photo(), figure(), guidance="conditional", **options).images
    np.testing.assert_allclose(guided, plain, atol=1e-5)


def test_guidance_floor_is_the_published_decay(toy):
    """Above the floor the scale falls with the time step: the step at t uses max(w t / 1000, floor)."""
    options = {"num_inference_steps": 1, "output_type": "latent"}
    timestep = 1 if toy.scheduler.config.timestep_spacing == "leading" else None
    assert timestep == 1
    decayed = toy(photo(), figure(), guidance_floor=3.0, generator=seeds(0), **options).images
    constant = toy(
        photo(),
        figure(),
        guidance_floor=None,
        pose_guidance_scale=3.0,
        appearance_guidance_scale=3.0,
        generator=seeds(0),
        **options,
    ).images
    full = toy(photo(), figure(), guidance_floor=None, generator=seeds(0), **options).images
    torch.testing.assert_close(decayed, constant)
    assert not torch.allclose(decayed, full, atol=1e-3)


# -- appearance codes ------------------------------------------------------------------------------------------------


def test_a_code_draws_what_its_photograph_draws(toy, tmp_path):
    code = toy.encode_appearance(photo(), height=HEIGHT, width=WIDTH)
    code.save(tmp_path / "person.safetensors")
    loaded = AppearanceCode.load(tmp_path / "person.safetensors")
    expected = pixels(toy(photo(), figure(), **STEPS, generator=seeds(0)))[0]
    np.testing.assert_array_equal(pixels(toy(loaded, figure(), **STEPS, generator=seeds(0)))[0], expected)


def test_encoding_is_repeatable_unless_a_generator_draws(toy):
    mean, again = toy.encode_appearance(photo()), toy.encode_appearance(photo())
    assert all(torch.equal(a, b) for a, b in zip(mean.values, again.values, strict=True))
    first, same, other = (toy.encode_appearance(photo(), generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first.values[0], same.values[0])
    assert not torch.equal(first.values[0], other.values[0])
    assert not torch.equal(first.values[0], mean.values[0])


def test_several_photographs_of_one_person(toy):
    both = toy.encode_appearance([photo(0), photo(1, (80, 40))])
    expected = AppearanceCode.union([toy.encode_appearance(photo(0)), toy.encode_appearance(photo(1, (80, 40)))])
    assert len(both) == 1
    for a, b in zip(both.values, expected.values, strict=True):
        torch.testing.assert_close(a, b)
    assert len(toy([photo(0), photo(1)], figure(), **STEPS, generator=seeds(0)).images) == 1


def test_a_batch_of_people_equals_one_by_one(toy):
    batch = toy.encode_tensors(torch.cat([to_tensor(photo(0)), to_tensor(photo(1))]))
    for i in (0, 1):
        one = toy.encode_appearance(photo(i))
        for a, b in zip(batch[i : i + 1].values, one.values, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_one_person_per_pose(toy):
    people = AppearanceCode.stack([toy.encode_appearance(photo(0)), toy.encode_appearance(photo(1))])
    poses = [figure(), figure(8)]
    options = {**STEPS, "output_type": "np"}
    together = toy(people, poses, generator=seeds(1, 2), batch_size=1, **options).images
    for i in (0, 1):
        alone = toy(photo(i), poses[i], generator=seeds(i + 1), **options).images
        np.testing.assert_allclose(together[i : i + 1], alone, atol=1e-4)
    assert np.allclose(together, toy(people, poses, generator=seeds(1, 2), batch_size=2, **options).images, atol=1e-4)


def test_only_tokens_of_the_parts_are_extracted(toy):
    """The same as laying just those tokens before the attention, at every level."""
    pose = figure()
    code = toy.encode_appearance(photo(), source_pose=pose, parts=["head", "legs"])
    wanted = np.isin(pose.labels, [23, 24, *range(7, 15)])
    with torch.no_grad():
        latents = toy.vae.encode(to_tensor(photo())).latent_dist.mean * toy.vae.config.scaling_factor
        features = toy.appearance_encoder(latents)
        for i, (level, attention) in enumerate(toy.unet.attentions()):
            feature = features[level]
            h, w = feature.shape[-2:]
            kept = wanted[np.arange(h) * HEIGHT // h][:, np.arange(w) * WIDTH // w]
            if kept.any():
                tokens = feature[..., torch.from_numpy(kept)][..., None]
                torch.testing.assert_close(code.values[i], attention.extract(tokens), atol=1e-5, rtol=1e-5)
            else:
                assert (code.mass[i] == -torch.inf).all()


def test_parts_unite_to_the_whole_person(toy):
    whole = toy.encode_appearance(photo(), source_pose=figure(), parts=["background", "body"])
    body = toy.encode_appearance(photo(), source_pose=figure(), parts="body")
    rest = toy.encode_appearance(photo(), source_pose=figure(), parts=0)
    expected = toy.encode_appearance(photo())
    for code in (whole, AppearanceCode.union([body, rest])):
        for a, b in zip(code.values, expected.values, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": "head"}, "parts need one source_pose for each of the 1 photographs"),
        ({"parts": "hat", "source_pose": figure()}, "unknown body part 'hat'"),
        ({"parts": "hands", "source_pose": figure()}, "the source's map shows nothing of 'hands'"),
        ({"parts": "head", "source_pose": figure(size=(32, 32))}, r"for a map of size \(64, 48\).*got \(32, 32\)"),
        ({"height": 30}, "must be multiples of 8, got 30x48; pass height=32, width=48"),
    ],
)
def test_encoding_errors(toy, options, message):
    with pytest.raises(ValueError, match=message):
        toy.encode_appearance(photo(), **options)


def test_a_code_of_another_model_is_refused(toy):
    other = PoseTransferPipeline.from_preset("toy", seed=1).encode_appearance(photo())
    with pytest.raises(ValueError, match="made by a model with other weights"):
        toy(other, figure(), **STEPS)


# -- editing ---------------------------------------------------------------------------------------------------------


def box_mask():
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[20:44, 10:31] = True
    return mask


@pytest.mark.parametrize("feather", [0, 3, 8])
def test_editing_keeps_the_rest_to_the_bit(toy, feather):
    image, mask = photo(3), box_mask()
    result = pixels(toy(photo(), figure(), image=image, mask=mask, feather=feather, **STEPS, generator=seeds(0)))[0]
    np.testing.assert_array_equal(result[~mask], np.asarray(image)[~mask])
    assert (result[mask] != np.asarray(image)[mask]).mean() > 0.5


def test_editing_keeps_latents_to_the_bit(toy):
    image, mask = photo(3), box_mask()
    result = toy(
        photo(), figure(), image=image, mask=mask, **STEPS, generator=seeds(0), output_type="latent", feather=None
    ).images
    with torch.no_grad():
        latents = toy.vae.encode(to_tensor(image)).latent_dist.mean * toy.vae.config.scaling_factor
    coarse = mask.reshape(8, 8, 6, 8).any((1, 3))  # a latent pixel is generated if any of its pixels is
    kept = torch.from_numpy(~coarse).expand_as(result)
    assert torch.equal(result[kept], latents[kept])
    assert not torch.isclose(result[~kept], latents[~kept]).any()


def test_kept_latents_follow_the_starting_noise_down(toy):
    """Between the steps they are the picture at the level just reached, noised with what the pictures start from."""
    noise = torch.randn(1, 4, 8, 6, generator=torch.Generator().manual_seed(4))
    seen = []
    toy(
        photo(),
        figure(),
        image=photo(3),
        mask=box_mask(),
        latents=noise,
        **STEPS,
        callback_on_step_end=lambda pipeline, step, timestep, tensors: seen.append(tensors["latents"]),
    )
    with torch.no_grad():
        clean = toy.vae.encode(to_tensor(photo(3))).latent_dist.mean * toy.vae.config.scaling_factor
    alpha = toy.scheduler.alphas_cumprod[toy.scheduler_for(STEPS["num_inference_steps"]).timesteps[1]]
    expected = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    torch.testing.assert_close(seen[0][..., 0, :], expected[..., 0, :])  # the top row is kept


def test_editing_without_pasting_back(toy):
    options = {"image": photo(3), "mask": box_mask(), **STEPS}
    plain = pixels(toy(photo(), figure(), feather=None, generator=seeds(0), **options))[0]
    pasted = pixels(toy(photo(), figure(), feather=0, generator=seeds(0), **options))[0]
    np.testing.assert_array_equal(plain[box_mask()], pasted[box_mask()])
    assert not np.array_equal(plain, pasted)


def test_editing_several_poses_in_batches(toy):
    options = {"image": photo(3), "mask": box_mask(), **STEPS}
    poses = [figure(), figure(4), figure(8)]
    results = pixels(toy(photo(), poses, batch_size=2, generator=seeds(0, 1, 2), **options))
    for result in results:
        np.testing.assert_array_equal(result[~box_mask()], np.asarray(photo(3))[~box_mask()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": photo()}, "editing needs both image and mask"),
        ({"mask": box_mask()}, "editing needs both image and mask"),
        ({"image": photo(), "mask": box_mask()[:32]}, "must have the image's size 64x48 .* got 32x48"),
        ({"image": photo(), "mask": box_mask() * np.uint8(77)}, "expected a binary mask .* got the values 0, 77"),
        ({"image": photo(), "mask": np.zeros((64, 48))}, "the mask keeps everything"),
        ({"image": photo(), "mask": box_mask(), "feather": -1}, "feather must be a whole number of at least 0"),
        ({"image": photo(), "mask": box_mask(), "feather": 1.5}, "feather must be a whole number of at least 0"),
    ],
)
def test_editing_errors(toy, options, message):
    with pytest.raises(ValueError, match=message):
        toy(photo(), figure(), **options, **STEPS)


# -- outputs, callbacks, precision -----------------------------------------------------------------------------------


def test_output_types_agree(toy):
    results = {
        kind: toy(photo(), [figure(), figure(4)], **STEPS, generator=seeds(0, 1), output_type=kind).images
        for kind in ("pil", "np", "pt", "latent")
    }
    assert results["np"].shape == (2, HEIGHT, WIDTH, 3)
    assert results["pt"].shape == (2, 3, HEIGHT, WIDTH)
    assert results["latent"].shape == (2, 4, 8, 6)
    np.testing.assert_allclose(results["pt"].permute(0, 2, 3, 1).numpy(), results["np"], atol=1e-6)
    np.testing.assert_array_equal(np.stack(results["pil"]), np.round(results["np"] * 255).astype(np.uint8))


def test_a_result_is_a_valid_source(toy):
    for kind in ("pil", "np", "pt"):
        picture = toy(photo(), figure(), **STEPS, generator=seeds(0), output_type=kind).images[0]
        assert len(toy.encode_appearance(picture)) == 1


def test_return_dict_false_gives_a_tuple(toy):
    result = toy(photo(), figure(), **STEPS, generator=seeds(0), return_dict=False)
    assert isinstance(result, tuple)
    assert len(result[0]) == 1


def test_callback_sees_every_step_and_can_change_latents(toy):
    seen = []

    def callback(pipeline, step, timestep, tensors):
        assert pipeline is toy
        seen.append((step, timestep, tuple(tensors["latents"].shape)))
        return {"latents": torch.zeros_like(tensors["latents"])}

    result = toy(
        photo(), figure(), **STEPS, generator=seeds(0), output_type="latent", callback_on_step_end=callback
    ).images
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert [t for _, t, _ in seen] == toy.scheduler_for(3).timesteps.tolist()
    assert (result == 0).all()


def test_interrupting_keeps_what_the_callback_returned(toy):
    def callback(pipeline, step, timestep, tensors):
        pipeline._interrupt = True
        return {"latents": torch.full_like(tensors["latents"], 3.0)}

    options = {**STEPS, "generator": seeds(0), "output_type": "latent"}
    assert (toy(photo(), figure(), callback_on_step_end=callback, **options).images == 3).all()


def test_offloaded_weights_give_the_same_picture(tmp_path):
    """Sequential offloading keeps every weight elsewhere until its module runs."""
    plain, offloaded = (PoseTransferPipeline.from_preset("toy", seed=0) for _ in range(2))
    for model in (offloaded.vae, offloaded.appearance_encoder, offloaded.unet):
        accelerate.cpu_offload(model, torch.device("cpu"))
    assert next(offloaded.unet.parameters()).device.type == "meta"
    code = plain.encode_appearance(photo())
    assert torch.equal(offloaded.fingerprint(), plain.fingerprint())
    torch.testing.assert_close(offloaded.encode_appearance(photo()).values, code.values)
    unet_input = torch.randn(1, 4, 8, 6), torch.tensor(5), torch.zeros(1, 25, 8, 6)
    with torch.no_grad():
        expected = plain.unet(*unet_input, code).sample
        torch.testing.assert_close(offloaded.unet(*unet_input, code).sample, expected)


def test_interrupt_returns_the_running_batch(toy):
    def callback(pipeline, step, timestep, tensors):
        pipeline._interrupt = step == 1
        return {}

    images = toy(
        photo(),
        [figure()] * 4,
        num_inference_steps=5,
        batch_size=2,
        generator=seeds(0, 1, 2, 3),
        callback_on_step_end=callback,
    ).images
    assert len(images) == 2
    assert toy.interrupt
    assert len(toy(photo(), figure(), **STEPS, generator=seeds(0)).images) == 1  # the next call starts afresh
    assert not toy.interrupt


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(toy, tmp_path, dtype):
    toy.save_pretrained(tmp_path / "toy")
    half = PoseTransferPipeline.from_pretrained(tmp_path / "toy", dtype=dtype)
    half.set_progress_bar_config(disable=True)
    assert {half.unet.dtype, half.vae.dtype, half.appearance_encoder.dtype} == {dtype}
    expected = toy(photo(), figure(), **STEPS, generator=seeds(0), output_type="np").images
    actual = half(photo(), figure(), **STEPS, generator=seeds(0), output_type="np").images
    assert np.abs(actual - expected).mean() < 0.02
    # a code made in one precision serves the other
    assert np.isfinite(half(toy.encode_appearance(photo()), figure(), **STEPS, output_type="np").images).all()


def test_tiling_and_slicing_of_the_autoencoder(toy):
    options = {**STEPS, "output_type": "np"}
    plain = toy(photo(), [figure(), figure(4)], generator=seeds(0, 1), **options).images
    try:
        toy.vae.enable_slicing()
        sliced = toy(photo(), [figure(), figure(4)], generator=seeds(0, 1), **options).images
        toy.vae.enable_tiling()
        untouched = toy(photo(), [figure(), figure(4)], generator=seeds(0, 1), **options).images
        toy.vae.tile_latent_min_size, toy.vae.tile_sample_min_size = 4, 32
        tiled = toy(photo(), [figure(), figure(4)], generator=seeds(0, 1), **options).images
    finally:
        toy.vae.disable_slicing()
        toy.vae.disable_tiling()
        toy.vae.tile_latent_min_size, toy.vae.tile_sample_min_size = 64, 512
    np.testing.assert_allclose(sliced, plain, atol=1e-5)
    np.testing.assert_allclose(untouched, plain, atol=1e-5)  # smaller than a tile
    assert tiled.shape == plain.shape
    assert not np.array_equal(tiled, plain)  # tiles were really used
    # untrained weights render noise, whose statistics the tiles do not share; still the same picture
    assert np.abs(tiled - plain).mean() < 0.5 * np.abs(plain[::-1] - plain).mean() + 0.05


# -- schedulers ------------------------------------------------------------------------------------------------------


def test_swapping_schedulers_and_back_changes_nothing(toy):
    before = pixels(toy(photo(), figure(), **STEPS, generator=seeds(0)))[0]
    for name in ("dpm++-karras", "unipc", "pndm", "ddim"):
        toy.set_scheduler(name)
    np.testing.assert_array_equal(pixels(toy(photo(), figure(), **STEPS, generator=seeds(0)))[0], before)


def test_any_diffusers_scheduler_works(toy):
    toy.register_modules(scheduler=EulerDiscreteScheduler.from_config(toy.scheduler.config))
    image, mask = photo(3), box_mask()
    result = pixels(toy(photo(), figure(), image=image, mask=mask, **STEPS, generator=seeds(0)))[0]
    np.testing.assert_array_equal(result[~mask], np.asarray(image)[~mask])


# -- inputs that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps must be a whole number from 1 to 1000, got 0"),
        ({"num_inference_steps": -3}, "got -3"),
        ({"num_inference_steps": 2.5}, "got 2.5"),
        ({"guidance": "cat_ref"}, "unknown guidance 'cat_ref': expected one of conditional"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"output_type": "jpg"}, "unknown output_type 'jpg': expected one of pil, np, pt, latent"),
        ({"eta": 2.0}, r"eta must lie in \[0, 1\]"),
        ({"pose_guidance_scale": float("nan")}, "pose_guidance_scale must be a finite number"),
        ({"appearance_guidance_scale": float("inf")}, "appearance_guidance_scale must be a finite number"),
        ({"guidance_floor": float("nan")}, "guidance_floor must be a finite number"),
        ({"generator": seeds(1, 2)}, r"expected one generator, or one per picture \(1\), got 2"),
        ({"latents": torch.zeros(1, 4, 3, 3)}, r"latents must be a tensor of shape \(1, 4, 8, 6\), got \(1, 4, 3, 3\)"),
        ({"latents": np.zeros((1, 4, 8, 6))}, r"latents must be a tensor of shape \(1, 4, 8, 6\), got ndarray"),
        ({"num_inference_steps": True}, "num_inference_steps must be a whole number from 1 to 1000, got True"),
        ({"num_inference_steps": 1000}, "1000 are too many for DDIMScheduler, .* take at most 999"),
        ({"height": 64.0}, "height must be a whole number of at least 1, got 64.0"),
        ({"width": "48"}, "width must be a whole number of at least 1, got '48'"),
        ({"pose_guidance_scale": "5"}, "pose_guidance_scale must be a finite number, got '5'"),
        ({"generator": tuple(seeds(1))}, r"generator must be a torch.Generator or a list of them, got tuple"),
        ({"latents": torch.full((1, 4, 8, 6), torch.nan)}, "latents hold NaN"),
        ({"height": 60}, "must be multiples of 8, got 60x48; pass height=64, width=48"),
        ({"frame": "zoom"}, "unknown frame mode 'zoom': expected one of pad, crop, stretch"),
        ({"pose": None}, "pose: expected a DensePose map, or several, got none"),
        ({"pose": []}, "pose: expected a DensePose map, or several, got none"),
        ({"pose": photo()}, "this looks like a colour picture"),
        ({"pose": np.full((64, 48), 25)}, r"labels must lie in 0..24, got values from 25 to 25"),
        ({"pose": [figure(), np.full((64, 48), -1)]}, "pose 1: DensePose labels must lie in 0..24"),
        ({"pose": "nowhere.png"}, "no such DensePose file: nowhere.png"),
        ({"source": None}, "source: expected a photograph or an appearance code"),
        ({"source": []}, "source: expected at least one photograph"),
        ({"source": "nowhere.png"}, "source: no such file: nowhere.png"),
        ({"source": np.full((64, 48, 3), np.nan)}, "source: the array holds NaN"),
        ({"source": photo(size=(1, 1))}, "source: expected at least 8 pixels a side, got 1x1"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "unknown callback_on_step_end_tensor_inputs 'noise'"),
    ],
)
def test_bad_inputs_are_named(toy, options, message):
    arguments = {"source": photo(), "pose": figure(), **STEPS, **options}
    with pytest.raises(ValueError, match=message):
        toy(**arguments)


def test_codes_of_a_wrong_number_of_people(toy):
    code = toy.encode_appearance(photo())
    with pytest.raises(ValueError, match=r"of 1 person or of one per pose \(3\), got 2"):
        toy(AppearanceCode.stack([code, code]), [figure()] * 3, **STEPS)


def test_several_codes_in_a_list_are_told_to_stack(toy):
    code = toy.encode_appearance(photo())
    with pytest.raises(ValueError, match=r"given as one: AppearanceCode.stack"):
        toy([code, code], [figure()] * 2, **STEPS)


def test_unknown_scheduler(toy):
    with pytest.raises(ValueError, match="unknown scheduler 'heun': expected one of ddim, pndm, dpm"):
        toy.set_scheduler("heun")


@pytest.mark.parametrize("frame", ["pad", "crop", "stretch"])
def test_photo_and_pose_of_other_sizes_are_framed_to_the_result(toy, frame):
    result = toy(photo(size=(90, 120)), figure(size=(96, 128)), height=64, width=48, frame=frame, **STEPS).images[0]
    assert result.size == (48, 64)


def test_the_models_own_size_is_the_default(toy, tmp_path):
    toy.save_pretrained(tmp_path / "toy")
    config = tmp_path / "toy" / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": [8, 4]}))
    sized = PoseTransferPipeline.from_pretrained(tmp_path / "toy")
    assert sized(photo(), figure(), **STEPS).images[0].size == (32, 64)


# -- folders ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(toy, tmp_path):
    toy.save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


def test_a_model_draws_as_it_says_unless_told_otherwise(toy, tmp_path):
    """The published settings are only the default of a model that says nothing."""
    asked, options = [], {"generator": seeds(0), "callback_on_step_end": lambda *step: asked.append(step[1])}
    toy(photo(), figure(), **options, guidance="pose_only")
    assert len(asked) == 50
    own = {"num_inference_steps": 2, "pose_guidance_scale": 1.5, "appearance_guidance_scale": 2.5}
    published = {"num_inference_steps": 2, "pose_guidance_scale": 5.0, "appearance_guidance_scale": 5.0}
    told = pixels(toy(photo(), figure(), **own, generator=seeds(0)))
    as_published = pixels(toy(photo(), figure(), **published, generator=seeds(0)))
    try:
        toy.set_sampling(**own)
        toy.save_pretrained(tmp_path / "model")
        (drawn,) = pixels(toy(photo(), figure(), generator=seeds(0)))
        loaded = PoseTransferPipeline.from_pretrained(tmp_path / "model")
        (again,) = pixels(loaded(photo(), figure(), generator=seeds(0)))
        assert np.array_equal(drawn, told[0])
        assert np.array_equal(again, told[0])
        (overridden,) = pixels(loaded(photo(), figure(), **published, generator=seeds(0)))
        assert np.array_equal(overridden, as_published[0])
        assert not np.array_equal(overridden, drawn)
    finally:
        toy.set_sampling()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps must be a whole number from 1 to 1000, got 0"),
        ({"num_inference_steps": 2.5}, "num_inference_steps must be a whole number"),
        ({"pose_guidance_scale": "much"}, "pose_guidance_scale must be a finite number, got 'much'"),
        ({"steps": 8}, "sampling: unknown settings steps"),
    ],
)
def test_settings_that_cannot_be_are_refused(toy, folder, values, message):
    before = toy.sampling
    with pytest.raises(ValueError, match=message):
        toy.set_sampling(**values)
    assert toy.sampling == before
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "sampling": values}))
    with pytest.raises(ValueError, match=message):
        PoseTransferPipeline.from_pretrained(folder)


def test_sampling_settings_are_an_object(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "sampling": "fast"}))
    with pytest.raises(ValueError, match="expected sampling to be an object, got 'fast'"):
        PoseTransferPipeline.from_pretrained(folder)


def test_saved_and_loaded_draws_the_same(toy, folder):
    expected = pixels(toy(photo(), figure(), **STEPS, generator=seeds(0)))[0]
    loaded = PoseTransferPipeline.from_pretrained(folder)
    np.testing.assert_array_equal(pixels(loaded(photo(), figure(), **STEPS, generator=seeds(0)))[0], expected)
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]  # no temporary folder left


def test_module_paths_are_a_file_format(folder):
    """Moving a saved class breaks every model folder in the world: a change here needs a converter."""
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "PoseTransferPipeline"
    assert index["unet"] == ["pocold.models.unet", "UNet"]
    assert index["appearance_encoder"] == ["pocold.models.appearance_encoder", "AppearanceEncoder"]
    assert index["vae"] == ["diffusers", "AutoencoderKL"]


def test_other_scheduler_survives_the_folder(toy, tmp_path):
    toy.set_scheduler("dpm++-karras")
    toy.save_pretrained(tmp_path / "karras")
    loaded = PoseTransferPipeline.from_pretrained(tmp_path / "karras")
    assert loaded.scheduler.config.use_karras_sigmas


def test_components_can_be_given(toy, folder):
    loaded = PoseTransferPipeline.from_pretrained(folder, vae=toy.vae)
    assert loaded.vae is toy.vae
    with pytest.raises(ValueError, match="unknown components: tokenizer"):
        PoseTransferPipeline.from_pretrained(folder, tokenizer=None)


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such model folder"),
        (lambda f: (f / "model_index.json").unlink(), "no such file: .*model_index.json"),
        (lambda f: (f / "model_index.json").write_text("{"), "cannot be read as JSON"),
        (
            lambda f: edit_json(f / "model_index.json", _class_name="DDIMPipeline"),
            "holds a DDIMPipeline, expected a Pose",
        ),
        (lambda f: shutil.rmtree(f / "unet"), "no such file: .*unet/config.json"),
        (lambda f: (f / "unet" / "diffusion_pytorch_model.safetensors").unlink(), "unet holds no weights"),
        (lambda f: truncate(f / "unet" / "diffusion_pytorch_model.safetensors"), "truncated or not a plain state dict"),
        (
            lambda f: edit_json(f / "unet" / "config.json", _class_name="UNet2DModel"),
            "holds a UNet2DModel, expected a UNet",
        ),
        (lambda f: edit_json(f / "unet" / "config.json", dropout=0.1), "unknown keys: dropout"),
        (lambda f: edit_json(f / "unet" / "config.json", num_filters=4), "of another shape: .*extraction_filters"),
        (lambda f: shutil.rmtree(f / "scheduler"), "no such file: .*scheduler_config.json"),
        (lambda f: edit_json(f / "model_index.json", scheduler=["os", "system"]), "expected a diffusers scheduler"),
    ],
)
def test_damaged_folders_are_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(ValueError, match=message):
        PoseTransferPipeline.from_pretrained(folder)


def test_saving_does_not_replace_other_folders(toy, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("keep me")
    with pytest.raises(ValueError, match="exists and is not a pipeline folder"):
        toy.save_pretrained(tmp_path / "notes")
    assert (tmp_path / "notes" / "diary.txt").read_text() == "keep me"


def test_saving_over_a_pipeline_replaces_it(folder):
    other = PoseTransferPipeline.from_preset("toy", seed=7)
    other.save_pretrained(folder)
    assert torch.equal(PoseTransferPipeline.from_pretrained(folder).unet.conv_in.weight, other.unet.conv_in.weight)


def test_components_must_fit_together(toy):
    small = PoseTransferPipeline.from_preset("toy")
    config = {**small.appearance_encoder.config, "block_out_channels": (8, 16, 32, 32)}
    encoder = type(small.appearance_encoder).from_config(config)
    with pytest.raises(ValueError, match=r"gives \(8, 16, 32, 32\) channels, the UNet expects \(16, 16, 32, 32\)"):
        PoseTransferPipeline(toy.vae, encoder, toy.unet, toy.scheduler)
