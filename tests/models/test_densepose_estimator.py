"""The estimator: shapes for any size, a loss that prefers the truth, and the way from a photograph to its map."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pocold.checkpoints import BUNDLED
from pocold.densepose.framing import PersonFrame
from pocold.densepose.labels import NUM_LABELS
from pocold.densepose.maps import DensePose
from pocold.imaging import images
from pocold.models.densepose_estimator import (
    DensePoseEstimator,
    Estimate,
    EstimatorLoss,
    body_found,
    estimate_densepose,
    load_estimator,
    look_twice,
    open_estimator,
)

TOY = {"channels": (8, 16, 16), "encoder_layers": (0, 1, 1), "decoder_layers": (1, 1), "sample_size": (64, 44)}


def toy(seed=0):
    torch.manual_seed(seed)
    return DensePoseEstimator(**TOY).eval()


def rows_and_columns(size):
    y, x = torch.meshgrid(torch.linspace(0, 1, size[0]), torch.linspace(0, 1, size[1]), indexing="ij")
    return torch.stack([y, x])


class ByColour(nn.Module):
    """Stands in for a trained network: red is part 2, blue is part 1, U is the red, V the place from left to right, of
    which the mirror image is turned around; sure of itself or not."""

    size = (64, 44)
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, certainty=10.0):
        super().__init__()
        self.certainty, self.calls = certainty, []

    def forward(self, pictures):
        self.calls.append(pictures)
        logits = torch.zeros(len(pictures), NUM_LABELS, *pictures.shape[-2:])
        red, green, blue = pictures.unbind(1)
        logits[:, 2] = self.certainty * (red - green)
        logits[:, 1] = self.certainty * (blue - green)
        logits[:, 0] = self.certainty * 0.5
        across = rows_and_columns(pictures.shape[-2:])[1].expand_as(red)
        return Estimate(logits, torch.stack([red / 2 + 0.5, across], 1).clamp(0, 1))


def photo_of(size, box, second=None):
    """A red person, blue above, in a green picture."""
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    pixels[..., 1] = 120
    top, left, bottom, right = box
    pixels[top:bottom, left:right] = (255, 0, 0)
    above = top + (bottom - top) // 4
    pixels[top:above, left:right] = (0, 0, 255)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(64, 44), (65, 47), (128, 88), (8, 8)])
def test_any_size_comes_out_as_it_came_in(size):
    estimate = toy()(torch.rand(2, 3, *size) * 2 - 1)
    assert estimate.labels.shape == (2, 25, *size)
    assert estimate.uv.shape == (2, 2, *size)
    assert estimate.uv.min() >= 0
    assert estimate.uv.max() <= 1


def test_what_lies_in_the_padding_is_no_picture_of_its_own():
    """A picture whose border is repeated by hand to the factor gives the same map inside."""
    estimator, picture = toy(), torch.rand(1, 3, 30, 21) * 2 - 1
    assert estimator.factor == 8
    padded = nn.functional.pad(picture, (0, 3, 0, 2), mode="replicate")
    small, large = estimator(picture), estimator(padded)
    for a, b in zip(small, large, strict=True):
        torch.testing.assert_close(a, b[..., :30, :21])


def test_every_weight_learns_something():
    estimator = toy().train()
    labels = torch.randint(0, 25, (2, 64, 44))
    losses = EstimatorLoss()(estimator(torch.rand(2, 3, 64, 44)), labels, torch.rand(2, 2, 64, 44))
    losses[0].backward()
    without = [name for name, p in estimator.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


def test_it_begins_with_the_background():
    """Four pixels in five are; a network that has to find that out first wastes its first hundred steps."""
    shares = toy()(torch.rand(1, 3, 64, 44) * 2 - 1).labels.softmax(1)
    assert shares[:, 0].mean() > 0.4


def test_the_loss_of_the_truth_is_nothing_and_each_part_sees_its_own_mistake():
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 2:6, 2:6], labels[0, 3, 3] = 2, 4
    uv = rows_and_columns((8, 8))[None]
    sure = 50.0 * nn.functional.one_hot(labels, 25).permute(0, 3, 1, 2).float()
    loss = EstimatorLoss(dice=0.5, uv=2.0)
    right = loss(Estimate(sure, uv), labels, uv)
    torch.testing.assert_close(right, torch.zeros(4), atol=1e-5, rtol=0)
    moved = loss(Estimate(sure, (uv + 0.1)), labels, uv)
    assert moved[3].item() == pytest.approx(0.1, abs=1e-6)
    assert moved[0].item() == pytest.approx(0.2, abs=1e-5)
    elsewhere = loss(Estimate(sure, torch.where(labels[:, None] > 0, uv, uv + 0.5)), labels, uv)
    assert elsewhere[3].item() == 0.0  # the background has no U, V
    # a lost hand of one pixel among 64 hardly moves the cross-entropy's mean, but half of the parts are gone
    lost = sure.clone()
    lost[0, :, 3, 3] = lost[0, :, 2, 2]
    assert loss(Estimate(lost, uv), labels, uv)[2].item() == pytest.approx(0.27, abs=0.03)


def test_a_loss_without_a_body_is_finite():
    labels, uv = torch.zeros(1, 8, 8, dtype=torch.uint8), torch.zeros(1, 2, 8, 8)
    estimate = Estimate(torch.randn(1, 25, 8, 8), torch.rand(1, 2, 8, 8))
    losses = EstimatorLoss()(estimate, labels, uv)
    assert torch.isfinite(losses).all()
    assert losses[3] == 0


def test_weights_of_a_loss_are_not_negative():
    with pytest.raises(ValueError, match="at least 0, got dice -1 and uv 2"):
        EstimatorLoss(dice=-1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (8,)}, "of 2 to 6 levels and decoder_layers of one less"),
        ({"decoder_layers": (1, 1, 1)}, "decoder_layers of one less"),
        ({"channels": (8, 16, 20)}, "channels multiples of norm_num_groups"),
        ({"encoder_layers": (0, 1, -1)}, "layers must be at least 0"),
        ({"sample_size": (64,)}, r"sample_size must be \(height, width\)"),
        ({"sample_size": (64, 8)}, "at least 16 pixels each"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DensePoseEstimator(**{**TOY, **changes})


def test_the_published_size_is_within_its_limits():
    count = sum(p.numel() for p in DensePoseEstimator().parameters())
    assert count <= 4_000_000
    assert 2 * count < 10_000_000


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((128, 88), (16, 24, 112, 64)),  # the whole frame, twice as large as the network's
        ((300, 400), (40, 100, 280, 200)),  # landscape
        ((400, 150), (100, 60, 300, 110)),
        ((30, 20), (3, 5, 27, 15)),  # smaller than the network's own
    ],
)
def test_a_map_has_the_size_and_place_of_its_photograph(size, box):
    pose = estimate_densepose(photo_of(size, box), ByColour())
    assert pose.size == size
    truth = np.zeros(size, dtype=np.uint8)
    top, left, bottom, right = box
    truth[top:bottom, left:right] = 2
    truth[top : top + (bottom - top) // 4, left:right] = 1
    wrong = (pose.labels != truth).mean()
    border = 2 * ((bottom - top) + (right - left)) * max(1.0, (bottom - top) / 64) / truth.size
    assert wrong < border
    width = right - left
    inside = pose.uv[:, top + (bottom - top) // 2, left + width // 4 : right - width // 4]
    np.testing.assert_allclose(inside[0], 1, atol=0.02)
    assert (np.diff(inside[1]) > 0).all()


def test_a_small_person_is_looked_at_again_from_nearby():
    network = ByColour()
    photo = photo_of((600, 400), (300, 200, 420, 250))
    pose = estimate_densepose(photo, network)
    assert len(network.calls) == 2
    assert (pose.labels[300:420, 200:250] > 0).mean() > 0.97
    far = images.to_tensor(PersonFrame.around(np.ones((600, 400)), size=(64, 44), margin=0.0).image(photo))
    torch.testing.assert_close(network.calls[0][:1], far)
    share = [body_found(network(call).labels)[0] for call in network.calls[:2]]
    assert share[1] > 8 * share[0]


def test_a_large_person_is_looked_at_once():
    network = ByColour()
    estimate_densepose(photo_of((128, 88), (4, 8, 124, 80)), network)
    assert len(network.calls) == 1


def test_u_and_v_of_a_large_photograph_are_smooth_inside_a_part_and_jump_between_parts():
    """Enlarged eight times: neither blocks of one value, nor values of two parts mixed at their border."""

    class Steps(ByColour):
        def forward(self, pictures):
            estimate = super().forward(pictures)
            estimate.uv[:, 0] = (estimate.labels.argmax(1) == 1).float()  # U says which part it is
            return estimate

    pose = estimate_densepose(photo_of((512, 352), (40, 60, 480, 300)), Steps())
    above, below = pose.labels == 1, pose.labels == 2
    assert pose.uv[0][above].min() > 0.9999
    assert pose.uv[0][below].max() < 0.0001
    across = np.diff(pose.uv[1, 300, 70:290])
    assert across.min() > 0
    assert across.max() < 1.5 / 352


def test_it_looks_at_the_mirror_image_too():
    """A network that sees nothing on the left of a picture, and U, V of 0.2, 0.3 everywhere."""

    class HalfBlind(ByColour):
        def forward(self, pictures):
            logits = torch.zeros(len(pictures), NUM_LABELS, *pictures.shape[-2:])
            logits[:, 0] = 1
            logits[:, 13, :16, 22:] = 9  # a limb, above: U, V are the same on both sides
            logits[:, 2, 16:32, 22:] = 9  # the front: V is turned
            logits[:, 3, 32:, 22:] = 9  # a hand: U is turned
            return Estimate(logits, torch.tensor([0.2, 0.3]).view(1, 2, 1, 1).expand(len(pictures), 2, 64, 44))

    labels, uv = look_twice(torch.zeros(2, 3, 64, 44), HalfBlind())
    found = labels.argmax(1)
    assert found.shape == (2, 64, 44)
    for rows, left, right, turned in ((slice(16), 14, 13, (0.2, 0.3)), (slice(16, 32), 2, 2, (0.2, 0.7)),
                                      (slice(32, 64), 4, 3, (0.8, 0.3))):  # fmt: skip
        assert (found[:, rows, :22] == left).all()
        assert (found[:, rows, 22:] == right).all()
        seen, mirrored = uv[0, :, rows, 30].mean(1), uv[0, :, rows, 10].mean(1)
        if left != right:  # else one part, whose form goes through both
            torch.testing.assert_close(seen, torch.tensor([0.2, 0.3]))
            torch.testing.assert_close(mirrored, torch.tensor(turned))
    assert labels.softmax(1)[0, 13, 0, 30].item() == pytest.approx(0.5, abs=0.02)  # half as sure as the one look


@pytest.mark.parametrize("certainty", [10.0, 0.6])
def test_a_picture_of_nobody_is_an_error(certainty):
    empty = photo_of((128, 88), (0, 0, 0, 0)) if certainty == 10.0 else photo_of((128, 88), (10, 10, 110, 70))
    with pytest.raises(ValueError, match=r"street.jpg: no person was found \(.*give a photograph of one person"):
        estimate_densepose(empty, ByColour(certainty), "street.jpg")


def test_a_second_look_that_finds_nobody_does_not_undo_the_first():
    class OnceOnly(ByColour):
        def forward(self, pictures):
            estimate = super().forward(pictures)
            return estimate if len(self.calls) == 1 else Estimate(estimate.labels * 0, estimate.uv)

    assert (estimate_densepose(photo_of((600, 400), (300, 200, 420, 250)), OnceOnly()).labels > 0).any()


def test_what_is_no_picture_is_told_by_name():
    with pytest.raises(ValueError, match="me: no such file"):
        estimate_densepose("nowhere.jpg", ByColour(), "me")


def test_it_is_saved_and_loaded_in_float32(tmp_path):
    estimator, picture = toy(), torch.rand(1, 3, 64, 44)
    estimator.half().save_pretrained(tmp_path)
    loaded = load_estimator(tmp_path)
    assert loaded.dtype == torch.float32
    assert loaded.size == (64, 44)
    for a, b in zip(estimator.float()(picture), loaded(picture), strict=True):
        assert torch.equal(a, b)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["sample_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="lacks the keys: sample_size"):
        load_estimator(tmp_path)


def test_the_bundled_estimator_is_small_and_the_default(tmp_path):
    estimator = open_estimator()
    assert estimator.size == (192, 128)
    assert sum(parameter.numel() for parameter in estimator.parameters()) <= 4e6
    assert sum(file.stat().st_size for file in (BUNDLED / "densepose_estimator").iterdir()) < 10e6
    toy().save_pretrained(tmp_path)
    assert open_estimator(tmp_path).size == (64, 44)


@pytest.mark.parametrize("name", ["astronaut", "camera"])
def test_real_photographs_go_through(name):
    """Whether what is found is right, benchmarks/estimator.py tells; here a network finds a torso where it is dark."""
    data = pytest.importorskip("skimage.data")
    photo = getattr(data, name)()

    class Dark(ByColour):
        def forward(self, pictures):
            logits = torch.zeros(len(pictures), 25, *pictures.shape[-2:])
            logits[:, 2] = -30 * pictures.mean(1) - 10
            return Estimate(logits, torch.full((len(pictures), 2, *pictures.shape[-2:]), 0.5))

    pose = estimate_densepose(photo, Dark())
    assert isinstance(pose, DensePose)
    assert pose.size == photo.shape[:2]
    grey = photo if photo.ndim == 2 else photo.mean(-1)
    assert grey[pose.labels > 0].mean() < 60 < grey[pose.labels == 0].mean()
