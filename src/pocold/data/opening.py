"""Open a folder of any known layout."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from pocold.data.deepfashion import LISTS, LMDB_KEY, DeepFashionPairs
from pocold.data.folder import FolderPairs
from pocold.data.market1501 import MarketPairs
from pocold.data.pairs import PairedTransform
from pocold.data.pictures import PairDataset, require_folder
from pocold.data.shards import ShardPairs, find_shards
from pocold.data.skipping import SPLITS, MissingSplitError, OnError
from pocold.densepose.beside import Maps

Layout = Literal["auto", "folder", "deepfashion", "market1501", "shards"]


def detect_layout(root: str | os.PathLike[str]) -> Layout:
    """Which layout a folder has, told by its lists of pairs and its shards; without any it is a folder of people."""
    root = require_folder(root)
    for split in SPLITS:
        try:
            find_shards(root, split)
            return "shards"
        except MissingSplitError:
            pass
        if (root / f"market-pairs-{split}.csv").is_file():
            return "market1501"
        if any((root / pattern.format(split=split)).is_file() for pattern in LISTS):
            return "deepfashion"
    return "folder"


def open_data(
    root: str | os.PathLike[str],
    split: str = "train",
    layout: Layout = "auto",
    transform: PairedTransform | None = None,
    on_error: OnError = "raise",
    maps: Sequence[Maps] | None = None,
    pictures: str | None = None,
    lmdb_key: str | None = None,
) -> PairDataset | ShardPairs:
    """The pairs of a folder on disk.

    Args:
        root: the folder.
        split: ``train`` or ``test``.
        layout: one of :data:`Layout`; ``auto`` looks.
        transform, on_error: see :class:`PairDataset`.
        maps: where the DensePose maps lie, if not where the layout has them.
        pictures, lmdb_key: see :class:`DeepFashionPairs`; of no use elsewhere.

    Raises:
        ValueError: for an unknown layout, a setting that the layout does not know, or as the data set itself.
    """
    if layout not in get_args(Layout):
        raise ValueError(f"unknown layout {layout!r}: expected one of {', '.join(get_args(Layout))}")
    if layout == "auto":
        layout = detect_layout(root)
    if layout == "shards" and maps:
        raise ValueError(f"{Path(root)} holds shards, and shards hold their maps: leave the patterns out")
    if layout != "deepfashion" and (pictures is not None or lmdb_key is not None):
        raise ValueError(f"{Path(root)} is opened as {layout}: 'pictures' and 'lmdb_key' are settings of deepfashion")
    if layout == "shards":
        return ShardPairs(root, split, transform, on_error)
    if layout == "market1501":
        return MarketPairs(root, split, transform, on_error, maps)
    if layout == "folder":
        return FolderPairs(root, split, transform, on_error, maps)
    return DeepFashionPairs(root, split, transform, on_error, maps, pictures, lmdb_key or LMDB_KEY)


def open_splits(
    root: str | os.PathLike[str],
    layout: Layout = "auto",
    on_error: OnError = "raise",
    maps: Sequence[Maps] | None = None,
    pictures: str | None = None,
    lmdb_key: str | None = None,
) -> dict[str, PairDataset | ShardPairs]:
    """Those of train and test that there are.

    Raises:
        ValueError: if there is neither, or as :func:`open_data`.
    """
    found: dict[str, PairDataset | ShardPairs] = {}
    reasons = []
    for split in SPLITS:
        try:
            found[split] = open_data(root, split, layout, None, on_error, maps, pictures, lmdb_key)
        except MissingSplitError as error:
            reasons.append(str(error))
    if not found:
        raise ValueError("; ".join(reasons))
    return found
