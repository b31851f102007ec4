"""Pack any data set into WebDataset shards that :class:`pocold.data.shards.ShardPairs` reads."""

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pocold.data.pictures import Group, PairDataset, RawPicture
from pocold.data.shards import ShardPairs
from pocold.imaging.files import atomic_folder

PICTURES_PER_SHARD = 500


def write_shards(
    splits: Mapping[str, PairDataset | ShardPairs],
    out: str | os.PathLike[str],
    pictures_per_shard: int = PICTURES_PER_SHARD,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Pack data sets: ``OUT/shards/SPLIT-000000.tar`` with pictures as they are, maps as (I, U, V), and the pairs.

    Every picture is decoded once before it is packed, so that shards hold no broken ones: those are handled as the data
    set's ``on_error`` says and counted in its ``skipped``. The folder appears as a whole or not at all, and the same
    data gives the same bytes.

    Args:
        splits: split -> data set.
        out: a folder that does not exist yet, or is empty.
        pictures_per_shard: a shard is closed after the person with whom it reaches this number.
        progress: called with the number of pictures packed so far.

    Returns:
        Split -> number of pairs packed.

    Raises:
        ValueError: if the folder is not empty, for a pair of two people, or a split without a pair to pack.
    """
    out = Path(out)
    if pictures_per_shard < 1:
        raise ValueError(f"expected at least one picture per shard, got {pictures_per_shard}")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; choose another folder")
    packed: dict[str, int] = {}
    pictures = 0
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(out) as folder:
        (folder / "shards").mkdir()
        for split, data in splits.items():
            packed[split] = 0
            for number, groups in enumerate(_shares(_whole_groups(data), pictures_per_shard)):
                _write_shard(folder / "shards" / f"{split}-{number:06d}.tar", groups)
                packed[split] += sum(len(group.pairs) for group in groups)
                pictures += sum(len(group.pictures) for group in groups)
                if progress is not None:
                    progress(pictures)
            if not packed[split]:
                raise ValueError(f"{data.origin}: not one pair of the split {split!r} can be packed")
    return packed


def _whole_groups(data: PairDataset | ShardPairs) -> Iterator[Group]:
    """The people of a data set with only those pictures that can be decoded and occur in a pair of two such."""
    for group in data.people():
        good = dict[str, RawPicture]()
        for name, picture in group.pictures.items():
            if picture.person != group.person:
                raise ValueError(
                    f"{data.origin}: a pair shows two people ({picture.person} and {group.person}); shards keep "
                    "together what belongs to one"
                )
            try:
                picture.decode()
                good[name] = picture
            except ValueError as error:
                data.handle(name, error)
        pairs = [pair for pair in group.pairs if pair[0] in good and pair[1] in good]
        used = {name for pair in pairs for name in pair}
        if pairs:
            yield Group(group.person, {name: picture for name, picture in good.items() if name in used}, pairs)


def _shares(groups: Iterator[Group], pictures: int) -> Iterator[list[Group]]:
    """Lists of people with about as many pictures together."""
    share: list[Group] = []
    for group in groups:
        share.append(group)
        if sum(len(each.pictures) for each in share) >= pictures:
            yield share
            share = []
    if share:
        yield share


def _write_shard(path: Path, groups: list[Group]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        number = 0
        for group in groups:
            for name, picture in group.pictures.items():
                # A key of WebDataset ends at its first dot, and must not occur twice.
                key = f"{number:06d}_{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"
                sources = [source for source, target in group.pairs if target == name]
                about = {"name": name, "person": group.person, "sources": sources}
                _add(tar, f"{key}.{_ending(picture.photo)}", picture.photo)
                _add(tar, f"{key}.iuv.png", picture.densepose().encode())
                if picture.garments is not None:
                    _add(tar, f"{key}.garments.png", picture.garments)
                _add(tar, f"{key}.json", json.dumps(about, sort_keys=True).encode() + b"\n")
                number += 1


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # time 0, owner 0: same bytes always
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _ending(photo: bytes) -> str:
    if photo.startswith(b"\x89PNG"):
        return "png"
    return "webp" if photo[8:12] == b"WEBP" else "jpg"
