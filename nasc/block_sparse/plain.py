"""The same layers in plain torch: what is traced, exported and saved.

No runtime has a block-sparse kernel that is better than its dense ones on a few columns. So block rows that read the same
columns become one dense linear layer (or convolution) over those columns, put together by slices and concatenations; the
low-rank part two dense layers. Nothing of nasc is left in it, no zero is stored or multiplied, and edges that are no whole
block are simply narrower.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from nasc.block_sparse.convolution import PixelflyConv2d
from nasc.block_sparse.layers import PixelflyLinear
from nasc.block_sparse.pattern import BlockPattern
from nasc.errors import UsageError

Span = tuple[int, int]


class PlainPixelfly(nn.Module):
    """Dense layers over groups of columns, side by side, plus two dense factors.

    Args:
        parts: One layer for each run of rows, in order.
        reads: The columns each of them reads, as spans (begin, end).
        axis: Of the features: -1 for linear layers, 1 for convolutions.
        inner: To the rank, or None.
        outer: From the rank, or None.
    """

    def __init__(
        self,
        parts: list[nn.Module],
        reads: list[tuple[Span, ...]],
        axis: int,
        inner: nn.Module | None,
        outer: nn.Module | None,
    ) -> None:
        super().__init__()
        self.parts, self.reads, self.axis = nn.ModuleList(parts), reads, axis
        self.inner, self.outer = inner, outer

    def forward(self, x: Tensor) -> Tensor:
        """The layer over its axis of features."""
        y: Tensor | None = None
        if self.parts:
            rows = [part(_select(x, spans, self.axis)) for part, spans in zip(self.parts, self.reads, strict=True)]
            y = rows[0] if len(rows) == 1 else torch.cat(rows, self.axis)
        if self.inner is not None and self.outer is not None:
            low: Tensor = self.outer(self.inner(x))
            y = low if y is None else y + low
        assert y is not None
        return y


def _select(x: Tensor, spans: tuple[Span, ...], axis: int) -> Tensor:
    # slices, not narrow(): every exporter knows them
    pieces = [x[..., begin:end] if axis == -1 else x[:, begin:end] for begin, end in spans]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, axis)


def row_spans(pattern: BlockPattern) -> tuple[tuple[Span, tuple[Span, ...]], ...]:
    """Runs of neighbouring block rows that read the same columns, with those columns, in elements.

    >>> from nasc.block_sparse.butterfly import flat_butterfly
    >>> row_spans(flat_butterfly(16, 16, 4, 2))
    (((0, 8), ((0, 8),)), ((8, 16), ((8, 16),)))

    Raises:
        UsageError: A block row is empty.
    """
    if not bool(pattern.mask.any(1).all()):
        raise UsageError("expected a block in every block row; got an empty row", "add the diagonal")
    lines = pattern.mask.tolist()
    starts = [0, *(i for i in range(1, len(lines)) if lines[i] != lines[i - 1]), len(lines)]
    b = pattern.block
    return tuple(
        ((begin * b, min(end * b, pattern.out_features)), _runs(lines[begin], b, pattern.in_features))
        for begin, end in pairwise(starts)
    )


def _runs(line: list[bool], block: int, size: int) -> tuple[Span, ...]:
    """Runs of blocks that are on, as spans of elements."""
    edges = [i for i, (one, other) in enumerate(pairwise([False, *line, False])) if one != other]
    return tuple((begin * block, min(end * block, size)) for begin, end in zip(edges[::2], edges[1::2], strict=True))


def to_plain(layer: PixelflyLinear | PixelflyConv2d) -> PlainPixelfly:
    """A layer in plain torch, with its weights as they stand and alpha folded into them.

    Raises:
        UsageError: The mix is gated: alpha is no constant.
    """
    plain = plain_like(layer)
    copy_weights(layer, plain)
    return plain


def plain_like(layer: PixelflyLinear | PixelflyConv2d) -> PlainPixelfly:
    """The plain form with weights of its own."""
    if isinstance(layer, PixelflyConv2d):
        return _plain_convolution(layer)
    if layer.gate is not None:
        raise UsageError("expected a mix that is one matrix; got a gate per input", "use mix='scalar' or 'fixed'")
    bias = layer.bias is not None
    parts: list[nn.Module] = []
    reads: list[tuple[Span, ...]] = []
    if layer.sparse is not None:
        for (begin, end), spans in row_spans(layer.sparse.pattern):
            parts.append(nn.Linear(_width(spans), end - begin, bias=bias))
            reads.append(spans)
    inner = nn.Linear(layer.in_features, layer.rank, bias=False) if layer.rank else None
    outer = nn.Linear(layer.rank, layer.out_features, bias=bias and not parts) if layer.rank else None
    return PlainPixelfly(parts, reads, -1, inner, outer).to(next(layer.parameters()))


def _plain_convolution(layer: PixelflyConv2d) -> PlainPixelfly:
    parts: list[nn.Module] = []
    reads: list[tuple[Span, ...]] = []
    window = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    bias = layer.bias is not None
    for (begin, end), spans in row_spans(layer.pattern):
        parts.append(nn.Conv2d(_width(spans), end - begin, layer.kernel_size, bias=bias, **window))  # type: ignore[arg-type]
        reads.append(spans)
    inner = outer = None
    if layer.rank:
        pattern, rank = layer.pattern, layer.rank
        inner = nn.Conv2d(pattern.in_features, rank, layer.kernel_size, bias=False, **window)  # type: ignore[arg-type]
        outer = nn.Conv2d(rank, pattern.out_features, 1, bias=False)
    return PlainPixelfly(parts, reads, 1, inner, outer).to(next(layer.parameters()))


@torch.no_grad()
def copy_weights(layer: PixelflyLinear | PixelflyConv2d, plain: PlainPixelfly) -> None:
    """Bring the weights of a layer, as they stand, into its plain form."""
    blocks, low = _parts_of(layer)
    pattern = _pattern_of(layer)
    if pattern is not None:
        for part, ((begin, end), spans) in zip(plain.parts, row_spans(pattern), strict=True):
            assert isinstance(part, nn.Linear | nn.Conv2d)
            part.weight.copy_(torch.cat([blocks[begin:end, a:b] for a, b in spans], 1))
            if part.bias is not None and layer.bias is not None:
                part.bias.copy_(layer.bias[begin:end])
    if low is not None:
        assert isinstance(plain.inner, nn.Linear | nn.Conv2d)
        assert isinstance(plain.outer, nn.Linear | nn.Conv2d)
        plain.inner.weight.copy_(low[0])
        plain.outer.weight.copy_(low[1])
        if plain.outer.bias is not None and layer.bias is not None:
            plain.outer.bias.copy_(layer.bias)


def _pattern_of(layer: PixelflyLinear | PixelflyConv2d) -> BlockPattern | None:
    if isinstance(layer, PixelflyConv2d):
        return layer.pattern
    return layer.sparse.pattern if layer.sparse is not None else None


def _parts_of(layer: PixelflyLinear | PixelflyConv2d) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """The blocks as a dense weight, and both factors as layers have them, alpha taken in."""
    if isinstance(layer, PixelflyConv2d):
        weight = layer.dense_blocks()
        if layer.inner is None or layer.outer is None or layer.alpha is None:
            return weight, None
        return weight * layer.alpha, (layer.inner.weight, layer.outer.weight * (1 - layer.alpha))
    share = layer.share()
    blocks = layer.sparse.dense() if layer.sparse is not None else torch.empty(0)
    low = (layer.v.T, layer.u) if layer.u is not None and layer.v is not None else None
    if share is None or low is None:
        return blocks, low
    return blocks * share, (low[0], low[1] * (1 - share))


def _width(spans: tuple[Span, ...]) -> int:
    return sum(end - begin for begin, end in spans)
