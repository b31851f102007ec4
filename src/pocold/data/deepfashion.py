"""DeepFashion In-shop in the layouts its users have on disk. Traps: docs/data.md.

One picture has two names: the data set's own path ``WOMEN/Tees_Tanks/id_00000002/02_1_front.jpg`` and the flat name
``fashionWOMENTees_Tanksid0000000202_1front``. Inside ``pocold`` it is called by the flat name, without ending.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from pocold.data.keypoints import ListedKeypoints
from pocold.data.pairs import PairedTransform
from pocold.data.pictures import (
    LmdbKey,
    Pair,
    PairDataset,
    PictureFiles,
    list_photos,
    open_lmdb,
    read_pairs_csv,
    require_folder,
    require_one_file,
    without_ending,
)
from pocold.data.skipping import MissingSplitError, OnError, check_split
from pocold.densepose.beside import MAPS_BESIDE, Maps, find_map
from pocold.densepose.maps import ChannelOrder

# The spelling with "fasion" is the real one; files renamed by hand are understood too.
LISTS = ("fasion-resize-pairs-{split}.csv", "fashion-resize-pairs-{split}.csv", "fashion-pairs-{split}.csv",
         "{split}_pairs.txt")  # fmt: skip
ANNOTATIONS = ("fasion-resize-annotation-{split}.csv", "fashion-resize-annotation-{split}.csv")  # of keypoints
PLACES = ("{split}_highres", "{split}", "img", "img_highres", ".")  # in which pictures are looked for, in this order
MAPS = (
    Maps("{split}_densepose/{name}.png", "vui"),
    *MAPS_BESIDE,
    Maps("densepose/{path}.png"),
    Maps("img_dp/{path}.png", "vui"),
)
LMDB_KEY = "img/{path}.png"  # as preparation scripts write it from lists of paths that begin with img/

_RAW = re.compile(r"(WOMEN|MEN)/([^/]+)/id_(\d+)/(\d+)_(\d+)_(\w+)$")
_FLAT = re.compile(r"fashion(WOMEN|MEN)(.+)id(\d{8})(\d{2})_(\d)([A-Za-z]+)$")


def flat_name(path: str) -> str:
    """The flat name of a raw path, or a flat name itself, without ending.

    The rule: everything from ``WOMEN`` or ``MEN`` on is joined without slashes behind ``fashion``; the folder ``id_*``
    loses its underscore; of the underscores of the file name the first stays.

    Raises:
        ValueError: if it is neither.
    """
    stem = without_ending(path.strip().replace("\\", "/"))
    raw = re.search(rf"(?:^|/){_RAW.pattern}", stem)
    if raw is not None:
        sex, category, identity, first, second, view = raw.groups()
        return f"fashion{sex}{category}id{identity}{first}_{second}{view.replace('_', '')}"
    flat = stem.rsplit("/", 1)[-1]
    if _FLAT.match(flat):
        return flat
    raise ValueError(
        f"{path!r} is no picture of DeepFashion In-shop: expected a name like WOMEN/Tees_Tanks/id_00000002/"
        "02_1_front.jpg or fashionWOMENTees_Tanksid0000000202_1front.jpg"
    )


def raw_path(flat: str) -> str:
    """The raw path of a flat name, both without ending: ``WOMEN/Tees_Tanks/id_00000002/02_1_front``.

    Raises:
        ValueError: if it is no flat name.
    """
    match = _FLAT.match(flat)
    if match is None:
        raise ValueError(f"{flat!r} is no flat name of DeepFashion In-shop")
    sex, category, identity, first, second, view = match.groups()
    return f"{sex}/{category}/id_{identity}/{first}_{second}_{view}"


def person_of(flat: str) -> str:
    """The data set's identity, such as ``id_00000002``: one garment on one person, in one category.

    Raises:
        ValueError: if it is no flat name.
    """
    return raw_path(flat).split("/")[2]


class DeepFashionPairs(PairDataset):
    """Pairs of DeepFashion In-shop.

    Args:
        root: the folder with the list of pairs.
        split: ``train`` or ``test``.
        transform, on_error: see :class:`PairDataset`.
        maps: where the DensePose maps lie; by default :data:`MAPS` are tried, for each picture.
        pictures: folder below ``root`` with the pictures, raw or flat, or the lmdb (``256-256``); by default those of
            :data:`PLACES` are tried, then an lmdb.
        lmdb_key: key of a picture in the lmdb, with ``{path}`` (raw, without ending) or ``{name}`` (flat).

    Raises:
        ValueError: for an unknown split, a missing list or folder, names that are none of the data set's, or as
            :class:`PairDataset`.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        transform: PairedTransform | None = None,
        on_error: OnError = "raise",
        maps: Sequence[Maps] | None = None,
        pictures: str | None = None,
        lmdb_key: str = LMDB_KEY,
    ) -> None:
        check_split(split)
        root = require_folder(root)
        list_file = _list_file(root, split)
        read = read_pairs_txt if list_file.suffix == ".txt" else _read_csv
        pairs = read(list_file)
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        place = _place(root, split, pictures)
        twins: dict[str, Path] = {}
        if (place / "data.mdb").is_file():
            photos: dict[str, Path | LmdbKey] = _in_lmdb(place, names, lmdb_key)
        else:
            photos, twins = _in_folder(place)
        files = {}
        listed = (root / pattern.format(split=split) for pattern in ANNOTATIONS)
        annotations = next((path for path in listed if path.is_file()), None)
        for name in names:
            if name in photos:
                pose, channels = _pose(root, place, split, name, photos[name], maps or MAPS)
                require_one_file(name, photos[name], None if twins.get(name) == pose else twins.get(name))
                points = None if annotations is None else ListedKeypoints(annotations, f"{name}.jpg")
                files[name] = PictureFiles(name, person_of(name), photos[name], pose, channels, keypoints=points)
        super().__init__(pairs, files, f"{list_file} (pictures in {place})", transform, on_error)


