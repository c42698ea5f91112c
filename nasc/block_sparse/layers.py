"""Layers with a fixed block pattern: block-sparse, low-rank, and their mix, the Pixelfly layer.

    y = alpha * (B x) + (1 - alpha) * (U (V^T x)) + bias                  (paper, Section 3.3; arXiv 2112.00029)

B has the pattern's blocks, U and V are dense. ``alpha`` comes in four forms: a learnable number (``"scalar"``, the paper's
text), its sigmoid (``"sigmoid"``), one half (``"fixed"``) and a gate per input row, g = sigmoid(w.x + c) (``"gated"``, the
authors' code, which weighs the low-rank part with g). Where a scalar starts is not published; one half is taken here.
Without a low-rank part alpha is one, without blocks zero.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.block_sparse.initialisation import (
    bias_bound,
    draw_blocks,
    draw_factors,
    match_scale,
    split_weight,
)
from nasc.block_sparse.matmul import Groups, Plan, assemble, block_sparse_linear, extract, make_plan
from nasc.block_sparse.pattern import BlockPattern
from nasc.errors import ModelError, UsageError

Mix = Literal["scalar", "sigmoid", "fixed", "gated"]
Product = Callable[[Tensor, Tensor, Plan, tuple[int, int]], Tensor]
"""x W^T from (x, blocks, plan, grid), as :func:`nasc.block_sparse.matmul.block_sparse_linear` has it."""


class BlockSparse(nn.Module):
    """W x with a block-sparse W and no bias.

    The pattern is part of the state dict: weights of another pattern are refused when they are loaded.

    Args:
        pattern: Which blocks there are.
        product: How the product is computed.
    """

    def __init__(self, pattern: BlockPattern, *, product: Product = block_sparse_linear) -> None:
        super().__init__()
        self.pattern, self.product = pattern, product
        plan = make_plan(pattern)
        self._row_groups: Groups = plan.row_groups
        self._column_groups: Groups = plan.column_groups
        self.register_buffer("mask", pattern.mask.clone())
        for name in ("row", "column", "rows", "columns", "by_column", "panels", "unpanels"):
            self.register_buffer(f"_{name}", getattr(plan, name), persistent=False)
        self.blocks = nn.Parameter(torch.empty(pattern.blocks, pattern.block, pattern.block))
        self.reset_parameters()

    @property
    def plan(self) -> Plan:
        """How the blocks are stored, on the device of the layer."""
        rows: Any = (self._row, self._column, self._row_groups, self._rows)
        columns: Any = (self._column_groups, self._columns, self._by_column, self._panels, self._unpanels)
        return Plan(*rows, *columns)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """A dense draw kept on the support, rows scaled to the dense layer's variance."""
        self.blocks.copy_(draw_blocks(self.pattern, self.plan, self.blocks))

    @torch.no_grad()
    def copy_from(self, weight: Tensor) -> None:
        """Take the blocks of a dense weight of shape (out_features, in_features)."""
        self.blocks.copy_(extract(weight.to(self.blocks), self.plan, self.pattern))

    def dense(self) -> Tensor:
        """The same W as a dense matrix, shape (out_features, in_features), differentiable in the blocks."""
        return assemble(self.blocks, self.plan, self.pattern)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """W x over the last axis, W times ``scale`` where that is given.

        Args:
            x: Shape (..., in_features).
            scale: Scalar tensor; scaling the weights is cheaper than scaling the outputs.
        """
        blocks = self.blocks if scale is None else self.blocks * scale
        p, q = self.pattern.mask.shape
        padding = q * self.pattern.block - self.pattern.in_features
        rows = (functional.pad(x, (0, padding)) if padding else x).reshape(-1, q * self.pattern.block)
        if blocks.dtype != rows.dtype:
            blocks = blocks.to(rows.dtype)
        y = self.product(rows, blocks, self.plan, (p, q))
        return y[:, : self.pattern.out_features].reshape(*x.shape[:-1], self.pattern.out_features)

    def extra_repr(self) -> str:
        """Sizes and density."""
        pattern = self.pattern
        return f"{pattern.in_features}, {pattern.out_features}, block={pattern.block}, density={pattern.density:.4f}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state_dict.get(f"{prefix}mask")
        if stored is not None:
            name = prefix.rstrip(".") or type(self).__name__
            if stored.shape != self.pattern.mask.shape:
                raise ModelError(
                    f"{name}: expected the pattern of a grid of {tuple(self.pattern.mask.shape)} blocks; got one of "
                    f"{tuple(stored.shape)}",
                    "build the layer with the pattern (block, stride, seed) it was saved with",
                )
            other = BlockPattern(stored.cpu(), self.pattern.block, self.pattern.out_features, self.pattern.in_features)
            self.pattern.require_equal(other, name)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class PixelflyLinear(nn.Module):
    """A linear layer as blocks plus low rank; a drop-in for :class:`torch.nn.Linear`.

    >>> from nasc.block_sparse import flat_butterfly
    >>> layer = PixelflyLinear(flat_butterfly(64, 32, block=8, stride=2), rank=8)
    >>> layer(torch.zeros(3, 5, 32)).shape, layer.weights
    (torch.Size([3, 5, 64]), 1792)

    Args:
        pattern: Which blocks B has, or None for pure low rank.
        rank: Rank of U V^T, 0 for pure blocks.
        in_features: Needed where there is no pattern.
        out_features: Likewise.
        bias: Add a bias.
        mix: How the two parts are weighed; see the module.
        variance_matched: Start with the dense layer's output variance instead of the authors'.
        product: How the product with the blocks is computed.

    Raises:
        UsageError: There is neither a block nor a rank, or the mix is unknown.
    """

    def __init__(
        self,
        pattern: BlockPattern | None,
        rank: int = 0,
        *,
        in_features: int | None = None,
        out_features: int | None = None,
        bias: bool = True,
        mix: Mix = "scalar",
        variance_matched: bool = False,
        product: Product = block_sparse_linear,
    ) -> None:
        super().__init__()
        if pattern is not None and not pattern.blocks:
            in_features, out_features = pattern.in_features, pattern.out_features
            pattern = None
        if mix not in get_args(Mix):
            raise UsageError(f"unknown mix {mix!r}", f"known: {', '.join(get_args(Mix))}")
        if pattern is None and (not rank or in_features is None or out_features is None):
            raise UsageError("expected blocks or a rank; got neither", "give a pattern, or rank= with both sizes")
        self.in_features = pattern.in_features if pattern is not None else int(in_features or 0)
        self.out_features = pattern.out_features if pattern is not None else int(out_features or 0)
        self.rank = min(rank, self.in_features, self.out_features)
        self.variance_matched = variance_matched
        self.sparse = BlockSparse(pattern, product=product) if pattern is not None else None
        self.u = nn.Parameter(torch.empty(self.out_features, self.rank)) if rank else None
        self.v = nn.Parameter(torch.empty(self.in_features, self.rank)) if rank else None
        self.bias = nn.Parameter(torch.empty(self.out_features)) if bias else None
        self.mix: Mix | None = mix if pattern is not None and rank else None
        self.alpha = nn.Parameter(torch.empty(())) if self.mix in ("scalar", "sigmoid") else None
        self.gate = nn.Linear(self.in_features, 1) if self.mix == "gated" else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw every part anew; alpha starts at one half."""
        if self.sparse is not None:
            self.sparse.reset_parameters()
        if self.u is not None and self.v is not None:
            for factor, drawn in zip(
                (self.u, self.v), draw_factors(self.out_features, self.in_features, self.rank, self.u), strict=True
            ):
                factor.copy_(drawn)
        if self.variance_matched:
            self._match_variance()
        if self.alpha is not None:
            self.alpha.fill_(0.5 if self.mix == "scalar" else 0.0)
        if self.gate is not None:
            self.gate.reset_parameters()
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bias_bound(self.in_features), bias_bound(self.in_features))

    def _match_variance(self) -> None:
        """The low-rank part up from 1/9 to 1/3, and the mix of one half each back to 1/3."""
        scale = match_scale(0.5) if self.mix else 1.0
        if self.u is not None:
            self.u.mul_(3**0.5 * scale)
        if self.sparse is not None:
            self.sparse.blocks.mul_(scale)

    @torch.no_grad()
    def copy_from(self, weight: Tensor) -> None:
        """Approximate a dense weight: U V^T from its singular vectors, then the blocks of what is left.

        Scalar mixes are set to one half and both parts doubled, so that ``dense()`` is the approximation.

        Args:
            weight: Shape (out_features, in_features).
        """
        rest, share = weight, 1.0
        if self.mix is not None:
            share = 0.5
        if self.u is not None and self.v is not None:
            u, v = split_weight(weight, self.rank)
            rest = weight - u @ v.T
            self.u.copy_(u / share)
            self.v.copy_(v)
        if self.sparse is not None:
            self.sparse.copy_from(rest / share)
        if self.alpha is not None:
            self.alpha.fill_(0.5 if self.mix == "scalar" else 0.0)

    @property
    def weights(self) -> int:
        """Weights of the matrices, padding, bias, alpha and gate not counted."""
        blocks = self.sparse.pattern.nnz if self.sparse is not None else 0
        return blocks + self.rank * (self.in_features + self.out_features)

    @property
    def density(self) -> float:
        """Weights over those of the dense layer."""
        return self.weights / (self.in_features * self.out_features)

    def share(self) -> Tensor | None:
        """Alpha, the weight of the blocks: shape (); None where there is one part only, or a gate."""
        if self.mix in (None, "gated"):
            return None
        if self.alpha is None:
            reference = self.u if self.u is not None else torch.empty(0)
            return torch.full((), 0.5, dtype=reference.dtype, device=reference.device)
        return self.alpha.sigmoid() if self.mix == "sigmoid" else self.alpha

    def dense(self) -> Tensor:
        """The W that the layer multiplies by, shape (out_features, in_features), differentiable.

        Raises:
            UsageError: The mix is gated: no single W does it.
        """
        if self.gate is not None:
            raise UsageError("expected a mix that is one matrix; got a gate per input", "use mix='scalar' or 'fixed'")
        share = self.share()
        parts: list[Tensor] = []
        if self.sparse is not None:
            parts.append(self.sparse.dense() * (1.0 if share is None else share))
        if self.u is not None and self.v is not None:
            parts.append(self.u @ self.v.T * (1.0 if share is None else 1 - share))
        return torch.stack(parts).sum(0)

    def forward(self, x: Tensor) -> Tensor:
        """The layer over the last axis, shape (..., in_features) to (..., out_features)."""
        if self.gate is not None:
            return self._gated(x)
        share = self.share()
        y: Tensor | None = None
        if self.sparse is not None:
            y = self.sparse(x, share)
        if self.u is not None and self.v is not None:
            inner = x @ self.v
            if share is not None:
                inner = inner * (1 - share)
            low = functional.linear(inner, self.u, self.bias)  # the bias rides along
            return low if y is None else y + low
        assert y is not None
        return y if self.bias is None else y + self.bias

    def _gated(self, x: Tensor) -> Tensor:
        assert self.gate is not None
        assert self.sparse is not None
        assert self.u is not None
        assert self.v is not None
        g = self.gate(x).sigmoid()
        y: Tensor = (1 - g) * self.sparse(x) + functional.linear(g * (x @ self.v), self.u)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """Sizes, rank and mix."""
        return f"{self.in_features}, {self.out_features}, rank={self.rank}, mix={self.mix}, density={self.density:.4f}"
