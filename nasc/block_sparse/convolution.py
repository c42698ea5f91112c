"""Convolutions with a block pattern over (c_out, c_in), shared by all taps, and a low-rank part.

The low-rank part is a k x k convolution to r channels and a 1 x 1 convolution back. A 1 x 1 convolution is the linear
layer at every position. A larger one reads its window tap by tap, so its matrix is the pattern repeated once a tap.
Departure: the paper has no k x k convolutions; this is the reading of it that keeps blocks whole.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.block_sparse.layers import BlockSparse
from nasc.block_sparse.pattern import BlockPattern
from nasc.errors import UsageError

Pair = tuple[int, int]


class PixelflyConv2d(nn.Module):
    """A convolution as blocks plus low rank; a drop-in for :class:`torch.nn.Conv2d` without groups.

    Args:
        pattern: Over (c_out, c_in).
        rank: Channels of the low-rank part, 0 for none.
        kernel_size: Height and width of the window.
        stride: Down and to the right.
        padding: Zeros at the top and bottom, and at both sides.
        dilation: Distance of the taps.
        bias: Add a bias.
    """

    def __init__(
        self,
        pattern: BlockPattern,
        rank: int = 0,
        *,
        kernel_size: Pair = (1, 1),
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.pattern, self.rank = pattern, min(rank, pattern.in_features, pattern.out_features)
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        taps = kernel_size[0] * kernel_size[1]
        # channels are padded to whole blocks, so that every tap starts at a block
        self._channels = pattern.mask.shape[1] * pattern.block
        repeated = BlockPattern(
            pattern.mask.repeat(1, taps), pattern.block, pattern.out_features, taps * self._channels
        )
        self.sparse = BlockSparse(repeated)
        self.alpha = nn.Parameter(torch.full((), 0.5)) if self.rank else None
        shape: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "bias": False}
        self.inner = nn.Conv2d(pattern.in_features, self.rank, kernel_size, **shape) if self.rank else None
        self.outer = nn.Conv2d(self.rank, pattern.out_features, 1, bias=False) if self.rank else None
        self.bias = nn.Parameter(torch.empty(pattern.out_features)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Blocks from a dense draw; what would multiply padded channels is zero and stays so."""
        self.sparse.reset_parameters()
        taps = self.kernel_size[0] * self.kernel_size[1]
        fan_in = self.pattern.in_features * taps
        weight = self.sparse.dense().view(self.pattern.out_features, taps, self._channels)
        weight[:, :, self.pattern.in_features :] = 0
        # the draw counted padded channels among the read ones
        weight *= (self._channels / self.pattern.in_features) ** 0.5
        self.sparse.copy_from(weight.reshape(self.pattern.out_features, -1))
        if self.bias is not None:
            nn.init.uniform_(self.bias, -(fan_in**-0.5), fan_in**-0.5)

    @property
    def weights(self) -> int:
        """Weights of the matrices, padded channels, bias and alpha not counted."""
        taps = self.kernel_size[0] * self.kernel_size[1]
        low = self.rank * (taps * self.pattern.in_features + self.pattern.out_features)
        return taps * self.pattern.nnz + low

    @property
    def density(self) -> float:
        """Weights over those of the dense convolution."""
        taps = self.kernel_size[0] * self.kernel_size[1]
        return self.weights / (taps * self.pattern.in_features * self.pattern.out_features)

    def dense(self) -> Tensor:
        """The equal dense convolution's weight, shape (c_out, c_in, kernel_h, kernel_w)."""
        weight = self.dense_blocks()
        if self.inner is None or self.outer is None or self.alpha is None:
            return weight
        low = torch.einsum("or,rihw->oihw", self.outer.weight[:, :, 0, 0], self.inner.weight)
        return self.alpha * weight + (1 - self.alpha) * low

    def dense_blocks(self) -> Tensor:
        """The blocks alone as a convolution's weight, shape (c_out, c_in, kernel_h, kernel_w)."""
        out, channels = self.pattern.out_features, self._channels
        taps = self.sparse.dense().view(out, *self.kernel_size, channels)[..., : self.pattern.in_features]
        return taps.permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, c_in, height, width) to (batch, c_out, height', width')."""
        windows, height, width = self._windows(x)
        y: Tensor = self.sparse(windows, self.alpha).view(x.shape[0], height, width, -1).permute(0, 3, 1, 2)
        if self.inner is not None and self.outer is not None and self.alpha is not None:
            y = y + self.outer(self.inner(x) * (1 - self.alpha))
        return y if self.bias is None else y + self.bias[:, None, None]

    def _windows(self, x: Tensor) -> tuple[Tensor, int, int]:
        """Every position's window, tap by tap, channels innermost: (batch, positions, taps x channels)."""
        batch, c_in = x.shape[:2]
        if c_in != self.pattern.in_features:
            raise UsageError(f"expected {self.pattern.in_features} channels; got {c_in}")
        last = functional.pad(x.permute(0, 2, 3, 1), (0, self._channels - c_in))
        (top, left), (kh, kw) = self.padding, self.kernel_size
        if top or left:
            last = functional.pad(last, (0, 0, left, left, top, top))
        height = (last.shape[1] - self.dilation[0] * (kh - 1) - 1) // self.stride[0] + 1
        width = (last.shape[2] - self.dilation[1] * (kw - 1) - 1) // self.stride[1] + 1
        taps = [
            last[
                :,
                i * self.dilation[0] : i * self.dilation[0] + (height - 1) * self.stride[0] + 1 : self.stride[0],
                j * self.dilation[1] : j * self.dilation[1] + (width - 1) * self.stride[1] + 1 : self.stride[1],
            ]
            for i in range(kh)
            for j in range(kw)
        ]
        whole = taps[0] if len(taps) == 1 else torch.cat(taps, dim=-1)
        return whole.reshape(batch, height * width, -1), height, width
