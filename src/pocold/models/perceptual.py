"""ST-LPIPS: a perceptual distance that forgives small shifts and punishes blur (Ghildyal and Liu, ECCV 2022).

What it is: the published shift-tolerant variant of LPIPS with its published weights, trained on human judgements. The
networks are written here from the published description; only the two weight files are taken from the package
``stlpips-pytorch``, whose code is never imported (it needs torchvision). The extra ``metrics`` brings it, and so does

    pip install --no-deps stlpips-pytorch==0.0.2

What it is not: LPIPS. Papers on pose transfer print LPIPS; values of the two must never stand in one column. Its trunks
are not ImageNet classifiers either. It scores strong blur or noise worse than another, sharp person, so alone it says
nothing about identity.

The idea of the networks: wherever LPIPS' trunks skip pixels (stride, pooling), these see every pixel, blur, and skip
only then, so that the features hardly change when the picture moves by a pixel.

Measured on photographs of scikit-image at 256x176 (Alex): Gaussian blur of sigma 1, 2, 4: 0.16-0.23, 0.44-0.54,
0.64-0.77; moved by 1 and 3 pixels, wrapping around: 0.003-0.008, 0.02-0.05; another picture: 0.57-0.82. The
description leaves open how the Alex trunk pads its first convolution and its pooling; AlexNet's own choice is taken
here. The others move these values by 8% at most.

Legend: B pictures, C channels, H W picture size, h w size of a layer.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pocold.checkpoints import load_strictly, read_state
from pocold.models.pose_constraint import at_least_float32

Variant = Literal["alex", "vgg"]
INSTALL_WEIGHTS = "pip install --no-deps stlpips-pytorch==0.0.2"
_PACKAGE = "stlpips_pytorch"
_EPS = 1e-10  # of the published formula
MIN_SIDE = 32  # below, nothing is left for the last filters to reflect


class Blur(nn.Module):
    """The 3x3 binomial filter, then every second pixel: h -> (h + 1) // 2 + 1, borders reflected."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("filt", torch.outer(row, row).repeat(channels, 1, 1, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        return F.conv2d(F.pad(hidden, (2, 2, 2, 2), mode="reflect"), self.filt, stride=2, groups=hidden.shape[1])


