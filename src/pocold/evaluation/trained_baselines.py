"""PIDM and NTED as painters: what they draw is measured, and shown on sheets, like everybody else's."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from pocold.data.pairs import View
from pocold.densepose.skeleton import skeleton_map
from pocold.diffusion.pixels import Sampler, draw_pixels, pixel_scheduler
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation.baselines import Painter, Size, fingerprint, pair_seed
from pocold.imaging.images import Frame, FrameMode, to_pil, to_tensor
from pocold.models.baselines.nted import NTED
from pocold.models.baselines.pidm import PIDM


def baseline_painter(network: PIDM | NTED, how: DrawSettings | None = None) -> Painter:
    """The painter of a trained baseline.

    Args:
        network: on its device.
        how: of these PIDM has steps, scheduler (``ddim`` or ``ddpm``), pose_scale, appearance_scale, eta and seed; NTED
            has none.

    Raises:
        ValueError: for settings that it does not have, or impossible ones.
    """
    how = how or DrawSettings()
    return PidmPainter(network, how) if isinstance(network, PIDM) else NtedPainter(network, how)


class _SkeletonPainter(ABC):
    """Draws from the source's pixels and the target's keypoints."""

    synthetic = True
    kind: str
    takes: tuple[str, ...] = ()

    def __init__(self, network: PIDM | NTED, how: DrawSettings) -> None:
        how.check()
        default = DrawSettings()
        for name in (field.name for field in fields(how)):
            if name not in self.takes and getattr(how, name) != getattr(default, name):
                raise ValueError(f"--{name.replace('_', '-')}: {self.kind} has no such setting; leave it out")
        self.network, self.how = network.eval(), how
        stated = network.config.sample_size
        self.size: Size | None = None if stated is None else (stated[0], stated[1])

    def settings(self) -> dict[str, Any]:
        return {
            "painter": self.kind,
            "weights": fingerprint(self.network),
            "dtype": str(self.network.dtype).removeprefix("torch."),
        }

    @torch.no_grad()
    def __call__(self, pairs: Sequence[tuple[View, View]], size: Size, frame: FrameMode) -> list[Image.Image]:
        device = self.network.device
        sources, points = [], []
        for source, target in pairs:
            sources.append(to_tensor(Frame(source.size, size, frame).image(source.photo)))
            points.append(torch.from_numpy(target.points(Frame(target.size, size, frame))))
        pose = skeleton_map(torch.stack(points).to(device), size).to(self.network.dtype)
        seeds = [pair_seed(self.how.seed, source.name, target.name) for source, target in pairs]
        return to_pil(self.draw(torch.cat(sources).to(device, self.network.dtype), pose, seeds).float())

    @abstractmethod
    def draw(self, source: Tensor, pose: Tensor, seeds: list[int]) -> Tensor:
        """Pictures ``(B, 3, H, W)`` in [-1, 1]."""


class PidmPainter(_SkeletonPainter):
    """PIDM; every picture has noise of its own, whatever the batch."""

    kind = "PIDM"
    takes = ("steps", "scheduler", "pose_scale", "appearance_scale", "eta", "seed")

    def __init__(self, network: PIDM, how: DrawSettings) -> None:
        super().__init__(network, how)
        self.pidm, self.sampler = network, cast(Sampler, how.scheduler or "ddim")
        pixel_scheduler(self.sampler)  # refuses an unknown one now

    def settings(self) -> dict[str, Any]:
        own = self.pidm.config
        stated = {
            "steps": own.num_inference_steps,
            "pose_scale": own.pose_guidance_scale,
            "appearance_scale": own.appearance_guidance_scale,
            "scheduler": self.sampler,
        }
        given = {name: getattr(self.how, name) for name in self.takes}
        return {**super().settings(), **{k: stated.get(k) if v is None else v for k, v in given.items()}}

    def draw(self, source: Tensor, pose: Tensor, seeds: list[int]) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack([torch.randn(source.shape[1:], generator=generator) for generator in generators])
        return draw_pixels(
            self.pidm, source, pose, noise.to(source.device), steps=self.how.steps, pose_scale=self.how.pose_scale,
            appearance_scale=self.how.appearance_scale, sampler=self.sampler, eta=self.how.eta, generator=generators,
        )  # fmt: skip


class NtedPainter(_SkeletonPainter):
    """NTED, one pass."""

    kind = "NTED"

    def draw(self, source: Tensor, pose: Tensor, seeds: list[int]) -> Tensor:
        return self.network(source, pose)
