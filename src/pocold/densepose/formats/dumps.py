"""Dumps of detectron2's ``apply_net.py dump``: one entry per picture, one box and one map of its size per person.

A dump says where the boxes are, but not how large the photo is: whoever reads one tells it (:meth:`Detection.paste`).

Legend: H W photo size, h w box size.
"""

import base64
import binascii
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pocold.densepose.formats.unpickling import Array, Record, load_pickle
from pocold.densepose.maps import DensePose
from pocold.imaging.files import MAX_PIXELS, PICTURE_ERRORS, atomic_write

_ROUNDING = 2  # pixels by which tools that round boxes differently may disagree


@dataclass(frozen=True)
class Detection:
    """One person of a dump.

    Attributes:
        pose: the map inside the box, ``(h, w)``.
        top, left: of the box in the photo; may be negative by rounding.
        score: the detector's, 0 to 1.
    """

    pose: DensePose
    top: int
    left: int
    score: float

    @property
    def area(self) -> int:
        """Pixels of the body."""
        return int((self.pose.labels > 0).sum())

    def paste(self, size: tuple[int, int]) -> DensePose:
        """The map in the frame of its photo, background elsewhere.

        Args:
            size: (height, width) of the photo.

        Raises:
            ValueError: if the box does not lie in a photo of this size.
        """
        (height, width), (h, w) = size, self.pose.size
        bottom, right = self.top + h, self.left + w
        if min(self.top, self.left) < -_ROUNDING or bottom > height + _ROUNDING or right > width + _ROUNDING:
            raise ValueError(
                f"the person's box, rows {self.top}..{bottom} and columns {self.left}..{right}, does not lie in a "
                f"photo of {height}x{width} (height x width); is it the photo this dump was made from?"
            )
        there = slice(max(0, self.top), min(height, bottom)), slice(max(0, self.left), min(width, right))
        here = tuple(
            slice(part.start - at, part.stop - at) for part, at in zip(there, (self.top, self.left), strict=True)
        )
        labels = np.zeros(size, np.uint8)
        labels[there] = self.pose.labels[here]
        if self.pose.uv is None:
            return DensePose(labels)
        uv = np.zeros((2, *size), np.float32)
        uv[(slice(None), *there)] = self.pose.uv[(slice(None), *here)]
        return DensePose(labels, uv)


@dataclass(frozen=True)
class DumpedPicture:
    """One picture of a dump.

    Attributes:
        file_name: as the dump has it: the path of the photo on the machine where it was made.
        people: who was found, the largest body first.
    """

    file_name: str
    people: tuple[Detection, ...]

    @property
    def name(self) -> str:
        """The file name without folders, of either kind of system."""
        return self.file_name.replace("\\", "/").rpartition("/")[2]


def read_dump(path: Path) -> list[DumpedPicture]:
    """All pictures of a dump, in its order. Nothing in the file is executed; detectron2 is not needed.

    Raises:
        ValueError: if the file is missing, broken, refused (:func:`load_pickle`), or no dump of DensePose charts.
    """
    content = load_pickle(path)
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path}: expected a dump, a list with one entry per picture, got {_described(content)}")
    pictures = []
    for index, entry in enumerate(content):
        try:
            pictures.append(_picture(entry))
        except ValueError as error:
            raise ValueError(f"{path}: picture {index + 1} of {len(content)}: {error}") from None
    return pictures


