"""Weights on disk: reading them strictly, and telling models apart.

A model folder is a diffusers pipeline folder: ``model_index.json``, and one folder per component with ``config.json``
and safetensors. Nothing is ever unpickled: ``.bin`` files are read with ``weights_only=True``.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import align_module_device
from safetensors.torch import load_file
from torch import Tensor, nn

from pocold.imaging.files import read_json

BUNDLED = Path(__file__).parent / "weights"  # the pipeline folder that comes with pocold
WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_SAMPLES_PER_TENSOR = 4


def read_weights(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The state dict of one component folder, on the CPU; safetensors are preferred to ``.bin``.

    Raises:
        ValueError: if the folder has neither, or the file is truncated or holds anything but tensors.
    """
    folder = Path(folder)
    path = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if path is None:
        raise ValueError(f"{folder} holds no weights: expected {' or '.join(WEIGHT_FILES)}")
    return read_state(path)


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in one file, safetensors or a pickle of plain tensors, on the CPU.

    Raises:
        ValueError: if there is no such file, or it is truncated or holds anything but tensors.
    """
    if not path.is_file():
        raise ValueError(f"no such weight file: {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken pickles raise nearly anything: KeyError, IndexError, struct.error, ...
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read: it is truncated or not a plain state dict ({first_line})") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a state dict, a mapping of names to tensors")
    return dict(state)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load ``state`` into ``module``; every name and shape must match.

    Raises:
        ValueError: naming up to five missing, unknown or misshapen entries.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    misshapen = sorted(
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    )
    problems = [
        f"{what}: {_some(names)}"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", misshapen))
        if names
    ]
    if problems:
        raise ValueError(f"{origin} does not fit {type(module).__name__}; {'; '.join(problems)}")
    module.load_state_dict(dict(state))


def load_component(
    component: type[Any],
    folder: Path,
    dtype: torch.dtype | None = None,
    rename: Callable[[str], str] = str,
    derived: Sequence[str] = (),
) -> Any:
    """Build a diffusers model from its folder, strictly.

    Args:
        component: a ``ModelMixin`` class.
        folder: with ``config.json`` and weights.
        dtype: of the result; None keeps the file's.
        rename: today's name for a name in the file, for formats that have changed theirs.
        derived: keys that the class writes into its config, but does not take.

    Raises:
        ValueError: if anything is missing, unknown, broken, or written for another class.
    """
    config = {key: value for key, value in read_json(folder / "config.json").items() if key not in derived}
    name = config.get("_class_name", component.__name__)
    if name != component.__name__:
        raise ValueError(f"{folder} holds a {name}, expected a {component.__name__}")
    state = {rename(name): tensor for name, tensor in read_weights(folder).items()}
    known = component._get_init_keys(component)
    unknown = sorted(key for key in config if key not in known and not key.startswith("_"))
    if unknown:
        raise ValueError(f"{folder / 'config.json'} has unknown keys: {_some(unknown)}")
    # Some values leave no trace in the weights (heads), so a default must not stand in for them. Autoencoders of other
    # origin, written by earlier diffusers versions, have fewer keys, and diffusers' defaults are what they mean; so do
    # those of our own models that were written before a key existed.
    later: frozenset[str] = getattr(component, "later_config_keys", frozenset())
    missing = sorted(known - config.keys() - later - {"self"}) if component.__module__.startswith("pocold.") else []
    if missing:
        raise ValueError(f"{folder / 'config.json'} lacks the keys: {_some(missing)}")
    try:
        model = component.from_config(config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{folder / 'config.json'} describes no {name}: {error}") from error
    dtypes = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    if dtype is None and len(dtypes) == 1:
        dtype = dtypes.pop()
    if dtype is not None:
        nn.Module.to(model, dtype)  # ModelMixin.to warns about layers to be kept in float32 even where there are none
    load_strictly(model, state, str(folder))
    # diffusers remembers which values the file did not name, and copies that from_config makes have the defaults again,
    # whatever was registered since
    model.register_to_config(_use_default_values=[])
    return model.eval()


def weights_fingerprint(*modules: nn.Module) -> Tensor:
    """A small sample of the weights, float32: equal models differ by rounding only, whatever their dtype and device."""
    samples: list[Tensor] = []
    for module in modules:
        for part in module.modules():
            # offloaded weights are elsewhere until someone needs them
            with align_module_device(part) if hasattr(part, "_hf_hook") else nullcontext():
                for parameter in part.parameters(recurse=False):
                    # vectors are often still at their initial ones and zeros, and tell nothing
                    if parameter.ndim > 1:
                        flat = parameter.detach().flatten()
                        step = max(1, len(flat) // _SAMPLES_PER_TENSOR)
                        samples.append(flat[::step][:_SAMPLES_PER_TENSOR].float())
    # One transfer per run of tensors on one device, not one per tensor; the order is the same wherever they are.
    runs = groupby(samples, key=lambda sample: sample.device)
    return torch.cat([torch.cat(list(run)).cpu() for _, run in runs])


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of all weights and their names, as hex: tells what one model computed from what another did."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
