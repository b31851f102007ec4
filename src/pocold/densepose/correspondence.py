"""Which surface point of a photograph shows what a pixel of the target shows, told by DensePose's U and V.

U and V name the same point of a body part in every picture, so the source's picture can be brought into the target's
pose pixel by pixel. This is pocold's extension; the published method uses the labels alone.

Legend: H W target size, H' W' source size, N target pixels and M source pixels of one part.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor

from pocold.densepose.holes import fill_holes
from pocold.densepose.resampling import resample
from pocold.imaging.images import from_uint8

HIDDEN = 255  # label of source pixels that are not to be used
BESIDE = 254  # of those that show the person beside the body: clothes, hair, what is held; no backdrop

# Where a point of the surface counts as seen. Between pictures of one synthetic person the colour at the nearest point
# differs by 15 of 255 on average where U, V agree, and by 40, as much as anywhere on the part, from about 0.1 on; half
# way is 0.04 at 256x176 and 0.07 at 128x88, where pixels lie further apart on the surface.
MAX_DISTANCE = 0.05

_NARROW = 64  # how many times the margin beside a body goes into the height, where a mask tells what is no backdrop
_STEPS = 256  # values of U, and of V


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture and the surface points that it shows, on the CPU.

    Attributes:
        picture: uint8 ``(3, H', W')``.
        labels: uint8 ``(H', W')``, 0..24, :data:`HIDDEN` or :data:`BESIDE`.
        uv: uint8 ``(2, H', W')``, U and V times 255.

    Raises:
        ValueError: on construction, if sizes or types are others.
    """

    picture: Tensor
    labels: Tensor
    uv: Tensor

    def __post_init__(self) -> None:
        size = tuple(self.picture.shape[1:])
        found = [(tensor.dtype, tuple(tensor.shape)) for tensor in (self.picture, self.labels, self.uv)]
        if found != [(torch.uint8, shape) for shape in ((3, *size), size, (2, *size))]:
            raise ValueError(f"a photograph has uint8 picture (3, H, W), labels (H, W) and uv (2, H, W), got {found}")


@dataclass(frozen=True, eq=False)
class Surface:
    """What is known of the surface of one person, or of a mixture of people.

    Attributes:
        layers: pairs (weight, photographs), whose weights sum to 1. The photographs of a layer show one appearance
            together: of them the nearest point is taken. Layers are appearances that are blended, by their weights.

    Raises:
        ValueError: on construction, without layers, or for a layer without photographs.
    """

    layers: tuple[tuple[float, tuple[Photograph, ...]], ...]

    def __post_init__(self) -> None:
        if not self.layers or not all(photographs for _, photographs in self.layers):
            raise ValueError("a surface needs at least one layer, and every layer at least one photograph")

    @classmethod
    def union(cls, surfaces: Iterable["Surface"]) -> "Surface":
        """Seen together. Of blends, every layer of one is united with every layer of the others."""
        layers = []
        for chosen in product(*(surface.layers for surface in surfaces)):
            weight = 1.0
            photographs: tuple[Photograph, ...] = ()
            for share, more in chosen:
                weight *= share
                photographs += more
            layers.append((weight, photographs))
        return cls(tuple(layers))

    def blend(self, other: "Surface", weight: float) -> "Surface":
        """``1 - weight`` of this one and ``weight`` of the other."""
        layers = [(share * (1 - weight), photographs) for share, photographs in self.layers]
        return Surface((*layers, *((share * weight, photographs) for share, photographs in other.layers)))

    def changed(self, change: Callable[[Photograph], Photograph]) -> "Surface":
        """With every photograph changed."""
        return Surface(tuple((weight, tuple(map(change, photographs))) for weight, photographs in self.layers))

    def shrunk(self, factor: int, least: int = 1) -> "Surface":
        """Every photograph ``factor`` times smaller: colours averaged, labels and U, V of the pixel in the middle.

        Args:
            factor: 1 or more.
            least: photographs that would become less high than this stay as they are.
        """
        if factor == 1:
            return self
        return self.changed(lambda photo: _shrunk(photo, factor) if len(photo.labels) >= factor * least else photo)

    def warp(self, labels: Tensor, uv: Tensor, *, between: bool = False) -> tuple[Tensor, Tensor]:
        """The person's picture in a pose.

        Where only some layers show a part, these are blended.

        Args:
            labels: of the pose, integers 0..24, ``(H, W)``.
            uv: ``(2, H, W)``.
            between: where the point itself is seen, colours between pixels (``resampling.py``) in place of the nearest
                pixel's.

        Returns:
            float32 ``(3, H, W)`` in [-1, 1], holes filled (:func:`fill_holes`), and float32 ``(H, W)`` in [0, 1], the
            share of the layers that show the very point.
        """
        height, width = labels.shape
        picture, visible, found = torch.zeros(3, height, width), torch.zeros(height, width), torch.zeros(height, width)
        for weight, photographs in self.layers:
            index, seen = correspondence_with(labels, uv, [(photo.labels, photo.uv) for photo in photographs])
            pixels = torch.cat([photo.picture.flatten(1) for photo in photographs], dim=1)
            shown = weight * (index >= 0)
            colours = warp_by_surface(from_uint8(pixels), index)
            if between:
                _put_between(colours, photographs, index, labels, uv_steps(uv), seen)
            picture += shown * colours
            visible += weight * seen
            found += shown
        whole = found.masked_fill(found == 0, 1)
        known = any(bool((photo.labels == BESIDE).any()) for _, photographs in self.layers for photo in photographs)
        margin = len(labels) // _NARROW if known else None
        return fill_holes(picture / whole, found > 0, labels, margin, mirrored=known), visible / whole


