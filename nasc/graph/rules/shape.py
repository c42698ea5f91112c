"""Operators that rearrange axes without touching entries: reshape, permute, split, concatenate, pad."""

from typing import Any

import torch

from nasc.graph.rules._base import POSITION, Call, NoRule, SizeOf, rule
from nasc.graph.unify import (
    Axes,
    Factors,
    concatenation,
    freeze,
    is_fixed,
    number,
    regroup,
    regroup_freezing,
    size,
    split_sum,
    unify,
)

_RESHAPED = "is reshaped in a way that cuts through it"
_CUT = "is cut at a place that does not divide evenly"


# -- reading the same entries with other axes ---------------------------------------------------------


_RESHAPES = "view reshape _unsafe_view flatten unflatten view_as reshape_as _reshape_alias view_copy _reshape_copy"


@rule(*_RESHAPES.split())
def reshape(call: Call) -> Axes:
    """Factors are distributed anew over the axes wanted."""
    axes = call.axes("self")
    factors = [variable for axis in axes for variable in axis]
    result = regroup_freezing(factors, call.shape, _RESHAPED)
    if result is None:
        call.freeze(axes, _RESHAPED)
        result = call.walk.fresh(call.value, POSITION)
    call.replace(torch.ops.aten.reshape.default, call["self"], tuple(SizeOf(axis) for axis in result))
    return result


@rule("permute")
def permute(call: Call) -> Axes:
    """Axes in another order."""
    axes = call.axes("self")
    return [axes[place] for place in call["dims"]]


@rule("transpose", "swapaxes", "swapdims")
def transpose(call: Call) -> Axes:
    """Two axes change places."""
    axes = call.axes("self")
    first, second = (value for name, value in call.arguments.items() if name in ("dim0", "dim1", "axis0", "axis1"))
    axes[first], axes[second] = axes[second], axes[first]
    return axes


@rule("t", "numpy_T", "mT", "adjoint", "matrix_H")
def matrix_transpose(call: Call) -> Axes:
    """The last two axes change places (all of them for ``numpy_T``)."""
    axes = call.axes("self")
    return axes[::-1] if call.name in ("t", "numpy_T") else [*axes[:-2], axes[-1], axes[-2]]


@rule("movedim", "moveaxis")
def movedim(call: Call) -> Axes:
    """Some axes move, the others keep their order."""
    axes = call.axes("self")
    source, destination = (_as_places(call[name], len(axes)) for name in ("source", "destination"))
    rest = iter([place for place in range(len(axes)) if place not in source])
    moved = dict(zip(destination, source, strict=True))
    return [axes[moved[place]] if place in moved else axes[next(rest)] for place in range(len(axes))]


def _as_places(value: Any, rank: int) -> list[int]:
    places = [value] if isinstance(value, int) else list(value)
    return [place + rank if place < 0 else place for place in places]


@rule("unsqueeze")
def unsqueeze(call: Call) -> Axes:
    """A new axis of size one."""
    axes = call.axes("self")
    axes.insert(call.index("dim", len(axes), 1), [])
    return axes


@rule("squeeze")
def squeeze(call: Call) -> Axes:
    """Axes of size one go."""
    axes = call.axes("self")
    given = call.arguments.get("dim")
    places = list(range(len(axes))) if given is None else _as_places(given, len(axes))
    gone = {place for place in places if size(axes[place]) == 1}
    if given is None:  # an axis that shrinks to one entry must not go with the others
        call.replace(torch.ops.aten.squeeze.dims, call["self"], tuple(sorted(gone)))
    return [axis for place, axis in enumerate(axes) if place not in gone]


# -- repeating ----------------------------------------------------------------------------------------


@rule("expand", "broadcast_to")
def expand(call: Call) -> Axes:
    """Axes of size one are repeated; the new size follows whatever it is joined with."""
    axes = call.axes("self")
    lead = len(call.shape) - len(axes)
    result: Axes = []
    for place, length in enumerate(call.shape):
        same = place >= lead and size(axes[place - lead]) == length
        result.append(axes[place - lead] if same else call.given(length))
    call.rewrite(size=tuple(SizeOf(axis) for axis in result))
    return result


@rule("expand_as")
def expand_as(call: Call) -> Axes:
    """Repeat to the axes of another tensor."""
    return call.broadcast([call.axes("other"), call.axes("self")], call.shape)


