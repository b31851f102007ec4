"""What a refiner learns from, computed once: pairs completed on the body and drawn, as flat arrays on disk.

Completing a pair takes tens of milliseconds and drawing one longer, so both are done before training. A folder holds
``repairs.json`` and one array per key, uint8, read by memory mapping; a half-made one goes on where it stopped.

Legend: N pairs, H W picture size.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from pocold.data.backdrops import Scenery
from pocold.data.contents import require_same
from pocold.data.pairs import Sample
from pocold.densepose.completion import complete
from pocold.densepose.correspondence import Photograph, Surface, uv_steps
from pocold.densepose.maps import DensePose
from pocold.densepose.relighting import complete_relit
from pocold.imaging.files import read_json
from pocold.imaging.images import from_uint8, to_bytes

# 1: completed from rims and faces; 2: without what stands off the body; 3: with edges of arms over the body;
# 4: with skirts as trousers; 5: of the nearest pixels, feet without shoes
FORMAT = 6
INDEX, _PARTIAL = "repairs.json", "partial.json"
CHANNELS = {"drawn": 3, "completed": 3, "confidence": 1, "target": 3, "labels": 0, "uv": 2}  # 0: no axis of channels


class RepairPairs(Dataset[dict[str, Any]]):
    """Pairs of a folder by index.

    A sample holds ``drawn``, ``completed``, ``target`` float32 ``(3, H, W)`` in [-1, 1], ``confidence`` float32
    ``(1, H, W)`` in [0, 1], ``labels`` uint8 ``(H, W)`` and ``uv`` float32 ``(2, H, W)`` in [0, 1].

    Args:
        root: the folder.
        flip: probability of the mirrored pair.
        seed: of the flips, which depend on seed, epoch and index alone.

    Raises:
        ValueError: if there is no such folder, or it is of another format or incomplete.
    """

    def __init__(self, root: str | os.PathLike[str], flip: float = 0.0, seed: int = 0) -> None:
        self.root, self.flip, self.seed = Path(root), flip, seed
        self.index = read_json(self.root / INDEX)
        if self.index.get("format") != FORMAT:
            raise ValueError(f"{self.root}: expected pairs of format {FORMAT}; remove the folder to make them again")
        self.size: tuple[int, int] = tuple(self.index["size"])
        self.count = int(self.index["count"])
        self._arrays: dict[str, np.ndarray] = {}
        self._owner = -1
        for name in CHANNELS:
            path, wanted = self.root / f"{name}.u8", int(np.prod(_shape(name, self.count, self.size)))
            if not path.is_file() or path.stat().st_size < wanted:
                raise ValueError(f"{path} should have {wanted} bytes: remove the folder to make the pairs again")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        return self.at(index % len(self), 0)

    def at(self, index: int, epoch: int) -> dict[str, Any]:
        """The sample of a pair in an epoch."""
        rows = {name: torch.from_numpy(np.array(self._array(name)[index])) for name in CHANNELS}
        if self.flip and np.random.default_rng([self.seed, epoch, index]).random() < self.flip:
            rows = _mirrored(rows)
        return sample_of(rows)

    def _array(self, name: str) -> np.ndarray:
        if self._owner != os.getpid():  # a forked worker opens its own
            self._arrays, self._owner = {}, os.getpid()
        if name not in self._arrays:
            shape = _shape(name, self.count, self.size)
            self._arrays[name] = np.memmap(self.root / f"{name}.u8", np.uint8, mode="r", shape=shape)
        return self._arrays[name]


def sample_of(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rows as they lie on disk -> a sample of :class:`RepairPairs`."""
    pictures = {name: from_uint8(rows[name]) for name in ("drawn", "completed", "target")}
    return pictures | {
        "confidence": rows["confidence"].float() / 255,
        "labels": rows["labels"],
        "uv": rows["uv"].float() / 255,
    }


