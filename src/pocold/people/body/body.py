"""The body: adult shape space, skeleton and skinning, from packed CC0 data (see NOTICE).

World: right-handed, metres, Z up; the person faces -Y and the left hand is at +X. Legend: V = 19,158 vertices of the
MakeHuman base mesh (skin, eyes and clothing helpers), J = 104 bones, B poses.
"""

import io
from dataclasses import astuple, dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

MIN_AGE, MAX_AGE = 2 / 3, 0.9  # 2/3 is a young adult, 1 would be very old; nothing younger is in the data

# anny's phenotype variations, in the column order of the packed ``product_mask``, with the value each one sits at.
_ANCHORS: dict[str, tuple[float, ...]] = {
    "gender": (0, 1),
    "age": (-1 / 3, 0, 1 / 3, 2 / 3, 1),
    "muscle": (0, 0.5, 1),
    "weight": (0, 0.5, 1),
    "height": (0, 1),
    "proportions": (0, 1),
    "cupsize": (0, 0.5, 1),
    "firmness": (0, 0.5, 1),
}


@dataclass(frozen=True)
class BodyShape:
    """An adult's build. All values in [0, 1]; the defaults are the average body that canonical coordinates refer to.

    Attributes:
        gender: 0 masculine to 1 feminine.
        age: 2/3 (young adult) to 0.9 (old).
        muscle, weight, height: little to much.
        proportions: common to ideal body proportions.
        cupsize, firmness: of the breast.
        african, asian, caucasian: facial and bodily features, relative shares.

    Raises:
        ValueError: for a value outside its range; an age under 2/3 is refused because only adults are drawn.
    """

    gender: float = 0.75
    age: float = 0.67
    muscle: float = 0.5
    weight: float = 0.42
    height: float = 0.5
    proportions: float = 0.7
    cupsize: float = 0.5
    firmness: float = 0.5
    african: float = 1 / 3
    asian: float = 1 / 3
    caucasian: float = 1 / 3

    def __post_init__(self) -> None:
        for name, value in zip(self.__dataclass_fields__, astuple(self), strict=True):
            low, high = (MIN_AGE, MAX_AGE) if name == "age" else (0.0, 1.0)
            if not low - 1e-6 <= value <= high + 1e-6:
                reason = " (adults only)" if name == "age" else ""
                raise ValueError(f"BodyShape.{name} must lie in [{low:.3g}, {high:.3g}]{reason}, got {value:g}")
        if self.african + self.asian + self.caucasian <= 0:
            raise ValueError("BodyShape needs a positive share of african, asian or caucasian features")


AVERAGE = BodyShape()


class Body:
    """The packed body data and what is computed from it. Use :func:`load_body`; the data is read-only and shared.

    Attributes:
        bone_names: names of the J bones, parents before children.
        bone_parent: int ``(J,)``, -1 for the root.
        weights: float32 ``(V, J)``, skinning weights, rows sum to 1.
        mirror: int64 ``(V,)``, the vertex at the mirrored place. The body is exactly symmetric in x.
        faces: int64 ``(T, 3)``, skin and eyes, seen counter-clockwise from outside. The second half of the triangles
            is the mirror of the first half.
        is_eye: bool ``(T,)``.
        tights, skirt, hair: int64 ``(.., 3)``, helper triangles that garments and hair are cut from.
        lips, nails: float32 ``(V,)`` in [0, 1], masks of the skin.
        left_eye: int64, vertices of the left eye.
    """

    def __init__(self) -> None:
        packed = np.load(io.BytesIO((files("pocold.people.body") / "body.npz").read_bytes()))
        half = packed["half_of"].astype(np.int64)
        mirrored = packed["is_mirrored"]
        self._flip = np.where(mirrored, -1.0, 1.0).astype(np.float32)
        self._half = half
        self._centre = packed["centre"]
        self._basis = packed["basis"].astype(np.float32)
        self._head_centre, self._head_basis = packed["head_centre"], packed["head_basis"]
        self._product_mask = packed["product_mask"].astype(bool)
        self._product_to_basis, self._offset = packed["product_to_basis"], packed["basis_offset"]

        self.bone_names: list[str] = packed["bone_names"].tolist()
        self.bone_parent = packed["bone_parent"].astype(int)
        self.bone_index = {name: i for i, name in enumerate(self.bone_names)}
        bones = packed["bone_index"][half].astype(np.int64)
        bones[mirrored] = packed["bone_mirror"].astype(np.int64)[bones[mirrored]]
        weights = torch.zeros(len(half), len(self.bone_names))
        weights.scatter_add_(
            1, torch.from_numpy(bones), torch.from_numpy(packed["bone_weight"][half].astype(np.float32))
        )
        self.weights = weights / weights.sum(1, keepdim=True)
        self.mirror = torch.from_numpy(packed["mirror"].astype(np.int64))
        self.faces, self.tights, self.skirt, self.hair = (
            torch.from_numpy(packed[name].astype(np.int64)) for name in ("faces", "tights", "skirt", "hair")
        )
        self.lips, self.nails = (torch.from_numpy(packed[name].astype(np.float32) / 255) for name in ("lips", "nails"))
        self.left_eye = torch.from_numpy(packed["left_eye"].astype(np.int64))
        in_eye = torch.zeros(len(half), dtype=torch.bool)
        in_eye[self.left_eye] = True
        in_eye[self.mirror[self.left_eye]] = True
        self.is_eye = in_eye[self.faces].all(1)

    def rest(self, shape: BodyShape = AVERAGE) -> tuple[Tensor, np.ndarray]:
        """Vertices and bone heads of one build in rest pose (arms 45 degrees down).

        Returns:
            float32 ``(V, 3)`` vertices and float64 ``(J, 3)`` bone heads, metres.
        """
        coefficients = self._shape_coefficients(shape)
        half = self._centre + np.tensordot(coefficients, self._basis, 1)
        vertices = half[self._half]
        vertices[:, 0] *= self._flip
        heads = self._head_centre + np.tensordot(coefficients, self._head_basis, 1)
        return torch.from_numpy(vertices), heads.astype(np.float64)

    def _shape_coefficients(self, shape: BodyShape) -> np.ndarray:
        """Float32 ``(K,)``: each shape target counts by the product of how much of its variations the build has."""
        share = np.array([shape.african, shape.asian, shape.caucasian])
        values = [share / share.sum()]
        for name, anchors in _ANCHORS.items():
            value = min(max(getattr(shape, name), anchors[0]), anchors[-1])
            values.append(np.array([np.interp(value, anchors, row) for row in np.eye(len(anchors))]))
        present = np.concatenate(values)
        products = np.where(self._product_mask, present, 1.0).prod(1)
        return (products @ self._product_to_basis + self._offset).astype(np.float32)


def skin(vertices: Tensor, weights: Tensor, transforms: Tensor) -> Tensor:
    """Linear blend skinning.

    Args:
        vertices: ``(V, 3)`` in rest pose.
        weights: ``(V, J)``, rows sum to 1.
        transforms: ``(B, J, 3, 4)``, rest to posed motion of each bone.

    Returns:
        ``(B, V, 3)``.
    """
    blended = torch.einsum("vj,bjk->bvk", weights, transforms.flatten(2))  # (B, V, 12)
    blended = blended.unflatten(2, (3, 4))
    return (blended[..., :3] * vertices[None, :, None]).sum(-1) + blended[..., 3]


@lru_cache(maxsize=1)
def load_body() -> Body:
    """The packed body, read once per process (3 MB, about 0.2 s)."""
    return Body()
