"""Operators that put entries in order or count them: what they run over cannot be renumbered."""

from nasc.graph.rules._base import POSITION, Call, NoRule, rule
from nasc.graph.unify import Axes, freeze, has_batch, number


@rule("sort", "argsort", "topk", "kthvalue", "msort", "cummax", "cummin")
def sort(call: Call) -> Axes | list[Axes]:
    """Entries of one axis by rank; the first ``k`` of them for ``topk``, one for ``kthvalue``."""
    axes = call.axes("self")
    if not axes:
        return axes if not isinstance(call.value, (list, tuple)) else [axes for _ in call.value]
    place = call.index("dim", len(axes)) if call.arguments.get("dim") is not None else len(axes) - 1
    if call.name == "msort":
        place = 0
    freeze(axes[place], f"{call.name} runs over it")
    result: Axes = [*axes[:place], *_ranked(call, axes, place), *axes[place + 1 :]]
    return [list(result) for _ in call.value] if isinstance(call.value, (list, tuple)) else result


def _ranked(call: Call, axes: Axes, place: int) -> Axes:
    """The axis of ranks, or none where one entry is picked."""
    if len(call.shape) < len(axes):
        return []
    same = call.shape[place] == _length(call, place)
    if same or has_batch(axes[place]):
        return [axes[place]]
    return [number(call.shape[place], POSITION)]


def _length(call: Call, place: int) -> int:
    return int(call["self"].meta["val"].shape[place])


@rule("histc", "bincount")
def count(call: Call) -> Axes:
    """Counts of values, whatever their order."""
    call.freeze(call.axes("self"), f"{call.name} runs over it")
    result: Axes = [number(length, POSITION) for length in call.shape]
    return result


@rule("searchsorted", "bucketize")
def bucket(call: Call) -> Axes:
    """The place of every entry among sorted borders."""
    names = ("sorted_sequence", "self") if call.name == "searchsorted" else ("boundaries", "self")
    if not all(call.has(name) for name in names):
        raise NoRule("a number in place of a tensor")
    call.freeze(call.axes(names[0]), f"{call.name} runs over it")
    return call.axes(names[1])


@rule("one_hot")
def one_hot(call: Call) -> Axes:
    """A new axis of classes."""
    return [*call.axes("self"), number(call.shape[-1], POSITION)]