@rule("repeat")
def repeat(call: Call) -> Axes:
    """Each axis becomes ``times x axis``."""
    axes, times = call.axes("self"), [int(value) for value in call["repeats"]]
    padded: Axes = [[] for _ in range(len(times) - len(axes))] + axes
    copies: Axes = [call.given(count) for count in times]
    call.rewrite(repeats=tuple(SizeOf(copy) for copy in copies))
    return [[*copy, *axis] for copy, axis in zip(copies, padded, strict=True)]


@rule("repeat_interleave")
def repeat_interleave(call: Call) -> Axes:
    """One axis becomes ``axis x times``."""
    axes, times = call.axes("self"), call["repeats"]
    if not isinstance(times, int) or call.arguments.get("dim") is None:
        raise NoRule("repeats that differ by entry")
    copies = call.given(times)
    place = call.index("dim", len(axes))
    axes[place] = [*axes[place], *copies]
    call.rewrite(repeats=SizeOf(copies))
    return axes


# -- joining and cutting ------------------------------------------------------------------------------


@rule("cat", "concat", "concatenate")
def concatenate(call: Call) -> Axes:
    """Axes laid end to end."""
    nodes = [node for node in call["tensors"] if node.meta["val"].shape != (0,)]
    parts = [call.axes_of(node) for node in nodes]
    result = list(parts[0])
    along = call.index("dim", len(result))
    for part in parts[1:]:
        for place, axis in enumerate(part):
            if place != along:
                unify(result[place], axis, "a concatenation ties axes that do not fit together")
    pieces = [part[along] for part, node in zip(parts, nodes, strict=True) if node.meta["val"].shape[along] > 0]
    result[along] = concatenation(pieces)
    return result


@rule("stack")
def stack(call: Call) -> Axes:
    """Tensors along a new axis."""
    parts = [call.axes_of(node) for node in call["tensors"]]
    result = list(parts[0])
    for part in parts[1:]:
        for axis, other in zip(result, part, strict=True):
            unify(axis, other, "a stack ties axes that do not fit together")
    result.insert(call.index("dim", len(result), 1), number(len(parts), "counts stacked tensors"))
    return result


