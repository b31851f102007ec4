"""A z-buffer in torch: projected triangles in, one fragment per covered pixel out. The same code on CPU and GPU.

Legend: B pictures, V vertices, T triangles, L layers, H W picture size, N fragments.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_NOTHING = 2**62
_DEPTH_STEPS = 2**22  # per metre; with 32 bits for the triangle this leaves depths up to 2^9 m
_TESTS_AT_ONCE = 2_000_000  # triangle-pixel tests held in memory together
_SUBPIXEL = 256.0


@dataclass(frozen=True)
class Fragments:
    """The nearest surface at each covered pixel.

    Attributes:
        picture, layer, row, column: int64 ``(N,)``.
        triangle: int64 ``(N,)``.
        barycentric: float32 ``(N, 3)``, perspective-correct weights of the triangle's corners.
        depth: float32 ``(N,)``, metres from the camera plane.
    """

    picture: Tensor
    layer: Tensor
    row: Tensor
    column: Tensor
    triangle: Tensor
    barycentric: Tensor
    depth: Tensor

    def __len__(self) -> int:
        return len(self.triangle)

    def interpolate(self, values: Tensor, corners: Tensor) -> Tensor:
        """Vertex values ``(V, C)`` at the fragments, ``(N, C)``; ``corners`` ``(N, 3)`` are their vertices."""
        return F.embedding_bag(corners, values, per_sample_weights=self.barycentric, mode="sum")

    def cpu(self) -> "Fragments":
        """The same on the CPU."""
        return Fragments(*(getattr(self, name).cpu() for name in self.__dataclass_fields__))

    def select(self, which: Tensor) -> "Fragments":
        """Some of the fragments, by index or mask."""
        return Fragments(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def snap(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixel coordinates rounded to 1/256 pixel about the picture's centre, so that mirrored scenes round alike."""
    centre = points.new_tensor([size[1] / 2, size[0] / 2])
    return centre + torch.round((points - centre) * _SUBPIXEL) / _SUBPIXEL


