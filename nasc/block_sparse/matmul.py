"""x W^T for a block-sparse W on the CPU: gathered input blocks times stacked weight blocks, one batched product.

Several times as fast as the dense product at density 10 % and as torch's BSR (benchmarks/pixelfly_speed.py), because

- rows of equal block count are one ``bmm`` whose weights are a view of the stored blocks (no copy, no index add),
- the batch is cut so that the gathered inputs stay in the cache and in memory that is already mapped
  (gathering 1024 rows at once took nine times as long as four times 256),
- the gradient of the weights comes out in the layout the weights have.

Only x is kept for the backward pass. Everything is plain torch, so the same code runs on any device and under
``torch.compile``; half precision accumulates the weights' gradient in float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nasc.block_sparse.pattern import BlockPattern

_GATHERED = 1 << 18
"""Entries of a gathered chunk (1 MB of float32): within a core's own cache."""

Groups = tuple[tuple[int, int], ...]
"""(block rows, blocks in each) of every group, in order."""


@dataclass(frozen=True)
class Plan:
    """How a pattern is walked: the order of the stored blocks, and the indices of both passes.

    Blocks are stored by group (block rows with equally many blocks), then row, then column; the i-th stored block lies at
    ``(row[i], column[i])``.

    Args:
        row: Block row of each stored block, int64, shape (blocks,).
        column: Block column of each, likewise.
        row_groups: Groups of block rows with the same number of blocks.
        rows: Block rows in the order of the groups, empty ones left out, shape (non-empty rows,).
        column_groups: The same for block columns.
        columns: Block columns in the order of their groups.
        by_column: Stored blocks in the order of the column groups, then column, then row, shape (blocks,).
    """

    row: Tensor
    column: Tensor
    row_groups: Groups
    rows: Tensor
    column_groups: Groups
    columns: Tensor
    by_column: Tensor


def make_plan(pattern: BlockPattern) -> Plan:
    """Order the blocks of a pattern."""
    row_groups, rows = _groups(pattern.mask.sum(1))
    column_groups, columns = _groups(pattern.mask.sum(0))
    row, column = _coordinates(pattern.mask, rows)
    column_, row_ = _coordinates(pattern.mask.T, columns)
    place = torch.zeros(pattern.mask.shape, dtype=torch.long)
    place[row, column] = torch.arange(len(row))
    return Plan(row, column, row_groups, rows, column_groups, columns, place[row_, column_])


def _groups(counts: Tensor) -> tuple[Groups, Tensor]:
    """Lines of equal count, densest last: their number and count, and the lines in that order."""
    order = torch.sort(counts, stable=True).indices
    order = order[counts[order] > 0]
    values, sizes = torch.unique_consecutive(counts[order], return_counts=True)
    return tuple(zip(sizes.tolist(), values.tolist(), strict=True)), order


