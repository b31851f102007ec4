"""DensePose labels of the body: parts and U, V of every triangle, drawn as a detector would predict them.

Parts and axes follow DensePose's own charts (docs/people.md has the table): U runs along a limb and V across it; left
and right limbs carry equal U, V; on head, hands and feet the mirror image has 1 - U, on the torso 1 - V. Labels come
from the body alone: clothes and hair do not change them. Legend: T triangles, N fragments, H W picture size.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pocold.densepose import MIRRORED_LABEL, MIRRORED_U, MIRRORED_V, DensePose
from pocold.people.anatomy import FOOT_BONES, HAND_BONES, Anatomy, load_anatomy
from pocold.people.raster import Fragments

# OpenPose's 18 keypoints: name and the bone whose head it is, or the vertex found below.
KEYPOINT_NAMES = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
_KEYPOINT_BONES = (
    None, None, "upperarm01.R", "lowerarm01.R", "wrist.R", "upperarm01.L", "lowerarm01.L", "wrist.L",
    "upperleg01.R", "lowerleg01.R", "foot.R", "upperleg01.L", "lowerleg01.L", "foot.L", None, None, None, None,
)  # fmt: skip
# How far under the visible surface a point may lie and still be seen: joints are inside limbs, facial points are not.
_JOINT_DEPTH, _FACE_DEPTH = 0.13, 0.025

_U_DOWN_THE_LIMB = frozenset({7, 8, 13, 14, 15, 16, 17, 18, 21, 22})  # on 9-12, 19, 20 U runs upwards


@dataclass(frozen=True)
class Chart:
    """DensePose of every triangle.

    Attributes:
        part: uint8 ``(T,)``, 1..24.
        uv: float32 ``(T, 3, 2)`` in [0, 1], U and V at the corners.
        face_points: the vertices of nose, right eye, left eye, right ear, left ear.
    """

    part: Tensor
    uv: Tensor
    face_points: Tensor


def _parts_of_left_half(anatomy: Anatomy, faces: Tensor) -> Tensor:
    """Part of each triangle of the left half: the bone group with most weight, front or back of the limb's axis."""
    share = anatomy.bone_share
    groups = {
        (4, 4): share(*HAND_BONES, side=".L"),
        (5, 5): share(*FOOT_BONES, side=".L"),
        (15, 17): share("upperarm", side=".L"),
        (19, 21): share("lowerarm", side=".L"),
        (10, 8): share("upperleg", side=".L"),
        (14, 12): share("lowerleg", side=".L"),
        (24, 24): share("head", "neck02", "neck03", "eye"),
    }
    limbs = torch.stack(list(groups.values()), 1)
    groups[(2, 1)] = (1 - limbs.sum(1)).clamp(min=0)
    strongest = torch.stack(list(groups.values()), 1)[faces].mean(1).argmax(1)
    front = anatomy.skin_canonical.offset[faces].mean(1)[:, 1] < 0
    pairs = torch.tensor(list(groups), dtype=torch.uint8)[strongest]
    return torch.where(front, pairs[:, 0], pairs[:, 1])


def _rescaled(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low)


def _uv_of_left_half(anatomy: Anatomy, faces: Tensor, part: Tensor) -> Tensor:
    where = anatomy.skin_canonical
    x, y, z = where.x, where.y, where.z
    # angle from the inner to the outer side of a limb, seen from its front or back: 0..1 over half a turn
    around = torch.atan2(where.offset[:, 0], where.offset[:, 1].abs()) / torch.pi + 0.5
    uv = torch.zeros(len(faces), 3, 2)
    for label in part.unique().tolist():
        chosen = part == label
        corners = faces[chosen]
        if label in (1, 2):
            u, v = -z, torch.atan2(x, (y - anatomy.spine_y).abs())
        elif label == 24:
            u, v = -y, -z
        elif label == 4:
            u, v = -y, where.arm
        elif label == 5:
            u, v = x, -y
        else:
            along = where.leg if label <= 14 else where.arm
            u, v = (along if label in _U_DOWN_THE_LIMB else -along), around
        u_part = _rescaled(u[corners])
        if label in (1, 2):  # the torso lies on both halves: V is centred on the spine
            v_part = 0.5 + 0.5 * v[corners] / v[corners].abs().max()
        else:
            v_part = _rescaled(v[corners])
        uv[chosen] = torch.stack([u_part, v_part], -1)
    return uv


@lru_cache(maxsize=1)
def load_chart() -> Chart:
    """The chart of the packed body: the left half is computed, the right half is its mirror by DensePose's symmetry."""
    anatomy = load_anatomy()
    faces = anatomy.body.faces
    half = len(faces) // 2
    part = _parts_of_left_half(anatomy, faces[:half])
    uv = _uv_of_left_half(anatomy, faces[:half], part)
    mirrored_part = torch.from_numpy(MIRRORED_LABEL)[part.long()]
    flips = torch.from_numpy(np.stack([MIRRORED_U, MIRRORED_V], -1))[part.long()][:, None]
    mirrored_uv = torch.where(flips, 1 - uv, uv)[:, [0, 2, 1]]  # mirrored triangles list their corners as 0, 2, 1
    return Chart(torch.cat([part, mirrored_part]), torch.cat([uv, mirrored_uv]), _face_points(anatomy))


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
    """The maps of body fragments (triangles of :attr:`Body.faces`), one per picture."""
    chart = load_chart()
    labels = torch.zeros(batch, *size, dtype=torch.uint8)
    uv = torch.zeros(batch, 2, *size)
    triangle = fragments.triangle.cpu()
    place = (fragments.picture.cpu(), fragments.row.cpu(), fragments.column.cpu())
    labels[place] = chart.part[triangle]
    values = (chart.uv[triangle] * fragments.barycentric.cpu()[..., None]).sum(1).clamp(0, 1)
    uv[place[0], :, place[1], place[2]] = values
    return [DensePose(labels[i].numpy(), uv[i].numpy()) for i in range(batch)]


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
