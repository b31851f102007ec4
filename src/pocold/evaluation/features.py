"""Networks that metrics look through: Inception for FID, AlexNet for LPIPS. Their weights are files of the user's.

Nothing is downloaded. A file whose name carries its own checksum, as the published ones do
(``inception_v3_google-0cc3c7bd.pth``), is held against it.

Legend: B pictures, H W picture size.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pocold.checkpoints import load_strictly, read_state
from pocold.models.perceptual import STLPIPS, LayerDistance

Convention = Literal["torchvision", "pytorch-fid"]
CLASSES: Mapping[Convention, int] = {"torchvision": 1000, "pytorch-fid": 1008}
# Published file names, for messages; any file of the right content will do.
INCEPTION_FILES: Mapping[Convention, str] = {
    "torchvision": "inception_v3_google-0cc3c7bd.pth",
    "pytorch-fid": "pt_inception-2015-12-05-6726825d.pth",
}
LPIPS_FILES = ("alexnet-owt-7be5be79.pth", "alex.pth")
FID_WEIGHTS_VARIABLE = "POCOLD_FID_WEIGHTS"
INCEPTION_SIDE = 299
_FEATURES = 2048
# The means and deviations that torchvision's ``transform_input`` undoes, to get from its normalisation to [-1, 1].
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def checked_file(path: str | os.PathLike[str], what: str, flag: str) -> Path:
    """A weight file that exists and, if its name ends in a checksum, has it.

    Raises:
        ValueError: naming the file and the flag.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{flag}: there is no file {path}; expected {what}")
    named = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    if named is not None and not sha256(path).startswith(named[1]):
        raise ValueError(
            f"{flag}: {path} is damaged: by its name its checksum begins with {named[1]}, not {sha256(path)[:8]}"
        )
    return path


