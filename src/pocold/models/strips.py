"""Diffusers' KL autoencoder in strips: two maps in memory instead of many, and no seams.

At full resolution the maps of Stable Diffusion's autoencoder are its memory: norm, activation, enlarged map and
convolution each hold one of their own. Here every layer still runs over the whole picture, one after the other, but
strip by strip: whole are only the map that is read and the one that is written, in place where that can be. Statistics
of a norm are those of the whole map, and a convolution sees the rows beside its strip, so the result is that of
``vae.decode`` and ``vae.encode`` to rounding. Tiles that go through the whole network each (``vae.enable_tiling``) have
neither, and are blended.

Legend: C channels, G groups, H W size of a map, h w latent size; maps are those of one picture, ``(1, C, H, W)``.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from pocold.devices import release_memory
from pocold.models.upsampling import convolve_doubled, merged_weights

STRIP_BYTES = 2 * 2**20  # of the larger map of a layer; below that a picture is drawn whole
_BETWEEN = 4  # strips between those after which free memory is given back
_SAME, _HALVED = (1, 1, 1, 1), (0, 1, 0, 1)  # zeros left, right, above and below: of 3x3 convolutions, of stride 2
_PLAIN = ({"DownEncoderBlock2D"}, {"UpDecoderBlock2D"})


def runs_in_strips(vae: AutoencoderKL, height: int, width: int) -> bool:
    """Whether a picture of this size goes through in strips.

    Not where gradients are asked for, on a GPU, with blocks that are not Stable Diffusion's, or with
    ``vae.enable_tiling()``.
    """
    widest = max(vae.config.block_out_channels[:2])
    blocks = set(vae.config.down_block_types), set(vae.config.up_block_types)
    return (
        not torch.is_grad_enabled()
        and vae.device.type == "cpu"
        and blocks == _PLAIN
        and vae.config.act_fn == "silu"
        and not vae.use_tiling
        and height * width * widest * vae.dtype.itemsize > STRIP_BYTES
    )


@apply_forward_hook  # so that offloading moves the weights in, as it does for decode
def decode_in_strips(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """``vae.decode(latents).sample`` with less memory: ``(B, C, h, w)`` -> ``(B, 3, H, W)``, picture by picture."""
    return torch.cat([_decoded(vae, one) for one in latents.split(1)])


@apply_forward_hook
def encode_in_strips(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """``vae.encode(images).latent_dist.parameters`` likewise: ``(B, 3, H, W)`` -> ``(B, 2C, h, w)``."""
    return torch.cat([_encoded(vae, one) for one in images.split(1)])


def _decoded(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    if vae.post_quant_conv is not None:
        latents = vae.post_quant_conv(latents)
    decoder = vae.decoder
    hidden = decoder.mid_block(decoder.conv_in(latents))
    for block in decoder.up_blocks:
        hidden = _residuals(block.resnets, hidden)
        for upsampler in block.upsamplers or ():
            maps = [hidden]
            del hidden
            hidden = _enlarged(upsampler.conv, maps)
            release_memory()
    picture = _convolved(decoder.conv_out, hidden, decoder.conv_norm_out)
    del hidden
    release_memory()
    return picture


def _encoded(vae: AutoencoderKL, images: Tensor) -> Tensor:
    encoder = vae.encoder
    hidden = _convolved(encoder.conv_in, images)
    for block in encoder.down_blocks:
        hidden = _residuals(block.resnets, hidden)
        for downsampler in block.downsamplers or ():
            hidden = _convolved(downsampler.conv, hidden, zeros=_HALVED)
        release_memory()
    moments = _convolved(encoder.conv_out, encoder.mid_block(hidden), encoder.conv_norm_out)
    release_memory()
    return moments if vae.quant_conv is None else vae.quant_conv(moments)


def _residuals(blocks: Iterable[ResnetBlock2D], hidden: Tensor) -> Tensor:
    """Residual blocks, one after the other. ``hidden`` is written over; each uses the inner map of the one before."""
    inner = None
    for block in blocks:
        if block.conv_shortcut is None:
            inner = _convolved(block.conv1, hidden, block.norm1, into=inner)
        elif 2 * block.conv1.out_channels == hidden.shape[1]:
            inner, hidden = _halved(block, hidden)
        else:
            inner = _convolved(block.conv1, hidden, block.norm1)
            hidden = block.conv_shortcut(hidden)
        hidden = _convolved(block.conv2, inner, block.norm2, into=hidden, add=True)
        release_memory()
    return hidden


def _halved(block: ResnetBlock2D, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Inner map and shortcut of a block that halves the channels, each written over one half of what it reads."""
    affine = _affine(block.norm1, hidden)
    channels, height = block.conv1.out_channels, hidden.shape[-2]
    inner, shortcut = hidden[:, :channels], hidden[:, channels:]
    above = hidden[:, :, :0]  # the row above a strip as it was: written over by then
    for start, stop in _strips(height, hidden, hidden.shape[1], least=4 * block.conv1.weight.numel()):
        seen = (above, hidden[:, :, start : stop + 1])
        padded = _padded(seen, (1, 1, int(start == 0), int(stop == height)), affine)
        above = hidden[:, :, stop - 1 : stop].clone()
        adapted = block.conv_shortcut(hidden[:, :, start:stop])
        inner[:, :, start:stop] = F.conv2d(padded, block.conv1.weight, block.conv1.bias)
        shortcut[:, :, start:stop] = adapted
    return inner, shortcut