def surface_correspondence(
    target_labels: Tensor,
    target_uv: Tensor,
    source_labels: Tensor,
    source_uv: Tensor,
    max_distance: float = MAX_DISTANCE,
) -> tuple[Tensor, Tensor]:
    """For every pixel of the target the pixel of the source that shows the same point, or the nearest there is.

    On the body that is the pixel of the *same* part with the nearest U, V; in the background it is the pixel in the
    same place, if the source has background there.

    Args:
        target_labels: integers 0..24, ``(H, W)``.
        target_uv: ``(2, H, W)``, floats in [0, 1] or, as maps on disk have them, uint8 in 0..255.
        source_labels: ``(H', W')``; pixels labelled :data:`HIDDEN` or :data:`BESIDE` are not used.
        source_uv: ``(2, H', W')``.
        max_distance: up to which distance in U, V a point counts as seen.

    Returns:
        ``index``, int64 ``(H, W)``, into the flattened source, -1 where it shows nothing of the part (or no
        background); and ``visible``, bool ``(H, W)``, True where the point itself is seen: elsewhere the index is a
        filling.

    Raises:
        ValueError: if a map's U, V are of another shape than its labels.
    """
    return correspondence_with(target_labels, target_uv, [(source_labels, source_uv)], max_distance)


def correspondence_with(
    target_labels: Tensor,
    target_uv: Tensor,
    sources: Sequence[tuple[Tensor, Tensor]],
    max_distance: float = MAX_DISTANCE,
) -> tuple[Tensor, Tensor]:
    """:func:`surface_correspondence` with several photographs of any sizes: the nearest point of all of them.

    The index counts through the flattened photographs one after the other. Background is taken from the first that has
    some there.
    """
    target, target_uv = _flat("target", target_labels, target_uv)
    flat = [_flat("source", *source) for source in sources]
    labels, uv = torch.cat([part[0] for part in flat]), torch.cat([part[1] for part in flat])  # (M), (M, 2)
    index = torch.full_like(target, -1)
    squared = torch.zeros(len(target), device=target.device)

    start = 0
    for source_labels, _ in sources:
        place = start + _same_place(target_labels, source_labels)
        index = torch.where((target == 0) & (index < 0) & (labels[place] == 0), place, index)
        start += source_labels.numel()

    wanted, shown = _by_part(target), _by_part(labels)
    for part in sorted(wanted.keys() & shown.keys() - {0, HIDDEN, BESIDE}):
        pixels, points = wanted[part], shown[part]
        nearest, squared[pixels] = _nearest(target_uv[pixels], uv[points])
        index[pixels] = points[nearest]
    visible = (index >= 0) & (squared <= (255 * max_distance) ** 2)
    return index.view(target_labels.shape), visible.view(target_labels.shape)


