"""The options that the drawing commands share. Nothing heavy is imported here, so that ``--help`` needs no torch."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Literal

from pocold.diffusion.settings import DrawSettings
from pocold.usage import EngineName as EngineName  # the apps have them from here
from pocold.usage import Precision as Precision

FrameName = Literal["auto", "pad", "crop", "stretch", "person"]
STEADY = 0.8  # of pocold animate: halves flicker (benchmarks/flicker.py); nothing is blurred to be seen
_NOT_OF_THE_PICTURE = ("seed", "num_images", "batch_size", "overwrite", "json")


@dataclass(frozen=True)
class ModelOptions:
    """Which model computes, and how.

    Attributes:
        model: Model folder; the bundled model if not given.
        precision: Of the networks. auto is fp32 on a CPU and what the folder has on a GPU; bf16 takes half the time on
            a CPU with bf16 matrix instructions (AMX), and several times as long on others.
        device: Such as cpu or cuda; auto takes a GPU where there is one.
        engine: What computes the UNet: torch; openvino on a CPU (pip install 'pocold[openvino]'); compile; or auto,
            which picks engine and precision by what the machine has, and says which.
        size: HEIGHTxWIDTH to work at; the model's own if not given.
        overwrite: Replace an existing file even if it is an input or was not written by these commands.
        json: Print a report for programs instead of file names.
    """

    model: Path | None = None
    precision: Precision = "auto"
    device: str = "auto"
    engine: EngineName = "torch"
    size: str | None = None
    overwrite: bool = False
    json: bool = False


@dataclass(frozen=True)
class DrawOptions(DrawSettings, ModelOptions):
    """How pictures are drawn.

    Attributes:
        seed: Of the first picture of each pose; its next ones count up.
        num_images: Pictures of each pose.
        batch_size: Pictures drawn at once: faster on a GPU, but then a picture can differ in its last bits from the
            same one drawn alone.
    """

    seed: int = 0
    num_images: int = 1
    batch_size: int = 1
    least: ClassVar[dict[str, int]] = {**DrawSettings.least, "num_images": 1, "batch_size": 1}


def flags(options: ModelOptions) -> list[str]:
    """The flags that say what is not the default and shapes the picture, without the seed."""
    words: list[str] = []
    for field in fields(options):
        value = getattr(options, field.name)
        if value != field.default and field.name not in _NOT_OF_THE_PICTURE:
            words += [f"--{field.name.replace('_', '-')}", value.name if isinstance(value, Path) else str(value)]
    return words