def _enlarged(conv: nn.Conv2d, hidden: list[Tensor]) -> Tensor:
    """Nearest enlarging by two, then a 3x3 convolution. ``hidden`` is a list of one map and is emptied.

    What is read goes as what is written grows: the map is cut into strips, and each is freed after use.
    """
    small = hidden.pop()
    height, width = small.shape[-2:]
    merged = list(merged_weights(conv.weight))
    result = _empty(small, conv.out_channels, 2 * height, 2 * width)
    where = list(_strips(2 * height, result, small.shape[1], 2, 4 * conv.weight.numel()))
    edge = torch.zeros_like(small[:, :, :1])
    parts = [small[:, :, first // 2 : last // 2].clone() for first, last in where] + [edge]
    above = edge
    del small
    for i, (first, last) in enumerate(where):
        padded = _padded((above, parts[i], parts[i + 1][:, :, :1]), (1, 1, 0, 0))
        above, parts[i] = parts[i][:, :, -1:].clone(), edge
        result[:, :, first:last] = convolve_doubled(padded, merged, conv.bias)
        if i % _BETWEEN == _BETWEEN - 1:
            release_memory()
    return result


def _convolved(
    conv: nn.Conv2d,
    hidden: Tensor,
    norm: nn.GroupNorm | None = None,
    *,
    into: Tensor | None = None,
    add: bool = False,
    zeros: tuple[int, int, int, int] = _SAME,
) -> Tensor:
    """Norm and SiLU, if there is a norm; 3x3 convolution.

    Args:
        conv: without padding of its own: ``zeros`` says it.
        hidden: ``(1, C, H, W)``.
        norm: of ``hidden``.
        into: where the result is written; None makes a new map.
        add: to what is there.
        zeros: left, right, above, below.
    """
    left, right, above, below = zeros
    stride, rows = conv.stride[0], hidden.shape[-2]
    height = (rows + above + below - 3) // stride + 1
    width = (hidden.shape[-1] + left + right - 3) // stride + 1
    affine = None if norm is None else _affine(norm, hidden)
    result = _empty(hidden, conv.out_channels, height, width) if into is None else into
    # Strips are not smaller than the weights, which are read anew for each.
    for start, stop in _strips(height, result, hidden.shape[1], least=4 * conv.weight.numel()):
        first, last = start * stride - above, (stop - 1) * stride - above + 3  # of the rows that are seen
        seen = hidden[:, :, max(first, 0) : last]
        padded = _padded([seen], (left, right, max(-first, 0), max(last - rows, 0)), affine)
        part = F.conv2d(padded, conv.weight, conv.bias, conv.stride)
        if add:
            result[:, :, start:stop] += part
        else:
            result[:, :, start:stop] = part
    return result


def _padded(
    parts: Sequence[Tensor], zeros: tuple[int, int, int, int], affine: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Rows of a map, one part below the other, after norm and SiLU where there is an ``affine``, with zeros around."""
    left, right, above, below = zeros
    rows, columns = sum(part.shape[-2] for part in parts), parts[0].shape[-1]
    padded = parts[0].new_zeros(1, parts[0].shape[1], rows + above + below, columns + left + right)
    inside = padded[:, :, above : above + rows, left : left + columns]
    for part, place in zip(parts, inside.split([part.shape[-2] for part in parts], dim=2), strict=True):
        if affine is None:
            place.copy_(part)
        elif part.dtype == torch.float32:
            torch.addcmul(affine[0], part, affine[1], out=place)  # no map in between
        else:
            place.copy_(torch.addcmul(affine[0], part.float(), affine[1]))
    if affine is not None:
        F.silu(inside, inplace=True)
    return padded


def _affine(norm: nn.GroupNorm, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """What a norm adds and multiplies by, by the statistics of all of ``hidden``; float32 ``(1, C, 1, 1)``."""
    count = hidden[0].numel() // norm.num_groups
    total = squares = torch.zeros(norm.num_groups, dtype=torch.float64)
    middle: Tensor | None = None  # near the mean: squares of what differs from it keep what a variance needs
    for start, stop in _strips(hidden.shape[-2], hidden, hidden.shape[1]):
        values = hidden[:, :, start:stop].reshape(norm.num_groups, -1).float()
        if middle is None:
            middle = values.mean(dim=1, keepdim=True)
        values = values - middle
        total = total + values.sum(dim=1).double()  # sums: torch.var_mean takes ten times as long
        squares = squares + values.square_().sum(dim=1).double()
    assert middle is not None
    mean = total / count  # (G,), of what differs from the middle
    deviation = (squares / count - mean.square()).clamp(min=0).add(norm.eps).sqrt()
    mean = mean + middle[:, 0].double()
    per_group = hidden.shape[1] // norm.num_groups
    scale = norm.weight.double() / deviation.repeat_interleave(per_group)
    shift = norm.bias.double() - mean.repeat_interleave(per_group) * scale
    return shift.float().view(1, -1, 1, 1), scale.float().view(1, -1, 1, 1)


def _empty(like: Tensor, channels: int, height: int, width: int | None = None) -> Tensor:
    return like.new_empty(1, channels, height, like.shape[-1] if width is None else width)


def _strips(height: int, hidden: Tensor, channels: int, multiple: int = 1, least: int = 0) -> Iterator[tuple[int, int]]:
    """Where strips of ``height`` rows like ``hidden``'s begin and end; of so many ``channels`` if that is more.

    All but the last have a ``multiple`` of rows, and ``least`` bytes.
    """
    row = max(channels, hidden.shape[1]) * hidden.shape[-1] * 4  # norms are in float32
    rows = max(1, max(STRIP_BYTES, least) // row // multiple) * multiple
    for start in range(0, height, rows):
        yield start, min(start + rows, height)
