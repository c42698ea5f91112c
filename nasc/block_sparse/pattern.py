"""Which blocks of a weight matrix there are: a fixed pattern on a grid of b x b blocks.

A pattern belongs to a matrix of shape (out_features, in_features), as :class:`torch.nn.Linear` has it. The grid covers it:
P = ceil(out / b) block rows and Q = ceil(in / b) block columns; what lies outside the matrix counts for nothing.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nasc.errors import ModelError, UsageError


@dataclass(frozen=True, eq=False)
class BlockPattern:
    """Blocks that are present, by block row and block column.

    >>> pattern = BlockPattern(torch.eye(2, dtype=torch.bool), block=4, out_features=8, in_features=7)
    >>> pattern.nnz, round(pattern.density, 3)
    (28, 0.5)

    Args:
        mask: Bool, shape (P, Q), on the CPU.
        block: Side b of a block.
        out_features: Rows of the matrix.
        in_features: Columns of the matrix.

    Raises:
        UsageError: The mask does not cover the matrix.
    """

    mask: Tensor
    block: int
    out_features: int
    in_features: int

    def __post_init__(self) -> None:
        expected = grid_shape(self.out_features, self.in_features, self.block)
        if self.mask.dtype != torch.bool or tuple(self.mask.shape) != expected:
            raise UsageError(
                f"expected a bool mask of {expected[0]} x {expected[1]} blocks for a {self.out_features} x "
                f"{self.in_features} matrix in blocks of {self.block}; got {self.mask.dtype} of {tuple(self.mask.shape)}"
            )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BlockPattern)
            and (self.block, self.out_features, self.in_features)
            == (other.block, other.out_features, other.in_features)
            and torch.equal(self.mask, other.mask)
        )

    def __hash__(self) -> int:
        return hash((self.block, self.out_features, self.in_features, self.blocks))

    @cached_property
    def blocks(self) -> int:
        """How many blocks are present."""
        return int(self.mask.sum())

    @cached_property
    def nnz(self) -> int:
        """Weights inside the matrix that are present: blocks cut by its edge count for what is left of them."""
        heights = extents(self.out_features, self.block)
        widths = extents(self.in_features, self.block)
        return int((self.mask * heights[:, None] * widths[None, :]).sum())

    @property
    def density(self) -> float:
        """Weights present over all weights of the matrix."""
        return self.nnz / (self.out_features * self.in_features)

    def transpose(self) -> "BlockPattern":
        """The pattern of the transposed matrix."""
        return BlockPattern(self.mask.T.contiguous(), self.block, self.in_features, self.out_features)

    def elements(self) -> Tensor:
        """The pattern over single weights, bool, shape (out_features, in_features)."""
        whole = self.mask.repeat_interleave(self.block, 0).repeat_interleave(self.block, 1)
        return whole[: self.out_features, : self.in_features]

    def require_equal(self, other: "BlockPattern", name: str) -> None:
        """Refuse weights that were stored for another pattern.

        Raises:
            ModelError: The patterns differ.
        """
        if self != other:
            raise ModelError(
                f"{name}: expected weights of the pattern with {self.blocks} blocks of {self.block} in "
                f"{self.out_features} x {self.in_features}; got those of another pattern ({other.blocks} blocks)",
                "build the layer with the pattern (block, stride, seed) it was saved with",
            )


def grid_shape(out_features: int, in_features: int, block: int) -> tuple[int, int]:
    """Block rows and block columns that cover a matrix.

    Raises:
        UsageError: A size is below one.
    """
    if min(out_features, in_features, block) < 1:
        raise UsageError(f"expected sizes of at least 1; got {out_features} x {in_features} in blocks of {block}")
    return math.ceil(out_features / block), math.ceil(in_features / block)


def extents(size: int, block: int) -> Tensor:
    """How many of each block's rows (or columns) lie inside the matrix, int64, shape (number of blocks,)."""
    whole = torch.full((math.ceil(size / block),), block)
    whole[-1] = size - block * (len(whole) - 1)
    return whole


def cover_elements(elements: Tensor, block: int) -> BlockPattern:
    """The smallest block pattern that holds an element-wise one: a block is on if any of its elements is.

    Args:
        elements: Bool, shape (out_features, in_features).
        block: Side of a block.
    """
    rows, columns = elements.shape
    grid = grid_shape(rows, columns, block)
    padded = torch.zeros(grid[0] * block, grid[1] * block, dtype=torch.bool)
    padded[:rows, :columns] = elements
    mask = padded.view(grid[0], block, grid[1], block).any(dim=3).any(dim=1)
    return BlockPattern(mask, block, rows, columns)


def dense_pattern(out_features: int, in_features: int, block: int) -> BlockPattern:
    """Every block."""
    mask = torch.ones(grid_shape(out_features, in_features, block), dtype=torch.bool)
    return BlockPattern(mask, block, out_features, in_features)
