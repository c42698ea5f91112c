"""Operators that reduce axes away."""

from nasc.graph.rules import pointwise
from nasc.graph.rules._base import Call, NoRule, rule
from nasc.graph.unify import Axes


def _reduced_positions(call: Call, rank: int) -> list[int]:
    given = call.arguments.get("dim")
    if given is None or given == []:
        return list(range(rank))
    positions = [given] if isinstance(given, int) else list(given)
    return [position + rank if position < 0 else position for position in positions]


def _drop(call: Call, axes: Axes, positions: list[int]) -> Axes | list[Axes]:
    keep = bool(call.get("keepdim", False))
    result: Axes = []
    for position, axis in enumerate(axes):
        if position not in positions:
            result.append(axis)
        elif keep:
            result.append([])
    if isinstance(call.value, (list, tuple)):
        return [list(result) for _ in call.value]
    return result


def _reduction(call: Call, what: str) -> Axes | list[Axes]:
    axes = call.axes("self")
    positions = _reduced_positions(call, len(axes))
    for position in positions:
        call.reduce(axes[position], what)
    return _drop(call, axes, positions)


@rule("mean", "nanmean")
def mean(call: Call) -> Axes | list[Axes]:
    """The average depends on how many entries there are."""
    return _reduction(call, "a mean runs over it")


@rule("var", "std", "var_mean", "std_mean")
def variance(call: Call) -> Axes | list[Axes]:
    """So do variances."""
    return _reduction(call, "a variance runs over it")


@rule("amax", "amin", "logsumexp", "prod")
def extremum(call: Call) -> Axes | list[Axes]:
    """A zero may be the largest entry: removing differs from zeroing."""
    return _reduction(call, f"{call.name} runs over it")


@rule("max", "min")
def maximum(call: Call) -> Axes | list[Axes]:
    """Of all entries, along one axis, or of two tensors."""
    if "other" in call.arguments:
        return pointwise.pointwise(call)
    return _reduction(call, f"{call.name} runs over it")


@rule("sum", "linalg_vector_norm", "norm")
def total(call: Call) -> Axes | list[Axes]:
    """A sum over entries that no weight has read: the removed entries would still count unless they are zero."""
    return _reduction(call, "a sum runs over it")


@rule("argmax", "argmin", "any", "all")
def position_of(call: Call) -> Axes | list[Axes]:
    """Positions within an axis change when entries are removed."""
    if call.arguments.get("dim") is None and call.name.startswith("arg"):
        raise NoRule(f"{call.name} over all axes")
    axes = call.axes("self")
    positions = _reduced_positions(call, len(axes))
    call.freeze([axes[position] for position in positions], f"{call.name} runs over it")
    return _drop(call, axes, positions)


@rule("cumsum", "cumprod", "logcumsumexp")
def cumulate(call: Call) -> Axes:
    """Running sums depend on the order and number of entries."""
    axes = call.axes("self")
    call.freeze([axes[call.index("dim", len(axes))]], f"{call.name} runs over it")
    return axes
