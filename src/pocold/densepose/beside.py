"""The map that belongs to a photograph, by where it lies."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pocold.densepose.maps import CHANNEL_ORDER_KEY, AmbiguousOrderError, ChannelOrder, DensePose


@dataclass(frozen=True)
class Maps:
    """Where the DensePose map of a picture lies.

    Attributes:
        pattern: path below the data set's folder with ``{folder}`` (the photo's folder), ``{stem}`` (its name without
            ending), ``{path}`` (below the folder of pictures, without ending), ``{name}`` (as the data set calls it)
            and ``{split}``.
        channels: where the label is in a map of three channels that neither says so nor shows it; see
            :func:`decode_map`.

    Raises:
        ValueError: for an unknown placeholder.
    """

    pattern: str
    channels: ChannelOrder = "auto"

    def __post_init__(self) -> None:
        self.fill(folder="", stem="", path="", name="", split="")

    def fill(self, **values: str) -> str:
        """The pattern with its placeholders filled in."""
        try:
            return self.pattern.format(**values)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"the pattern {self.pattern!r} cannot be filled in ({error}); known are {{folder}}, {{stem}}, "
                "{path}, {name}, {split}"
            ) from None


MAPS_BESIDE = (
    Maps("{folder}/{stem}.iuv.png"),
    Maps("{folder}/{stem}_densepose.png"),
    Maps("{folder}/{stem}_IUV.png"),  # of DensePose's first tool through OpenCV, labels last, or of anyone else
)


def find_map(root: Path, maps: Iterable[Maps], **values: str) -> tuple[Path | None, ChannelOrder]:
    """The first map that exists, with its channel order; None if there is none."""
    for candidate in maps:
        path = root / candidate.fill(**values)
        if path.is_file():
            return path, candidate.channels
    return None, "auto"


def decode_map(picture: Image.Image, channels: ChannelOrder) -> DensePose:
    """The map in an opened picture whose channels are expected in an order: what the file itself says counts, then what
    its channels can hold, and only then what is expected.

    Raises:
        ValueError: as :meth:`pocold.densepose.maps.DensePose.from_image`.
    """
    if channels in ("iuv", "vui") or CHANNEL_ORDER_KEY in picture.info:
        try:
            return DensePose.from_image(picture)
        except AmbiguousOrderError:
            pass
    return DensePose.from_image(picture, channels)
