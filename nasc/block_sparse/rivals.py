"""Other fixed patterns, on the same grids: what the flat butterfly is compared with.

All take a number of blocks to keep and hit it, so that comparisons are at one density.
Positions of rectangular grids are stretched as those of the butterfly are: row p of P stands at p / P.
"""

import torch
from torch import Tensor, nn

from nasc.block_sparse.pattern import BlockPattern, grid_shape
from nasc.errors import UsageError


def random_blocks(rows: int, columns: int, blocks: int, seed: int) -> Tensor:
    """Blocks drawn without replacement, bool, shape (P, Q); every row and column holds one where there are enough."""
    _require_blocks(rows, columns, blocks)
    generator = _generator(seed)
    noise = torch.rand(rows, columns, generator=generator)
    longest = max(rows, columns)
    if blocks >= longest:  # a shuffled diagonal first
        i = torch.arange(longest)
        order = torch.randperm(longest, generator=generator)
        noise[i % rows, order % columns] += 1 if rows >= columns else 0
        noise[order % rows, i % columns] += 1 if rows < columns else 0
    return keep_largest(noise, blocks)


def random_elements(out_features: int, in_features: int, weights: int, seed: int) -> Tensor:
    """Single weights drawn without replacement, bool, shape (out_features, in_features)."""
    generator = _generator(seed)
    return keep_largest(torch.rand(out_features, in_features, generator=generator), weights)


def magnitude_elements(weight: Tensor, weights: int) -> Tensor:
    """The largest entries of a weight: magnitude pruning at initialisation, bool, the weight's shape."""
    return keep_largest(weight.detach().abs(), weights)


def magnitude_blocks(weight: Tensor, block: int, blocks: int) -> Tensor:
    """The blocks of largest norm, bool, shape (P, Q)."""
    rows, columns = grid_shape(weight.shape[0], weight.shape[1], block)
    padded = weight.new_zeros(rows * block, columns * block)
    padded[: weight.shape[0], : weight.shape[1]] = weight.detach()
    return keep_largest(padded.view(rows, block, columns, block).square().sum((1, 3)), blocks)


def local_window(rows: int, columns: int, blocks: int) -> Tensor:
    """The blocks nearest to the (stretched) diagonal, bool, shape (P, Q)."""
    return keep_largest(-_offset(rows, columns).abs(), blocks)


def big_bird(rows: int, columns: int, blocks: int, seed: int, *, globals_: int = 1, window: int = 1) -> Tensor:
    """BigBird (arXiv 2007.14062): g global rows and columns, a window of w blocks to both sides, the rest random.

    Args:
        rows: Block rows.
        columns: Block columns.
        blocks: Blocks in all.
        seed: Of the random blocks.
        globals_: First block rows and columns that are all on.
        window: Blocks to each side of the diagonal; 1 gives three a row.

    Raises:
        UsageError: Globals and window alone hold more blocks.
    """
    base = _offset(rows, columns).abs() * min(rows, columns) < window + 0.5
    base[:globals_, :] = True
    base[:, :globals_] = True
    missing = blocks - int(base.sum())
    if missing < 0:
        raise UsageError(
            f"expected at least {int(base.sum())} blocks for {globals_} global rows and columns and a window of "
            f"{window}; got {blocks}",
            "ask for more density, or fewer globals",
        )
    noise = torch.rand(rows, columns, generator=_generator(seed))
    return base | keep_largest(noise.masked_fill(base, -1.0), missing)


def sparse_transformer(rows: int, columns: int, stride: int, *, fixed: bool = False) -> Tensor:
    """Sparse Transformer (arXiv 1904.10509): the last ``stride`` blocks and every ``stride``-th one, made symmetric.

    Strided: j within ``stride`` of i, or (i - j) a multiple of ``stride``. Fixed: j in the segment of i, or the last block
    of any segment.

    Args:
        rows: Block rows.
        columns: Block columns.
        stride: l, in blocks.
        fixed: The fixed form instead of the strided one.

    Returns:
        Bool, shape (P, Q).
    """
    n = max(rows, columns)
    i = (torch.arange(rows) * n // rows)[:, None]
    j = (torch.arange(columns) * n // columns)[None, :]
    if fixed:
        return (i // stride == j // stride) | (j % stride == stride - 1).expand(rows, -1)
    return ((i - j).abs() < stride) | ((i - j) % stride == 0)


def hashed_attention(q: Tensor, k: Tensor, *, buckets: int, seed: int) -> Tensor:
    """Reformer-style hashing (arXiv 2001.04451): who shares a bucket of a random rotation; one round, no sorting.

    The pattern depends on the input, so it is a mask on dense scores: it saves nothing here and stands for the quality of
    such patterns, not for their speed.

    Args:
        q: Queries, shape (..., length, d).
        k: Keys, likewise.
        buckets: Even number of buckets.
        seed: Of the rotation.

    Returns:
        Bool, shape (..., length, length); every position sees itself.
    """
    generator = _generator(seed)
    rotation = torch.randn(q.shape[-1], buckets // 2, generator=generator).to(q)
    hashes = [torch.cat([t @ rotation, -(t @ rotation)], -1).argmax(-1) for t in (q, k)]
    same = hashes[0][..., :, None] == hashes[1][..., None, :]
    return same | torch.eye(q.shape[-2], dtype=torch.bool, device=q.device)


def union_with(base: Tensor, score: Tensor, blocks: int) -> Tensor:
    """A pattern filled up to a number of blocks by the best-scored others; cut down to it where it holds more."""
    return keep_largest(score + base * (score.abs().max() + 1) * 2, blocks)


def keep_largest(score: Tensor, count: int) -> Tensor:
    """The ``count`` largest entries, ties by position, bool, the shape of ``score``."""
    kept = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
    kept[torch.sort(score.flatten(), descending=True, stable=True).indices[: max(0, count)]] = True
    return kept.view(score.shape)


def as_pattern(mask: Tensor, out_features: int, in_features: int, block: int) -> BlockPattern:
    """A mask over blocks as the pattern of a matrix."""
    return BlockPattern(mask, block, out_features, in_features)


class MaskedLinear(nn.Module):
    """A dense linear layer with fixed zeros: the form of patterns over single weights, which no kernel here is faster for.

    Args:
        elements: Bool, shape (out_features, in_features).
        bias: Add a bias.
    """

    elements: Tensor

    def __init__(self, elements: Tensor, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(elements.shape[1], elements.shape[0], bias=bias)
        self.register_buffer("elements", elements.clone())
        with torch.no_grad():  # outputs vary as the dense layer's
            read = elements.sum(1).clamp_min(1)
            self.linear.weight.mul_(elements * (elements.shape[1] / read).sqrt()[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """The layer over the last axis."""
        return nn.functional.linear(x, self.linear.weight * self.elements, self.linear.bias)


def _generator(seed: int) -> torch.Generator:
    """A stream of its own: a model drawn with the same seed would otherwise start with the very noise that ranks it."""
    return torch.Generator().manual_seed(seed ^ 0x5851F42D4C957F2D)


def _offset(rows: int, columns: int) -> Tensor:
    """How far each block lies from the stretched diagonal, in shares of the matrix, shape (P, Q)."""
    i = (torch.arange(rows) + 0.5) / rows
    j = (torch.arange(columns) + 0.5) / columns
    return i[:, None] - j[None, :]


def _require_blocks(rows: int, columns: int, blocks: int) -> None:
    if not 0 <= blocks <= rows * columns:
        raise UsageError(f"expected 0 to {rows * columns} blocks; got {blocks}")
