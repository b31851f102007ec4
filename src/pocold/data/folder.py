"""A folder of one's own people, and the folders that ``pocold synth`` writes. Layouts: docs/data.md."""

import os
import zlib
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from pocold.data.pairs import PairedTransform
from pocold.data.pictures import (
    PHOTO_ENDINGS,
    Pair,
    PairDataset,
    PictureFiles,
    list_photos,
    read_pairs_csv,
    require_folder,
    require_one_file,
    without_ending,
)
from pocold.data.skipping import MissingSplitError, OnError, check_split
from pocold.densepose.beside import MAPS_BESIDE, Maps, find_map

_GARMENTS, _KEYPOINTS = ".garments.png", ".keypoints.json"
_TEST_SHARE = 10  # one person in ten is for testing where nothing else says who is


class FolderPairs(PairDataset):
    """Pairs from a plain folder, in one of two layouts:

    - ``PERSON/photo.jpg`` with ``PERSON/photo.iuv.png``, ``photo_densepose.png`` or ``photo_IUV.png`` beside it (and
      perhaps ``photo.garments.png``, ``photo.keypoints.json``); a picture is called ``PERSON/photo``;
    - ``img/PERSON_view.jpg`` with ``iuv/PERSON_view.png`` (and ``garments/PERSON_view.png``,
      ``keypoints/PERSON_view.json``), as ``pocold synth`` writes them; a picture is called ``PERSON_view``.

    Pairs are those of ``pairs-SPLIT.csv`` (columns ``from,to``). Without such lists (first layout only) they are all
    ordered pairs of two pictures of one person; people are split by the folders ``train/`` and ``test/`` around them,
    else by a checksum of their names, one in ten for testing, so that a person who is added moves nobody else.

    Args:
        root: the folder.
        split: ``train`` or ``test``.
        transform, on_error: see :class:`PairDataset`.
        maps: where the maps lie, if elsewhere.

    Raises:
        ValueError: for an unknown split, a folder without people, a missing list, or as :class:`PairDataset`.
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
        if is_parallel(root):
            pictures = _parallel_pictures(root, split, maps or (Maps("iuv/{path}.png"),))
            pairs = read_pairs_csv(root / f"pairs-{split}.csv", without_ending)
            super().__init__(pairs, pictures, f"{root / f'pairs-{split}.csv'}", transform, on_error)
            return
        listed = any((root / f"pairs-{name}.csv").is_file() for name in ("train", "test"))
        below = any((root / name).is_dir() for name in ("train", "test"))
        place = root / split if below and not listed else root
        if not place.is_dir():
            raise MissingSplitError(f"{root} has no folder {split}/, although it has one for the other split")
        pictures = _people_pictures(root, place, split, maps or MAPS_BESIDE)
        if not pictures:
            raise ValueError(f"{place}: expected folders of people, PERSON/photo.jpg, but there are none")
        if listed:
            pairs = read_pairs_csv(root / f"pairs-{split}.csv", without_ending)
        else:
            pairs = all_pairs([p for p in pictures.values() if below or (split == "test") == _drawn_for_test(p.person)])
        if not pairs:
            people = len({picture.person for picture in pictures.values()})
            raise MissingSplitError(
                f"{root}: nobody of {people} people has two pictures in the split {split!r}; say who belongs to it "
                "with folders train/ and test/, or with pairs-train.csv and pairs-test.csv"
            )
        super().__init__(pairs, pictures, str(place), transform, on_error)


def photographs_of(root: Path) -> list[Path]:
    """The photographs in a folder and below, sorted: all pictures that are no maps of others.

    Maps are those of this layout: ``iuv`` and ``garments`` beside ``img``, and the names of maps beside photographs.
    """
    if is_parallel(root):
        return list_photos(root / "img")
    return _without_maps(list_photos(root), MAPS_BESIDE)


def _without_maps(photos: Sequence[Path], maps: Sequence[Maps]) -> list[Path]:
    endings = {_GARMENTS, *(candidate.pattern.rpartition("}")[2] for candidate in maps)} - PHOTO_ENDINGS - {""}
    return [photo for photo in photos if not photo.name.endswith(tuple(endings))]


def is_parallel(root: Path) -> bool:
    """Whether pictures lie in ``img`` and maps in ``iuv``."""
    return (root / "img").is_dir() and (root / "iuv").is_dir()


def _parallel_pictures(root: Path, split: str, maps: Sequence[Maps]) -> dict[str, PictureFiles]:
    pictures: dict[str, PictureFiles] = {}
    for photo in list_photos(root / "img"):
        name = photo.relative_to(root / "img").with_suffix("").as_posix()
        pose, channels = find_map(root, maps, folder="img", stem=photo.stem, path=name, name=name, split=split)
        require_one_file(name, photo, pictures[name].photo if name in pictures else None)
        pictures[name] = PictureFiles(
            name, name.rsplit("_", 1)[0], photo, pose, channels, _if_there(root / "garments" / f"{name}.png"),
            keypoints=_if_there(root / "keypoints" / f"{name}.json"),
        )  # fmt: skip
    return pictures


def _people_pictures(root: Path, place: Path, split: str, maps: Sequence[Maps]) -> dict[str, PictureFiles]:
    """Pictures in folders of people below ``place``. A map is no picture, also if its own picture is gone."""
    photos = _without_maps(list_photos(place), maps)
    found: list[PictureFiles] = []
    for photo in photos:
        inside = photo.relative_to(place)
        if len(inside.parts) < 2:
            continue  # not in anybody's folder: a sheet, a logo
        name, folder = inside.with_suffix("").as_posix(), photo.parent.relative_to(root).as_posix()
        pose, channels = find_map(root, maps, folder=folder, stem=photo.stem, path=name, name=name, split=split)
        beside = [_if_there(photo.with_name(photo.stem + ending)) for ending in (_GARMENTS, _KEYPOINTS)]
        found.append(
            PictureFiles(name, inside.parent.as_posix(), photo, pose, channels, beside[0], keypoints=beside[1])
        )
    used = {picture.pose for picture in found if picture.pose != picture.photo}
    pictures: dict[str, PictureFiles] = {}
    for picture in found:
        if picture.photo in used:
            continue
        require_one_file(
            picture.name, picture.photo, pictures[picture.name].photo if picture.name in pictures else None
        )
        pictures[picture.name] = picture
    return pictures


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _drawn_for_test(person: str) -> bool:
    return zlib.crc32(person.encode()) % _TEST_SHARE == 0


def all_pairs(pictures: Sequence[PictureFiles]) -> list[Pair]:
    """All ordered pairs of two pictures of one person."""
    people: dict[str, list[str]] = {}
    for picture in pictures:
        people.setdefault(picture.person, []).append(picture.name)
    return [pair for names in people.values() for pair in permutations(names, 2)]
