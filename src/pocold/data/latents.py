"""Latents that were computed once: written beside their maps as flat arrays, read by memory mapping.

A folder per split with ``latents.json`` (which autoencoder, sizes, names) and raw arrays: ``moments.f16`` (the
encoder's mean and log-variance of every picture), ``labels.u8`` (its DensePose labels at picture size), ``pairs.i32``
and, where asked for, ``uv.f16`` (U, V at latent size, per picture) and ``hints.f16`` (per pair). Mirrored pictures are
pictures of their own, in ``*.mirrored.*``: an autoencoder does not commute with mirroring.

Legend: C latent channels, h w latent size, H W picture size.
"""

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from pocold.data.skipping import MissingSplitError, check_split
from pocold.imaging.files import atomic_folder, read_json

FORMAT = 3  # 1 had hints whose holes were grey; 2 did not know which pictures it was made of
INDEX = "latents.json"
_DTYPES = {"f16": np.float16, "u8": np.uint8, "i32": np.int32}
PER_PICTURE = ("moments.f16", "labels.u8", "uv.f16")
PER_PAIR = ("hints.f16",)


class LatentPairs(Dataset[dict[str, Any]]):
    """Pairs of cached latents by index.

    A sample holds ``source_moments``, ``target_moments`` float32 ``(2C, h, w)`` as the encoder gives them (mean, log of
    the variance), ``source_pose``, ``target_pose`` uint8 ``(H, W)``, and if cached ``target_uv`` float32 ``(2, h, w)``
    and ``hint`` float32 ``(C + 1, h, w)``.

    Args:
        root: the folder that ``pocold data latents`` wrote.
        split: ``train`` or ``test``.
        flip: probability of the mirrored pair; needs a cache with mirrored pictures.
        seed: of the flips, which depend on seed, epoch and index alone.

    Raises:
        ValueError: if there is no such cache, it is of another format or incomplete, or flips are asked of one without.
    """

    def __init__(self, root: str | os.PathLike[str], split: str = "train", flip: float = 0.0, seed: int = 0) -> None:
        check_split(split)
        self.root = Path(root) / split
        if not (self.root / INDEX).is_file():
            raise MissingSplitError(f"{root} holds no cached latents of the split {split!r}: expected {split}/{INDEX}")
        self.index = read_json(self.root / INDEX)
        if self.index.get("format") != FORMAT:
            raise ValueError(f"{self.root}: expected cached latents of format {FORMAT}; cache them again")
        if flip and not self.index["mirrored"]:
            raise ValueError(f"{self.root} has no mirrored pictures: set data.flip to 0, or cache with --mirrored")
        self.flip, self.seed = flip, seed
        self._arrays: dict[str, np.ndarray] = {}
        self._owner = -1
        for name, shape in self.index["arrays"].items():
            wanted = int(np.prod(shape)) * np.dtype(_DTYPES[name.rsplit(".", 1)[-1]]).itemsize
            path = self.root / name
            if not path.is_file() or path.stat().st_size != wanted:
                raise ValueError(f"{path} should have {wanted} bytes: the cache is incomplete; make it again")
        self._epoch = 0

    @property
    def autoencoder(self) -> str:
        """Hash of the autoencoder that made the latents; see ``checkpoints.weights_hash``."""
        return str(self.index["autoencoder"])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        height, width = self.index["size"]
        return height, width

    @property
    def hint_completed(self) -> bool:
        """Whether the hints are completed on the body; those of older caches are not."""
        return bool(self.index.get("hint_completed", False))

    @property
    def made_of(self) -> dict[str, str]:
        """Which pictures the latents are of (:func:`pocold.data.contents.data_checksum`), and how they were framed."""
        return {"pictures, maps and pairs": str(self.index["contents"]), "frame": str(self.index["frame"])}

    @property
    def skipped(self) -> dict[str, str]:
        """Pictures left out when the cache was made, and why."""
        return dict(self.index["skipped"])

    def set_epoch(self, epoch: int) -> None:
        """Another epoch draws other flips."""
        self._epoch = epoch

    def __len__(self) -> int:
        return int(self.index["arrays"]["pairs.i32"][0])

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        return self.at(index, self._epoch)

    def at(self, index: int, epoch: int) -> dict[str, Any]:
        """The sample of a pair in an epoch."""
        mirrored = self.flip > 0 and np.random.default_rng([self.seed, epoch, index]).random() < self.flip
        source, target = (int(i) for i in self._array("pairs.i32")[index])
        sample: dict[str, Any] = {}
        for role, picture in (("source", source), ("target", target)):
            sample[f"{role}_moments"] = self._row("moments.f16", picture, mirrored).float()
            sample[f"{role}_pose"] = self._row("labels.u8", picture, mirrored)
        if "uv.f16" in self.index["arrays"]:
            sample["target_uv"] = self._row("uv.f16", target, mirrored).float()
        if "hints.f16" in self.index["arrays"]:
            sample["hint"] = self._row("hints.f16", index, mirrored).float()
        return sample

    def _row(self, name: str, row: int, mirrored: bool) -> Tensor:
        return torch.from_numpy(np.array(self._array(mirrored_name(name) if mirrored else name)[row]))

    def _array(self, name: str) -> np.ndarray:
        if self._owner != os.getpid():  # a forked worker opens its own
            self._arrays, self._owner = {}, os.getpid()
        if name not in self._arrays:
            dtype = _DTYPES[name.rsplit(".", 1)[-1]]
            self._arrays[name] = np.memmap(self.root / name, dtype, mode="r", shape=tuple(self.index["arrays"][name]))
        return self._arrays[name]


def mirrored_name(name: str) -> str:
    """The file of the mirrored pictures beside ``name``."""
    stem, ending = name.rsplit(".", 1)
    return f"{stem}.mirrored.{ending}"


def collate_latents(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples of :class:`LatentPairs`."""
    return default_collate(list(samples))


class LatentWriter:
    """Writes one split of a cache, row by row, atomically: nothing is there before :meth:`close`.

    Use as a context manager: rows given by :meth:`append` within the block, the index at its end.

    Args:
        folder: of the split.
        about: goes into the index: ``autoencoder``, ``size``, ``mirrored``, ...
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}
        self._shapes: dict[str, list[int]] = {}

    def __enter__(self) -> "LatentWriter":
        self._new = self._stack.enter_context(atomic_folder(self.folder))
        return self

    def append(self, name: str, rows: np.ndarray) -> None:
        """Add rows ``(n, ...)`` to an array."""
        dtype = _DTYPES[name.rsplit(".", 1)[-1]]
        if name not in self._files:
            self._files[name] = (self._new / name).open("wb")
            self._shapes[name] = [0, *rows.shape[1:]]
        assert [*rows.shape[1:]] == self._shapes[name][1:]
        self._files[name].write(np.ascontiguousarray(rows, dtype).tobytes())
        self._shapes[name][0] += len(rows)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for file in self._files.values():
            file.close()
        if kind is None:
            index = {"format": FORMAT, **self.about, "arrays": self._shapes}
            (self._new / INDEX).write_text(json.dumps(index, indent=1) + "\n")
        self._stack.__exit__(kind, error, trace)
