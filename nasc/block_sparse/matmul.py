"""x W^T for a block-sparse W on the CPU: gathered input blocks times stacked weight blocks, one batched product.

Several times as fast as the dense product at density 10 % and as torch's BSR (benchmarks/pixelfly_speed.py), because

- rows of equal block count are one ``bmm`` whose weights are a view of the stored blocks (no copy, no index add),
- the batch is cut so that the gathered inputs stay in the cache and in memory that is already mapped
  (gathering 1024 rows at once took nine times as long as four times 256),
- in the backward pass one gather of dy serves both gradients: for a block column, dx = dy panel^T and d panel = x^T dy,
  where the panel holds the column's blocks side by side.

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

_GATHERED = 1 << 19
"""Entries of a gathered chunk (2 MB of float32): about a core's own cache."""

_LEAST_ROWS = 64
"""Of a chunk: below, a product does not fill the processor."""

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
        panels: Rows of the stored blocks (blocks b of them) in the order of the columns' panels: group, column, row inside
            the block, block; shape (blocks b,).
        unpanels: The inverse order.
    """

    row: Tensor
    column: Tensor
    row_groups: Groups
    rows: Tensor
    column_groups: Groups
    columns: Tensor
    by_column: Tensor
    panels: Tensor
    unpanels: Tensor


def make_plan(pattern: BlockPattern) -> Plan:
    """Order the blocks of a pattern."""
    row_groups, rows = _groups(pattern.mask.sum(1))
    column_groups, columns = _groups(pattern.mask.sum(0))
    row, column = _coordinates(pattern.mask, rows)
    column_, row_ = _coordinates(pattern.mask.T, columns)
    place = torch.zeros(pattern.mask.shape, dtype=torch.long)
    place[row, column] = torch.arange(len(row))
    by_column = place[row_, column_]
    panels = _panel_rows(by_column, column_groups, pattern.block)
    return Plan(row, column, row_groups, rows, column_groups, columns, by_column, panels, torch.argsort(panels))


def _panel_rows(by_column: Tensor, groups: Groups, b: int) -> Tensor:
    """Rows of blocks, column by column: all first rows of a column's blocks, then all second ones."""
    rows = by_column[:, None] * b + torch.arange(b)
    parts = [rows[at : at + n * c].view(n, c, b).transpose(1, 2).flatten() for at, n, c in _offsets(groups)]
    return torch.cat(parts) if parts else rows.flatten()


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
    indices = (plan.row, plan.column, plan.rows, plan.columns, plan.by_column, plan.panels, plan.unpanels)
    apply: Callable[..., Tensor] = _BlockSparseLinear.apply
    return apply(x, blocks, *indices, plan.row_groups, plan.column_groups, shape)


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
        panels: Tensor,
        unpanels: Tensor,
        row_groups: Groups,
        column_groups: Groups,
        shape: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, blocks, row, columns, by_column, panels, unpanels)
        ctx.groups, ctx.lines = column_groups, shape[1]
        return _forward(x, blocks, column, rows, row_groups, shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, blocks, row, columns, by_column, panels, unpanels = ctx.saved_tensors
        index = (row[by_column], columns, panels, unpanels)
        dx, dblocks = _backward(x, grad, blocks, index, ctx.groups, ctx.lines, ctx.needs_input_grad[:2])
        return dx, dblocks, *[None] * 10


def _forward(x: Tensor, blocks: Tensor, source: Tensor, targets: Tensor, groups: Groups, lines: int) -> Tensor:
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
    out = _empty_lines(cut, len(targets), lines)
    for start, stop in _chunks(batch, len(source) * b):
        results = [
            torch.bmm(_gather(cut[start:stop], source[at : at + n * c], n), blocks[at : at + n * c].view(n, c * b, b))
            for at, n, c in _offsets(groups)
        ]
        _write(out[start:stop], results, targets)
    return out.view(batch, lines * b)


def _backward(
    x: Tensor,
    grad: Tensor,
    blocks: Tensor,
    index: tuple[Tensor, Tensor, Tensor, Tensor],
    groups: Groups,
    lines: int,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Both gradients, column by column; that of the weights is summed over chunks in float32 or better.

    Args:
        x: Shape (batch, lines b).
        grad: Of the output, shape (batch, lines out b).
        blocks: Stored blocks.
        index: Line of ``grad`` each block reads (by column), columns, panel rows and their inverse.
        groups: Of the columns.
        lines: Columns, those without a block included.
        wanted: Whether x and the blocks need a gradient.
    """
    source, columns, panels, unpanels = index
    batch, b = x.shape[0], blocks.shape[1]
    cut, written = (t.reshape(batch, t.shape[1] // b, b) for t in (x, grad))
    panel = blocks.view(-1, b).index_select(0, panels)
    summed = torch.empty(panel.shape, dtype=torch.promote_types(blocks.dtype, torch.float32), device=blocks.device)
    dx = _empty_lines(cut, len(columns), lines) if wanted[0] else None
    chunks = _chunks(batch, len(source) * b)
    for start, stop in chunks:
        results, line = [], 0
        for at, n, c in _offsets(groups):
            gathered = _gather(written[start:stop], source[at : at + n * c], n)
            side = slice(at * b, (at + n * c) * b)
            if wanted[0]:
                results.append(torch.bmm(gathered, panel[side].view(n, b, c * b).transpose(1, 2)))
            if wanted[1]:
                read = _lines(cut[start:stop], columns, line, n).transpose(1, 2)
                _accumulate(summed[side].view(n, b, c * b), read, gathered, first=start == 0)
            line += n
        if dx is not None:
            _write(dx[start:stop], results, columns)
    if not chunks:
        summed.zero_()
    dblocks = summed.index_select(0, unpanels).view(blocks.shape).to(blocks.dtype) if wanted[1] else None
    return None if dx is None else dx.view(batch, lines * b), dblocks


def _empty_lines(like: Tensor, written: int, lines: int) -> Tensor:
    """Room for (batch, lines, b), zero where lines are left out."""
    shape = (like.shape[0], lines, like.shape[2])
    return like.new_empty(shape) if written == lines else like.new_zeros(shape)


def _write(out: Tensor, results: list[Tensor], targets: Tensor) -> None:
    """Results (lines of a group, batch, b) of every group, to their lines of (batch, lines, b)."""
    if len(results) == 1 and len(targets) == out.shape[1]:  # one group of all lines keeps their natural order
        out.copy_(results[0].transpose(0, 1))
    elif results:
        out.index_copy_(1, targets, torch.cat(results).transpose(0, 1))


def _accumulate(total: Tensor, left: Tensor, right: Tensor, *, first: bool) -> None:
    """``total += left @ right``, or ``=`` in the first chunk."""
    if first and total.dtype == left.dtype:
        torch.bmm(left, right, out=total)
    elif first:
        total.copy_(torch.bmm(left, right))
    elif total.dtype == left.dtype:
        total.baddbmm_(left, right)
    else:
        total += torch.bmm(left, right)


def _lines(cut: Tensor, lines: Tensor, start: int, count: int) -> Tensor:
    """Lines ``start`` to ``start + count`` of an order, as (count, batch, b); a view where they are all there are."""
    if count == cut.shape[1]:
        return cut.transpose(0, 1)
    return _gather(cut, lines[start : start + count], count)


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
    size = max(_LEAST_ROWS, -(-batch // count))
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
