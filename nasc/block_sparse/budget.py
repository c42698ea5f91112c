"""How many weights each layer gets, and how they become a rank and a stride (paper, Section 3.3).

Rule of thumb: a layer type's share of the sparse budget is its share of the dense compute: the same density for all.
Of a layer's weights a share rho in [1/4, 1/3] goes to low rank, r = b round(rho w / (b (out + in))); the largest butterfly
stride that fits takes the rest. The budget is never exceeded.

Departures where the paper is silent: a low-rank share below one block of rank is rounded up to one if that costs at most
half the weights, else dropped; a layer in which not even the block diagonal fits is reported as left dense.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nasc.block_sparse.butterfly import available_strides, flat_butterfly
from nasc.block_sparse.pattern import BlockPattern
from nasc.errors import UsageError

LOW_RANK_SHARE = 0.25
"""rho: the paper's best split is about one quarter low rank."""


@dataclass(frozen=True)
class MatrixType:
    """Equal matrices of a network.

    Args:
        name: For reports.
        out_features: Rows.
        in_features: Columns.
        count: How many there are.
        positions: Input rows each one meets per sample (tokens, pixels, taps times pixels).
    """

    name: str
    out_features: int
    in_features: int
    count: int = 1
    positions: int = 1

    @property
    def weights(self) -> int:
        """Weights of one dense matrix."""
        return self.out_features * self.in_features

    @property
    def macs(self) -> int:
        """Dense multiply-adds of all of them, for one sample."""
        return self.weights * self.count * self.positions


@dataclass(frozen=True)
class Form:
    """What a matrix becomes.

    Args:
        block: Side of a block.
        stride: Largest butterfly stride; 0 for no blocks.
        rank: Of the low-rank part.
        weights: Realised number of weights.
        dense_weights: Of the dense matrix.
        note: What a reader should know: a rank that was dropped, a layer left dense.
    """

    block: int
    stride: int
    rank: int
    weights: int
    dense_weights: int
    note: str = ""

    @property
    def dense(self) -> bool:
        """The matrix stays as it is."""
        return self.stride == 0 and self.rank == 0

    @property
    def density(self) -> float:
        """Realised weights over dense ones."""
        return self.weights / self.dense_weights

    def pattern(self, matrix: MatrixType) -> BlockPattern | None:
        """The blocks, None where there are none."""
        if not self.stride:
            return None
        return flat_butterfly(matrix.out_features, matrix.in_features, self.block, self.stride)


def share_by_compute(matrices: Sequence[MatrixType], budget: float) -> dict[str, float]:
    """Weights for each type (all its matrices together), in proportion to its dense compute.

    Args:
        matrices: The types; one without compute gets nothing.
        budget: Multiply-adds for one sample.

    Returns:
        Multiply-adds by type name; they sum to the budget.
    """
    total = sum(matrix.macs for matrix in matrices)
    return {matrix.name: budget * matrix.macs / total if total else 0.0 for matrix in matrices}


def choose_form(matrix: MatrixType, weights: float, *, block: int, low_rank_share: float = LOW_RANK_SHARE) -> Form:
    """Rank and stride for a number of weights of one matrix.

    Args:
        matrix: The dense matrix.
        weights: Its budget.
        block: Side b of a block.
        low_rank_share: rho, 0 for blocks alone, 1 for low rank alone.

    Returns:
        The form; dense, with a note, where the budget holds the dense matrix or not even the block diagonal fits.
    """
    dense = matrix.weights
    if not 0 <= low_rank_share <= 1:
        raise UsageError(f"expected a low-rank share between 0 and 1; got {low_rank_share}")
    if weights >= dense:
        return Form(block, 0, 0, dense, dense, "the budget holds the dense matrix")
    if block > min(matrix.out_features, matrix.in_features):
        return Form(block, 0, 0, dense, dense, f"left dense: narrower than a block of {block}")
    rank, note = choose_rank(matrix, weights, block, low_rank_share)
    stride, blocks = choose_stride(matrix, weights - rank * (matrix.out_features + matrix.in_features), block)
    if low_rank_share == 1:
        stride, blocks = 0, 0
    if not stride and low_rank_share < 1 and rank:  # the diagonal goes before the rank
        stride, blocks = choose_stride(matrix, weights, block)
        rank, note = 0, "no low rank: beside it not even the block diagonal fits"
    if not stride and not rank:
        return Form(block, 0, 0, dense, dense, f"left dense: {weights:.0f} weights hold no block diagonal of {block}")
    realised = blocks + rank * (matrix.out_features + matrix.in_features)
    return Form(block, stride, rank, realised, dense, note)


def choose_rank(matrix: MatrixType, weights: float, block: int, low_rank_share: float) -> tuple[int, str]:
    """The rank for a share of the weights, a multiple of the block, and a note where it could not be had."""
    one = block * (matrix.out_features + matrix.in_features)
    if low_rank_share == 0:
        return 0, ""
    if low_rank_share * weights >= one:
        rounded = round(low_rank_share * weights / one)
        return block * min(rounded, int(weights // one), min(matrix.out_features, matrix.in_features) // block), ""
    if one <= weights / 2:
        return block, f"rank {block} is more than the share asked for"
    return 0, f"no low rank: one block of rank costs {one} of {weights:.0f} weights"


def choose_stride(matrix: MatrixType, weights: float, block: int) -> tuple[int, int]:
    """The largest stride whose exact number of weights fits, and that number; (0, 0) where none does."""
    best = (0, 0)
    for stride in available_strides(matrix.out_features, matrix.in_features, block):
        nnz = flat_butterfly(matrix.out_features, matrix.in_features, block, stride).nnz
        if nnz <= weights:
            best = (stride, nnz)
    return best


def allocate(
    matrices: Sequence[MatrixType],
    density: float,
    *,
    block: int,
    low_rank_share: float = LOW_RANK_SHARE,
) -> dict[str, Form]:
    """Rule of thumb for a whole network: the form of every matrix type at one density.

    Args:
        matrices: The types, names unique.
        density: Of the dense compute, 0 to 1.
        block: Side of a block.
        low_rank_share: rho.

    Raises:
        UsageError: The density is not above 0.
    """
    if density <= 0:
        raise UsageError(f"expected a density above 0; got {density:g}")
    shares = share_by_compute(matrices, density * sum(matrix.macs for matrix in matrices))
    return {
        matrix.name: choose_form(
            matrix,
            shares[matrix.name] / (matrix.count * matrix.positions) if matrix.macs else 0.0,
            block=block,
            low_rank_share=low_rank_share,
        )
        for matrix in matrices
    }


@dataclass(frozen=True)
class ReportRow:
    """Requested against realised, for one matrix type."""

    name: str
    requested: float
    realised: float
    form: Form


def report(matrices: Iterable[MatrixType], forms: Mapping[str, Form], density: float) -> tuple[ReportRow, ...]:
    """Requested and realised density of every type."""
    return tuple(ReportRow(m.name, min(1.0, density), forms[m.name].density, forms[m.name]) for m in matrices)


def realised_density(matrices: Sequence[MatrixType], forms: Mapping[str, Form]) -> float:
    """Realised compute over dense compute."""
    kept = sum(matrix.macs * forms[matrix.name].density for matrix in matrices)
    return kept / sum(matrix.macs for matrix in matrices)
