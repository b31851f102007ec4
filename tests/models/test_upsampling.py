"""Enlarging and convolution from the small map: the same values, and only where that is meant."""

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.resnet import Upsample2D
from torch import nn

from pocold.models.upsampling import Upsample, convolve_doubled, merged_weights, takes_small_map


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Upsample(6)


@torch.no_grad()
def test_it_is_diffusers_layer_from_the_small_map(layer):
    published = Upsample2D(6, use_conv=True)
    published.load_state_dict(layer.state_dict())  # the same names
    hidden = torch.randn(2, 6, 9, 8)
    assert takes_small_map(layer.conv, hidden)
    torch.testing.assert_close(layer(hidden, (18, 16)), published(hidden, output_size=(18, 16)), rtol=0, atol=1e-6)
    # a size that is not twice the map's goes the plain way
    torch.testing.assert_close(layer(hidden, (17, 15)), published(hidden, output_size=(17, 15)), rtol=0, atol=0)


@torch.no_grad()
def test_other_channels_no_bias_and_neighbours():
    torch.manual_seed(0)
    hidden, weight = torch.randn(1, 5, 12, 7), torch.randn(3, 5, 3, 3)
    expected = F.conv2d(F.interpolate(hidden, scale_factor=2.0), weight, padding=1)
    merged = list(merged_weights(weight))
    assert [tuple(part.shape) for part in merged] == 4 * [(3, 5, 2, 2)]
    whole = convolve_doubled(F.pad(hidden, (1, 1, 1, 1)), merged, None)
    torch.testing.assert_close(whole, expected, rtol=0, atol=1e-5)
    # rows 4 to 8 with their neighbours: what they are in the whole map
    part = convolve_doubled(F.pad(hidden[:, :, 3:9], (1, 1, 0, 0)), merged, None)
    torch.testing.assert_close(part, expected[:, :, 8:16], rtol=0, atol=1e-5)


@torch.no_grad()
def test_half_precision_is_as_exact_as_the_plain_form(layer):
    hidden = torch.randn(1, 6, 16, 16)
    exact = layer.conv(F.interpolate(hidden, scale_factor=2.0))
    layer, hidden = layer.to(torch.bfloat16), hidden.to(torch.bfloat16)
    plain = layer.conv(F.interpolate(hidden, scale_factor=2.0))
    result = layer(hidden, (32, 32))
    assert result.dtype == torch.bfloat16
    assert (result - exact).abs().mean() < 1.3 * (plain - exact).abs().mean()


def test_where_it_is_taken(layer):
    hidden = torch.randn(1, 6, 8, 8)
    assert not takes_small_map(layer.conv, hidden)  # gradients
    with torch.no_grad():
        assert takes_small_map(layer.conv, hidden)
        assert not takes_small_map(layer.conv, hidden[:, :, :7])  # small
        assert not takes_small_map(nn.Sequential(layer.conv), hidden)  # an adapter
        assert not takes_small_map(layer.conv, hidden.to("meta"))


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_holds_it_too(layer):  # OpenVINO reads one
    hidden = torch.randn(1, 6, 8, 8)
    traced = torch.jit.trace(_Doubling(layer), hidden, check_trace=False)
    assert "aten::upsample_nearest2d" not in {node.kind() for node in traced.inlined_graph.nodes()}
    other = torch.randn(1, 6, 8, 8)
    torch.testing.assert_close(traced(other), layer.conv(F.interpolate(other, scale_factor=2.0)), rtol=0, atol=1e-6)


class _Doubling(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, hidden):
        return self.layer(hidden, (16, 16))


def test_gradients_are_those_of_the_plain_form(layer):
    hidden = torch.randn(1, 6, 8, 8)
    layer(hidden, (16, 16)).square().sum().backward()
    own, layer.conv.weight.grad = layer.conv.weight.grad, None
    layer.conv(F.interpolate(hidden, scale_factor=2.0)).square().sum().backward()
    torch.testing.assert_close(own, layer.conv.weight.grad, rtol=0, atol=0)


@torch.no_grad()
def test_weights_that_change_are_seen(layer):
    hidden = torch.randn(1, 6, 8, 8)
    layer(hidden, (16, 16))
    layer.conv.weight.data.mul_(2)  # as averages of weights are put in, unseen by autograd
    expected = layer.conv(F.interpolate(hidden, scale_factor=2.0))
    torch.testing.assert_close(layer(hidden, (16, 16)), expected, rtol=0, atol=1e-6)
