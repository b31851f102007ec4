"""What the nodes have in common. Nothing heavy is imported here: ComfyUI loads all nodes when it starts."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

from pocold.apps.drawing.options import DrawOptions

Input = tuple[Any, dict[str, Any]]  # a type, or the choices of a list, and the widget's options
Inputs = dict[str, dict[str, Input]]
MODEL_TYPE, MAP_TYPE, CODE_TYPE, SETTINGS_TYPE = "POCOLD_PIPELINE", "POCOLD_MAP", "POCOLD_CODE", "POCOLD_SETTINGS"
MAX_SIDE = 4096
OWN = "the model's own"
FRAMES = ["pad", "crop", "stretch"]


class Node(ABC):
    """A node of ComfyUI: its inputs by name and type, and ``run``, which gets their values and returns its outputs."""

    CATEGORY: ClassVar[str] = "pocold"
    FUNCTION: ClassVar[str] = "run"
    DESCRIPTION: ClassVar[str]
    RETURN_TYPES: ClassVar[tuple[str, ...]]
    RETURN_NAMES: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def INPUT_TYPES(cls) -> Inputs:
        """``required`` and ``optional`` inputs."""


def socket(kind: str, tooltip: str) -> Input:
    """An input that only another node gives."""
    return kind, {"tooltip": tooltip}


def whole(default: int, least: int, most: int, tooltip: str, **options: Any) -> Input:
    """A whole number."""
    return "INT", {"default": default, "min": least, "max": most, "tooltip": tooltip, **options}


def number(default: float, least: float, most: float, step: float, tooltip: str) -> Input:
    """A number."""
    return "FLOAT", {"default": default, "min": least, "max": most, "step": step, "tooltip": tooltip}


def text(default: str, tooltip: str, multiline: bool = False) -> Input:
    """A line of text, or several."""
    return "STRING", {"default": default, "multiline": multiline, "tooltip": tooltip}


def choice(options: list[str], tooltip: str) -> Input:
    """One of several words, the first unless another is chosen."""
    return options, {"default": options[0], "tooltip": tooltip}


def size_widgets(otherwise: str) -> dict[str, Input]:
    """Height and width, where 0 is ``otherwise``."""
    return {side: whole(0, 0, MAX_SIDE, f"Pixels; 0 and 0 are {otherwise}.", step=8) for side in ("height", "width")}


def drawing_widgets() -> dict[str, Input]:
    """The inputs that every node which draws has."""
    # the largest seed is that of ComfyUI's own dice: JSON written by a browser keeps it exactly
    return {
        "seed": whole(0, 0, 2**50, "Of the noise: one seed gives one picture.", control_after_generate=True),
        "steps": whole(0, 0, 1000, "Denoising steps; 0 is the model's own number."),
    }


def num_images() -> Input:
    """How many pictures of each."""
    return whole(1, 1, 64, "Pictures of each pose or photograph; their seeds count up.")


def frame() -> Input:
    """How pictures and maps of another size are brought to the model's."""
    return choice(FRAMES, "How what has another size is brought to the model's: fitted in, cropped or stretched.")


def settings() -> Input:
    """The rarely needed settings, from their node."""
    return socket(SETTINGS_TYPE, "Guidance and size, from PoCoLD Drawing Settings; the model's own if not connected.")


def size_text(height: int, width: int) -> str | None:
    """``HEIGHTxWIDTH``, None if neither is given; a ValueError if only one is."""
    if (height == 0) != (width == 0):
        raise ValueError(f"expected both height and width, or 0 for both, got {height} and {width}")
    return f"{height}x{width}" if height else None


def options_of(settings: DrawOptions | None, seed: int, steps: int, num_images: int = 1) -> DrawOptions:
    """The settings of a node that draws, checked.

    Raises:
        ValueError: for numbers that cannot be meant.
    """
    options = replace(settings or DrawOptions(), seed=seed, steps=steps or None, num_images=num_images)
    options.check()
    return options


def pose_names(text: str) -> list[str]:
    """Named poses, separated by line ends or commas.

    Raises:
        ValueError: for none, or for a name that no pose has.
    """
    from pocold.people.poses import parse_pose

    names = [name.strip() for line in text.splitlines() for name in line.split(",") if name.strip()]
    if not names:
        raise ValueError("expected at least one pose, such as walk:side")
    for name in names:
        parse_pose(name)
    return names
