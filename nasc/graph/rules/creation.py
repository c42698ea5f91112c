"""Operators that make a tensor from sizes: their sizes follow the dims they are later joined with."""

from nasc.graph.rules._base import POSITION, Call, SizeOf, rule
from nasc.graph.unify import Axes, Variable


@rule("zeros", "ones", "full", "empty", "rand", "randn", "new_zeros", "new_ones", "new_full", "new_empty")
def filled(call: Call) -> Axes:
    """Equal entries: any size will do."""
    axes: Axes = [call.given(length) for length in call.shape]
    call.rewrite(size=tuple(SizeOf(axis) for axis in axes))
    return axes


@rule("arange")
def arange(call: Call) -> Axes:
    """Numbered entries: only the batch may follow."""
    axis = [Variable(call.shape[0], frozen=POSITION)] if call.shape[0] != 1 else []
    counts_up = call.get("start", 0) == 0 and call.get("step", 1) == 1
    if counts_up and isinstance(call["end"], int) and axis:
        call.rewrite(end=SizeOf(axis))
    return [axis]


@rule("linspace", "scalar_tensor", "eye", "tril_indices", "triu_indices", "meshgrid", "hann_window", "tensor")
def constant(call: Call) -> Axes | list[Axes]:
    """Entries that depend on their position."""
    axes: Axes | list[Axes] = call.walk.fresh(call.value, POSITION)
    return axes
