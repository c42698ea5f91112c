"""How a sparsity is shared among layers: uniform, one threshold for all, ERK, or the last layer at 80 %."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from nasc.errors import UsageError
from nasc.methods.sparse_training.patterns import Unit

LAST = 0.8
"""Sparsity of the last layer under ``last-80`` (Extended GMP, Top-KAST)."""


@dataclass(frozen=True)
class Pool:
    """Units that are ranked together.

    Args:
        units: Their places in the list of all units.
        sparsity: Share of the pool's groups that is dropped when the whole network's sparsity is ``s``.
    """

    units: tuple[int, ...]
    sparsity: Callable[[float], float]


Budget = Callable[[Sequence[Unit]], tuple[Pool, ...]]


def uniform(units: Sequence[Unit]) -> tuple[Pool, ...]:
    """Every layer at ``s``; the first and the last stay dense."""
    last = len(units) - 1
    return tuple(Pool((index,), _dense if index in (0, last) else _same) for index in range(len(units)))


def uniform_all(units: Sequence[Unit]) -> tuple[Pool, ...]:
    """Every layer at ``s``, the first and the last too; for channels the dims are meant."""
    return tuple(Pool((index,), _same) for index in range(len(units)))


def global_(units: Sequence[Unit]) -> tuple[Pool, ...]:
    """One threshold for all layers."""
    return (Pool(tuple(range(len(units))), _same),)


def global_ends(units: Sequence[Unit]) -> tuple[Pool, ...]:
    """One threshold for all layers but the first and the last, which stay dense."""
    last = len(units) - 1
    middle = tuple(range(1, last))
    ends = tuple(Pool((index,), _dense) for index in sorted({0, last}))
    return (*ends, Pool(middle, _same)) if middle else ends


def last_80(units: Sequence[Unit]) -> tuple[Pool, ...]:
    """First layer dense, last at 80 % (less while ``s`` is less), one threshold for the rest."""
    last = len(units) - 1
    if last < 1:
        return global_(units)
    middle = Pool(tuple(range(1, last)), _same)
    ends = (Pool((0,), _dense), Pool((last,), lambda sparsity: min(sparsity, LAST)))
    return (*ends, middle) if middle.units else ends


def erk(units: Sequence[Unit]) -> tuple[Pool, ...]:
    """Erdos-Renyi-Kernel (arXiv 1911.11134): density in proportion to ``(n_in + n_out + k_h + k_w) / weights``."""
    return tuple(Pool((index,), _erk_sparsity(units, index)) for index in range(len(units)))


def erk_densities(shapes: Sequence[tuple[int, ...]], sparsity: float) -> list[float]:
    """The ERK density of every layer, scaled so that the whole has exactly the sparsity asked.

    >>> [round(density, 4) for density in erk_densities([(300, 784), (100, 300), (10, 100)], 0.9)]
    [0.0796, 0.2302, 1.0]

    Args:
        shapes: Of the weights.
        sparsity: Share of all weights that is zero, in [0, 1].
    """
    counts = [_product(shape) for shape in shapes]
    scores = [sum(shape) / count for shape, count in zip(shapes, counts, strict=True)]
    dense: set[int] = set()
    while len(dense) < len(shapes):
        left = (1 - sparsity) * sum(counts) - sum(counts[index] for index in dense)
        scale = left / sum(scores[i] * counts[i] for i in range(len(shapes)) if i not in dense)
        largest = max((i for i in range(len(shapes)) if i not in dense), key=scores.__getitem__)
        if scale * scores[largest] <= 1:
            return [1.0 if i in dense else max(0.0, scale * scores[i]) for i in range(len(shapes))]
        peak = scores[largest]
        dense |= {i for i in range(len(shapes)) if scores[i] == peak}
    return [1.0] * len(shapes)


BUDGETS: Mapping[str, Budget] = MappingProxyType(
    {
        "uniform": uniform,
        "uniform-all": uniform_all,
        "global": global_,
        "global-ends": global_ends,
        "erk": erk,
        "last-80": last_80,
    }
)
"""Budget by name."""


def make_pools(budget: str, units: Sequence[Unit]) -> tuple[Pool, ...]:
    """The pools of a budget.

    Where a pattern fixes how many groups go (N:M), every unit is a pool of its own; those the budget keeps dense stay so.

    Raises:
        UsageError: The budget is unknown, or needs weights' shapes and the pattern is of dims.
    """
    if budget not in BUDGETS:
        raise UsageError(f"unknown budget {budget!r}", f"known: {', '.join(BUDGETS)}")
    if any(not unit.shape for unit in units):
        if budget in ("erk", "last-80"):
            raise UsageError(
                f"the budget {budget} is of layers; the pattern channels prunes dims", "use global or uniform"
            )
        return uniform_all(units) if budget.startswith("uniform") else global_(units)
    pools = BUDGETS[budget](units)
    if all(unit.fixed is None for unit in units):
        return pools
    return tuple(Pool((index,), pool.sparsity) for pool in pools for index in pool.units)


def _same(sparsity: float) -> float:
    return sparsity


def _dense(sparsity: float) -> float:
    return 0.0


def _erk_sparsity(units: Sequence[Unit], index: int) -> Callable[[float], float]:
    shapes = [unit.shape for unit in units]
    return lambda sparsity: 1 - erk_densities(shapes, sparsity)[index]


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
