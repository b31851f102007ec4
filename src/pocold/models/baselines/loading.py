"""The folder of a baseline, as ``pocold train`` writes it: told by its ``config.json``, read strictly."""

from pathlib import Path

import torch

from pocold.checkpoints import load_component
from pocold.imaging.files import read_json
from pocold.models.baselines.nted import NTED
from pocold.models.baselines.pidm import PIDM

BASELINES: dict[str, type[PIDM] | type[NTED]] = {"PIDM": PIDM, "NTED": NTED}


def is_baseline(folder: Path) -> bool:
    """Whether a folder holds PIDM or NTED."""
    path = folder / "config.json"
    return path.is_file() and read_json(path).get("_class_name") in BASELINES


def load_baseline(folder: Path, dtype: torch.dtype | None = None) -> PIDM | NTED:
    """PIDM or NTED from its folder.

    Args:
        folder: with ``config.json`` and weights.
        dtype: of the result; None keeps the file's.

    Raises:
        ValueError: for a folder that holds neither, or as :func:`pocold.checkpoints.load_component`.
    """
    name = read_json(folder / "config.json").get("_class_name")
    if name not in BASELINES:
        raise ValueError(f"{folder} holds a {name}, expected one of {', '.join(BASELINES)}")
    return load_component(BASELINES[name], folder, dtype)
