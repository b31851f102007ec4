"""PIDM's diffusion: the variational bound against independent formulas, dropout, guidance, the sampling loop."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pocold.diffusion.losses import ConditionDropout
from pocold.diffusion.pixels import byte_log_likelihood, draw_pixels, pixel_loss, pixel_scheduler, vlb_terms
from pocold.models.baselines.pidm import PIDM

SIZE = (16, 12)
SCHEDULER = pixel_scheduler()


def pictures(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clean = (torch.randint(0, 256, (count, 3, *SIZE), generator=generator) / 127.5 - 1).float()
    return clean, torch.randn(count, 3, *SIZE, generator=generator), generator


def test_a_term_is_the_divergence_from_the_true_posterior():
    clean, noise, generator = pictures()
    timesteps = torch.tensor([1, 300, 999])
    noisy = SCHEDULER.add_noise(clean, noise, timesteps)
    predicted = noise + 0.1 * torch.randn(noise.shape, generator=generator)
    variance = torch.rand(noise.shape, generator=generator) * 2 - 1
    found = vlb_terms(clean, noisy, predicted, variance, timesteps, SCHEDULER)
    beta = SCHEDULER.betas.double()
    cumulative = (1 - beta).cumprod(0)
    for i, t in enumerate(timesteps.tolist()):
        before = cumulative[t - 1]
        smallest = beta[t] * (1 - before) / (1 - cumulative[t])

        def posterior(x0, i=i, t=t, before=before, smallest=smallest):
            mean = before.sqrt() * beta[t] / (1 - cumulative[t]) * x0.double()
            mean = mean + (1 - beta[t]).sqrt() * (1 - before) / (1 - cumulative[t]) * noisy[i].double()
            return Normal(mean, smallest.sqrt())

        guess = (noisy[i].double() - (1 - cumulative[t]).sqrt() * predicted[i].double()) / cumulative[t].sqrt()
        share = (variance[i].double() + 1) / 2
        own = (share * beta[t].log() + (1 - share) * smallest.log()).exp()
        expected = kl_divergence(posterior(clean[i]), Normal(posterior(guess).mean, own.sqrt())).mean() / math.log(2)
        assert float(found[i]) == pytest.approx(float(expected), rel=2e-3)


def test_at_the_last_step_it_is_the_likelihood_of_the_bytes():
    clean, noise, _ = pictures()
    timesteps = torch.zeros(3, dtype=torch.int64)
    noisy = SCHEDULER.add_noise(clean, noise, timesteps)
    variance = torch.ones_like(clean)
    found = vlb_terms(clean, noisy, noise, variance, timesteps, SCHEDULER)
    std = SCHEDULER.betas[0].sqrt()  # the guess is the truth itself, and so is the posterior's mean
    expected = -byte_log_likelihood(clean, clean, std.log().expand_as(clean)).mean((1, 2, 3)) / math.log(2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_likelihoods_of_all_bytes_sum_to_one():
    values = torch.arange(256) / 127.5 - 1
    for mean, std in ((0.1, 0.2), (-1.3, 0.5), (0.99, 0.02)):
        total = byte_log_likelihood(values, torch.tensor(mean), torch.tensor(std).log()).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-4)


def test_the_bound_teaches_the_variance_alone():
    clean, noise, _ = pictures()
    predicted, variance = noise.clone().requires_grad_(), torch.zeros_like(noise).requires_grad_()
    arguments = {"source": clean, "target": clean, "pose": torch.zeros(3, 20, *SIZE), "noise": noise}
    loss = pixel_loss(
        lambda *_: (predicted, variance), lambda source: source, SCHEDULER,
        **arguments, timesteps=torch.tensor([5, 50, 500]),
    )  # fmt: skip
    assert loss.simple.item() == 0
    assert loss.total.item() == pytest.approx(1e-3 * loss.vlb.item())
    loss.total.backward()
    assert (predicted.grad == 0).all()
    assert variance.grad.abs().max() > 0


def test_dropped_conditions_are_zeros():
    seen = {}

    def model(noisy, timesteps, pose, textures):
        seen.update(pose=pose, source=textures)
        return noisy, noisy

    source, noise, _ = pictures(count=64)
    pose = torch.ones(64, 20, *SIZE)
    pixel_loss(
        model, lambda one: one, SCHEDULER, source=source, target=source, pose=pose, noise=noise,
        dropout=ConditionDropout(0.3, 0.2, 0.1), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    kinds = [(bool(p.any()), bool(s.any())) for p, s in zip(seen["pose"], seen["source"], strict=True)]
    assert set(kinds) == {(True, True), (False, True), (True, False), (False, False)}
    assert kinds.count((True, True)) > 16
    for i, (kept_pose, kept_source) in enumerate(kinds):
        assert not kept_pose or torch.equal(seen["pose"][i], pose[i])
        assert not kept_source or torch.equal(seen["source"][i], source[i])


def test_shapes_of_source_and_target_must_agree():
    clean, *_ = pictures()
    with pytest.raises(ValueError, match="source and target need one shape, got"):
        pixel_loss(None, None, SCHEDULER, source=clean[..., 1:], target=clean, pose=clean)


def drawn(model, **options):
    source, noise, generator = pictures(count=2)
    pose = torch.rand(2, 20, *SIZE, generator=generator)
    return draw_pixels(model, source, pose, noise, **{"steps": 3, **options}), source, pose, noise


def test_one_step_is_the_guided_prediction_of_three_passes():
    model = PIDM.from_preset("toy")
    result, source, pose, noise = drawn(model, steps=1, pose_scale=1.5, appearance_scale=0.7)
    nothing, nobody = torch.zeros_like(pose), torch.zeros_like(source)
    scheduler = pixel_scheduler()
    scheduler.set_timesteps(1)
    t = scheduler.timesteps[0]
    with torch.no_grad():
        null, posed, styled = (
            model(noise, t, p, model.encode(s))[0] for p, s in ((nothing, nobody), (pose, nobody), (nothing, source))
        )
    guided = null + 1.5 * (posed - null) + 0.7 * (styled - null)
    expected = scheduler.step(guided, t, noise).prev_sample.clamp(-1, 1)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_what_the_model_states_is_the_default():
    model = PIDM.from_preset("toy")
    model.register_to_config(num_inference_steps=2, pose_guidance_scale=3.0, appearance_guidance_scale=1.0)
    asked = drawn(model, steps=2, pose_scale=3.0, appearance_scale=1.0)[0]
    assert torch.equal(drawn(model, steps=None)[0], asked)
    assert not torch.equal(drawn(model, steps=2, pose_scale=2.0)[0], asked)


def test_ddpm_draws_noise_of_the_learned_variance():
    model = PIDM.from_preset("toy")

    def run(seeds, bias=0.0):
        with torch.no_grad():
            model.denoiser.conv_out.bias[3:] = bias  # of the variance alone
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return drawn(model, sampler="ddpm", generator=generators)[0]

    first = run((0, 1))
    assert torch.equal(run((0, 1)), first)
    assert torch.equal(run((0, 2))[0], first[0])  # every picture has noise of its own
    assert not torch.equal(run((0, 2))[1], first[1])
    assert not torch.equal(run((0, 1), bias=3.0), first)


def test_unknown_samplers_are_refused():
    with pytest.raises(ValueError, match="unknown sampler 'pndm' of PIDM: expected one of ddim, ddpm"):
        pixel_scheduler("pndm")
