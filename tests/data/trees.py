"""Small data sets with the true layouts and names, made of a few drawn people."""

import csv
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image

from pocold.data.deepfashion import DeepFashionPairs
from pocold.data.folder import FolderPairs
from pocold.data.market1501 import MarketPairs
from pocold.data.packing import write_shards
from pocold.data.shards import ShardPairs
from pocold.data.synthetic import SyntheticConfig, SyntheticPeople, draw_view, encode_view, is_test, sample_name
from pocold.data.writing import write_people
from pocold.densepose.beside import Maps
from pocold.densepose.maps import DensePose

PEOPLE = SyntheticConfig(seed=4, identities=4, per_identity=2, size=(64, 44), supersample=1)  # of whom 1 is for testing


@dataclass(frozen=True)
class Drawn:
    """One drawn picture."""

    photo: bytes  # JPEG
    pose: DensePose
    garments: np.ndarray

    @property
    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.photo))

    def stretched(self, height: int, width: int) -> "Drawn":
        buffer = io.BytesIO()
        self.image.resize((width, height)).save(buffer, format="JPEG")
        rows, columns = np.arange(height) * self.pose.size[0] // height, np.arange(width) * self.pose.size[1] // width
        pick = rows[:, None], columns
        return Drawn(buffer.getvalue(), DensePose(self.pose.labels[pick], self.pose.uv[:, *pick]), self.garments[pick])


People = dict[int, list[Drawn]]


def draw_people() -> People:
    people: People = {}
    for identity in range(PEOPLE.identities):
        for view in range(PEOPLE.per_identity):
            picture = draw_view(PEOPLE, identity, view)[0]
            photo = encode_view(PEOPLE, identity, view)["img"]
            people.setdefault(identity, []).append(Drawn(photo, picture.densepose, picture.garments))
    return people


@dataclass
class Tree:
    """A data set on disk and what it should yield.

    ``opener(root, split, **settings)`` opens it; ``name`` maps (identity, view) to the name of a picture; ``photos``
    and ``poses`` map names to files.
    """

    root: Path
    people: People
    name: Callable[[int, int], str]
    opener: Callable
    size: tuple[int, int] = PEOPLE.size
    garments: bool = False
    uv: bool = True  # whether its maps have U and V
    photos: dict[str, Path] = field(default_factory=dict)
    poses: dict[str, Path] = field(default_factory=dict)

    def open(self, split: str, **settings):
        return self.opener(self.root, split, **settings)

    def copy(self, root: Path) -> "Tree":
        shutil.copytree(self.root, root)
        photos = {name: root / path.relative_to(self.root) for name, path in self.photos.items()}
        poses = {name: root / path.relative_to(self.root) for name, path in self.poses.items()}
        return replace(self, root=root, photos=photos, poses=poses)

    def pairs(self, split: str) -> set[tuple[str, str]]:
        chosen = [i for i in self.people if is_test(i) == (split == "test")]
        return {(self.name(i, a), self.name(i, b)) for i in chosen for a, b in permutations(range(2), 2)}

    def drawn(self, name: str) -> Drawn:
        return next(d for i, views in self.people.items() for v, d in enumerate(views) if self.name(i, v) == name)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_list(path: Path, pairs, header: bool = True) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        if header:
            rows.writerow(["from", "to"])
        rows.writerows(sorted(pairs))


def vui(pose: DensePose) -> bytes:
    """A map as OpenCV writes an (I, U, V) array: I is blue, without a note of the order."""
    iuv = np.stack([pose.labels, *np.round(pose.uv * 255).astype(np.uint8)], -1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(iuv[..., ::-1])).save(buffer, format="PNG")
    return buffer.getvalue()


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


def each(people: People):
    return [(i, v, drawn) for i, views in people.items() for v, drawn in enumerate(views)]


def folder(root: Path, people: People) -> Tree:
    """PERSON/photo.jpg, split by the folders around."""
    tree = Tree(root, people, lambda i, v: f"anna{i}/pose{v}", FolderPairs)
    for i, v, drawn in each(people):
        place = root / ("test" if is_test(i) else "train") / f"anna{i}"
        tree.photos[tree.name(i, v)] = write(place / f"pose{v}.jpg", drawn.photo)
        tree.poses[tree.name(i, v)] = write(place / f"pose{v}.iuv.png", drawn.pose.encode())
    return tree


