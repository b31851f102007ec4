"""A z-buffer in torch: projected triangles in, one fragment per covered pixel out. The same code on CPU and GPU.

Legend: B pictures, V vertices, T triangles, L layers, H W picture size, N fragments.
"""

from dataclasses import dataclass

import torch
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
    buffer = torch.full((batch * num_layers * height * width,), _NOTHING, dtype=torch.int64, device=points.device)
    scene = _Scene(
        corners[:, 0], edge1, edge2, double_area, 1 / corner_depth, low, high,
        None if bias is None else bias.repeat(batch),
    )  # fmt: skip
    plane = torch.arange(batch, device=points.device).repeat_interleave(len(triangles)) * num_layers
    if layer is not None:
        plane = plane + layer.repeat(batch)
    smaller = 0
    for side in [2, 4, 8, 16, 32, 64, max(height, width, 65)]:
        chosen = candidates[(longest > smaller) & (longest <= side)]
        smaller = side
        for part in chosen.split(max(1, _TESTS_AT_ONCE // side**2)):
            _draw(buffer, scene, part, side, plane, size)
    return _fragments(buffer, scene, len(triangles), num_layers, size)


@dataclass(frozen=True)
class _Scene:
    """Per triangle of all pictures: first corner, edges, twice the signed area, 1/depth of corners, pixel box, bias."""

    origin: Tensor
    edge1: Tensor
    edge2: Tensor
    double_area: Tensor
    inverse_depth: Tensor
    low: Tensor
    high: Tensor
    bias: Tensor | None

    def barycentric(self, which: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Screen-space weights of corners 1 and 2 at pixel centres; ``x``, ``y`` broadcast against ``which``."""
        shape = (-1,) + (1,) * (x.dim() - 1)
        dx = x + 0.5 - self.origin[which, 0].view(shape)
        dy = y + 0.5 - self.origin[which, 1].view(shape)
        area = self.double_area[which].view(shape)
        b1 = (dx * self.edge2[which, 1].view(shape) - dy * self.edge2[which, 0].view(shape)) / area
        b2 = (dy * self.edge1[which, 0].view(shape) - dx * self.edge1[which, 1].view(shape)) / area
        return b1, b2


def _draw(buffer: Tensor, scene: _Scene, which: Tensor, side: int, plane: Tensor, size: tuple[int, int]) -> None:
    """Test ``side`` x ``side`` pixels per triangle and keep the smallest (depth, triangle) key per pixel."""
    height, width = size
    offset = torch.arange(side, device=buffer.device)
    low, high = scene.low[which], scene.high[which]
    x, y = torch.broadcast_tensors(low[:, 0, None, None] + offset, low[:, 1, None, None] + offset[:, None])
    b1, b2 = scene.barycentric(which, x, y)
    inside = (b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1)
    inside &= (x <= high[:, 0, None, None]) & (y <= high[:, 1, None, None])
    hits = inside.flatten().nonzero()[:, 0]
    owner = hits // side**2
    w1, w2 = b1.flatten()[hits], b2.flatten()[hits]
    inverse = scene.inverse_depth[which][owner]
    depth = 1 / ((1 - w1 - w2) * inverse[:, 0] + w1 * inverse[:, 1] + w2 * inverse[:, 2])
    triangle = which[owner]
    if scene.bias is not None:
        depth = (depth + scene.bias[triangle]).clamp(min=0)
    key = ((depth * _DEPTH_STEPS).long() << 32) | triangle
    pixel = (plane[triangle] * height + y.flatten()[hits]) * width + x.flatten()[hits]
    buffer.scatter_reduce_(0, pixel, key, "amin")


def _fragments(buffer: Tensor, scene: _Scene, num_triangles: int, num_layers: int, size: tuple[int, int]) -> Fragments:
    height, width = size
    covered = (buffer < _NOTHING).nonzero()[:, 0]
    owner = buffer[covered] & 0xFFFFFFFF
    column, row = covered % width, covered // width % height
    plane = covered // (height * width)
    b1, b2 = scene.barycentric(owner, column, row)
    weights = torch.stack([1 - b1 - b2, b1, b2], 1) * scene.inverse_depth[owner]
    total = weights.sum(1, keepdim=True)
    return Fragments(
        plane // num_layers, plane % num_layers, row, column, owner % num_triangles, weights / total, 1 / total[:, 0]
    )
