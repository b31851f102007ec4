"""DensePose labels of the body: parts and U, V of every triangle, drawn as a detector would predict them.

Parts and axes follow DensePose's own charts (docs/people.md has the table): U runs along a limb and V across it; left
and right limbs carry equal U, V; on head, hands and feet the mirror image has 1 - U, on the torso 1 - V. Labels come
from the body alone: clothes and hair do not change them. Legend: V vertices, N fragments.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pocold.densepose.keypoints import COCO_18
from pocold.densepose.labels import MIRRORED_LABEL, MIRRORED_U, MIRRORED_V
from pocold.densepose.maps import DensePose
from pocold.people.body.anatomy import FOOT_BONES, HAND_BONES, Anatomy, load_anatomy
from pocold.people.rendering.raster import Fragments

KEYPOINT_NAMES = COCO_18
# The bone whose head each is, or None for the vertices found below.
_KEYPOINT_BONES = (
    None, None, "upperarm01.R", "lowerarm01.R", "wrist.R", "upperarm01.L", "lowerarm01.L", "wrist.L",
    "upperleg01.R", "lowerleg01.R", "foot.R", "upperleg01.L", "lowerleg01.L", "foot.L", None, None, None, None,
)  # fmt: skip
# How far under the visible surface a point may lie and still be seen: joints are inside limbs, facial points are not.
_JOINT_DEPTH, _FACE_DEPTH = 0.13, 0.025

_U_DOWN_THE_LIMB = frozenset({7, 8, 13, 14, 15, 16, 17, 18, 21, 22})  # on 9-12, 19, 20 U runs upwards

# Bone groups of the left side and their charts, front and back. The torso gets what weight is left.
_GROUPS: tuple[tuple[tuple[str, ...], int, int], ...] = (
    (HAND_BONES, 4, 4), (FOOT_BONES, 5, 5), (("upperarm",), 15, 17), (("lowerarm",), 19, 21), (("upperleg",), 10, 8),
    (("lowerleg",), 14, 12), (("head", "neck02", "neck03", "eye"), 24, 24), ((), 2, 1),
)  # fmt: skip
_NUM_GROUPS = len(_GROUPS)


@dataclass(frozen=True)
class Chart:
    """What DensePose needs to know of every vertex.

    Attributes:
        values: float32 ``(V, 19)``: share of each of the 8 bone groups; outward and backward offset from the axis of
            arm, leg and torso (6); canonical y, z, arm, leg; and x, the only one that tells left from right.
        scale: float32 ``(25, 4)``: lowest U, range of U, lowest V, range of V on each left-side part before rescaling.
        face_points: the vertices of nose, right eye, left eye, right ear, left ear.
    """

    values: Tensor
    scale: Tensor
    face_points: Tensor


def _vertex_values(anatomy: Anatomy) -> Tensor:
    shares = torch.stack([anatomy.bone_share(*bones) for bones, _, _ in _GROUPS[:-1]], 1)
    torso = (1 - shares.sum(1, keepdim=True)).clamp(min=0)
    where = anatomy.skin_canonical
    # The seam over the shoulders lies further back than at the waist, so that the front shows no part of the back.
    over_shoulder = ((where.z - 0.55) / 0.1).clamp(0, 1) * ((where.x.abs() - 0.03) / 0.04).clamp(0.4, 1)
    back = where.y - anatomy.spine_y - 0.05 * over_shoulder
    columns = [
        shares,
        torso,
        anatomy.arm_offset[:, :2],
        anatomy.leg_offset[:, :2],
        where.x.abs()[:, None],
        back[:, None],
    ]
    columns += [where.position[:, 1:], where.arm[:, None], where.leg[:, None], where.x[:, None]]
    return torch.cat(columns, 1)


def _offset(values: Tensor) -> Tensor:
    """Outward and backward ``(N, 2)`` from the axis of the limb, or of the torso, that each point belongs to."""
    group = values[:, :_NUM_GROUPS].argmax(1)
    pair = torch.tensor([0, 2, 0, 0, 2, 2, 4, 4], device=values.device)[group] + _NUM_GROUPS
    return torch.stack([values.gather(1, pair[:, None])[:, 0], values.gather(1, pair[:, None] + 1)[:, 0]], 1)


def _left_parts(values: Tensor) -> Tensor:
    """The part each point would have on the left side: its strongest bone group, front or back of the axis."""
    pairs = torch.tensor([[front, back] for _, front, back in _GROUPS], device=values.device)
    chosen = pairs[values[:, :_NUM_GROUPS].argmax(1)]
    return torch.where(_offset(values)[:, 1] < 0, chosen[:, 0], chosen[:, 1])


def _raw_uv(values: Tensor, part: Tensor) -> Tensor:
    """U and V ``(N, 2)`` of points on their left-side part, in natural units."""
    y, z, arm, leg, x = values[:, _NUM_GROUPS + 6 :].unbind(1)
    outward, behind = _offset(values).unbind(1)
    around = torch.atan2(outward, behind.abs() + 1e-4)  # from the inner to the outer side, seen from front or back
    down = torch.tensor([p in _U_DOWN_THE_LIMB for p in range(25)], device=values.device)[part]
    along = torch.where(part <= 14, leg, arm)
    u, v = torch.where(down, along, -along), around
    special = {24: (-y, -z), 4: (-y, arm), 5: (x.abs(), -y), 1: (-z, around), 2: (-z, around)}
    for label, (own_u, own_v) in special.items():
        u, v = torch.where(part == label, own_u, u), torch.where(part == label, own_v, v)
    return torch.stack([u, v], 1)


@lru_cache(maxsize=1)
def load_chart() -> Chart:
    """The chart of the packed body; ranges of U and V are those of each part on the average body."""
    anatomy = load_anatomy()
    values = _vertex_values(anatomy)
    skin = values[anatomy.body.faces.flatten().unique()]
    part = _left_parts(skin)
    raw = _raw_uv(skin, part)
    scale = torch.ones(25, 4)
    for label in part.unique().tolist():
        low, high = raw[part == label].amin(0), raw[part == label].amax(0)
        if label in (1, 2):  # the torso lies on both halves: V is 0.5 on the spine
            low[1], high[1] = -high[1], high[1]
        scale[label] = torch.stack([low[0], high[0] - low[0], low[1], high[1] - low[1]])
    return Chart(values, scale, _face_points(anatomy))


def _face_points(anatomy: Anatomy) -> Tensor:
    body, position = anatomy.body, anatomy.position
    skin = torch.zeros(len(position), dtype=torch.bool)
    skin[body.faces[~body.is_eye].flatten()] = True
    eye_height = float(anatomy.landmarks.eye[2])
    head = skin & (anatomy.skin_canonical.head_share > 0.5) & ((position[:, 2] - eye_height).abs() < 0.06)
    nose = torch.where(head & (position[:, 2] < eye_height), position[:, 1], torch.full((), 9.0)).argmin()
    ear = torch.where(head, position[:, 0], torch.full((), -9.0)).argmax()
    eye = body.left_eye[position[body.left_eye, 1].argmin()]
    return torch.stack([nose, body.mirror[eye], eye, body.mirror[ear], ear])


def densepose_of(fragments: Fragments, size: tuple[int, int], batch: int) -> list[DensePose]:
    """The maps of body fragments (triangles of :attr:`Body.faces`), one per picture.

    Parts are decided per pixel, so seams are smooth lines across triangles. The right side is labelled as the left one
    and then exchanged by DensePose's symmetry, which makes the map of a mirrored scene the flipped map.
    """
    chart = load_chart()
    fragments = fragments.cpu()
    values = fragments.interpolate(chart.values, load_anatomy().body.faces[fragments.triangle])
    part = _left_parts(values)
    scale = chart.scale[part]
    uv = ((_raw_uv(values, part) - scale[:, 0::2]) / scale[:, 1::2]).clamp(0, 1)
    right = values[:, -1] < 0
    flips = torch.from_numpy(np.stack([MIRRORED_U, MIRRORED_V], -1))[part] & right[:, None]
    part = torch.where(right, torch.from_numpy(MIRRORED_LABEL)[part].long(), part)
    labels = torch.zeros(batch, *size, dtype=torch.uint8)
    maps = torch.zeros(batch, *size, 2)
    place = (fragments.picture, fragments.row, fragments.column)
    labels[place] = part.to(torch.uint8)
    maps[place] = torch.where(flips, 1 - uv, uv)
    return [DensePose(labels[i].numpy(), maps[i].permute(2, 0, 1).numpy()) for i in range(batch)]


def keypoints_3d(vertices: Tensor, heads: np.ndarray, transforms: Tensor) -> Tensor:
    """OpenPose's 18 points of posed bodies.

    Args:
        vertices: ``(B, V, 3)``, posed.
        heads: ``(J, 3)``, bone heads at rest.
        transforms: ``(B, J, 3, 4)``.

    Returns:
        float32 ``(B, 18, 3)``, world coordinates.
    """
    anatomy = load_anatomy()
    index = anatomy.body.bone_index
    joints = transforms[..., :3] @ torch.from_numpy(heads).to(transforms)[:, :, None]
    joints = joints[..., 0] + transforms[..., 3]  # (B, J, 3)
    face = vertices[:, load_chart().face_points.to(vertices.device)]
    points = vertices.new_zeros(len(vertices), len(KEYPOINT_NAMES), 3)
    for i, bone in enumerate(_KEYPOINT_BONES):
        if bone is not None:
            points[:, i] = joints[:, index[bone]]
    points[:, 0], points[:, 14:18] = face[:, 0], face[:, 1:]
    points[:, 1] = (points[:, 2] + points[:, 5]) / 2
    return points


def keypoint_visibility(points: Tensor, depth: Tensor, surface: Tensor) -> Tensor:
    """Which keypoints are inside the picture and not behind another part of the body.

    Args:
        points: ``(B, 18, 2)``, pixel coordinates.
        depth: ``(B, 18)``, metres.
        surface: ``(B, H, W)``, depth of the nearest body surface, infinite where there is none.

    Returns:
        bool ``(B, 18)``.
    """
    height, width = surface.shape[1:]
    column, row = points[..., 0].floor().long(), points[..., 1].floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    batch = torch.arange(len(points), device=points.device)[:, None].expand_as(row)
    nearest = surface[batch, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    allowed = torch.full((len(KEYPOINT_NAMES),), _JOINT_DEPTH, device=points.device)
    allowed[[0, 14, 15, 16, 17]] = _FACE_DEPTH
    return inside & (depth - nearest < allowed)
