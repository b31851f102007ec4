"""Diffusers' AutoencoderTiny (TAESD's format) with its finest level in overlapping strips.

At full resolution its maps are most of its memory, and getting that memory takes a third of its time. It has no norms:
a strip of rows needs nothing of a picture but the rows that its convolutions reach. So all layers of the finest level
run over one strip after the other, each with a few rows of its neighbours, which are thrown away; there are no seams.

Legend: C channels of latents, h w latent size, H W size of the picture.
"""

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from pocold.models.upsampling import convolve_doubled, merged_weights, takes_small_map

STRIP_BYTES = 12 * 2**20  # of a map of the finest level
_BLOCK_REACH = 3  # rows that a block sees to each side: three 3x3 convolutions
_PER_SMALL = 2  # rows of the finest level for one of the next level


def runs_in_strips(vae: AutoencoderTiny, height: int, width: int) -> bool:
    """Whether a picture of this size goes through in strips.

    Not where gradients are asked for, on a GPU, with layers that are not TAESD's, with ``vae.enable_tiling()``, or
    where it would be a single strip.
    """
    config = vae.config
    return (
        not torch.is_grad_enabled()
        and vae.device.type == "cpu"
        and config.upsampling_scaling_factor == _PER_SMALL
        and config.upsample_fn == "nearest"
        and not vae.use_tiling
        and len(config.decoder_block_out_channels) > 1
        and len(config.encoder_block_out_channels) > 1
        and height % (2 * _PER_SMALL) == 0
        and _rows(width, config.decoder_block_out_channels[-1]) < height // _PER_SMALL
    )


@apply_forward_hook  # so that offloading moves the weights in, as it does for decode
def decode_in_strips(vae: AutoencoderTiny, latents: Tensor) -> Tensor:
    """``vae.decode(latents).sample``: ``(B, C, h, w)`` -> ``(B, 3, H, W)``."""
    layers = vae.decoder.layers
    last = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Upsample))
    small = layers[:last](torch.tanh(latents / 3) * 3)  # as DecoderTiny clamps
    enlarging, rest = layers[last + 1], layers[last + 2 :]
    merged = list(merged_weights(enlarging.weight)) if takes_small_map(enlarging, small) else None

    def finest(part: Tensor) -> Tensor:
        if merged is None:
            return layers[last:](part)
        return rest(convolve_doubled(F.pad(part, (1, 1, 1, 1)), merged, enlarging.bias))

    height, width = (_PER_SMALL * side for side in small.shape[-2:])
    reach = _reach(layers[last + 1 :])
    result = small.new_empty(len(small), layers[-1].out_channels, height, width)
    for start, stop in _strips(small.shape[-2], width, enlarging.out_channels):
        first = max(start - reach, 0)
        part = finest(small[:, :, first : stop + reach])
        rows = slice(_PER_SMALL * (start - first), _PER_SMALL * (stop - first))
        result[:, :, _PER_SMALL * start : _PER_SMALL * stop] = part[:, :, rows]
    return result.mul_(2).sub_(1)


@apply_forward_hook
def encode_in_strips(vae: AutoencoderTiny, images: Tensor) -> Tensor:
    """``vae.encode(images).latents``: ``(B, 3, H, W)`` -> ``(B, C, h, w)``."""
    layers = vae.encoder.layers
    halving = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d) and layer.stride[0] > 1)
    finest, rest = layers[: halving + 1], layers[halving + 1 :]
    height, width = images.shape[-2:]
    reach = _reach(finest)
    small = images.new_empty(len(images), layers[halving].out_channels, height // _PER_SMALL, width // _PER_SMALL)
    for start, stop in _strips(height // _PER_SMALL, width, layers[halving].in_channels):
        first = max(start - reach, 0)
        part = images[:, :, _PER_SMALL * first : _PER_SMALL * (stop + reach)]
        small[:, :, start:stop] = finest(part.add(1).div_(2))[:, :, start - first : stop - first]
    return rest(small)


def _reach(layers: nn.Sequential) -> int:
    """Rows of the next level that these layers of the finest level see to each side, at most."""
    rows = sum(_BLOCK_REACH if isinstance(layer, AutoencoderTinyBlock) else 1 for layer in layers)
    return -(-rows // _PER_SMALL)


def _rows(width: int, channels: int) -> int:
    """Rows of the next level in a strip, for a map of the finest level of this width."""
    return max(1, STRIP_BYTES // (4 * channels * width) // _PER_SMALL)


def _strips(rows: int, width: int, channels: int) -> list[tuple[int, int]]:
    """Where strips of so many ``rows`` of the next level begin and end."""
    step = _rows(width, channels)
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]
