"""Masked editing: the picture to be edited, at picture size and at latent size (PoCoLD, method.md 5).

Legend: H W picture size, C latent channels, h w latent size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pocold.diffusion.sampling import KeptRegion
from pocold.imaging import images
from pocold.imaging.images import Frame, FrameMode, ImageInput, MaskInput
from pocold.models import autoencoder


@dataclass(frozen=True)
class EditedImage:
    """A picture and what of it is generated anew.

    Attributes:
        pixels: ``(1, 3, H, W)`` in [-1, 1].
        generate: bool ``(1, 1, H, W)``, True where it is generated.
        latents: float32 ``(1, C, h, w)``, of the picture.
        generate_latents: bool ``(1, 1, h, w)``. A latent pixel is generated if any of its pixels is; those of them that
            are kept are pasted back after decoding.
    """

    pixels: Tensor
    generate: Tensor
    latents: Tensor
    generate_latents: Tensor

    @classmethod
    def load(
        cls,
        image: ImageInput,
        mask: MaskInput,
        vae: autoencoder.Autoencoder,
        size: tuple[int, int],
        frame: FrameMode,
        device: torch.device,
        shrink: int = 1,
    ) -> "EditedImage":
        """Read, frame to ``size`` (height, width) and encode, ``shrink`` times smaller.

        Raises:
            ValueError: if one of them cannot be read, their sizes differ, or the mask keeps everything.
        """
        picture, generate = images.load_image(image), images.load_mask(mask)
        if generate.shape != picture.size[::-1]:
            raise ValueError(
                f"the mask must have the image's size {picture.size[1]}x{picture.size[0]} (height x width), "
                f"got {generate.shape[0]}x{generate.shape[1]}"
            )
        if not generate.any():
            raise ValueError("the mask keeps everything: there is nothing to generate")
        placed = Frame(picture.size[::-1], size, frame)
        pixels = images.to_tensor(placed.image(picture)).to(device)
        shown = torch.from_numpy(placed.labels(generate))[None, None].to(device)
        coarse = F.max_pool2d(shown.float(), shrink * autoencoder.downsampling_factor(vae)) > 0
        return cls(pixels, shown, autoencoder.encode(vae, F.avg_pool2d(pixels, shrink)).float(), coarse)

    def kept(self, noise: Tensor) -> KeptRegion:
        """What sampling keeps, on the path that starts from ``noise (B, C, h, w)``."""
        return KeptRegion(self.latents, noise, self.generate_latents)

    def paste_back(self, generated: Tensor, feather: int) -> Tensor:
        """Put the kept pixels over ``generated (B, 3, H, W)``; see :func:`pocold.imaging.images.paste_back`."""
        return images.paste_back(generated, self.pixels, self.generate, feather)
