"""``pocold train`` of PIDM: the hybrid loss on pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocold.diffusion.losses import ConditionDropout
from pocold.diffusion.pixels import draw_pixels, pixel_loss, pixel_scheduler
from pocold.models.baselines.pidm import PIDM
from pocold.training.baseline_config import PidmLossConfig, PidmTrainConfig
from pocold.training.baselines import Inputs, Method, train_baseline

LOSSES = ("loss", "noise_loss", "vlb")
_TIMESTEPS = 4  # at which the loss of a pair is measured, spread evenly


class PidmModel(nn.Module):
    """PIDM with its loss.

    Args:
        pidm: to train.
        weights: of the objective.
    """

    def __init__(self, pidm: PIDM, weights: PidmLossConfig) -> None:
        super().__init__()
        self.pidm, self.weights, self.scheduler = pidm, weights, pixel_scheduler()
        self.dropout = ConditionDropout(weights.pose_dropout, weights.appearance_dropout, weights.both_dropout)

    def forward(self, inputs: Mapping[str, Tensor], generator: torch.Generator | None) -> Tensor:
        """The losses of a batch, float32, as in :data:`LOSSES`."""
        loss = pixel_loss(
            self.pidm, self.pidm.encode, self.scheduler, **inputs,
            dropout=self.dropout, vlb_weight=self.weights.vlb_weight, generator=generator,
        )  # fmt: skip
        return torch.stack([loss.total.float(), loss.simple.float(), loss.vlb.float()])


def _settings(config: PidmTrainConfig) -> dict[str, Any]:
    how = config.sampling
    return {
        "num_inference_steps": how.steps,
        "pose_guidance_scale": how.pose_guidance_scale,
        "appearance_guidance_scale": how.appearance_guidance_scale,
    }


def _measure(pidm: PIDM, inputs: Inputs, part: list[int], config: PidmTrainConfig) -> tuple[Tensor, Tensor]:
    """Noise loss per pair at fixed time steps and noise, both conditions kept; pictures drawn from fixed noise."""
    scheduler, how = pixel_scheduler(), config.validation
    total = scheduler.config.num_train_timesteps
    timesteps = ((torch.arange(_TIMESTEPS) * 2 + 1) * total // (2 * _TIMESTEPS)).to(inputs["target"].device)
    losses = []
    for row, i in enumerate(part):
        one: dict[str, Any] = {
            name: value[row : row + 1].repeat_interleave(_TIMESTEPS, 0) for name, value in inputs.items()
        }
        generator = torch.Generator().manual_seed(i)
        loss = pixel_loss(pidm, pidm.encode, scheduler, **one, vlb_weight=0.0, timesteps=timesteps, generator=generator)
        losses.append(loss.simple)
    shape = inputs["target"].shape[1:]
    noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in part])
    drawn = draw_pixels(
        pidm, inputs["source"], inputs["pose"], noise.to(inputs["target"]), steps=how.steps,
        pose_scale=how.pose_guidance_scale, appearance_scale=how.appearance_guidance_scale,
    )  # fmt: skip
    return torch.stack(losses), drawn.float()


METHOD = Method("pidm", "PIDM", LOSSES, PidmModel, _settings, _measure)


def train_pidm(config: PidmTrainConfig) -> Path:
    """Train PIDM, or go on training it; see :func:`pocold.training.baselines.train_baseline`."""
    return train_baseline(config, METHOD)
