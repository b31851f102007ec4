"""The pose penalty and its gradients against the masked product, in float64 and over random sizes and labels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_attention import make_layer

from pocold.models import pose_constraint
from pocold.models.attention import DoubleAttention
from pocold.models.pose_constraint import PoseConstraint, TokenGroups, pose_constraint_penalty


def literal_penalty(distribution, extraction, target_labels, source_labels):
    """mean over heads, i, j of [p_t(i) != p_s(j)] A_ij^2, from the product."""
    product = distribution @ extraction.mT
    differ = target_labels.flatten(1)[:, None, :, None] != source_labels.flatten(1)[:, None, None, :]
    return (product.square() * differ).mean((1, 2, 3))


def probabilities(batch, heads, tokens, filters, dim, dtype=torch.float32):
    return torch.randn(batch, heads, tokens, filters, dtype=dtype).softmax(dim).requires_grad_()


def random_labels(batch, size, parts):
    return torch.randint(parts, (batch, *size))


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 12)),
    source_size=st.tuples(st.integers(1, 40), st.integers(1, 12)),
    parts=st.integers(1, 25),
    filters=st.integers(1, 5),
    grams=st.booleans(),
    seed=st.integers(0, 99),
)
def test_penalty_and_gradients_equal_the_masked_product(size, source_size, parts, filters, grams, seed):
    torch.manual_seed(seed)
    target, source = random_labels(2, size, parts), random_labels(2, source_size, parts)
    d = probabilities(2, 2, size[0] * size[1], filters, -1, torch.float64)
    e = probabilities(2, 2, source_size[0] * source_size[1], filters, -2, torch.float64)
    weights = torch.tensor([0.5, 2.0])  # each sample has its own gradient

    level = PoseConstraint(target, source).level(size, source_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pose_constraint, "product_is_smaller", lambda *_: not grams)
        ours = pose_constraint_penalty(d, e, level)
        ours_gradients = torch.autograd.grad((ours * weights).sum(), [d, e])
    expected = literal_penalty(d, e, target, source)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), [d, e])
    # a small rest is a difference of larger sums: the tolerance is relative to what the whole sum would be
    scale = (d @ e.mT).square().mean().item()
    torch.testing.assert_close(ours, expected, atol=1e-13 * scale, rtol=1e-10)
    for actual, reference in zip(ours_gradients, expected_gradients, strict=True):
        limit = 1e-13 * max(reference.abs().max().item(), scale / reference[0].numel())
        torch.testing.assert_close(actual, reference, atol=limit, rtol=1e-9)


@pytest.mark.parametrize("grams", [True, False])
def test_mixed_precision_changes_nothing(grams, monkeypatch):
    monkeypatch.setattr(pose_constraint, "product_is_smaller", lambda *_: not grams)
    torch.manual_seed(0)
    labels = random_labels(2, (9, 8), 6)
    level = PoseConstraint(labels, labels.flip(1)).level((9, 8), (9, 8))
    maps = probabilities(2, 2, 72, 5, -1), probabilities(2, 2, 72, 5, -2)
    expected = pose_constraint_penalty(*maps, level)
    expected_gradients = torch.autograd.grad(expected.sum(), maps)
    with torch.autocast("cpu", torch.bfloat16):
        actual = pose_constraint_penalty(*maps, level)
    actual_gradients = torch.autograd.grad(actual.sum(), maps)  # the backward belongs outside of autocast
    torch.testing.assert_close(actual, expected, atol=0, rtol=0)
    torch.testing.assert_close(actual_gradients, expected_gradients, atol=0, rtol=0)


def test_layer_gradients_through_the_penalty():
    layer = make_layer().float()
    hidden, source = torch.randn(2, 6, 9, 8), torch.randn(2, 5, 7, 10)
    target_labels, source_labels = random_labels(2, (9, 8), 6), random_labels(2, (7, 10), 6)
    level = PoseConstraint(target_labels, source_labels).level((9, 8), (7, 10))
    parameters = [layer.to_q.weight, layer.to_k.weight, layer.extraction_filters, layer.distribution_filters]
    ours = torch.autograd.grad(layer(hidden, source, level)[1].sum(), parameters)
    maps = layer.distribution_probabilities(hidden), layer.extraction_probabilities(source)
    expected = torch.autograd.grad(literal_penalty(*maps, target_labels, source_labels).sum(), parameters)
    for actual, reference in zip(ours, expected, strict=True):
        torch.testing.assert_close(actual, reference, atol=1e-5 * float(reference.abs().max()), rtol=1e-4)


def test_result_is_the_same_with_and_without_penalty():
    layer = make_layer()
    hidden, source = torch.randn(2, 6, 4, 4).double(), torch.randn(2, 5, 4, 4).double()
    labels = random_labels(2, (4, 4), 3)
    result, penalty = layer(hidden, source, PoseConstraint(labels, labels).level((4, 4), (4, 4)))
    torch.testing.assert_close(result, layer(hidden, source)[0])
    assert penalty.shape == (2,)


def test_some_samples_alone_can_be_compared():
    layer = make_layer()
    hidden, source = torch.randn(4, 6, 4, 4).double(), torch.randn(4, 5, 4, 4).double()
    labels, rows = random_labels(4, (4, 4), 3), torch.tensor([3, 1])
    result, everything = layer(hidden, source, PoseConstraint(labels, labels.flip(1)).level((4, 4), (4, 4)))
    some = PoseConstraint(labels[rows], labels[rows].flip(1), rows)
    same, penalty = layer(hidden, source, some.level((4, 4), (4, 4)))
    torch.testing.assert_close(same, result)
    torch.testing.assert_close(penalty, everything[rows])
    assert len({round(float(value), 6) for value in everything}) == 4  # else any rows would pass


def test_no_penalty_where_all_is_one_part():
    labels = torch.full((1, 6, 6), 7)
    level = PoseConstraint(labels, labels).level((6, 6), (6, 6))
    penalty = pose_constraint_penalty(probabilities(1, 2, 36, 3, -1), probabilities(1, 2, 36, 3, -2), level)
    torch.testing.assert_close(penalty, torch.zeros(1), atol=1e-8, rtol=0)


def test_labels_are_reduced_to_the_levels_own_size_even_if_odd():
    """A level of an odd latent is its half rounded up; labels follow it, row i from row floor(i * 11 / 6)."""
    labels = torch.arange(11 * 7).view(1, 11, 7) % 25
    level = PoseConstraint(labels, labels).level((6, 4), (6, 4))
    rows, columns = [0, 1, 3, 5, 7, 9], [0, 1, 3, 5]
    expected = labels[0][rows][:, columns].flatten()
    occurring = expected.unique()
    torch.testing.assert_close(occurring[level.target_labels[0]], expected)


def test_groups_are_made_once_per_level():
    labels = random_labels(1, (8, 8), 5)
    constraint = PoseConstraint(labels, labels)
    assert constraint.level((4, 4), (4, 4)) is constraint.level((4, 4), (4, 4))
    assert constraint.level((4, 4), (4, 4)).target is constraint.level((4, 4), (4, 4)).target
    assert constraint.level((4, 4), (8, 8)) is not constraint.level((4, 4), (4, 4))


@pytest.mark.parametrize("tokens", [1, 5, 40, 200])
def test_gather_and_scatter_are_inverse(tokens):
    torch.manual_seed(0)
    groups = TokenGroups.of(torch.randint(4, (3, tokens)), 4)
    values = torch.randn(3, 2, tokens, 5)
    chunks = groups.gather(values)
    torch.testing.assert_close(groups.scatter(chunks, 2), values)
    torch.testing.assert_close(chunks.square().sum(), values.square().sum())  # padding adds nothing


def test_every_chunk_holds_one_part():
    labels = torch.tensor([[2, 0, 2, 2, 1, 0, 2, 2, 2, 2, 2, 2, 2, 0]])
    groups = TokenGroups.of(labels, 3)
    chunks = groups.gather((labels + 1.0)[:, None, :, None])  # the part itself as the token's value
    for part, chunk in zip(groups.parts[0], chunks, strict=True):
        assert set(chunk.flatten().tolist()) <= {0.0, float(part) + 1}


def test_penalty_never_builds_the_product(monkeypatch):
    """At a large level, no tensor as large as target x source exists, forward or backward."""
    labels = random_labels(1, (48, 48), 10)
    level = PoseConstraint(labels, labels).level((48, 48), (48, 48))
    layer = DoubleAttention(8, 8, num_heads=1, num_filters=4)
    hidden, source = torch.randn(1, 8, 48, 48, requires_grad=True), torch.randn(1, 8, 48, 48)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return result

    with Watch():
        result, penalty = layer(hidden, source, level)
        (result.sum() + penalty.sum()).backward()
        layer.distribute(hidden, layer.extract(source))
    assert 0 < largest < 48 * 48 * 48 * 48 // 50


def test_batches_must_agree():
    with pytest.raises(ValueError, match=r"one batch size, got target \(2, 4, 4\) and source \(3, 4, 4\)"):
        PoseConstraint(torch.zeros(2, 4, 4), torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match="expected rows of 2 label maps, got 1"):
        PoseConstraint(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), torch.tensor([0]))
