"""Surfaces that no body part has the shape of, as regular grids: skirts, long hair, tails and buns.

Legend: R rows from top to bottom, S columns around, V vertices of the base mesh.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pocold.people.body.mesh import cut
from pocold.people.rendering.figure import SOLID, Piece, Wearer
from pocold.people.rendering.surface import CLASS_ID, Material, smoothstep
from pocold.people.wardrobe.fabric import Fabric


@dataclass(frozen=True)
class Skirt:
    """A skirt, or the lower part of a dress.

    Attributes:
        fabric: its cloth.
        length: leg coordinate of the hem: 0.5 mini, 1.0 knee, 1.8 long.
        flare: metres the radius grows per metre of length; 0 falls straight.
        folds: how many folds around; amplitude grows with flare.
        waist: height of its upper edge on the average body, metres.
    """

    fabric: Fabric
    length: float = 1.0
    flare: float = 0.25
    folds: int = 9
    waist: float = 0.215


def grid_triangles(rows: int, columns: int, closed: bool) -> Tensor:
    """Triangles ``(T, 3)`` of a grid, facing outwards if columns run counter-clockwise seen from above."""
    row, column = torch.meshgrid(
        torch.arange(rows - 1), torch.arange(columns if closed else columns - 1), indexing="ij"
    )
    following = (column + 1) % columns
    a, b = row * columns + column, row * columns + following
    c, d = a + columns, b + columns
    return torch.stack([torch.stack([a, c, b], -1), torch.stack([b, c, d], -1)], -2).reshape(-1, 3)


def _reach(points: Tensor, heights: Tensor, directions: Tensor, band: float) -> Tensor:
    """How far points within ``band`` of each height reach in each direction, ``(R, S)``."""
    along = points[:, :2] @ directions.T  # (M, S)
    near = (points[None, :, 2] - heights[:, None]).abs() < band  # (R, M)
    return torch.stack([along[rows].amax(0) if bool(rows.any()) else torch.zeros(len(directions)) for rows in near])


def _ring_mean(values: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        values = (values + values.roll(1, 1) + values.roll(-1, 1)) / 3
    return values


def skirt_piece(wearer: Wearer, skirt: Skirt, name: str, material: Material, phase: float) -> Piece:
    """A skirt that hangs from waist and hips, with folds, and follows both thighs without tearing between them."""
    marks = wearer.anatomy.landmarks
    hem = _leg_height(wearer, skirt.length)
    rows, columns = 6 + int((skirt.waist - hem) / 0.045), 60
    canonical_z = torch.linspace(skirt.waist, hem, rows)
    heights = wearer.to_own(canonical_z)
    angle = torch.arange(columns) * (2 * math.pi / columns)
    directions = torch.stack([torch.sin(angle), -torch.cos(angle)], 1)  # 0 is the front, then to the left
    spine = float(wearer.head("spine03")[1]) - 0.03
    tights = wearer.tights[wearer.anatomy.body.tights.flatten().unique()]
    arm_free = wearer.canonical.arm_share[wearer.anatomy.body.tights.flatten().unique()] < 0.3
    centred = tights[arm_free] - torch.tensor([0.0, spine, 0.0])
    reach = _ring_mean(_reach(centred, heights, directions, 0.035), 2) + 0.007
    radius = [reach[0]]
    hip_row = int((canonical_z > float(marks.hip[2]) - 0.06).sum())
    for row in range(1, rows):
        drop = float(heights[row - 1] - heights[row])
        wanted = torch.maximum(reach[row], radius[-1] + (skirt.flare * drop if row > 2 else 0.0))
        narrow = reach[row] if row < hip_row else wanted
        radius.append(narrow if skirt.flare < 0.05 else wanted)
    below = ((heights[0] - heights) / 0.5).clamp(min=0)[:, None]
    wave = torch.cos(angle * skirt.folds + phase) + 0.4 * torch.cos(angle * (skirt.folds * 2 - 3) + 2 * phase)
    grown = torch.stack(radius) + (0.008 + 0.05 * skirt.flare) * below * wave * (skirt.flare > 0.1)
    vertices = torch.cat([grown[..., None] * directions, heights[:, None, None].expand(-1, columns, 1)], -1)
    vertices = vertices + torch.tensor([0.0, spine, 0.0])

    z = canonical_z[:, None].expand(-1, columns)
    follow = 0.9 * smoothstep(z, float(marks.hip[2]) + 0.03, float(marks.hip[2]) - 0.28)
    left = smoothstep(vertices[..., 0], -0.14, 0.14)
    weights = _rigid_weights(wearer, {
        "spine05": (1 - follow) * smoothstep(z, 0.1, 0.22), "root": (1 - follow) * smoothstep(z, 0.22, 0.1),
        "upperleg02.L": follow * left, "upperleg02.R": follow * (1 - left),
    })  # fmt: skip
    average = torch.cat([0.16 * directions.expand(rows, -1, 2), z[..., None]], -1)
    offset = average * torch.tensor([1.0, 1.0, 0.0])
    edge = torch.minimum(z - hem, skirt.waist - z)
    return _grid_piece(name, material, vertices, weights, average, offset, edge, torch.zeros_like(edge), closed=True)


def _leg_height(wearer: Wearer, leg: float) -> float:
    """Height on the average body of a leg coordinate."""
    marks = wearer.anatomy.landmarks
    hip, knee, ankle = (float(point[2]) for point in (marks.hip, marks.knee, marks.ankle))
    return hip - (hip - knee) * leg if leg < 1 else knee - (knee - ankle) * (leg - 1)


def _rigid_weights(wearer: Wearer, shares: dict[str, Tensor]) -> Tensor:
    """Weights ``(R, S, J)`` from the share of each named bone."""
    first = next(iter(shares.values()))
    weights = torch.zeros(*first.shape, len(wearer.heads))
    for bone, share in shares.items():
        weights[..., wearer.anatomy.body.bone_index[bone]] = share
    return weights / weights.sum(-1, keepdim=True)


def _grid_piece(
    name: str, material: Material, vertices: Tensor, weights: Tensor, average: Tensor, offset: Tensor, edge: Tensor,
    detail: Tensor, *, closed: bool, head_share: float = 0.0, two_sided: bool = True, layer: int = SOLID,
) -> Piece:  # fmt: skip
    """Flatten ``(R, S, ...)`` tensors into a piece, cut where ``edge`` is not positive."""
    rows, columns = vertices.shape[:2]
    triangles = grid_triangles(rows, columns, closed)
    flat = [t.reshape(rows * columns, -1) for t in (vertices, weights, average, offset, edge, detail)]
    channels = torch.zeros(rows * columns, 10)
    channels[:, :3], channels[:, 7:] = flat[2], flat[3]
    channels[:, 4], channels[:, 6] = -1, head_share
    triangles, points = cut(triangles, flat[4][:, 0] + 1e-6)
    return Piece(
        CLASS_ID[name], material, points.of(flat[0]), points.of(flat[1]), points.of(channels), points.of(flat[4])[:, 0],
        points.of(flat[5])[:, 0], triangles, two_sided, layer, torch.zeros(len(triangles)),
    )  # fmt: skip


def curtain_piece(wearer: Wearer, name: str, material: Material, *, length: float, side: float, layer: int) -> Piece:
    """Hair that falls from the crown over back and sides.

    Args:
        length: height of its lower end at the back on the average body.
        side: radians from the back to which it reaches beside the face.
    """
    eye = wearer.anatomy.landmarks.eye
    eye_y, eye_z = float(eye[1]), float(eye[2])
    top = eye_z + 0.085
    rows, columns = 8 + int((top - length) / 0.03), 45
    canonical_z = torch.linspace(top, length, rows)
    lift = torch.tensor(
        [
            float(wearer.head("head")[i] - wearer.anatomy.heads[wearer.anatomy.body.bone_index["head"]][i])
            for i in range(3)
        ]
    )
    heights = torch.where(canonical_z > eye_z - 0.1, canonical_z + lift[2], wearer.to_own(canonical_z))
    angle = torch.linspace(-side, side, columns)
    directions = torch.stack([torch.sin(-angle), torch.cos(angle)], 1)  # 0 is the back; from left to right behind
    axis = torch.tensor([0.0, eye_y + 0.085, 0.0]) + lift * torch.tensor([1.0, 1.0, 0.0])
    body = wearer.anatomy.body
    skin = body.faces[~body.is_eye].flatten().unique()
    arm_free = wearer.anatomy.skin_canonical.arm_share[skin] < 0.2
    centred = wearer.rest[skin[arm_free]] - axis
    reach = torch.empty(rows, columns)
    for i, column in enumerate(directions):  # each column sees only what lies in its own direction
        across = centred[:, :2] / torch.linalg.norm(centred[:, :2], dim=1, keepdim=True).clamp(min=1e-4)
        facing = centred[(across @ column) > 0.94]
        reach[:, i] = _reach(facing, heights, column[None], 0.02)[:, 0]
    gap = 0.02 - 0.015 * smoothstep(angle.abs(), 0.8, 1.6)
    radius = [reach[0] * 0.96 + 0.002]
    for row in range(1, rows):
        clear = gap * smoothstep(canonical_z[row], top, eye_z) + 0.003  # starts under the cap
        radius.append(torch.maximum(reach[row] + clear, torch.minimum(radius[-1], reach[row] + clear + 0.03) - 0.002))
    grown = torch.stack(radius)
    grown = (grown + torch.nn.functional.avg_pool2d(grown[None, None], 5, 1, 2, count_include_pad=False)[0, 0]) / 2
    vertices = torch.cat([grown[..., None] * directions, heights[:, None, None].expand(-1, columns, 1)], -1) + axis

    z = canonical_z[:, None].expand(-1, columns)
    chest = smoothstep(z, 0.76, 0.64)
    weights = _rigid_weights(wearer, {"head": 1 - chest, "spine01": chest})
    average = torch.cat([0.1 * directions.expand(rows, -1, 2), z[..., None]], -1) + axis
    end = length + (max(length, 0.73) - length) * smoothstep(angle.abs(), 0.5, 1.05)[None]
    # in front of the ears at the temples, behind the cheeks lower down
    reach_forward = side - 0.35 * smoothstep(z, eye_z - 0.02, eye_z - 0.14) - 0.5 * smoothstep(z, eye_z + 0.05, top)
    beside = reach_forward - angle.abs()[None]
    edge = torch.minimum(torch.minimum(z - end, beside), torch.where(z > eye_z - 0.02, 0.2, 0.1))
    detail = grown * angle[None]
    offset = vertices - axis
    return _grid_piece(
        name, material, vertices, weights, average, offset, edge.expand(rows, columns), detail, closed=False,
        head_share=1.0, layer=layer,
    )  # fmt: skip


def tube_piece(
    wearer: Wearer, name: str, material: Material, *, centre: Callable[[Tensor], Tensor],
    radius: Callable[[Tensor], Tensor], chest: float,
) -> Piece:  # fmt: skip
    """A bun or a tail on the head.

    Args:
        centre: positions on the average body ``(R, 3)`` for shares ``(R,)`` of its length in [0, 1].
        radius: metres ``(R,)``.
        chest: how much its end follows the chest rather than the head.
    """
    rows, columns = 16, 14
    t = torch.linspace(0, 1, rows)
    index = wearer.anatomy.body.bone_index["head"]
    lift = torch.from_numpy(wearer.heads[index] - wearer.anatomy.heads[index]).float()
    angle = torch.arange(columns) * (2 * math.pi / columns)
    around = torch.stack([torch.sin(angle), -torch.cos(angle), torch.zeros(columns)], 1)
    average = centre(t)[:, None] + radius(t)[:, None, None] * around
    follow = (chest * smoothstep(t, 0.3, 1.0))[:, None].expand(-1, columns)
    weights = _rigid_weights(wearer, {"head": 1 - follow, "spine01": follow})
    edge = torch.full((rows, columns), 0.1)
    detail = (angle * 0.03).expand(rows, -1)
    return _grid_piece(
        name, material, average + lift, weights, average, average - centre(t)[:, None], edge, detail, closed=True,
        head_share=1.0,
    )  # fmt: skip
