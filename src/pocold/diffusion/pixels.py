"""PIDM's diffusion of pixels: the hybrid loss of learned variances, disentangled guidance, the sampling loop.

Bhunia et al., CVPR 2023; Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021. Noise and
samplers are diffusers'.

Legend: B pictures, H W their size; a_t, A_t, b_t: alpha, its cumulative product, and beta at time step t.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from diffusers.schedulers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from pocold.diffusion.guidance import WITH_APPEARANCE, WITH_POSE, guide, independent
from pocold.diffusion.losses import ConditionDropout
from pocold.diffusion.sampling import Generator
from pocold.models.baselines.pidm import PIDM

Sampler = Literal["ddim", "ddpm"]
PIXEL_NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "clip_sample": True,  # pixels lie in [-1, 1], and so does what a step takes the picture to be
}
_BIN = 1 / 255  # half the distance of two neighbouring byte values on [-1, 1]


def pixel_scheduler(sampler: Sampler = "ddim") -> DDIMScheduler | DDPMScheduler:
    """The published noise with ``ddim``, which has no use for the learned variance, or ``ddpm``, which has.

    Raises:
        ValueError: for another sampler.
    """
    if sampler not in get_args(Sampler):
        raise ValueError(f"unknown sampler {sampler!r} of PIDM: expected one of {', '.join(get_args(Sampler))}")
    if sampler == "ddim":
        return DDIMScheduler(**PIXEL_NOISE)
    return DDPMScheduler(**PIXEL_NOISE, variance_type="learned_range")


@dataclass(frozen=True)
class PixelLoss:
    """``total = simple + vlb_weight * vlb``, scalars; ``simple`` is the mean squared error of the noise, ``vlb`` the
    variational bound in bits per dimension, of all time steps."""

    total: Tensor
    simple: Tensor
    vlb: Tensor


def pixel_loss(
    model: Callable[..., tuple[Tensor, Tensor]],
    encode: Callable[[Tensor], Any],
    scheduler: Any,
    *,
    source: Tensor,
    target: Tensor,
    pose: Tensor,
    dropout: ConditionDropout | None = None,
    vlb_weight: float = 1e-3,
    timesteps: Tensor | None = None,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> PixelLoss:
    """One training step's loss, ``L_simple + 0.001 L_vlb`` (Nichol and Dhariwal 2021, equation 16).

    Args:
        model: PIDM, or what wraps it.
        encode: its ``encode``.
        scheduler: of :func:`pixel_scheduler`.
        source, target: ``(B, 3, H, W)`` in [-1, 1].
        pose: of the target, ``(B, 20, H, W)``.
        dropout: which samples lose pose and source, which then are all zeros; None keeps all.
        vlb_weight: of the bound; it teaches the variance alone, and 0 leaves it out.
        timesteps: int64 ``(B,)``; drawn uniformly if None.
        noise: like ``target``; drawn if None.
        generator: a CPU generator of every random draw (None: the global one).

    Raises:
        ValueError: if the pictures' shapes differ.
    """
    if source.shape != target.shape:
        raise ValueError(f"source and target need one shape, got {tuple(source.shape)} and {tuple(target.shape)}")
    batch, device = len(target), target.device
    if timesteps is None:
        total = scheduler.config.num_train_timesteps
        timesteps = torch.randint(total, (batch,), generator=generator).to(device)
    if noise is None:
        noise = torch.randn(target.shape, generator=generator).to(target)
    if dropout is not None:
        keep_pose, keep_source = (keep.to(target)[:, None, None, None] for keep in dropout.draw(batch, generator))
        pose, source = pose * keep_pose, source * keep_source
    noisy = scheduler.add_noise(target, noise, timesteps)
    predicted, variance = (part.float() for part in model(noisy, timesteps, pose, encode(source)))
    simple = F.mse_loss(predicted, noise.float())
    if not vlb_weight:
        return PixelLoss(simple, simple, torch.zeros((), device=device))
    terms = vlb_terms(target.float(), noisy.float(), predicted.detach(), variance, timesteps, scheduler)
    # the bound is the sum over all time steps, of which one was drawn
    vlb = terms.mean() * scheduler.config.num_train_timesteps
    return PixelLoss(simple + vlb_weight * vlb, simple, vlb)


def vlb_terms(
    clean: Tensor, noisy: Tensor, predicted: Tensor, variance: Tensor, timesteps: Tensor, scheduler: Any
) -> Tensor:
    """The term ``L_{t-1}`` of the variational bound (Nichol and Dhariwal 2021, equations 4 to 6 and 15).

    The divergence of the model's step from the true posterior; at the last step the negative log likelihood of the
    picture's byte values.

    Args:
        clean, noisy: ``(B, 3, H, W)``.
        predicted: the noise, likewise.
        variance: likewise, -1 for the posterior's variance and 1 for b_t.
        timesteps: int64 ``(B,)``.
        scheduler: whose ``alphas_cumprod`` count.

    Returns:
        ``(B,)``, bits per dimension.
    """
    cumulative = scheduler.alphas_cumprod.to(clean.device, torch.float64)
    before = torch.cat([cumulative.new_ones(1), cumulative[:-1]])
    beta = 1 - cumulative / before
    smallest = (1 - before) / (1 - cumulative) * beta  # of the posterior; 0 at the last step
    log_smallest = smallest.clamp(min=float(smallest[1])).log()

    def at(values: Tensor) -> Tensor:
        return values[timesteps].float()[:, None, None, None]

    def posterior_mean(picture: Tensor) -> Tensor:
        return (
            at(before.sqrt() * beta / (1 - cumulative)) * picture
            + at((cumulative / before).sqrt() * (1 - before) / (1 - cumulative)) * noisy
        )

    share = (variance + 1) / 2
    log_variance = share * at(beta.log()) + (1 - share) * at(log_smallest)
    picture = (noisy - at((1 - cumulative).sqrt()) * predicted) / at(cumulative.sqrt())
    mean, true_mean = posterior_mean(picture), posterior_mean(clean)
    true_log = at(log_smallest)
    divergence = 0.5 * (
        log_variance
        - true_log
        + (true_log - log_variance).exp()
        + (true_mean - mean).square() * (-log_variance).exp()
        - 1
    )
    likelihood = -byte_log_likelihood(clean, mean, 0.5 * log_variance)
    term = torch.where((timesteps == 0)[:, None, None, None], likelihood, divergence)
    return term.mean((1, 2, 3)) / math.log(2)


def byte_log_likelihood(pictures: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Logarithm of the share of a normal distribution that falls on each value of a byte, on [-1, 1], in nats.

    The outermost values also have what lies beyond them. (Ho et al. 2020, equation 13.)
    """
    inverse = (-log_std).exp()
    upper = torch.special.ndtr((pictures - mean + _BIN) * inverse)
    lower = torch.special.ndtr((pictures - mean - _BIN) * inverse)
    upper = torch.where(pictures > 0.999, 1.0, upper)
    lower = torch.where(pictures < -0.999, 0.0, lower)
    return (upper - lower).clamp(min=1e-12).log()


