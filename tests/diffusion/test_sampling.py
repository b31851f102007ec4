"""The sampling loop on real networks at toy size."""

import math

import pytest
import torch
from diffusers import DDPMScheduler, DEISMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler

from pocold.appearance import AppearanceCode
from pocold.densepose.encoding import one_hot
from pocold.diffusion.guidance import BRANCHES, GUIDANCE, WITH_APPEARANCE, WITH_POSE, guidance_formula, guide
from pocold.diffusion.sampling import KeptRegion, denoise, predict_branches
from pocold.diffusion.schedulers import SCHEDULERS, make_scheduler
from pocold.models.presets import build_models
from pocold.models.unet import UNetOutput

SIZE = (8, 6)


@pytest.fixture(scope="module")
def models():
    return build_models("toy")


def inputs(models, pictures=2, people=1):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(pictures, 4, *SIZE, generator=generator)
    pose = one_hot(torch.randint(25, (pictures, *SIZE), generator=generator), SIZE)
    with torch.no_grad():
        features = models["appearance_encoder"](torch.randn(people, 4, *SIZE, generator=generator))
        code = models["unet"].extract_appearance(features, fingerprint=torch.zeros(1))
    return noise, pose, code


@pytest.mark.parametrize("people", [1, 2])
@torch.no_grad()
def test_branches_as_one_batch_equal_one_by_one(models, people):
    unet = models["unet"]
    noise, pose, code = inputs(models, people=people)
    timestep = torch.tensor(321)
    together = predict_branches(unet, noise, timestep, pose, code, BRANCHES)
    per_row = code if people == 2 else AppearanceCode.stack([code] * 2)
    for branch in BRANCHES:
        expected = unet(
            noise,
            timestep,
            pose if branch in WITH_POSE else torch.zeros_like(pose),
            per_row if branch in WITH_APPEARANCE else None,
        ).sample
        torch.testing.assert_close(together[branch], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_only_needed_branches_go_through_the_unet(models):
    rows = []
    hook = models["unet"].register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    noise, pose, code = inputs(models)
    for scales in ((4.0, 6.0), (5.0, 5.0), (1.0, 1.0)):
        scheduler = make_scheduler("ddim")
        scheduler.set_timesteps(1)
        weights = guidance_formula("pose_first")(*scales)
        denoise(models["unet"], scheduler, noise, pose, code, lambda t, weights=weights: weights)
    hook.remove()
    assert rows == [6, 4, 2]  # 3, 2 and 1 branches of 2 pictures


@pytest.mark.parametrize("name", sorted(GUIDANCE))
@torch.no_grad()
def test_one_step_by_hand(models, name):
    """Predict each branch, guide, and step with the scheduler: the loop does nothing else."""
    unet = models["unet"]
    noise, pose, code = inputs(models)
    weights = guidance_formula(name)(4.0, 6.0)
    scheduler = make_scheduler("ddim")
    scheduler.set_timesteps(1)
    timestep = scheduler.timesteps[0]
    prediction = guide(predict_branches(unet, noise, timestep, pose, code, weights.needed), weights)
    expected = make_scheduler("ddim")
    expected.set_timesteps(1)
    expected = expected.step(prediction, timestep, noise).prev_sample
    torch.testing.assert_close(denoise(unet, scheduler, noise, pose, code, lambda t: weights), expected)


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
@torch.no_grad()
def test_kept_latents_are_exact(models, name):
    """After each step the kept region is the picture's latent at the level just reached, at the end the latent itself,
    to the bit; the rest is generated."""
    noise, pose, code = inputs(models)
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(5)
    generate = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    generate[..., 2:6, 1:4] = True
    clean = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(9))
    seen = []

    def on_step(step, timestep, latents):
        seen.append(latents)
        return latents, True

    weights = guidance_formula("joint")(2.0, 2.0)
    result = denoise(
        models["unet"],
        scheduler,
        noise,
        pose,
        code,
        lambda t: weights,
        kept=KeptRegion(clean, noise, generate),
        on_step=on_step,
    )
    kept = ~generate.expand_as(result)
    assert torch.equal(result[kept], clean.expand_as(result)[kept])
    assert not torch.allclose(result[~kept], clean.expand_as(result)[~kept], atol=1e-2)
    alphas = make_scheduler("ddim").alphas_cumprod
    for latents, reached in zip(seen, scheduler.timesteps[1:], strict=False):
        alpha = alphas[int(reached)]
        expected = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        # DPM-Solver's noise levels are computed from interpolated sigmas
        torch.testing.assert_close(latents[kept], expected[kept], atol=2e-2 if "karras" in name else 1e-4, rtol=1e-4)


