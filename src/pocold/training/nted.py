"""``pocold train`` of NTED: pixels, a perceptual distance, the attention's correctness, a discriminator."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pocold.models.baselines.nted import NTED
from pocold.models.discriminator import PatchDiscriminator
from pocold.models.perceptual import load_st_lpips
from pocold.training.baseline_config import NtedLossConfig, NtedTrainConfig
from pocold.training.baselines import Inputs, Method, train_baseline
from pocold.training.objectives import adaptive_weight, discriminator_loss, generator_loss, pixel_loss

LOSSES = ("loss", "pixel", "perceptual", "attention", "adversarial", "discriminator")


class NtedModel(nn.Module):
    """NTED, and where asked for its discriminator, as one module with one loss to minimise.

    Args:
        nted: to train.
        weights: of the objective.
    """

    def __init__(self, nted: NTED, weights: NtedLossConfig) -> None:
        super().__init__()
        self.nted, self.weights = nted, weights
        self.discriminator = PatchDiscriminator() if weights.adversarial else None
        # not registered: it is not trained, and not part of the weights that are kept
        self._perceptual = [load_st_lpips("vgg")] if weights.perceptual else []

    def forward(self, inputs: Mapping[str, Tensor], generator: torch.Generator | None) -> Tensor:
        """The losses of a batch, float32, as in :data:`LOSSES`."""
        weights, target = self.weights, inputs["target"]
        features = self.nted.features(inputs["source"])
        drawn = self.nted.draw(self.nted.textures(features), inputs["pose"]).float()
        zero = torch.zeros((), device=target.device)
        pixel = pixel_loss(target, drawn) if weights.pixel else zero
        seen = self._perceptual[0].to(target.device)(drawn, target).mean() if weights.perceptual else zero
        attention = self.nted.attention_correctness(features) if weights.attention else zero
        total = weights.pixel * pixel + weights.perceptual * seen
        adversarial = own = zero
        if self.discriminator is not None:
            # for the network's loss the discriminator is called with weights that take no gradient
            frozen = {name: p.detach() for name, p in self.discriminator.named_parameters()}
            adversarial = generator_loss(functional_call(self.discriminator, frozen, (drawn,)))
            balance = adaptive_weight(total, adversarial, self.nted.conv_out.weight)
            total = total + weights.adversarial * balance * adversarial
            own = discriminator_loss(self.discriminator(target), self.discriminator(drawn.detach()))
        total = total + weights.attention * attention + own
        return torch.stack([part.float() for part in (total, pixel, seen, attention, adversarial, own)])


def _measure(nted: NTED, inputs: Inputs, part: list[int], config: NtedTrainConfig) -> tuple[Tensor, Tensor]:
    """Mean squared error per pair, and the pictures."""
    drawn = nted(inputs["source"], inputs["pose"]).float()
    return (drawn - inputs["target"]).square().mean((1, 2, 3)), drawn


METHOD = Method("nted", "NTED", LOSSES, NtedModel, lambda config: {}, _measure)


def train_nted(config: NtedTrainConfig) -> Path:
    """Train NTED, or go on training it; see :func:`pocold.training.baselines.train_baseline`."""
    if not (config.loss.pixel or config.loss.perceptual):
        raise ValueError("loss.pixel and loss.perceptual are both 0: nothing says what the picture should be")
    return train_baseline(config, METHOD)
