"""Cost and its derivative by the size of every dim, in plain floats.

A method that prices its sizes at every training step would build hundreds of autograd nodes through
:func:`nasc.cost.expression.cost`. The cost is linear in its slopes to first order, so a penalty needs only the value
and one number a dim; both come from here in a fraction of a millisecond to a few, and agree with autograd.
"""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasc.cost.expression import (
    BITS_PER_WEIGHT,
    BYTES_PER_PARAMETER,
    Table,
    Unit,
    call_seconds,
    check_unit,
    table_for,
    timed_kernels,
)
from nasc.errors import OutsideTable
from nasc.graph.dims import Axis, Dim
from nasc.graph.network import Kernel, Network
from nasc.graph.parameters import learned_parameters
from nasc.kernels import KINDS

Gradient = dict[str, float]


def price_and_slopes(
    network: Network, sizes: Mapping[str, float], unit: Unit = "macs", table: Table | None = None
) -> tuple[float, dict[str, float]]:
    """The cost at real-valued sizes, and what one more entry of each dim would add.

    Args:
        network: The traced model.
        sizes: Size by dim name; a dim that is not named keeps its dense size.
        unit: As of :func:`nasc.cost.cost`.
        table: Needed for seconds.

    Returns:
        The value, and d cost / d size by dim name, for every dim of the network.

    Raises:
        UsageError: The unit is unknown, or seconds were asked for without a table.
        OutsideTable: The table never measured a kernel or a size; names the kernel.
    """
    check_unit(unit, table)
    plan = _plan_of(network)
    terms = {"macs": plan.macs, "bitops": plan.macs, "seconds": ()}.get(unit, plan.params)
    evaluated = [_axis(axis, sizes) for axis in plan.axes]
    value, slopes = 0.0, dict.fromkeys(network.dims, 0.0)
    for factor, indices in terms:
        product, gradient = _product(factor, [evaluated[index] for index in indices])
        value += product
        _add(slopes, gradient)
    if table is not None and unit == "seconds":
        view = table_for(network, table)
        value += call_seconds(view)
        for kernel, indices in plan.kernels:
            known = [evaluated[index] for index in indices]
            count = len(KINDS[kernel.kind].sizes)
            parts = dict(zip(KINDS[kernel.kind].sizes, known[:count], strict=True))
            seconds, gradient = _kernel_seconds(kernel, parts, view)
            if kernel.gates:
                seconds, gradient = _product(1, [(seconds, gradient), *known[count:]])
            value += seconds
            _add(slopes, gradient)
    factor = {"bytes": BYTES_PER_PARAMETER, "bitops": BITS_PER_WEIGHT}.get(unit, 1)
    return value * factor, {name: slope * factor for name, slope in slopes.items()}


Term = tuple[int, tuple[int, ...]]
Evaluated = tuple[float, Gradient]


@dataclass(frozen=True)
class _Plan:
    """A network's cost with every distinct axis once.

    Args:
        axes: The distinct axes.
        macs: Factor and axis indices of every product in the multiply-adds.
        params: The same for the parameters.
        kernels: Timed kernels with the axis index of each size, then of each gate.
    """

    axes: tuple[Axis, ...]
    macs: tuple[Term, ...]
    params: tuple[Term, ...]
    kernels: tuple[tuple[Kernel, tuple[int, ...]], ...]


_plans: dict[int, tuple["weakref.ref[Network]", _Plan]] = {}


def _plan_of(network: Network) -> _Plan:
    """The network's plan, made once; networks are frozen but hold mappings, so they are told apart by identity."""
    key = id(network)
    known = _plans.get(key)
    if known is not None and known[0]() is network:
        return known[1]
    plan = _make_plan(network)
    _plans[key] = (weakref.ref(network, lambda _: _plans.pop(key, None)), plan)
    return plan


def _make_plan(network: Network) -> _Plan:
    index: dict[Axis, int] = {}

    def indices(axes: Sequence[Axis]) -> tuple[int, ...]:
        return tuple(index.setdefault(axis, len(index)) for axis in axes)

    def of_kernel(kernel: Kernel) -> tuple[int, ...]:
        return indices(kernel.axes)

    macs = tuple((kernel.macs_per, of_kernel(kernel)) for kernel in network.kernels if kernel.macs_per)
    params = tuple((1, indices(axes)) for _, axes in learned_parameters(network))
    kernels = tuple((kernel, of_kernel(kernel)) for kernel in timed_kernels(network))
    return _Plan(tuple(index), macs, params, kernels)


def _axis(axis: Axis, sizes: Mapping[str, float]) -> Evaluated:
    """Size of an axis and its derivative by each dim."""
    if len(axis.terms) == 1 and isinstance(axis.terms[0], Dim):  # nearly all are
        dim = axis.terms[0]
        return sizes.get(dim.name, dim.size), {dim.name: 1.0}
    factors: list[Evaluated] = []
    for term in axis.terms:
        if isinstance(term, Dim):
            factors.append((sizes.get(term.name, term.size), {term.name: 1.0}))
        else:
            parts = [_axis(part, sizes) for part in term.parts]
            gradient: Gradient = {}
            for _, slopes in parts:
                _add_all(gradient, slopes)
            factors.append((sum(value for value, _ in parts), gradient))
    return _product(1, factors)


def _product(factor: float, factors: Sequence[Evaluated]) -> Evaluated:
    """A product and its gradient by the product rule; exact where a factor is zero."""
    value, gradient = float(factor), dict[str, float]()
    for size, slopes in factors:
        gradient = {name: slope * size for name, slope in gradient.items()}
        for name, slope in slopes.items():
            gradient[name] = gradient.get(name, 0.0) + value * slope
        value *= size
    return value, gradient


def _kernel_seconds(kernel: Kernel, parts: Mapping[str, Evaluated], table: Table) -> Evaluated:
    numbers = {name: value for name, (value, _) in parts.items()}
    try:
        seconds = float(table.seconds(kernel.signature, numbers))
        per_size = table.slope(kernel.signature, numbers)
    except OutsideTable as outside:
        raise OutsideTable(f"{kernel.name}: {outside.message}", outside.hint) from outside
    gradient: Gradient = {}
    for name, (_, slopes) in parts.items():
        _add_all(gradient, {dim: slope * per_size.get(name, 0.0) for dim, slope in slopes.items()})
    return seconds, gradient


def _add(total: Gradient, gradient: Gradient) -> None:
    """Add the slopes of the dims that ``total`` has: constants of a kernel are dims no one may change."""
    for name, slope in gradient.items():
        if name in total:
            total[name] += slope


def _add_all(total: Gradient, gradient: Gradient) -> None:
    for name, slope in gradient.items():
        total[name] = total.get(name, 0.0) + slope
