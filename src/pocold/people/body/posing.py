"""Bodies in a pose before a camera, and their DensePose: all that labels need, without a look.

Legend: B bodies, V vertices of the base mesh.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pocold.densepose.maps import DensePose
from pocold.people.body.body import AVERAGE, BodyShape, skin
from pocold.people.body.camera import Camera, Lens, frame_person
from pocold.people.body.seat import SEAT_TRIANGLES, SEAT_VERTICES
from pocold.people.body.skeleton import Pose, bone_transforms
from pocold.people.labels import densepose_of
from pocold.people.poses import Crop
from pocold.people.rendering.figure import Wearer
from pocold.people.rendering.raster import Fragments, rasterize


@dataclass(frozen=True)
class Bodies:
    """Naked bodies in world coordinates, for labels; after the V body vertices come those of the seat.

    Attributes:
        vertices: ``(B, V + SEAT_VERTICES, 3)``.
        used: vertices of the skin.
        faces: triangles of the skin, then of the seat.
        num_skin: how many of them are skin.
    """

    vertices: Tensor
    used: Tensor
    faces: Tensor
    num_skin: int

    @classmethod
    def of(
        cls, wearer: Wearer, transforms: np.ndarray, device: torch.device | str, seats: Tensor | None = None
    ) -> "Bodies":
        body = wearer.anatomy.body
        used, count = body.faces.flatten().unique(), len(wearer.rest)
        moves = torch.from_numpy(transforms).float().to(device)
        vertices = torch.zeros(len(transforms), count + SEAT_VERTICES, 3, device=device)
        vertices[:, used] = skin(wearer.rest[used].to(device), body.weights[used].to(device), moves)
        if seats is not None:
            vertices[:, count:] = seats
        faces = torch.cat([body.faces, SEAT_TRIANGLES + count])
        return cls(vertices, used.to(device), faces.to(device), len(body.faces))

    def fragments(self, cameras: list[Camera]) -> Fragments:
        projected = [c.project(c.to_camera(v)) for c, v in zip(cameras, self.vertices, strict=True)]
        points, depth = torch.stack([p for p, _ in projected]), torch.stack([d for _, d in projected])
        seen = rasterize(points, depth, self.faces, cameras[0].size)
        return seen.select(seen.triangle < self.num_skin)


@dataclass(frozen=True)
class PosedBody:
    """A body in a pose before a camera, without a look.

    Attributes:
        camera: its camera; another one may be tried in :meth:`densepose`.
        bodies: the body, see :class:`Bodies`.
    """

    camera: Camera
    bodies: Bodies

    def densepose(self, camera: Camera | None = None) -> DensePose:
        """The map as seen by ``camera``, or by :attr:`camera`."""
        camera = camera or self.camera
        return densepose_of(self.bodies.fragments([camera]), camera.size, 1)[0]


def pose_body(
    pose: Pose, view: float = 0.0, crop: Crop = "full", size: tuple[int, int] = (256, 176), shape: BodyShape = AVERAGE
) -> PosedBody:
    """Pose a body and choose its camera.

    Raises:
        ValueError: for an impossible size.
    """
    wearer = Wearer(shape)
    transforms = bone_transforms(pose, wearer.anatomy.body, wearer.heads)
    posed = Bodies.of(wearer, transforms[None], "cpu")
    camera = frame_person(
        posed.vertices[0, posed.used], transforms, wearer.heads, wearer.anatomy.body, view=view, crop=crop, size=size,
        lens=Lens(), standing=wearer.standing,
    )  # fmt: skip
    return PosedBody(camera, posed)


def draw_body(shape: BodyShape, pose: Pose, camera: Camera) -> DensePose:
    """The map of a body before a camera that is known, such as one fitted to keypoints."""
    wearer = Wearer(shape)
    transforms = bone_transforms(pose, wearer.anatomy.body, wearer.heads)
    return PosedBody(camera, Bodies.of(wearer, transforms[None], "cpu")).densepose()


def draw_densepose(
    pose: Pose, view: float = 0.0, crop: Crop = "full", size: tuple[int, int] = (256, 176), shape: BodyShape = AVERAGE
) -> DensePose:
    """The DensePose map of a pose alone: what ``pocold pose`` writes.

    Raises:
        ValueError: for an impossible size.
    """
    return pose_body(pose, view, crop, size, shape).densepose()
