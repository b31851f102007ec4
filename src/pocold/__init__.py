"""Controllable person image synthesis with pose-constrained latent diffusion.

Public names are loaded on first use: ``import pocold`` itself imports neither torch nor diffusers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pocold.appearance import AppearanceCode
    from pocold.densepose.maps import DensePose
    from pocold.pipeline import PoseTransferPipeline

__all__ = ["AppearanceCode", "DensePose", "PoseTransferPipeline"]

_MODULE_OF = {
    "AppearanceCode": "pocold.appearance",
    "DensePose": "pocold.densepose.maps",
    "PoseTransferPipeline": "pocold.pipeline",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pocold")
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'pocold' has no attribute {name!r}; public names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
