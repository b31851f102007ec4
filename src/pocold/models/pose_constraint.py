"""The pose constraint of training in time linear in the number of pixels (PoCoLD, method.md 3).

Attention between different body parts is penalised, for one layer and one sample:

    mean over heads, i, j of  [p_t(i) != p_s(j)] A_ij^2
      = ( <G^D, G^E> - sum_p <G^D_p, G^E_p> ) / (A N M)       with the Grams  G^D_p = sum_{i in p} d_i d_i^T  (K, K)

so the target-by-source product ``A`` never exists. The Grams are cheap where tokens of one part lie side by side: every
part's tokens are cut into chunks of equal length (padded with zeros), and all chunks are multiplied as one batch. Only
at levels so small that ``A`` has fewer entries than the Grams, the product itself is the cheaper of two exact forms.

Legend: B batch, A heads, N target tokens, M source tokens, T either, K filters, P parts that occur, S chunks of c
tokens.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from pocold.densepose.encoding import resize_labels


@dataclass(frozen=True)
class TokenGroups:
    """Tokens of a batch of label maps, grouped by part into chunks.

    Attributes:
        slots: int64 ``(B, S*c)``, the token in each place of the chunks; ``T`` where a chunk is padded.
        places: int64 ``(B, T)``, the place of each token: the inverse of ``slots``.
        parts: int64 ``(B, S)``, the part of each chunk, in 0..P-1.
        num_parts: P.
    """

    slots: Tensor
    places: Tensor
    parts: Tensor
    num_parts: int

    @classmethod
    def of(cls, labels: Tensor, num_parts: int) -> "TokenGroups":
        """Group by ``labels``, int64 ``(B, T)`` in 0..P-1."""
        batch, tokens = labels.shape
        # About one chunk per part of average size: shorter ones multiply slowly, longer ones are mostly padding.
        chunk = min(64, max(8, 1 << (tokens // 24).bit_length() >> 1))
        counts = torch.zeros(batch, num_parts, dtype=torch.int64, device=labels.device)
        counts.scatter_add_(1, labels, torch.ones_like(labels))
        chunks = (counts + chunk - 1) // chunk  # (B, P)
        order = labels.argsort(dim=1, stable=True)
        sorted_labels = labels.gather(1, order)
        rank = torch.arange(tokens, device=labels.device) - (counts.cumsum(1) - counts).gather(1, sorted_labels)
        place = (chunks.cumsum(1) - chunks).gather(1, sorted_labels) * chunk + rank
        total = int(chunks.sum(1).max())
        slots = torch.full((batch, total * chunk), tokens, dtype=torch.int64, device=labels.device)
        parts = torch.zeros(batch, total, dtype=torch.int64, device=labels.device)
        return cls(
            slots=slots.scatter_(1, place, order),
            places=torch.empty_like(order).scatter_(1, order, place),
            parts=parts.scatter_(1, place // chunk, sorted_labels),
            num_parts=num_parts,
        )

    def gather(self, tokens: Tensor) -> Tensor:
        """``(B, A, T, K)`` -> chunks ``(B*A*S, c, K)``."""
        batch, heads, length, width = tokens.shape
        index = self.slots[:, None] + _row_offsets(batch, heads, length, tokens.device)
        padding = (self.slots == length)[:, None].expand(-1, heads, -1).reshape(-1, 1)
        # A padded place points one past its own row; the mask clears whatever is read there.
        index = index.flatten().clamp_(max=batch * heads * length - 1)
        rows = tokens.reshape(-1, width).index_select(0, index)
        return rows.masked_fill_(padding, 0).view(batch * heads * self.parts.shape[1], -1, width)

    def scatter(self, chunks: Tensor, heads: int) -> Tensor:
        """Chunks ``(B*A*S, c, K)`` -> ``(B, A, T, K)``: the inverse of :meth:`gather`."""
        batch, length = self.places.shape
        index = self.places[:, None] + _row_offsets(batch, heads, self.slots.shape[1], chunks.device)
        return chunks.reshape(-1, chunks.shape[-1]).index_select(0, index.flatten()).view(batch, heads, length, -1)

    def part_index(self, heads: int) -> Tensor:
        """Row of the flattened ``(B, A, P)`` that each of the ``B*A*S`` chunks belongs to."""
        batch = len(self.parts)
        return (self.parts[:, None] + _row_offsets(batch, heads, self.num_parts, self.parts.device)).flatten()

    def grams(self, tokens: Tensor) -> Tensor:
        """``G_p`` of ``tokens (B, A, T, K)``, as ``(B, A, P, K, K)``."""
        batch, heads, _, width = tokens.shape
        chunks = self.gather(tokens)
        products = torch.bmm(chunks.transpose(1, 2), chunks).flatten(1)
        grams = products.new_zeros(batch * heads * self.num_parts, width * width)
        return grams.index_add_(0, self.part_index(heads), products).view(batch, heads, self.num_parts, width, width)


def _row_offsets(batch: int, heads: int, length: int, device: torch.device) -> Tensor:
    return (torch.arange(batch * heads, device=device) * length).view(batch, heads, 1)


@dataclass(frozen=True)
class LevelConstraint:
    """The labels of one level, and their groups, shared by all of its attentions.

    Attributes:
        target_labels: int64 ``(B, N)``, in 0..P-1.
        source_labels: int64 ``(B, M)``, likewise.
        num_parts: P.
        rows: int64 ``(B,)``, of the samples, where there are more of them than labels; None if there are as many.
    """

    target_labels: Tensor
    source_labels: Tensor
    num_parts: int
    rows: Tensor | None = None

    @cached_property
    def target(self) -> TokenGroups:
        return TokenGroups.of(self.target_labels, self.num_parts)

    @cached_property
    def source(self) -> TokenGroups:
        return TokenGroups.of(self.source_labels, self.num_parts)


@dataclass(frozen=True)
class PoseConstraint:
    """The body labels that the pose constraint compares.

    Attributes:
        target: ``(B, H, W)``, integers 0..24, labels of the pictures to be drawn.
        source: ``(B, H', W')``, likewise of the photographs; any other size.
        rows: int64 ``(B,)``, which of the UNet's sources they belong to, where not all are to be compared (a sample
            that lost its pose has no penalty, and computing one costs as much); None for all.
    """

    target: Tensor
    source: Tensor
    rows: Tensor | None = None
    _levels: dict[tuple[tuple[int, int], tuple[int, int]], LevelConstraint] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.target.ndim != 3 or self.source.ndim != 3 or len(self.target) != len(self.source):
            raise ValueError(
                "a pose constraint takes label maps (B, H, W) of one batch size, got "
                f"target {tuple(self.target.shape)} and source {tuple(self.source.shape)}"
            )
        if self.rows is not None and len(self.rows) != len(self.target):
            raise ValueError(f"expected rows of {len(self.target)} label maps, got {len(self.rows)}")

    def level(self, target_size: tuple[int, int], source_size: tuple[int, int]) -> LevelConstraint:
        """Groups for features of these sizes (height, width); labels are reduced to each level's own size."""
        key = (target_size, source_size)
        if key not in self._levels:
            target = resize_labels(self.target, target_size).flatten(1).long()
            source = resize_labels(self.source, source_size).flatten(1).long()
            # Parts that occur nowhere would only add empty Grams.
            occurring, compact = torch.cat([target, source], dim=1).unique(return_inverse=True)
            split = target.shape[1]
            self._levels[key] = LevelConstraint(compact[:, :split], compact[:, split:], len(occurring), self.rows)
        return self._levels[key]


