"""What a block-sparse product costs on a device, and the allocation that its predicted time prefers.

    Time(M) = c_mem N_blk(M) + c_flop N_flop(M) + c_call

N_blk counts the b x b blocks touched, N_flop = 2 nnz positions. The paper's Appendix A is not public; this follows its
description in the text. The constant per call is a departure: on a CPU a product of a few blocks is all overhead.
The constants are fitted on timed products by non-negative least squares on relative errors.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from nasc.block_sparse.budget import Form, MatrixType
from nasc.block_sparse.butterfly import available_strides, flat_butterfly
from nasc.errors import TargetError, UsageError

UTILITY_SLACK = 0.01
"""The solver may give away this share of the best utility for time."""

_CELLS = 100


@dataclass(frozen=True)
class Timing:
    """One timed product.

    Args:
        blocks: Blocks touched.
        flops: 2 nnz positions.
        seconds: Time.
    """

    blocks: int
    flops: int
    seconds: float


@dataclass(frozen=True)
class CostModel:
    """Fitted constants.

    Args:
        memory_s: Seconds a block.
        flop_s: Seconds a floating-point operation.
        call_s: Seconds a product.
    """

    memory_s: float
    flop_s: float
    call_s: float = 0.0

    def seconds(self, blocks: int, flops: int) -> float:
        """Predicted time of one product."""
        return self.memory_s * blocks + self.flop_s * flops + self.call_s

    def form_seconds(self, matrix: MatrixType, form: Form) -> float:
        """Predicted time of all matrices of a type, for one sample."""
        return matrix.count * self.seconds(*touched(matrix, form))


def touched(matrix: MatrixType, form: Form) -> tuple[int, int]:
    """Blocks and operations of one matrix in a form: a low-rank part touches its factors' blocks."""
    block = form.block
    flops = 2 * form.weights * matrix.positions
    if form.dense:
        return math.ceil(matrix.out_features / block) * math.ceil(matrix.in_features / block), flops
    pattern = form.pattern(matrix)
    blocks = pattern.blocks if pattern is not None else 0
    sides = math.ceil(matrix.out_features / block) + math.ceil(matrix.in_features / block)
    return blocks + math.ceil(form.rank / block) * sides, flops


def fit_cost_model(timings: Sequence[Timing], *, constant: bool = True) -> CostModel:
    """Non-negative constants of least squared relative error.

    Args:
        timings: At least as many as constants, of different proportions.
        constant: Also fit the time of a call.

    Raises:
        UsageError: There are too few.
    """
    from scipy.optimize import nnls

    columns = 3 if constant else 2
    if len(timings) < columns:
        raise UsageError(f"expected at least {columns} timed products; got {len(timings)}")
    rows = torch.tensor(
        [[t.blocks / t.seconds, t.flops / t.seconds, 1 / t.seconds][:columns] for t in timings], dtype=torch.float64
    )
    scale = rows.norm(dim=0).clamp_min(1e-300)
    solution, _ = nnls((rows / scale).numpy(), torch.ones(len(timings), dtype=torch.float64).numpy())
    memory, flop, *call = (solution / scale.numpy()).tolist()
    return CostModel(memory, flop, call[0] if call else 0.0)


def available_forms(matrix: MatrixType, block: int) -> Iterator[Form]:
    """Every realisable (stride, rank) of a matrix that is smaller than the dense one, ranks in multiples of the block."""
    dense = matrix.weights
    sides = matrix.out_features + matrix.in_features
    nnz = {
        stride: flat_butterfly(matrix.out_features, matrix.in_features, block, stride).nnz
        for stride in available_strides(matrix.out_features, matrix.in_features, block)
    }
    for stride, blocks in nnz.items():
        for rank in range(0, min(matrix.out_features, matrix.in_features) + 1, block):
            weights = blocks + rank * sides
            if weights < dense:
                yield Form(block, stride, rank, weights, dense)