def _mirrored(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Columns reversed, left and right labels exchanged, U and V turned."""
    pose = DensePose(rows["labels"].numpy(), rows["uv"].float().div(255).numpy()).hflip()
    flipped = {name: row.flip(-1) for name, row in rows.items()}
    assert pose.uv is not None
    flipped["labels"] = torch.from_numpy(np.ascontiguousarray(pose.labels))
    flipped["uv"] = torch.from_numpy(np.round(pose.uv * 255).astype(np.uint8))
    return flipped


def _shape(name: str, count: int, size: tuple[int, int]) -> tuple[int, ...]:
    channels = CHANNELS[name]
    return (count, channels, *size) if channels else (count, *size)


def write_repairs(
    root: Path,
    batches: Callable[[int], Iterator[Mapping[str, Tensor]]],
    count: int,
    about: dict[str, Any],
    on_batch: Callable[[int], None] | None = None,
) -> None:
    """Make a folder, or finish one that was begun with the same settings.

    Args:
        root: the folder.
        batches: (pairs already there) -> rows of the pairs after them, uint8 tensors named as in :data:`CHANNELS`.
        count: of the pairs; fewer if the batches end before.
        about: the settings that decide what comes out, kept in the index.
        on_batch: called with the pairs there are after each batch.

    Raises:
        ValueError: if the folder was begun with other settings.
    """
    root.mkdir(parents=True, exist_ok=True)
    begun: dict[str, Any] = {"about": about, "done": 0, "size": [0, 0]}
    if (root / _PARTIAL).is_file():
        begun = read_json(root / _PARTIAL)
    _require_same(root, begun["about"], about)
    done = int(begun["done"])
    arrays: dict[str, np.memmap] = {}
    size: tuple[int, int] = tuple(begun["size"])
    for rows in batches(done):
        size = (rows["labels"].shape[-2], rows["labels"].shape[-1])
        for name in CHANNELS:
            if name not in arrays:
                path, shape = root / f"{name}.u8", _shape(name, count, size)
                path.touch()
                os.truncate(path, int(np.prod(shape)))
                arrays[name] = np.memmap(path, np.uint8, mode="r+", shape=shape)
            arrays[name][done : done + len(rows["labels"])] = rows[name].numpy()
        done += len(rows["labels"])
        for array in arrays.values():
            array.flush()
        _write(root / _PARTIAL, {"about": about, "done": done, "size": size})
        if on_batch is not None:
            on_batch(done)
    _write(root / INDEX, {"format": FORMAT, "count": done, "size": size, "about": about})
    (root / _PARTIAL).unlink(missing_ok=True)


def check_repairs(root: Path, about: dict[str, Any]) -> bool:
    """Whether a whole folder of these settings is there.

    Raises:
        ValueError: if it is there with other settings.
    """
    if not (root / INDEX).is_file():
        return False
    _require_same(root, read_json(root / INDEX).get("about", {}), about)
    return True


def _require_same(root: Path, before: dict[str, Any], about: dict[str, Any]) -> None:
    what = f"{root} holds pairs made with other settings, or of other pictures"
    require_same(before, about, what, "choose another pairs.folder, or remove this one")


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    temporary.replace(path)


# -- what is computed of a pair ---------------------------------------------------------------------------------------


def completed_rows(sample: Sample, relit: bool = False) -> dict[str, Tensor]:
    """The rows of a pair but for ``drawn``, uint8; and with them the source: ``source``, ``source_labels``,
    ``source_uv``.

    Args:
        sample: with U and V.
        relit: completed in the light of the pose.
    """
    steps = {role: uv_steps(sample[f"{role}_uv"]) for role in ("source", "target")}  # type: ignore[literal-required]
    source = to_bytes(sample["source"])
    surface = Surface(((1.0, (Photograph(source, sample["source_pose"], steps["source"]),)),))
    completed, confidence = (complete_relit if relit else complete)(surface, sample["target_pose"], steps["target"])
    return {
        "completed": to_bytes(completed),
        "confidence": (confidence[None] * 255).round().to(torch.uint8),
        "target": to_bytes(sample["target"]),
        "labels": sample["target_pose"],
        "uv": steps["target"],
        "source": source,
        "source_labels": sample["source_pose"],
        "source_uv": steps["source"],
    }


def change_backdrop(sample: Sample, photographs: tuple[str, ...], generator: torch.Generator) -> Sample:
    """The pair before another backdrop, the same in both pictures: a photograph's part, or a drawn one.

    Args:
        sample: with garment maps; without any it is returned as it is.
        photographs: files; without any, backdrops are drawn.
        generator: decides everything.
    """
    if "source_garments" not in sample:
        return sample
    behind = Scenery(photographs).backdrop(sample["target"], generator)
    changed: dict[str, Any] = dict(sample)
    for role in ("source", "target"):
        person = ((changed[f"{role}_garments"] > 0) | (changed[f"{role}_pose"] > 0)).float()
        share = F.avg_pool2d(person[None, None], 3, stride=1, padding=1)[0] * person  # soft, without the old one's halo
        changed[role] = torch.lerp(behind, changed[role], share)
    return changed  # type: ignore[return-value]
