"""Optional: garments and hair of a user's own checkout of MakeHuman's ``makehuman-assets`` (CC0).

Nothing depends on it. A ``.mhclo`` file binds each vertex of an ``.obj`` mesh to three vertices of MakeHuman's base
mesh, which is also the base mesh here, so that a garment fits every build and moves with it. Fabrics, labels and light
are those of built-in garments. Legend: V base vertices, P vertices and T triangles of a garment.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pocold.people.body.mesh import vertex_normals
from pocold.people.rendering.figure import SOLID, Piece, Wearer
from pocold.people.rendering.surface import CLASS_ID, Material

PACKED = "makehuman-cc0.npz"
KINDS = ("top", "bottom", "shoes", "hair")
_HAIR_NAMES = ("afro", "bob", "braid", "long", "ponytail", "short")
_UNUSABLE = ("male_casualsuit01", "male_worksuit01", "fedora")  # one piece, a bib with holes, a hat that cuts the hair
_LOWEST_TOP = 0.19  # a top must reach down to here on the average body, where trousers and skirts begin


@dataclass(frozen=True)
class Garment:
    """One garment, bound to the base mesh.

    Attributes:
        name: of the asset; kind: one of :data:`KINDS`.
        index: int64 ``(P, 3)``, base vertices; share: ``(P, 3)``, their weights.
        offset: ``(P, 3)``, decimetres in MakeHuman's axes (x left, y up, z forward) before scaling.
        scale: ``(3, 3)``, for x, y, z: two base vertices and their distance in decimetres at scale 1.
        triangles: int64 ``(T, 3)``.
    """

    name: str
    kind: str
    index: Tensor
    share: Tensor
    offset: Tensor
    scale: np.ndarray
    triangles: Tensor

    def part(self, kind: str, chosen: Tensor) -> "Garment":
        """Some of its triangles (bool ``(T,)``), with compact vertices."""
        kept, triangles = self.triangles[chosen].unique(return_inverse=True)
        return Garment(self.name, kind, self.index[kept], self.share[kept], self.offset[kept], self.scale, triangles)

    def of(self, values: Tensor) -> Tensor:
        """Base-mesh values ``(V, C)`` at the garment's vertices, ``(P, C)``."""
        return (values[self.index] * self.share[..., None]).sum(1)

    def vertices(self, rest: Tensor) -> Tensor:
        """Its vertices ``(P, 3)`` on a body ``(V, 3)`` at rest."""
        factors = []
        for (first, second, distance), axis in zip(self.scale, (0, 2, 1), strict=True):
            factors.append(float((rest[int(first)] - rest[int(second)])[axis].abs()) / float(distance))
        x, y, z = (self.offset * torch.tensor(factors)).unbind(1)
        return self.of(rest) + torch.stack([x, -z, y], 1)


def _parse(path: Path) -> Garment:
    """Read one ``.mhclo`` and its ``.obj``."""
    index, share, offset, scale, mesh, reading = [], [], [], {}, "", False
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("x_scale", "y_scale", "z_scale"):
            scale[words[0][0]] = [float(word) for word in words[1:4]]
        elif words[0] == "obj_file":
            mesh = words[1]
        elif words[0] in ("verts", "delete_verts"):
            reading = words[0] == "verts"
        elif reading and words[0].isdigit():
            single = len(words) < 9  # a vertex that sits on one base vertex
            index.append([int(words[0])] * 3 if single else [int(word) for word in words[:3]])
            share.append([1.0, 0.0, 0.0] if single else [float(word) for word in words[3:6]])
            offset.append([0.0] * 3 if single else [float(word) for word in words[6:9]])
    if not mesh or len(scale) != 3 or not index:
        raise ValueError(f"{path}: expected obj_file, x_scale, y_scale, z_scale and verts of a MakeHuman garment")
    triangles = _read_faces(path.with_name(mesh))
    if int(triangles.max()) >= len(index):
        raise ValueError(f"{path}: {mesh} has more vertices than the garment binds")
    kind = "hair" if "hair" in path.parts else ""
    scales = np.array([scale[axis] for axis in "xyz"])
    return Garment(path.stem, kind, torch.tensor(index), torch.tensor(share), torch.tensor(offset), scales, triangles)


def _read_faces(path: Path) -> Tensor:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; its .mhclo file names it") from None
    triangles = []
    for line in lines:
        if line.startswith("f "):
            corners = [int(word.split("/")[0]) - 1 for word in line.split()[1:]]
            triangles += [[corners[0], corners[k], corners[k + 1]] for k in range(1, len(corners) - 1)]
    if not triangles:
        raise ValueError(f"{path} has no faces; is it a Git LFS pointer?")
    return torch.tensor(triangles)


def _unpack(path: Path) -> list[Garment]:
    """Read garments that were packed into one file."""
    packed = np.load(path)
    garments = []
    for name in sorted({entry.split("/")[0] for entry in packed.files}):
        index, share, offset, triangles = (torch.from_numpy(packed[f"{name}/{k}"].astype(np.float32)) for k in "iwot")
        kind = "hair" if name.startswith(_HAIR_NAMES) else ""
        garments.append(Garment(name, kind, index.long(), share, offset, packed[f"{name}/s"], triangles.long()))
    return garments


