"""WebDataset shards: tar files read from front to back, shared among processes and workers, shuffled by a seed.

A shard holds the pictures of one person next to each other, as ``KEY.jpg`` (or jpeg, png, webp), ``KEY.iuv.png``,
perhaps ``KEY.garments.png``, and perhaps ``KEY.json`` with ``name``, ``person`` and ``sources``: the names of those
pictures of the person from which this one is to be made. Without ``sources`` every picture is made from every other.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from itertools import count as count_from
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from pocold.data.pairs import PairedTransform, Sample, View
from pocold.data.pictures import Group, Pair, PairSource, RawPicture, require_folder
from pocold.data.skipping import (
    MissingSplitError,
    OnError,
    check_split,
    given_by_worker,
    share_of_work,
)

_PHOTOS = ("jpg", "jpeg", "png", "webp")


class ShardPairs(PairSource, IterableDataset[Sample]):
    """Pairs streamed from shards ``SPLIT-*.tar`` in a folder, or in its folder ``shards``.

    Every pair comes exactly once per epoch, whatever the number of processes (``torch.distributed``, or ``torchrun``'s
    environment) and of DataLoader workers: where there are at least as many shards as workers in all, each worker reads
    shards of its own; else each reads all and takes every n-th person. The order depends on seed, epoch and the number
    of workers alone.

    Processes get about equally many pairs, not exactly: train with ``endless``, and do not let a library share the
    stream out a second time.

    Args:
        root: the folder.
        split: ``train`` or ``test``.
        transform: frames and flips; the default keeps pictures as they are.
        on_error: ``raise`` stops at a broken file, naming it; ``skip`` leaves it out and counts it in :attr:`skipped`.
        shuffle: pairs in the shuffle buffer (kept encoded); 0 keeps the order of the shards.
        seed: of the order.
        endless: go on with the next epoch, for ever.

    Raises:
        ValueError: for an unknown split, a folder without shards of it, or a negative number.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        transform: PairedTransform | None = None,
        on_error: OnError = "raise",
        shuffle: int = 0,
        seed: int = 0,
        endless: bool = False,
    ) -> None:
        check_split(split)
        super().__init__(transform, on_error)
        if shuffle < 0 or seed < 0:
            raise ValueError(f"shuffle and seed must not be negative, got {shuffle} and {seed}")
        self.shards = find_shards(require_folder(root), split)
        self.origin = f"{self.shards[0].parent}/{split}-*.tar"
        self.shuffle, self.seed, self.endless = shuffle, seed, endless
        self._given = (0, 1)
        self._counts: dict[int, list[int]] = {}

    def pass_over(self, batches: int, batch_size: int) -> None:
        """Begin the next iteration behind what a DataLoader of this process has already given: so many batches.

        The pairs are not decoded. Those with broken files count as given: where ``on_error="skip"`` left some out, as
        many others are passed over in their place.
        """
        self._given = (batches, batch_size)

    def __iter__(self) -> Iterator[Sample]:
        first = int(self._epoch)
        given = given_by_worker(*self._given)
        for epoch in count_from(first) if self.endless else [first]:
            if given and self.endless and (length := self._length(epoch)) <= given:
                given -= length
                continue
            pairs = self._pairs(epoch)
            if self.shuffle:
                pairs = _shuffled(pairs, self.shuffle, np.random.default_rng([self.seed, epoch, *share_of_work()]))
            found = False
            for group, pair in pairs:
                if given:
                    given, found = given - 1, True
                    continue
                sample = self._sample(group, pair, epoch)
                if sample is not None:
                    found = True
                    yield sample
            if self.endless and not found:
                raise ValueError(f"{self.origin}: no readable pair in this worker's share; use fewer workers")

    def people(self) -> Iterator[Group]:
        """All people one by one, in the order of the shards, with the bytes of their pictures."""
        for shard in self.shards:
            yield from self._groups(shard)

    def _pairs(self, epoch: int) -> Iterator[tuple[Group, Pair]]:
        index, workers = share_of_work()
        order = self._order(epoch)
        by_shard = len(order) >= workers
        turn = 0
        for shard in order[index::workers] if by_shard else order:
            for group in self._groups(self.shards[shard]):
                if by_shard or turn % workers == index:
                    yield from ((group, pair) for pair in group.pairs)
                turn += 1

    def _order(self, epoch: int) -> list[int]:
        order = list(range(len(self.shards)))
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(order)).tolist()
        return order

    def _length(self, epoch: int) -> int:
        """Pairs in this worker's share of an epoch; reads every shard once, to count."""
        index, workers = share_of_work()
        order = self._order(epoch)
        by_shard = len(order) >= workers
        mine = order[index::workers] if by_shard else order
        for shard in mine:
            if shard not in self._counts:
                self._counts[shard] = [len(group.pairs) for group in self._groups(self.shards[shard])]
        people = [count for shard in mine for count in self._counts[shard]]
        return sum(people if by_shard else people[index::workers])

    def _sample(self, group: Group, pair: Pair, epoch: int) -> Sample | None:
        def read(name: str) -> View:
            if name not in group.pictures:
                raise ValueError(f"{name}: a source of {pair[1]}, but not among the pictures of {group.person}")
            return group.pictures[name].decode()

        return self._sample_of(pair, epoch, read)

    def _groups(self, shard: Path) -> Iterator[Group]:
        """The people of a shard; of a shard that ends early, those before the break."""
        group: Group | None = None
        sources: dict[str, list[str] | None] = {}
        entries = _entries(shard)
        while True:
            try:
                key, files = next(entries)
            except StopIteration:
                break
            except ValueError as error:
                self.handle(shard.name, error)
                break
            try:
                picture, listed = _picture(shard, key, files)
            except ValueError as error:
                self.handle(key, error)
                continue
            if group is not None and picture.person != group.person:
                yield _with_pairs(group, sources)
                group, sources = None, {}
            group = group or Group(picture.person)
            group.pictures[picture.name] = picture
            sources[picture.name] = listed
        if group is not None:
            yield _with_pairs(group, sources)


