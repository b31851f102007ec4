"""Evaluation protocols by name: sizes, resizing, real set, variants of the metrics (docs/evaluation.md has the table).

Numbers of two protocols must not stand in one column; where variants of a metric differ, so do their names here.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pocold.evaluation.features import Convention
from pocold.imaging.images import Frame, FrameMode, to_tensor

Size = tuple[int, int]  # height, width
Resize = Literal["pad", "pillow-bicubic", "cv2-linear", "cv2-cubic"]
MARKET_SIZE = (128, 64)
PUBLISHED_SIZES = ((256, 176), (512, 352), MARKET_SIZE)

DROPS_LAST_BATCH = (
    "the published script drops the last, partial batch of 64 from FID and LPIPS; here every picture counts"
)


@dataclass(frozen=True)
class Protocol:
    """What is compared, and how.

    Attributes:
        name: by which it is chosen.
        about: where it comes from.
        sizes: at which pictures are compared, the first by default; empty: at the size they are drawn in.
        resize: how drawn, true and real pictures are brought there; see :func:`fit`.
        frame: how the model's input is brought to the size that it draws in.
        pixels_as_drawn: SSIM, PSNR and L1 are taken at the size that was drawn, without resizing.
        ssim_51: whether the SSIM with windows of 51 is printed.
        ssim_sigma: of the Gaussian SSIM.
        lpips: range of the pictures that LPIPS gets: ``[-1, 1]`` as it is meant, or ``[0, 1]``; None: no LPIPS.
        fid: convention of FID.
        fid_by_default: whether missing Inception weights are an error; otherwise FID is added where they are named.
        st_lpips: whether ``st_lpips`` and ``fd_stlpips`` are computed.
        garment_colour: whether the colour error inside top and trousers is, where there are garment maps.
        notes: what its numbers must be read with.
    """

    name: str
    about: str
    sizes: tuple[Size, ...]
    resize: Resize
    frame: FrameMode
    pixels_as_drawn: bool
    ssim_51: bool
    ssim_sigma: float
    lpips: Literal["[-1, 1]", "[0, 1]"] | None
    fid: Convention
    fid_by_default: bool
    st_lpips: bool
    garment_colour: bool
    notes: tuple[str, ...] = ()

    def size(self, drawn: Size, asked: Size | None) -> Size:
        """(height, width) of the comparison.

        Args:
            drawn: size of the drawn pictures.
            asked: the user's choice, if any.

        Raises:
            ValueError: for a size that the protocol does not know.
        """
        if not self.sizes:
            return drawn
        size = asked or (drawn if drawn in self.sizes else self.sizes[0])
        if size not in self.sizes:
            known = ", ".join(f"{height}x{width}" for height, width in self.sizes)
            raise ValueError(f"the protocol {self.name} compares at {known}, not at {size[0]}x{size[1]}")
        return size

    def metrics(self, size: Size) -> list[str]:
        """Names of the metrics at this size, in the order they are printed in.

        ``mask_lpips`` is for Market-1501; ``pose_consistency`` comes on top where an estimator is given.
        """
        names = ["l1", "psnr", *(["ssim_51"] if self.ssim_51 else []), f"ssim_gaussian_{self.ssim_sigma}"]
        if self.lpips:
            lpips = "lpips" if self.lpips == "[-1, 1]" else "lpips_unit_range"
            names += [lpips, *([f"mask_{lpips}"] if size == MARKET_SIZE else [])]
        names += ["st_lpips", "fd_stlpips"] if self.st_lpips else []
        names += ["colour_top", "colour_trousers"] if self.garment_colour else []
        return [*names, "fid" if self.fid == "pytorch-fid" else "fid_torchvision"]

    def describe(self, size: Size | None, drawn: Size | None) -> dict[str, Any]:
        """For the report; two reports with equal descriptions may be compared. A size of None is each picture's own."""
        pixels = drawn if self.pixels_as_drawn else size
        return {
            "name": self.name,
            "size": size and list(size),
            "resize": self.resize,
            "ssim, psnr and l1 at": pixels and list(pixels),
            "ssim": [name for name in self.metrics(size or (0, 0)) if name.startswith("ssim")],
            "lpips range": self.lpips,
            "fid": self.fid,
            "frame": self.frame,
        }


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="ours",
            about="everything at the size that the model draws in; needs no file that is not on a package index",
            sizes=(),
            resize="pad",
            frame="pad",
            pixels_as_drawn=True,
            ssim_51=False,
            ssim_sigma=1.5,
            lpips=None,
            fid="pytorch-fid",
            fid_by_default=False,
            st_lpips=True,
            garment_colour=True,
            notes=("st_lpips is not LPIPS and fd_stlpips is not FID; neither is comparable with a published table",),
        ),
        Protocol(
            name="pocold",
            about="the metric script of PoCoLD's release",
            sizes=PUBLISHED_SIZES,
            resize="pillow-bicubic",
            frame="stretch",
            pixels_as_drawn=False,
            ssim_51=True,
            ssim_sigma=1.5,
            lpips="[-1, 1]",
            fid="torchvision",
            fid_by_default=True,
            st_lpips=False,
            garment_colour=False,
            notes=(
                "the published script expects folders of the final size; how these were made is not published, and "
                "Pillow's bicubic resampling stands for it",
                DROPS_LAST_BATCH,
            ),
        ),
        Protocol(
            name="pidm",
            about="the metric script of PIDM's release",
            sizes=PUBLISHED_SIZES,
            resize="cv2-linear",
            frame="stretch",
            pixels_as_drawn=True,
            ssim_51=True,
            ssim_sigma=1.2,
            lpips="[-1, 1]",
            fid="torchvision",
            fid_by_default=True,
            st_lpips=False,
            garment_colour=False,
            notes=(
                "SSIM, PSNR and L1 are taken before the resizing, at the size that was drawn",
                "the published real set for FID is a folder of 48,674 training pictures at 256x256",
                DROPS_LAST_BATCH,
            ),
        ),
        Protocol(
            name="cfld",
            about="the metrics in CFLD's release",
            sizes=PUBLISHED_SIZES,
            resize="pillow-bicubic",
            frame="stretch",
            pixels_as_drawn=False,
            ssim_51=True,
            ssim_sigma=1.5,
            lpips="[-1, 1]",
            fid="torchvision",
            fid_by_default=True,
            st_lpips=False,
            garment_colour=False,
            notes=("the published real set for FID is every picture of train_highres",),
        ),
        Protocol(
            name="pcdms",
            about="the metric script of PCDMs' release",
            sizes=PUBLISHED_SIZES,
            resize="cv2-cubic",
            frame="stretch",
            pixels_as_drawn=False,
            ssim_51=True,
            ssim_sigma=1.2,
            lpips="[0, 1]",
            fid="torchvision",
            fid_by_default=True,
            st_lpips=False,
            garment_colour=False,
            notes=(
                "LPIPS gets pictures in [0, 1] where it expects [-1, 1], which lowers it; it is printed as "
                "lpips_unit_range and must not be compared with LPIPS of other papers",
                DROPS_LAST_BATCH,
            ),
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of this name; ValueError that lists all names otherwise."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}: expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def fit(picture: Image.Image, size: Size, how: Resize) -> Tensor:
    """A picture brought to a size, rounded to 8 bits as files are.

    - ``pad``: scaled to fit inside by Lanczos, the border repeated; see :class:`pocold.imaging.images.Frame`;
    - ``pillow-bicubic``: stretched, antialiased;
    - ``cv2-linear``, ``cv2-cubic``: stretched as OpenCV does, without antialiasing (its fixed-point arithmetic may
      round a value the other way).

    A picture that has the size stays as it is.

    Args:
        picture: RGB.
        size: (height, width).
        how: see above.

    Returns:
        float32 ``(1, 3, H, W)`` in [-1, 1].
    """
    if picture.size[::-1] == size:
        return to_tensor(picture)
    if how == "pad":
        return to_tensor(Frame(picture.size[::-1], size).image(picture))
    if how == "pillow-bicubic":
        return to_tensor(picture.resize(size[::-1], Image.Resampling.BICUBIC))
    values = torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.float32)).permute(2, 0, 1)[None]
    mode = "bilinear" if how == "cv2-linear" else "bicubic"
    scaled = F.interpolate(values, size, mode=mode, align_corners=False).round().clamp(0, 255)
    return scaled / 127.5 - 1
