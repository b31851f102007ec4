"""The nodes that make maps, and of maps: found in photographs, by name, of files and keypoints, moving; masks."""

from typing import TYPE_CHECKING, Any, Literal

from pocold.apps.comfyui import host
from pocold.apps.comfyui.widgets import (
    MAP_TYPE,
    MODEL_TYPE,
    Inputs,
    Node,
    choice,
    pose_names,
    size_text,
    size_widgets,
    socket,
    text,
    whole,
)

if TYPE_CHECKING:
    from torch import Tensor

    from pocold.apps.comfyui.values import Maps
    from pocold.apps.drawing.models import Model

_MODEL = socket(MODEL_TYPE, "From PoCoLD Load Model.")
_LIKE = socket(MAP_TYPE, "The person's own map: poses get that build and place. The average body if not connected.")
_BEFORE = socket(MAP_TYPE, "Maps that come before these, so that several nodes make one list.")
_NAMES = (
    "Named poses, one a line: NAME[:VIEW[:CROP]], such as walk, walk:side, hips:back or wave:30:upper. Names: stand, "
    "relaxed, hips, walk, run, sit, wave, dance, ... (pocold pose --sheet poses.png draws all); views: front, quarter, "
    "side, back, left, ... or degrees; crops: full, knee, upper, portrait."
)


class FindBody(Node):
    """The maps of photographs."""

    DESCRIPTION = "Finds the DensePose map of the person in each photograph."
    RETURN_TYPES = (MAP_TYPE, "IMAGE")
    RETURN_NAMES = ("map", "preview")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {"required": {"model": _MODEL, "image": socket("IMAGE", "Photographs of one person each.")}}

    def run(self, model: "Model", image: "Tensor") -> "tuple[Maps, Tensor]":
        """Maps, and their colours over the photographs."""
        from pocold.apps.comfyui import work

        return work.find_body(model, image)


class CutOut(Node):
    """Photographs and maps cut out around the person."""

    DESCRIPTION = "Cuts photograph and map out around the person, at the model's size: for people who are small in it."
    RETURN_TYPES = ("IMAGE", MAP_TYPE)
    RETURN_NAMES = ("image", "map")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "model": _MODEL,
                "image": socket("IMAGE", "Photographs."),
                "map": socket(MAP_TYPE, "Their maps."),
            }
        }

    def run(self, model: "Model", image: "Tensor", map: "Maps") -> "tuple[Tensor, Maps]":
        """The parts that show the person."""
        from pocold.apps.comfyui import work

        return work.cut_out_people(model, image, map)


class PoseByName(Node):
    """Maps of named poses."""

    DESCRIPTION = "DensePose maps of named poses, struck by the person of another map, or by the average body."
    RETURN_TYPES = (MAP_TYPE, "IMAGE")
    RETURN_NAMES = ("pose", "preview")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "poses": text("walk:side", _NAMES, multiline=True),
                **size_widgets("that of the map below, or 256x176"),
            },
            "optional": {"like": _LIKE, "before": _BEFORE},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, poses: str | None = None) -> Literal[True] | str:
        """True, or which name is none; names that another node gives are not known yet."""
        try:
            if poses is not None:
                pose_names(poses)
        except ValueError as error:
            return str(error)
        return True

    def run(
        self, poses: str, height: int, width: int, like: "Maps | None" = None, before: "Maps | None" = None
    ) -> "tuple[Maps, Tensor]":
        """The maps and their colours."""
        from pocold.apps.comfyui import work

        return work.shown((before or ()) + work.named_poses(poses, like, size_text(height, width)))