@rule("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "tensor_split", "split_copy")
def split(call: Call) -> list[Axes]:
    """One axis cut into several."""
    axes = call.axes("self")
    place = call.index("dim", len(axes))
    lengths = [int(value.shape[place]) for value in call.value]
    pieces = _cut(axes[place], lengths)
    if pieces is None:
        freeze(axes[place], _CUT)
        pieces = [number(length, _CUT) for length in lengths]
    lengths_now = tuple(SizeOf(piece) for piece in pieces)
    call.replace(torch.ops.aten.split_with_sizes.default, call["self"], lengths_now, place)
    return [[*axes[:place], piece, *axes[place + 1 :]] for piece in pieces]


def _cut(axis: Factors, lengths: list[int]) -> list[Factors] | None:
    """Cut an axis into pieces of the given lengths, or None where a cut falls inside a dim."""
    if len(lengths) == 1:
        return [axis]
    pieces: list[Factors] = []
    rest = axis
    for length in lengths[:-1]:
        halves = split_sum(rest, length) if 0 < length < size(rest) else None
        if halves is None:
            return None
        pieces.append(halves[0])
        rest = halves[1]
    return [*pieces, rest]


@rule("glu")
def glu(call: Call) -> Axes:
    """The first half gated by the second."""
    axes = call.axes("self")
    place = call.index("dim", len(axes))
    halves = split_sum(axes[place], size(axes[place]) // 2)
    if halves is None:
        raise NoRule("a gate that does not split into halves")
    unify(*halves)
    return [*axes[:place], halves[0], *axes[place + 1 :]]


@rule("slice")
def slice_axis(call: Call) -> Axes:
    """A range of one axis."""
    axes = call.axes("self")
    place = call.index("dim", len(axes))
    length, wanted = size(axes[place]), call.shape[place]
    start = _bounded(call.get("start", 0), length)
    step = int(call.get("step", 1))
    if wanted == length:
        if axes[place]:
            call.rewrite(end=torch.iinfo(torch.int64).max)
        return axes
    if wanted == 0 or is_fixed(axes[place]):
        return [*axes[:place], number(wanted, POSITION), *axes[place + 1 :]]
    if step == 1:
        return _slice_range(call, axes, place, start, wanted)
    return _slice_strided(call, axes, place, start, step)


def _bounded(value: int, length: int) -> int:
    return min(max(value + length if value < 0 else value, 0), length)


def _slice_range(call: Call, axes: Axes, place: int, start: int, wanted: int) -> Axes:
    taken = _take_range(call, axes[place], start, wanted)
    return [*axes[:place], taken, *axes[place + 1 :]]


def _take_range(call: Call, axis: Factors, start: int, wanted: int) -> Factors:
    """Cut a range out of an axis and say that ``start`` and ``end`` follow the cuts."""
    before, taken = _cut_range(axis, start, wanted)
    if before is not None:
        call.rewrite(start=SizeOf(before), end=SizeOf(concatenation([before, taken]) if start else taken), step=1)
    return taken


def _cut_range(axis: Factors, start: int, wanted: int) -> tuple[Factors | None, Factors]:
    """What lies before a range and the range; None and a number where it cannot be cut."""
    lengths = [part for part in (start, wanted, size(axis) - start - wanted) if part]
    pieces = _cut(axis, lengths)
    if pieces is None:
        freeze(axis, _CUT)
        return None, number(wanted, _CUT)
    return (pieces[0], pieces[1]) if start else (number(0, POSITION), pieces[0])


@rule("slice_scatter")
def slice_scatter(call: Call) -> Axes:
    """A range of one axis is overwritten by another tensor; the other axes are tied."""
    axes, source = call.axes("self"), call.axes("src")
    place = call.index("dim", len(axes))
    length, wanted = size(axes[place]), size(source[place])
    for index, (axis, other) in enumerate(zip(axes, source, strict=True)):
        if index != place or wanted == length:
            unify(axis, other)
    if wanted == 0:  # nothing is overwritten, wherever the empty range lies
        return axes
    if wanted == length:
        call.rewrite(end=torch.iinfo(torch.int64).max)
    elif is_fixed(axes[place]) or int(call.get("step", 1)) != 1:
        call.freeze([axes[place], source[place]], "is overwritten in part")
    else:
        taken = _take_range(call, axes[place], _bounded(call.get("start", 0), length), wanted)
        unify(taken, source[place])
    return axes


def _slice_strided(call: Call, axes: Axes, place: int, start: int, step: int) -> Axes:
    """Every ``step``-th entry: an axis of groups of ``step``, of which one each is taken."""
    length = size(axes[place])
    parts = regroup(axes[place], [length // step, step]) if length % step == 0 and start < step else None
    if parts is None or size(parts[0]) != call.shape[place]:
        freeze(axes[place], "is read with a stride")
        return [*axes[:place], number(call.shape[place], POSITION), *axes[place + 1 :]]
    freeze(parts[1], "is read with a stride")
    call.rewrite(end=torch.iinfo(torch.int64).max)
    return [*axes[:place], parts[0], *axes[place + 1 :]]


@rule("narrow")
def narrow(call: Call) -> Axes:
    """A range of one axis by start and length."""
    axes, start = call.axes("self"), call["start"]
    place = call.index("dim", len(axes))
    if is_fixed(axes[place]) or not isinstance(start, int):
        freeze(axes[place], _CUT)
        return [*axes[:place], number(call.shape[place], POSITION), *axes[place + 1 :]]
    before, taken = _cut_range(axes[place], start, call.shape[place])
    if before is not None:
        call.rewrite(start=SizeOf(before), length=SizeOf(taken))
    return [*axes[:place], taken, *axes[place + 1 :]]


@rule("pad", "constant_pad_nd")
def pad(call: Call) -> Axes:
    """Constant padding of channels makes a sum with fixed parts; of positions, other positions."""
    axes, amounts = call.axes("self"), [int(value) for value in call["pad"]]
    for count in range(len(amounts) // 2):
        before, after = amounts[2 * count], amounts[2 * count + 1]
        place = len(axes) - 1 - count
        if before == 0 and after == 0:
            continue
        plain = call.get("mode", "constant") == "constant" and before >= 0 and after >= 0
        if is_fixed(axes[place]) or not plain:
            freeze(axes[place], POSITION)
            axes[place] = number(call.shape[place], POSITION)
        else:
            parts = [number(before, "is padding"), axes[place], number(after, "is padding")]
            lengths = [before, size(axes[place]), after]
            axes[place] = concatenation([part for part, length in zip(parts, lengths, strict=True) if length])
    return axes
