"""Double attention against the target-by-source product, written out, in float64 and over random sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pocold.models.attention import DoubleAttention

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))


def make_layer(heads=2, head_width=3, source_channels=5, filters=4, seed=0):
    torch.manual_seed(seed)
    layer = DoubleAttention(heads * head_width, source_channels, heads, filters).double()
    for parameter in layer.parameters():  # nothing at its initial one or zero, so that nothing can be left out
        parameter.data += 0.3 * torch.randn_like(parameter)
    return layer


def literal(layer, hidden, source):
    """Equations of method.md 3, head by head, with the product A = D^T E (N, M)."""
    batch, _, height, width = hidden.shape
    x, r = hidden.flatten(2).transpose(1, 2), source.flatten(2).transpose(1, 2)  # (B, N, C), (B, M, C')
    mean, variance = r.mean(-1, keepdim=True), r.var(-1, keepdim=True, unbiased=False)
    r = (r - mean) / (variance + layer.norm.eps).sqrt() * layer.norm.weight + layer.norm.bias
    q, k, v = x @ layer.to_q.weight.T, r @ layer.to_k.weight.T, r @ layer.to_v.weight.T
    outputs, maps = [], []
    for head in range(layer.num_heads):
        part = slice(head * q.shape[-1] // layer.num_heads, (head + 1) * q.shape[-1] // layer.num_heads)
        extraction = (layer.logit_scale * layer.extraction_filters[:, part] @ k[..., part].mT).softmax(-1)  # (B, K, M)
        distribution = (layer.logit_scale * layer.distribution_filters[:, part] @ q[..., part].mT).softmax(1)
        product = distribution.mT @ extraction  # (B, N, M)
        maps.append(product)
        outputs.append(product @ v[..., part])
    y = torch.cat(outputs, -1) @ layer.to_out.weight.T + layer.to_out.bias
    result = y.mT.reshape(batch, -1, height, width) + layer.residual_scale * hidden
    return result, torch.stack(maps, 1)


@settings(max_examples=25, deadline=None)
@given(size=SIZES, source_size=SIZES, heads=st.integers(1, 3), filters=st.integers(1, 6), seed=st.integers(0, 99))
def test_linear_form_equals_the_product(size, source_size, heads, filters, seed):
    layer = make_layer(heads=heads, filters=filters, seed=seed)
    hidden = torch.randn(2, layer.to_q.in_features, *size, dtype=torch.float64)
    source = torch.randn(2, 5, *source_size, dtype=torch.float64)
    expected, product = literal(layer, hidden, source)
    torch.testing.assert_close(layer(hidden, source)[0], expected)
    torch.testing.assert_close(layer.attention_map(hidden, source), product)


def test_gradients_equal_those_of_the_product():
    layer = make_layer()
    hidden = torch.randn(2, 6, 4, 3, dtype=torch.float64, requires_grad=True)
    source = torch.randn(2, 5, 3, 5, dtype=torch.float64, requires_grad=True)
    inputs = [hidden, source, *layer.parameters()]
    weights = torch.randn(2, 6, 4, 3, dtype=torch.float64)
    ours = torch.autograd.grad((layer(hidden, source)[0] * weights).sum(), inputs)
    theirs = torch.autograd.grad((literal(layer, hidden, source)[0] * weights).sum(), inputs)
    torch.testing.assert_close(ours, theirs)


def test_rows_of_the_map_are_distributions():
    layer = make_layer()
    product = layer.attention_map(torch.randn(1, 6, 4, 4).double(), torch.randn(1, 5, 3, 3).double())
    torch.testing.assert_close(product.sum(-1), torch.ones(1, 2, 16).double())


def test_result_keeps_the_convolutions_memory_layout():
    layer = make_layer()
    hidden = torch.randn(2, 6, 4, 4).double()
    assert layer.distribute(hidden, layer.extract(torch.randn(2, 5, 4, 4).double())).is_contiguous()


def test_one_code_serves_many_targets():
    layer = make_layer()
    hidden, source = torch.randn(3, 6, 4, 4).double(), torch.randn(1, 5, 3, 3).double()
    expected = layer(hidden, source.expand(3, -1, -1, -1))[0]
    torch.testing.assert_close(layer.distribute(hidden, layer.extract(source)), expected)


def test_masked_tokens_do_not_exist():
    layer = make_layer()
    source = torch.randn(1, 5, 3, 4).double()
    mask = torch.tensor([[True, False, True, True, False, False, True, True, False, True, False, True]])
    kept = source.flatten(2)[..., mask[0]][..., None]
    torch.testing.assert_close(layer.extract(source, mask), layer.extract(kept))
    torch.testing.assert_close(layer.extraction_mass(source, mask), layer.extraction_mass(kept))


def test_nothing_to_extract_gives_zeros_and_no_mass():
    layer = make_layer()
    source = torch.randn(2, 5, 2, 2).double()
    mask = torch.tensor([[False] * 4, [True] * 4])
    code, mass = layer.extract(source, mask), layer.extraction_mass(source, mask)
    assert (code[0] == 0).all()
    assert (mass[0] == -torch.inf).all()
    torch.testing.assert_close(code[1:], layer.extract(source[1:]))


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="multiple of num_heads, got 6 channels and 4 heads"):
        DoubleAttention(6, 6, num_heads=4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype):
    layer = make_layer().float()
    hidden, source = torch.randn(1, 6, 4, 4), torch.randn(1, 5, 4, 4)
    expected = layer(hidden, source)[0]
    actual = layer.to(dtype)(hidden.to(dtype), source.to(dtype))[0]
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.float(), expected, atol=0.05, rtol=0.05)