def folder_listed(root: Path, people: People) -> Tree:
    """PERSON/photo.png with *_densepose.png, garments and lists of pairs."""
    tree = Tree(root, people, lambda i, v: f"p{i}/{v}", FolderPairs, garments=True, uv=False)
    for i, v, drawn in each(people):
        tree.photos[tree.name(i, v)] = write(root / f"p{i}" / f"{v}.jpg", drawn.photo)
        tree.poses[tree.name(i, v)] = write(root / f"p{i}" / f"{v}_densepose.png", png(drawn.pose.labels))
        write(root / f"p{i}" / f"{v}.garments.png", png(drawn.garments))
    write(root / "sheet.jpg", people[0][0].photo)  # in nobody's folder
    for split in ("train", "test"):
        write_list(root / f"pairs-{split}.csv", ((f"{a}.jpg", f"{b}.jpg") for a, b in tree.pairs(split)))
    return tree


def synth_folder(root: Path, people: People) -> Tree:
    """What pocold synth writes."""
    write_people(PEOPLE, root)
    tree = Tree(root, people, sample_name, FolderPairs, garments=True)
    for i, v, _ in each(people):
        tree.photos[sample_name(i, v)] = root / "img" / f"{sample_name(i, v)}.jpg"
        tree.poses[sample_name(i, v)] = root / "iuv" / f"{sample_name(i, v)}.png"
    return tree


def synth_shards(root: Path, people: People) -> Tree:
    """What pocold synth --shards writes."""
    write_people(PEOPLE, root, shards=True)
    return Tree(root, people, sample_name, ShardPairs, garments=True)


def packed_shards(root: Path, people: People) -> Tree:
    """What pocold data shards writes of a folder with lists."""
    tree = folder_listed(root.with_name("unpacked"), people)
    write_shards({split: tree.open(split) for split in ("train", "test")}, root, pictures_per_shard=2)
    return Tree(root, people, tree.name, ShardPairs, garments=True, uv=False)


def rendered(root: Path, people: People) -> Tree:
    """Synthetic people drawn on the fly."""
    return Tree(root, people, sample_name, lambda _, split, **o: SyntheticPeople(PEOPLE, split, **o), garments=True)


CATEGORIES = ["WOMEN/Tees_Tanks", "MEN/Jackets_Vests", "WOMEN/Dresses", "MEN/Denim"]
VIEWS = ["02_1_front", "02_4_full"]


def raw(i: int, v: int) -> str:
    return f"{CATEGORIES[i]}/id_{i + 2:08d}/{VIEWS[v]}"


def flat(i: int, v: int) -> str:
    category, view = CATEGORIES[i].replace("/", ""), VIEWS[v].replace("_", "", 2)
    return f"fashion{category}id{i + 2:08d}{view[:2]}_{view[2:]}"


def deepfashion_txt(root: Path, people: People) -> Tree:
    """The raw tree below img/, *_pairs.txt with the target first, maps beside."""
    tree = Tree(root, people, flat, DeepFashionPairs)
    for i, v, drawn in each(people):
        tree.photos[flat(i, v)] = write(root / "img" / f"{raw(i, v)}.jpg", drawn.photo)
        tree.poses[flat(i, v)] = write(root / "img" / f"{raw(i, v)}_densepose.png", vui(drawn.pose))
    for split in ("train", "test"):
        paths = {flat(i, v): f"img/{raw(i, v)}.jpg" for i, v, _ in each(people)}
        lines = [f"{paths[target]},{paths[source]}\n" for source, target in sorted(tree.pairs(split))]
        (root / f"{split}_pairs.txt").write_text("".join(lines))
    return tree


def deepfashion_flat(root: Path, people: People) -> Tree:
    """Flat pictures in {split}/, maps in {split}_densepose/ with I last, fasion-resize-pairs-*.csv; raw beside."""
    tree = Tree(root, people, flat, DeepFashionPairs)
    for i, v, drawn in each(people):
        split = "test" if is_test(i) else "train"
        tree.photos[flat(i, v)] = write(root / split / f"{flat(i, v)}.jpg", drawn.photo)
        tree.poses[flat(i, v)] = write(root / f"{split}_densepose" / f"{flat(i, v)}.png", vui(drawn.pose))
        write(root / f"{raw(i, v)}.jpg", b"not the one that is read")
    for split in ("train", "test"):
        rows = ((f"{a}.jpg", f"{b}.jpg") for a, b in tree.pairs(split))
        write_list(root / f"fasion-resize-pairs-{split}.csv", rows)
    return tree


