"""From drawn pictures on disk to numbers: in one process, one picture at a time, in a fixed order.

So the numbers depend neither on the number of processes nor on batches, to the bit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pocold.data.pairs import View
from pocold.data.pictures import Pair
from pocold.evaluation import metrics
from pocold.evaluation.drawing import picture_name
from pocold.evaluation.features import load_inception, load_lpips, sha256, st_lpips_features
from pocold.evaluation.protocols import Protocol, Resize, Size, fit
from pocold.evaluation.real_moments import RealMoments
from pocold.evaluation.selection import RealPictures, Selection
from pocold.imaging.images import Frame, load_image
from pocold.models.perceptual import find_weights, load_st_lpips
from pocold.people.rendering.surface import CLASS_ID

GARMENTS = {"colour_top": CLASS_ID["top"], "colour_trousers": CLASS_ID["trousers"]}
MAY_BE_MISSING = {*GARMENTS, "pose_consistency"}  # of pictures without trousers, without a body
# What may be left out on purpose, and the metrics it names.
FAMILIES: dict[str, tuple[str, ...]] = {
    "fid": ("fid", "fid_torchvision"),
    "lpips": ("lpips", "lpips_unit_range", "mask_lpips", "mask_lpips_unit_range"),
    "st_lpips": ("st_lpips",),
    "fd_stlpips": ("fd_stlpips",),
}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class WeightFiles:
    """Where the networks' weights are.

    Attributes:
        st_lpips: of ST-LPIPS (Alex); None takes the installed package's.
        inception: of Inception v3, in the protocol's convention; None takes the environment's.
        lpips: AlexNet and LPIPS' linear layers.
    """

    st_lpips: Path | None = None
    inception: Path | None = None
    lpips: tuple[Path, ...] = ()


@dataclass
class Instruments:
    """The metrics to take, with their networks loaded.

    Attributes:
        names: in the order they are printed in.
        distances: name -> function of (drawn, truth), each ``(1, 3, H, W)``, for learned distances.
        extractors: name -> function from ``(1, 3, H, W)`` to features ``(1, D)``, for Frechet distances.
        estimator: finds DensePose labels in pictures, if there is one.
        device: of the networks.
        files: name of the weight file -> its checksum.
    """

    names: list[str]
    device: torch.device
    distances: dict[str, Callable[[Tensor, Tensor], Tensor]] = field(default_factory=dict)
    extractors: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    estimator: Callable[[Tensor], Tensor] | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    def frechet(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The extractors of those Frechet distances that are asked for."""
        return {name: extract for name, extract in self.extractors.items() if name in self.names}


def load_instruments(
    protocol: Protocol,
    size: Size | None,
    weights: WeightFiles,
    without: Sequence[str],
    device: torch.device,
    estimator: Callable[[Tensor], Tensor] | None = None,
) -> Instruments:
    """The protocol's metrics, ready to be taken.

    Args:
        protocol: which metrics.
        size: at which pictures are compared, if they are of one.
        weights: files.
        without: names of :data:`FAMILIES` to leave out.
        device: for the networks.
        estimator: adds ``pose_consistency``.

    Raises:
        ValueError: for an unknown name, or a weight file that is missing, naming it and the flag.
    """
    if unknown := sorted(set(without) - FAMILIES.keys()):
        raise ValueError(f"--without: unknown {', '.join(unknown)}; expected some of {', '.join(FAMILIES)}")
    left_out = {name for family in without for name in FAMILIES[family]}
    if not protocol.fid_by_default and weights.inception is None:
        left_out |= set(FAMILIES["fid"])
    names = [name for name in protocol.metrics(size or (0, 0)) if name not in left_out]
    if estimator is not None:
        names.append("pose_consistency")
    tools = Instruments(names, device, estimator=estimator)
    if {"st_lpips", "fd_stlpips"} & set(names):
        path = weights.st_lpips or find_weights("alex")
        network = load_st_lpips("alex", path).to(device)
        tools.distances["st_lpips"] = network
        tools.extractors["fd_stlpips"] = partial(st_lpips_features, network)
        tools.files[path.name] = sha256(path)
    lpips = [name for name in names if name in FAMILIES["lpips"]]
    if lpips:
        distance, paths = load_lpips(weights.lpips)
        unit_range = protocol.lpips == "[0, 1]"
        distance.to(device)
        for name in lpips:
            tools.distances[name] = partial(_unit_range, distance) if unit_range else distance
        tools.files |= {path.name: sha256(path) for path in paths}
    for name in set(names) & set(FAMILIES["fid"]):
        inception, path = load_inception(protocol.fid, weights.inception)
        tools.extractors[name] = inception.to(device)
        tools.files[path.name] = sha256(path)
    return tools