def _convolution(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=min(2, size // 2))


def _alex() -> list[list[nn.Module]]:
    """Five slices; a feature map is taken after each. Max-pooling looks at every pixel (stride 1)."""
    return [
        [_convolution(3, 64, 11), Blur(64), nn.ReLU()],
        [nn.MaxPool2d(3, 1), Blur(64), _convolution(64, 192, 5), nn.ReLU()],
        [nn.MaxPool2d(3, 1), Blur(192), _convolution(192, 384, 3), nn.ReLU()],
        [_convolution(384, 256, 3), nn.ReLU()],
        [_convolution(256, 256, 3), nn.ReLU()],
    ]


def _vgg() -> list[list[nn.Module]]:
    """The thirteen convolutions of VGG16 in five slices."""
    slices: list[list[nn.Module]] = []
    channels = 3
    for width, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        modules: list[nn.Module] = [nn.MaxPool2d(2, 1), Blur(channels)] if slices else []
        for _ in range(layers):
            modules += [_convolution(channels, width, 3), nn.ReLU()]
            channels = width
        slices.append(modules)
    return slices


class Trunk(nn.Module):
    """Slices ``slice1`` .. ``slice5``, whose modules count on from slice to slice: the names of the weight files."""

    def __init__(self, slices: list[list[nn.Module]]) -> None:
        super().__init__()
        number = 0
        for i, modules in enumerate(slices, 1):
            named = nn.Sequential()
            for module in modules:
                named.add_module(str(number), module)
                number += 1
            self.add_module(f"slice{i}", named)

    def forward(self, hidden: Tensor) -> list[Tensor]:
        maps = []
        for part in self.children():
            hidden = part(hidden)
            maps.append(hidden)
        return maps


class Scaling(nn.Module):
    """[-1, 1] -> the range that the trunk was trained with."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.shift) / self.scale


class Head(nn.Module):
    """Non-negative weights of a layer's channels. (``model.1``: the file's name; 0 was dropout in training.)"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"1": nn.Conv2d(channels, 1, 1, bias=False)})

    def forward(self, difference: Tensor) -> Tensor:
        return self.model["1"](difference)


class LayerDistance(nn.Module):
    """The construction of LPIPS over five slices of some trunk. Frozen, in eval mode.

    Gradients flow to the pictures, not to the weights.

    Args:
        slices: the trunk's modules; a feature map is taken after each slice.
        channels: of these maps.
        min_side: below this many pixels a side, nothing is left for the last layers.
    """

    def __init__(self, slices: list[list[nn.Module]], channels: Sequence[int], min_side: int) -> None:
        super().__init__()
        self.channels, self.min_side = tuple(channels), min_side
        self.scaling_layer = Scaling()
        self.net = Trunk(slices)
        for i, width in enumerate(self.channels):
            self.add_module(f"lin{i}", Head(width))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stays as it is, also as a part of a model that is trained: there is nothing in it to train."""
        return super().train(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """The trunk's five feature maps.

        Args:
            images: float ``(B, 3, H, W)`` in [-1, 1].

        Returns:
            ``(B, C, h, w)`` each, not negative.

        Raises:
            ValueError: for another shape or dtype, or pictures that are too small.
        """
        shape, name = tuple(images.shape), type(self).__name__
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(f"{name}: expected float pictures (B, 3, H, W) in [-1, 1], got {images.dtype} {shape}")
        if min(shape[-2:]) < self.min_side:
            raise ValueError(f"{name}: expected pictures of at least {self.min_side} pixels a side, got {shape}")
        return self.net(self.scaling_layer(images))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """How different pictures look.

        At every pixel of a layer both feature vectors are brought to length 1, their squared differences are weighted
        by channel, and averaged over the pixels; the five layers are added.

        Args:
            a, b: float ``(B, 3, H, W)`` in [-1, 1], of one shape.

        Returns:
            ``(B,)``, at least float32, 0 for equal pictures. Differentiable in both.

        Raises:
            ValueError: as :meth:`features`, or if the shapes differ.
        """
        if a.shape != b.shape:
            raise ValueError(f"pictures that are compared need one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
        layers = zip(self.features(a), self.features(b), strict=True)
        differences = [(_directions(x) - _directions(y)).square() for x, y in layers]
        weighted = [self.get_submodule(f"lin{i}")(difference) for i, difference in enumerate(differences)]
        return torch.stack([layer.mean((1, 2, 3)) for layer in weighted]).sum(0)


class STLPIPS(LayerDistance):
    """The distance.

    Feature maps for ``alex``: 64 channels at H/2, 192 at H/4, 384, 256, 256 at H/8 (about); for ``vgg``: 64 at H, then
    128, 256, 512, 512, each of half the size before.

    Args:
        variant: ``alex`` (2.5 M parameters) or ``vgg`` (14.7 M, about four times slower).

    Raises:
        ValueError: for another variant.
    """

    def __init__(self, variant: Variant = "alex") -> None:
        if variant not in get_args(Variant):
            raise ValueError(f"unknown variant of ST-LPIPS {variant!r}: expected one of {', '.join(get_args(Variant))}")
        if variant == "alex":
            super().__init__(_alex(), (64, 192, 384, 256, 256), MIN_SIDE)
        else:
            super().__init__(_vgg(), (64, 128, 256, 512, 512), MIN_SIDE)
        self.variant: Variant = variant


def _directions(features: Tensor) -> Tensor:
    # The square root's slope at zero is infinite: where nothing fires, it must not be asked for.
    features = at_least_float32(features)
    squares = features.square().sum(1, keepdim=True)
    norm = torch.where(squares > 0, squares, 1).sqrt()
    return features / (norm + _EPS)


def load_st_lpips(variant: Variant = "alex", weights: str | os.PathLike[str] | None = None) -> STLPIPS:
    """The distance with its published weights, frozen.

    Args:
        variant: ``alex`` or ``vgg``.
        weights: a weight file, ``alex_shift_tolerant.pth`` or ``vgg_shift_tolerant.pth``; by default that of the
            installed package ``stlpips-pytorch``, which is found without being imported.

    Raises:
        ValueError: if there is no such file, telling how to get it, or if it is of another variant or broken.
    """
    model = STLPIPS(variant)
    path = find_weights(variant) if weights is None else Path(weights)
    state = read_state(path)
    load_strictly(model, state, str(path))
    return model


def find_weights(variant: Variant) -> Path:
    """The weight file in the installed package; ValueError with the command that installs it, if it is not."""
    # find_spec of a top-level package locates it and runs none of its code
    spec = find_spec(_PACKAGE)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    for folder in folders:
        path = Path(folder) / "weights" / "vST0.0" / f"{variant}_shift_tolerant.pth"
        if path.is_file():
            return path
    raise ValueError(
        f"ST-LPIPS ({variant}) needs the weight file {variant}_shift_tolerant.pth: {INSTALL_WEIGHTS} "
        "brings it (its code is not used), or say where it is with --st-lpips-weights (weights=...)"
    )