def sha256(path: Path) -> str:
    """Hexadecimal checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- Inception ----------------------------------------------------------------------------------------------------


class ConvBN(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, size: int | tuple[int, int], stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        sides = (size, size) if isinstance(size, int) else size
        padding = (sides[0] // 2, sides[1] // 2) if pad else 0
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(hidden)))


Pool = Literal["torchvision", "pytorch-fid", "max"]
Chain = Sequence[tuple[int, int | tuple[int, int]]]  # outputs and size of each convolution


def _pool(hidden: Tensor, kind: Pool) -> Tensor:
    """3x3, every pixel. pytorch-fid's network divides by the pixels that there are, torchvision's always by nine."""
    if kind == "max":
        return F.max_pool2d(hidden, 3, 1, 1)
    return F.avg_pool2d(hidden, 3, 1, 1, count_include_pad=kind == "torchvision")


class Mixed(nn.Module):
    """An Inception block: chains of convolutions beside each other, concatenated.

    Args:
        inputs: channels.
        chains: name of the chain's convolutions -> (outputs, size) of each; a name with ``{}`` counts from 1.
        pool: kind of the pooling before ``branch_pool``, for blocks that have one.
        stride: of the last convolution of every chain; with 2 the pooled input itself is concatenated.
    """

    def __init__(
        self,
        inputs: int,
        chains: Mapping[str, Chain],
        pool: Pool,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.pool, self.stride, self.chains = pool, stride, [list[str]() for _ in chains]
        self.outputs = inputs if stride == 2 else 0
        for chain, (pattern, layers) in zip(self.chains, chains.items(), strict=True):
            width = inputs
            for number, (outputs, size) in enumerate(layers, 1):
                last = number == len(layers)
                name = pattern.format(number)
                self.add_module(name, ConvBN(width, outputs, size, stride if last else 1, stride == 1 or not last))
                chain.append(name)
                width = outputs
            self.outputs += width

    def forward(self, hidden: Tensor) -> Tensor:
        branches = []
        for chain in self.chains:
            branch = _pool(hidden, self.pool) if chain == ["branch_pool"] else hidden
            for name in chain:
                branch = self.get_submodule(name)(branch)
            branches.append(branch)
        if self.stride == 2:
            branches.append(F.max_pool2d(hidden, 3, 2))
        return torch.cat(branches, 1)


class MixedE(nn.Module):
    """The last kind of block: two of its chains end in a row and a column of convolutions beside each other."""

    outputs = _FEATURES

    def __init__(self, inputs: int, pool: Pool) -> None:
        super().__init__()
        self.pool: Pool = pool
        self.branch1x1 = ConvBN(inputs, 320, 1)
        self.branch3x3_1 = ConvBN(inputs, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = ConvBN(384, 384, (1, 3)), ConvBN(384, 384, (3, 1))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvBN(inputs, 448, 1), ConvBN(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = ConvBN(384, 384, (1, 3)), ConvBN(384, 384, (3, 1))
        self.branch_pool = ConvBN(inputs, 192, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        short = self.branch3x3_1(hidden)
        long = self.branch3x3dbl_2(self.branch3x3dbl_1(hidden))
        return torch.cat(
            [
                self.branch1x1(hidden),
                self.branch3x3_2a(short),
                self.branch3x3_2b(short),
                self.branch3x3dbl_3a(long),
                self.branch3x3dbl_3b(long),
                self.branch_pool(_pool(hidden, self.pool)),
            ],
            1,
        )


def _mixed_a(inputs: int, pooled: int, pool: Pool) -> Mixed:
    chains: dict[str, Chain] = {
        "branch1x1": [(64, 1)],
        "branch5x5_{}": [(48, 1), (64, 5)],
        "branch3x3dbl_{}": [(64, 1), (96, 3), (96, 3)],
        "branch_pool": [(pooled, 1)],
    }
    return Mixed(inputs, chains, pool)


def _mixed_c(width: int, pool: Pool) -> Mixed:
    row, column = (1, 7), (7, 1)
    chains: dict[str, Chain] = {
        "branch1x1": [(192, 1)],
        "branch7x7_{}": [(width, 1), (width, row), (192, column)],
        "branch7x7dbl_{}": [(width, 1), (width, column), (width, row), (width, column), (192, row)],
        "branch_pool": [(192, 1)],
    }
    return Mixed(768, chains, pool)


class FIDInceptionV3(nn.Module):
    """Inception v3 up to its last pooling, in one of the two conventions by which FID is printed.

    ``torchvision``: ImageNet weights of torchvision (1000 classes), and pictures in [0, 1] put through the formula that
    was meant for normalised ones: what the published pose-transfer scripts do. ``pytorch-fid``: weights of the original
    FID network (1008 classes), pictures in [-1, 1], averages that ignore padding, and a maximum in the last block: what
    "FID" means elsewhere. The two must never stand in one column.

    Args:
        convention: see above.
    """

    def __init__(self, convention: Convention) -> None:
        super().__init__()
        if convention not in get_args(Convention):
            raise ValueError(f"unknown convention of FID {convention!r}: expected {' or '.join(get_args(Convention))}")
        self.convention: Convention = convention
        self.num_features = _FEATURES
        self.Conv2d_1a_3x3 = ConvBN(3, 32, 3, 2, pad=False)
        self.Conv2d_2a_3x3 = ConvBN(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = ConvBN(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvBN(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvBN(80, 192, 3, pad=False)
        self.Mixed_5b = _mixed_a(192, 32, convention)
        self.Mixed_5c = _mixed_a(256, 64, convention)
        self.Mixed_5d = _mixed_a(288, 64, convention)
        self.Mixed_6a = Mixed(288, {"branch3x3": [(384, 3)], "branch3x3dbl_{}": [(64, 1), (96, 3), (96, 3)]}, "max", 2)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            self.add_module(f"Mixed_6{letter}", _mixed_c(width, convention))
        long: Chain = [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)]
        self.Mixed_7a = Mixed(768, {"branch3x3_{}": [(192, 1), (320, 3)], "branch7x7x3_{}": long}, "max", 2)
        self.Mixed_7b = MixedE(1280, convention)
        self.Mixed_7c = MixedE(2048, "max" if convention == "pytorch-fid" else convention)
        self.fc = nn.Linear(_FEATURES, CLASSES[convention])  # not used, but tells the two kinds of weights apart
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features of pictures.

        Args:
            images: float ``(B, 3, H, W)`` in [-1, 1], of any size; scaled to 299x299, bilinearly, not antialiased.

        Returns:
            float32 ``(B, 2048)``.
        """
        hidden = F.interpolate(images.float(), (INCEPTION_SIDE, INCEPTION_SIDE), mode="bilinear", align_corners=False)
        if self.convention == "torchvision":
            mean, std = (hidden.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
            hidden = (hidden / 2 + 0.5) * (std / 0.5) + (mean - 0.5) / 0.5
        hidden = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(hidden)))
        hidden = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(hidden, 3, 2)))
        hidden = F.max_pool2d(hidden, 3, 2)
        for name, module in self.named_children():
            if name.startswith("Mixed"):
                hidden = module(hidden)
        return hidden.mean((2, 3))