def _coordinates(mask: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    """Line and place of every block, line by line in the given order."""
    found = mask[lines].nonzero()
    return lines[found[:, 0]], found[:, 1]


def block_sparse_linear(x: Tensor, blocks: Tensor, plan: Plan, shape: tuple[int, int]) -> Tensor:
    """Multiply x by the transpose of a block-sparse W.

    Args:
        x: Shape (batch, Q b), padded to whole blocks.
        blocks: Transposed blocks (in x out) in the plan's order, shape (blocks, b, b).
        plan: From :func:`make_plan`, on the device of ``x``.
        shape: (P, Q), the grid.

    Returns:
        Shape (batch, P b).
    """
    indices = (plan.row, plan.column, plan.rows, plan.columns, plan.by_column)
    apply: Callable[..., Tensor] = _BlockSparseLinear.apply
    result: Tensor = apply(x, blocks, *indices, plan.row_groups, plan.column_groups, shape)
    return result


class _BlockSparseLinear(torch.autograd.Function):
    """y = x W^T, with dx = dy W and dW = dy^T x restricted to the blocks that exist."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        blocks: Tensor,
        row: Tensor,
        column: Tensor,
        rows: Tensor,
        columns: Tensor,
        by_column: Tensor,
        row_groups: Groups,
        column_groups: Groups,
        shape: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, blocks, row, column, rows, columns, by_column)
        ctx.row_groups, ctx.column_groups, ctx.shape = row_groups, column_groups, shape
        return _gathered_product(x, blocks, column, rows, row_groups, shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, blocks, row, column, rows, columns, by_column = ctx.saved_tensors
        dx = dblocks = None
        if ctx.needs_input_grad[0]:
            turned = blocks[by_column].transpose(1, 2).contiguous()
            dx = _gathered_product(grad, turned, row[by_column], columns, ctx.column_groups, ctx.shape[1])
        if ctx.needs_input_grad[1]:
            dblocks = _weight_gradient(x, grad, blocks, column, rows, ctx.row_groups)
        return dx, dblocks, None, None, None, None, None, None, None, None


def _gathered_product(x: Tensor, blocks: Tensor, source: Tensor, targets: Tensor, groups: Groups, lines: int) -> Tensor:
    """The product, for inputs of any batch: output line ``targets[i]`` sums its blocks times the lines they read.

    Args:
        x: Shape (batch, lines in b).
        blocks: Shape (blocks, b_in, b_out), by group.
        source: Line of ``x`` each block reads, shape (blocks,).
        targets: Lines written, by group.
        groups: (lines, blocks in each).
        lines: Lines of the output; those not written are zero.
    """
    batch, b = x.shape[0], blocks.shape[1]
    cut = x.reshape(batch, x.shape[1] // b, b)
    whole = len(targets) == lines
    out = x.new_empty(batch, lines, b) if whole else x.new_zeros(batch, lines, b)
    for start, stop in _chunks(batch, len(source) * b):
        results = [
            torch.bmm(_gather(cut[start:stop], source[at : at + n * c], n), blocks[at : at + n * c].view(n, c * b, b))
            for at, n, c in _offsets(groups)
        ]
        if len(results) == 1 and whole:  # every line is in the one group, in its natural order
            out[start:stop].copy_(results[0].transpose(0, 1))
        else:
            out[start:stop].index_copy_(1, targets, torch.cat(results).transpose(0, 1))
    return out.view(batch, lines * b)


def _weight_gradient(x: Tensor, grad: Tensor, blocks: Tensor, column: Tensor, rows: Tensor, groups: Groups) -> Tensor:
    """The gradient of W in the layout of the blocks, accumulated over chunks of the batch in float32 or better."""
    batch, b = x.shape[0], blocks.shape[1]
    kept = torch.promote_types(blocks.dtype, torch.float32)
    total = torch.zeros(blocks.shape, dtype=kept, device=blocks.device)
    inputs, gradients = (t.reshape(batch, t.shape[1] // b, b) for t in (x, grad))
    for start, stop in _chunks(batch, len(column) * b):
        line = 0
        for at, n, c in _offsets(groups):
            read = _gather(inputs[start:stop], column[at : at + n * c], n)
            written = _gather(gradients[start:stop], rows[line : line + n], n)
            part = total[at : at + n * c].view(n, c * b, b)
            if kept == x.dtype:
                part.baddbmm_(read.transpose(1, 2), written)
            else:
                part += torch.bmm(read.transpose(1, 2), written)
            line += n
    return total.to(blocks.dtype)


def _gather(cut: Tensor, lines: Tensor, groups: int) -> Tensor:
    """Lines of a chunk, shape (batch, lines, b), as (groups, batch, lines of a group x b)."""
    entries = len(lines) // groups * cut.shape[2]
    return cut.index_select(1, lines).view(cut.shape[0], groups, entries).transpose(0, 1)


def _offsets(groups: Groups) -> list[tuple[int, int, int]]:
    """(first block, lines, blocks in each) of every group."""
    found, at = [], 0
    for n, c in groups:
        found.append((at, n, c))
        at += n * c
    return found


def _chunks(batch: int, entries: int) -> list[tuple[int, int]]:
    """Cuts of the batch such that a chunk's gathered inputs (``entries`` a sample) stay in the cache."""
    count = max(1, -(-batch * entries // _GATHERED))
    size = max(32, -(-batch // count)) if batch else 1
    return [(start, min(start + size, batch)) for start in range(0, batch, size)]


def assemble(blocks: Tensor, plan: Plan, pattern: BlockPattern) -> Tensor:
    """The dense W of shape (out_features, in_features), differentiable in the blocks."""
    b, (p, q) = pattern.block, pattern.mask.shape
    grid = blocks.new_zeros(p, q, b, b).index_put((plan.row, plan.column), blocks.transpose(1, 2))
    whole = grid.permute(0, 2, 1, 3).reshape(p * b, q * b)
    return whole[: pattern.out_features, : pattern.in_features]


def extract(weight: Tensor, plan: Plan, pattern: BlockPattern) -> Tensor:
    """The blocks of a dense W as they are stored, zeros where a block reaches beyond the matrix.

    Args:
        weight: Shape (out_features, in_features).
        plan: Of the pattern.
        pattern: Which blocks.

    Returns:
        Shape (blocks, b, b), transposed blocks.
    """
    b, (p, q) = pattern.block, pattern.mask.shape
    padded = weight.new_zeros(p * b, q * b)
    padded[: pattern.out_features, : pattern.in_features] = weight
    return padded.view(p, b, q, b)[plan.row, :, plan.column].transpose(1, 2).contiguous()
