"""The sample contract: what every data set yields, how a pair is framed and flipped, and how samples become a batch.

A sample is two pictures of one person with their DensePose labels. Legend: H W picture size, B batch.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pocold.data.keypoints import KeypointFile, keypoints_of
from pocold.densepose.completion import complete
from pocold.densepose.correspondence import (
    Photograph,
    Surface,
    surface_correspondence,
    uv_steps,
    warp_by_surface,
)
from pocold.densepose.holes import fill_holes
from pocold.densepose.keypoints import COCO_18, MIRRORED_KEYPOINT
from pocold.densepose.labels import MIRRORED_LABEL, NUM_LABELS
from pocold.densepose.maps import DensePose, require_uv
from pocold.imaging.images import Frame, FrameMode, to_bytes, to_tensor


class Sample(TypedDict):
    """One pair of pictures.

    - ``source``, ``target``: float32 ``(3, H, W)`` in [-1, 1];
    - ``source_pose``, ``target_pose``: uint8 ``(H, W)``, DensePose labels 0..24;
    - ``source_name``, ``target_name``: what the data set calls the pictures, without ending; unique in the data set;
    - ``person``: who it is (of the target, should a list pair two people);
    - ``source_garments``, ``target_garments``: uint8 ``(H, W)``, garment classes, both or neither;
    - ``warped``: float32 ``(3, H, W)`` in [-1, 1], the source brought into the target's pose by U and V, and
      ``visible``: bool ``(H, W)``, where it shows that point (``pocold.densepose.correspondence``); both or neither,
      where asked for. Completed, the former has no holes, and the latter is float32, how certain it is;
    - ``source_uv``, ``target_uv``: float32 ``(2, H, W)`` in [0, 1]; both or neither, where asked for;
    - ``source_keypoints``, ``target_keypoints``: float32 ``(18, 3)``, x, y in pixels and confidence (see
      :func:`pocold.data.keypoints.keypoints_of`); both or neither, where asked for.
    """

    source: Tensor
    source_pose: Tensor
    source_name: str
    target: Tensor
    target_pose: Tensor
    target_name: str
    person: str
    source_garments: NotRequired[Tensor]
    target_garments: NotRequired[Tensor]
    warped: NotRequired[Tensor]
    visible: NotRequired[Tensor]
    source_uv: NotRequired[Tensor]
    target_uv: NotRequired[Tensor]
    source_keypoints: NotRequired[Tensor]
    target_keypoints: NotRequired[Tensor]


class Batch(TypedDict):
    """Several samples: tensors stacked, ``(B, 3, H, W)`` and ``(B, H, W)``; names and people as lists of length B."""

    source: Tensor
    source_pose: Tensor
    source_name: list[str]
    target: Tensor
    target_pose: Tensor
    target_name: list[str]
    person: list[str]
    source_garments: NotRequired[Tensor]
    target_garments: NotRequired[Tensor]
    warped: NotRequired[Tensor]
    visible: NotRequired[Tensor]
    source_uv: NotRequired[Tensor]
    target_uv: NotRequired[Tensor]
    source_keypoints: NotRequired[Tensor]
    target_keypoints: NotRequired[Tensor]


IMAGE_KEYS = ("source", "target")
POSE_KEYS = ("source_pose", "target_pose")
GARMENT_KEYS = ("source_garments", "target_garments")
TEXT_KEYS = ("source_name", "target_name", "person")
HINT_KEYS = ("warped", "visible")
UV_KEYS = ("source_uv", "target_uv")
KEYPOINT_KEYS = ("source_keypoints", "target_keypoints")
OPTIONAL_KEYS = frozenset((*GARMENT_KEYS, *HINT_KEYS, *UV_KEYS, *KEYPOINT_KEYS))
REQUIRED_KEYS = frozenset((*IMAGE_KEYS, *POSE_KEYS, *TEXT_KEYS))


def check_sample(sample: Any, size: tuple[int, int] | None = None) -> None:
    """Hold one sample against the contract (see :class:`Sample`).

    Args:
        sample: what a data set yielded.
        size: (height, width) that its pictures must have; source and target must agree in any case.

    Raises:
        ValueError: naming the key, what was expected and what came.
    """
    if not isinstance(sample, dict):
        raise ValueError(f"a sample must be a dict, got {type(sample).__name__}")
    missing, unknown = REQUIRED_KEYS - sample.keys(), sample.keys() - REQUIRED_KEYS - OPTIONAL_KEYS
    if missing or unknown:
        raise ValueError(
            f"a sample must have the keys {', '.join(sorted(REQUIRED_KEYS))}: missing {sorted(missing) or 'none'}, "
            f"unknown {sorted(unknown) or 'none'}"
        )
    for key in TEXT_KEYS:
        if not isinstance(sample[key], str) or not sample[key]:
            raise ValueError(f"{key} must be a text that is not empty, got {sample[key]!r}")
    where = f"{sample['source_name']} -> {sample['target_name']}"
    if len(sample.keys() & set(GARMENT_KEYS)) == 1:
        raise ValueError(f"{where}: garment maps must come for source and target, or for neither")
    if len(sample.keys() & set(HINT_KEYS)) == 1:
        raise ValueError(f"{where}: 'warped' and 'visible' must come together")
    if len(sample.keys() & set(UV_KEYS)) == 1:
        raise ValueError(f"{where}: 'source_uv' and 'target_uv' must come together")
    if len(sample.keys() & set(KEYPOINT_KEYS)) == 1:
        raise ValueError(f"{where}: 'source_keypoints' and 'target_keypoints' must come together")
    for key in (*IMAGE_KEYS, "warped", *UV_KEYS):
        if key in sample:
            lowest = 0 if key in UV_KEYS else -1
            _check_tensor(where, key, sample[key], torch.float32, 2 if key in UV_KEYS else 3)
            low, high = float(sample[key].min()), float(sample[key].max())
            if not (low >= lowest and high <= 1):  # also false for NaN
                raise ValueError(f"{where}: {key} must lie in [{lowest}, 1], got values from {low:g} to {high:g}")
    for key in (*POSE_KEYS, *GARMENT_KEYS):
        if key in sample:
            _check_tensor(where, key, sample[key], torch.uint8)
    if "visible" in sample:
        share = isinstance(sample["visible"], Tensor) and sample["visible"].is_floating_point()
        _check_tensor(where, "visible", sample["visible"], torch.float32 if share else torch.bool)
        if share and not (float(sample["visible"].min()) >= 0 and float(sample["visible"].max()) <= 1):
            raise ValueError(f"{where}: visible must lie in [0, 1]")
    for key in POSE_KEYS:
        if int(sample[key].max()) >= NUM_LABELS:
            raise ValueError(f"{where}: {key} must hold labels 0..{NUM_LABELS - 1}, got {int(sample[key].max())}")
    for key in KEYPOINT_KEYS:
        value = sample.get(key)
        if value is not None and (value.dtype != torch.float32 or value.shape != (len(COCO_18), 3)):
            raise ValueError(f"{where}: {key} must be torch.float32 (18, 3), got {value.dtype} {tuple(value.shape)}")
    sizes = {
        key: tuple(value.shape[-2:])
        for key, value in sample.items()
        if isinstance(value, Tensor) and key not in KEYPOINT_KEYS
    }
    wanted = size or sizes["source"]
    if wrong := {key: found for key, found in sizes.items() if found != wanted}:
        raise ValueError(f"{where}: expected the size {wanted} (height, width), got {wrong}; set a size to frame to")


def _check_tensor(where: str, key: str, value: Any, dtype: torch.dtype, channels: int | None = None) -> None:
    shape = "(H, W)" if channels is None else f"({channels}, H, W)"
    leading = () if channels is None else (channels,)
    if not isinstance(value, Tensor):
        raise ValueError(f"{where}: {key} must be a tensor {dtype} {shape}, got {type(value).__name__}")
    if value.dtype != dtype or value.ndim < 2 or value.shape[:-2] != leading or 0 in value.shape:
        raise ValueError(f"{where}: {key} must be {dtype} {shape}, got {value.dtype} {tuple(value.shape)}")


@dataclass(frozen=True, eq=False)
class View:
    """One decoded picture with its maps, of one size.

    Attributes:
        name: what the data set calls it.
        person: who it shows.
        photo: RGB.
        labels: uint8 ``(H, W)``, DensePose labels.
        garments: uint8 ``(H, W)`` or None.
        uv: float32 ``(2, H, W)`` in [0, 1] or None, DensePose U and V.
        doubts: of the DensePose map, see :class:`pocold.densepose.maps.DensePose`.
        keypoints: where they are stored; they are read where they are asked for, see :meth:`points`.

    Raises:
        ValueError: if a map is of another size than the photo.
    """

    name: str
    person: str
    photo: Image.Image
    labels: np.ndarray
    garments: np.ndarray | None = None
    uv: np.ndarray | None = None
    doubts: tuple[str, ...] | None = None
    keypoints: KeypointFile = None

    def __post_init__(self) -> None:
        maps = (("DensePose map", self.labels), ("garment map", self.garments), ("U, V map", self.uv))
        for what, values in maps:
            if values is not None and values.shape[-2:] != self.size:
                height, width = values.shape[-2:]
                raise ValueError(
                    f"{self.name}: its {what} is {width}x{height}, but the picture is {self.photo.width}x"
                    f"{self.photo.height} (width x height); a map must be made from the very picture it belongs to"
                )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.photo.height, self.photo.width

    @property
    def pose(self) -> DensePose:
        """The DensePose map, a copy."""
        return DensePose(self.labels, self.uv, self.doubts)

    def points(self, frame: Frame | None = None) -> np.ndarray:
        """The keypoints, float32 ``(18, 3)``, framed; see :func:`pocold.data.keypoints.keypoints_of`.

        Raises:
            ValueError: if there are none.
        """
        points = keypoints_of(self.keypoints, self.name, self.size)
        if frame is not None:
            points[:, :2] = np.where(points[:, 2:] > 0, frame.points(points[:, :2]), 0.0)
        return points


@dataclass(frozen=True)
class PairedTransform:
    """Two views -> one sample: both framed alike, and flipped together or not at all.

    Whether a pair is flipped depends on seed, epoch and the two names alone: not on workers, processes or order.

    Attributes:
        size: (height, width) to frame to, photo and maps together; None keeps the pictures' own size.
        mode: how; see :class:`pocold.imaging.images.Frame`.
        flip: probability of mirroring source *and* target; left and right labels are exchanged.
        seed: of the flips.
        surface_hint: add ``warped`` and ``visible``. Needs maps with U and V.
        hint_completed: complete these on the body (:func:`pocold.densepose.completion.complete`).
        uv: add ``source_uv`` and ``target_uv``. Likewise.
        keypoints: add ``source_keypoints`` and ``target_keypoints``.

    Raises:
        ValueError: for a probability outside [0, 1], an unknown mode or an impossible size, or a completed hint without
            a hint.
    """

    size: tuple[int, int] | None = None
    mode: FrameMode = "pad"
    flip: float = 0.0
    seed: int = 0
    surface_hint: bool = False
    hint_completed: bool = False
    uv: bool = False
    keypoints: bool = False

    def __post_init__(self) -> None:
        if self.hint_completed and not self.surface_hint:
            raise ValueError("hint_completed says how surface hints are made: it needs surface_hint (--hint)")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is a probability in [0, 1], got {self.flip}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        Frame((8, 8), self.size or (8, 8), self.mode)  # refuses impossible settings now, not at the first sample

    def check(self, view: View) -> None:
        """Raise a ValueError if a view lacks what the settings need."""
        if self.surface_hint or self.uv:
            require_uv(view.uv, view.name, f"the option {'surface_hint' if self.surface_hint else 'uv'}")
        if self.keypoints:
            view.points()

    def __call__(self, source: View, target: View, epoch: int = 0) -> Sample:
        """The sample of a pair in an epoch; garment maps are in it if both views have one.

        Raises:
            ValueError: if the settings need U and V, or keypoints, and a view has none.
        """
        uv = []
        garments = source.garments is not None and target.garments is not None
        sample: dict[str, Any] = {"person": target.person}
        for role, view in (("source", source), ("target", target)):
            self.check(view)
            frame = Frame(view.size, self.size or view.size, self.mode)
            sample[role] = to_tensor(frame.image(view.photo))[0]
            sample[f"{role}_pose"] = torch.from_numpy(np.array(frame.labels(view.labels), dtype=np.uint8))
            sample[f"{role}_name"] = view.name
            if garments:
                assert view.garments is not None
                sample[f"{role}_garments"] = torch.from_numpy(np.array(frame.labels(view.garments), dtype=np.uint8))
            if self.keypoints:
                sample[f"{role}_keypoints"] = torch.from_numpy(view.points(frame))
            if view.uv is not None and (self.surface_hint or self.uv):
                uv.append(torch.from_numpy(np.array(frame.uv(view.uv), dtype=np.float32)))
        if uv:
            sample |= surface_keys(
                cast(Sample, sample), *uv, surface_hint=self.surface_hint, completed=self.hint_completed, uv=self.uv
            )
        pair = zlib.crc32(f"{source.name}\n{target.name}".encode())
        flipped = np.random.default_rng([self.seed, epoch, pair]).random() < self.flip
        return hflip(cast(Sample, sample)) if flipped else cast(Sample, sample)


def surface_keys(
    sample: Sample, source_uv: Tensor, target_uv: Tensor, *, surface_hint: bool, completed: bool, uv: bool
) -> dict[str, Tensor]:
    """The optional keys made of U and V ``(2, H, W)``: ``warped`` and ``visible``, both ``_uv``, as asked for."""
    keys = {"source_uv": source_uv, "target_uv": target_uv} if uv else {}
    if surface_hint and completed:
        shown = Photograph(to_bytes(sample["source"]), sample["source_pose"], uv_steps(source_uv))
        keys["warped"], keys["visible"] = complete(Surface(((1.0, (shown,)),)), sample["target_pose"], target_uv)
    elif surface_hint:
        index, keys["visible"] = surface_correspondence(
            sample["target_pose"], target_uv, sample["source_pose"], source_uv
        )
        keys["warped"] = fill_holes(warp_by_surface(sample["source"], index), index >= 0, sample["target_pose"])
    return keys


def hflip(sample: Sample) -> Sample:
    """The mirrored pair: columns of everything reversed, left and right DensePose labels exchanged, U and V turned.

    Twice is the identity (U, V: up to rounding). Source and target turn together: a source flipped alone would swap the
    sides of an asymmetric garment between the two pictures.
    """
    mirrored = torch.from_numpy(MIRRORED_LABEL)
    flipped: dict[str, Any] = dict(sample)
    for key, value in sample.items():
        if key in KEYPOINT_KEYS:
            flipped[key] = _mirrored_points(cast(Tensor, value), sample["target"].shape[-1])
        elif isinstance(value, Tensor):
            flipped[key] = value.flip(-1)
        if key in POSE_KEYS:
            flipped[key] = mirrored[flipped[key].long()]
    for pose, uv in zip(POSE_KEYS, UV_KEYS, strict=True):
        if uv in sample:
            values = cast(dict[str, Tensor], sample)
            flipped[uv] = torch.from_numpy(DensePose(values[pose].numpy(), values[uv].numpy()).hflip().uv)
    return cast(Sample, flipped)


def _mirrored_points(points: Tensor, width: int) -> Tensor:
    """Keypoints ``(18, 3)`` of the mirrored picture; missing ones stay at 0."""
    mirrored = points[list(MIRRORED_KEYPOINT)].clone()
    mirrored[:, 0] = torch.where(mirrored[:, 2] > 0, width - mirrored[:, 0], 0.0)
    return mirrored


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; for ``DataLoader(collate_fn=...)``. Optional keys are kept if every sample has them.

    Raises:
        ValueError: for no samples, or pictures of different sizes.
    """
    if not samples:
        raise ValueError("cannot make a batch of no samples")
    sizes = {tuple(sample[role].shape[-2:]) for sample in samples for role in ("source", "target")}
    if len(sizes) > 1:
        raise ValueError(f"pictures of different sizes cannot be one batch: {sorted(sizes)}; set a size to frame to")
    rows = cast(Sequence[dict[str, Any]], samples)
    shared = set.intersection(*(set(row) for row in rows))
    batch = {
        key: torch.stack([row[key] for row in rows]) if isinstance(value, Tensor) else [row[key] for row in rows]
        for key, value in rows[0].items()
        if key in shared
    }
    return cast(Batch, batch)
