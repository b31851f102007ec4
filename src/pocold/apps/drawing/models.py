"""The model that a command draws with."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from pocold.apps.drawing.options import DrawOptions, EngineName, ModelOptions, Precision
from pocold.checkpoints import BUNDLED, weights_hash
from pocold.devices import PRECISIONS, choose_device
from pocold.models.densepose_estimator import open_estimator
from pocold.pipeline import PoseTransferPipeline


class Model(NamedTuple):
    """A pipeline on its device, the name of its folder, and the hash of the weights in it, whatever the precision."""

    pipeline: PoseTransferPipeline
    name: str
    sha256: str


def open_model(
    folder: Path | None = None, precision: Precision = "auto", device: str = "auto", engine: EngineName = "torch"
) -> Model:
    """Load a model folder.

    Args:
        folder: None takes the bundled one.
        precision: ``auto`` is ``fp32`` on a CPU, where half precision is up to four times slower unless the processor
            has matrix instructions for it, and pictures should not depend on that; on a GPU what the folder has.
        device: see :func:`pocold.devices.choose_device`.
        engine: see ``PoseTransferPipeline.optimize``. With another than ``torch`` a precision of ``auto`` is what that
            chooses.

    Raises:
        ValueError: if there is no such folder, device or engine, or the folder holds no pipeline.
    """
    found = folder or BUNDLED
    if found.is_dir() and not (found / "model_index.json").is_file():
        raise ValueError(f"--model: {found} is no model folder, it has no model_index.json")
    place = choose_device(device)
    pipeline = PoseTransferPipeline.from_pretrained(found)
    digest = pipeline_hash(pipeline)
    if place.type != "cpu":  # where it was read to
        pipeline.to(place)
    if engine != "torch":
        pipeline.optimize(engine, None if precision == "auto" else PRECISIONS[precision])
    elif precision != "auto" or place.type == "cpu":
        pipeline.optimize("torch", torch.float32 if precision == "auto" else PRECISIONS[precision])
    pipeline.set_progress_bar_config(disable=True)
    return Model(pipeline, found.resolve().name, digest)


def with_estimator(model: Model) -> Model:
    """A model with an estimator, the bundled one if its folder has none: read once, not for every photograph."""
    if model.pipeline.densepose_estimator is None:
        model.pipeline.register_modules(densepose_estimator=open_estimator().to(model.pipeline.device))
    return model


def open_for(options: ModelOptions) -> Model:
    """The model that the options name, with the scheduler that they name."""
    model = open_model(options.model, options.precision, options.device, options.engine)
    if isinstance(options, DrawOptions) and options.scheduler is not None:
        model.pipeline.set_scheduler(options.scheduler)
    return model


def pipeline_hash(pipeline: PoseTransferPipeline) -> str:
    """SHA-256 of all weights of a pipeline, in the precision that they have."""
    return weights_hash(nn.ModuleDict(_networks(pipeline)))


def _networks(pipeline: PoseTransferPipeline) -> dict[str, nn.Module]:
    """All that decides how a picture looks, by name."""
    networks = {"vae": pipeline.vae, "appearance_encoder": pipeline.appearance_encoder, "unet": pipeline.unet}
    return networks if pipeline.refiner is None else networks | {"refiner": pipeline.refiner}
