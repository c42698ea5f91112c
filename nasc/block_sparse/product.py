"""The block butterfly as a product of its factors: what the flat form is measured against.

B = B_n B_{n/2} ... B_2, each factor two b x b blocks a block row: 2 n log2(n) b^2 weights and log2(n) steps that wait for
each other (paper, Section 3.1). b = 1 is the ordinary butterfly matrix. A factor of stride k pairs block i with i XOR k/2,
so it is n/2 dense 2b x 2b products, done as one ``bmm``.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.block_sparse.butterfly import strides
from nasc.block_sparse.initialisation import bias_bound
from nasc.block_sparse.pattern import grid_shape


def pairs(n: int, k: int) -> Tensor:
    """Blocks in the order of their pairs, int64, shape (n / 2, 2): (i, i + k/2) for every i without the bit k/2."""
    first = torch.arange(n).view(-1, 2, k // 2)
    return first.transpose(1, 2).reshape(-1, 2)


def factor_matrix(weights: Tensor, k: int) -> Tensor:
    """The dense matrix of one factor.

    Args:
        weights: Shape (n / 2, 2, b, 2, b): pair, row half, row, column half, column.
        k: Stride.

    Returns:
        Shape (n b, n b).
    """
    half, b = weights.shape[0], weights.shape[2]
    index = pairs(2 * half, k)
    matrix = weights.new_zeros(2 * half, 2 * half, b, b)
    for row in range(2):
        for column in range(2):
            matrix[index[:, row], index[:, column]] = weights[:, row, :, column]
    return matrix.permute(0, 2, 1, 3).reshape(2 * half * b, 2 * half * b)


class BlockButterfly(nn.Module):
    """x B^T + bias with B a product of log2(n) butterfly factors, padded to a power of two of blocks.

    Args:
        in_features: Columns.
        out_features: Rows.
        block: Side b of a block; 1 is the ordinary butterfly.
        bias: Add a bias.
        stride: Largest factor, n by default; below n the product is block-diagonal.
    """

    def __init__(
        self, in_features: int, out_features: int, block: int, *, bias: bool = True, stride: int | None = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.block = in_features, out_features, block
        sides = grid_shape(out_features, in_features, block)
        self.n = max(2, 2 ** math.ceil(math.log2(max(sides))))
        self.strides = strides(min(stride or self.n, self.n))
        # (pair, row half, row, column half, column), one for each stride
        self.factors = nn.ParameterList(
            nn.Parameter(torch.empty(self.n // 2, 2, block, 2, block)) for _ in self.strides
        )
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        steps = [pairs(self.n, k).flatten() for k in self.strides]
        # from the order of one factor's pairs straight to the next one's
        orders = [steps[0], *(torch.argsort(a)[b] for a, b in pairwise(steps))]
        self.register_buffer("_orders", torch.stack(orders), persistent=False)
        self.register_buffer("_last", torch.argsort(steps[-1]), persistent=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Factors keep the variance of what they read, the last leaves the dense layer's 1/3."""
        for index, factor in enumerate(self.factors):
            gain = 1 / math.sqrt(3) if index == len(self.factors) - 1 else 1.0
            bound = gain * math.sqrt(3 / (2 * self.block))
            nn.init.uniform_(factor, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bias_bound(self.in_features), bias_bound(self.in_features))

    @property
    def weights(self) -> int:
        """Weights of all factors: 2 n b^2 each."""
        return sum(factor.numel() for factor in self.factors)

    def matrices(self) -> list[Tensor]:
        """The dense factors, smallest stride (applied first) first, each of shape (n b, n b)."""
        return [factor_matrix(factor, k) for factor, k in zip(self.factors, self.strides, strict=True)]

    def dense(self) -> Tensor:
        """The product as a dense matrix, shape (out_features, in_features)."""
        whole = torch.eye(self.n * self.block, dtype=self.factors[0].dtype, device=self.factors[0].device)
        for matrix in self.matrices():
            whole = matrix @ whole
        return whole[: self.out_features, : self.in_features]

    def forward(self, x: Tensor) -> Tensor:
        """The layer over the last axis, shape (..., in_features) to (..., out_features)."""
        b = self.block
        padded = functional.pad(x, (0, self.n * b - self.in_features)) if self.n * b > self.in_features else x
        y = padded.reshape(-1, self.n, b)
        for factor, order in zip(self.factors, self._orders, strict=True):  # type: ignore[arg-type]
            two = y.index_select(1, order).view(-1, self.n // 2, 2 * b).transpose(0, 1)
            weight = factor.view(self.n // 2, 2 * b, 2 * b).transpose(1, 2)
            y = torch.bmm(two, weight).transpose(0, 1).reshape(-1, self.n, b)
        y = y.index_select(1, self._last)  # type: ignore[arg-type]
        y = y.reshape(-1, self.n * b)[:, : self.out_features].reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.in_features}, {self.out_features}, block={self.block}, strides={self.strides}"
