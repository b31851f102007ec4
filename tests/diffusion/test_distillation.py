"""What a distilled network is taught, against diffusers' own solver and the formulas of guidance."""

from itertools import pairwise

import pytest
import torch

from pocold.diffusion.distillation import (
    CLEAN,
    ddim_step,
    step_times,
    taught_velocity,
    velocity,
    velocity_between,
)
from pocold.diffusion.guidance import GUIDANCE, guidance_formula
from pocold.diffusion.schedulers import PUBLISHED_NOISE, make_scheduler

KINDS = ["epsilon", "v_prediction"]


def trailing(kind):
    return make_scheduler("ddim-trailing", {**PUBLISHED_NOISE, "prediction_type": kind})


def noisy(count=3):
    return torch.randn(count, 2, 3, 4, generator=torch.Generator().manual_seed(1))


def network(latents, timesteps):
    """Any function of both, smooth enough for solvers."""
    return torch.sin(latents) * (1 + timesteps.view(-1, 1, 1, 1) / 1000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_a_step_is_that_of_the_scheduler_that_draws(kind, steps):
    scheduler = trailing(kind)
    scheduler.set_timesteps(steps)
    times = step_times(steps, 1000)
    assert times.tolist() == [*scheduler.timesteps.tolist(), CLEAN]
    latents = own = noisy()
    for now, then in pairwise(times):
        at, following = now.expand(3), then.expand(3)
        latents = scheduler.step(network(latents, at), now, latents).prev_sample
        own = ddim_step(scheduler, velocity(scheduler, network(own, at), own, at), own, at, following)
        torch.testing.assert_close(own, latents, atol=1e-4, rtol=1e-4)


def test_steps_have_to_be_equally_long():
    assert step_times(4, 1000).tolist() == [999, 749, 499, 249, CLEAN]
    with pytest.raises(ValueError, match=r"distillation.steps must divide the schedule's 1000 time steps.*got 3"):
        step_times(3, 1000)


def test_what_it_takes_to_get_there():
    scheduler, start, end = trailing("v_prediction"), noisy(), noisy().flip(0)
    timesteps, following = torch.tensor([999, 500, 249]), torch.tensor([749, 3, CLEAN])
    v = velocity_between(scheduler, start, end, timesteps, following)
    torch.testing.assert_close(ddim_step(scheduler, v, start, timesteps, following), end, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("substeps", [1, 2, 5])
def test_one_step_of_the_student_leads_where_several_of_the_teacher_do(substeps):
    scheduler, start = trailing("v_prediction"), noisy()
    timesteps, following = torch.tensor([999, 749, 249]), torch.tensor([749, 499, CLEAN])
    v = taught_velocity(scheduler, network, start, timesteps, following, substeps)
    here = start
    for step in range(substeps):
        at, then = ((timesteps + (following - timesteps) * k / substeps).round().long() for k in (step, step + 1))
        here = ddim_step(scheduler, network(here, at), here, at, then)
    torch.testing.assert_close(ddim_step(scheduler, v, start, timesteps, following), here, atol=1e-5, rtol=1e-5)
    assert torch.allclose(v, network(start, timesteps), atol=1e-4) == (substeps == 1)


def test_a_network_that_is_told_the_scales_needs_one_prediction():
    assert guidance_formula("pose_first", distilled=True)(2.0, 3.0).needed == ("full",)
    assert guidance_formula("pose_first", distilled=True)(2.0, 3.0).scales == (2.0, 3.0)
    assert guidance_formula("conditional", distilled=True)(2.0, 3.0).scales == (1.0, 1.0)
    assert all(formula(2.0, 3.0).scales is None for formula in GUIDANCE.values())
    with pytest.raises(ValueError, match=r"guidance 'joint': this model has .*: expected one of pose_first, cond"):
        guidance_formula("joint", distilled=True)
    with pytest.raises(ValueError, match="unknown guidance 'cfg'"):
        guidance_formula("cfg", distilled=True)