def load_inception(
    convention: Convention, weights: str | os.PathLike[str] | None = None
) -> tuple[FIDInceptionV3, Path]:
    """The network with weights from a file, and the file.

    Args:
        convention: see :class:`FIDInceptionV3`.
        weights: for ``torchvision`` torchvision's ``inception_v3`` state dict, for ``pytorch-fid`` that of pytorch-fid
            or torch-fidelity; by default the file named by the environment variable ``POCOLD_FID_WEIGHTS``.

    Raises:
        ValueError: if no file is named, or it is missing, damaged, or holds something else.
    """
    what = f"weights of Inception v3 in the {convention} convention, such as {INCEPTION_FILES[convention]}"
    named = weights or os.environ.get(FID_WEIGHTS_VARIABLE)
    if not named:
        raise ValueError(
            f"FID needs {what}: name the file with --inception-weights or {FID_WEIGHTS_VARIABLE} "
            "(nothing is downloaded), or leave FID out with --without fid"
        )
    path = checked_file(named, what, "--inception-weights")
    state = read_state(path)
    model = FIDInceptionV3(convention)
    classes = state["fc.weight"].shape[0] if "fc.weight" in state else None
    other = next((name for name, count in CLASSES.items() if count == classes and name != convention), None)
    if other is not None:
        raise ValueError(f"--inception-weights: {path} has {classes} classes, so it is of {other}; expected {what}")
    # The auxiliary head is for training, and counters of batches, which old files lack, say nothing.
    state = {name: tensor for name, tensor in state.items() if not name.startswith("AuxLogits.")}
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, tensor)
    load_strictly(model, state, str(path))
    return model, path


# -- LPIPS --------------------------------------------------------------------------------------------------------


class LPIPS(LayerDistance):
    """LPIPS 0.1 on AlexNet, the distance that papers on pose transfer print. Frozen."""

    def __init__(self) -> None:
        super().__init__(
            [
                [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU()],
                [nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()],
                [nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()],
                [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()],
                [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()],
            ],
            (64, 192, 384, 256, 256),
            min_side=31,
        )
        self.scaling_layer.shift.copy_(torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.scaling_layer.scale.copy_(torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))


def load_lpips(weights: Sequence[str | os.PathLike[str]] | None) -> tuple[LPIPS, list[Path]]:
    """LPIPS with weights from two files, and the files.

    Args:
        weights: torchvision's AlexNet, and the linear layers of LPIPS 0.1 (``lpips/weights/v0.1/alex.pth`` of the
            package ``lpips``), in this order.

    Raises:
        ValueError: if they are not two, missing, damaged, or hold something else.
    """
    what = f"torchvision's {LPIPS_FILES[0]} and the linear layers {LPIPS_FILES[1]} of lpips 0.1"
    if not weights:
        raise ValueError(
            f"LPIPS needs two weight files, {what}: name them with --lpips-weights (nothing is downloaded), or leave "
            "LPIPS out with --without lpips"
        )
    if len(weights) != 2:
        raise ValueError(f"--lpips-weights: expected two files, {what}; got {len(weights)}")
    trunk, heads = (checked_file(path, what, "--lpips-weights") for path in weights)
    model = LPIPS()
    own = {name.split(".", 2)[2]: name for name in model.state_dict() if name.startswith("net.")}
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("scaling_layer.")}
    for name, tensor in read_state(trunk).items():
        if not name.startswith("classifier."):  # of no use without classes
            state[own.get(name.removeprefix("features."), name)] = tensor
    state |= read_state(heads)
    load_strictly(model, state, f"{trunk} with {heads}")
    return model, [trunk, heads]


# -- features of ST-LPIPS -----------------------------------------------------------------------------------------

_ST_LAYERS = (1, 2, 4)


def st_lpips_features(model: STLPIPS, images: Tensor) -> Tensor:
    """What ``fd_stlpips`` compares: layers 2, 3 and 5 of ST-LPIPS (Alex), averaged over the picture.

    Args:
        model: variant ``alex``.
        images: float ``(B, 3, H, W)`` in [-1, 1].

    Returns:
        ``(B, 832)``.
    """
    maps = model.features(images)
    return torch.cat([maps[layer].mean((2, 3)) for layer in _ST_LAYERS], 1)
