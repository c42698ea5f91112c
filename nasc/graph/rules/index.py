"""Operators that pick entries by number: what is picked from cannot be renumbered."""

from collections.abc import Sequence
from typing import Any

import torch

from nasc.graph.rules._base import POSITION, Call, NoRule, rule
from nasc.graph.unify import Axes, Factors, has_batch, number, size, unify

PICKED = "is indexed by number"
TABLE = "is indexed by a table"


@rule("embedding")
def embedding(call: Call) -> Axes:
    """``weight[vocabulary, c], indices[...] -> [..., c]``."""
    weight, indices = call.axes("weight"), call.axes("indices")
    call.freeze([weight[0]], "is a vocabulary")
    call.freeze(indices, POSITION)
    call.writes(weight[1], call["weight"])
    return [*indices, weight[1]]


@rule("index", "_unsafe_index")
def index(call: Call) -> Axes:
    """Advanced indexing: the indexed axes are replaced by the axes of the index tensors."""
    axes, tables = call.axes("self"), call["indices"]
    return _picked(call, axes, tables, [place for place, table in enumerate(tables) if table is not None])


def _picked(call: Call, axes: Axes, tables: Sequence[Any], places: Sequence[int]) -> Axes:
    """The axes of what tables pick; the indexed axes are frozen."""
    if any(tables[place].meta["val"].dtype in (torch.bool, torch.uint8) for place in places):
        raise NoRule("indexing by a mask")
    for place in places:
        _tie_sample_numbers(axes[place], call.axes_of(tables[place]))
        call.freeze([axes[place]], TABLE)
        call.freeze(call.axes_of(tables[place]), POSITION)
    shapes = [tuple(tables[place].meta["val"].shape) for place in places]
    shape = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    picked = call.broadcast([call.axes_of(tables[place]) for place in places], list(shape))
    rest = [axis for place, axis in enumerate(axes) if place not in places]
    adjacent = list(places) == list(range(places[0], places[-1] + 1))
    lead = places[0] if adjacent else 0
    return [*rest[:lead], *picked, *rest[lead:]]


def _tie_sample_numbers(axis: Factors, table: Axes) -> None:
    """A table as long as the batch that picks samples numbers them, ``x[arange(batch), k]``: it follows the batch."""
    for numbers in table:
        if has_batch(axis) and size(numbers) == size(axis):
            unify(axis, numbers)


@rule("index_put", "_unsafe_index_put", "_index_put_impl")
def index_put(call: Call) -> Axes:
    """Entries picked by tables are overwritten: what is written has the axes that would be read there."""
    axes, tables = call.axes("self"), call["indices"]
    places = [place for place, table in enumerate(tables) if table is not None]
    picked = _picked(call, axes, tables, places)
    written = call.axes("values")
    shape = [size(axis) for axis in picked]
    call.broadcast([picked, written], shape)
    return axes


@rule("scatter", "scatter_add", "scatter_reduce")
def scatter(call: Call) -> Axes:
    """Entries along one axis are overwritten, by numbers for every place of the others."""
    axes, table = call.axes("self"), call.axes("index")
    sources = [call.axes("src")] if call.has("src") else []
    along = call.index("dim", len(axes))
    call.freeze([axes[along], table[along]], TABLE)
    for place in range(len(axes)):
        for other in (table, *sources):
            if place != along and size(axes[place]) == size(other[place]):
                unify(axes[place], other[place])
            else:
                call.freeze([axes[place], other[place]], TABLE)
    return axes


@rule("index_add", "index_copy", "index_fill", "index_reduce")
def index_add(call: Call) -> Axes:
    """Entries of one axis, by a list of numbers, are overwritten; the other axes are tied."""
    axes = call.axes("self")
    along = call.index("dim", len(axes))
    call.freeze([axes[along], *call.axes("index")], TABLE)
    for place, axis in enumerate(call.axes("source") if call.has("source") else []):
        if place == along:
            call.freeze([axis], TABLE)
        else:
            unify(axes[place], axis)
    return axes


@rule("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(call: Call) -> list[Axes]:
    """Rows of a table, joined per bag."""
    weight = call.axes("weight")
    call.freeze([weight[0]], "is a vocabulary")
    call.freeze(call.axes("indices"), POSITION)
    call.writes(weight[1], call["weight"])
    first, *rest = call.walk.fresh(call.value, POSITION)
    return [[*first[:-1], weight[1]], *rest]


@rule("index_select")
def index_select(call: Call) -> Axes:
    """Entries of one axis by a list of numbers."""
    axes = call.axes("self")
    place = call.index("dim", len(axes))
    call.freeze([axes[place], *call.axes("index")], TABLE)
    axes[place] = call.walk.fresh_axis(call.shape[place], POSITION)
    return axes


@rule("gather")
def gather(call: Call) -> Axes:
    """Entries along one axis, by numbers for every place of the others."""
    axes, table = call.axes("self"), call.axes("index")
    along = call.index("dim", len(axes))
    call.freeze([axes[along]], TABLE)
    for place in range(len(axes)):
        if place == along:
            continue
        if size(axes[place]) == size(table[place]):
            unify(axes[place], table[place])
        else:
            call.freeze([axes[place], table[place]], TABLE)
    return table


@rule("select")
def select(call: Call) -> Axes:
    """One entry of an axis by its number."""
    axes = call.axes("self")
    place = call.index("dim", len(axes))
    call.freeze([axes[place]], PICKED)
    return axes[:place] + axes[place + 1 :]


@rule("unbind")
def unbind(call: Call) -> list[Axes]:
    """Every entry of an axis as a tensor of its own."""
    axes = call.axes("self")
    place = call.index("dim", len(axes))
    call.freeze([axes[place]], PICKED)
    return [axes[:place] + axes[place + 1 :] for _ in call.value]


@rule("unfold")
def unfold(call: Call) -> Axes:
    """Windows along one axis become an axis of their own."""
    axes = call.axes("self")
    place = call.index("dimension", len(axes))
    call.freeze([axes[place]], POSITION)
    axes[place] = number(call.shape[place], POSITION)
    return [*axes, number(int(call["size"]), POSITION)]


@rule("flip", "roll")
def move_around(call: Call) -> Axes:
    """Entries of an axis change places."""
    axes = call.axes("self")
    for place in call.get("dims", []) or range(len(axes)):
        call.freeze([axes[place]], f"{call.name} moves its entries")
    return axes


@rule("tril", "triu", "diff", "diagonal")
def by_position(call: Call) -> Axes:
    """What happens to an entry depends on its position."""
    axes = call.axes("self")
    call.freeze(axes, f"{call.name} depends on positions")
    if call.name in ("tril", "triu"):
        return axes
    result: Axes = call.walk.fresh(call.value, POSITION)
    return result


@rule("select_scatter")
def select_scatter(call: Call) -> Axes:
    """One entry of an axis is overwritten; the other axes are tied."""
    axes = call.axes("self")
    along = call.index("dim", len(axes))
    call.freeze([axes[along]], PICKED)
    others = axes[:along] + axes[along + 1 :]
    for axis, other in zip(others, call.axes("src"), strict=True):
        unify(axis, other)
    return axes
