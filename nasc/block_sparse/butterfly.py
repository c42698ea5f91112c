"""Butterfly supports: factors, their flat union, and the same on grids of any shape.

Paper: Pixelated Butterfly (arXiv 2112.00029). A butterfly factor of stride k on n blocks touches, in block row i, the
columns i and i XOR k/2 (Definition 3.1); the flat butterfly of maximum stride k is the first-order expansion
I + lambda (B_2 + B_4 + ... + B_k) of the residual product and has the union of the factors' supports: (i, j) with i = j or
i XOR j in {1, 2, 4, ..., k/2} (Definition 3.4). n and k are powers of two.

Departure: for grids that are no power-of-two square the paper gives no rule. :func:`bucket_support` sorts the P block rows
and Q block columns into N = 2^floor(log2 min(P, Q)) buckets; it equals the authors' construction
(:func:`reference_pattern`) wherever N divides P and Q, and needs no divisibility.
"""

import logging
import math

import torch
from torch import Tensor

from nasc.block_sparse.pattern import BlockPattern, cover_elements, grid_shape
from nasc.errors import UsageError

_log = logging.getLogger(__name__)


def require_power_of_two(value: int, what: str) -> None:
    """Refuse what is no power of two.

    Raises:
        UsageError: See above.
    """
    if value < 1 or value & (value - 1):
        raise UsageError(f"expected a power of two as the {what}; got {value}")


def strides(largest: int) -> tuple[int, ...]:
    """2, 4, ..., largest; empty for 1.

    >>> strides(8)
    (2, 4, 8)
    """
    require_power_of_two(largest, "stride")
    return tuple(2**power for power in range(1, largest.bit_length()))


def factor_support(n: int, k: int) -> Tensor:
    """Support of the butterfly factor matrix of stride ``k`` on ``n`` blocks, bool, shape (n, n)."""
    require_power_of_two(n, "number of blocks")
    if k not in strides(n):
        raise UsageError(f"expected a stride among {strides(n)} for {n} blocks; got {k}")
    i = torch.arange(n)
    support = torch.zeros(n, n, dtype=torch.bool)
    support[i, i] = True
    support[i, i ^ (k // 2)] = True
    return support


def flat_support(n: int, k: int) -> Tensor:
    """Support of the flat butterfly of maximum stride ``k`` on ``n`` blocks, bool, shape (n, n); k = 1 is the diagonal."""
    require_power_of_two(n, "number of blocks")
    support = torch.eye(n, dtype=torch.bool)
    for stride in strides(min(k, n)) if _checked(k) else ():
        support |= factor_support(n, stride)
    return support


def _checked(k: int) -> bool:
    require_power_of_two(k, "maximum stride")
    return True


def buckets(rows: int, columns: int) -> int:
    """N = 2^floor(log2 min(P, Q)): the side of the butterfly that a grid of P x Q blocks gets."""
    return int(2 ** math.floor(math.log2(min(rows, columns))))


def bucket_support(rows: int, columns: int, k: int) -> Tensor:
    """The flat butterfly of maximum stride ``k`` stretched over P x Q blocks, bool, shape (P, Q).

    Block (p, q) is on iff i = floor(p N / P) and j = floor(q N / Q) are equal or differ in one bit below k. Every row and
    column holds a block, and the support of (Q, P) is the transpose of that of (P, Q). A stride above N is N.
    """
    n = buckets(rows, columns)
    i = torch.arange(rows) * n // rows
    j = torch.arange(columns) * n // columns
    return flat_support(n, min(k, n))[i][:, j]


def flat_butterfly(out_features: int, in_features: int, block: int, stride: int) -> BlockPattern:
    """The flat block butterfly of any matrix.

    >>> flat_butterfly(2048, 512, 32, 4).density
    0.1875

    Args:
        out_features: Rows.
        in_features: Columns.
        block: Side of a block.
        stride: Largest stride k in blocks, a power of two; 1 gives the block diagonal, above N it is N.
    """
    _checked(stride)
    rows, columns = grid_shape(out_features, in_features, block)
    if stride > buckets(rows, columns):
        _log.info("stride %d is above the %d blocks a side has: taken as that", stride, buckets(rows, columns))
    return BlockPattern(bucket_support(rows, columns, stride), block, out_features, in_features)


def available_strides(out_features: int, in_features: int, block: int) -> tuple[int, ...]:
    """The maximum strides that give different patterns: 1, 2, 4, ..., N."""
    return (1, *strides(buckets(*grid_shape(out_features, in_features, block))))


def reference_pattern(
    out_features: int, in_features: int, *, size: int, factors: int, block: int, global_size: int = 0
) -> BlockPattern:
    """The authors' construction: the size x size butterfly repeated by integer division, then covered by blocks.

    Args:
        out_features: Rows of the matrix, padded up to a multiple of ``block``.
        in_features: Columns, padded likewise.
        size: Base size N (their ``butterfly_size``), a power of two that divides both padded sides.
        factors: m; the maximum stride is 2^m.
        block: Side of a block.
        global_size: The first rows and columns (in elements) that are all on.

    Raises:
        UsageError: N does not divide a padded side: their code then builds a pattern of another shape.
    """
    rows, columns = (block * side for side in grid_shape(out_features, in_features, block))
    if rows % size or columns % size:
        raise UsageError(
            f"expected sides divisible by the butterfly size {size}; got {rows} x {columns}",
            "use flat_butterfly, which takes any shape",
        )
    elements = flat_support(size, 2**factors).repeat_interleave(rows // size, 0)
    elements = elements.repeat_interleave(columns // size, 1)
    elements[:global_size, :] = True
    elements[:, :global_size] = True
    return BlockPattern(cover_elements(elements, block).mask, block, out_features, in_features)
