"""Canonical coordinates: where on the body a surface point is, in words that hold for every build and pose.

All are measured on the average body in rest pose and carried by its vertices, so garments, fabrics and labels are
written once. Legend: V vertices, J bones, C = 10 canonical channels, N surface points.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from pocold.people.body.body import Body, load_body
from pocold.people.body.mesh import Smoother

HAND_BONES = ("wrist", "finger", "metacarpal")
FOOT_BONES = ("foot", "toe")


@dataclass(frozen=True)
class Canonical:
    """Canonical coordinates of N points, as views of one ``(N, 10)`` tensor that can be interpolated.

    Attributes:
        values: position (3), arm, leg, arm share, head share, offset (3).
    """

    values: Tensor

    @property
    def position(self) -> Tensor:
        """``(N, 3)`` on the average body at rest, metres."""
        return self.values[:, :3]

    @property
    def x(self) -> Tensor:
        """Metres to the person's left."""
        return self.values[:, 0]

    @property
    def y(self) -> Tensor:
        """Metres backwards."""
        return self.values[:, 1]

    @property
    def z(self) -> Tensor:
        """Metres up."""
        return self.values[:, 2]

    @property
    def arm(self) -> Tensor:
        """Along the arm: 0 shoulder, 1 elbow, 2 wrist. Meaningful where :attr:`on_arm`."""
        return self.values[:, 3]

    @property
    def leg(self) -> Tensor:
        """Down the leg: 0 hip, 1 knee, 2 ankle. Negative above the hip."""
        return self.values[:, 4]

    @property
    def arm_share(self) -> Tensor:
        """How much the point follows arm bones, 0..1."""
        return self.values[:, 5]

    @property
    def head_share(self) -> Tensor:
        """How much the point follows the head, 0..1."""
        return self.values[:, 6]

    @property
    def offset(self) -> Tensor:
        """``(N, 3)`` from the axis of the limb (or of the torso); on the right side mirrored to the left for limbs."""
        return self.values[:, 7:10]

    @property
    def on_arm(self) -> Tensor:
        """Bool ``(N,)``."""
        return self.arm_share > 0.5

    @property
    def front(self) -> Tensor:
        """Bool ``(N,)``: in front of the axis of its limb or torso."""
        return self.offset[:, 1] < 0


@dataclass(frozen=True)
class Landmarks:
    """Places on the average body, float64 ``(3,)`` for the left side, or heights in metres."""

    shoulder: np.ndarray
    elbow: np.ndarray
    wrist: np.ndarray
    hip: np.ndarray
    knee: np.ndarray
    ankle: np.ndarray
    eye: np.ndarray
    floor: float


