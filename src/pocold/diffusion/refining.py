"""The last step of the pipeline: drawn pictures are repaired with what the photographs show.

Legend: B pictures, H W picture size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pocold.densepose.completion import complete
from pocold.densepose.correspondence import Surface
from pocold.densepose.relighting import complete_relit
from pocold.diffusion.editing import EditedImage
from pocold.models.refiner import Refiner, enlarged


def refine(
    refiner: Refiner,
    drawn: Tensor,
    surfaces: Sequence[Surface],
    labels: Tensor,
    uv: Tensor,
    edited: EditedImage | None = None,
) -> Tensor:
    """Repair drawn pictures.

    Args:
        refiner: the network.
        drawn: float32 ``(B, 3, H, W)`` in [-1, 1], or smaller.
        surfaces: of 1 or B people.
        labels: of the poses, ``(B, H, W)``.
        uv: ``(B, 2, H, W)`` in [0, 1].
        edited: a picture of which only a part is generated. What is kept of it is shown to the refiner as certain, so
            that both parts fit, and comes out as it was drawn.

    Returns:
        float32 ``(B, 3, H, W)`` in [-1, 1].
    """
    drawn = enlarged(drawn, (labels.shape[-2], labels.shape[-1]))
    surfaces = [*surfaces] * len(labels) if len(surfaces) == 1 else surfaces
    completion = complete_relit if refiner.config.relit else complete
    pairs = [completion(surface, *pose) for surface, *pose in zip(surfaces, labels, uv, strict=True)]
    device, dtype = drawn.device, refiner.dtype
    completed = torch.stack([picture for picture, _ in pairs]).to(device)
    confidence = torch.stack([certain for _, certain in pairs])[:, None].to(device)
    if edited is not None:
        completed = torch.where(edited.generate, completed, edited.pixels)
        confidence = confidence.masked_fill(~edited.generate, 1.0)
    seen = [tensor.to(device, dtype) for tensor in (drawn, completed, confidence)]
    repaired = refiner(*seen, labels.to(device), uv.to(device, dtype)).float().clamp(-1, 1)
    return repaired if edited is None else torch.where(edited.generate, repaired, drawn)
