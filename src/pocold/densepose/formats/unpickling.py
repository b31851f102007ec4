"""Pickles read without executing anything: a short list of names is stood in for, everything else is refused.

A pickle is a program: it may call whatever it can name. Here it can name inert stand-ins only. Records of detectron2's
classes become :class:`Record`, numpy arrays :class:`Array`, both made by this file alone; tensors go through torch's
own ``weights_only`` reader. detectron2 need not be installed, and is not imported where it is.
"""

import io
import pickle
import re
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch

# The classes of results, wherever a project keeps its copy of detectron2's package: densepose.structures.chart_result,
# densepose.structures (2020), detectron2.projects.densepose.structures.chart_result, ...
_RESULT = re.compile(
    r"(?:\w+\.)*densepose\.structures(?:\.\w+)?\."
    r"(?:DensePoseChartResult(?:WithConfidences|Quantized|Compressed)?|DensePoseEmbeddingPredictorOutput|DensePoseResult)",
    re.IGNORECASE,
)
_LEGACY_TORCH = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # how files of torch.save began before it wrote zips
_TORCH_GLOBALS_LOCK = threading.Lock()


class Record:
    """An object of a foreign class: the name of the class and its attributes, without any behaviour."""

    kind: ClassVar[str] = ""
    fields: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # of classes with slots: (attributes, slots)
            state = {**(state[0] or {}), **(state[1] or {})}
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"a {self.kind} has no attributes")
        self.fields = state


class _Dtype:
    """A numpy dtype: plain numbers only."""

    def __init__(self, code: str, *_flags: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch("[biuf][1248]", code):
            raise pickle.UnpicklingError(f"arrays of {code!r} are not read, only numbers")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):  # else one byte
            self.order = state[1]

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class Array:
    """A numpy array, rebuilt from shape, type and bytes; :attr:`values` is the real one."""

    values: np.ndarray = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, content = state
        self._fill(content, dtype, shape, "F" if fortran else "C")

    def _fill(self, content: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> None:
        if not isinstance(content, bytes | bytearray) or not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("an array must be made of bytes and a type of numbers")
        values = np.frombuffer(content, dtype.numpy())
        if order == "K" and axes is not None:
            self.values = values.reshape(shape).transpose(axes)
        else:
            self.values = values.reshape(shape, order="F" if order == "F" else "C")

    @classmethod
    def _from_buffer(cls, content: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> "Array":
        array = cls()
        array._fill(content, dtype, shape, order, axes)
        return array


class _Call:
    """A function a pickle may call, and do nothing else with: not even set attributes on it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("functions have no state")


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    return Array._from_buffer(content, dtype, (), "C").values[()]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are written as latin1, not {encoding!r}")
    return text.encode("latin1")


def _storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_other: Any) -> torch.Tensor:
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("a tensor must be made of a storage")
    content, length = storage._untyped_storage, storage._untyped_storage.nbytes() // storage.dtype.itemsize
    reach = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) + 1
    if min((offset, *size, *stride)) < 0 or (0 not in size and reach > length):  # torch would enlarge the storage
        raise pickle.UnpicklingError(f"a tensor of {tuple(size)} does not fit its storage of {length} numbers")
    return torch.empty(0, dtype=storage.dtype).set_(content, offset, size, stride)


def _record(name: str) -> type[Record] | None:
    """A stand-in for a class of results, None for any other name."""
    return type(name.rpartition(".")[2], (Record,), {"kind": name}) if _RESULT.fullmatch(name) else None


def _stand_ins() -> dict[str, Any]:
    """What may be named in both forms: fresh classes for every file, so that none can leave anything in them."""
    names: dict[str, Any] = {}
    array = type("Array", (Array,), {})
    names |= {"numpy.ndarray": array, "numpy.dtype": type("Dtype", (_Dtype,), {})}
    for core in ("numpy.core", "numpy._core"):  # before and since numpy 2
        names[f"{core}.multiarray._reconstruct"] = _Call(lambda *_: array())
        names[f"{core}.multiarray.scalar"] = _Call(_scalar)
        names[f"{core}.numeric._frombuffer"] = _Call(Array._from_buffer)
    names["_codecs.encode"] = _Call(_encode)
    names["builtins.bytes"] = names["__builtin__.bytes"] = _Call(lambda: b"")  # so protocol 2 writes b""
    return names


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._names = _stand_ins() | {
            "collections.OrderedDict": _Call(OrderedDict),
            "torch._utils._rebuild_tensor_v2": _Call(_tensor),
            "torch.storage._load_from_bytes": _Call(_storage),
        }

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        if asked not in self._names:
            record = _record(asked)
            if record is None:
                raise _Refused(asked)
            self._names[asked] = record
        return self._names[asked]


class _Refused(pickle.UnpicklingError):
    """A pickle named something that no dump needs."""


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins so (at least 16 bytes, unless it is shorter) is a pickle of protocol 2 or later."""
    return len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= pickle.HIGHEST_PROTOCOL


def is_torch_zip(path: Path) -> bool:
    """Whether a file is a zip as ``torch.save`` writes them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def load_pickle(path: Path) -> Any:
    """The content of a file written by ``pickle.dump`` or ``torch.save``, without executing anything of it.

    Returns:
        Containers, numbers, strings, tensors (on the CPU), :class:`Array` and :class:`Record`.

    Raises:
        ValueError: in one line, if the file is missing, broken, or names anything but what dumps consist of.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_LEGACY_TORCH))
            file.seek(0)
            if start.startswith(b"PK") or start == _LEGACY_TORCH:
                return _load_torch(file)
            return _Unpickler(file).load()
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}") from None
    except Exception as error:  # a broken pickle can raise anything, says the module's documentation
        asked = _refused_name(error)
        if asked is not None:
            raise ValueError(
                f"{path} is refused: it names {asked}, which no DensePose dump needs and which could be made to run "
                "a program; nothing of it was executed"
            ) from None
        reason = str(error).partition("\n")[0][:160] or type(error).__name__
        raise ValueError(f"{path} cannot be read as a dump, it may be truncated: {reason}") from None


def _load_torch(file: BinaryIO) -> Any:
    # torch's list of safe names is one per process, and restored at the end of the block
    names = _stand_ins()
    while True:
        try:
            with _TORCH_GLOBALS_LOCK, torch.serialization.safe_globals([(it, name) for name, it in names.items()]):
                return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # torch wants to know names before it reads, and which a file has it tells by refusing them
            asked = _refused_name(error)
            record = _record(asked) if asked is not None and asked not in names else None
            if asked is None or record is None:
                raise
            names[asked] = record
            file.seek(0)


def _refused_name(error: Exception) -> str | None:
    """The name that was refused, by us or by torch, which tells it in the text only."""
    if isinstance(error, _Refused):
        return str(error)
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"(?:GLOBAL|global) `?([\w.]+)|from ([\w.]+) which is blocked|module ([\w.]+)", str(error))
        if found:
            return next(group for group in found.groups() if group)
    return None