def rasterize(
    points: Tensor,
    depth: Tensor,
    triangles: Tensor,
    size: tuple[int, int],
    *,
    two_sided: Tensor | None = None,
    layer: Tensor | None = None,
    num_layers: int = 1,
    bias: Tensor | None = None,
) -> Fragments:
    """Find the nearest triangle at every pixel centre.

    Args:
        points: float32 ``(B, V, 2)``, pixel coordinates (x right, y down; pixel (r, c) has its centre at c+.5, r+.5).
        depth: float32 ``(B, V)``, positive metres. Triangles with a corner nearer than 1 cm are left out.
        triangles: int64 ``(T, 3)``, counter-clockwise seen from outside.
        size: (height, width).
        two_sided: bool ``(T,)``, keep also when seen from behind; default none.
        layer: int64 ``(T,)`` in 0..L-1, each with a z-buffer of its own; default all in one.
        num_layers: L.
        bias: float32 ``(T,)``, metres added to the depth in comparisons only.

    Returns:
        The fragments, ordered by picture, layer, row, column.
    """
    height, width = size
    batch = len(points)
    points = snap(points, size)
    corners = points[:, triangles].flatten(0, 1)  # (B T, 3, 2)
    corner_depth = depth[:, triangles].flatten(0, 1)
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    double_area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]  # negative: counter-clockwise with y down
    low = (corners.amin(1) - 0.5).ceil().long().clamp(min=0)
    high = (corners.amax(1) - 0.5).floor().long()
    high = torch.minimum(high, high.new_tensor([width - 1, height - 1]))
    extent = high - low + 1
    wanted = (extent > 0).all(1) & (double_area.abs() > 1e-8) & (corner_depth.amin(1) > 0.01)
    front = double_area < 0
    wanted &= front if two_sided is None else front | two_sided.repeat(batch)

    candidates = wanted.nonzero()[:, 0]
    longest = extent[candidates].amax(1)
    plane = torch.arange(batch, device=points.device).repeat_interleave(len(triangles)) * num_layers
    if layer is not None:
        plane = plane + layer.repeat(batch)
    # weights of corners 1 and 2 at (x, y): edges over the area, one row per corner
    slopes = torch.stack([edge2[:, 1], -edge2[:, 0], -edge1[:, 1], edge1[:, 0]], 1) / double_area[:, None]
    scene = _Scene(
        corners[:, 0], slopes, 1 / corner_depth, low, high, plane, None if bias is None else bias.repeat(batch)
    )
    buffer = torch.full((batch * num_layers * height * width,), _NOTHING, dtype=torch.int64, device=points.device)
    smaller = 0
    for side in [2, 4, 8, 16, 32, 64, max(height, width, 65)]:
        chosen = candidates[(longest > smaller) & (longest <= side)]
        smaller = side
        for part in chosen.split(max(1, _TESTS_AT_ONCE // side**2)):
            _draw(buffer, scene, part, side, size)
    return _fragments(buffer, scene, len(triangles), num_layers, size)


@dataclass(frozen=True)
class _Scene:
    """Per triangle of all pictures: first corner, slopes of the weights, 1/depth of corners, pixel box, plane, bias."""

    origin: Tensor
    slopes: Tensor
    inverse_depth: Tensor
    low: Tensor
    high: Tensor
    plane: Tensor
    bias: Tensor | None


def _draw(buffer: Tensor, scene: _Scene, which: Tensor, side: int, size: tuple[int, int]) -> None:
    """Test ``side`` x ``side`` pixels per triangle and keep the smallest (depth, triangle) key per pixel."""
    height, width = size
    offset = torch.arange(side, device=buffer.device)
    low, high, origin, slopes = scene.low[which], scene.high[which], scene.origin[which], scene.slopes[which]
    x, y = low[:, :1] + offset, low[:, 1:] + offset  # (T, side)
    dx, dy = x + 0.5 - origin[:, :1], y + 0.5 - origin[:, 1:]
    beyond = torch.where(x > high[:, :1], -4.0, 0.0), torch.where(y > high[:, 1:], -4.0, 0.0)
    # the weights are sums of a term per column and one per row; far outside the box they are pushed below zero
    b1 = (dx * slopes[:, :1])[:, None] + (dy * slopes[:, 1:2])[:, :, None]
    b2 = (dx * slopes[:, 2:3])[:, None] + (dy * slopes[:, 3:])[:, :, None]
    outside = beyond[0][:, None] + beyond[1][:, :, None]
    inside = (torch.minimum(b1, b2) + outside >= 0) & (b1 + b2 <= 1)
    hits = inside.flatten().nonzero()[:, 0]
    owner, cell = hits // side**2, hits % side**2
    w1, w2 = b1.flatten()[hits], b2.flatten()[hits]
    triangle = which[owner]
    inverse = scene.inverse_depth[triangle]
    depth = 1 / ((1 - w1 - w2) * inverse[:, 0] + w1 * inverse[:, 1] + w2 * inverse[:, 2])
    if scene.bias is not None:
        depth = (depth + scene.bias[triangle]).clamp(min=0)
    key = ((depth * _DEPTH_STEPS).long() << 32) | triangle
    row, column = low[owner, 1] + cell // side, low[owner, 0] + cell % side
    buffer.scatter_reduce_(0, (scene.plane[triangle] * height + row) * width + column, key, "amin")


def _fragments(buffer: Tensor, scene: _Scene, num_triangles: int, num_layers: int, size: tuple[int, int]) -> Fragments:
    height, width = size
    covered = (buffer < _NOTHING).nonzero()[:, 0]
    owner = buffer[covered] & 0xFFFFFFFF
    column, row = covered % width, covered // width % height
    plane = covered // (height * width)
    offset = torch.stack([column, row], 1) + 0.5 - scene.origin[owner]
    slopes = scene.slopes[owner]
    b1, b2 = (offset * slopes[:, :2]).sum(1), (offset * slopes[:, 2:]).sum(1)
    weights = torch.stack([1 - b1 - b2, b1, b2], 1) * scene.inverse_depth[owner]
    total = weights.sum(1, keepdim=True)
    return Fragments(
        plane // num_layers, plane % num_layers, row, column, owner % num_triangles, weights / total, 1 / total[:, 0]
    )
