"""Estimators of the real class whose weights are set by hand, so that one knows what they find."""

import numpy as np
import torch
from PIL import Image

from pocold.models.densepose_estimator import DensePoseEstimator

SIZE = (64, 48)


@torch.no_grad()
def _plain(size):
    """No blocks, nothing from the coarser level: what comes out of a pixel is a function of that pixel alone."""
    estimator = DensePoseEstimator(
        channels=(16, 8), encoder_layers=(0, 0), decoder_layers=(0,), sample_size=size, norm_num_groups=8
    ).eval()
    for parameter in estimator.parameters():
        parameter.zero_()
    return estimator


@torch.no_grad()
def constant_estimator(label, size=SIZE):
    """Finds one label everywhere; 0 finds nobody anywhere."""
    estimator = _plain(size)
    estimator.labels_out.bias.view(25, 4)[label] = 10.0
    return estimator


@torch.no_grad()
def colour_estimator(size=SIZE):
    """Finds the front (2) where it is red and the back (1) where it is blue, as surely in a mirror image."""
    estimator = _plain(size)
    for corner in range(4):  # of each 2x2 pixels, which space-to-depth makes channels: colour * 4 + corner
        for hidden, seen in ((corner, 0), (4 + corner, 8)):
            estimator.conv_in.weight[hidden, seen + corner, 1, 1] = 10.0
            estimator.conv_in.weight[hidden, 4 + corner, 1, 1] = -10.0
        estimator.labels_out.weight[2 * 4 + corner, corner] = 1.0
        estimator.labels_out.weight[1 * 4 + corner, 4 + corner] = 1.0
    estimator.labels_out.bias.view(25, 4)[0] = 8.0
    return estimator


def photo_of(size=SIZE, box=(6, 10, 58, 38)):
    """A red person, blue above, before something green."""
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    pixels[..., 1] = 120
    top, left, bottom, right = box
    pixels[top:bottom, left:right] = (255, 0, 0)
    pixels[top : top + (bottom - top) // 4, left:right] = (0, 0, 255)
    return Image.fromarray(pixels)
