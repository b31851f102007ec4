"""What a network learns that is to do in one prediction what guidance, and in one step what a solver, does in several.

Guidance (Meng et al. 2023, "On Distillation of Guided Diffusion Models"): the student is told the scales and predicts
what the teacher's branches come to together. Steps (Salimans & Ho 2022, "Progressive Distillation for Fast Sampling of
Diffusion Models", with any number of the teacher's steps for one): from a noisy picture the teacher goes several DDIM
steps; the student's target is the one prediction with which a single step arrives at the same place.

Steps are in terms of the velocity ``v = a noise - s latents`` with ``z = a latents + s noise``, ``a^2 + s^2 = 1``. Its
error means as much near pure noise as near none, whatever the network predicts. With ``a = cos p`` and ``s = sin p`` a
DDIM step is a rotation, ``z' = cos(p - p') z - sin(p - p') v``.

Legend: B pictures, C latent channels, h w latent size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CLEAN = -1  # the time step after the last one: no noise


def cosine_and_sine(scheduler: Any, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """How much of picture (a) and noise (s) there is at time steps ``(B,)``, :data:`CLEAN` included.

    Returns:
        Two float32 ``(B, 1, 1, 1)``.
    """
    alphas = torch.cat([scheduler.alphas_cumprod, torch.ones(1)]).to(timesteps.device, torch.float32)
    alpha = alphas[timesteps].view(-1, 1, 1, 1)  # the index of CLEAN is that of the last entry
    return alpha.sqrt(), (1 - alpha).sqrt()


def velocity(scheduler: Any, prediction: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """A network's prediction, of noise or v, as v.

    Args:
        scheduler: whose ``config.prediction_type`` says what is predicted.
        prediction, noisy: ``(B, C, h, w)``.
        timesteps: int64 ``(B,)``.

    Returns:
        float32 ``(B, C, h, w)``.
    """
    if scheduler.config.prediction_type == "v_prediction":
        return prediction.float()
    a, s = cosine_and_sine(scheduler, timesteps)
    return (prediction.float() - s * noisy.float()) / a


def ddim_step(scheduler: Any, v: Tensor, noisy: Tensor, timesteps: Tensor, following: Tensor) -> Tensor:
    """Noisy latents at the time steps ``following (B,)``, from those at ``timesteps (B,)``; deterministic DDIM."""
    (a, s), (a_next, s_next) = cosine_and_sine(scheduler, timesteps), cosine_and_sine(scheduler, following)
    return (a_next * a + s_next * s) * noisy + (s_next * a - a_next * s) * v


def velocity_between(scheduler: Any, noisy: Tensor, reached: Tensor, timesteps: Tensor, following: Tensor) -> Tensor:
    """The v with which :func:`ddim_step` gets from ``noisy`` to ``reached``."""
    (a, s), (a_next, s_next) = cosine_and_sine(scheduler, timesteps), cosine_and_sine(scheduler, following)
    return (reached - (a_next * a + s_next * s) * noisy) / (s_next * a - a_next * s)


def step_times(steps: int, num_train_timesteps: int) -> Tensor:
    """The time steps of ``steps`` evaluations and :data:`CLEAN`, int64 ``(steps + 1,)``: those of ``ddim-trailing``.

    Raises:
        ValueError: unless all steps are equally long; otherwise the scheduler leads to other ones than it goes on from.
    """
    if num_train_timesteps % steps:
        raise ValueError(
            f"distillation.steps must divide the schedule's {num_train_timesteps} time steps, such as 1, 2, 4, 5 or 8, "
            f"got {steps}"
        )
    return torch.arange(num_train_timesteps, -1, -num_train_timesteps // steps) - 1


def taught_velocity(
    scheduler: Any,
    teacher: Callable[[Tensor, Tensor], Tensor],
    noisy: Tensor,
    timesteps: Tensor,
    following: Tensor,
    substeps: int,
) -> Tensor:
    """The v of a student whose one step leads where several of the teacher do.

    Args:
        scheduler: the noise schedule.
        teacher: (noisy latents, time steps ``(B,)``) -> its v, guided as the student's is to be.
        noisy: float32 ``(B, C, h, w)``.
        timesteps: int64 ``(B,)``.
        following: where the student's step leads, int64 ``(B,)``.
        substeps: steps of the teacher on the way there.

    Returns:
        v, float32 ``(B, C, h, w)``.
    """
    here, at = noisy, timesteps
    for step in range(1, substeps + 1):
        then = (timesteps + (following - timesteps) * step / substeps).round().long()
        here, at = ddim_step(scheduler, teacher(here, at), here, at, then), then
    return velocity_between(scheduler, noisy, here, timesteps, following)
