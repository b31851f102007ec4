"""Diffusers' KL autoencoder in strips: two maps in memory instead of many, and no seams.

At full resolution the maps of Stable Diffusion's autoencoder are its memory: norm, activation, enlarged map and
convolution each hold one of their own. Here every layer still runs over the whole picture, one after the other, but
strip by strip: whole are only the map that is read and the one that is written, in place where that can be. Statistics
of a norm are those of the whole map, and a convolution sees the rows beside its strip, so the result is that of
``vae.decode`` and ``vae.encode`` to rounding. Tiles that go through the whole network each (``vae.enable_tiling``) have
neither, and are blended.

Legend: C channels, G groups, H W size of a map, h w latent size; maps are those of one picture, ``(1, C, H, W)``.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

STRIP_BYTES = 8 * 2**20  # of the larger map of a layer; below that a picture is drawn whole
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
        for resnet in block.resnets:
            hidden = _residual(resnet, hidden)
        for upsampler in block.upsamplers or ():
            hidden = _convolved(upsampler.conv, hidden, enlarge=2)
    return _convolved(decoder.conv_out, hidden, decoder.conv_norm_out)


def _encoded(vae: AutoencoderKL, images: Tensor) -> Tensor:
    encoder = vae.encoder
    hidden = _convolved(encoder.conv_in, images)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            hidden = _residual(resnet, hidden)
        for downsampler in block.downsamplers or ():
            hidden = _convolved(downsampler.conv, hidden, zeros=_HALVED)
    moments = _convolved(encoder.conv_out, encoder.mid_block(hidden), encoder.conv_norm_out)
    return moments if vae.quant_conv is None else vae.quant_conv(moments)


def _residual(block: ResnetBlock2D, hidden: Tensor) -> Tensor:
    """A residual block. ``hidden`` is written over."""
    inner = _convolved(block.conv1, hidden, block.norm1)
    if block.conv_shortcut is not None:
        hidden = _shortcut(block.conv_shortcut, hidden)
    return _convolved(block.conv2, inner, block.norm2, onto=hidden)


def _shortcut(conv: nn.Conv2d, hidden: Tensor) -> Tensor:
    """A 1x1 convolution, written over its input where that has as many channels."""
    fits = conv.out_channels <= conv.in_channels
    result = hidden[:, : conv.out_channels] if fits else _empty(hidden, conv.out_channels, hidden.shape[-2])
    for start, stop in _strips(hidden.shape[-2], hidden, conv.out_channels):
        result[:, :, start:stop] = conv(hidden[:, :, start:stop])
    return result


def _convolved(
    conv: nn.Conv2d,
    hidden: Tensor,
    norm: nn.GroupNorm | None = None,
    *,
    onto: Tensor | None = None,
    enlarge: int = 1,
    zeros: tuple[int, int, int, int] = _SAME,
) -> Tensor:
    """Norm and SiLU, if there is a norm; nearest enlarging; 3x3 convolution.

    Args:
        conv: without padding of its own: ``zeros`` says it.
        hidden: ``(1, C, H, W)``.
        norm: of ``hidden``.
        onto: the result is added to this; None gives a new map.
        enlarge: how many times; without a norm.
        zeros: left, right, above, below.
    """
    left, right, above, below = zeros
    stride, rows = conv.stride[0], hidden.shape[-2] * enlarge
    height = (rows + above + below - 3) // stride + 1
    width = (hidden.shape[-1] * enlarge + left + right - 3) // stride + 1
    affine = None if norm is None else _affine(norm, hidden)
    result = _empty(hidden, conv.out_channels, height, width) if onto is None else onto
    for start, stop in _strips(height, result, hidden.shape[1]):
        first, last = start * stride - above, (stop - 1) * stride - above + 3  # of the rows that are seen
        inside, outside = max(first, 0), min(last, rows)
        begin = inside // enlarge
        part = hidden[:, :, begin : -(-outside // enlarge)]
        if enlarge > 1:
            part = F.interpolate(part, scale_factor=float(enlarge), mode="nearest")
            part = part[:, :, inside - begin * enlarge : outside - begin * enlarge]
        padded = part.new_zeros(1, part.shape[1], last - first, part.shape[-1] + left + right)
        seen = padded[:, :, inside - first : outside - first, left : left + part.shape[-1]]
        if affine is None:
            seen.copy_(part)
        else:
            shift, scale = affine
            seen.copy_(torch.addcmul(shift, part.float(), scale))
            F.silu(seen, inplace=True)
        part = F.conv2d(padded, conv.weight, conv.bias, conv.stride)
        if onto is None:
            result[:, :, start:stop] = part
        else:
            result[:, :, start:stop] += part
    return result


def _affine(norm: nn.GroupNorm, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """What a norm adds and multiplies by, by the statistics of all of ``hidden``; float32 ``(1, C, 1, 1)``."""
    count = 0  # of values in a group; sums in float64, for a mean square loses what a variance needs
    total = squares = torch.zeros(norm.num_groups, dtype=torch.float64)
    for start, stop in _strips(hidden.shape[-2], hidden, hidden.shape[1]):
        values = hidden[:, :, start:stop].reshape(norm.num_groups, -1).float()
        variance, mean = torch.var_mean(values, dim=1, correction=0)
        number = values.shape[1]
        count += number
        total = total + number * mean.double()
        squares = squares + number * (variance.double() + mean.double().square())
    mean = total / count  # (G,)
    deviation = (squares / count - mean.square()).clamp(min=0).add(norm.eps).sqrt()
    per_group = hidden.shape[1] // norm.num_groups
    scale = norm.weight.double() / deviation.repeat_interleave(per_group)
    shift = norm.bias.double() - mean.repeat_interleave(per_group) * scale
    return shift.float().view(1, -1, 1, 1), scale.float().view(1, -1, 1, 1)


def _empty(like: Tensor, channels: int, height: int, width: int | None = None) -> Tensor:
    return like.new_empty(1, channels, height, like.shape[-1] if width is None else width)


def _strips(height: int, hidden: Tensor, channels: int) -> Iterator[tuple[int, int]]:
    """Where strips of ``height`` rows like ``hidden``'s begin and end; of so many ``channels`` if that is more."""
    row = max(channels, hidden.shape[1]) * hidden.shape[-1] * hidden.element_size()
    rows = max(1, STRIP_BYTES // row)
    for start in range(0, height, rows):
        yield start, min(start + rows, height)
