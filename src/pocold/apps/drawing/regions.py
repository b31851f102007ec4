"""Which pixels of a photograph an edit may change, and the edit itself.

Legend: H W size of the photograph, h w size that the model works at.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pocold.densepose.framing import PersonFrame
from pocold.densepose.labels import BODY_PARTS, NUM_LABELS, body_part_labels
from pocold.densepose.maps import DensePose
from pocold.imaging.images import paste_back, to_pil, to_tensor
from pocold.people.rendering.surface import CLASS_ID, CLASSES
from pocold.photographs import Size

_FEW = 0.02  # labels with less than this share of the region's body are its border, not what it covers


def region_mask(regions: Sequence[str], pose: DensePose | None, garments: np.ndarray | None) -> np.ndarray:
    """The pixels of some garments or body parts.

    Args:
        regions: ``garment:NAME`` (a class of :data:`pocold.people.rendering.surface.CLASSES`), ``parts:NAME`` (of
            :data:`pocold.densepose.labels.BODY_PARTS`, or a label 1..24), or a bare NAME: the garment if there is a
            garment map and it knows the name, else the body parts.
        pose: map of the photograph.
        garments: garment map ``(H, W)``, or None.

    Returns:
        Bool ``(H, W)``.

    Raises:
        ValueError: for unknown names, a map that is missing, or a region that the photograph does not show.
    """
    masks = [_one_region(region.strip().lower(), pose, garments) for region in regions]
    if not masks:
        raise ValueError("expected a region such as --region top, or --mask FILE")
    return np.any(masks, axis=0)


def _one_region(region: str, pose: DensePose | None, garments: np.ndarray | None) -> np.ndarray:
    kind, _, name = region.rpartition(":")
    known = f"garments {', '.join(CLASSES[1:])}; body parts {', '.join(BODY_PARTS)}, 1..{NUM_LABELS - 1}"
    if kind not in ("", "garment", "parts") or not (name in CLASS_ID or name in BODY_PARTS or name.isdigit()):
        raise ValueError(f"unknown region {region!r}: there are {known}; write garment:NAME or parts:NAME to choose")
    if kind == "garment" or (kind == "" and garments is not None and name in CLASS_ID):
        if garments is None:
            raise ValueError(
                f"the region {region!r} needs a garment map: STEM.garments.png beside the photograph or --garments FILE"
            )
        if name not in CLASS_ID:
            raise ValueError(f"unknown garment {name!r}: expected one of {', '.join(CLASSES)}")
        mask = garments == CLASS_ID[name]
    elif name not in BODY_PARTS and not name.isdigit():
        raise ValueError(
            f"the region {name!r} is a garment: it needs a garment map, STEM.garments.png beside the photograph or "
            f"--garments FILE; without one there are the body parts {', '.join(BODY_PARTS)}"
        )
    else:
        if pose is None:
            raise ValueError(f"the region {region!r} needs the DensePose map of the photograph")
        mask = np.isin(pose.labels, sorted(body_part_labels(int(name) if name.isdigit() else name)))
    if not mask.any():
        raise ValueError(f"the photograph shows nothing of the region {region!r}")
    return mask


def grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask and all pixels within so many steps (also diagonal ones) of it.

    Raises:
        ValueError: if ``pixels`` is negative.
    """
    if pixels < 0:
        raise ValueError(f"--grow: expected at least 0 pixels, got {pixels}")
    grown = torch.from_numpy(mask)[None, None].float()
    for _ in range(pixels):
        grown = F.max_pool2d(grown, 3, stride=1, padding=1)
    return grown[0, 0].numpy() > 0


def parts_under(mask: np.ndarray, pose: DensePose) -> frozenset[int]:
    """The body labels that a region covers; slivers along its border do not count.

    Raises:
        ValueError: if there is no body under it.
    """
    counts = np.bincount(pose.labels[mask], minlength=NUM_LABELS)
    counts[0] = 0
    if not counts.any():
        raise ValueError("there is no body under the region, so nothing of the other person can be taken for it")
    return frozenset(np.flatnonzero(counts >= _FEW * counts.sum()).tolist())


def edit_frame(photo: Size, pose: DensePose, mask: np.ndarray, size: Size) -> PersonFrame | None:
    """The part of the photograph that the model works on: person and region. None for all of it as it is."""
    return None if photo == size else PersonFrame.around(pose.labels, mask, size=size)


def put_region(
    drawn: Image.Image, photo: Image.Image, mask: np.ndarray, frame: PersonFrame | None, feather: int
) -> Image.Image:
    """A drawn region in its photograph, whose other pixels stay as they are, to the bit.

    Args:
        drawn: what the model drew, of the frame's size.
        photo: RGB, of the mask's size.
        mask: bool ``(H, W)``.
        frame: where ``drawn`` belongs; None is the whole photograph.
        feather: width of the seam inside the mask, in pixels of the photograph.

    Raises:
        ValueError: if ``feather`` is negative.
    """
    if feather < 0:
        raise ValueError(f"--feather: expected at least 0 pixels, got {feather}")
    whole = drawn if frame is None else frame.paste(drawn, photo, feather=0)
    region = torch.from_numpy(mask)[None, None]
    return to_pil(paste_back(to_tensor(whole), to_tensor(photo), region, feather))[0]
