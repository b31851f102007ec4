"""The objective of training an autoencoder, any KL autoencoder: how far its pictures are from those it was given.

Every part is a mean over what it compares, so that weights keep their meaning at any size of picture and batch.

Legend: B batch, H W picture size, C h w latent.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Posterior(Protocol):
    """The encoder's distribution of latents, as diffusers' ``DiagonalGaussianDistribution``: each ``(B, C, h, w)``."""

    mean: Tensor
    logvar: Tensor


@dataclass(frozen=True)
class ReconstructionWeights:
    """How much each part counts. A part of weight 0 is not computed.

    Attributes:
        pixel: of the absolute error of the pixels.
        charbonnier: errors well below this count by their square, above by their size; 0 is plain L1.
        gradient: of the absolute error of differences between neighbouring pixels, which blur gets wrong.
        gradient_scales: at the picture's size, and at a half, a quarter, ... of it.
        kl: of the divergence of the latents from a standard normal, in nats per latent value.
        perceptual: of the distance that a network sees.
        adversarial: of the discriminator's opinion, after the adaptive weight has brought it to the size of the rest.

    Raises:
        ValueError: for a negative or infinite weight, or no scale.
    """

    pixel: float = 1.0
    charbonnier: float = 0.05
    gradient: float = 0.5
    gradient_scales: int = 2
    kl: float = 1e-3
    perceptual: float = 0.0
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} must be a finite number of at least 0, got {value}")
        if self.gradient_scales < 1:
            raise ValueError(f"gradient_scales must be at least 1, got {self.gradient_scales}")


@dataclass(frozen=True)
class ReconstructionLoss:
    """The loss and its parts, unweighted scalars; parts that were not asked for are 0.

    ``total = w.pixel pixel + w.gradient gradient + w.kl kl + w.perceptual perceptual + w.adversarial adaptive_weight
    adversarial``; gradients flow into ``total`` only through the parts, not through ``adaptive_weight``.
    """

    total: Tensor
    pixel: Tensor
    gradient: Tensor
    kl: Tensor
    perceptual: Tensor
    adversarial: Tensor
    adaptive_weight: Tensor


def reconstruction_loss(
    images: Tensor,
    reconstructions: Tensor,
    posterior: Posterior,
    weights: ReconstructionWeights | None = None,
    *,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    discriminator: Callable[[Tensor], Tensor] | None = None,
    last_layer: Tensor | None = None,
) -> ReconstructionLoss:
    """The autoencoder's loss in one training step; all in float32 whatever comes in.

    Args:
        images: ``(B, 3, H, W)`` in [-1, 1].
        reconstructions: ``vae.decode(posterior.sample()).sample``, like ``images``.
        posterior: ``vae.encode(images).latent_dist``.
        weights: None takes the defaults.
        perceptual: distances ``(B,)`` of two batches of pictures in [-1, 1]; needed if its weight is above 0.
        discriminator: scores of pictures; needed if ``weights.adversarial`` is above 0. ``backward`` gives gradients to
            it, too: clear them before its own step.
        last_layer: a weight of the decoder's last layer, for the adaptive weight; likewise needed.
            ``vae.decoder.conv_out.weight`` in both kinds of autoencoder.

    Raises:
        ValueError: if shapes differ, or something that a weight asks for is missing.
    """
    weights = weights or ReconstructionWeights()
    if images.shape != reconstructions.shape:
        raise ValueError(
            f"expected reconstructions of the images' shape {tuple(images.shape)}, got {tuple(reconstructions.shape)}"
        )
    images, reconstructions = images.float(), reconstructions.float()
    zero = torch.zeros((), device=images.device)
    pixel = pixel_loss(images, reconstructions, weights.charbonnier) if weights.pixel else zero
    gradient = gradient_loss(images, reconstructions, weights.gradient_scales) if weights.gradient else zero
    kl = kl_divergence(posterior) if weights.kl else zero
    seen = zero
    if weights.perceptual:
        if perceptual is None:
            raise ValueError("the weight of the perceptual loss is above 0: pass perceptual=, a distance of pictures")
        seen = perceptual(reconstructions, images).mean()
    total = weights.pixel * pixel + weights.gradient * gradient + weights.perceptual * seen
    adversarial, balance = zero, zero
    if weights.adversarial:
        if discriminator is None or last_layer is None:
            raise ValueError("the weight of the adversarial loss is above 0: pass discriminator= and last_layer=")
        adversarial = generator_loss(discriminator(reconstructions))
        balance = adaptive_weight(total, adversarial, last_layer)
        total = total + weights.adversarial * balance * adversarial
    return ReconstructionLoss(total + weights.kl * kl, pixel, gradient, kl, seen, adversarial, balance)


def pixel_loss(images: Tensor, reconstructions: Tensor, charbonnier: float = 0.0) -> Tensor:
    """Mean of ``sqrt(error^2 + charbonnier^2) - charbonnier``, which without ``charbonnier`` is the absolute error."""
    error = reconstructions - images
    # apart, because the root has no slope at zero
    return error.abs().mean() if charbonnier == 0 else (error.square() + charbonnier**2).sqrt().mean() - charbonnier


def gradient_loss(images: Tensor, reconstructions: Tensor, scales: int = 2) -> Tensor:
    """Mean absolute error of horizontal and vertical differences, averaged over scales.

    Args:
        images: ``(B, 3, H, W)``, H and W at least ``2 ** scales``.
        reconstructions: likewise.
        scales: the picture's size, and by 2 x 2 means a half of it, and so on.
    """
    if min(images.shape[-2:]) < 2**scales:
        raise ValueError(
            f"gradients at {scales} scales need pictures of at least {2**scales}x{2**scales}, got {images.shape[-2]}x"
            f"{images.shape[-1]}"
        )
    error = reconstructions - images  # differences are linear: those of the error are the errors of those
    losses = []
    for scale in range(scales):
        if scale > 0:
            error = F.avg_pool2d(error, 2)
        losses += [error.diff(dim=-1).abs().mean(), error.diff(dim=-2).abs().mean()]
    return torch.stack(losses).mean()


def kl_divergence(posterior: Posterior) -> Tensor:
    """Divergence from a standard normal, in nats, mean over all latent values."""
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def generator_loss(scores: Tensor) -> Tensor:
    """What makes reconstructions look like photographs to a hinge discriminator: minus their mean score."""
    return -scores.float().mean()


def discriminator_loss(image_scores: Tensor, reconstruction_scores: Tensor) -> Tensor:
    """Hinge loss of the discriminator itself: photographs should score above 1, reconstructions below -1.

    Args:
        image_scores: of photographs, any shape.
        reconstruction_scores: of reconstructions detached from the autoencoder.
    """
    return 0.5 * (F.relu(1 - image_scores.float()).mean() + F.relu(1 + reconstruction_scores.float()).mean())


def adaptive_weight(fidelity: Tensor, adversarial: Tensor, last_layer: Tensor, limit: float = 1e4) -> Tensor:
    """The factor that makes both losses pull at the decoder's last layer equally hard (VQGAN, equation 7).

    Args:
        fidelity: a scalar loss.
        adversarial: another.
        last_layer: the weight both depend on.
        limit: the factor is at most this, should the discriminator have nearly no opinion.

    Returns:
        A scalar without gradient.
    """
    norms = [torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm() for loss in (fidelity, adversarial)]
    return (norms[0] / (norms[1] + 1e-6)).clamp(max=limit).detach()