def _unit_range(distance: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    return distance(a / 2 + 0.5, b / 2 + 0.5)


@dataclass
class Measurements:
    """What was measured.

    Attributes:
        rows: per pair: metric -> value; metrics that a pair has nothing for (no trousers) are missing.
        frechet: metric -> value, of all pictures together.
        drawn, real: how many pictures the Frechet distances saw.
    """

    rows: dict[Pair, dict[str, float]] = field(default_factory=dict)
    frechet: dict[str, float] = field(default_factory=dict)
    drawn: int = 0
    real: int = 0


@torch.inference_mode()
def measure(
    selection: Selection,
    folder: Path,
    protocol: Protocol,
    size: Size | None,
    tools: Instruments,
    real: RealPictures | None,
    progress: Progress | None = None,
    kept: Path | None = None,
) -> Measurements:
    """Measure drawn pictures against the truth.

    Args:
        selection: the pairs.
        folder: of their pictures.
        protocol: how they are compared.
        size: at which, see :meth:`Protocol.size`; None is each picture's own.
        tools: the metrics.
        real: for Frechet distances.
        progress: called with (pictures looked at, pictures in all).
        kept: folder of what is kept of the real pictures, see :class:`pocold.evaluation.real_moments.RealMoments`.

    Raises:
        ValueError: if a picture is missing or cannot be read.
    """
    result = Measurements()
    extractors = tools.frechet
    drawn_moments = {name: metrics.Moments() for name in extractors}
    total, done = len(selection.pairs) + (len(real.names) if real is not None and extractors else 0), 0
    for pair in selection.pairs:
        views = selection.views(pair)
        if views is not None:
            picture = load_image(folder / picture_name(pair), f"the drawn picture of {pair[0]} -> {pair[1]}")
            result.rows[pair] = measure_pair(picture, views[1], protocol, size, tools)
            compared = fit(picture, size or picture.size[::-1], protocol.resize).to(tools.device)
            for name, extract in extractors.items():
                drawn_moments[name].add(extract(compared))
            result.drawn += 1
        done += 1
        if progress is not None:
            progress(done, total)
    if not result.rows:
        raise ValueError(f"{selection.data.origin}: not one of {len(selection.pairs)} pairs can be read")
    if not extractors:
        return result
    if real is None:
        raise ValueError(f"{', '.join(extractors)} needs real pictures to compare with")

    def looked() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    found = RealMoments(extractors, tools.files, size, protocol.resize, tools.device, kept).of(real, looked)
    result.real = min(moments.count for moments in found.values())
    for name in extractors:
        result.frechet[name] = metrics.frechet_distance(found[name], drawn_moments[name])
    return result


def measure_pair(
    picture: Image.Image, truth: View, protocol: Protocol, size: Size | None, tools: Instruments
) -> dict[str, float]:
    """The metrics of one drawn picture, by name."""
    drawn = picture.size[::-1]
    size = size or drawn

    def both(wanted: Size, how: Resize) -> tuple[Tensor, Tensor]:
        a, b = (fit(image, wanted, how).to(tools.device) for image in (picture, truth.photo))
        return a, b

    predicted, expected = both(size, protocol.resize)
    pixels = predicted, expected
    if protocol.pixels_as_drawn and drawn != size:
        pixels = both(drawn, "pillow-bicubic")
    frame = Frame(truth.size, size, protocol.frame)

    def mask(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(frame.labels(values))).to(tools.device)[None]

    row: dict[str, Tensor] = {}
    for name in tools.names:
        if name in ("l1", "psnr", "ssim_51"):
            row[name] = getattr(metrics, name)(*pixels)
        elif name.startswith("ssim_gaussian"):
            row[name] = metrics.ssim_gaussian(*pixels, protocol.ssim_sigma)
        elif name.startswith("mask_"):
            row[name] = metrics.masked_distance(tools.distances[name], predicted, expected, mask(truth.labels > 0))
        elif name in tools.distances:
            row[name] = tools.distances[name](predicted, expected)
        elif name == "pose_consistency" and tools.estimator is not None:
            row[name] = metrics.pose_consistency(predicted, mask(truth.labels), tools.estimator)
        elif name in GARMENTS and truth.garments is not None:
            row[name] = metrics.colour_error(predicted, expected, mask(truth.garments == GARMENTS[name]))
    values = {name: float(value) for name, value in row.items()}
    nothing = {name for name in values if math.isnan(values[name])}
    if broken := nothing - MAY_BE_MISSING:
        raise ValueError(f"{truth.name}: {', '.join(sorted(broken))} of its picture is not a number")
    return {name: value for name, value in values.items() if name not in nothing}
