"""A dressed body as one mesh: pieces of skin, cloth and hair, each with its material.

Legend: V vertices of the base mesh, P vertices and T triangles of a piece, J bones.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pocold.people.body.anatomy import Anatomy, Canonical, load_anatomy
from pocold.people.body.body import BodyShape
from pocold.people.body.mesh import Points, cut, vertex_normals
from pocold.people.rendering.surface import CLASS_ID, Material, smoothstep

SOLID, SOFT = 0, 1  # layers: what is opaque, and hair, whose edge is blended over it


@dataclass(frozen=True)
class Piece:
    """One part of a figure in rest pose.

    Attributes:
        garment: class of :data:`pocold.people.rendering.surface.CLASSES`.
        material: what it is made of.
        vertices: ``(P, 3)``; weights: ``(P, J)``; canonical: ``(P, 10)``; edge, detail: ``(P,)``, see ``Surface``.
        triangles: ``(T, 3)``.
        two_sided: seen from behind too.
        layer: :data:`SOLID` or :data:`SOFT`.
        bias: metres it is pushed back where pieces compete for a pixel, ``(T,)``.
    """

    garment: int
    material: Material
    vertices: Tensor
    weights: Tensor
    canonical: Tensor
    edge: Tensor
    detail: Tensor
    triangles: Tensor
    two_sided: bool
    layer: int
    bias: Tensor


class Wearer:
    """One build at rest, with what garments are cut from.

    Attributes:
        anatomy: of the average body: canonical coordinates and triangles.
        rest: ``(V, 3)``, this build's vertices.
        heads: ``(J, 3)``, its bone heads.
        standing: its height, metres.
    """

    def __init__(self, shape: BodyShape) -> None:
        self.anatomy: Anatomy = load_anatomy()
        self.rest, self.heads = self.anatomy.body.rest(shape)
        skin = self.rest[self.anatomy.body.faces.flatten().unique(), 2]
        self.standing = float(skin.max() - skin.min())
        self.floor = float(skin.min())

    def head(self, bone: str) -> np.ndarray:
        """Rest position of a bone's head, float64 ``(3,)``."""
        return self.heads[self.anatomy.body.bone_index[bone]]

    @cached_property
    def canonical(self) -> Canonical:
        """Canonical coordinates of cloth on this build: measured on it, so that hems and stripes run level.

        Heights are brought to the average body's. (Faces and hands use :attr:`Anatomy.skin_canonical`.)
        """
        values, _, _ = self.anatomy.canonical_of(self.rest, self.heads)
        values[:, 2] = self.to_average(values[:, 2])
        values = self.anatomy.tights_smoother.laplace(values, 3)
        average = self.anatomy.cloth_canonical
        # Necklines are drawn for the average neck; builds differ too much there to measure.
        near_neck = smoothstep(average.z, 0.5, 0.6) * (average.arm_share < 0.3)
        return Canonical(torch.lerp(values, average.values, near_neck[:, None]))

    @cached_property
    def _levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Heights of floor and joints on the average body and on this one."""
        bones = ("foot.L", "lowerleg01.L", "upperleg01.L", "spine04", "spine03", "spine01", "neck01", "head")
        index = [self.anatomy.body.bone_index[bone] for bone in bones]
        average = np.array([self.anatomy.landmarks.floor, *self.anatomy.heads[index, 2]])
        return average, np.array([self.floor, *self.heads[index, 2]])

    def to_average(self, heights: Tensor) -> Tensor:
        """Heights on the average body for heights on this one, any shape."""
        average, own = self._levels
        return _interpolate(heights, own, average)

    def to_own(self, heights: Tensor) -> Tensor:
        """Heights on this body for heights on the average one, any shape."""
        average, own = self._levels
        return _interpolate(heights, average, own)

    @cached_property
    def tights(self) -> Tensor:
        """``(V, 3)``: the rest vertices with the tights smoothed, which cloth lies on."""
        return self.anatomy.tights_smoother.taubin(self.rest, 4)

    @cached_property
    def tights_normals(self) -> Tensor:
        """Unit normals ``(V, 3)`` of :attr:`tights`."""
        return vertex_normals(self.tights, self.anatomy.body.tights)

    def _axis(self, coordinate: Tensor, bones: tuple[str, str, str]) -> Tensor:
        """Point of the limb axis beside each vertex, both sides, ``(V, 3)``."""
        a, b, c = (torch.from_numpy(self.head(bone + ".L")).float() for bone in bones)
        t = coordinate.clamp(0, 2.2)[:, None]
        point = torch.where(t < 1, a + (b - a) * t, b + (c - b) * (t - 1))
        side = torch.where(self.anatomy.position[:, :1] < 0, -1.0, 1.0)
        return torch.cat([point[:, :1] * side, point[:, 1:]], 1)

    @cached_property
    def leg_axis(self) -> Tensor:
        return self._axis(self.canonical.leg, ("upperleg01", "lowerleg01", "foot"))

    @cached_property
    def arm_axis(self) -> Tensor:
        return self._axis(self.canonical.arm, ("upperarm01", "lowerarm01", "wrist"))

    @cached_property
    def arm_direction(self) -> Tensor:
        """Unit direction of the arm segment beside each vertex, ``(V, 3)``."""
        shoulder, elbow, wrist = (
            torch.from_numpy(self.head(b + ".L")).float() for b in ("upperarm01", "lowerarm01", "wrist")
        )
        upper, lower = (torch.nn.functional.normalize(d, dim=0) for d in (elbow - shoulder, wrist - elbow))
        direction = torch.where(self.canonical.arm[:, None] < 1, upper, lower)
        side = torch.where(self.anatomy.position[:, :1] < 0, -1.0, 1.0)
        return torch.cat([direction[:, :1] * side, direction[:, 1:]], 1)

    def piece(
        self, name: str, material: Material, triangles: Tensor, field: Tensor, vertices: Tensor, *,
        covered: Tensor | None = None, detail: Tensor | None = None, two_sided: bool = False, layer: int = SOLID,
        canonical: Canonical | None = None,
    ) -> Piece:  # fmt: skip
        """Cut a piece out of the base mesh.

        Args:
            name: class of the piece.
            material: what it is made of.
            triangles: base triangles to cut from.
            field: ``(V,)``, positive where the piece is; becomes its ``edge``.
            vertices: ``(V, 3)``, where it lies at rest.
            covered: ``(V,)``, positive under another garment, where the piece is pushed back by 2 cm.
            detail: ``(V,)``, see :class:`Surface`.
            canonical: coordinates the material sees; default those of cloth.
        """
        corners, points = cut(triangles, field)
        bias = torch.zeros(len(corners))
        if covered is not None:
            under = points.of(covered[:, None])[:, 0]
            bias = 0.02 * (under[corners].amax(1) > -0.004).float()
        number = torch.zeros(len(field)) if detail is None else detail
        return Piece(
            CLASS_ID[name], material, points.of(vertices), points.of(self.anatomy.body.weights),
            points.of((canonical or self.canonical).values), _edge(points, field), points.of(number[:, None])[:, 0],
            corners, two_sided, layer, bias,
        )  # fmt: skip


def _interpolate(values: Tensor, start: np.ndarray, end: np.ndarray) -> Tensor:
    """Piecewise linear map that goes on with slope 1 beyond its ends."""
    x = values.double().numpy()
    inner = np.interp(x, start, end)
    return torch.from_numpy(inner + np.minimum(x - start[0], 0) + np.maximum(x - start[-1], 0)).float()


def _edge(points: Points, field: Tensor) -> Tensor:
    return points.of(field[:, None])[:, 0].clamp(min=0)


@dataclass(frozen=True)
class Figure:
    """All pieces of a person in one set of tensors, ready to be posed and drawn.

    Attributes:
        pieces: in the order of their ids.
        vertices: ``(P, 3)``; weights ``(P, J)``; attributes ``(P, 12)``: canonical, edge, detail.
        triangles: ``(T, 3)``; piece_of, layer: int64 ``(T,)``; two_sided: bool ``(T,)``; bias: ``(T,)``.
    """

    pieces: tuple[Piece, ...]
    vertices: Tensor
    weights: Tensor
    attributes: Tensor
    triangles: Tensor
    piece_of: Tensor
    layer: Tensor
    two_sided: Tensor
    bias: Tensor

    @classmethod
    def of(cls, pieces: list[Piece]) -> "Figure":
        """Join pieces."""
        kept = [piece for piece in pieces if len(piece.triangles)]
        start = np.cumsum([0, *(len(piece.vertices) for piece in kept)])
        counts = torch.tensor([len(piece.triangles) for piece in kept])

        def spread(values: list[int] | list[bool]) -> Tensor:
            return torch.tensor(values).repeat_interleave(counts)

        attributes = [torch.cat([p.canonical, p.edge[:, None], p.detail[:, None]], 1) for p in kept]
        return cls(
            tuple(kept),
            torch.cat([p.vertices for p in kept]),
            torch.cat([p.weights for p in kept]),
            torch.cat(attributes),
            torch.cat([p.triangles + int(s) for p, s in zip(kept, start, strict=False)]),
            spread(list(range(len(kept)))),
            spread([p.layer for p in kept]),
            spread([p.two_sided for p in kept]),
            torch.cat([p.bias for p in kept]),
        )

    def to(self, device: torch.device) -> "Figure":
        """The same figure with its tensors on another device."""
        names = ("vertices", "weights", "attributes", "triangles", "piece_of", "layer", "two_sided", "bias")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})
