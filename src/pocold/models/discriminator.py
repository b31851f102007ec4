"""A small discriminator of patches, for training autoencoders; it is in no pipeline and in no model folder.

Legend: B batch, H W picture size, f = 2 ** levels.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Stride-2 convolutions, and one score per patch (PatchGAN); a score sees 5 f - 2 pixels each way, 38 by default.

    Args:
        channels: one width per level; each level halves the size.
        groups: of the GroupNorm of every level but the first, which has none so that it sees the colours as they are.

    Raises:
        ValueError: for no levels, or groups that do not divide the widths.
    """

    def __init__(self, channels: Sequence[int] = (32, 64, 128), groups: int = 8) -> None:
        super().__init__()
        if not channels or groups < 1 or any(width < 1 or width % groups for width in channels[1:]):
            raise ValueError(
                f"expected one width or more, those after the first multiples of groups={groups}, got {tuple(channels)}"
            )
        self.factor = 2 ** len(channels)
        layers: list[nn.Module] = []
        for level, (width, out_width) in enumerate(zip((3, *channels), channels, strict=False)):
            layers.append(nn.Conv2d(width, out_width, 4, stride=2, padding=1))
            if level > 0:
                layers.append(nn.GroupNorm(groups, out_width))
            layers.append(nn.LeakyReLU(0.2))
        self.levels = nn.Sequential(*layers)
        self.score = nn.Conv2d(channels[-1], 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Score pictures.

        Args:
            images: ``(B, 3, H, W)`` in about [-1, 1], H and W at least f.

        Returns:
            ``(B, 1, H/f, W/f)``, rounded down: above zero where it takes a patch for a photograph's.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < self.factor:
            raise ValueError(
                f"expected pictures (B, 3, H, W) of at least {self.factor}x{self.factor}, got {tuple(images.shape)}"
            )
        return self.score(self.levels(images))
