"""Maps as numpy files. Nothing is unpickled. Legend: H W map size."""

import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from pocold.densepose.formats.dumps import quantised
from pocold.densepose.maps import ChannelOrder, DensePose, without_overshoot
from pocold.imaging.files import MAX_PIXELS, atomic_write

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_BROKEN = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


def read_array(path: Path, channels: ChannelOrder = "auto") -> DensePose:
    """A map from a ``.npy`` or ``.npz`` file.

    Understood are labels ``(H, W)``; label, U and V as ``(3, H, W)`` or ``(H, W, 3)``, either floats with U, V in
    [0, 1] or whole numbers with U, V in 0..255; and in a ``.npz`` the arrays ``labels`` and ``uv (2, H, W)``,
    ``labels`` alone, or one array of any name.

    Args:
        path: the file; what it is is told by its content.
        channels: the order of three channels, see :meth:`DensePose.read`.

    Raises:
        ValueError: if the file is missing, broken, too large, or holds no map.
    """
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                return _from_archive(file, channels)
            file.seek(0)
            return _from_values(_load(file), channels)
    except FileNotFoundError:
        raise ValueError(f"no such DensePose file: {path}") from None
    except _BROKEN as error:
        raise ValueError(f"{path} cannot be read as a DensePose array: {error}") from None


def _from_archive(file: IO[bytes], channels: ChannelOrder) -> DensePose:
    with zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]

        def load(name: str) -> np.ndarray:
            with archive.open(f"{name}.npy") as member:
                return _load(member)

        if "labels" in names:
            return DensePose(load("labels"), without_overshoot(load("uv")) if "uv" in names else None)
        if len(names) != 1:
            raise ValueError(f"expected the arrays labels and uv, or a single one, got {', '.join(names) or 'none'}")
        return _from_values(load(names[0]), channels)


def _load(file: IO[bytes]) -> np.ndarray:
    """An array, once its header promises numbers of a reasonable size."""
    header = _HEADERS.get(np.lib.format.read_magic(file))
    if header is None:
        raise ValueError("it is no plain array of numbers")
    shape, _, dtype = header(file)
    if dtype.kind not in "biuf":
        raise ValueError(f"expected numbers, got {dtype}")
    if np.prod([float(side) for side in shape]) > 3 * MAX_PIXELS:
        raise ValueError(f"an array of shape {shape} is more than a map of {MAX_PIXELS // 10**6} megapixels")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _from_values(values: np.ndarray, channels: ChannelOrder) -> DensePose:
    if values.ndim == 2:
        return DensePose(values)
    if values.ndim == 3 and values.shape[0] == 3:
        values = values.transpose(1, 2, 0)
    if values.ndim != 3 or values.shape[-1] != 3 or 0 in values.shape:
        raise ValueError(f"expected labels (H, W), or label, U and V (3, H, W) or (H, W, 3), got {values.shape}")
    return DensePose.from_channels(values, channels)


def write_array(pose: DensePose, path: Path) -> None:
    """Write a map, atomically: ``.npz`` with ``labels`` and, where known, ``uv``; ``.npy`` with labels ``(H, W)`` or,
    where U and V are known, quantised ``(3, H, W)``; all but ``uv`` uint8.

    Raises:
        ValueError: if the file cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if path.suffix.lower() == ".npy":
            np.save(file, pose.labels if pose.uv is None else quantised(pose))
        else:
            arrays: dict[str, Any] = {"labels": pose.labels}
            if pose.uv is not None:
                arrays["uv"] = pose.uv
            np.savez_compressed(file, **arrays)
