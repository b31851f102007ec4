"""Samplers by name. Time steps, noise levels and solvers are diffusers'; nothing of them is computed here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers.schedulers
from diffusers.schedulers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from pocold.imaging.files import read_json

# The noise schedule of the published run (method.md 1).
PUBLISHED_NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
}

_PUBLISHED_SOLVER = {"set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading"}
SCHEDULERS: dict[str, tuple[type[Any], Mapping[str, Any]]] = {
    "ddim": (DDIMScheduler, {**_PUBLISHED_SOLVER, "clip_sample": False}),
    "pndm": (PNDMScheduler, {**_PUBLISHED_SOLVER, "skip_prk_steps": True}),
    "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpm++-karras": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
    ),
    "unipc": (UniPCMultistepScheduler, {}),
    # from the noisiest level to none at all, whatever the number of steps: what few steps are distilled for
    "ddim-trailing": (
        DDIMScheduler,
        {"set_alpha_to_one": True, "timestep_spacing": "trailing", "clip_sample": False},
    ),
}


def make_scheduler(name: str, noise: Mapping[str, Any] = PUBLISHED_NOISE) -> SchedulerMixin:
    """A scheduler by name, for a model trained with the noise schedule ``noise``.

    Args:
        name: one of :data:`SCHEDULERS`; ``pndm`` is the published default, ``ddim-trailing`` that of models distilled
            to few steps, ``dpm++`` is 2M.
        noise: a mapping (such as another scheduler's config) of which only the keys of :data:`PUBLISHED_NOISE` are
            read: options of one solver must not leak into the next, so that swapping back gives the same pictures.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"unknown scheduler {name!r}: expected one of {', '.join(SCHEDULERS)}")
    scheduler, solver = SCHEDULERS[name]
    missing = [key for key in ("beta_start", "beta_end", "beta_schedule") if key not in noise]
    if missing:
        raise ValueError(f"the current scheduler has no {', '.join(missing)}: its noise cannot be handed to {name!r}")
    options = {key: noise[key] for key in PUBLISHED_NOISE if key in noise}
    if "rescale_betas_zero_snr" not in scheduler._get_init_keys(scheduler) and options.pop(
        "rescale_betas_zero_snr", False
    ):
        raise ValueError(f"scheduler {name!r} cannot sample a model trained with rescale_betas_zero_snr")
    if options.get("rescale_betas_zero_snr"):
        solver = {**solver, "timestep_spacing": "trailing"}  # else the last time step, pure noise, is never visited
    return scheduler(**options, **solver)


def load_scheduler(entry: Any, folder: Path) -> SchedulerMixin:
    """Any diffusers scheduler from its folder; ``entry`` is its line in ``model_index.json``: (library, class).

    Raises:
        ValueError: if the class is not one of diffusers' schedulers, or its config is missing or broken.
    """
    library, name = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    found: Any = getattr(diffusers.schedulers, str(name), None) if library == "diffusers" else None
    if not str(name).endswith("Scheduler") or not hasattr(found, "from_config"):
        raise ValueError(f"{folder.parent / 'model_index.json'}: expected a diffusers scheduler, got {entry!r}")
    config = read_json(folder / "scheduler_config.json")
    if config.get("_class_name", name) != name:
        raise ValueError(f"{folder} holds a {config['_class_name']}, but model_index.json says {name}")
    try:
        return found.from_config(config)
    except (TypeError, ValueError, NotImplementedError, ImportError) as error:
        raise ValueError(f"{folder / 'scheduler_config.json'} describes no {name}: {error}") from error