def find_shards(root: Path, split: str) -> list[Path]:
    """The shards of a split, sorted.

    Raises:
        MissingSplitError: if there are none.
    """
    for place in (root / "shards", root):
        if shards := sorted(place.glob(f"{split}-*.tar")):
            return shards
    raise MissingSplitError(f"{root} has no shards of the split {split!r}: expected {split}-000000.tar, ... in it")


def _entries(shard: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, {ending: content}) of each sample: files next to each other whose names agree up to the first dot."""
    current, files = "", dict[str, bytes]()
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                if not entry.isfile():
                    continue
                folder, _, file = entry.name.rpartition("/")
                stem, _, ending = file.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if key != current:
                    if files:
                        yield current, files
                    current, files = key, {}
                content = tar.extractfile(entry)
                assert content is not None
                files[ending.lower()] = content.read()
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{shard} cannot be read to its end: {error}") from None
    if files:
        yield current, files


def _picture(shard: Path, key: str, files: dict[str, bytes]) -> tuple[RawPicture, list[str] | None]:
    """One picture, and the names of its sources if they are listed."""
    photo = next((files[ending] for ending in _PHOTOS if ending in files), None)
    pose = files.get("iuv.png")
    if photo is None or pose is None:
        missing = f"picture ({', '.join(_PHOTOS)})" if photo is None else "DensePose map (iuv.png)"
        raise ValueError(f"{shard.name}, {key}: there is no {missing} among {', '.join(sorted(files))}")
    about = _about(shard, key, files.get("json", b"{}"))
    name = about.get("name", key)
    person = about.get("person", name.rsplit("/", 1)[-1].rsplit("_", 1)[0])
    sources = about.get("sources")
    if not isinstance(name, str) or not isinstance(person, str) or not (sources is None or isinstance(sources, list)):
        raise ValueError(f"{shard.name}, {key}.json: expected texts as name and person, a list as sources, got {about}")
    keypoints = files["json"] if "keypoints" in about else None
    return RawPicture(name, person, photo, pose, files.get("garments.png"), keypoints=keypoints), sources


def _about(shard: Path, key: str, content: bytes) -> dict[str, Any]:
    try:
        about = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{shard.name}, {key}.json cannot be read: {error}") from None
    if not isinstance(about, dict):
        raise ValueError(f"{shard.name}, {key}.json: expected an object, got {type(about).__name__}")
    return about


def _with_pairs(group: Group, sources: dict[str, list[str] | None]) -> Group:
    if all(listed is None for listed in sources.values()):
        group.pairs = list(permutations(group.pictures, 2))
    else:
        group.pairs = [(source, target) for target, listed in sources.items() for source in listed or ()]
    return group


def _shuffled(pairs: Iterator[tuple[Group, Pair]], size: int, rng: np.random.Generator) -> Iterator[tuple[Group, Pair]]:
    buffer: list[tuple[Group, Pair]] = []
    for pair in pairs:
        if len(buffer) < size:
            buffer.append(pair)
            continue
        place = int(rng.integers(size))
        yield buffer[place]
        buffer[place] = pair
    for place in rng.permutation(len(buffer)):
        yield buffer[place]
