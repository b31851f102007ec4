"""Keypoints as pictures, the pose that PIDM and NTED are steered by: heat maps of points, and the limbs between them.

Both papers take OpenPose's keypoints as 20 channels at the size of the picture. Here these are 17 heat maps, of COCO's
points (OpenPose's 18 without the neck, which is the middle of the shoulders), and three colour channels in which the
limbs are drawn, each in a colour of its own as OpenPose draws them; how the published channels are divided the papers
do not say. Legend: B pictures, H W their size.
"""

import colorsys

import torch
from torch import Tensor

from pocold.densepose.keypoints import COCO_18

_NECK = COCO_18.index("neck")
_HEAT = tuple(i for i in range(len(COCO_18)) if i != _NECK)
LIMBS = tuple(
    (COCO_18.index(a), COCO_18.index(b))
    for a, b in (
        ("neck", "right shoulder"), ("right shoulder", "right elbow"), ("right elbow", "right wrist"),
        ("neck", "left shoulder"), ("left shoulder", "left elbow"), ("left elbow", "left wrist"),
        ("neck", "right hip"), ("right hip", "right knee"), ("right knee", "right ankle"), ("neck", "left hip"),
        ("left hip", "left knee"), ("left knee", "left ankle"), ("neck", "nose"), ("nose", "right eye"),
        ("right eye", "right ear"), ("nose", "left eye"), ("left eye", "left ear"),
    )
)  # fmt: skip
_COLOURS = tuple(colorsys.hsv_to_rgb(i / len(LIMBS), 1.0, 1.0) for i in range(len(LIMBS)))
COLOUR_CHANNELS = 3
SKELETON_CHANNELS = len(_HEAT) + COLOUR_CHANNELS
_SIGMA = 6 / 256  # of a heat map, in heights of the picture
_WIDTH = 4 / 256  # of a limb, likewise


def skeleton_map(keypoints: Tensor, size: tuple[int, int]) -> Tensor:
    """The pose of PIDM and NTED.

    Args:
        keypoints: float ``(B, 18, 3)``, x and y in pixels (pixel centres at .5) and confidence; a point of confidence 0
            is missing. In the order of ``pocold.densepose.keypoints.COCO_18``.
        size: (height, width) of the picture that the pixels are of.

    Returns:
        float32 ``(B, 20, H, W)`` in [0, 1]: heat maps, then the limbs in red, green, blue. What is missing leaves no
        trace; of limbs that cross the brighter colour is seen.

    Raises:
        ValueError: for another shape.
    """
    if keypoints.ndim != 3 or keypoints.shape[1:] != (len(COCO_18), 3):
        raise ValueError(f"expected keypoints (B, {len(COCO_18)}, 3), got {tuple(keypoints.shape)}")
    keypoints = keypoints.float()
    height, width = size
    y = torch.arange(height, device=keypoints.device)[:, None] + 0.5
    x = torch.arange(width, device=keypoints.device)[None] + 0.5
    given = (keypoints[..., 2] > 0).float()
    points, there = keypoints[:, _HEAT, :2, None, None], given[:, _HEAT, None, None]
    squared = (x - points[:, :, 0]).square() + (y - points[:, :, 1]).square()
    heat = torch.exp(-squared / (2 * (_SIGMA * height) ** 2)) * there

    drawn = keypoints.new_zeros(len(keypoints), COLOUR_CHANNELS, height, width)
    for (a, b), colour in zip(LIMBS, _COLOURS, strict=True):
        start, along = keypoints[:, a, :2, None, None], (keypoints[:, b] - keypoints[:, a])[:, :2, None, None]
        length = along.square().sum(1).clamp(min=1e-6)
        # the nearest point of the limb, as a share of its length
        share = (((x - start[:, 0]) * along[:, 0] + (y - start[:, 1]) * along[:, 1]) / length).clamp(0, 1)
        away = (x - start[:, 0] - share * along[:, 0]).square() + (y - start[:, 1] - share * along[:, 1]).square()
        line = (0.5 + _WIDTH * height / 2 - away.sqrt()).clamp(0, 1) * (given[:, a] * given[:, b])[:, None, None]
        drawn = torch.maximum(drawn, line[:, None] * line.new_tensor(colour).view(1, -1, 1, 1))
    return torch.cat([heat, drawn], dim=1)
