"""``pocold data latents``: encode every picture of a data set once, for all epochs to come."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pocold.checkpoints import weights_hash
from pocold.data.contents import Contents
from pocold.data.latents import LatentWriter, mirrored_name
from pocold.data.pairs import PairedTransform, Sample, hflip
from pocold.data.pictures import Group, PairDataset
from pocold.data.shards import ShardPairs
from pocold.densepose.encoding import resize_labels
from pocold.models import autoencoder


@torch.no_grad()
def cache_latents(
    splits: Mapping[str, PairDataset | ShardPairs],
    vae: autoencoder.Autoencoder,
    out: Path,
    transform: PairedTransform,
    *,
    mirrored: bool = True,
    batch_size: int = 16,
    count: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Write the latents of all pictures, and of all hints if ``transform`` makes them.

    Args:
        splits: the data sets by split.
        vae: the autoencoder; its hash is noted, and training refuses latents of another.
        out: folder to write; a folder per split is replaced only by a whole one.
        transform: how pictures are framed, and what else a sample holds; it must not flip.
        mirrored: cache the mirrored pictures too.
        batch_size: pictures encoded at once.
        count: told how many pictures are done.

    Returns:
        Number of pairs per split.

    Raises:
        ValueError: if the pictures are of different sizes, or of one the autoencoder cannot encode.
    """
    if transform.flip:
        raise ValueError("the pictures are cached as they are and, if asked for, mirrored: flip must be 0")
    out.mkdir(parents=True, exist_ok=True)
    pairs = {}
    done = 0
    for split, data in splits.items():
        about: dict[str, Any] = {
            "autoencoder": weights_hash(vae), "size": None, "frame": transform.mode, "mirrored": mirrored,
            "hint_completed": transform.hint_completed, "names": [], "skipped": {},
        }  # fmt: skip
        with LatentWriter(out / split, about) as writer:
            encoder = _Encoder(vae, writer, batch_size)
            contents = Contents()
            for group in data.people():
                contents.pairs(group.pairs)
                for raw in group.pictures.values():
                    contents.picture(raw)
                done += _cache_person(group, data, transform, mirrored, encoder, about)
                if count is not None:
                    count(done)
            encoder.finish()
            if not about["names"]:
                raise ValueError(f"{data.origin}: not one picture of the split {split!r} can be cached")
            about |= {"skipped": data.skipped, "contents": contents.checksum()}
        pairs[split] = encoder.pairs
    return pairs


def _cache_person(
    group: Group,
    data: PairDataset | ShardPairs,
    transform: PairedTransform,
    mirrored: bool,
    encoder: "_Encoder",
    about: dict[str, Any],
) -> int:
    """Queue the pictures and pairs of one person; the number of pictures."""
    views = {}
    for name, raw in group.pictures.items():
        try:
            views[name] = raw.decode()
        except ValueError as error:
            data.handle(name, error)
    rows = {}
    plain = PairedTransform(transform.size, transform.mode, uv=transform.uv)
    for name, view in views.items():
        rows[name] = len(about["names"])
        about["names"].append(name)
        sample = plain(view, view)
        size = list(sample["source"].shape[-2:])
        if about["size"] not in (None, size):
            raise ValueError(
                f"{name} has the size {tuple(size)}, the ones before {tuple(about['size'])}: pictures of different "
                "sizes cannot be cached together; set a size to frame to"
            )
        about["size"] = size
        for mirror in (False, True) if mirrored else (False,):
            encoder.picture(hflip(sample) if mirror else sample, mirror)
    for source, target in group.pairs:
        if source not in rows or target not in rows:
            continue
        encoder.pair(rows[source], rows[target])
        if transform.surface_hint:
            sample = transform(views[source], views[target])
            for mirror in (False, True) if mirrored else (False,):
                encoder.hint(hflip(sample) if mirror else sample, mirror)
    return len(rows)


class _Encoder:
    """Encodes queued pictures in batches and writes them in the order in which they came."""

    def __init__(self, vae: autoencoder.Autoencoder, writer: LatentWriter, batch_size: int) -> None:
        self.vae, self.writer, self.batch_size = vae, writer, batch_size
        self.factor = autoencoder.downsampling_factor(vae)
        self.pairs = 0
        self._pictures: dict[bool, list[Sample]] = {False: [], True: []}
        self._hints: dict[bool, list[Sample]] = {False: [], True: []}

    def picture(self, sample: Sample, mirror: bool) -> None:
        height, width = sample["source"].shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"{sample['source_name']}: the autoencoder needs sizes that are multiples of {self.factor}, got "
                f"{height}x{width}; set a size to frame to"
            )
        self._pictures[mirror].append(sample)
        if len(self._pictures[mirror]) == self.batch_size:
            self._write_pictures(mirror)

    def hint(self, sample: Sample, mirror: bool) -> None:
        self._hints[mirror].append(sample)
        if len(self._hints[mirror]) == self.batch_size:
            self._write_hints(mirror)

    def pair(self, source: int, target: int) -> None:
        self.writer.append("pairs.i32", np.array([[source, target]]))
        self.pairs += 1

    def finish(self) -> None:
        for mirror in (False, True):
            self._write_pictures(mirror)
            self._write_hints(mirror)

    def _write_pictures(self, mirror: bool) -> None:
        for samples in _drained(self._pictures[mirror]):
            pictures = torch.stack([sample["source"] for sample in samples])
            moments = autoencoder.encode_moments(self.vae, pictures.to(self.vae.device))
            rows = {
                "moments.f16": moments.float().cpu().numpy(),
                "labels.u8": torch.stack([sample["source_pose"] for sample in samples]).numpy(),
            }
            if "target_uv" in samples[0]:
                size = (moments.shape[-2], moments.shape[-1])
                rows["uv.f16"] = resize_labels(torch.stack([sample["target_uv"] for sample in samples]), size).numpy()
            for name, values in rows.items():
                self.writer.append(mirrored_name(name) if mirror else name, values)

    def _write_hints(self, mirror: bool) -> None:
        for samples in _drained(self._hints[mirror]):
            warped = torch.stack([sample["warped"] for sample in samples]).to(self.vae.device)
            visible = torch.stack([sample["visible"] for sample in samples]).to(self.vae.device)
            hints = autoencoder.encode_hint(self.vae, warped, visible).float().cpu().numpy()
            self.writer.append(mirrored_name("hints.f16") if mirror else "hints.f16", hints)


def _drained(queue: list[Sample]) -> Iterator[list[Sample]]:
    """The queue's content, if there is any; it is empty afterwards."""
    if queue:
        yield list(queue)
        queue.clear()
