"""Engines for inference: what computes the UNet's predictions, in which precision, and why.

``torch`` runs the networks as they are. ``openvino`` (the extra of that name) packs the UNet's weights once for this
CPU. ``compile`` is ``torch.compile``. What each is worth is in benchmarks/results.md; none is used unless asked for, so
that pictures depend on nothing that happens to be installed.

Legend: B rows, C latent channels, h w latent size, L attentions, A heads, K filters, D head width.
"""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol, get_args

import torch
from torch import Tensor, nn

from pocold.appearance import AppearanceCode
from pocold.devices import fast_bf16
from pocold.models.unet import UNet, UNetOutput
from pocold.usage import EngineName

_KEPT = 2  # compiled models, each of which holds all weights: guidance that decays has two numbers of branches


class Denoiser(Protocol):
    """What the sampling loop calls: a :class:`pocold.models.unet.UNet`, or an engine in its place."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the latents that it takes."""

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor | int,
        pose: Tensor,
        appearance: AppearanceCode | None = None,
        *,
        appearance_rows: Tensor | None = None,
        hint: Tensor | None = None,
        guidance_scales: Tensor | None = None,
    ) -> UNetOutput:
        """See ``UNet.forward``."""


@dataclass(frozen=True)
class Engine:
    """A choice.

    Attributes:
        name: ``torch``, ``compile`` or ``openvino``.
        dtype: of the arithmetic.
        reason: why these, in one sentence.
    """

    name: str
    dtype: torch.dtype
    reason: str


def choose_engine(name: str, dtype: torch.dtype | None, device: torch.device) -> Engine:
    """The engine and the precision for a device.

    Args:
        name: ``torch``, ``openvino``, ``compile``, or ``auto``: OpenVINO on a CPU where it is installed, else torch.
        dtype: float32, bfloat16 or float16. None is bfloat16 on a GPU and on a CPU that is faster in it
            (:func:`pocold.devices.fast_bf16`), and float32 on others.
        device: of the pipeline.

    Raises:
        ValueError: for an unknown engine, or one that is not installed or does not go with the device or ``dtype``.
    """
    if name not in get_args(EngineName):
        raise ValueError(f"unknown engine {name!r}: expected one of {', '.join(get_args(EngineName))}")
    if dtype not in (None, torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"dtype: expected torch.float32, bfloat16 or float16, got {dtype!r}")
    reasons = []
    if dtype is None:
        fast, reason = fast_bf16() if device.type == "cpu" else (True, "has bfloat16 units")
        dtype = torch.bfloat16 if fast else torch.float32
        reasons.append(f"this {device.type.upper()} {reason}")
    installed = find_spec("openvino") is not None
    if name == "auto":
        fits = device.type == "cpu" and dtype != torch.float16
        name = "openvino" if fits and installed else "torch"
        if not fits:
            reasons.append(f"OpenVINO is for float32 and bfloat16 on a CPU, not for {device.type}")
        else:
            reasons.append(f"OpenVINO is {'' if installed else 'not '}installed")
    elif name == "openvino":
        if not installed:
            raise ValueError("the engine openvino needs OpenVINO: pip install 'pocold[openvino]'; or use torch")
        if device.type != "cpu" or dtype == torch.float16:
            raise ValueError(
                f"the engine openvino takes float32 or bfloat16 on a CPU, got {dtype} on {device.type}; use torch"
            )
    return Engine(name, dtype, "; ".join(reasons) or "as asked for")


class OpenVINOUNet:
    """A UNet that OpenVINO computes, called like it; for inference on a CPU.

    A model is converted and compiled for each combination of shapes (rows, size, people) at its first use, which takes
    seconds; the last ones are kept. Safe in threads.

    Args:
        unet: in float32 on the CPU; its weights are read at each conversion.
        dtype: of the arithmetic, float32 or bfloat16. Inputs and results are float32.
    """

    dtype = torch.float32

    def __init__(self, unet: UNet, dtype: torch.dtype) -> None:
        self.unet, self._precision = unet, {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor | int,
        pose: Tensor,
        appearance: AppearanceCode | None = None,
        *,
        appearance_rows: Tensor | None = None,
        hint: Tensor | None = None,
        guidance_scales: Tensor | None = None,
    ) -> UNetOutput:
        """See ``UNet.forward``; its ValueErrors are raised at the first use of a shape."""
        values = () if appearance is None else appearance.values
        named = {"hint": hint, "guidance_scales": guidance_scales}
        extra = {name: tensor for name, tensor in named.items() if tensor is not None}
        inputs = [latents, torch.as_tensor(timestep).float(), pose, *extra.values(), *values]
        inputs = [tensor.float().contiguous() for tensor in inputs]
        rows = None if appearance_rows is None else tuple(appearance_rows.tolist())
        key = (rows, *extra, len(values), *(tuple(tensor.shape) for tensor in inputs[: 3 + len(extra)]))
        key = (*key, None if appearance is None else len(appearance), torch.get_num_threads())
        with self._lock:
            if key not in self._compiled:
                flat = _Flat(self.unet, appearance_rows, tuple(extra), with_code=appearance is not None)
                self._compiled[key] = _compile(flat.eval(), inputs, self._precision)
                if len(self._compiled) > _KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(key)
            request = self._compiled[key].create_infer_request()  # one for each call: threads would share one
        result = request.infer([tensor.numpy() for tensor in inputs], share_inputs=True)
        return UNetOutput(torch.from_numpy(result[0]))


class _Flat(nn.Module):
    """A UNet whose inputs are tensors in a row: latents, time step, pose, those of ``extra``, the code's values."""

    def __init__(self, unet: UNet, rows: Tensor | None, extra: tuple[str, ...], with_code: bool) -> None:
        super().__init__()
        self.unet, self._extra, self._with_code = unet, extra, with_code
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, latents: Tensor, timestep: Tensor, pose: Tensor, *rest: Tensor) -> Tensor:
        extra, values = dict(zip(self._extra, rest, strict=False)), rest[len(self._extra) :]
        code = None
        if self._with_code:
            code = AppearanceCode(values, tuple(value[..., 0] for value in values), values[0])  # masses are not read
        return self.unet(latents, timestep, pose, code, appearance_rows=self.rows, **extra).sample


def _compile(module: nn.Module, inputs: Sequence[Tensor], precision: str) -> Any:
    """A module as an OpenVINO model for inputs of these shapes, on this process's number of threads."""
    import openvino

    shapes = [openvino.PartialShape(list(tensor.shape)) for tensor in inputs]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the trace fixes the shapes: that is what is wanted
        traced = torch.jit.trace(module, tuple(inputs), check_trace=False)
    model = openvino.convert_model(traced, example_input=tuple(inputs), input=shapes)
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.Core().compile_model(model, "CPU", settings)