def _list_file(root: Path, split: str) -> Path:
    for pattern in LISTS:
        if (path := root / pattern.format(split=split)).is_file():
            return path
    raise MissingSplitError(
        f"{root} has no list of pairs for {split!r}: expected one of {', '.join(p.format(split=split) for p in LISTS)}"
    )


def _read_csv(path: Path) -> list[Pair]:
    return read_pairs_csv(path, flat_name)


def read_pairs_txt(path: Path) -> list[Pair]:
    """A list ``*_pairs.txt``: each line is ``TARGET,SOURCE[,SOURCE...]``, whatever the READMEs say.

    Raises:
        ValueError: for a line of fewer than two names, or names of no picture of the data set.
    """
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        names = [item for item in line.strip().split(",") if item.strip()]
        if not names:
            continue
        if len(names) < 2:
            raise ValueError(f"{path}, line {number}: expected 'target,source', got {line!r}")
        target, *sources = map(flat_name, names)
        pairs += [(source, target) for source in sources]
    return pairs


def _place(root: Path, split: str, pictures: str | None) -> Path:
    if pictures is not None:
        return require_folder(root / pictures.format(split=split))
    for pattern in PLACES:
        place = root / pattern.format(split=split)
        if any(_photos(place)):
            return place
    databases = sorted(path.parent for path in root.glob("*/data.mdb"))
    if len(databases) == 1:
        return databases[0]
    raise ValueError(
        f"{root}: expected pictures in one of {', '.join(p.format(split=split) for p in PLACES)} or in one lmdb "
        f"folder, found {len(databases)} of these; name the folder with pictures=..."
    )


def _photos(place: Path) -> Iterable[Path]:
    """Pictures of the flat or raw layout directly in ``place``; other folders beside them are not entered."""
    if not place.is_dir():
        return
    yield from (path for path in sorted(place.glob("fashion*")) if path.suffix.lower() in (".jpg", ".png"))
    for name in ("WOMEN", "MEN"):
        yield from list_photos(place / name)


def _in_folder(place: Path) -> tuple[dict[str, Path | LmdbKey], dict[str, Path]]:
    """Pictures by name, and of each name a second file beside the first."""
    found: dict[str, Path | LmdbKey] = {}
    twins: dict[str, Path] = {}
    for photo in _photos(place):
        try:
            name = flat_name(photo.relative_to(place).as_posix())
        except ValueError:
            continue  # a map beside a picture, or a file that belongs to nobody
        before = found.setdefault(name, photo)
        # the flat and the raw layout beside each other hold the same pictures: the flat one counts
        if before != photo and isinstance(before, Path) and before.parent == photo.parent:
            twins[name] = photo
    return found, twins


def _in_lmdb(place: Path, names: Iterable[str], pattern: str) -> dict[str, Path | LmdbKey]:
    template = Maps(pattern)  # refuses unknown placeholders
    found: dict[str, Path | LmdbKey] = {}
    with open_lmdb(place).begin() as transaction:
        for name in names:
            path = raw_path(name)
            folder, stem = path.rsplit("/", 1)
            key = template.fill(folder=folder, stem=stem, path=path, name=name, split="")
            if transaction.get(key.encode()) is not None:
                found[name] = LmdbKey(place, key)
    return found


def _pose(
    root: Path, place: Path, split: str, name: str, photo: Path | LmdbKey, maps: Sequence[Maps]
) -> tuple[Path | None, ChannelOrder]:
    path = raw_path(name)
    if isinstance(photo, Path):
        folder, stem = photo.parent.relative_to(root).as_posix(), photo.stem
    else:
        folder, stem = PurePosixPath("img", path).parent.as_posix(), path.rsplit("/", 1)[-1]
    return find_map(root, maps, folder=folder, stem=stem, path=path, name=name, split=split)
