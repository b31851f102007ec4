"""Synthetic people as a data set: drawn on the fly for training, or written to folders or shards.

A sample is a pure function of (seed, identity, view): the same bytes for any number of workers, in any order. Legend:
H W picture size.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice, permutations
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset

from pocold.data.pairs import Sample, surface_keys
from pocold.data.skipping import given_by_worker, share_of_work
from pocold.imaging.files import atomic_write, read_json
from pocold.imaging.images import to_tensor
from pocold.people.body.camera import check_size
from pocold.people.labels import KEYPOINT_NAMES
from pocold.people.poses import random_view
from pocold.people.rendering.render import Person, Picture, Shot, random_person
from pocold.people.rendering.surface import CLASSES

FORMAT = 1  # of the manifest; raised whenever the same settings would draw other pictures
MANIFEST = "manifest.json"
_TEST_EVERY = 10  # every tenth identity is for testing, whatever the number of identities


@dataclass(frozen=True)
class SyntheticConfig:
    """Settings from which every sample can be drawn again.

    Attributes:
        seed: of the whole population.
        identities: number of people.
        per_identity: pictures of each; the first is a full figure from the front.
        size: (height, width) in pixels.
        vary_background: draw a backdrop per picture instead of one per person.
        supersample: samples per pixel and side.
        wardrobe: folder of MakeHuman garments, some of which are worn instead of the built-in ones, or None.

    Raises:
        ValueError: for numbers that make no data set.
    """

    seed: int = 0
    identities: int = 200
    per_identity: int = 6
    size: tuple[int, int] = (256, 176)
    vary_background: bool = False
    supersample: int = 2
    wardrobe: str | None = None

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.identities < 1 or self.per_identity < 1:
            raise ValueError(
                f"expected at least one identity and one picture of each, got {self.identities} and {self.per_identity}"
            )
        if not 1 <= self.supersample <= 4:
            raise ValueError(f"supersample must lie in 1..4, got {self.supersample}")


def is_test(identity: int) -> bool:
    """Whether a person belongs to the test split; people are never in both."""
    return identity % _TEST_EVERY == 1


def sample_name(identity: int, view: int) -> str:
    """The name of a sample, without folder and ending."""
    return f"{identity:06d}_{view:02d}"


@lru_cache(maxsize=2)
def _person(seed: int, identity: int, wardrobe: str | None) -> Person:
    return random_person(seed, identity, wardrobe=wardrobe)


def draw_view(config: SyntheticConfig, identity: int, view: int) -> tuple[Picture, Shot]:
    """Draw one sample.

    Args:
        config: the population; ``identities`` and ``per_identity`` do not change a sample.
        identity, view: which one, from 0.
    """
    person = _person(config.seed, identity, config.wardrobe)
    rng = np.random.default_rng([config.seed, identity, 1, view])
    shot = person.random_shot(rng, config.vary_background)
    if view == 0:
        shot = Shot(shot.pose, float(rng.normal() * 9), "full", shot.seed, shot.backdrop, shot.shift)
    else:
        shot = Shot(shot.pose, random_view(rng), shot.crop, shot.seed, shot.backdrop, shot.shift)
    # One picture at a time: a batch could round differently, and a sample must not depend on its neighbours.
    return person.draw([shot], config.size, config.supersample)[0], shot


def encode_view(config: SyntheticConfig, identity: int, view: int) -> dict[str, bytes]:
    """One sample as files: kind of file (``img``, ``iuv``, ``garments``, ``keypoints``) to bytes."""
    picture, shot = draw_view(config, identity, view)
    origin = {"synthetic": True, "software": "pocold", "seed": config.seed, "identity": identity, "view": view}
    photo = io.BytesIO()
    quality = _person(config.seed, identity, config.wardrobe).shoot.film.jpeg_quality
    comment = json.dumps(origin, sort_keys=True).encode()
    Image.fromarray(picture.image).save(photo, format="JPEG", quality=quality, subsampling=0, comment=comment)
    garments = io.BytesIO()
    Image.fromarray(picture.garments).save(garments, format="PNG")
    points = {
        name: [round(float(x), 2), round(float(y), 2), int(seen)]
        for name, (x, y, seen) in zip(KEYPOINT_NAMES, picture.keypoints, strict=True)
    }
    labels = {**origin, "degrees": round(shot.view, 2), "crop": shot.crop, "keypoints": points}
    return {
        "img": photo.getvalue(),
        "iuv": picture.densepose.encode(),
        "garments": garments.getvalue(),
        "keypoints": json.dumps(labels, sort_keys=True).encode() + b"\n",
    }


def write_manifest(config: SyntheticConfig, folder: Path, shards: bool) -> None:
    """Write the manifest and the pair lists, or check that those already there are of the same run.

    Raises:
        ValueError: if the folder holds another run, or something else under these names.
    """
    wanted = {
        "format": FORMAT, "synthetic": True, "software": "pocold", "config": asdict(config), "shards": shards,
        "garments": list(CLASSES), "keypoints": list(KEYPOINT_NAMES),
        "test": f"identities with index % {_TEST_EVERY} == 1",
    }  # fmt: skip
    wanted = json.loads(json.dumps(wanted))  # tuples become lists, as they will be read
    path = folder / MANIFEST
    if path.exists():
        present = read_json(path)
        if present != wanted:
            theirs = present.get("config", {})
            different = [k for k, v in wanted["config"].items() if theirs.get(k) != v] or ["its format"]
            raise ValueError(
                f"{folder} already holds another run (different: {', '.join(different)}); choose another folder, or "
                "give the settings in its manifest.json to continue it"
            )
        return
    for split in ("train", "test"):
        _write_pairs(config, folder / f"pairs-{split}.csv", split == "test")
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=2, sort_keys=True) + "\n")


def read_manifest(folder: str | Path) -> SyntheticConfig:
    """The settings of a written data set, with which :func:`draw_view` draws its samples again.

    Raises:
        ValueError: if there is no manifest, or it is of another format.
    """
    content = read_json(Path(folder) / MANIFEST)
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{folder}: expected a manifest of format {FORMAT}; it was written by another version of pocold"
        )
    settings = dict(content["config"])
    return SyntheticConfig(**{**settings, "size": tuple(settings["size"])})


def _write_pairs(config: SyntheticConfig, path: Path, test: bool) -> None:
    """All ordered pairs of two pictures of one person, columns ``from,to`` as in DeepFashion's lists."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["from", "to"])
        for identity in range(config.identities):
            if is_test(identity) == test:
                for a, b in permutations(range(config.per_identity), 2):
                    rows.writerow([sample_name(identity, a), sample_name(identity, b)])


