"""Market-1501 (128x64) with the lists of pairs that pose transfer uses. Traps: docs/data.md."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from pocold.data.pairs import PairedTransform
from pocold.data.pictures import PairDataset, PictureFiles, read_pairs_csv, require_folder, require_one_file
from pocold.data.skipping import OnError, check_split
from pocold.densepose.beside import MAPS_BESIDE, Maps, find_map

SIZE = (128, 64)  # height, width
PLACES = ("{split}", "bounding_box_{split}")
MAPS = (Maps("{split}_densepose/{name}.png", "vui"), *MAPS_BESIDE)

_NAME = re.compile(r"(-1|\d{4})_c\ds\d_\d+_\d+$")


def person_of(name: str) -> str:
    """The four digits of a person, as in ``0002_c1s1_000451_03``. (0000 are distractors, -1 is junk: nobody.)

    Raises:
        ValueError: if it is no name of the data set.
    """
    match = _NAME.match(name)
    if match is None:
        raise ValueError(f"{name!r} is no picture of Market-1501: expected a name like 0002_c1s1_000451_03")
    return match[1]


class MarketPairs(PairDataset):
    """Pairs of Market-1501: ``market-pairs-SPLIT.csv`` and pictures of 128x64 in ``train/`` and ``test/`` (or
    ``bounding_box_train/``, ``bounding_box_test/``).

    Args:
        root: the folder with the lists.
        split: ``train`` or ``test``.
        transform, on_error: see :class:`PairDataset`.
        maps: where the DensePose maps lie; by default :data:`MAPS` are tried, for each picture.

    Raises:
        ValueError: for an unknown split, a missing list or folder, names that are none of the data set's, or as
            :class:`PairDataset`; and of a picture of another size, when it is read.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        transform: PairedTransform | None = None,
        on_error: OnError = "raise",
        maps: Sequence[Maps] | None = None,
    ) -> None:
        check_split(split)
        root = require_folder(root)
        list_file = root / f"market-pairs-{split}.csv"
        pairs = read_pairs_csv(list_file, _name)
        place = _place(root, split)
        pictures: dict[str, PictureFiles] = {}
        for photo in sorted(place.glob("*.jpg")):
            name = photo.stem
            if not _NAME.match(name):
                continue
            pose, channels = find_map(
                root, maps or MAPS, folder=place.name, stem=name, path=name, name=name, split=split
            )
            twins = (photo.with_suffix(ending) for ending in (".jpeg", ".png", ".webp"))
            require_one_file(name, photo, next((twin for twin in twins if twin.is_file() and twin != pose), None))
            pictures[name] = PictureFiles(name, person_of(name), photo, pose, channels, size=SIZE)
        super().__init__(pairs, pictures, f"{list_file} (pictures in {place})", transform, on_error)


def _name(listed: str) -> str:
    name = listed.removesuffix(".jpg")
    person_of(name)
    return name


def _place(root: Path, split: str) -> Path:
    for pattern in PLACES:
        if (place := root / pattern.format(split=split)).is_dir():
            return place
    places = " or ".join(pattern.format(split=split) for pattern in PLACES)
    raise ValueError(f"{root}: expected pictures in {places}, found neither")
