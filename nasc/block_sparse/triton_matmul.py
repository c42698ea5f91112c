"""x W^T for a block-sparse W on a GPU: one Triton kernel a pass, for fp32 (optionally tf32), fp16 and bf16.

A program of the product owns a tile of ``batch x b`` outputs of one block row and walks the blocks of that row: the columns
it reads are found in a compressed row index, so nothing is gathered to memory and rows may hold different numbers of blocks.
The gradient of x is the same kernel on the transposed index (blocks by column, read transposed); a program of the gradient
of W owns one block and walks the batch, so it needs no atomics. Sums are in float32 throughout.

Triton is imported when the first product runs; without CUDA the layers use :mod:`nasc.block_sparse.matmul`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nasc.block_sparse.matmul import Plan
from nasc.errors import DeviceError

LEAST_BLOCK = 16
"""The tensor cores' smallest side."""


def triton_linear(x: Tensor, blocks: Tensor, plan: Plan, shape: tuple[int, int]) -> Tensor:
    """As :func:`nasc.block_sparse.matmul.block_sparse_linear`, on a GPU.

    Args:
        x: Shape (batch, Q b), on CUDA.
        blocks: Transposed blocks (in x out) in the plan's order, shape (blocks, b, b); b a power of two, at least 16.
        plan: Of the pattern, on the same device.
        shape: (P, Q), the grid.

    Raises:
        DeviceError: The tensors are not on CUDA, or the block is no side the kernel takes.
    """
    b = blocks.shape[1]
    if not x.is_cuda:
        raise DeviceError(f"expected CUDA tensors; got {x.device}", "use block_sparse_linear, which runs anywhere")
    if b < LEAST_BLOCK or b & (b - 1):
        raise DeviceError(
            f"expected blocks of a power of two from {LEAST_BLOCK} on; got {b}", "use block_sparse_linear"
        )
    apply: Callable[..., Tensor] = _TritonLinear.apply
    return apply(x, blocks, plan.row, plan.column, shape)


class _TritonLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: Tensor, row: Tensor, column: Tensor, shape: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, blocks, row, column)
        ctx.shape = shape
        return _product(x, blocks, row, column, shape[0], transposed=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, blocks, row, column = ctx.saved_tensors
        grad = grad.contiguous()
        dx = dblocks = None
        if ctx.needs_input_grad[0]:
            dx = _product(grad, blocks, column, row, ctx.shape[1], transposed=True)
        if ctx.needs_input_grad[1]:
            dblocks = _weight_gradient(x.contiguous(), grad, blocks, row, column)
        return dx, dblocks, None, None, None


def _product(x: Tensor, blocks: Tensor, line: Tensor, source: Tensor, lines: int, *, transposed: bool) -> Tensor:
    """Outputs of ``lines`` block lines; block i adds input line ``source[i]`` times itself to line ``line[i]``."""
    x = x.contiguous()
    order = torch.argsort(line, stable=True)
    start = torch.searchsorted(line[order], torch.arange(lines + 1, device=line.device)).to(torch.int32)
    b, batch = blocks.shape[1], x.shape[0]
    out = torch.empty(batch, lines * b, dtype=x.dtype, device=x.device)
    tile = 128 if batch > 64 else 64
    grid = (-(-batch // tile), lines)
    kernels().product[grid](
        x,
        blocks,
        out,
        start,
        order.to(torch.int32),
        source.to(torch.int32),
        batch,
        x.shape[1],
        lines * b,
        block=b,
        tile=tile,
        transposed=transposed,
        tf32=torch.backends.cuda.matmul.allow_tf32,
        num_warps=4,
        num_stages=3,
    )
    return out


def _weight_gradient(x: Tensor, grad: Tensor, blocks: Tensor, row: Tensor, column: Tensor) -> Tensor:
    b = blocks.shape[1]
    out = torch.empty_like(blocks)
    kernels().weight_gradient[(len(row),)](
        x,
        grad,
        out,
        row.to(torch.int32),
        column.to(torch.int32),
        x.shape[0],
        x.shape[1],
        grad.shape[1],
        block=b,
        tile=64,
        tf32=torch.backends.cuda.matmul.allow_tf32,
        num_warps=4,
        num_stages=3,
    )
    return out


class _Kernels:
    """The compiled kernels, one of each."""

    def __init__(self, product: Any, weight_gradient: Any) -> None:
        self.product, self.weight_gradient = product, weight_gradient


@cache
def kernels() -> _Kernels:
    """Define the kernels; Triton compiles them when they first run.

    Raises:
        DeviceError: Triton is not installed.
    """
    try:
        from nasc.block_sparse import triton_kernels
    except ImportError as missing:
        raise DeviceError(
            "expected triton for block-sparse products on a GPU; it is not installed",
            "pip install triton, or use block_sparse_linear",
        ) from missing
    return _Kernels(triton_kernels.product, triton_kernels.weight_gradient)