@torch.no_grad()
def draw_pixels(
    model: PIDM,
    source: Tensor,
    pose: Tensor,
    noise: Tensor,
    *,
    steps: int | None = None,
    pose_scale: float | None = None,
    appearance_scale: float | None = None,
    sampler: Sampler = "ddim",
    eta: float = 0.0,
    generator: Generator = None,
) -> Tensor:
    """Turn noise into pictures, with the published disentangled guidance

        e(0,0) + w_p (e(pose,0) - e(0,0)) + w_s (e(0,src) - e(0,0))

    of which the three predictions are made as one batch.

    Args:
        model: the networks.
        source: ``(B, 3, H, W)`` in [-1, 1].
        pose: ``(B, 20, H, W)`` of :func:`pocold.densepose.skeleton.skeleton_map`.
        noise: ``(B, 3, H, W)``, of unit variance.
        steps: denoising steps; the model's own number (100 as published) if None.
        pose_scale, appearance_scale: w_p and w_s; the model's own (2 as published) if None.
        sampler: ``ddim``, or ``ddpm`` with the learned variance, of the last of the predictions; made for 1000 steps.
        eta: of DDIM.
        generator: for samplers that draw noise in their steps.

    Returns:
        ``(B, 3, H, W)`` in [-1, 1].

    Raises:
        ValueError: for an unknown sampler, or shapes that do not belong together.
    """
    own = model.config
    weights = independent(
        own.pose_guidance_scale if pose_scale is None else pose_scale,
        own.appearance_guidance_scale if appearance_scale is None else appearance_scale,
    )
    scheduler = pixel_scheduler(sampler)
    scheduler.set_timesteps(own.num_inference_steps if steps is None else steps, device=noise.device)
    textures = model.encode(torch.cat([source, torch.zeros_like(source[:1])]).to(model.dtype))

    def textures_of(appearance: bool, count: int) -> list[Tensor]:
        return [one[:-1] if appearance else one[-1:].expand(count, -1, -1, -1) for one in textures]

    batch, branches = len(noise), weights.needed
    seen = [textures_of(branch in WITH_APPEARANCE, batch) for branch in branches]
    together = [torch.cat(level) for level in zip(*seen, strict=True)]
    poses = torch.cat([pose if branch in WITH_POSE else torch.zeros_like(pose) for branch in branches]).to(model.dtype)
    options: dict[str, Any] = {"generator": generator} if sampler == "ddpm" else {"eta": eta, "generator": generator}
    pictures = noise
    for timestep in scheduler.timesteps:
        noisy = pictures.to(model.dtype).repeat(len(branches), 1, 1, 1)
        predicted, variance = model(noisy, timestep, poses, together)
        guided = guide(dict(zip(branches, predicted.chunk(len(branches)), strict=True)), weights)
        if sampler == "ddpm":
            guided = torch.cat([guided, variance[-batch:].to(guided.dtype)], dim=1)
        pictures = scheduler.step(guided, timestep, pictures, **options).prev_sample
    return pictures.clamp(-1, 1)