class _Penalty(torch.autograd.Function):
    """Sum over heads, i and j of ``[p_t(i) != p_s(j)] A_ij^2``; keeps nothing but its two inputs for the backward.

    With ``R_p = sum_{p' != p} G^E_p'`` the value is ``sum_i d_i^T R_{p(i)} d_i``, so its gradient with respect to
    ``d_i`` is ``2 R_{p(i)} d_i``; likewise for ``e_j`` with the Grams of D. Recomputing the Grams costs less than the
    memory that keeping them over 21 layers would take.
    """

    @staticmethod
    def forward(ctx: Any, distribution: Tensor, extraction: Tensor, constraint: LevelConstraint) -> Tensor:
        ctx.save_for_backward(distribution, extraction)
        ctx.constraint = constraint
        target, source = constraint.target.grams(distribution), constraint.source.grams(extraction)
        everything = (target.sum(2) * source.sum(2)).sum((1, 2, 3))
        return everything - (target * source).sum((1, 2, 3, 4))  # (B,)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        distribution, extraction = ctx.saved_tensors  # type: ignore[attr-defined]
        constraint: LevelConstraint = ctx.constraint  # type: ignore[attr-defined]
        sides = (distribution, constraint.target), (extraction, constraint.source)
        grams = [groups.grams(tokens) for tokens, groups in sides]
        results = []
        for (tokens, groups), other in zip(sides, reversed(grams), strict=True):
            rest = (other.sum(2, keepdim=True) - other) * (2 * gradients[0]).view(-1, 1, 1, 1, 1)
            heads = tokens.shape[1]
            matrices = rest.flatten(0, 2).index_select(0, groups.part_index(heads))  # (B*A*S, K, K), symmetric
            results.append(groups.scatter(torch.bmm(groups.gather(tokens), matrices), heads))
        return results[0], results[1], None


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision becomes float32, everything else stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def product_is_smaller(pairs: int, num_parts: int, num_filters: int) -> bool:
    """Whether ``A``, with N M entries, is smaller than one side's Grams: then it is the faster form of the penalty."""
    return pairs <= num_parts * num_filters**2


def pose_constraint_penalty(distribution: Tensor, extraction: Tensor, constraint: LevelConstraint) -> Tensor:
    """The pose penalty of one attention layer (method.md 3, ``L_pose``), per sample.

    Args:
        distribution: ``D^T``, ``(B, A, N, K)``.
        extraction: ``E^T``, ``(B, A, M, K)``.
        constraint: the level's groups, from :meth:`PoseConstraint.level`.

    Returns:
        At least float32, ``(B,)``: the mean over heads and *all* pairs of ``A_ij^2``, counted where the labels differ.
    """
    heads, tokens, filters = distribution.shape[1:]
    pairs = tokens * extraction.shape[2]
    # Mixed precision would square and add up millions of small probabilities in half precision.
    with torch.autocast(distribution.device.type, enabled=False):
        distribution, extraction = at_least_float32(distribution), at_least_float32(extraction)
        if product_is_smaller(pairs, constraint.num_parts, filters):
            product = distribution @ extraction.transpose(-1, -2)  # (B, A, N, M)
            differ = constraint.target_labels[:, None, :, None] != constraint.source_labels[:, None, None, :]
            total = (product.square() * differ).sum((1, 2, 3))
        else:
            total = _Penalty.apply(distribution, extraction, constraint)
        return total / (heads * pairs)
