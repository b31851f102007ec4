"""The training objective: noise loss, condition dropout, pose penalty (PoCoLD, method.md 4).

Legend: B batch, C H W latent, R samples whose source is kept, L attentions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pocold.densepose.encoding import encode_pose
from pocold.models.pose_constraint import PoseConstraint
from pocold.models.unet import UNetOutput


@dataclass(frozen=True)
class ConditionDropout:
    """How often a sample loses its conditions, for classifier-free guidance. Events exclude each other.

    The published run drops the pose of a whole batch with 15 %, else its source with 15 %, and never both, although its
    own guidance uses the prediction without both. Here every sample draws for itself, and both can go.

    Attributes:
        pose: probability of losing the pose alone.
        appearance: probability of losing the source alone.
        both: probability of losing both.

    Raises:
        ValueError: unless all lie in [0, 1] and sum to at most 1.
    """

    pose: float = 0.15
    appearance: float = 0.15
    both: float = 0.05

    def __post_init__(self) -> None:
        parts = (self.pose, self.appearance, self.both)
        if min(parts) < 0 or sum(parts) > 1:
            raise ValueError(f"dropout probabilities must be at least 0 and sum to at most 1, got {parts}")

    def draw(self, batch: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Which of ``batch`` samples keep their pose, and which their source: two bool tensors ``(B,)``, on the CPU."""
        u = torch.rand(batch, generator=generator)
        drop_both = u < self.both
        drop_pose = (u >= self.both) & (u < self.both + self.pose)
        drop_appearance = (u >= self.both + self.pose) & (u < self.both + self.pose + self.appearance)
        return ~(drop_both | drop_pose), ~(drop_both | drop_appearance)


@dataclass(frozen=True)
class TrainingLoss:
    """The loss and its parts, scalars. ``total = noise + penalty_weight * pose_penalty``; ``noise`` is weighted already
    where weights were asked for. ``sources`` is the number of samples that kept their source."""

    total: Tensor
    noise: Tensor
    pose_penalty: Tensor
    sources: int


