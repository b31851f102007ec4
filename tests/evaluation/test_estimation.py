"""Numbers of found maps: against hand-made maps whose answer one can count."""

import math

import pytest
import torch

from pocold.densepose.labels import MIRRORED_LABEL
from pocold.evaluation.estimation import LIMBS, Confusions, confusions
from pocold.models.densepose_estimator import Estimate


def maps(*labels):
    return torch.tensor(labels, dtype=torch.uint8)[None, None]


def added(found, truth, found_uv=0.0, true_uv=0.0):
    result = Confusions()
    result.add(found, torch.full((1, 2, 1, found.shape[-1]), found_uv), truth,
               torch.full((1, 2, 1, truth.shape[-1]), true_uv))  # fmt: skip
    return result


def test_counted_by_hand():
    #           right: 0 2 2 9  lost: 2->0  side: 9->10, front taken for back across: 9->8, same side: 9->7
    truth = maps(0, 2, 2, 9, 2, 9, 9, 9)
    found = maps(0, 2, 2, 9, 0, 10, 8, 7)
    result = added(found, truth, 0.25, 0.5)
    summary = result.summary()
    assert result.part_iou() == pytest.approx(
        {
            "torso front": 2 / 3,
            "right upper leg front": 1 / 4,
            "left upper leg front": 0.0,
            "left upper leg back": 0.0,
            "right upper leg back": 0.0,
        }
    )
    assert summary["miou"] == pytest.approx((2 / 3 + 1 / 4) / 5)
    assert summary["accuracy"] == 4 / 8
    assert summary["body_accuracy"] == 3 / 7
    assert summary["mirrored"] == 1 / 4
    assert summary["other_side"] == 2 / 4
    assert summary["uv_error"] == pytest.approx(0.25)


def test_the_truth_is_perfect_and_its_mirror_image_mixes_up_every_limb():
    truth = torch.arange(25, dtype=torch.uint8)[None, None]
    perfect = added(truth, truth).summary()
    assert (perfect["miou"], perfect["accuracy"], perfect["mirrored"], perfect["uv_error"]) == (1, 1, 0, 0)
    mirrored = added(torch.from_numpy(MIRRORED_LABEL)[None, None], truth).summary()
    assert mirrored["mirrored"] == mirrored["other_side"] == 1
    assert len(LIMBS) == 20


def test_uv_counts_where_the_part_is_right_only():
    truth = maps(2, 2, 0)
    found = maps(2, 9, 0)
    result = Confusions()
    uv = torch.tensor([[[[0.1, 0.9, 0.9]], [[0.3, 0.9, 0.9]]]])
    result.add(found, uv, truth, torch.zeros(1, 2, 1, 3))
    assert result.summary()["uv_error"] == pytest.approx(0.2)


def test_sums_are_the_same_in_any_order():
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randint(0, 25, (2, 9, 7), generator=generator), torch.randint(0, 25, (2, 9, 7), generator=generator))
        for _ in range(3)
    ]
    uv = torch.rand(2, 2, 9, 7)
    one, other, third = Confusions(), Confusions(), Confusions()
    for found, truth in batches:
        one.add(found, uv, truth, uv / 2)
    for found, truth in batches[::-1][:2]:
        other.add(found, uv, truth, uv / 2)
    third.add(batches[0][0], uv, batches[0][1], uv / 2)
    other.merge(third)
    assert torch.equal(one.pixels, other.pixels)
    assert one.summary() == pytest.approx(other.summary())


def test_without_a_body_there_is_nothing_to_ask():
    summary = added(maps(0, 0), maps(0, 0)).summary()
    assert summary["accuracy"] == 1
    assert math.isnan(summary["miou"])
    assert math.isnan(summary["uv_error"])


def test_an_estimator_is_measured_by_its_most_likely_labels():
    truth = maps(0, 2, 9)
    logits = torch.nn.functional.one_hot(maps(0, 2, 2).long(), 25).movedim(-1, 1).float()
    uv = torch.zeros(1, 2, 1, 3)
    found = confusions(lambda pictures: Estimate(logits, uv), [(torch.zeros(1, 3, 1, 3), truth, uv)] * 2)
    assert found.pixels[9, 2] == 2
    assert found.summary()["accuracy"] == pytest.approx(2 / 3)


def test_maps_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"need one shape, got labels \(1, 1, 2\) and \(1, 1, 3\)"):
        Confusions().add(maps(0, 0), torch.zeros(1, 2, 1, 2), maps(0, 0, 0), torch.zeros(1, 2, 1, 3))
