"""The DensePose estimator as an ONNX file, which runs without torch and pocold."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch

from pocold.imaging.files import atomic_write
from pocold.models.densepose_estimator import load_estimator

_OPSET = 17
_NAMES = ("photo", "labels", "uv")


def export_estimator(folder: Path, output: Path) -> None:
    """Write an estimator as ONNX, atomically.

    Its input is ``photo (B, 3, H, W)`` in [-1, 1], its outputs are ``labels``, logits ``(B, 25, H, W)``, and
    ``uv (B, 2, H, W)`` in [0, 1]. Batch, height and width are free; it was trained for its ``sample_size``.

    Args:
        folder: of the estimator.
        output: file name ending in ``.onnx``.

    Raises:
        ValueError: if the name ends otherwise, the folder holds no estimator, or the package onnx is not installed.
    """
    if output.suffix.lower() != ".onnx":
        raise ValueError(f"expected a file name ending in .onnx, got {output.name}")
    if find_spec("onnx") is None:
        raise ValueError("the package onnx is not installed: pip install 'pocold[onnx]'")
    estimator = load_estimator(folder)
    with atomic_write(output) as temporary, warnings.catch_warnings():
        # the newer exporter needs one more package and fixes the sizes; the older one does what is needed here
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            estimator,
            (torch.zeros(1, 3, *estimator.size),),
            str(temporary),
            input_names=_NAMES[:1],
            output_names=_NAMES[1:],
            dynamic_axes={name: {0: "batch", 2: "height", 3: "width"} for name in _NAMES},
            opset_version=_OPSET,
            dynamo=False,
        )
