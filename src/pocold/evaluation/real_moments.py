"""What a Frechet distance needs of the real pictures: computed once, kept for all that is compared with them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from pocold.evaluation.metrics import Moments
from pocold.evaluation.protocols import Resize, Size, fit
from pocold.evaluation.selection import RealPictures
from pocold.imaging.files import atomic_write

Extractors = Mapping[str, Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class RealMoments:
    """Finds the moments of real pictures, or takes them from where they were kept.

    What is kept goes by all that decides it: the pictures' bytes, their size and resizing, the networks' files, the
    kind of device and torch's version.

    Attributes:
        extractors: name of the distance -> function from ``(1, 3, H, W)`` to features ``(1, D)``.
        files: of the networks, name -> checksum.
        size: (height, width) at which pictures are compared; None is each picture's own.
        resize: how they are brought to it.
        device: of the networks.
        folder: where moments are kept; None keeps nothing. It is made.
    """

    extractors: Extractors
    files: Mapping[str, str]
    size: Size | None
    resize: Resize
    device: torch.device
    folder: Path | None = None

    def of(self, real: RealPictures, looked: Callable[[], None] | None = None) -> dict[str, Moments]:
        """The moments of each distance.

        Args:
            real: the pictures.
            looked: called after each picture, as far as they are looked at.
        """
        file = None if self.folder is None else self.folder / f"{self._key(real)}.safetensors"
        if file is not None and (kept := _read(file)) is not None and kept.keys() == self.extractors.keys():
            return kept
        moments = {name: Moments() for name in self.extractors}
        for photo in real.photos():
            compared = fit(photo, self.size or photo.size[::-1], self.resize).to(self.device)
            for name, extract in self.extractors.items():
                moments[name].add(extract(compared))
            if looked is not None:
                looked()
        if file is not None and not real.skipped:  # else the report of the next one would not say what is left out
            _write(moments, file)
        return moments

    def _key(self, real: RealPictures) -> str:
        decides = {
            "pictures": real.checksum(), "size": self.size, "resize": self.resize, "files": dict(self.files),
            "distances": sorted(self.extractors), "device": self.device.type, "torch": torch.__version__,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]


def _write(moments: Mapping[str, Moments], file: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for name, of_one in moments.items():
        tensors |= {f"{name}.total": of_one.total, f"{name}.products": of_one.products}
        tensors[f"{name}.count"] = torch.tensor(of_one.count)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as temporary:
        temporary.write_bytes(save(tensors))


def _read(file: Path) -> dict[str, Moments] | None:
    """What was kept; None if there is nothing, or nothing that can be read: it is computed anew, and replaced."""
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError):
        return None
    names = {key.rpartition(".")[0] for key in tensors}
    return {
        name: Moments(int(tensors[f"{name}.count"]), tensors[f"{name}.total"], tensors[f"{name}.products"])
        for name in names
    }
