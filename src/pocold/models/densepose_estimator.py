"""A small network from photograph to DensePose map, and the way from any picture to a map of its size.

Left and right, front and back are told by the whole figure, so most of the weights work at 1/8 to 1/32 of the picture;
outlines are drawn at 1/2 and come out at the picture's own size. U and V have one pair of channels for all parts, made
by a layer of their own that knows the part from the features: DensePose has a pair per part, which costs a fifth of the
time here and stays blurred where two parts meet.

Legend: B batch, C channels, H W picture size, h w the size the network was trained for, P = 25 labels, N pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from PIL import Image
from torch import Tensor, nn

from pocold.checkpoints import BUNDLED, load_component
from pocold.densepose.framing import PersonFrame
from pocold.densepose.labels import MIRRORED_LABEL, MIRRORED_U, MIRRORED_V, NUM_LABELS
from pocold.densepose.maps import DensePose
from pocold.densepose.smoothing import smooth_coordinates
from pocold.imaging import images
from pocold.imaging.images import ImageInput

_FINEST = 2  # the first level sees the picture as space-to-depth of 2x2 pixels
_BACKGROUND = 4.0  # logit that the background starts with: most of a picture is, and the first steps go into parts
# Below this share of the frame, or this mean probability of the labels found, a body is not believed in.
MIN_BODY, MIN_CONFIDENCE = 0.005, 0.6
# A person whose frame takes less than this share of the whole picture's is looked at a second time, from nearby.
_LOOK_CLOSER, _MARGIN = 0.7, 0.12
_UNLIKELY = 1e-8  # the least probability of a label, so that its logit is finite


class Estimate(NamedTuple):
    """What the network says of B pictures.

    Attributes:
        labels: logits ``(B, 25, H, W)``.
        uv: ``(B, 2, H, W)`` in [0, 1], of the part that is seen there; of no meaning in the background.
    """

    labels: Tensor
    uv: Tensor


class EstimatorBlock(nn.Module):
    """GroupNorm, 3x3 convolution, SiLU, 3x3 convolution, added to the input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _initialise(self.conv1, 2**0.5)
        _initialise(self.conv2, 0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same."""
        return hidden + self.conv2(F.silu(self.conv1(self.norm(hidden))))


class DensePoseEstimator(ModelMixin, ConfigMixin):
    """Encoder and decoder with skips: pictures -> labels and U, V.

    Widths and layers are given finest level first: 1/2 of the picture, 1/4, and so on.

    Args:
        channels: widths of the levels, two to six.
        encoder_layers: blocks of each level on the way down.
        decoder_layers: blocks of each level on the way up, the last of which has none (it is where the way turns).
        norm_num_groups: groups of every GroupNorm.
        sample_size: (height, width) that it was trained for, to which :func:`estimate_densepose` brings photographs.

    Raises:
        ValueError: for impossible widths, layers or sizes.
    """

    @register_to_config
    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 96, 128, 192),
        encoder_layers: Sequence[int] = (0, 1, 2, 2, 2),
        decoder_layers: Sequence[int] = (1, 2, 2, 2),
        norm_num_groups: int = 8,
        sample_size: Sequence[int] = (128, 88),
    ) -> None:
        super().__init__()
        _check_settings(channels, encoder_layers, decoder_layers, norm_num_groups, sample_size)
        self.conv_in = nn.Conv2d(3 * _FINEST**2, channels[0], 3, padding=1)
        self.downsamplers = nn.ModuleList(nn.Conv2d(4 * above, below, 1) for above, below in pairwise(channels))
        self.upsamplers = nn.ModuleList(nn.Conv2d(below, 4 * above, 1) for above, below in pairwise(channels))
        self.encoder, self.decoder = (
            nn.ModuleList(
                nn.Sequential(*[EstimatorBlock(width, norm_num_groups) for _ in range(count)])
                for width, count in zip(channels, layers, strict=False)
            )
            for layers in (encoder_layers, decoder_layers)
        )
        self.labels_out = nn.Conv2d(channels[0], NUM_LABELS * _FINEST**2, 1)
        self.uv_hidden = nn.Conv2d(channels[0], 2 * channels[0], 3, padding=1)
        self.uv_out = nn.Conv2d(2 * channels[0], 2 * _FINEST**2, 1)
        for layer in (*self.downsamplers, *self.upsamplers, self.conv_in, self.uv_hidden, self.uv_out, self.labels_out):
            _initialise(layer)
        start = torch.zeros(NUM_LABELS, _FINEST**2)
        start[0] = _BACKGROUND
        self.labels_out.bias = nn.Parameter(start.flatten())

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that it was trained for."""
        height, width = self.config.sample_size
        return height, width

    @property
    def factor(self) -> int:
        """Pictures are padded inside to multiples of this."""
        return _FINEST * 2 ** len(self.downsamplers)

    def forward(self, pictures: Tensor) -> Estimate:
        """Pictures ``(B, 3, H, W)`` in [-1, 1], of any size, -> logits of labels, and U, V."""
        height, width = pictures.shape[-2:]
        padding = (0, -width % self.factor, 0, -height % self.factor)
        hidden = self.conv_in(F.pixel_unshuffle(F.pad(pictures, padding, mode="replicate"), _FINEST))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            if level > 0:
                hidden = self.downsamplers[level - 1](F.pixel_unshuffle(hidden, 2))
            hidden = blocks(hidden)
            skips.append(hidden)
        for level in range(len(self.decoder) - 1, -1, -1):
            hidden = self.decoder[level](skips[level] + F.pixel_shuffle(self.upsamplers[level](hidden), 2))
        hidden = F.silu(hidden)
        labels = F.pixel_shuffle(self.labels_out(hidden), _FINEST)
        uv = F.pixel_shuffle(self.uv_out(F.silu(self.uv_hidden(hidden))), _FINEST)
        return Estimate(labels[..., :height, :width], torch.sigmoid(uv[..., :height, :width]))


@dataclass(frozen=True)
class EstimatorLoss:
    """Weights of the parts of the objective beside the cross-entropy of the labels.

    Attributes:
        dice: of 1 - the mean overlap (Dice) of the parts that a batch shows, in which a hand counts as much as a back.
        uv: of the mean absolute error of U and V on the body.
    """

    dice: float = 0.5
    uv: float = 2.0

    def __post_init__(self) -> None:
        if min(self.dice, self.uv) < 0:
            raise ValueError(f"weights of a loss must be at least 0, got dice {self.dice} and uv {self.uv}")

    def __call__(self, estimate: Estimate, labels: Tensor, uv: Tensor) -> Tensor:
        """Total, cross-entropy, Dice part and error of U, V ``(4,)``, float32.

        Args:
            estimate: of B pictures.
            labels: the truth, ``(B, H, W)``, integers 0..24.
            uv: the truth, ``(B, 2, H, W)`` in [0, 1].
        """
        labels = labels.long()
        log_shares = F.log_softmax(estimate.labels.float(), dim=1)
        entropy = F.nll_loss(log_shares, labels)
        overlap = _dice(log_shares.exp(), labels)
        body = (labels > 0)[:, None]
        distance = ((estimate.uv.float() - uv).abs() * body).sum() / (2 * body.sum()).clamp(min=1)
        return torch.stack([entropy + self.dice * overlap + self.uv * distance, entropy, overlap, distance])


def _dice(shares: Tensor, labels: Tensor) -> Tensor:
    """1 - the mean over the parts shown of 2 |A B| / (|A| + |B|), over a whole batch."""
    flat = labels.flatten()
    right = shares.gather(1, labels[:, None]).flatten()
    common = torch.zeros(NUM_LABELS, device=shares.device).index_add(0, flat, right)
    true = torch.bincount(flat, minlength=NUM_LABELS)
    overlap = (2 * common + 1) / (shares.sum((0, 2, 3)) + true + 1)
    shown = (true > 0) & (torch.arange(NUM_LABELS, device=shares.device) > 0)
    return 1 - (overlap * shown).sum() / shown.sum().clamp(min=1)


def load_estimator(folder: Path, dtype: torch.dtype | None = None) -> DensePoseEstimator:
    """An estimator from its folder, strictly.

    Args:
        folder: with ``config.json`` and weights, such as ``pocold train-estimator`` writes.
        dtype: None takes float32, whatever the file has: it is small, and many CPUs are slow in half precision.

    Raises:
        ValueError: as :func:`pocold.checkpoints.load_component`.
    """
    return load_component(DensePoseEstimator, folder, dtype or torch.float32)


def open_estimator(folder: Path | None = None) -> DensePoseEstimator:
    """An estimator from its folder, by default the one that comes with pocold (MODEL_CARD.md).

    Raises:
        ValueError: as :func:`load_estimator`.
    """
    return load_estimator(folder or BUNDLED / "densepose_estimator")


@torch.no_grad()
def estimate_densepose(photo: ImageInput, estimator: DensePoseEstimator, name: str = "photo") -> DensePose:
    """The map of the person in a photograph, of the photograph's size, with U and V.

    The photograph is seen as a whole first; where the person is small in it, once more from nearby. Each time the
    network also looks at the mirror image, and U and V are made smooth
    (:func:`pocold.densepose.smoothing.smooth_coordinates`). Several people become one map.

    Args:
        photo: any picture, see :func:`pocold.imaging.images.load_image`.
        estimator: the network.
        name: what to call the photograph in errors.

    Raises:
        ValueError: if it is no picture, or no person is found: less than :data:`MIN_BODY` of the frame is body, or the
            labels of that body have a mean probability below :data:`MIN_CONFIDENCE`.
    """
    picture = images.load_image(photo, name)
    everything = np.ones((picture.height, picture.width), dtype=np.uint8)
    frame = PersonFrame.around(everything, size=estimator.size, margin=0.0)
    seen = _look(picture, frame, estimator)
    share, confidence = body_found(seen.labels)
    if share < MIN_BODY or confidence < MIN_CONFIDENCE:
        raise ValueError(
            f"{name}: no person was found ({share:.1%} of the picture looks like a body, expected at least "
            f"{MIN_BODY:.1%}; with a confidence of {confidence:.0%}, expected at least {MIN_CONFIDENCE:.0%}); give a "
            "photograph of one person, not too small in it, or a DensePose map"
        )
    found = _in_photo(seen, frame)
    nearby = PersonFrame.around(found.labels, size=estimator.size, margin=_MARGIN)
    if _area(nearby) < _LOOK_CLOSER * _area(frame):
        closer = _look(picture, nearby, estimator)
        share, confidence = body_found(closer.labels)
        if share >= MIN_BODY and confidence >= MIN_CONFIDENCE:
            return _in_photo(closer, nearby)
    return found


def body_found(labels: Tensor) -> tuple[float, float]:
    """Share of a picture that is body, and the mean probability of the labels there (0 where there is none).

    Args:
        labels: logits ``(1, 25, H, W)``.
    """
    confidence, found = labels.float().softmax(1).max(1)
    body = found > 0
    return float(body.float().mean()), float(confidence[body].mean()) if body.any() else 0.0


def _look(picture: Image.Image, frame: PersonFrame, estimator: DensePoseEstimator) -> Estimate:
    """:func:`look_twice` at a part of a picture, float32 on the CPU."""
    seen = images.to_tensor(frame.image(picture)).to(estimator.device, estimator.dtype)
    return look_twice(seen, estimator)


@torch.no_grad()
def look_twice(pictures: Tensor, estimator: DensePoseEstimator) -> Estimate:
    """What the network says of pictures and of their mirror images, taken together and made smooth.

    Of the labels the mean probabilities, as logits; of U and V the mean over what says the same part as they do, made
    smooth (:func:`pocold.densepose.smoothing.smooth_coordinates`).

    Args:
        pictures: ``(B, 3, H, W)`` in [-1, 1], on the estimator's device.
        estimator: the network.

    Returns:
        float32, on the CPU.
    """
    both = Estimate(*(values.float().cpu() for values in estimator(torch.cat([pictures, pictures.flip(-1)]))))
    exchanged = torch.from_numpy(MIRRORED_LABEL).long()
    turned = torch.from_numpy(np.stack([MIRRORED_U, MIRRORED_V], axis=1))
    shares, parts = both.labels.softmax(1), both.labels.argmax(1)
    (seen, mirrored), (part, other_part), (uv, other_uv) = shares.chunk(2), parts.chunk(2), both.uv.chunk(2)
    mirrored, other_part, other_uv = mirrored.flip(-1)[:, exchanged], other_part.flip(-1), other_uv.flip(-1)
    other_uv = torch.where(turned[other_part].movedim(-1, 1), 1 - other_uv, other_uv)
    shares = (seen + mirrored) / 2
    certain, best = shares.max(1)
    weight, other_weight = ((found == best)[:, None] + _UNLIKELY for found in (part, exchanged[other_part]))
    uv = (weight * uv + other_weight * other_uv) / (weight + other_weight)
    rows = zip(best.numpy(), uv.numpy(), certain.numpy(), strict=True)
    parts, smooth = (torch.from_numpy(np.stack(some)) for some in zip(*starmap(smooth_coordinates, rows), strict=True))
    other_half = (parts != best)[:, None]
    shares = torch.where(other_half, shares[:, exchanged], shares)
    return Estimate(shares.clamp(min=_UNLIKELY).log(), smooth)


def _area(frame: PersonFrame) -> int:
    top, left, bottom, right = frame.box
    return (bottom - top) * (right - left)


def _in_photo(estimate: Estimate, frame: PersonFrame) -> DensePose:
    """An estimate ``(1, ..., h, w)`` of a frame, at the photograph's resolution and in its place."""
    top, left, bottom, right = frame.box
    size = bottom - top, right - left
    best, labels = torch.full(size, -torch.inf), torch.zeros(size, dtype=torch.uint8)
    for label in range(NUM_LABELS):  # one by one: all logits of a large photograph would take a gigabyte
        logits = F.interpolate(estimate.labels[:, label : label + 1], size, mode="bilinear")[0, 0]
        better = logits > best
        best, labels = torch.where(better, logits, best), labels.masked_fill(better, label)
    rows = slice(max(0, -top), min(frame.photo[0], bottom) - top)
    columns = slice(max(0, -left), min(frame.photo[1], right) - left)
    placed = np.zeros(frame.photo, dtype=np.uint8)
    uv = np.zeros((2, *frame.photo), dtype=np.float32)
    inside = slice(rows.start + top, rows.stop + top), slice(columns.start + left, columns.stop + left)
    placed[inside] = labels[rows, columns].numpy()
    uv[:, *inside] = _enlarged_uv(estimate, labels)[:, rows, columns].numpy()
    return DensePose(placed, uv, doubts=())  # how sure the network is was asked before


def _enlarged_uv(estimate: Estimate, labels: Tensor) -> Tensor:
    """U and V ``(2, H, W)`` for enlarged ``labels (H, W)``: bilinear between pixels of the same part alone."""
    small, uv = estimate.labels[0].argmax(0), estimate.uv[0]
    y, x = torch.nonzero(labels, as_tuple=True)  # (N,)
    total, weights = torch.zeros(2, len(y)), torch.zeros(len(y))
    places = []
    for pixels, length, full in ((y, small.shape[0], labels.shape[0]), (x, small.shape[1], labels.shape[1])):
        at = (pixels + 0.5) * length / full - 0.5
        low = at.floor()
        places.append([(low, 1 - (at - low)), (low + 1, at - low)])
    part = labels[y, x]
    for row, row_share in places[0]:
        for column, column_share in places[1]:
            i = row.long().clamp(0, small.shape[0] - 1)
            j = column.long().clamp(0, small.shape[1] - 1)
            # where none of the four has the label, which happens between three parts, all count a little
            weight = row_share * column_share * ((small[i, j] == part) + 1e-6)
            total, weights = total + weight * uv[:, i, j], weights + weight
    enlarged = torch.zeros(2, *labels.shape)
    enlarged[:, y, x] = (total / weights).clamp(0, 1)
    return enlarged


def _initialise(layer: nn.Module, gain: float = 1.0) -> None:
    """Make the outputs ``gain`` times as large as the inputs, which torch's own weights make much smaller."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    nn.init.zeros_(layer.bias)


def _check_settings(
    channels: Sequence[int],
    encoder_layers: Sequence[int],
    decoder_layers: Sequence[int],
    groups: int,
    sample_size: Sequence[int],
) -> None:
    levels = len(channels)
    if not 2 <= levels <= 6 or len(encoder_layers) != levels or len(decoder_layers) != levels - 1:
        raise ValueError(
            "expected channels and encoder_layers of 2 to 6 levels and decoder_layers of one less, "
            f"got {tuple(channels)}, {tuple(encoder_layers)} and {tuple(decoder_layers)}"
        )
    if min(*encoder_layers, *decoder_layers) < 0 or groups < 1 or any(c < 1 or c % groups for c in channels):
        raise ValueError(
            f"layers must be at least 0 and channels multiples of norm_num_groups, got {tuple(encoder_layers)}, "
            f"{tuple(decoder_layers)}, {tuple(channels)} and {groups}"
        )
    if len(sample_size) != 2 or min(sample_size) < 16:
        raise ValueError(f"sample_size must be (height, width) of at least 16 pixels each, got {tuple(sample_size)}")