def solve(matrices: Sequence[MatrixType], model: CostModel, density: float, *, block: int) -> dict[str, Form]:
    """The cheapest forms, by predicted time, that use the budget well.

    Utility is sum_l C_l log density_l (C_l dense compute), whose maximiser under the budget is the rule of thumb's equal
    density. Of all combinations within the budget, those within :data:`UTILITY_SLACK` of the best utility compete by time;
    without the concave utility the problem is degenerate.

    Args:
        matrices: The types.
        model: Fitted on the device.
        density: Budget as a share of the dense compute.
        block: Side of a block.

    Raises:
        TargetError: Nothing fits the budget.
    """
    total = sum(matrix.macs for matrix in matrices)
    states = {(0, 0): _State(0.0, 0.0, 0.0, ())}
    for matrix in matrices:
        options = _frontier(_options(matrix, model, total, block))
        grown = [state.with_option(option) for state in states.values() for option in options]
        states = _thinned([state for state in grown if state.share <= density])
    if not states:
        raise TargetError(
            f"no combination of blocks of {block} fits a density of {density:g}", "ask for more, or for smaller blocks"
        )
    top = max(state.utility for state in states.values())
    within = [state for state in states.values() if state.utility >= top + math.log(1 - UTILITY_SLACK)]
    chosen = min(within, key=lambda state: state.seconds).forms
    return {matrix.name: form for matrix, form in zip(matrices, chosen, strict=True)}


@dataclass(frozen=True)
class _State:
    """Forms of the first matrix types: their share of the dense compute, utility and predicted time."""

    share: float
    utility: float
    seconds: float
    forms: tuple[Form, ...]

    def with_option(self, option: "_State") -> "_State":
        """The forms so far and one more."""
        return _State(
            self.share + option.share,
            self.utility + option.utility,
            self.seconds + option.seconds,
            self.forms + option.forms,
        )


def _options(matrix: MatrixType, model: CostModel, total: int, block: int) -> list[_State]:
    """Every form of one matrix type with its share of the compute, utility and time."""
    weight = matrix.macs / total
    return [
        _State(weight * form.density, weight * math.log(form.density), model.form_seconds(matrix, form), (form,))
        for form in available_forms(matrix, block)
    ]


def _thinned(states: Sequence[_State]) -> dict[tuple[int, int], _State]:
    """The best utility of every cell of a grid over share and time: without it combinations explode."""
    slowest = max((state.seconds for state in states), default=1.0) or 1.0
    best: dict[tuple[int, int], _State] = {}
    for state in states:
        cell = round(state.share * _CELLS), round(state.seconds / slowest * _CELLS)
        if cell not in best or state.utility > best[cell].utility:
            best[cell] = state
    return best


def _frontier(options: Sequence[_State]) -> list[_State]:
    """Forms that no other beats in both weights (more) and time (less): no optimum uses the rest."""
    kept: list[_State] = []
    for option in sorted(options, key=lambda option: (-option.share, option.seconds)):
        if not kept or option.seconds < kept[-1].seconds:
            kept.append(option)
    return kept


def density_for_time(
    matrices: Sequence[MatrixType], model: CostModel, seconds: float, candidates: Mapping[float, Mapping[str, Form]]
) -> float:
    """The largest density whose forms are predicted to take at most ``seconds`` for one sample.

    Args:
        matrices: The types.
        model: Fitted on the device, for inference or for a training step.
        seconds: Budget.
        candidates: Forms by density, e.g. from :func:`nasc.block_sparse.budget.allocate`.

    Raises:
        TargetError: None does; names the fastest.
    """
    times = {
        density: sum(model.form_seconds(matrix, forms[matrix.name]) for matrix in matrices)
        for density, forms in candidates.items()
    }
    fitting = [density for density, time in times.items() if time <= seconds]
    if not fitting:
        raise TargetError(
            f"expected a density that takes at most {seconds:g} s; the fastest takes {min(times.values()):g} s",
            "ask for more time, or for smaller blocks",
        )
    return max(fitting)
