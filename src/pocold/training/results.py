"""What a training leaves behind while it goes and at its end: the averaged network, its folder, sheets to look at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from pocold.devices import PRECISIONS
from pocold.imaging import metadata
from pocold.imaging.files import atomic_folder
from pocold.training.model_card import write_card


def averaged(network: Any, weights: Mapping[str, Tensor], name: str) -> Any:
    """A copy of a network with averaged weights, to be used and not trained.

    Args:
        network: one of diffusers' kind, with a config.
        weights: of the module that is trained.
        name: of the network in that module.

    Returns:
        A network of the same class.
    """
    copied = type(network).from_config(network.config)
    own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
    copied.load_state_dict(own)
    return copied.eval()


def write_network(network: Any, folder: Path, precision: str, card: str) -> None:
    """Write the folder of one network, atomically, with its model card.

    Args:
        network: changed to the precision.
        folder: to write, or to replace.
        precision: a name of :data:`pocold.devices.PRECISIONS`.
        card: text of the card.
    """
    with atomic_folder(folder) as new:
        # ModelMixin.to warns of layers to be kept in float32 where there are none
        nn.Module.to(network, PRECISIONS[precision])
        network.save_pretrained(new)
        write_card(new, card)


def write_preview(sheet: Image.Image, folder: Path, step: int) -> None:
    """Write the sheet of a step, ``step-00001000.png``, into a folder of sheets, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata.write_png(sheet, folder / f"step-{step:08d}.png", {"step": step})
