"""The options that the drawing commands share. Nothing heavy is imported here, so that ``--help`` needs no torch."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

Precision = Literal["auto", "fp32", "bf16", "fp16"]
FrameName = Literal["pad", "crop", "stretch", "person"]
_NOT_OF_THE_PICTURE = ("seed", "num_images", "batch_size", "overwrite", "json")


@dataclass(frozen=True)
class ModelOptions:
    """Which model computes, and how.

    Attributes:
        model: Model folder; the bundled model if not given.
        precision: Of the networks. auto is fp32 on a CPU and what the folder has on a GPU; bf16 takes half the time on
            a CPU with bf16 matrix instructions (AMX), and several times as long on others.
        device: Such as cpu or cuda; auto takes a GPU where there is one.
        size: HEIGHTxWIDTH to work at; the model's own if not given.
        overwrite: Replace an existing file even if it is an input or was not written by these commands.
        json: Print a report for programs instead of file names.
    """

    model: Path | None = None
    precision: Precision = "auto"
    device: str = "auto"
    size: str | None = None
    overwrite: bool = False
    json: bool = False


@dataclass(frozen=True)
class DrawOptions(ModelOptions):
    """How pictures are drawn.

    Attributes:
        steps: Denoising steps; the model's own number if not given.
        scheduler: Sampler: ddim, pndm, dpm++, dpm++-karras or unipc; the model's own if not given.
        guidance: Formula: conditional, pose_only, pose_first, appearance_first, independent or joint.
        pose_scale: Guidance scale of the pose; the model's own if not given.
        appearance_scale: Guidance scale of the appearance; likewise.
        guidance_floor: Scales decay with the noise down to this; None keeps them constant.
        eta: 0 is deterministic DDIM, 1 is DDPM; other schedulers ignore it.
        seed: Of the first picture of each pose; its next ones count up.
        num_images: Pictures of each pose.
        batch_size: Pictures drawn at once: faster on a GPU, but then a picture can differ in its last bits from the
            same one drawn alone.
    """

    steps: int | None = None
    scheduler: str | None = None
    guidance: str = "pose_first"
    pose_scale: float | None = None
    appearance_scale: float | None = None
    guidance_floor: float | None = 3.0
    eta: float = 0.0
    seed: int = 0
    num_images: int = 1
    batch_size: int = 1


def check_options(options: DrawOptions) -> None:
    """Raise a ValueError for numbers that cannot be meant."""
    for name, least in (("seed", 0), ("num_images", 1), ("batch_size", 1), ("steps", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')}: expected a number of at least {least}, got {value}")


def flags(options: ModelOptions) -> list[str]:
    """The flags that say what is not the default and shapes the picture, without the seed."""
    words: list[str] = []
    for field in fields(options):
        value = getattr(options, field.name)
        if value != field.default and field.name not in _NOT_OF_THE_PICTURE:
            words += [f"--{field.name.replace('_', '-')}", value.name if isinstance(value, Path) else str(value)]
    return words
