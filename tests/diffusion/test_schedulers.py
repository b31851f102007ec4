"""Schedulers by name: the solver changes, the noise schedule of the model stays."""

import json

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

from pocold.diffusion.schedulers import PUBLISHED_NOISE, SCHEDULERS, load_scheduler, make_scheduler

V_NOISE = {
    "num_train_timesteps": 500,
    "beta_start": 0.001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "v_prediction",
}
NAMES = list(SCHEDULERS)


def saved(folder, scheduler, **changes):
    """A folder with the scheduler's config, some entries changed."""
    folder.mkdir()
    scheduler.save_config(folder)
    path = folder / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def public(config):
    """Without diffusers' notes on which values were given and which are defaults."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_and_steps(name):
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(4)
    latents = torch.ones(1, 4, 2, 2)
    for timestep in scheduler.timesteps:
        latents = scheduler.step(torch.zeros_like(latents), timestep, latents).prev_sample
    assert torch.isfinite(latents).all()
    assert not torch.equal(latents, torch.ones(1, 4, 2, 2))


@pytest.mark.parametrize("name", NAMES)
def test_default_noise_is_the_published_one(name):
    # Independent formula: scaled-linear betas are linear in their square root.
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    expected = (1 - betas).cumprod(0).float()
    scheduler = make_scheduler(name)
    torch.testing.assert_close(scheduler.alphas_cumprod, expected, atol=1e-5, rtol=0)
    assert scheduler.config.prediction_type == "epsilon"


def test_only_karras_has_karras_sigmas():
    assert [name for name in NAMES if make_scheduler(name).config.get("use_karras_sigmas")] == ["dpm++-karras"]


@pytest.mark.parametrize("name", ["ddim", "pndm"])
def test_published_solvers_start_one_step_late_and_end_at_the_first_noise(name):
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(50)
    assert scheduler.timesteps[0] == 981
    assert scheduler.final_alpha_cumprod == scheduler.alphas_cumprod[0]


def test_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match=r"unknown scheduler 'euler': expected one of ddim, pndm, dpm\+\+.*unipc"):
        make_scheduler("euler")


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_carried_over(name):
    config = make_scheduler(name, DDIMScheduler(**V_NOISE).config).config
    assert {key: config[key] for key in V_NOISE} == V_NOISE


@pytest.mark.parametrize("name", NAMES)
def test_trained_betas_are_carried_over(name):
    betas = torch.linspace(0.01, 0.02, 10).tolist()
    source = DDIMScheduler(num_train_timesteps=10, trained_betas=betas)
    assert torch.equal(make_scheduler(name, source.config).betas, torch.tensor(betas))


def test_noise_rescaled_to_zero_signal_is_carried_over():
    # It changes the betas, so it belongs to the noise the model was trained with, not to the solver.
    source = DDIMScheduler(**V_NOISE, rescale_betas_zero_snr=True)
    torch.testing.assert_close(make_scheduler("ddim", source.config).betas, source.betas)


@pytest.mark.parametrize("noise", [PUBLISHED_NOISE, V_NOISE], ids=["published", "v"])
def test_swapping_through_all_names_back_to_ddim_is_a_fresh_ddim(noise):
    scheduler = make_scheduler("ddim", noise)
    for name in [*NAMES, *reversed(NAMES), "ddim"]:
        scheduler = make_scheduler(name, scheduler.config)
    assert public(scheduler.config) == public(make_scheduler("ddim", noise).config)


def test_solver_options_do_not_leak_into_the_next():
    config = {**make_scheduler("ddim").config, "thresholding": True, "use_karras_sigmas": True, "steps_offset": 7}
    assert public(make_scheduler("dpm++", config).config) == public(make_scheduler("dpm++").config)


def test_pipeline_swaps_schedulers_by_name(toy):
    before = public(toy.scheduler.config)
    toy.set_scheduler("unipc")
    assert type(toy.scheduler) is SCHEDULERS["unipc"][0]
    toy.set_scheduler("ddim")
    assert public(toy.scheduler.config) == before


@pytest.mark.parametrize(
    "scheduler", [PNDMScheduler(**V_NOISE), EulerDiscreteScheduler(beta_start=0.003)], ids=["pndm", "euler"]
)
def test_saved_scheduler_loads_as_it_was(tmp_path, scheduler):
    folder = saved(tmp_path / "scheduler", scheduler)
    loaded = load_scheduler(["diffusers", type(scheduler).__name__], folder)
    assert type(loaded) is type(scheduler)
    assert public(loaded.config) == public(scheduler.config)


@pytest.mark.parametrize(
    "entry",
    [
        ["os", "system"],
        ["transformers", "DDIMScheduler"],
        ["diffusers", "UNet2DModel"],
        ["diffusers", "SchedulerMixin"],
        ["diffusers", "NoSuchScheduler"],
        ["diffusers", "DDIMScheduler", "more"],
        ["diffusers", None],
        "DDIMScheduler",
        None,
    ],
    ids=str,
)
def test_foreign_entries_are_refused(tmp_path, entry):
    folder = saved(tmp_path / "scheduler", make_scheduler("ddim"))
    with pytest.raises(ValueError, match=r"model_index\.json: expected a diffusers scheduler, got"):
        load_scheduler(entry, folder)


def test_missing_scheduler_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no such file: .*scheduler_config\.json"):
        load_scheduler(["diffusers", "DDIMScheduler"], tmp_path)


@pytest.mark.parametrize("changes", [{"beta_schedule": "no such"}, {"beta_start": None}])
def test_broken_scheduler_config_is_refused(tmp_path, changes):
    folder = saved(tmp_path / "scheduler", make_scheduler("ddim"), **changes)
    with pytest.raises(ValueError, match="scheduler"):
        load_scheduler(["diffusers", "DDIMScheduler"], folder)