def prediction_target(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the network should predict: the noise, or ``v = sqrt(a) noise - sqrt(1 - a) latents``.

    Args:
        scheduler: a diffusers scheduler; its ``config.prediction_type`` decides, so that training and sampling agree.
            For v it needs ``get_velocity``, as DDPM and DDIM have it.
        latents: clean, ``(B, C, H, W)``.
        noise: ``(B, C, H, W)``.
        timesteps: int64 ``(B,)``.
    """
    prediction_type = scheduler.config.prediction_type
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    raise ValueError(f"unknown prediction type {prediction_type!r}: expected 'epsilon' or 'v_prediction'")


def min_snr_weights(scheduler: Any, timesteps: Tensor, gamma: float) -> Tensor:
    """Weights that keep the nearly clean steps from ruling the loss (Hang et al. 2023, "min-SNR-gamma").

    With ``snr = a / (1 - a)`` at the step's ``a``: ``min(snr, gamma) / snr`` where the network predicts the noise, and
    ``min(snr, gamma) / (snr + 1)`` where it predicts v. Both weigh the error of the *picture* by ``min(snr, gamma)``.

    Args:
        scheduler: as for :func:`prediction_target`.
        timesteps: int64 ``(B,)``.
        gamma: 5 in the paper.

    Returns:
        float32 ``(B,)``.

    Raises:
        ValueError: unless gamma is a positive finite number.
    """
    number = isinstance(gamma, int | float) and not isinstance(gamma, bool)
    if not number or not math.isfinite(gamma) or gamma <= 0:
        raise ValueError(f"min_snr_gamma must be a positive finite number (5 is usual) or None, got {gamma!r}")
    alpha = scheduler.alphas_cumprod.to(timesteps.device, torch.float32)[timesteps]
    snr = alpha / (1 - alpha)
    if scheduler.config.prediction_type == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    return (gamma / snr).clamp(max=1)  # also where the signal, and with it the snr, is zero


def training_loss(
    unet: Callable[..., UNetOutput],
    appearance_encoder: Callable[[Tensor], Sequence[Tensor]],
    scheduler: Any,
    *,
    latents: Tensor,
    source_latents: Tensor,
    labels: Tensor,
    source_labels: Tensor,
    uv: Tensor | None = None,
    hint: Tensor | None = None,
    dropout: ConditionDropout | None = None,
    penalty_weight: float = 1.0,
    min_snr_gamma: float | None = None,
    timesteps: Tensor | None = None,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> TrainingLoss:
    """One training step's loss: mean squared error + the pose penalty of samples that keep both conditions.

    Args:
        unet: ``UNet``, or what wraps it for distributed training.
        appearance_encoder: ``AppearanceEncoder``, likewise.
        scheduler: adds the noise; its config says what the network predicts and how many time steps there are.
        latents: scaled latents of the target, ``(B, C, H, W)``.
        source_latents: of the source, ``(B, C, H', W')``.
        labels: body labels of the target 0..24, ``(B, h, w)`` at any resolution.
        source_labels: of the source.
        uv: of the target, ``(B, 2, h, w)`` in [0, 1] at the resolution of ``labels``, for a UNet whose pose encoding is
            ``iuv``; dropped with the pose.
        hint: ``(B, C + 1, H, W)`` of :func:`pocold.models.autoencoder.encode_hint`, for a UNet with ``surface_hint``;
            dropped with the source, and with the pose.
        dropout: None keeps all conditions.
        penalty_weight: weight of the pose penalty; 0 skips its computation.
        min_snr_gamma: weigh each sample's noise loss, see :func:`min_snr_weights`; None weighs all alike, as published.
        timesteps: int64 ``(B,)``; drawn uniformly if None.
        noise: like ``latents``; drawn if None.
        generator: a CPU generator of every random draw (None: the global one); a seed means the same on any device.
    """
    batch, device = len(latents), latents.device
    sizes = {len(tensor) for tensor in (latents, source_latents, labels, source_labels)}
    if len(sizes) != 1:
        raise ValueError(f"latents, source_latents, labels and source_labels must have one batch size, got {sizes}")
    if timesteps is None:
        timesteps = torch.randint(scheduler.config.num_train_timesteps, (batch,), generator=generator).to(device)
    if noise is None:
        noise = torch.randn(latents.shape, generator=generator).to(latents)
    keep_pose = keep_appearance = torch.ones(batch, dtype=torch.bool)
    if dropout is not None:
        keep_pose, keep_appearance = dropout.draw(batch, generator)

    noisy = scheduler.add_noise(latents, noise, timesteps)
    target = prediction_target(scheduler, latents, noise, timesteps)
    size = (latents.shape[-2], latents.shape[-1])
    pose = encode_pose(labels, uv, size, latents.dtype) * keep_pose.to(latents)[:, None, None, None]
    extra = {}  # a wrapped UNet of the published shape is called as ever
    if hint is not None:
        # it shows the source in the target's pose, so it goes with either
        extra["hint"] = hint.to(latents) * (keep_appearance & keep_pose).to(latents)[:, None, None, None]

    rows = keep_appearance.nonzero().flatten().to(device)
    if len(rows) == 0:
        # Nobody has a source: the attentions and the encoder take no part, and get no gradient, in this step.
        sample = unet(noisy, timesteps, pose, **extra).sample
        penalty = torch.zeros((), device=device)
    else:
        constraint = None
        both = (keep_appearance & keep_pose).nonzero().flatten().to(device)
        if penalty_weight and len(both):
            some = None if len(both) == len(rows) else torch.searchsorted(rows, both)
            constraint = PoseConstraint(labels.index_select(0, both), source_labels.index_select(0, both), some)
        features = appearance_encoder(source_latents.index_select(0, rows))
        output = unet(noisy, timesteps, pose, features, appearance_rows=rows, pose_constraint=constraint, **extra)
        sample = output.sample
        penalty = torch.zeros((), device=device)
        if output.pose_penalty is not None:
            # the mean over the whole batch: a dropped sample counts as one without penalty
            penalty = output.pose_penalty.sum() / batch

    if min_snr_gamma is None:
        noise_loss = F.mse_loss(sample.float(), target.float())
    else:
        errors = F.mse_loss(sample.float(), target.float(), reduction="none").mean((1, 2, 3))
        noise_loss = (min_snr_weights(scheduler, timesteps, min_snr_gamma) * errors).mean()
    return TrainingLoss(noise_loss + penalty_weight * penalty, noise_loss, penalty, len(rows))
