"""Disentangled guidance: one prediction from predictions with and without pose and appearance (method.md 5).

Every published formula is a weighted sum of four predictions ("branches"), with weights that depend on the two scales
and sum to 1. Written so, the branches that cancel are those of weight zero: with equal scales the default formula
needs two of its three, and no branch of weight zero is ever computed.

    symbol       e(0,0)          e(pose,0)   e(0,src)     e(pose,src)
    branch       unconditional   pose        appearance   full
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from torch import Tensor

from pocold.models.pose_constraint import at_least_float32

Branch = Literal["unconditional", "pose", "appearance", "full"]
BRANCHES: tuple[Branch, ...] = ("unconditional", "pose", "appearance", "full")
# Which conditions a branch sees.
WITH_POSE: frozenset[Branch] = frozenset({"pose", "full"})
WITH_APPEARANCE: frozenset[Branch] = frozenset({"appearance", "full"})


class BranchWeights(NamedTuple):
    """The weight of each branch in the guided prediction.

    ``scales`` are w_p and w_s where the UNet itself is told them (``guidance_embedding``): what it predicts for
    ``full`` is guided already.
    """

    unconditional: float = 0.0
    pose: float = 0.0
    appearance: float = 0.0
    full: float = 0.0
    scales: tuple[float, float] | None = None

    @property
    def needed(self) -> tuple[Branch, ...]:
        """The branches that have to be predicted, in the order of :data:`BRANCHES`."""
        return tuple(branch for branch in BRANCHES if getattr(self, branch) != 0)


def conditional(pose_scale: float, appearance_scale: float) -> BranchWeights:
    """No guidance: ``e(pose,src)``. Ignores both scales. Published as ``no``."""
    return BranchWeights(full=1.0)


def pose_only(pose_scale: float, appearance_scale: float) -> BranchWeights:
    """``e(0,0) + w_p (e(pose,0) - e(0,0))``. Ignores the appearance. Published as ``cat_only``."""
    return BranchWeights(unconditional=1 - pose_scale, pose=pose_scale)


def pose_first(pose_scale: float, appearance_scale: float) -> BranchWeights:
    """``e(0,0) + w_p (e(pose,0) - e(0,0)) + w_s (e(pose,src) - e(pose,0))``. Published as ``cat_ref``, the default."""
    return BranchWeights(unconditional=1 - pose_scale, pose=pose_scale - appearance_scale, full=appearance_scale)


def appearance_first(pose_scale: float, appearance_scale: float) -> BranchWeights:
    """``e(0,0) + w_s (e(0,src) - e(0,0)) + w_p (e(pose,src) - e(0,src))``. Published as ``ref_cat``."""
    return BranchWeights(unconditional=1 - appearance_scale, appearance=appearance_scale - pose_scale, full=pose_scale)


def independent(pose_scale: float, appearance_scale: float) -> BranchWeights:
    """``e(0,0) + w_s (e(0,src) - e(0,0)) + w_p (e(pose,0) - e(0,0))``. Published as ``dis``."""
    return BranchWeights(unconditional=1 - appearance_scale - pose_scale, pose=pose_scale, appearance=appearance_scale)


def joint(pose_scale: float, appearance_scale: float) -> BranchWeights:
    """``e(0,0) + w_s (e(pose,src) - e(0,0))``. Ignores the pose scale. Published as ``and``."""
    return BranchWeights(unconditional=1 - appearance_scale, full=appearance_scale)


GUIDANCE: dict[str, Callable[[float, float], BranchWeights]] = {
    formula.__name__: formula for formula in (conditional, pose_only, pose_first, appearance_first, independent, joint)
}


def _learned(pose_scale: float, appearance_scale: float) -> BranchWeights:
    """:func:`pose_first`, as a UNet with ``guidance_embedding`` has learned it: one prediction."""
    return BranchWeights(full=1.0, scales=(pose_scale, appearance_scale))


def _learned_conditional(pose_scale: float, appearance_scale: float) -> BranchWeights:
    return _learned(1.0, 1.0)


DISTILLED: dict[str, Callable[[float, float], BranchWeights]] = {
    pose_first.__name__: _learned,
    conditional.__name__: _learned_conditional,
}


def guidance_formula(name: str, distilled: bool = False) -> Callable[[float, float], BranchWeights]:
    """The formula of a name.

    Args:
        name: one of :data:`GUIDANCE`.
        distilled: as the one prediction of a UNet with ``guidance_embedding``.

    Raises:
        ValueError: for an unknown name, or one that such a UNet has not learned; it lists all that there are.
    """
    if name not in GUIDANCE:
        raise ValueError(f"unknown guidance {name!r}: expected one of {', '.join(GUIDANCE)}")
    if not distilled:
        return GUIDANCE[name]
    if name not in DISTILLED:
        raise ValueError(
            f"guidance {name!r}: this model has its guidance distilled into it: expected one of {', '.join(DISTILLED)}"
        )
    return DISTILLED[name]


def decayed(scale: float, timestep: float, floor: float, num_train_timesteps: int = 1000) -> float:
    """Guidance decay: ``max(w t / 1000, w_end)`` at time step ``t`` (method.md 5)."""
    return max(scale * timestep / num_train_timesteps, floor)


def decaying(
    formula: Callable[[float, float], BranchWeights],
    pose_scale: float,
    appearance_scale: float,
    floor: float | None,
    num_train_timesteps: int,
) -> Callable[[float], BranchWeights]:
    """The weights of a formula at a time step, whose scales decay; ``floor`` None keeps them constant."""

    def weights_at(timestep: float) -> BranchWeights:
        scales = pose_scale, appearance_scale
        if floor is None:
            return formula(*scales)
        # never above the scale that was asked for, which the published rule would raise to the floor
        return formula(*(decayed(w, timestep, min(w, floor), num_train_timesteps) for w in scales))

    return weights_at


def guide(predictions: Mapping[Branch, Tensor], weights: BranchWeights) -> Tensor:
    """The guided prediction: the weighted sum of the needed branches.

    Args:
        predictions: of every branch in ``weights.needed``, ``(B, C, H, W)``.
        weights: from one of the formulas.

    Returns:
        ``(B, C, H, W)``, at least float32: with scales around 5, half precision would lose the small differences that
        guide.
    """
    guided: Tensor | float = 0.0
    for branch in weights.needed:
        guided = guided + getattr(weights, branch) * at_least_float32(predictions[branch])
    assert isinstance(guided, Tensor)  # the weights sum to 1, so that one of them is not zero
    return guided