class Oracle:
    """A denoiser that knows the clean latents, and so the noise in whatever it is given."""

    dtype = torch.float32

    def __init__(self, clean):
        self.clean, self.alphas = clean, make_scheduler("ddim").alphas_cumprod.double()
        self.noise_levels = []

    def __call__(self, latents, timestep, pose, code=None, appearance_rows=None):
        t = float(timestep)
        low, high = self.alphas[math.floor(t)], self.alphas[min(math.ceil(t), 999)]
        alpha = (low + (high - low) * (t - math.floor(t))).float()
        noise = (latents - alpha.sqrt() * self.clean) / (1 - alpha).sqrt()
        self.noise_levels.append(noise.std().item())
        return UNetOutput(noise)


@pytest.mark.parametrize(
    "scheduler",
    [
        *(make_scheduler(name) for name in sorted(SCHEDULERS)),
        *(
            scheduler.from_config(make_scheduler("ddim").config)
            for scheduler in (DDPMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, DEISMultistepScheduler)
        ),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_exact_predictions_lead_to_the_clean_latents(scheduler):
    """With any scheduler: starting noise, input scaling, time steps and stepping all have to be right for that."""
    clean = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(2))
    scheduler.set_timesteps(20)
    pose = torch.zeros(1, 25, *SIZE)
    oracle = Oracle(clean)
    result = denoise(oracle, scheduler, noise, pose, None, lambda t: GUIDANCE["conditional"](1, 1))
    # what the network sees holds noise of unit variance at every step: the input is scaled for its time step
    assert oracle.noise_levels == pytest.approx([1.0] * len(oracle.noise_levels), abs=0.2)
    # the published schedules end at the first noise level, 3 % of noise, not at none
    torch.testing.assert_close(result, clean, atol=0.15, rtol=0)


@torch.no_grad()
def test_stopping_in_a_step(models):
    noise, pose, code = inputs(models)
    scheduler = make_scheduler("ddim")
    scheduler.set_timesteps(5)
    steps = []

    def on_step(step, timestep, latents):
        steps.append(step)
        return latents, step < 2

    denoise(models["unet"], scheduler, noise, pose, code, lambda t: GUIDANCE["joint"](2, 2), on_step=on_step)
    assert steps == [0, 1, 2]


@torch.no_grad()
def test_step_callback_can_change_latents(models):
    noise, pose, code = inputs(models)
    scheduler = make_scheduler("ddim")
    scheduler.set_timesteps(3)
    result = denoise(
        models["unet"],
        scheduler,
        noise,
        pose,
        code,
        lambda t: GUIDANCE["joint"](2, 2),
        on_step=lambda step, timestep, latents: (torch.full_like(latents, 7.0), True),
    )
    assert (result == 7).all()


@torch.no_grad()
def test_half_precision_network_single_precision_latents(models):
    unet = build_models("toy")["unet"]
    torch.nn.Module.to(unet, torch.bfloat16)
    noise, pose, code = inputs(models)
    results = []
    for network in (models["unet"], unet):
        scheduler = make_scheduler("ddim")
        scheduler.set_timesteps(3)
        cast = pose.to(network.dtype), code.to(dtype=network.dtype)
        results.append(denoise(network, scheduler, noise, *cast, lambda t: GUIDANCE["joint"](2, 2)))
    assert results[1].dtype == torch.float32
    torch.testing.assert_close(results[1], results[0], atol=0.2, rtol=0.05)
