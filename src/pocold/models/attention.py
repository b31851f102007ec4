"""Pose-constrained double attention (PoCoLD, method.md 3): extract, distribute, and what the pose constraint penalises.

Legend: B batch, C channels, C' source channels, H W level size, N = H*W target tokens, M source tokens, A heads,
D = C/A head width, K filters.

    E = softmax over M of  s F_e k^T   (K, M)      extraction:    source  -> K filters
    D = softmax over K of  s F_d q^T   (K, N)      distribution:  filters -> target
    attention(x, r) = Wo (D^T (E v)) + s x

``E v``, the *appearance code*, depends on neither the pose nor the time step. The target-by-source product
``A = D^T E`` is never formed: both halves are scaled-dot-product attentions whose cost is linear in N and in M.
"""

import torch
import torch.nn.functional as F
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from pocold.models.pose_constraint import LevelConstraint, at_least_float32, pose_constraint_penalty


class DoubleAttention(nn.Module):
    """One double attention layer, from a source feature map to a target feature map of any other size.

    The published layer has a single learned scalar ``s``, both as the scale of the logits (there is no ``1/sqrt(D)``)
    and as the gain of the residual. Here these are two parameters, ``logit_scale`` and ``residual_scale``, that start
    equal at 1 and can learn apart; a published checkpoint's scalar is read into both.

    Args:
        channels: C, a multiple of ``num_heads``.
        source_channels: C'.
        num_heads: A.
        num_filters: K.
    """

    def __init__(self, channels: int, source_channels: int, num_heads: int = 8, num_filters: int = 64) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"channels must be a multiple of num_heads, got {channels} channels and {num_heads} heads")
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(source_channels)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(source_channels, channels, bias=False)
        self.to_v = nn.Linear(source_channels, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        # Head a owns columns a*D..(a+1)*D-1, in the filters as in the projections.
        std = (channels // num_heads) ** -0.5  # logits of order one at the start
        self.extraction_filters = nn.Parameter(torch.randn(num_filters, channels) * std)
        self.distribution_filters = nn.Parameter(torch.randn(num_filters, channels) * std)
        self.logit_scale = nn.Parameter(torch.ones(1))
        self.residual_scale = nn.Parameter(torch.ones(1))

    def forward(
        self, hidden: Tensor, source: Tensor, constraint: LevelConstraint | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from ``hidden (B, C, H, W)`` to ``source (B, C', H', W')``.

        Returns:
            The result ``(B, C, H, W)`` and, where a ``constraint`` is given, the penalty of each sample that it has
            labels of, ``(B,)`` or fewer.
        """
        if constraint is None:
            return self.distribute(hidden, self.extract(source)), None
        # The penalty needs both probability maps, so they are formed once and used for the result as well.
        key, value = self._keys_and_values(source)
        extraction = self._extraction(key)  # (B, A, M, K)
        distribution = self.distribution_probabilities(hidden)  # (B, A, N, K)
        code = extraction.transpose(-1, -2).to(value.dtype) @ value  # (B, A, K, D)
        result = self._merge(hidden, distribution.to(value.dtype) @ code)
        if constraint.rows is not None:
            distribution, extraction = (p.index_select(0, constraint.rows) for p in (distribution, extraction))
        return result, pose_constraint_penalty(distribution, extraction, constraint)

    @apply_forward_hook  # offloading hooks forward, which nobody calls here
    def extract(self, source: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Appearance code ``E v`` of a source: what the K filters of every head gather from it.

        Args:
            source: ``(B, C', H', W')``; any size.
            token_mask: bool ``(B, H'*W')``, True for tokens to extract from. A sample without any gives zeros.

        Returns:
            ``(B, A, K, D)``.
        """
        key, value = self._keys_and_values(source)
        filters = self._scaled(self.extraction_filters).expand(len(source), -1, -1, -1)
        if token_mask is None:
            return F.scaled_dot_product_attention(filters, key, value, scale=1.0)
        present = token_mask.any(-1)
        mask = (token_mask | ~present[:, None])[:, None, None]  # a row without tokens would be 0/0
        code = F.scaled_dot_product_attention(filters, key, value, attn_mask=mask, scale=1.0)
        return code * present.to(code.dtype)[:, None, None, None]

    @apply_forward_hook
    def extraction_mass(self, source: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Logarithm of the extraction softmax's denominators, at least float32, ``(B, A, K)``.

        With it, codes of two sources merge exactly into the code of their union, as their softmaxes do. It is
        ``-inf`` where ``token_mask`` (as in :meth:`extract`) leaves nothing.
        """
        key = self._keys(source)
        logits = at_least_float32(self._scaled(self.extraction_filters) @ key.transpose(-1, -2))  # (B, A, K, M)
        if token_mask is not None:
            logits = logits.masked_fill(~token_mask[:, None, None], -torch.inf)
        return logits.logsumexp(-1)

    @apply_forward_hook
    def distribute(self, hidden: Tensor, code: Tensor) -> Tensor:
        """Hand an appearance code out to the target's pixels, and add the scaled residual.

        Args:
            hidden: ``(B, C, H, W)``.
            code: ``(B, A, K, D)``, or ``(1, A, K, D)`` for one person in B poses.

        Returns:
            ``(B, C, H, W)``.
        """
        filters = self._scaled(self.distribution_filters).expand(len(hidden), -1, -1, -1)
        code = code.to(filters.dtype).expand(len(hidden), -1, -1, -1)
        return self._merge(hidden, F.scaled_dot_product_attention(self._queries(hidden), filters, code, scale=1.0))

    def extraction_probabilities(self, source: Tensor) -> Tensor:
        """``E^T``, at least float32, ``(B, A, M, K)``: for every filter a distribution over the source's tokens."""
        return self._extraction(self._keys(source))

    def distribution_probabilities(self, hidden: Tensor) -> Tensor:
        """``D^T``, at least float32, ``(B, A, N, K)``: for every target token a distribution over the filters."""
        logits = self._queries(hidden) @ self._scaled(self.distribution_filters).transpose(-1, -2)
        return at_least_float32(logits).softmax(-1)

    def attention_map(self, hidden: Tensor, source: Tensor) -> Tensor:
        """``A = D^T E``, at least float32, ``(B, A, N, M)``. Quadratic: for figures and tests only."""
        return self.distribution_probabilities(hidden) @ self.extraction_probabilities(source).transpose(-1, -2)

    def _extraction(self, key: Tensor) -> Tensor:
        return at_least_float32(key @ self._scaled(self.extraction_filters).transpose(-1, -2)).softmax(-2)

    def _scaled(self, filters: Tensor) -> Tensor:
        """``s F`` per head, ``(A, K, D)``: scaling K filters is cheaper than scaling the logits."""
        return (filters * self.logit_scale).unflatten(1, (self.num_heads, -1)).transpose(0, 1)

    def _queries(self, hidden: Tensor) -> Tensor:
        return self._heads(self.to_q(hidden.flatten(2).transpose(1, 2)))  # (B, A, N, D)

    def _keys(self, source: Tensor) -> Tensor:
        return self._heads(self.to_k(self.norm(source.flatten(2).transpose(1, 2))))  # (B, A, M, D)

    def _keys_and_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.norm(source.flatten(2).transpose(1, 2))  # (B, M, C')
        return self._heads(self.to_k(tokens)), self._heads(self.to_v(tokens))  # (B, A, M, D)

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, T, C) -> (B, A, T, D)

    def _merge(self, hidden: Tensor, attended: Tensor) -> Tensor:
        tokens = self.to_out(attended.transpose(1, 2).flatten(2))  # (B, A, N, D) -> (B, N, C)
        # Back to the convolutions' own memory layout: a token-ordered map would slow down every layer after this one.
        result = tokens.transpose(1, 2).contiguous().view_as(hidden)
        return result + self.residual_scale * hidden