def _components(garment: Garment) -> Tensor:
    """The connected component of each triangle, named by its smallest vertex."""
    label = torch.arange(len(garment.index))
    while True:
        lowest = label[garment.triangles].amin(1)
        moved = label.clone()
        for corner in range(3):
            moved.scatter_reduce_(0, garment.triangles[:, corner], lowest, "amin")
        if torch.equal(moved, label):
            return label[garment.triangles[:, 0]]
        label = moved


def _sorted_parts(garment: Garment, wearer: Wearer) -> list[Garment]:
    """Split an outfit into top, bottom and shoes by the height of its components on the average body."""
    if garment.kind == "hair":
        return [garment]
    height = garment.of(wearer.canonical.values)[:, 2]
    component = _components(garment)
    middle = {c: float(height[garment.triangles[component == c].flatten()].mean()) for c in component.unique().tolist()}
    kinds = [0 if middle[c] > 0.25 else 1 if middle[c] > -0.55 else 2 for c in component.tolist()]
    parts = []
    for number, kind in enumerate(KINDS[:3]):
        chosen = torch.tensor(kinds) == number
        if not chosen.any():
            continue
        part = garment.part(kind, chosen)
        if kind != "top" or float(part.of(wearer.canonical.values)[:, 2].quantile(0.01)) < _LOWEST_TOP:
            parts.append(part)
    return parts


@lru_cache(maxsize=2)
def load_garments(folder: str) -> tuple[Garment, ...]:
    """The usable garments of a checkout of ``makehuman-assets``, or of a folder with ``makehuman-cc0.npz``.

    Raises:
        ValueError: if there are none, or a file cannot be understood.
    """
    from pocold.people.body.body import AVERAGE

    place = Path(folder)
    if (place / PACKED).is_file():
        found = _unpack(place / PACKED)
    else:
        found = [_parse(path) for path in sorted(place.glob("**/*.mhclo"))]
    wearer = Wearer(AVERAGE)
    usable = [g for g in found if not g.name.startswith(_UNUSABLE)]
    parts = tuple(part for garment in usable for part in _sorted_parts(garment, wearer))
    if not parts:
        raise ValueError(f"no MakeHuman garments in {folder}: expected *.mhclo files below it, or {PACKED} in it")
    return parts


def choose_garments(rng: np.random.Generator, folder: str, woman: bool) -> dict[str, Garment]:
    """At most one garment of each kind; each is taken with probability 0.6, else the built-in one stays."""
    chosen = {}
    for kind in KINDS:
        options = [g for g in load_garments(folder) if g.kind == kind]
        if kind in ("top", "bottom"):
            options = [g for g in options if not g.name.startswith("male_" if woman else "female_")]
        taken, number = rng.uniform() < 0.6, rng.uniform()
        if taken and options:
            chosen[kind] = options[int(number * len(options))]
    return chosen


def garment_piece(
    wearer: Wearer, garment: Garment, name: str, material: Material, covered: Tensor | None = None
) -> Piece:
    """The garment on a build; ``covered`` ``(V,)`` is positive under what is worn over it."""
    count = len(garment.index)
    weights = garment.of(wearer.anatomy.body.weights).clamp(min=0)
    canonical = wearer.anatomy.skin_canonical if garment.kind == "hair" else wearer.canonical
    bias = torch.zeros(len(garment.triangles))
    if covered is not None:
        bias = 0.03 * (covered[garment.index[:, 0]][garment.triangles] > 0).any(1).float()
    return Piece(
        CLASS_ID[name], material, garment.vertices(wearer.rest), weights / weights.sum(1, keepdim=True),
        garment.of(canonical.values), torch.full((count,), 0.1), torch.zeros(count), garment.triangles, True, SOLID,
        bias,
    )  # fmt: skip


def covered_by(wearer: Wearer, garment: Garment, reach: float = 0.05) -> Tensor:
    """Base vertices that a garment hides, ``(V,)``: 0.08 well under it, negative outside and at its edges."""
    vertices = garment.vertices(wearer.rest)
    corners = vertices[garment.triangles]
    cloth = torch.cat([vertices, corners.mean(1), (corners + corners.roll(1, 1)).flatten(0, 1) / 2])
    body = wearer.anatomy.body
    normals = vertex_normals(wearer.rest, torch.cat([body.faces, body.tights]))
    used = torch.cat([body.faces, body.tights]).flatten().unique()
    under = torch.zeros(len(wearer.rest))
    for part in used.split(2048):
        nearest = torch.cdist(wearer.rest[part], cloth).argmin(1)
        towards = cloth[nearest] - wearer.rest[part]
        above = (towards * normals[part]).sum(1)
        # beside the edge of a garment the nearest cloth lies sideways, not above the skin (or, if tight, just below)
        sideways = (towards - above[:, None] * normals[part]).norm(dim=1)
        under[part] = ((sideways < 0.014) & (above > -0.02) & (above < reach)).float()
    for smoother in (wearer.anatomy.skin_smoother, wearer.anatomy.tights_smoother):
        under = smoother.laplace(under[:, None], 3)[:, 0]
    return 0.2 * (under - 0.6)
