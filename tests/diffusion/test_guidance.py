import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pocold.diffusion.guidance import BRANCHES, GUIDANCE, BranchWeights, decayed, guidance_formula, guide

SCALES = st.floats(-8, 8, allow_nan=False)

# method.md 5, with n = e(0,0), p = e(pose,0), s = e(0,src), f = e(pose,src)
PUBLISHED = {
    "conditional": lambda n, p, s, f, w_p, w_s: f,
    "pose_only": lambda n, p, s, f, w_p, w_s: n + w_p * (p - n),
    "pose_first": lambda n, p, s, f, w_p, w_s: n + w_p * (p - n) + w_s * (f - p),
    "appearance_first": lambda n, p, s, f, w_p, w_s: n + w_s * (s - n) + w_p * (f - s),
    "independent": lambda n, p, s, f, w_p, w_s: n + w_s * (s - n) + w_p * (p - n),
    "joint": lambda n, p, s, f, w_p, w_s: n + w_s * (f - n),
}


def predictions():
    generator = torch.Generator().manual_seed(0)
    return {branch: torch.randn(2, 4, 3, 3, generator=generator) for branch in BRANCHES}


@given(w_p=SCALES, w_s=SCALES, name=st.sampled_from(sorted(PUBLISHED)))
def test_formulas(w_p, w_s, name):
    branches = predictions()
    expected = PUBLISHED[name](*(branches[branch] for branch in BRANCHES), w_p, w_s)
    torch.testing.assert_close(guide(branches, guidance_formula(name)(w_p, w_s)), expected, atol=1e-4, rtol=1e-4)


def test_all_published_formulas_exist():
    assert GUIDANCE.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", ["pose_first", "appearance_first"])
def test_scales_1_give_the_conditional_and_0_the_unconditional_prediction(name):
    branches, formula = predictions(), guidance_formula(name)
    assert formula(1.0, 1.0).needed == ("full",)
    assert torch.equal(guide(branches, formula(1.0, 1.0)), branches["full"])
    assert formula(0.0, 0.0).needed == ("unconditional",)
    assert torch.equal(guide(branches, formula(0.0, 0.0)), branches["unconditional"])


@pytest.mark.parametrize(
    ("name", "scales", "needed"),
    [
        ("pose_first", (4.0, 6.0), ("unconditional", "pose", "full")),
        ("pose_first", (5.0, 5.0), ("unconditional", "full")),  # the pose branch cancels
        ("pose_first", (1.0, 6.0), ("pose", "full")),
        ("pose_first", (4.0, 0.0), ("unconditional", "pose")),
        ("appearance_first", (5.0, 5.0), ("unconditional", "full")),
        ("appearance_first", (4.0, 6.0), ("unconditional", "appearance", "full")),
        ("independent", (4.0, 6.0), ("unconditional", "pose", "appearance")),
        ("joint", (4.0, 6.0), ("unconditional", "full")),
        ("pose_only", (4.0, 6.0), ("unconditional", "pose")),
        ("conditional", (4.0, 6.0), ("full",)),
    ],
)
def test_needed_branches(name, scales, needed):
    assert guidance_formula(name)(*scales).needed == needed


def test_half_precision_is_guided_in_float32():
    branches = {branch: tensor.to(torch.bfloat16) for branch, tensor in predictions().items()}
    result = guide(branches, BranchWeights(unconditional=-4.0, full=5.0))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, -4 * branches["unconditional"].float() + 5 * branches["full"].float())


@pytest.mark.parametrize(("timestep", "expected"), [(999, 4.995), (801, 4.005), (601, 3.005), (599, 3.0), (1, 3.0)])
def test_decay(timestep, expected):
    assert decayed(5.0, timestep, 3.0) == pytest.approx(expected)


def test_decay_counts_in_the_models_own_time_steps():
    assert decayed(5.0, 400, 1.0, num_train_timesteps=500) == pytest.approx(4.0)


def test_unknown_name_lists_the_known():
    with pytest.raises(
        ValueError, match=r"unknown guidance 'cat_ref': expected one of conditional, pose_only, pose_first"
    ):
        guidance_formula("cat_ref")