def _picture(entry: Any) -> DumpedPicture:
    if not isinstance(entry, Mapping):
        raise ValueError(
            f"expected an entry with file_name, pred_boxes_XYXY and pred_densepose, got {_described(entry)}"
        )
    name = entry.get("file_name", "")
    if not isinstance(name, str):
        raise ValueError(f"its file_name is {_described(name)}, no text")
    if "pred_densepose" not in entry:
        if len(_numbers(entry.get("scores", []), "scores")):
            raise ValueError("it has detections, but no pred_densepose")
        return DumpedPicture(name, ())  # a picture in which nobody was found
    results, boxes_found = entry["pred_densepose"], entry.get("pred_boxes_XYXY", [])
    if isinstance(results, Record) and {"boxes_xywh", "results"} <= results.fields.keys():
        results, boxes_found = _of_2020(results, boxes_found)
    if isinstance(results, Record) or not isinstance(results, Sequence):
        raise ValueError(f"its pred_densepose is {_described(results)}: {_advice(results)}")
    boxes = _numbers(boxes_found, "pred_boxes_XYXY").astype(np.float64)
    scores = _numbers(entry.get("scores", np.ones(len(results))), "scores").astype(np.float64)
    if (len(results) and boxes.shape != (len(results), 4)) or scores.shape != (len(results),):
        raise ValueError(
            f"expected one box and score for each of {len(results)} people, got {boxes.shape}, {scores.shape}"
        )
    people = [_detection(result, *found) for result, *found in zip(results, boxes, scores, strict=True)]
    return DumpedPicture(name, tuple(sorted(people, key=lambda person: -person.area)))


def _of_2020(results: Record, boxes: Any) -> tuple[list[Record], Any]:
    """detectron2 wrote one DensePoseResult for all people of a picture until August 2020: (results as later, boxes)."""
    people = results.fields["results"]
    if not isinstance(people, list) or not all(isinstance(it, tuple | list) and len(it) == 2 for it in people):
        raise ValueError(f"its {_described(results)} should hold a list of (shape, PNG in base 64), one per person")
    if not _numbers(boxes, "pred_boxes_XYXY").size:
        boxes = _numbers(results.fields["boxes_xywh"], "boxes_xywh").astype(np.float64).copy()
        boxes[:, 2:] += boxes[:, :2]
    later = []
    for shape, text in people:
        record = Record()
        record.fields = {"shape_chw": shape, "labels_uv_str": text}
        later.append(record)
    return later, boxes


def _detection(result: Any, box: np.ndarray, score: float) -> Detection:
    if not isinstance(result, Record):
        raise ValueError(f"expected a DensePose result, got {_described(result)}")
    fields = result.fields
    if {"labels", "uv"} <= fields.keys():
        labels, uv = _numbers(fields["labels"], "labels"), _numbers(fields["uv"], "uv")
        if not np.isfinite(uv).all():
            raise ValueError("its uv hold NaN or infinity")
        pose = DensePose(labels, uv.clip(0, 1))  # some networks overshoot
    elif "labels_uv_uint8" in fields:
        pose = from_quantised(_numbers(fields["labels_uv_uint8"], "labels_uv_uint8"))
    elif {"shape_chw", "labels_uv_str"} <= fields.keys():
        pose = from_quantised(_decoded(fields["labels_uv_str"], fields["shape_chw"]))
    else:
        raise ValueError(f"it holds {_described(result)}: {_advice(result)}")
    if not np.isfinite(box).all() or np.abs(box).max() > MAX_PIXELS:
        raise ValueError(f"the box {box.tolist()} is not a box")
    left, top = (int(np.floor(side)) for side in box[:2])
    size = box[3] - box[1], box[2] - box[0]
    if max(abs(mine - side) for mine, side in zip(pose.size, size, strict=True)) > _ROUNDING:
        raise ValueError(f"a map of {pose.size} (height, width) does not fill its box of {size[0]:.1f} x {size[1]:.1f}")
    return Detection(pose, top, left, float(score))


def from_quantised(values: np.ndarray) -> DensePose:
    """A map from detectron2's quantised form, uint8 ``(3, H, W)`` = (label, 255 U, 255 V)."""
    if values.ndim != 3 or len(values) != 3 or values.dtype != np.uint8:
        raise ValueError(f"expected a quantised map, uint8 (3, H, W), got {values.dtype} {values.shape}")
    return DensePose(values[0], values[1:].astype(np.float32) / 255)


