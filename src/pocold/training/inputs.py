"""A batch of data as what the loss and the sampler take."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pocold.models import autoencoder
from pocold.models.autoencoder import Autoencoder
from pocold.models.unet import UNet


@dataclass
class Inputs:
    """Makes a batch of data into what the loss takes: latents, labels, and what else the UNet asks for."""

    vae: Autoencoder
    unet: UNet
    device: torch.device

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Latents are drawn from the autoencoder's distribution with ``generator``, or its mean without."""
        inputs: dict[str, Tensor] = {}
        for role, name in (("target", "latents"), ("source", "source_latents")):
            if f"{role}_moments" in batch:
                moments = batch[f"{role}_moments"].to(self.device)
            else:
                moments = autoencoder.encode_moments(self.vae, batch[role].to(self.device))
            inputs[name] = autoencoder.from_moments(
                self.vae, moments, sample=generator is not None, generator=generator
            ).float()
        inputs["labels"] = batch["target_pose"].to(self.device)
        inputs["source_labels"] = batch["source_pose"].to(self.device)
        if self.unet.config.surface_hint:
            if "hint" in batch:
                hint = batch["hint"].to(self.device)
            else:
                hint = autoencoder.encode_hint(
                    self.vae, batch["warped"].to(self.device), batch["visible"].to(self.device)
                )
            inputs["hint"] = hint.float()
        if self.unet.config.pose_encoding == "iuv":
            inputs["uv"] = batch["target_uv"].to(self.device)
        return inputs
