"""Pictures of stick figures, as OpenPose and its many copies draw them: recognised, so that they can be refused.

A drawn figure has lost which line is which point, and how sure each was; the file it was drawn from has not.
"""

import numpy as np
from PIL import Image

_SIDE = 512  # pixels looked at
_DARK, _BLACK_SHARE = 24, 0.75  # background
_PURE, _PURE_SHARE, _HUES = 0.35, 0.55, 6  # of lines, also in JPEGs: one channel is low, the hues go round the circle
INSTEAD = (
    "this is a picture of a stick figure; give the keypoints that it was drawn from (such as OpenPose's .json), a "
    "DensePose map, or the photograph"
)


def is_stick_figure(picture: Image.Image) -> bool:
    """Whether a picture shows thin lines of pure, different colours on black."""
    small = picture.convert("RGB")
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.NEAREST)
    pixels = np.asarray(small).reshape(-1, 3).astype(int)
    lines = pixels[pixels.max(1) > _DARK]
    if not len(lines) or 1 - len(lines) / len(pixels) < _BLACK_SHARE:
        return False
    pure = (lines.min(1) < _PURE * lines.max(1)) & (lines.max(1) > 80)
    if pure.mean() < _PURE_SHARE:
        return False
    red, green, blue = lines[pure].T
    angle = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
    counts = np.bincount(((angle + np.pi) / (2 * np.pi) * 12).astype(int).clip(0, 11), minlength=12)
    return int((counts > 0.01 * pure.sum()).sum()) >= _HUES
