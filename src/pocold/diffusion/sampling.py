"""The sampling loop: predict, guide, step, keep (PoCoLD, method.md 5).

Legend: B pictures, C latent channels, h w latent size.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pocold.appearance import AppearanceCode
from pocold.diffusion.engines import Denoiser
from pocold.diffusion.guidance import WITH_APPEARANCE, WITH_POSE, Branch, BranchWeights, guide

Generator = torch.Generator | list[torch.Generator] | None
# (step, time step, latents) -> latents to go on with, and whether to go on
OnStep = Callable[[int, Tensor, Tensor], tuple[Tensor, bool]]


@dataclass(frozen=True)
class SamplingDefaults:
    """How a model draws unless told otherwise. A model states its own; these are the published settings.

    Attributes:
        num_inference_steps: denoising steps.
        pose_guidance_scale, appearance_guidance_scale: w_p and w_s.
    """

    num_inference_steps: int = 50
    pose_guidance_scale: float = 5.0
    appearance_guidance_scale: float = 5.0

    def filled(self, steps: int | None, pose_scale: float | None, appearance_scale: float | None) -> "SamplingDefaults":
        """What is given, and these for what is None."""
        return SamplingDefaults(
            self.num_inference_steps if steps is None else steps,
            self.pose_guidance_scale if pose_scale is None else pose_scale,
            self.appearance_guidance_scale if appearance_scale is None else appearance_scale,
        )


@dataclass(frozen=True)
class KeptRegion:
    """What masked editing keeps.

    Attributes:
        latents: clean latents of the picture being edited, ``(1 or B, C, h, w)``.
        noise: one fixed noise ``(B, C, h, w)``: the kept region follows one path through all noise levels.
        generate: bool ``(1 or B, 1, h, w)``, True where the picture is generated.
    """

    latents: Tensor
    noise: Tensor
    generate: Tensor


def denoise(
    unet: Denoiser,
    scheduler: Any,
    noise: Tensor,
    pose: Tensor,
    code: AppearanceCode | None,
    weights_at: Callable[[float], BranchWeights],
    *,
    hint: Tensor | None = None,
    kept: KeptRegion | None = None,
    eta: float = 0.0,
    generator: Generator = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Turn noise into latents.

    Args:
        unet: the denoiser, or an engine in its place.
        scheduler: a diffusers scheduler whose time steps are set, and fresh: solvers keep a history of steps.
        noise: float32 ``(B, C, h, w)``, of unit variance.
        pose: ``(B, 25 or 27, h, w)``, of :func:`pocold.densepose.maps.encode_pose`.
        code: of 1 or B people; None if no branch sees an appearance.
        weights_at: the guidance's branch weights at a time step.
        hint: surface hint ``(B, C + 1, h, w)`` for a UNet that takes one; None if no branch sees an appearance.
        kept: what masked editing keeps.
        eta, generator: for schedulers that draw noise in their steps.
        on_step: called after each step.

    Returns:
        Latents, float32 ``(B, C, h, w)``.
    """
    accepted = inspect.signature(scheduler.step).parameters
    options = {name: value for name, value in {"eta": eta, "generator": generator}.items() if name in accepted}
    timesteps = scheduler.timesteps
    latents = noise * scheduler.init_noise_sigma
    for step, timestep in enumerate(timesteps):
        weights = weights_at(float(timestep))
        scaled = scheduler.scale_model_input(latents, timestep)
        predictions = predict_branches(unet, scaled, timestep, pose, code, weights.needed, hint, weights.scales)
        prediction = guide(predictions, weights)
        latents = scheduler.step(prediction, timestep, latents, **options).prev_sample
        if kept is not None:
            known = kept.latents
            if step + 1 < len(timesteps):  # noised to the level just reached; clean after the last step
                known = scheduler.add_noise(known.expand_as(kept.noise), kept.noise, timesteps[step + 1 : step + 2])
            latents = torch.where(kept.generate, latents, known.to(latents.dtype))
        if on_step is not None:
            latents, go_on = on_step(step, timestep, latents)
            if not go_on:
                break
    return latents


def predict_branches(
    unet: Denoiser,
    latents: Tensor,
    timestep: Tensor,
    pose: Tensor,
    code: AppearanceCode | None,
    branches: tuple[Branch, ...],
    hint: Tensor | None = None,
    guidance_scales: Tensor | Sequence[float] | None = None,
) -> dict[Branch, Tensor]:
    """The UNet's prediction for each of ``branches``, as one batch; attention only on the rows that see the source.

    Args:
        latents: ``(B, C, h, w)``.
        timestep: one for all, or ``(B,)``.
        pose: ``(B, 25 or 27, h, w)``; a branch without pose gets zeros.
        code: of 1 or B people.
        branches: which.
        hint: ``(B, C + 1, h, w)``; a branch without appearance, or without pose, gets zeros.
        guidance_scales: w_p and w_s, ``(2,)``, or ``(B, 2)`` for a single branch, for a UNet that is told them.

    Returns:
        ``(B, C, h, w)`` for each branch, in the UNet's dtype.
    """
    batch = len(latents)
    seeing = [i for i, branch in enumerate(branches) if branch in WITH_APPEARANCE]
    rows = None
    if not seeing:
        code = None
    elif code is not None:
        rows = torch.cat([torch.arange(i * batch, (i + 1) * batch, device=latents.device) for i in seeing])
        code = code if len(code) == 1 else AppearanceCode.stack([code] * len(seeing))
    extra = {}
    if guidance_scales is not None:
        extra["guidance_scales"] = torch.as_tensor(guidance_scales, dtype=torch.float32, device=latents.device)
    if hint is not None:
        extra["hint"] = torch.cat(
            [hint if branch in WITH_APPEARANCE & WITH_POSE else torch.zeros_like(hint) for branch in branches]
        )
    sample = unet(
        latents.to(unet.dtype).repeat(len(branches), 1, 1, 1),
        timestep.repeat(len(branches)) if timestep.ndim else timestep,
        torch.cat([pose if branch in WITH_POSE else torch.zeros_like(pose) for branch in branches]),
        code,
        appearance_rows=rows,
        **extra,
    ).sample
    return dict(zip(branches, sample.chunk(len(branches)), strict=True))