def quantised(pose: DensePose) -> np.ndarray:
    """uint8 ``(3, H, W)`` = (label, 255 U, 255 V), detectron2's quantised form; unknown U and V become 0."""
    uv = np.zeros((2, *pose.size), np.uint8) if pose.uv is None else np.round(pose.uv * 255).astype(np.uint8)
    return np.concatenate([pose.labels[None], uv])


def _decoded(text: Any, shape: Any) -> np.ndarray:
    """A compressed result, PNG in base 64, as uint8 ``(3, h, w)``."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
            if (3, picture.height, picture.width) != tuple(shape) or picture.mode != "RGB":
                raise ValueError(f"a compressed map of {shape} holds a picture {picture.mode} {picture.size}")
            return np.asarray(picture).transpose(2, 0, 1)
    except (TypeError, binascii.Error, *PICTURE_ERRORS) as error:
        raise ValueError(f"a compressed map cannot be decoded: {error}") from None


def _numbers(value: Any, name: str) -> np.ndarray:
    """A tensor, array or list of numbers as numpy array."""
    if isinstance(value, Tensor):
        value = value.detach()  # a tensor that a network was trained through knows no numpy
        return (value.float() if value.is_floating_point() else value).numpy()
    values = value.values if isinstance(value, Array) else np.asarray(value) if isinstance(value, list) else value
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise ValueError(f"its {name} should be numbers, got {_described(value)}")
    return values


def _described(value: Any) -> str:
    return value.kind if isinstance(value, Record) else f"a {type(value).__name__}"


def _advice(value: Any) -> str:
    if isinstance(value, Record) and "Embedding" in value.kind:
        return "embeddings of a CSE model, which have no body labels; dump with a chart model such as R_50_FPN_s1x"
    return "only results of DensePose charts are understood (labels and uv, quantised, or compressed)"


# -- writing -----------------------------------------------------------------------------------------------------


class DensePoseChartResultWithConfidences:
    """Stands in for detectron2's class while a dump is written."""

    def __init__(self, **fields: Tensor | None) -> None:
        self.__dict__ |= fields


_PlainPickler: Any = pickle._Pickler  # the one in Python, whose methods can be replaced


class _DumpPickler(_PlainPickler):
    """Names the stand-in as detectron2 does; the usual pickler would insist on importing what it names."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is DensePoseChartResultWithConfidences:
            self.write(b"cdensepose.structures.chart_result\nDensePoseChartResultWithConfidences\n")
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    dispatch = _PlainPickler.dispatch | {type: save_global}


class _PickleModule:
    """What ``torch.save`` needs of a pickle module."""

    Pickler = _DumpPickler


def write_dump(pose: DensePose, path: Path, file_name: str, score: float = 1.0) -> None:
    """Write a dump of one picture with one person, as ``apply_net.py dump`` does (``torch.save``), atomically.

    Args:
        pose: the map in its photo's frame; the dump holds its box. U and V are 0 where unknown.
        path: file to write.
        file_name: of the photo.
        score: of the detection.

    Raises:
        ValueError: if the map shows nobody, or the file cannot be written.
    """
    rows, columns = np.nonzero(pose.labels)
    if not len(rows):
        raise ValueError("the map shows nobody: a dump of it would be empty")
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    labels = pose.labels[top:bottom, left:right].astype(np.int64)
    uv = np.zeros((2, *labels.shape), np.float32)
    if pose.uv is not None:
        uv = pose.uv[:, top:bottom, left:right]
    unknown = dict.fromkeys(
        ("sigma_u", "sigma_v", "kappa_u", "kappa_v", "fine_segm_confidence", "coarse_segm_confidence")
    )
    result = DensePoseChartResultWithConfidences(
        labels=torch.from_numpy(labels), uv=torch.from_numpy(uv.copy()), **unknown
    )
    entry = {
        "file_name": file_name,
        "scores": torch.tensor([score]),
        "pred_boxes_XYXY": torch.tensor([[left, top, right, bottom]], dtype=torch.float32),
        "pred_densepose": [result],
    }
    with atomic_write(path) as temporary:
        torch.save([entry], temporary, pickle_module=_PickleModule)
