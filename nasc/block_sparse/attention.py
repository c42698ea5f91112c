"""Attention over a fixed block pattern of (query, key) positions.

A query attends to the keys of the blocks its own block row holds; all other scores are minus infinity before the softmax
and are never computed. Block rows with equally many blocks are one batched product. Low rank for scores, as the
authors' code has it: g global block rows and columns, a mask of rank at most 2 g in blocks.

A sequence shorter than the grid is padded with keys that nobody sees; a longer one is refused. A causal mask is applied
element-wise on top, the diagonal blocks guaranteeing every query a key.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.block_sparse.butterfly import bucket_support
from nasc.block_sparse.matmul import Groups, make_plan
from nasc.block_sparse.pattern import BlockPattern, grid_shape
from nasc.errors import UsageError


def attention_pattern(
    length: int, block: int, stride: int, *, global_blocks: int = 0, causal: bool = False
) -> BlockPattern:
    """The flat butterfly over (query, key) blocks with global blocks.

    Args:
        length: Positions.
        block: Side of a block.
        stride: Largest stride, a power of two.
        global_blocks: The first g block rows and columns are all on; 1 where the first position is a class token.
        causal: Leave out blocks above the diagonal.
    """
    rows, columns = grid_shape(length, length, block)
    mask = bucket_support(rows, columns, stride)
    mask[:global_blocks, :] = True
    mask[:, :global_blocks] = True
    if causal:
        mask &= torch.ones_like(mask).tril()
    return BlockPattern(mask, block, length, length)


class BlockSparseAttention(nn.Module):
    """softmax(q k^T / sqrt(d) + mask) v for a fixed block mask, without parameters.

    Args:
        pattern: Over (query, key) positions; every block row needs a block.
        causal: A query sees no later key.

    Raises:
        UsageError: A block row is empty: its queries would see no key.
    """

    def __init__(self, pattern: BlockPattern, *, causal: bool = False) -> None:
        super().__init__()
        self.pattern, self.causal = pattern, causal
        if not bool(_visible(pattern, causal).any(1).all()):
            raise UsageError("expected a key for every query; got a row without", "keep the diagonal blocks on")
        plan = make_plan(pattern)
        self._groups: Groups = plan.row_groups
        self.register_buffer("_rows", plan.rows, persistent=False)
        self.register_buffer("_column", plan.column, persistent=False)
        self.register_buffer("_allowed", _allowed(pattern, causal), persistent=False)
        self.register_buffer("_back", torch.argsort(plan.rows), persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend.

        Args:
            q: Queries, shape (batch, heads, length, d_head).
            k: Keys, likewise.
            v: Values, likewise.

        Returns:
            Shape (batch, heads, length, d_head).

        Raises:
            UsageError: The sequence is longer than the pattern.
        """
        length, b = q.shape[-2], self.pattern.block
        if length > self.pattern.out_features:
            raise UsageError(
                f"expected at most {self.pattern.out_features} positions; got {length}",
                "build the attention pattern for the longest sequence",
            )
        lines = self.pattern.mask.shape[0]
        padded = [functional.pad(t, (0, 0, 0, lines * b - length)) for t in (q, k, v)]
        cut = [t.view(*t.shape[:2], lines, b, t.shape[-1]) for t in padded]
        buffers: Any = (self._rows, self._column, self._allowed)
        rows, column, allowed = buffers
        results, at, line = [], 0, 0
        for n, c in self._groups:
            blocks = column[at : at + n * c]
            queries = cut[0].index_select(2, rows[line : line + n])
            keys, values = (_rows_of(t.index_select(2, blocks), n) for t in cut[1:])
            scores = queries @ keys.transpose(-1, -2) / math.sqrt(q.shape[-1])
            seen = self._seen(allowed[at : at + n * c], blocks, n, c, length)
            results.append(scores.masked_fill(~seen, -math.inf).softmax(-1) @ values)
            at, line = at + n * c, line + n
        whole = torch.cat(results, 2).index_select(2, self._back)  # type: ignore[arg-type]
        return whole.flatten(2, 3)[..., :length, :]

    def _seen(self, allowed: Tensor, blocks: Tensor, n: int, c: int, length: int) -> Tensor:
        """Which of the gathered keys count, bool, shape (n, b, c b); padded queries see their whole row."""
        b = self.pattern.block
        inside = (blocks[:, None] * b + torch.arange(b, device=blocks.device)) < length
        seen = (allowed & inside[:, None, :]).view(n, c, b, b).transpose(1, 2).reshape(n, b, c * b)
        return seen | ~seen.any(-1, keepdim=True)


def _rows_of(blocks: Tensor, n: int) -> Tensor:
    """Gathered blocks, shape (batch, heads, n c, b, d), as n rows of c b positions."""
    batch, heads, _, _, width = blocks.shape
    return blocks.view(batch, heads, n, -1, width)


def _allowed(pattern: BlockPattern, causal: bool) -> Tensor:
    """Inside each present block, in the plan's order, which keys a query may see: bool, shape (blocks, b, b)."""
    plan, b = make_plan(pattern), pattern.block
    queries = plan.row[:, None] * b + torch.arange(b)
    keys = plan.column[:, None] * b + torch.arange(b)
    every = torch.ones(len(plan.row), b, b, dtype=torch.bool)
    return every if not causal else queries[:, :, None] >= keys[:, None, :]


def _visible(pattern: BlockPattern, causal: bool) -> Tensor:
    """(query, key) pairs that may attend, bool, shape (length, length)."""
    seen = pattern.elements()
    return seen.tril() if causal else seen


def dense_mask(pattern: BlockPattern, *, causal: bool = False) -> Tensor:
    """The additive mask of dense attention: zero where a query may look, minus infinity elsewhere."""
    seen = _visible(pattern, causal)
    return torch.zeros(seen.shape).masked_fill(~seen, -math.inf)
