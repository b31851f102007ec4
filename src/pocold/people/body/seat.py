"""A plain cube to sit on. It belongs to the background, but it hides what is behind it, in pictures and labels."""

import numpy as np
import torch
from torch import Tensor

from pocold.people.rendering.figure import SOLID, Piece
from pocold.people.rendering.surface import CLASS_ID, Shade, Surface

_HALF_WIDTH, _FRONT, _BACK = 0.21, -0.13, 0.27  # metres beside, before and behind the pelvis
_UNDER_HIP = 0.1  # metres from the hip joint down to the seat

# corners: bottom four, then top four, counter-clockwise seen from above
_CORNERS = torch.tensor([[x, y, z] for z in (0, 1) for x, y in ((-1, 0), (1, 0), (1, 1), (-1, 1))], dtype=torch.float32)
_QUADS = torch.tensor([[4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])
# every face has corners of its own, so that edges stay sharp
SEAT_VERTICES = _QUADS.numel()
SEAT_TRIANGLES = torch.cat([torch.tensor([[0, 1, 2], [0, 2, 3]]) + 4 * i for i in range(len(_QUADS))])


def _painted(surface: Surface) -> Shade:
    count = len(surface.edge)
    colour = torch.full((count, 3), 0.82, device=surface.edge.device)
    return Shade(colour, torch.zeros_like(surface.edge), torch.full_like(surface.edge, 0.02))


def seat_piece(num_bones: int) -> Piece:
    """The cube as the last piece of a figure; where it stands is decided for each pose by :func:`seat_corners`."""
    zeros = torch.zeros(SEAT_VERTICES)
    return Piece(
        CLASS_ID["background"], _painted, torch.zeros(SEAT_VERTICES, 3), torch.zeros(SEAT_VERTICES, num_bones),
        torch.zeros(SEAT_VERTICES, 10), zeros, zeros, SEAT_TRIANGLES, False, SOLID, torch.zeros(len(SEAT_TRIANGLES)),
    )  # fmt: skip


def seat_corners(pelvis: np.ndarray, hip: float, floor: float) -> Tensor:
    """The cube under a seated person, ``(SEAT_VERTICES, 3)``, world coordinates.

    Args:
        pelvis: ``(3,)``, head of the root bone.
        hip: height of the hip joints; floor: height of the floor.
    """
    low = torch.tensor([float(pelvis[0]) - _HALF_WIDTH, float(pelvis[1]) + _FRONT, floor])
    high = torch.tensor([float(pelvis[0]) + _HALF_WIDTH, float(pelvis[1]) + _BACK, hip - _UNDER_HIP])
    unit = _CORNERS * torch.tensor([0.5, 1.0, 1.0]) + torch.tensor([0.5, 0.0, 0.0])
    return (low + (high - low) * unit)[_QUADS.flatten()]
