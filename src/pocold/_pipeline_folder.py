"""A pipeline's folder: ``model_index.json`` and a folder per component."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pocold.checkpoints import load_component
from pocold.diffusion.schedulers import load_scheduler
from pocold.imaging.files import read_json
from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.autoencoder import load_autoencoder
from pocold.models.densepose_estimator import load_estimator
from pocold.models.refiner import load_refiner
from pocold.models.unet import UNet


def load_parts(
    folder: Path, class_name: str, dtype: torch.dtype | None, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The components of a folder, and how its model draws.

    Args:
        folder: holds ``model_index.json``.
        class_name: that the folder must be of.
        dtype: of all networks; None keeps what the files have.
        given: components to take instead of the folder's.

    Returns:
        Component by name, and the fields of :class:`pocold.diffusion.sampling.SamplingDefaults` that are stated.

    Raises:
        ValueError: if a file is missing, truncated, of another class, or has missing or unknown keys.
    """
    if not folder.is_dir():
        raise ValueError(f"no such model folder: {folder}")
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") != class_name:
        raise ValueError(f"{folder} holds a {index.get('_class_name')}, expected a {class_name}")
    load: dict[str, Callable[[Path], Any]] = {
        "vae": lambda path: load_autoencoder(path, dtype),
        "appearance_encoder": lambda path: load_component(AppearanceEncoder, path, dtype),
        "unet": lambda path: load_component(UNet, path, dtype),
        "scheduler": lambda path: load_scheduler(index.get("scheduler"), path),
        "densepose_estimator": lambda path: load_estimator(path, dtype) if any(index.get(path.name, ())) else None,
        "refiner": lambda path: load_refiner(path, dtype) if any(index.get(path.name, ())) else None,
    }
    unknown = given.keys() - load.keys()
    if unknown:
        raise ValueError(
            f"unknown components: {', '.join(sorted(unknown))}; there are {', '.join(load)} (and dtype=...)"
        )
    sampling = index.get("sampling") or {}
    if not isinstance(sampling, dict):
        raise ValueError(f"{folder / 'model_index.json'}: expected sampling to be an object, got {sampling!r}")
    return {name: given[name] if name in given else load[name](folder / name) for name in load}, sampling
