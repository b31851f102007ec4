"""How pictures are drawn: the flags that every command that draws has. Light, so that ``--help`` needs no torch."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class DrawSettings:
    """How a pipeline draws; see ``PoseTransferPipeline.__call__``.

    Attributes:
        steps: Denoising steps; the model's own number if not given.
        scheduler: Sampler: ddim, pndm, dpm++, dpm++-karras, unipc or ddim-trailing; the model's own if not given.
        guidance: Formula: conditional, pose_only, pose_first, appearance_first, independent or joint.
        pose_scale: Guidance scale of the pose; the model's own if not given.
        appearance_scale: Guidance scale of the appearance; likewise.
        guidance_floor: Scales decay with the noise down to this; None keeps them constant.
        eta: 0 is deterministic DDIM, 1 is DDPM; other schedulers ignore it.
        seed: Of the noise.
    """

    steps: int | None = None
    scheduler: str | None = None
    guidance: str = "pose_first"
    pose_scale: float | None = None
    appearance_scale: float | None = None
    guidance_floor: float | None = 3.0
    eta: float = 0.0
    seed: int = 0

    least: ClassVar[dict[str, int]] = {"seed": 0, "steps": 1}

    def check(self) -> None:
        """Raise a ValueError for numbers that cannot be meant. (On construction tyro would tell it its own way.)"""
        for name, least in self.least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name.replace('_', '-')}: expected a number of at least {least}, got {value}")

    def arguments(self) -> dict[str, Any]:
        """What ``PoseTransferPipeline.__call__`` is to be told, without the scheduler and the noise."""
        return {
            "num_inference_steps": self.steps,
            "guidance": self.guidance,
            "pose_guidance_scale": self.pose_scale,
            "appearance_guidance_scale": self.appearance_scale,
            "guidance_floor": self.guidance_floor,
            "eta": self.eta,
        }

    def resolved(self, pipeline: Any) -> dict[str, Any]:
        """The settings as they come to be with a ``PoseTransferPipeline`` that has the scheduler already, by name."""
        own = pipeline.sampling.filled(self.steps, self.pose_scale, self.appearance_scale)
        names = [field.name for field in fields(DrawSettings)]
        return {
            **{name: getattr(self, name) for name in names},
            "steps": own.num_inference_steps,
            "pose_scale": own.pose_guidance_scale,
            "appearance_scale": own.appearance_guidance_scale,
            "scheduler": type(pipeline.scheduler).__name__,
        }