class Anatomy:
    """Everything computed once from the average body. Use :func:`load_anatomy`.

    Attributes:
        body: the packed body.
        position: float32 ``(V, 3)``, average rest vertices.
        landmarks: see :class:`Landmarks`.
        heads: float64 ``(J, 3)``, average bone heads.
        skin_canonical: :class:`Canonical` of all V vertices; cloth_canonical: the same, smoothed on the tights.
        leg_offset, arm_offset: float32 ``(V, 3)``, from the axis of the leg or arm, folded to the left side.
        spine_y: where front and back of the torso part.
        tights_smoother: smoother of the tights helper.
    """

    def __init__(self, body: Body) -> None:
        self.body = body
        self.position, heads = body.rest()
        self.heads = heads

        def bone(name: str) -> np.ndarray:
            return heads[body.bone_index[name]]

        self.landmarks = Landmarks(
            shoulder=bone("upperarm01.L"), elbow=bone("lowerarm01.L"), wrist=bone("wrist.L"),
            hip=bone("upperleg01.L"), knee=bone("lowerleg01.L"), ankle=bone("foot.L"),
            eye=self.position[body.left_eye].mean(0).double().numpy(),
            floor=float(self.position[body.faces.flatten(), 2].min()),
        )  # fmt: skip
        self.spine_y = float(bone("spine03")[1]) - 0.03
        self._arm_share = self.bone_share(*HAND_BONES, "lowerarm", "upperarm").double()
        self._leg_share = self.bone_share("upperleg", "lowerleg", *FOOT_BONES).double()
        self._head_share = self.bone_share("head", "neck02", "neck03", "eye").double()
        values, self.arm_offset, self.leg_offset = self.canonical_of(self.position, heads)
        self.skin_canonical = Canonical(values)
        self.tights_smoother = Smoother.of(body.tights, len(self.position))
        # The tights have few vertices: without smoothing, stripes kink at the sternum and the knees.
        self.cloth_canonical = Canonical(self.tights_smoother.laplace(values, 8))

    @cached_property
    def head_smoother(self) -> Smoother:
        """Smoother of the skin of the head."""
        return self._region_smoother(self.body.faces[~self.body.is_eye], self.skin_canonical.head_share > 0.3)

    @cached_property
    def skin_smoother(self) -> Smoother:
        """Smoother of the whole skin."""
        return Smoother.of(self.body.faces[~self.body.is_eye], len(self.position))

    @cached_property
    def foot_smoother(self) -> Smoother:
        """Smoother of the feet of the tights."""
        return self._region_smoother(self.body.tights, self.cloth_canonical.leg > 1.72)

    def _region_smoother(self, triangles: Tensor, chosen: Tensor) -> Smoother:
        return Smoother.of(triangles[chosen[triangles].all(1)], len(chosen))

    def bone_share(self, *prefixes: str, side: str = "") -> Tensor:
        """Float32 ``(V,)``: summed skinning weight of the bones whose names start so (and end on ``side``)."""
        chosen = [i for n, i in self.body.bone_index.items() if n.startswith(prefixes) and n.endswith(side)]
        return self.body.weights[:, chosen].sum(1)

    def canonical_of(self, vertices: Tensor, heads: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Canonical values ``(V, 10)`` measured on any build at rest, and the offsets from arm and leg axes."""
        position = vertices.double()
        folded = position * torch.where(position[:, :1] < 0, position.new_tensor([-1.0, 1, 1]), position.new_ones(3))
        names = ("upperarm01.L", "lowerarm01.L", "wrist.L", "upperleg01.L", "lowerleg01.L", "foot.L", "spine03")
        shoulder, elbow, wrist, hip, knee, ankle, spine = (
            torch.from_numpy(heads[self.body.bone_index[name]]) for name in names
        )

        def along(start: Tensor, end: Tensor) -> Tensor:
            axis = end - start
            return (folded - start) @ axis / (axis @ axis)

        upper, lower = along(shoulder, elbow), along(elbow, wrist)
        arm = torch.where(upper < 1, upper, 1 + lower.clamp(min=0))
        thigh = (hip[2] - folded[:, 2]) / (hip[2] - knee[2])
        leg = torch.where(thigh < 1, thigh, 1 + (knee[2] - folded[:, 2]) / (knee[2] - ankle[2]))
        axis = torch.stack([torch.zeros_like(leg), torch.full_like(leg, float(spine[1]) - 0.03), folded[:, 2]], 1)
        leg_offset = folded - _polyline(leg, hip, knee, ankle)
        arm_offset = folded - _polyline(arm, shoulder, elbow, wrist)
        offset = torch.where((self._leg_share > 0.5)[:, None], leg_offset, position - axis)
        offset = torch.where((self._arm_share > 0.5)[:, None], arm_offset, offset)
        single = [arm, leg, self._arm_share, self._head_share]
        values = torch.cat([position, torch.stack(single, 1), offset], 1).float()
        return values, arm_offset.float(), leg_offset.float()


def _polyline(t: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Points ``(N, 3)`` on the limb axis from ``a`` (t = 0) over ``b`` (t = 1) to ``c`` (t = 2) and a little beyond."""
    t = t.clamp(0, 2.2)[:, None]
    return torch.where(t < 1, a + (b - a) * t, b + (c - b) * (t - 1))


@lru_cache(maxsize=1)
def load_anatomy() -> Anatomy:
    """The anatomy of the packed body, computed once per process (about 0.3 s)."""
    return Anatomy(load_body())
