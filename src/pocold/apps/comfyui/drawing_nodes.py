"""The nodes that encode people and draw them."""

from typing import TYPE_CHECKING, Literal

from pocold.apps.comfyui.widgets import (
    CODE_TYPE,
    MAP_TYPE,
    MODEL_TYPE,
    Input,
    Inputs,
    Node,
    choice,
    drawing_widgets,
    frame,
    num_images,
    number,
    options_of,
    settings,
    size_text,
    size_widgets,
    socket,
    text,
    whole,
)
from pocold.apps.drawing.options import DrawOptions

if TYPE_CHECKING:
    from torch import Tensor

    from pocold.appearance import AppearanceCode
    from pocold.apps.comfyui.values import Maps
    from pocold.apps.drawing.models import Model
    from pocold.imaging.images import FrameMode

_MODEL = socket(MODEL_TYPE, "From PoCoLD Load Model.")
_CODE = socket(CODE_TYPE, "Who is drawn, from PoCoLD Encode Appearance or PoCoLD Mix People.")
_FOUND = "found if not connected"


def _person(name: str, who: str) -> dict[str, Input]:
    """A person by photographs, with or without maps, or by code."""
    return {
        f"{name}_image": socket("IMAGE", f"Photographs of {who}; or a code instead."),
        f"{name}_map": socket(MAP_TYPE, f"Their maps; {_FOUND}."),
        f"{name}_code": socket(CODE_TYPE, f"The code of {who}, instead of photographs."),
    }


class Encode(Node):
    """The appearance code of one person."""

    DESCRIPTION = "Encodes one person, once for any number of poses. A batch is several photographs of that person."
    RETURN_TYPES = (CODE_TYPE,)
    RETURN_NAMES = ("code",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "model": _MODEL,
                "image": socket("IMAGE", "A photograph, or several of one person."),
                "parts": text("", "Only these parts of the body, such as top or legs; empty is the whole picture."),
                "frame": frame(),
                **size_widgets("the model's own size, or the photograph's"),
            },
            "optional": {
                "map": socket(MAP_TYPE, f"The photographs' maps; {_FOUND}."),
                "more": socket(CODE_TYPE, "The same person in photographs of another size, to be seen together."),
            },
        }

    def run(
        self,
        model: "Model",
        image: "Tensor",
        parts: str,
        frame: "FrameMode",
        height: int,
        width: int,
        map: "Maps | None" = None,
        more: "AppearanceCode | None" = None,
    ) -> "tuple[AppearanceCode]":
        """The code."""
        from pocold.apps.comfyui import work

        return (work.encode(model, image, map, parts, frame, size_text(height, width), more),)


class Mix(Node):
    """One person with a share of another."""

    DESCRIPTION = "Mixes two people: parts of the second on the first, or a blend of both."
    RETURN_TYPES = (CODE_TYPE,)
    RETURN_NAMES = ("code",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "model": _MODEL,
                "parts": text("top", "What the second gives, such as top or legs; empty mixes everything."),
                "weight": number(1.0, 0, 1, 0.05, "Share of the second: 0 is the first person, 1 the second's parts."),
                "frame": frame(),
                **size_widgets("the model's own size, or the photograph's"),
            },
            "optional": {**_person("first", "the first person"), **_person("second", "the second person")},
        }

    def run(
        self,
        model: "Model",
        parts: str,
        weight: float,
        frame: "FrameMode",
        height: int,
        width: int,
        first_image: "Tensor | None" = None,
        first_map: "Maps | None" = None,
        first_code: "AppearanceCode | None" = None,
        second_image: "Tensor | None" = None,
        second_map: "Maps | None" = None,
        second_code: "AppearanceCode | None" = None,
    ) -> "tuple[AppearanceCode]":
        """The code."""
        from pocold.apps.comfyui import work

        people = (first_image, first_map, first_code), (second_image, second_map, second_code)
        return (work.mix(model, people, parts, weight, frame, size_text(height, width)),)


class Transfer(Node):
    """One person in some poses."""

    DESCRIPTION = "Draws the person of a code in every pose."
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "model": _MODEL,
                "code": _CODE,
                "pose": socket(MAP_TYPE, "One pose, or several."),
                **drawing_widgets(),
                "num_images": num_images(),
                "frame": frame(),
            },
            "optional": {"settings": settings()},
        }

    def run(
        self,
        model: "Model",
        code: "AppearanceCode",
        pose: "Maps",
        seed: int,
        steps: int,
        num_images: int,
        frame: "FrameMode",
        settings: DrawOptions | None = None,
    ) -> "tuple[Tensor]":
        """Pose by pose, ``num_images`` of each."""
        from pocold.apps.comfyui import work

        return (work.transfer(model, code, pose, options_of(settings, seed, steps, num_images), frame),)


class Edit(Node):
    """One region of photographs in another person's appearance."""

    DESCRIPTION = "Draws what lies under the mask anew, in another person's appearance; all other pixels stay."
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "model": _MODEL,
                "image": socket("IMAGE", "The photograph, or several."),
                "mask": socket("MASK", "White where it may change; one for all photographs, or one for each."),
                **drawing_widgets(),
                "num_images": num_images(),
                "grow": whole(0, 0, 256, "Pixels by which the region is larger than the mask."),
                "feather": whole(2, 0, 256, "Pixels inside the region over which it blends."),
            },
            "optional": {
                "map": socket(MAP_TYPE, f"The photographs' maps; {_FOUND}."),
                **_person("like", "whose appearance the region gets"),
                "settings": settings(),
            },
        }

    def run(
        self,
        model: "Model",
        image: "Tensor",
        mask: "Tensor",
        seed: int,
        steps: int,
        num_images: int,
        grow: int,
        feather: int,
        map: "Maps | None" = None,
        like_image: "Tensor | None" = None,
        like_map: "Maps | None" = None,
        like_code: "AppearanceCode | None" = None,
        settings: DrawOptions | None = None,
    ) -> "tuple[Tensor]":
        """Photograph by photograph, ``num_images`` of each."""
        from pocold.apps.comfyui import work

        options = options_of(settings, seed, steps, num_images)
        return (work.edit(model, image, mask, map, (like_image, like_map, like_code), grow, feather, options),)


class Animate(Node):
    """One person in poses that follow each other."""

    DESCRIPTION = "Draws the frames of a motion: one person, one noise, many poses."
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("frames",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "model": _MODEL,
                "code": _CODE,
                "pose": socket(MAP_TYPE, "The poses in their order: from PoCoLD Motion, or of a video's pictures."),
                **drawing_widgets(),
                "noise": choice(
                    ["shared", "surface", "fresh"], "One noise for all frames; of the body's surface; another for each."
                ),
                "frame": frame(),
            },
            "optional": {"settings": settings()},
        }

    def run(
        self,
        model: "Model",
        code: "AppearanceCode",
        pose: "Maps",
        seed: int,
        steps: int,
        noise: Literal["shared", "surface", "fresh"],
        frame: "FrameMode",
        settings: DrawOptions | None = None,
    ) -> "tuple[Tensor]":
        """One frame per pose."""
        from pocold.apps.comfyui import work

        return (work.animate(model, code, pose, options_of(settings, seed, steps), frame, noise),)
