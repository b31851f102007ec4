"""The body kept from frame to frame: drawn anew in each, every point of it would be a little other in each."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from pocold.densepose.correspondence import Surface, surface_correspondence
from pocold.densepose.maps import DensePose, require_uv


def steadied(
    pictures: Sequence[Image.Image], poses: Sequence[DensePose], surface: Surface, share: float
) -> Iterator[Image.Image]:
    """Frames in which the points of the body are mixed with the same ones of the frame before.

    Only pictures are mixed. (To give a drawn frame to the model as another photograph was tried: within ten frames of a
    turn colours drift, since the model takes its own mistakes for what is seen.)

    Args:
        pictures: RGB, in order.
        poses: their maps, of their size, with U and V.
        surface: of the person.
        share: of the frame before, in [0, 1): all of it where the surface does not show the point, half of it where it
            does, since that is copied and flickers less. 0 changes nothing.

    Raises:
        ValueError: for maps without U and V.
    """
    before: tuple[torch.Tensor, torch.Tensor, np.ndarray] | None = None
    for number, (picture, pose) in enumerate(zip(pictures, poses, strict=True), 1):
        labels = torch.from_numpy(pose.labels)
        uv = torch.from_numpy(require_uv(pose.uv, f"pose {number}", "--steady"))
        drawn = np.asarray(picture, np.float32)
        if before is not None:
            index, known = surface_correspondence(labels, uv, *before[:2])
            shares = torch.where(surface.warp(labels, uv)[1] > 0.5, share / 2, share)
            kept = (labels > 0) & known
            last = before[2].reshape(-1, 3)[index[kept].numpy()]
            drawn = drawn.copy()
            drawn[kept.numpy()] += shares[kept][:, None].numpy() * (last - drawn[kept.numpy()])
        before = labels, uv, drawn
        yield Image.fromarray(np.round(drawn).astype(np.uint8))