class PoseFromFile(Node):
    """Maps or keypoints, read from files."""

    DESCRIPTION = "Reads a DensePose map or keypoints (OpenPose, COCO, MediaPipe, ...), or a folder of them in order."
    RETURN_TYPES = (MAP_TYPE, "IMAGE")
    RETURN_NAMES = ("pose", "preview")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "path": text("", "A file, or a folder of files; a relative path lies in ComfyUI's folder of inputs."),
                "person": whole(0, 0, 99, "Which one, the largest first, from 1; 0 is the largest."),
            },
            "optional": {"before": _BEFORE},
        }

    @classmethod
    def IS_CHANGED(cls, path: str | None = None, **_: Any) -> str:
        """Another text once the file was written anew."""
        try:
            return host.state(host.find_path(path or ""))
        except ValueError:
            return "missing"

    @classmethod
    def VALIDATE_INPUTS(cls, path: str | None = None) -> Literal[True] | str:
        """True, or that nothing is there; a path that another node gives is not known yet."""
        try:
            if path is not None:
                host.find_path(path)
        except ValueError as error:
            return str(error)
        return True

    def run(self, path: str, person: int, before: "Maps | None" = None) -> "tuple[Maps, Tensor]":
        """The maps and their colours."""
        from pocold.apps.comfyui import work

        return work.shown((before or ()) + work.read_poses(path, person or None))


class PoseFromKeypoints(Node):
    """Keypoints that another node found, as maps."""

    DESCRIPTION = "DensePose maps of keypoints in OpenPose's form, as nodes that find poses give them."
    RETURN_TYPES = (MAP_TYPE, "IMAGE")
    RETURN_NAMES = ("pose", "preview")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "keypoints": socket(
                    "POSE_KEYPOINT", "Of one picture or several; pictures without a person are left out."
                ),
                "person": whole(1, 1, 99, "Which one of each picture, the largest first."),
            },
            "optional": {"before": _BEFORE},
        }

    def run(self, keypoints: Any, person: int, before: "Maps | None" = None) -> "tuple[Maps, Tensor]":
        """The maps and their colours."""
        from pocold.apps.comfyui import work

        return work.shown((before or ()) + work.keypoint_poses(keypoints, person))


class Motion(Node):
    """Maps of a body that moves."""

    DESCRIPTION = "Poses that follow each other, of a body that moves before a still camera; for PoCoLD Animate."
    RETURN_TYPES = (MAP_TYPE, "IMAGE")
    RETURN_NAMES = ("pose", "preview")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "motion": choice(["turn", "walk", "between"], "Once around; two steps on the spot; from pose to pose."),
                "poses": text(
                    "relaxed", f"How the person turns (one), or what it moves between. {_NAMES}", multiline=True
                ),
                "view": text("side", "From where a walk is seen: side, front, ... or degrees."),
                "frames": whole(24, 2, 4096, "Pictures of the motion."),
                "loop": ("BOOLEAN", {"default": True, "tooltip": "Whether between goes back to the first pose."}),
                **size_widgets("that of the map below, or 256x176"),
            },
            "optional": {"like": _LIKE},
        }

    def run(
        self,
        motion: Literal["turn", "walk", "between"],
        poses: str,
        view: str,
        frames: int,
        loop: bool,
        height: int,
        width: int,
        like: "Maps | None" = None,
    ) -> "tuple[Maps, Tensor]":
        """The maps and their colours."""
        from pocold.apps.comfyui import work

        return work.shown(work.moving(motion, poses, view, frames, loop, like, size_text(height, width)))


class PartMask(Node):
    """Where maps show parts of the body."""

    DESCRIPTION = "The pixels of some parts of the body, as a mask for PoCoLD Edit."
    RETURN_TYPES = ("MASK",)
    RETURN_NAMES = ("mask",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        parts = (
            "torso, arms, upper_arms, lower_arms, hands, legs, upper_legs, lower_legs, feet, head, top, trousers, body"
        )
        return {
            "required": {
                "map": socket(MAP_TYPE, "Of the photograph."),
                "parts": text("top", f"One or several of {parts}, or labels 1..24."),
                "grow": whole(2, 0, 256, "Pixels by which the mask is larger than the parts."),
            }
        }

    def run(self, map: "Maps", parts: str, grow: int) -> "tuple[Tensor]":
        """Masks, 1 on the parts."""
        from pocold.apps.comfyui import work

        return (work.part_masks(map, parts, grow),)
