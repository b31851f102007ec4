"""The camera: where a posed person stands in the picture.

World: metres, Z up, the person on the floor at its lowest point. Camera space: x right, y away, z up. Legend: B
pictures, V vertices.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pocold.people.body.body import Body
from pocold.people.body.skeleton import rotation
from pocold.people.poses import Crop

MIN_SIZE, MAX_SIZE = 16, 4096


def parse_size(text: str) -> tuple[int, int]:
    """``HEIGHTxWIDTH`` as (height, width).

    Raises:
        ValueError: for anything else.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise ValueError(f"expected a size HEIGHTxWIDTH, such as 256x176, got {text!r}")
    return int(parts[0]), int(parts[1])


def check_size(size: tuple[int, int]) -> None:
    """Raise a ValueError unless (height, width) is a picture that can be drawn."""
    if len(size) != 2 or min(size) < MIN_SIZE or max(size) > MAX_SIZE:
        shown = "x".join(str(n) for n in size)
        raise ValueError(f"expected a size HEIGHTxWIDTH with sides from {MIN_SIZE} to {MAX_SIZE}, got {shown}")


@dataclass(frozen=True)
class Lens:
    """What a photographer keeps for one shoot.

    Attributes:
        distance: metres from the person.
        height: metres above the picture's centre, looking down on it.
        margin: share of the picture left free around the person.
    """

    distance: float = 5.0
    height: float = 0.1
    margin: float = 0.05


@dataclass(frozen=True)
class Camera:
    """One picture's camera.

    Attributes:
        size: (height, width) in pixels.
        focal: pixels.
        distance: metres from the target.
        pitch: radians, looking down.
        view: degrees the person is turned, see :data:`pocold.people.poses.VIEWS`.
        target: ``(3,)``, the point of the turned person at the picture's centre.
        floor: height of the floor in world coordinates.
    """

    size: tuple[int, int]
    focal: float
    distance: float
    pitch: float
    view: float
    target: tuple[float, float, float]
    floor: float

    @property
    def rotation(self) -> np.ndarray:
        """World to camera ``(3, 3)``, the person's turn included."""
        return rotation((1, 0, 0), math.degrees(self.pitch)) @ rotation((0, 0, 1), self.view)

    def to_camera(self, points: Tensor) -> Tensor:
        """World ``(..., 3)`` to camera space with the origin at the target."""
        turn = torch.from_numpy(self.rotation).to(points)
        centre = torch.from_numpy(rotation((1, 0, 0), math.degrees(self.pitch)) @ np.array(self.target)).to(points)
        return points @ turn.T - centre

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Camera-space ``(..., 3)`` to pixel coordinates ``(..., 2)`` and depth ``(...)``, metres."""
        depth = points[..., 1] + self.distance
        x = self.size[1] / 2 + self.focal * points[..., 0] / depth
        y = self.size[0] / 2 - self.focal * points[..., 2] / depth
        return torch.stack([x, y], -1), depth

    def scaled(self, factor: int) -> "Camera":
        """The same view with ``factor`` times as many pixels a side."""
        height, width = self.size
        return Camera(
            (height * factor, width * factor), self.focal * factor, self.distance, self.pitch, self.view, self.target,
            self.floor,
        )  # fmt: skip


def frame_person(
    vertices: Tensor, transforms: np.ndarray, heads: np.ndarray, body: Body, *, view: float, crop: Crop,
    size: tuple[int, int], lens: Lens, standing: float, shift: tuple[float, float] = (0.0, 0.0),
) -> Camera:  # fmt: skip
    """Choose the camera for one posed person.

    Args:
        vertices: ``(V, 3)``, posed skin in world coordinates.
        transforms, heads: the posed skeleton, ``(J, 3, 4)`` and ``(J, 3)``.
        body: names of the bones.
        view: degrees, see :data:`pocold.people.poses.VIEWS`.
        crop: ``full`` keeps one scale for all poses that fit; the others reach down to knee, hip or chest.
        size: (height, width).
        lens: the shoot's camera.
        standing: the person's standing height, metres.
        shift: share of the picture's height that the person is moved right and up.

    Raises:
        ValueError: for an impossible size.
    """
    check_size(size)
    turned = vertices @ torch.from_numpy(rotation((0, 0, 1), view)).to(vertices).T
    low, high = turned.amin(0).tolist(), turned.amax(0).tolist()
    joints = (transforms[..., :3] @ heads[:, :, None])[..., 0] + transforms[..., 3]
    joints = joints @ rotation((0, 0, 1), view).T

    def place(bone: str) -> np.ndarray:
        return joints[body.bone_index[bone]]

    crown = float((place("head") + transforms[body.bone_index["head"], :, :3] @ [0, 0, 0.17])[2])
    top = max(crown, place("head")[2] + 0.12) + 0.03
    knee = (place("lowerleg01.L")[2] + place("lowerleg01.R")[2]) / 2
    hip = (place("upperleg01.L")[2] + place("upperleg01.R")[2]) / 2
    chest = place("spine02")[2]
    aspect = size[0] / size[1]
    if crop == "full":
        bottom, top = low[2], max(top, low[2] + standing + 0.03, high[2])
        span = max((top - bottom) / (1 - 2 * lens.margin), (high[0] - low[0]) * aspect / 0.96)
        centre = bottom - lens.margin * span + span / 2
        across = (low[0] + high[0]) / 2
    else:
        bottom = {"knee": min(knee + 0.06, hip - 0.25), "upper": hip - 0.02, "portrait": chest - 0.02}[crop]
        span = (top - bottom) / (1 - lens.margin)
        centre = top + lens.margin * span - span / 2
        across = 0.65 * place("head")[0] + 0.35 * place("root")[0]
    target = (float(across - shift[0] * span), (low[1] + high[1]) / 2, float(centre - shift[1] * span))
    pitch = math.atan2(lens.height, lens.distance)
    return Camera(size, float(size[0] * lens.distance / span), lens.distance, pitch, view, target, low[2])
