"""Coloured pictures of maps, as detectron2's ``dp_segm`` visualiser draws them, and their inversion.

Label k is drawn in colour k of a colour map of 25, either plainly (VITON-HD's ``image-densepose``, controls of
animation models) or with an opacity of 0.7 over the photo. Inversion is a guess by nearest colour.

Legend: H W picture size, n pixels.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from scipy import ndimage

from pocold.densepose.labels import NUM_LABELS
from pocold.densepose.maps import DensePose

ColourMap = Literal["parula", "viridis"]

# OpenCV's COLORMAP_PARULA and COLORMAP_VIRIDIS at the values k * 255/24, cut to whole numbers, for k = 0..24:
# cv2.applyColorMap((numpy.arange(25) * 255 / 24).astype("uint8"), cv2.COLORMAP_PARULA) of OpenCV 5.0.0, as RGB.
COLOURS: dict[ColourMap, np.ndarray] = {
    "parula": np.array(
        [[53, 42, 135], [37, 60, 163], [20, 80, 194], [4, 97, 223], [8, 110, 221], [14, 122, 216], [20, 132, 212],
         [15, 144, 208], [11, 156, 203], [6, 166, 198], [22, 173, 185], [38, 179, 172], [55, 185, 159], [86, 187, 144],
         [114, 189, 130], [145, 191, 116], [170, 189, 105], [192, 188, 96], [216, 186, 86], [228, 192, 74],
         [240, 199, 60], [252, 206, 46], [251, 220, 36], [250, 235, 25], [249, 251, 14]], np.uint8,
    ),
    "viridis": np.array(
        [[68, 1, 84], [71, 16, 99], [72, 31, 112], [71, 44, 122], [68, 57, 131], [64, 70, 136], [59, 81, 139],
         [54, 93, 141], [49, 104, 142], [44, 113, 142], [40, 124, 142], [37, 133, 142], [33, 144, 141], [31, 154, 138],
         [32, 163, 134], [39, 173, 129], [53, 183, 121], [70, 192, 111], [92, 200, 99], [115, 208, 86], [142, 214, 69],
         [170, 220, 50], [197, 224, 33], [226, 228, 24], [253, 231, 37]], np.uint8,
    ),
}  # fmt: skip

OPACITY = 0.7  # of the visualiser
_EXACT = 3  # largest difference of a channel to a colour in a lossless picture
_NEAR = 24  # the same in a JPEG, or beside the photo
_PLAIN_SHARE = 0.75  # of all pixels, and of the body's, must be near a colour: 0.85 are in JPEGs, under 0.4 in photos
_SAMPLE = 60_000  # pixels looked at to tell


class ColourMapWarning(UserWarning):
    """Labels were guessed from the colours of a picture."""


@dataclass(frozen=True)
class PlainColours:
    """How a map without a photo below is coloured.

    Attributes:
        colour_map: which.
        palette: int16 (25, 3), the colours of the labels in the picture.
        exact: whether (nearly) all pixels have one of them, as in a lossless picture.
    """

    colour_map: ColourMap
    palette: np.ndarray
    exact: bool


def paint(pose: DensePose, colour_map: ColourMap) -> Image.Image:
    """The labels in the colours of a visualiser: Parula on black as in VITON-HD, Viridis on its own violet."""
    colours = COLOURS[colour_map].copy()
    if colour_map == "parula":
        colours[0] = 0
    return Image.fromarray(colours[pose.labels])


def recognise(picture: np.ndarray, only: ColourMap | None = None) -> PlainColours | None:
    """Whether an RGB picture is a coloured map on a flat background, and how it is coloured.

    Args:
        picture: uint8 ``(H, W, 3)``.
        only: consider this colour map only.

    Returns:
        None for anything else, such as a map drawn over a photo.
    """
    pixels = picture.reshape(-1, 3).astype(np.int16)
    pixels = pixels[:: max(1, len(pixels) // _SAMPLE)]
    best, least = None, np.inf
    for name, colours in COLOURS.items():
        if only not in (None, name):
            continue
        for opacity, background in ((1.0, colours[0]), (1.0, np.zeros(3)), (OPACITY, np.zeros(3))):
            palette = colours * opacity
            palette[0] = background
            palette = palette.astype(np.int16)
            labels, distance = _nearest(pixels, palette)
            near = distance <= _NEAR
            share = min(near.mean(), near[labels > 0].mean()) if labels.any() else 0.0
            misfit = np.minimum(distance, _NEAR).mean()  # backgrounds may be near a label's colour, too
            if share > _PLAIN_SHARE and misfit < least:
                best = PlainColours(name, palette, bool((distance <= _EXACT).mean() > 0.999))
                least = misfit
    return best


def invert_plain(picture: np.ndarray, colours: PlainColours) -> DensePose:
    """The labels of a coloured map without a photo, uint8 ``(H, W, 3)``, by nearest colour."""
    labels, _ = _nearest(picture.reshape(-1, 3).astype(np.int16), colours.palette)
    labels = labels.reshape(picture.shape[:2])
    return DensePose(labels if colours.exact else _without_rims(labels))


def _without_rims(labels: np.ndarray) -> np.ndarray:
    """Labels ``(H, W)`` without what is thinner than three pixels: where two colours meet, a blur runs through others.

    Such pixels take the label of the nearest that is left.
    """
    left = np.zeros(labels.shape, bool)
    for label in np.unique(labels):
        left |= ndimage.binary_opening(labels == label, np.ones((3, 3), bool))
    if not left.any():
        return labels
    rows, columns = ndimage.distance_transform_edt(~left, return_distances=False, return_indices=True)
    return labels[rows, columns]


def invert_blended(picture: np.ndarray, colour_map: ColourMap, photo: np.ndarray | None) -> DensePose:
    """The labels of a map drawn over its photo.

    With the photo, the blend is undone. Without, a pixel belongs to the body if some colour and some photo together can
    make it, and of the labels that can, it gets the one that asks for the greyest photo.

    Args:
        picture: uint8 ``(H, W, 3)``.
        colour_map: its colours.
        photo: uint8 ``(H, W, 3)``, what was drawn over; None if it is lost.

    Raises:
        ValueError: if the photo has another size.
    """
    colours = COLOURS[colour_map].astype(np.float32)
    seen = picture.reshape(-1, 3).astype(np.float32)
    if photo is None:
        return DensePose(_invert_unknown(seen, colours).reshape(picture.shape[:2]))
    if photo.shape != picture.shape:
        raise ValueError(
            f"the photo is {photo.shape[1]}x{photo.shape[0]} (width x height), "
            f"the picture of its map {picture.shape[1]}x{picture.shape[0]}: give the one that the map was drawn over"
        )
    below = photo.reshape(-1, 3).astype(np.float32)
    labels, distance = _nearest((seen - (1 - OPACITY) * below) / OPACITY, colours)
    # where nothing was drawn, the photo itself shows, and explains the pixel better than any colour over it
    untouched = np.abs(seen - below).max(-1) <= distance * OPACITY
    labels[untouched] = 0
    return DensePose(labels.reshape(picture.shape[:2]))


def _invert_unknown(seen: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Labels uint8 (n,) of blended pixels float32 (n, 3) over an unknown photo, most likely a grey one."""
    rest = 1 - OPACITY
    labels = np.zeros(len(seen), np.uint8)
    best = np.full(len(seen), np.inf, np.float32)
    for label in range(1, NUM_LABELS):
        photo = (seen - OPACITY * colours[label]) / rest
        slack = _EXACT / rest
        possible = ((photo >= -slack) & (photo <= 255 + slack)).all(-1)
        brightness = photo.mean(-1)
        colourfulness = ((photo - brightness[:, None]) ** 2).sum(-1)
        cost = colourfulness + 0.1 * (brightness - 127.5) ** 2  # photos vary in brightness more than in colour
        closer = possible & (cost < best)
        labels[closer], best[closer] = label, cost[closer]
    return labels


def _nearest(pixels: np.ndarray, palette: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For pixels (n, 3): the nearest of the palette's (25, 3) colours, uint8 (n,), and the largest difference to it."""
    labels = np.zeros(len(pixels), np.uint8)
    nearest = np.full(len(pixels), np.inf, np.float32)
    for label, colour in enumerate(palette):
        distance = np.abs(pixels - colour).max(-1)
        closer = distance < nearest
        labels[closer], nearest[closer] = label, distance[closer]
    return labels, nearest
