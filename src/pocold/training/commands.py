"""The bodies of ``pocold train``, ``distill``, ``train-autoencoder``, ``train-estimator``, ``train-refiner`` and ``data
latents``.

Heavy imports stay inside.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pocold.usage import OUTPUT_ONCE_OUT

Config = Annotated[Path, tyro.conf.Positional]


def train(config: Config) -> None:
    """Train a pose transfer pipeline on what a config says, or go on where the same command stopped.

    A config whose model.method is pidm or nted trains that baseline. Every field of the config is also a flag after it,
    such as --run.max-steps 1000: "pocold train CONFIG --help" lists them. Several processes: torchrun --nproc-per-node
    N -m pocold train CONFIG.

    Args:
        config: TOML file, such as configs/toy.toml.
    """
    raise AssertionError(f"{config}: see run_configured")


def distill(config: Config) -> None:
    """Make a pipeline that draws like another one with fewer evaluations, or go on where the same command stopped.

    First its guidance into one prediction, whose scales can still be chosen; then its steps into few. Every field of
    the config is also a flag after it: "pocold distill CONFIG --help" lists them.

    Args:
        config: TOML file, such as configs/toy-guidance.toml, then configs/toy-steps.toml.
    """
    raise AssertionError(f"{config}: see run_configured")


def train_autoencoder(config: Config) -> None:
    """Train an autoencoder for pose transfer, or go on where the same command stopped.

    Every field of the config is also a flag after it: "pocold train-autoencoder CONFIG --help" lists them.

    Args:
        config: TOML file, such as configs/toy-autoencoder.toml.
    """
    raise AssertionError(f"{config}: see run_configured")


def train_estimator(config: Config) -> None:
    """Train a network that finds DensePose maps in photographs, or go on where the same command stopped.

    Every field of the config is also a flag after it: "pocold train-estimator CONFIG --help" lists them.

    Args:
        config: TOML file, such as configs/toy-estimator.toml.
    """
    raise AssertionError(f"{config}: see run_configured")


def train_refiner(config: Config) -> None:
    """Train a network that repairs what a pipeline draws, or go on where the same command stopped.

    Every field of the config is also a flag after it: "pocold train-refiner CONFIG --help" lists them.

    Args:
        config: TOML file, such as configs/toy-refiner.toml.
    """
    raise AssertionError(f"{config}: see run_configured")


def run_configured(command: str, arguments: Sequence[str]) -> None:
    """``pocold COMMAND CONFIG [--field value ...]`` for the commands above, whose flags depend on the file.

    Raises:
        ValueError: if no config is named, or for whatever the training finds wrong.
    """
    from pocold.training.config_files import parse_flags, read_config, read_toml

    if not arguments or arguments[0].startswith("-"):
        raise ValueError(f"expected a config file, then flags: pocold {command} CONFIG.toml [--run.max-steps 1000 ...]")
    path, flags = Path(arguments[0]), arguments[1:]
    module, body, config = _BODIES[command]
    if command == "train":
        model = read_toml(path).get("model", {})
        if isinstance(model, dict) and "method" in model:
            method = str(model["method"])
            if method not in _METHODS:
                known = ", ".join(_METHODS)
                raise ValueError(f"{path}: unknown model.method {method!r}: expected {known}, or none for a pipeline")
            module, body, config = _METHODS[method]
    found = import_module(f"pocold.training.{module}")
    kind = getattr(found, config)
    print(getattr(found, body)(parse_flags(kind, read_config(kind, path), flags, f"pocold {command} {path}")))


_BODIES = {  # module, function and config of each
    "train": ("transfer", "train", "TrainConfig"),  # or one of the next list
    "distill": ("distillation", "distill", "DistillTrainConfig"),
    "train-autoencoder": ("autoencoder", "train_autoencoder", "AutoencoderTrainConfig"),
    "train-estimator": ("estimator", "train_estimator", "EstimatorTrainConfig"),
    "train-refiner": ("refiner", "train_refiner", "RefinerTrainConfig"),
}
_METHODS = {  # likewise, by what a config of pocold train has as model.method
    "pidm": ("pidm", "train_pidm", "PidmTrainConfig"),
    "nted": ("nted", "train_nted", "NtedTrainConfig"),
}
CONFIGURED: dict[str, Callable[..., Any]] = {
    "train": train,
    "distill": distill,
    "train-autoencoder": train_autoencoder,
    "train-estimator": train_estimator,
    "train-refiner": train_refiner,
}


def latents(
    folder: tyro.conf.Positional[Path],
    vae: Path,
    output: Annotated[Path, OUTPUT_ONCE_OUT],
    size: str | None = None,
    frame: Literal["pad", "crop", "stretch"] = "pad",
    layout: Literal["auto", "folder", "deepfashion", "market1501", "shards"] = "auto",
    maps: tuple[str, ...] = (),
    channels: Literal["auto", "iuv", "vui"] = "auto",
    pictures: str | None = None,
    lmdb_key: str | None = None,
    splits: tuple[Literal["train", "test"], ...] = ("train",),
    mirrored: bool = True,
    hint: bool = False,
    hint_completed: bool = False,
    uv: bool = False,
    batch_size: int = 16,
    on_error: Literal["raise", "skip"] = "raise",
    device: str = "auto",
) -> None:
    """Encode every picture of a data set once, for "pocold train --data.latents".

    Args:
        folder: The data set: a folder of people, DeepFashion, Market-1501, or shards.
        vae: Folder of the autoencoder. Training refuses latents of another one.
        output: Folder to write.
        size: HEIGHTxWIDTH that pictures are framed to; their own if not given.
        frame: How they are framed.
        layout: What the data set is; auto looks.
        maps: Where DensePose maps lie, such as "iuv/{path}.png"; known are {folder}, {stem}, {path}, {name}, {split}.
        channels: Where these maps have the label: iuv in the red channel, vui in the blue one.
        pictures: DeepFashion only: folder of the pictures or of an lmdb, such as 256-256.
        lmdb_key: DeepFashion only: key of a picture in the lmdb.
        splits: Which splits to encode.
        mirrored: Encode mirrored pictures too, for training with data.flip.
        hint: Encode for every pair the source warped into the target's pose, for models with surface_hint.
        hint_completed: Complete these on the body, for models with hint_completed.
        uv: Keep U and V, for models with pose_encoding iuv.
        batch_size: Pictures encoded at once.
        on_error: Stop at a missing or broken file, or leave its pairs out and list it.
        device: Such as cpu or cuda; auto takes a GPU where there is one.
    """
    import torch

    from pocold.data.commands import counting
    from pocold.data.opening import open_data
    from pocold.data.pairs import PairedTransform
    from pocold.densepose.beside import Maps
    from pocold.devices import choose_device
    from pocold.models.autoencoder import load_autoencoder
    from pocold.people.body.camera import parse_size
    from pocold.training.latents import cache_latents

    transform = PairedTransform(
        None if size is None else parse_size(size), frame, surface_hint=hint, hint_completed=hint_completed, uv=uv
    )
    patterns = [Maps(pattern, channels) for pattern in maps] or None
    data: dict[str, Any] = {
        split: open_data(folder, split, layout, transform, on_error, patterns, pictures, lmdb_key) for split in splits
    }
    autoencoder = load_autoencoder(vae, torch.float32)
    if device == "auto" and torch.accelerator.is_available():
        autoencoder.to(torch.accelerator.current_accelerator())
    else:
        autoencoder.to(choose_device(device))
    with counting("encoding pictures") as count:
        pairs = cache_latents(
            data, autoencoder, output, transform, mirrored=mirrored, batch_size=batch_size, count=count
        )
    for split, number in pairs.items():
        skipped = data[split].skipped
        print(f"{split}: {number} pairs, {len(skipped)} pictures skipped")
        for name, reason in skipped.items():
            print(f"  {name}: {reason}")