class SyntheticPeople(IterableDataset[Sample]):
    """Pairs of pictures of one person, drawn on the fly; nothing is stored.

    Yields samples (:class:`pocold.data.pairs.Sample`) with garment maps; names are those of :func:`sample_name`.
    Of each person as many pairs come as pictures are drawn. Processes and workers of a DataLoader share the people
    among themselves.

    Args:
        config: the population; see :class:`SyntheticConfig`.
        split: ``train`` or ``test``.
        endless: go on with new people beyond ``config.identities``.
        surface_hint, hint_completed, uv, keypoints: add keys to the samples; see
            :class:`pocold.data.pairs.PairedTransform`.

    Raises:
        ValueError: for an unknown split, or fewer than two pictures per person.
    """

    def __init__(
        self,
        config: SyntheticConfig | None = None,
        split: str = "train",
        endless: bool = False,
        surface_hint: bool = False,
        hint_completed: bool = False,
        uv: bool = False,
        keypoints: bool = False,
    ) -> None:
        self.config = config or SyntheticConfig()
        if split not in ("train", "test"):
            raise ValueError(f"unknown split {split!r}: expected 'train' or 'test'")
        if self.config.per_identity < 2:
            raise ValueError("pairs need at least two pictures per person; set per_identity=2 or more")
        self.split, self.endless = split, endless
        self.surface_hint, self.hint_completed, self.uv = surface_hint, hint_completed, uv
        self.keypoints = keypoints
        self._given = (0, 1)

    def pass_over(self, batches: int, batch_size: int) -> None:
        """Begin the next iteration behind what a DataLoader of this process has already given: so many batches."""
        self._given = (batches, batch_size)

    def __iter__(self) -> Iterator[Sample]:
        first, step = share_of_work()
        given = given_by_worker(*self._given)
        turn = 0
        identity = 0
        while self.endless or identity < self.config.identities:
            if is_test(identity) == (self.split == "test"):
                if turn % step == first:
                    if given >= self.config.per_identity:
                        given -= self.config.per_identity
                    else:
                        yield from islice(self._pairs(identity), given, None)
                        given = 0
                turn += 1
            identity += 1

    def _pairs(self, identity: int) -> Iterator[Sample]:
        count = self.config.per_identity
        drawn = [draw_view(self.config, identity, view)[0] for view in range(count)]
        images = [to_tensor(Image.fromarray(picture.image))[0] for picture in drawn]
        poses = [torch.from_numpy(picture.densepose.labels) for picture in drawn]
        uvs = [torch.from_numpy(picture.densepose.uv) for picture in drawn]
        garments = [torch.from_numpy(picture.garments.copy()) for picture in drawn]
        order = np.random.default_rng([self.config.seed, identity, 2]).permutation(count)
        for a, b in zip(order, np.roll(order, -1), strict=True):
            sample: Sample = {
                "source": images[a], "source_pose": poses[a], "source_name": sample_name(identity, int(a)),
                "target": images[b], "target_pose": poses[b], "target_name": sample_name(identity, int(b)),
                "source_garments": garments[a], "target_garments": garments[b], "person": f"{identity:06d}",
            }  # fmt: skip
            extra = surface_keys(
                sample, uvs[a], uvs[b],
                surface_hint=self.surface_hint, completed=self.hint_completed, uv=self.uv,
            )  # fmt: skip
            if self.keypoints:
                for role, view in (("source", a), ("target", b)):
                    extra[f"{role}_keypoints"] = torch.from_numpy(_with_confidence(drawn[view].keypoints))
            yield cast(Sample, {**sample, **extra})


def _with_confidence(points: np.ndarray) -> np.ndarray:
    """Keypoints ``(18, 3)`` as :func:`pocold.data.keypoints.keypoints_of` reads them from the written files."""
    confidence = np.where(points[:, 2:] > 0, 1.0, 0.5)
    return np.concatenate([points[:, :2], confidence], axis=1).astype(np.float32)
