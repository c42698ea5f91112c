# mypy: ignore-errors
"""The Triton kernels of :mod:`nasc.block_sparse.triton_matmul`. In Triton's own language: no annotations are possible."""

import triton
import triton.language as tl


@triton.jit
def product(
    x,
    blocks,
    out,
    start,
    order,
    source,
    batch,
    x_width,
    out_width,
    block: tl.constexpr,
    tile: tl.constexpr,
    transposed: tl.constexpr,
    tf32: tl.constexpr,
):
    """One tile of outputs: ``out[tile, line] = sum over the line's blocks of x[tile, source] @ block``.

    Blocks are stored (in, out); ``transposed`` reads them (out, in), for the gradient of x. Batch rows beyond the end are
    read as zero and not written.
    """
    line = tl.program_id(1)
    rows = tl.program_id(0) * tile + tl.arange(0, tile)
    inside = rows[:, None] < batch
    lanes = tl.arange(0, block)
    total = tl.zeros((tile, block), dtype=tl.float32)
    for place in range(tl.load(start + line), tl.load(start + line + 1)):
        which = tl.load(order + place)
        read = tl.load(source + which)
        inputs = tl.load(
            x + rows[:, None].to(tl.int64) * x_width + read * block + lanes[None, :], mask=inside, other=0.0
        )
        base = blocks + which.to(tl.int64) * block * block
        if transposed:
            weights = tl.load(base + lanes[None, :] * block + lanes[:, None])
        else:
            weights = tl.load(base + lanes[:, None] * block + lanes[None, :])
        total += tl.dot(inputs, weights, input_precision="tf32" if tf32 else "ieee")
    target = out + rows[:, None].to(tl.int64) * out_width + line * block + lanes[None, :]
    tl.store(target, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def weight_gradient(
    x,
    grad,
    out,
    row,
    column,
    batch,
    x_width,
    grad_width,
    block: tl.constexpr,
    tile: tl.constexpr,
    tf32: tl.constexpr,
):
    """One block of the weights' gradient: ``out[i] = x[:, column[i]]^T @ grad[:, row[i]]``, stored (in, out)."""
    which = tl.program_id(0)
    read, written = tl.load(column + which), tl.load(row + which)
    lanes = tl.arange(0, block)
    total = tl.zeros((block, block), dtype=tl.float32)
    for begin in range(0, batch, tile):
        rows = begin + tl.arange(0, tile)
        inside = rows < batch
        inputs = tl.load(
            x + rows[None, :].to(tl.int64) * x_width + read * block + lanes[:, None], mask=inside[None, :], other=0.0
        )
        outputs = tl.load(
            grad + rows[:, None].to(tl.int64) * grad_width + written * block + lanes[None, :],
            mask=inside[:, None],
            other=0.0,
        )
        total += tl.dot(inputs, outputs, input_precision="tf32" if tf32 else "ieee")
    target = out + which.to(tl.int64) * block * block + lanes[:, None] * block + lanes[None, :]
    tl.store(target, total.to(out.dtype.element_ty))
