"""Triangle meshes as tensors: normals, smoothing, and cutting along the zero line of a field.

Legend: V vertices, T triangles.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Area-weighted unit normals ``(..., V, 3)``; zero where no triangle touches a vertex."""
    corners = vertices[..., triangles, :]  # (..., T, 3, 3)
    areas = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :], dim=-1)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals.index_add_(-2, triangles[:, corner], areas)
    return F.normalize(normals, dim=-1)


def _edges(triangles: Tensor) -> Tensor:
    """All directed edges ``(3 T, 2)``."""
    return torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def boundary_vertices(triangles: Tensor, count: int) -> Tensor:
    """Bool ``(count,)``: vertices on an edge that only one triangle has."""
    edges = _edges(triangles)
    keys = edges.amin(1) * count + edges.amax(1)
    _, inverse, uses = torch.unique(keys, return_inverse=True, return_counts=True)
    marked = torch.zeros(count, dtype=torch.bool)
    marked[edges[uses[inverse] == 1].flatten()] = True
    return marked


@dataclass(frozen=True)
class Smoother:
    """Moves the inner vertices of a mesh towards the mean of their neighbours; boundaries stay where they are."""

    edges: Tensor
    degree: Tensor
    inner: Tensor

    @classmethod
    def of(cls, triangles: Tensor, count: int) -> "Smoother":
        """For a mesh of ``count`` vertices of which only those in ``triangles`` move."""
        both = torch.cat([_edges(triangles), _edges(triangles).flip(1)])
        keys = torch.unique(both[:, 0] * count + both[:, 1])
        edges = torch.stack([keys // count, keys % count], 1)
        degree = torch.zeros(count).index_add_(0, edges[:, 0], torch.ones(len(edges))).clamp(min=1)
        inner = torch.zeros(count, dtype=torch.bool)
        inner[triangles.flatten()] = True
        return cls(edges, degree, inner & ~boundary_vertices(triangles, count))

    def step(self, values: Tensor, amount: float) -> Tensor:
        """One step on ``(V, C)`` values; 0.5 goes half the way to the mean."""
        total = torch.zeros_like(values).index_add_(0, self.edges[:, 0], values[self.edges[:, 1]])
        moved = values + amount * (total / self.degree[:, None] - values)
        return torch.where(self.inner[:, None], moved, values)

    def taubin(self, values: Tensor, steps: int) -> Tensor:
        """Smoothing that keeps volume: each shrinking step is followed by a growing one."""
        for _ in range(steps):
            values = self.step(self.step(values, 0.5), -0.52)
        return values

    def laplace(self, values: Tensor, steps: int) -> Tensor:
        """Plain smoothing, for attributes rather than shapes."""
        for _ in range(steps):
            values = self.step(values, 0.5)
        return values


@dataclass(frozen=True)
class Points:
    """Vertices that lie on edges of an older mesh: ``(1 - t) * old[a] + t * old[b]``.

    Attributes:
        a, b: int64 ``(V,)``.
        t: float32 ``(V, 1)``.
    """

    a: Tensor
    b: Tensor
    t: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Old values ``(V_old, C)`` at these points, ``(V, C)``."""
        return torch.lerp(values[self.a], values[self.b], self.t)


def cut(triangles: Tensor, field: Tensor) -> tuple[Tensor, Points]:
    """Keep the part of a mesh where ``field`` is positive; triangles across the zero line are cut in two.

    Cutting geometry once per person replaces a test per pixel: hems are straight lines inside triangles, and what a
    garment hides is gone, so it cannot poke through.

    Args:
        triangles: ``(T, 3)``.
        field: ``(V,)``, positive inside.

    Returns:
        Triangles ``(T', 3)`` over new, compact vertices, and the vertices as points of the old mesh.
    """
    inside = field[triangles] > 0
    kept = inside.sum(1)
    pieces = [triangles[kept == 3].unsqueeze(-1).expand(-1, -1, 2)]  # corner = pair of old vertices (a, b)
    for count in (1, 2):
        crossing, flags = triangles[kept == count], inside[kept == count]
        odd = (flags if count == 1 else ~flags).int().argmax(1, keepdim=True)  # the corner alone on its side
        turned = crossing.gather(1, (odd + torch.arange(3)) % 3)
        apex, left, right = (turned[:, k] for k in range(3))
        to_left, to_right = torch.stack([apex, left], 1), torch.stack([apex, right], 1)
        own = [torch.stack([corner, corner], 1) for corner in (apex, left, right)]
        if count == 1:
            pieces.append(torch.stack([own[0], to_left, to_right], 1))
        else:
            pieces.append(torch.stack([to_left, own[1], own[2]], 1))
            pieces.append(torch.stack([to_left, own[2], to_right], 1))
    pairs = torch.cat(pieces)  # (T', 3, 2)
    low, high = pairs.amin(-1), pairs.amax(-1)
    unique, inverse = torch.unique(low * len(field) + high, return_inverse=True)
    a, b = unique // len(field), unique % len(field)
    difference = field[a] - field[b]
    t = torch.where(a == b, torch.zeros_like(difference), field[a] / difference.where(a != b, torch.ones(())))
    return inverse, Points(a, b, t.clamp(0, 1)[:, None])