def deepfashion_highres(root: Path, people: People) -> Tree:
    """Flat pictures in {split}_highres/ and a pattern for the maps."""
    maps = [Maps("maps/{path}/iuv.png")]
    tree = Tree(root, people, flat, partial(DeepFashionPairs, maps=maps))
    for i, v, drawn in each(people):
        split = "test" if is_test(i) else "train"
        tree.photos[flat(i, v)] = write(root / f"{split}_highres" / f"{flat(i, v)}.jpg", drawn.photo)
        tree.poses[flat(i, v)] = write(root / "maps" / raw(i, v) / "iuv.png", drawn.pose.encode())
    for split in ("train", "test"):
        rows = ((f"{a}.jpg", f"{b}.jpg") for a, b in tree.pairs(split))
        write_list(root / f"fasion-resize-pairs-{split}.csv", rows)
    return tree


def deepfashion_lmdb(root: Path, people: People) -> Tree:
    """PNGs in an lmdb under img/PATH.png and a key `length`, *_pairs.txt, maps in a tree of their own."""
    tree = Tree(root, people, flat, DeepFashionPairs)
    for i, v, drawn in each(people):
        tree.poses[flat(i, v)] = write(root / "densepose" / f"{raw(i, v)}.png", drawn.pose.encode())
    with lmdb.open(str(root / "64-44"), map_size=2**24) as env, env.begin(write=True) as transaction:
        transaction.put(b"length", b"00008")
        for i, v, drawn in each(people):
            transaction.put(f"img/{raw(i, v)}.png".encode(), png(np.asarray(drawn.image)))
    for split in ("train", "test"):
        paths = {flat(i, v): f"img/{raw(i, v)}.jpg" for i, v, _ in each(people)}
        lines = [f"{paths[target]},{paths[source]}\n" for source, target in sorted(tree.pairs(split))]
        (root / f"{split}_pairs.txt").write_text("".join(lines))
    return tree


def market(root: Path, people: People) -> Tree:
    """Market-1501: 128x64, market-pairs-*.csv, junk and distractors among the test pictures."""
    small = {i: [drawn.stretched(128, 64) for drawn in views] for i, views in people.items()}
    tree = Tree(root, small, lambda i, v: f"{i + 2:04d}_c{v + 1}s1_000451_03", MarketPairs, (128, 64))
    for i, v, drawn in each(small):
        split, name = "test" if is_test(i) else "train", tree.name(i, v)
        tree.photos[name] = write(root / split / f"{name}.jpg", drawn.photo)
        tree.poses[name] = write(root / f"{split}_densepose" / f"{name}.png", vui(drawn.pose))
    write(root / "test" / "-1_c1s1_000401_03.jpg", b"junk")
    write(root / "test" / "0000_c1s1_000151_01.jpg", b"distractor")
    write(root / "train" / "Thumbs.db.jpg", b"not of the data set")
    for split in ("train", "test"):
        write_list(root / f"market-pairs-{split}.csv", ((f"{a}.jpg", f"{b}.jpg") for a, b in tree.pairs(split)))
    return tree


TREES = {
    builder.__name__: builder
    for builder in (
        folder, folder_listed, synth_folder, deepfashion_txt, deepfashion_flat, deepfashion_highres, deepfashion_lmdb,
        market, synth_shards, packed_shards, rendered,
    )
}  # fmt: skip
ON_DISK = [name for name in TREES if name != "rendered"]
FILES = [name for name in ON_DISK if not name.endswith("shards")]


def rewrite_shard(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Write a shard again with other contents; None leaves a file out."""
    with tarfile.open(path) as tar:
        files = [(entry.name, tar.extractfile(entry).read()) for entry in tar]
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            changed = change(name, content)
            if changed is not None:
                entry = tarfile.TarInfo(name)
                entry.size = len(changed)
                tar.addfile(entry, io.BytesIO(changed))


def shard_json(content: bytes, **changes) -> bytes:
    return json.dumps({**json.loads(content), **changes}).encode()
