"""A pose as the networks take it: labels at the size of the latents, one channel each, and U and V where asked for."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pocold.densepose import maps
from pocold.densepose.encoding import POSE_CHANNELS, encode_pose, one_hot, resize_labels
from pocold.densepose.labels import NUM_LABELS

SIDES = st.integers(1, 70)


def every_label(count, height, width):
    """Shuffled maps that hold each label; random, so that no mix-up of rows and columns goes unnoticed."""
    labels = torch.arange(count * height * width, dtype=torch.uint8) % NUM_LABELS
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    return shuffled.view(count, height, width)


@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
def test_reduction_by_exact_divisors_equals_torch(divisor):
    labels = every_label(1, 64, 48)
    size = (64 // divisor, 48 // divisor)
    expected = F.interpolate(labels[None].float(), size=size, mode="nearest")[0].to(torch.uint8)
    assert torch.equal(resize_labels(labels, size), expected)


@settings(max_examples=100, deadline=None)
@given(source=st.tuples(SIDES, SIDES), target=st.tuples(SIDES, SIDES))
def test_reduction_takes_the_row_below_its_exact_place(source, target):
    (height, width), (h, w) = source, target
    labels = torch.arange(height * width).view(height, width)  # each pixel tells where it came from
    expected = torch.tensor([[int(i * height // h) * width + int(j * width // w) for j in range(w)] for i in range(h)])
    assert torch.equal(resize_labels(labels, target), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_reduction_keeps_dtype_and_leading_dimensions(dtype):
    reduced = resize_labels(torch.zeros(2, 3, 9, 7, dtype=dtype), (4, 5))
    assert (reduced.dtype, reduced.shape) == (dtype, (2, 3, 4, 5))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_one_hot_marks_each_label_in_its_channel(dtype):
    labels = every_label(2, 8, 6).to(dtype)
    pose = one_hot(labels, (8, 6))
    assert (pose.shape, pose.dtype) == ((2, NUM_LABELS, 8, 6), torch.float32)
    assert torch.equal(pose.sum(1), torch.ones(2, 8, 6))
    assert torch.equal(pose.argmax(1), labels.long())


def test_one_hot_is_reduced_to_latent_size():
    labels = every_label(1, 16, 24)
    assert torch.equal(one_hot(labels, (4, 3)).argmax(1), resize_labels(labels, (4, 3)).long())


def test_one_hot_comes_in_the_dtype_asked_for():
    pose = one_hot(torch.zeros(1, 4, 4, dtype=torch.uint8), (4, 4), torch.bfloat16)
    assert pose.dtype == torch.bfloat16
    assert pose.is_contiguous()


def test_u_and_v_are_two_more_channels_and_zero_in_the_background():
    labels, uv = every_label(2, 8, 6), torch.rand(2, 2, 8, 6, generator=torch.Generator().manual_seed(1))
    labels[:, :4] = 0
    pose = encode_pose(labels, uv, (4, 3))
    assert pose.shape == (2, POSE_CHANNELS["iuv"], 4, 3)
    assert torch.equal(pose[:, :NUM_LABELS], one_hot(labels, (4, 3)))
    body = resize_labels(labels, (4, 3)) > 0
    assert torch.equal(pose[:, NUM_LABELS:], resize_labels(uv, (4, 3)) * body[:, None])
    assert torch.equal(encode_pose(labels, None, (4, 3)), one_hot(labels, (4, 3)))


def test_the_functions_have_the_names_that_they_had_before():
    assert (maps.encode_pose, maps.one_hot, maps.resize_labels) == (encode_pose, one_hot, resize_labels)
