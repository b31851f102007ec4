"""Batches in an order that depends on the seed alone, from any position on.

Pictures by index come in a new permutation each epoch, dealt to the processes in turn: every pair once per epoch,
whatever the number of processes, and going on in the middle of an epoch costs nothing. Streams (shards, people drawn on
the fly) share themselves out; each worker passes over what it had already given.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, default_collate

from pocold.data.contents import data_checksum, require_same
from pocold.data.latents import LatentPairs, collate_latents
from pocold.data.opening import open_data
from pocold.data.pairs import PairedTransform, collate
from pocold.data.pictures import PairDataset
from pocold.data.repairs import RepairPairs
from pocold.data.shards import ShardPairs
from pocold.data.skipping import MissingSplitError
from pocold.data.synthetic import SyntheticConfig, SyntheticPeople
from pocold.training.config import DataConfig

Data = PairDataset | ShardPairs | SyntheticPeople | LatentPairs


def open_training_data(
    config: DataConfig,
    seed: int,
    *,
    hint: bool = False,
    completed: bool = False,
    uv: bool = False,
    keypoints: bool = False,
) -> Data:
    """The pairs to train on.

    Args:
        config: what and where.
        seed: of order and flips.
        hint, uv, keypoints: what the model needs of each sample besides pictures and labels.
        completed: whether the hint is completed on the body.

    Raises:
        ValueError: if there are none, or as the data set itself.
    """
    if config.latents is not None and config.layout != "synthetic":
        return _latents(config, seed, hint, completed, uv)
    transform = _transform(config, config.flip, seed, hint, completed, uv, keypoints)
    return _open(config, config.split, transform, training=True)


def open_validation_data(
    config: DataConfig,
    *,
    hint: bool = False,
    completed: bool = False,
    uv: bool = False,
    keypoints: bool = False,
) -> Data:
    """The pairs to watch a run on, as they are; those of training, with a word, where there is no such split."""
    transform = _transform(config, 0.0, 0, hint, completed, uv, keypoints)
    try:
        return _open(config, config.validation_split, transform, training=False)
    except MissingSplitError as error:
        raise ValueError(f"{error}; for validation set data.validation_split, or validation.every to 0") from None


def _transform(
    config: DataConfig, flip: float, seed: int, hint: bool, completed: bool, uv: bool, keypoints: bool
) -> PairedTransform:
    return PairedTransform(
        config.size, config.frame, flip, seed,
        surface_hint=hint, hint_completed=hint and completed, uv=uv, keypoints=keypoints,
    )  # fmt: skip


def _open(config: DataConfig, split: str, transform: PairedTransform, *, training: bool) -> Data:
    """For training streams are shuffled and without end; whichever split it is, one can be watched on it."""
    if config.layout == "synthetic":
        people = SyntheticConfig(
            config.synthetic_seed, size=config.size or (256, 176), per_identity=config.per_identity
        )
        return SyntheticPeople(
            people,
            split,
            training,
            surface_hint=transform.surface_hint,
            hint_completed=transform.hint_completed,
            uv=transform.uv,
            keypoints=transform.keypoints,
        )
    if not config.path:
        raise ValueError("data.path: expected the folder of a data set (or data.layout synthetic)")
    data = open_data(
        config.path, split, config.layout, transform, config.on_error, config.map_patterns or None,
        config.pictures, config.lmdb_key,
    )  # fmt: skip
    if isinstance(data, ShardPairs):
        data.shuffle, data.seed, data.endless = (config.shuffle_buffer if training else 0), transform.seed, training
    return data


def _latents(config: DataConfig, seed: int, hint: bool, completed: bool, uv: bool) -> LatentPairs:
    assert config.latents is not None
    data = LatentPairs(config.latents, config.split, config.flip, seed)
    if config.size not in (None, data.size):
        raise ValueError(f"{data.root} holds latents of pictures of {data.size}, but data has the size {config.size}")
    held = data[0]
    for wanted, key, flag in ((hint, "hint", "--hint"), (uv, "target_uv", "--uv")):
        if wanted and key not in held:
            raise ValueError(f"{data.root} holds no {key}, which this model needs; cache the latents with {flag}")
    if hint and completed != data.hint_completed:
        kinds = {False: "hints that are warped alone", True: "hints that are completed on the body"}
        raise ValueError(
            f"{data.root} holds {kinds[data.hint_completed]}, but this model takes {kinds[completed]}; cache the "
            f"latents with --hint {'--hint-completed' if completed else '--no-hint-completed'}"
        )
    if config.path:
        pictures = _open(config, config.split, PairedTransform(), training=False)
        assert isinstance(pictures, PairDataset | ShardPairs)
        require_same(
            data.made_of,
            {"pictures, maps and pairs": data_checksum(pictures), "frame": config.frame},
            f"{data.root} holds latents of other pictures than {config.path}, or of others framed",
            "cache the latents again, or set data.path and data.frame to what they were made of",
        )
    return data


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index), without end, for one of several processes.

    Args:
        length: of the data set.
        batch_size: per process.
        seed: of the permutations.
        rank, processes: which process of how many.
        start: samples already taken, by all processes together.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, processes: int = 1, start: int = 0):
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.processes, self.start = rank, processes, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = self.start + self.rank * self.batch_size
        order, known = torch.empty(0, dtype=torch.int64), -1
        while True:
            batch = []
            for place in range(position, position + self.batch_size):
                epoch, offset = divmod(place, self.length)
                if epoch != known:
                    generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
                    order, known = torch.randperm(self.length, generator=generator), epoch
                batch.append((epoch, int(order[offset])))
            yield batch
            position += self.batch_size * self.processes


class _AtEpoch(Dataset[Any]):
    """A data set by (epoch, index): prefetching workers may be in different epochs at the same time."""

    def __init__(self, data: PairDataset | LatentPairs | RepairPairs) -> None:
        self.data = data

    def __getitem__(self, place: tuple[int, int]) -> Any:
        return self.data.at(place[1], place[0])


def training_batches(
    data: Data | RepairPairs, config: DataConfig, batch_size: int, seed: int, rank: int, processes: int, start: int
) -> Iterator[dict[str, Any]]:
    """Endless batches of one process.

    Args:
        data: as of :func:`open_training_data`.
        config: says how many workers load.
        batch_size: per process.
        seed: of the order.
        rank, processes: which process of how many.
        start: samples already taken by all processes together.
    """
    join: Any = collate_latents if isinstance(data, LatentPairs) else collate
    if isinstance(data, RepairPairs):
        join = default_collate
    workers: dict[str, Any] = {"num_workers": config.workers, "persistent_workers": config.workers > 0}
    if isinstance(data, IterableDataset):
        data.pass_over(start // (batch_size * processes), batch_size)
        loader = DataLoader(data, batch_size, collate_fn=join, drop_last=True, **workers)
    else:
        order = EpochBatches(len(data), batch_size, seed, rank, processes, start)
        loader = DataLoader(_AtEpoch(data), batch_sampler=order, collate_fn=join, **workers)
    return iter(loader)


def first_samples(data: Data, count: int) -> list[Any]:
    """``count`` samples spread evenly over a data set, or the first of a stream; fewer if there are not as many."""
    if isinstance(data, IterableDataset):
        samples = []
        for sample in data:
            samples.append(sample)
            if len(samples) == count:
                break
        return samples
    count = min(count, len(data))
    return [data[i * len(data) // count] for i in range(count)]
