"""The nodes that load a model and say how it draws."""

from typing import TYPE_CHECKING, Any, Literal

from pocold.apps.comfyui import host
from pocold.apps.comfyui.widgets import (
    MODEL_TYPE,
    OWN,
    SETTINGS_TYPE,
    Inputs,
    Node,
    choice,
    number,
    size_text,
    size_widgets,
    text,
    whole,
)
from pocold.apps.drawing.options import DrawOptions, Precision

if TYPE_CHECKING:
    from pocold.apps.drawing.models import Model

SCHEDULERS = ["ddim", "pndm", "dpm++", "dpm++-karras", "unipc", "ddim-trailing"]
GUIDANCE = ["pose_first", "appearance_first", "independent", "joint", "conditional", "pose_only"]


class LoadModel(Node):
    """A model folder, loaded."""

    DESCRIPTION = "Loads a PoCoLD model. Nothing is downloaded: the bundled one is part of pocold."
    RETURN_TYPES = (MODEL_TYPE,)
    RETURN_NAMES = ("model",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "folder": text(
                    "", "A model folder that pocold train or pocold convert wrote; empty is the bundled model."
                ),
                "precision": choice(
                    ["auto", "fp32", "bf16", "fp16"], "auto is fp32 on a CPU and what the folder has on a GPU."
                ),
                "device": choice(["auto", "cpu", "cuda"], "auto is the device that ComfyUI uses."),
                "scheduler": choice([OWN, *SCHEDULERS], "The sampler."),
            }
        }

    @classmethod
    def IS_CHANGED(cls, folder: str | None = "", **_: Any) -> str:
        """Another text once the folder was written anew."""
        try:
            return host.state(host.find_path(folder)) if folder and folder.strip() else "bundled"
        except ValueError:
            return "missing"

    @classmethod
    def VALIDATE_INPUTS(cls, folder: str | None = "") -> Literal[True] | str:
        """True, or what is wrong with the folder; one that another node gives is not known yet."""
        if not folder or not folder.strip():
            return True
        try:
            path = host.find_path(folder)
        except ValueError as error:
            return str(error)
        if not (path / "model_index.json").is_file():
            return f"folder: {path} is no model folder, it has no model_index.json"
        return True

    def run(self, folder: str, precision: Precision, device: str, scheduler: str) -> "tuple[Model]":
        """The model."""
        from pocold.apps.comfyui import work

        return (work.load_model(folder, precision, device, None if scheduler == OWN else scheduler),)


class Settings(Node):
    """How pictures are drawn, where it is not the model's own way."""

    DESCRIPTION = "Guidance and size for the nodes that draw. Without it they do what the model says."
    RETURN_TYPES = (SETTINGS_TYPE,)
    RETURN_NAMES = ("settings",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {
                "guidance": choice(GUIDANCE, "The formula; see docs/method.md."),
                "pose_scale": number(-1, -1, 30, 0.1, "Guidance scale of the pose; -1 is the model's own."),
                "appearance_scale": number(-1, -1, 30, 0.1, "Guidance scale of the appearance; -1 is the model's own."),
                "guidance_floor": number(
                    3, -1, 30, 0.1, "Scales decay with the noise to this; -1 keeps them constant."
                ),
                "eta": number(0, 0, 1, 0.05, "0 is deterministic DDIM, 1 is DDPM; other samplers ignore it."),
                "batch_size": whole(
                    1, 1, 64, "Pictures drawn at once: faster on a GPU, but then the last bits can differ."
                ),
                **size_widgets("the model's own size"),
            }
        }

    def run(
        self,
        guidance: str,
        pose_scale: float,
        appearance_scale: float,
        guidance_floor: float,
        eta: float,
        batch_size: int,
        height: int,
        width: int,
    ) -> tuple[DrawOptions]:
        """The settings; seed and steps are said where something is drawn."""
        options = DrawOptions(
            guidance=guidance,
            pose_scale=None if pose_scale < 0 else pose_scale,
            appearance_scale=None if appearance_scale < 0 else appearance_scale,
            guidance_floor=None if guidance_floor < 0 else guidance_floor,
            eta=eta,
            batch_size=batch_size,
            size=size_text(height, width),
        )
        return (options,)