def warp_by_surface(image: Tensor, index: Tensor, fill: float = 0.0) -> Tensor:
    """The source's picture in the target's pose.

    Args:
        image: ``(C, H', W')``, or flattened ``(C, M)``.
        index: ``(H, W)``, from :func:`surface_correspondence`.
        fill: where the index is -1; 0 is grey for pictures in [-1, 1].

    Returns:
        ``(C, H, W)``, like ``image``.
    """
    warped = image.reshape(len(image), -1)[:, index.clamp(min=0).flatten()].view(len(image), *index.shape)
    return warped.masked_fill(index < 0, fill)


def _put_between(
    colours: Tensor, photographs: Sequence[Photograph], index: Tensor, labels: Tensor, uv: Tensor, seen: Tensor
) -> None:
    """Replace the colours ``(3, H, W)`` of points of the body that are seen; U and V are uint8."""
    start = 0
    for photo in photographs:
        own = index - start
        shown = seen & (labels > 0) & (own >= 0) & (own < photo.labels.numel())
        if bool(shown.any()):
            same = (photo.uv.flatten(1)[:, own.clamp(0, photo.labels.numel() - 1)] == uv).all(0)
            colours[:, shown] = resample(from_uint8(photo.picture), photo.labels, own, labels, shown, same)
        start += photo.labels.numel()


def _shrunk(photo: Photograph, factor: int) -> Photograph:
    middle = slice(factor // 2, None, factor)
    height, width = (side // factor for side in photo.labels.shape)
    picture = F.avg_pool2d(photo.picture[None].float(), factor)[0].round().to(torch.uint8)
    labels, uv = photo.labels[middle, middle], photo.uv[:, middle, middle]
    return Photograph(picture, labels[:height, :width].contiguous(), uv[:, :height, :width].contiguous())


def _flat(what: str, labels: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """Labels int64 ``(M,)`` and U, V in whole steps of 1/255, float32 ``(M, 2)``: distances are exact."""
    if labels.ndim != 2 or uv.shape != (2, *labels.shape):
        raise ValueError(
            f"{what}: expected labels (H, W) and uv (2, H, W), got {tuple(labels.shape)} and {tuple(uv.shape)}"
        )
    return labels.flatten().long(), uv_steps(uv).float().flatten(1).T.contiguous()


def uv_steps(uv: Tensor) -> Tensor:
    """U and V of any shape in [0, 1] -> uint8, whole steps of 1/255; uint8 stays as it is."""
    return (uv.float() * 255).round().to(torch.uint8) if uv.is_floating_point() else uv


def _by_part(labels: Tensor) -> dict[int, Tensor]:
    """The pixels of each label in ``labels (M,)`` that occurs."""
    sorting = np.argsort(labels.cpu().numpy().astype(np.uint8), kind="stable")  # of bytes, much faster than of int64
    order = torch.from_numpy(sorting).to(labels.device)
    parts, counts = labels[order].unique_consecutive(return_counts=True)
    return dict(zip(parts.tolist(), order.split(counts.tolist()), strict=True))


def _same_place(target: Tensor, source: Tensor) -> Tensor:
    """For each target pixel the index of the source pixel at the same fraction of height and width."""
    (height, width), (h, w) = source.shape, target.shape
    rows = torch.arange(h, device=target.device) * height // h
    columns = torch.arange(w, device=target.device) * width // w
    return (rows[:, None] * width + columns).flatten()


def _nearest(target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest of ``source (M, 2)`` to each of ``target (N, 2)``: index ``(N,)`` and squared distance ``(N,)``.

    Of several that are equally near it is the one of the lowest U, and of these the first. So that a tree of points can
    tell, a third coordinate adds to each squared distance less than 1, by the order of the points: squared distances
    are whole numbers.
    """
    wanted, which = np.unique(_numbered(target), return_inverse=True)
    known, first = np.unique(_numbered(source), return_index=True)
    rank = np.empty(len(known))
    rank[np.lexsort((first, known // _STEPS))] = np.arange(len(known))
    points = np.stack([*np.divmod(known, _STEPS), (rank / len(known)) ** 0.5], axis=1)
    asked = np.stack([*np.divmod(wanted, _STEPS), np.zeros(len(wanted))], axis=1)
    _, nearest = cKDTree(points, balanced_tree=False, compact_nodes=False).query(asked)
    index = torch.from_numpy(first[nearest][which]).to(target.device)
    return index, (target - source[index]).square().sum(1)


def _numbered(points: Tensor) -> np.ndarray:
    """One whole number for each of ``(N, 2)``."""
    u, v = points.cpu().numpy().astype(np.int64).T
    return u * _STEPS + v
