"""Lowering rules of tensors cut in parts and joined: slices, selections, splits, concatenations, writes into a part."""

from dataclasses import replace
from typing import Any

from torch.fx import Node

from nasc.graph.dims import Axis
from nasc.graph.lowering.arguments import Attributes, arguments
from nasc.graph.lowering.engine import BATCH, RULES, Lowering, constant_axis, rule, shape_of
from nasc.graph.lowering.layout import (
    Layout,
    Value,
    stored_shape,
)
from nasc.graph.lowering.names import operator_name


@rule("cat.default", "concatenate.default", "concat.default")
def _cat(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    sources, dim = arguments(node, 2, (0,), 1)
    sources = [source for source in sources if source.meta["val"].numel()]
    first = next(source for source in sources if not lowering.is_constant(source))
    layout = lowering.value(first).layout
    axis = int(dim) % len(layout)
    if any(dim.name == BATCH for dim in lowering.axes(node)[axis].dims()):  # it would join the samples of a batch
        return lowering.unsupported(node)
    place = layout.index(axis)
    values = [lowering.laid_out(lowering.operand(one), layout) for one in sources]
    joined = (str(place), *(value.tensor for value in values))
    values = _with_joined_prefix(lowering, values, joined)
    if len(values) == 1:
        return lowering.alias(node, values[0])
    channels, positions = lowering.split(node, layout)
    attributes: Attributes = {"positions": positions, "parts": len(values)}
    result = lowering.emit(node, "concat", attributes, {"channels": channels}, values, layout, axis=place)
    lowering.concatenations[joined] = result
    return result


def _with_joined_prefix(lowering: Lowering, values: list[Value], joined: tuple[str, ...]) -> list[Value]:
    """The longest run of first parts that an earlier concatenation joined already, as one part.

    Dense blocks join everything before them again at every layer; the runtime's fast path takes few parts only.
    """
    for count in range(len(values), 1, -1):
        earlier = lowering.concatenations.get(joined[: count + 1])
        if earlier is not None:
            lowering.share(earlier)
            return [earlier, *values[count:]]
    return values


@rule("slice.Tensor")
def _slice(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, dim, start, _end, step = arguments(node, 5, (0, None, None, 1), 1)
    if lowering.shape(source) == lowering.shape(node):
        return lowering.alias(node, lowering.value(source))
    start = 0 if start is None else start
    if not isinstance(start, int) or not isinstance(step, int):
        return lowering.unsupported(node)
    axis = int(dim) % len(lowering.shape(node))
    size = lowering.shape(source)[axis]
    begin = max(start if start >= 0 else size + start, 0)
    return _part(lowering, node, lowering.value(source), axis, begin, step)


@rule("select.int")
def _select(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, dim, index = arguments(node, 3, (), 3)
    axis = int(dim) % len(lowering.shape(source))
    if any(dim.name == BATCH for dim in lowering.axes(source)[axis].dims()):
        return lowering.unsupported(node)  # some of the samples of a batch
    return _entry(lowering, node, lowering.value(source), axis, int(index) % lowering.shape(source)[axis])


def _entry(lowering: Lowering, node: Node, value: Value, axis: int, index: int) -> Value:
    """One entry along a PyTorch axis, which is dropped: a slice, and a view of it."""
    axes = lowering.axes_of(value)
    single = tuple(Axis() if place == axis else one for place, one in enumerate(axes))
    part = value
    if shape_of(axes)[axis] > 1:
        channels, positions = lowering.split_axes(single, value.layout)
        attributes: Attributes = {"op": "slice", "from_positions": positions, "positions": positions}
        begin = tuple(index if one == axis else 0 for one in value.layout)
        part = lowering.emit(
            node,
            "move",
            attributes,
            {"channels": channels},
            [value],
            value.layout,
            output=f"{node.name}.entry",
            label="slice",
            begin=begin,
            size=stored_shape(shape_of(single), value.layout),
        )
    layout = tuple(one - (one > axis) for one in value.layout if one != axis)
    viewed = lowering.view(replace(part, node=node), lowering.axes(node), layout, node.name)
    return replace(viewed, axes=None)


@rule("unbind.int")
def _unbind(lowering: Lowering, node: Node) -> tuple[Value, ...]:
    """Nothing happens here; each entry that is read (by ``getitem``) is a slice."""
    return tuple(lowering.value(node.args[0]) for _ in node.meta["val"])


@rule("stack.default")
def _stack(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """Each part gets the new axis of size one, then they are joined along it."""
    sources, dim = arguments(node, 2, (0,), 1)
    axes = lowering.axes(node)
    axis = int(dim) % len(axes)
    single = tuple(Axis() if place == axis else one for place, one in enumerate(axes))
    first = next(lowering.value(source).layout for source in sources if not lowering.is_constant(source))
    layout = tuple(one + (one >= axis) for one in first)
    place = layout.index(axis + 1) if axis + 1 in layout else len(layout)
    layout = (*layout[:place], axis, *layout[place:])
    parts = []
    for index, source in enumerate(sources):
        value = lowering.laid_out(lowering.operand(source), first)
        parts.append(lowering.view(replace(value, node=node), single, layout, f"{node.name}.{index}"))
    channels, positions = lowering.split(node, layout)
    attributes: Attributes = {"positions": positions, "parts": len(parts)}
    return lowering.emit(node, "concat", attributes, {"channels": channels}, parts, layout, axis=place)


@rule("slice_scatter.default", "select_scatter.default")
def _scatter(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """A tensor with some entries along one axis from another: what is before, the other, and what is after, joined."""
    base, source = node.args[:2]
    axes = lowering.axes(node)
    axis, first, last, step = _written_range(node, [int(n) for n in shape_of(axes)])
    if step != 1 or any(dim.name == BATCH for dim in axes[axis].dims()):
        return lowering.unsupported(node)
    size = shape_of(axes)[axis]
    value = lowering.operand(base)
    parts = [_range(lowering, node, value, axis, 0, first)] if first else []
    parts.append(_put(lowering, node, source, axis, value.layout))
    if last < size:
        parts.append(_range(lowering, node, value, axis, last, size))
    if len(parts) == 1:
        return lowering.alias(node, parts[0])
    channels, positions = lowering.split(node, value.layout)
    attributes: Attributes = {"positions": positions, "parts": len(parts)}
    place = value.layout.index(axis)
    return lowering.emit(node, "concat", attributes, {"channels": channels}, parts, value.layout, axis=place)


def _written_range(node: Node, shape: list[int]) -> tuple[int, int, int, int]:
    """Axis, begin, end and step of what a scatter writes."""
    if not _is_slice(node):
        dim, index = (int(one) for one in node.args[2:4])  # type: ignore[arg-type]
        axis = dim % len(shape)
        return axis, index % shape[axis], index % shape[axis] + 1, 1
    _, _, dim, start, end, step = arguments(node, 6, (0, None, None, 1), 2)
    axis = int(dim) % len(shape)
    first, last, _ = slice(start, end).indices(shape[axis])
    return axis, first, last, int(step)


def _is_slice(node: Node) -> bool:
    return operator_name(node) == "slice_scatter.default"


def _put(lowering: Lowering, node: Node, source: Any, axis: int, layout: Layout) -> Value:
    """What is put in, in the layout of the whole; a selection's has the axis missing."""
    value = lowering.operand(source)
    if _is_slice(node):
        return lowering.laid_out(value, layout)
    axes = lowering.axes_of(value)
    lifted = (*axes[:axis], Axis(), *axes[axis:])
    places = (axis, *(one + (one >= axis) for one in value.layout))
    return lowering.laid_out(lowering.view(value, lifted, places, f"{node.name}.put"), layout)


def _range(lowering: Lowering, node: Node, value: Value, axis: int, begin: int, end: int) -> Value:
    """Entries from ``begin`` to ``end`` along one axis."""
    axes = lowering.axes_of(value)
    part = tuple(constant_axis(f"={end - begin}", end - begin) if one == axis else own for one, own in enumerate(axes))
    channels, positions = lowering.split_axes(part, value.layout)
    attributes: Attributes = {"op": "slice", "from_positions": positions, "positions": positions}
    result = lowering.emit(
        node,
        "move",
        attributes,
        {"channels": channels},
        [value],
        value.layout,
        output=f"{node.name}.{begin}",
        label="slice",
        begin=tuple(begin if one == axis else 0 for one in value.layout),
        size=stored_shape(shape_of(part), value.layout),
    )
    return replace(result, axes=part)


@rule("glu.default")
def _glu(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """The first half times the sigmoid of the second."""
    source, dim = arguments(node, 2, (-1,), 1)
    value, size = lowering.value(source), lowering.shape(node)
    axis = int(dim) % len(size)
    halves = [
        replace(_range(lowering, node, value, axis, begin, begin + size[axis]), axes=lowering.axes(node))
        for begin in (0, size[axis])
    ]
    channels, positions = lowering.split(node, value.layout)
    sizes, layout = {"channels": channels}, value.layout
    gate = lowering.emit(
        node, "unary", {"op": "sigmoid", "positions": positions}, sizes, halves[1:], layout, output=f"{node.name}.gate"
    )
    attributes: Attributes = {"op": "mul", "positions": positions, "broadcast": "none"}
    return lowering.emit(node, "binary", attributes, sizes, [halves[0], gate], layout)


@rule("chunk.default", "split.Tensor", "split_with_sizes.default", "split.sizes", "unsafe_split.Tensor")
def _split(lowering: Lowering, node: Node) -> tuple[Value, ...]:
    """Nothing happens here; each part that is read (by ``getitem``) is a slice."""
    return tuple(lowering.value(node.args[0]) for _ in node.meta["val"])


@rule("<built-in function getitem>")
def _getitem(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, index = node.args
    assert isinstance(source, Node)
    assert isinstance(index, int)
    value = lowering.values(source)[index]
    written = RULES.get(operator_name(source))
    if written is _unbind:
        rank = len(value.layout)
        dim = source.args[1] if len(source.args) > 1 else source.kwargs.get("dim", 0)
        return _entry(lowering, node, value, int(dim) % rank, index)  # type: ignore[arg-type]
    if written is not _split:
        return lowering.alias(node, replace(value, node=node), value.layout)
    rank = len(value.layout)
    dim = source.args[2] if len(source.args) > 2 else source.kwargs.get("dim", 0)
    axis = int(dim) % rank  # type: ignore[arg-type]
    begin = sum(int(part.shape[axis]) for part in source.meta["val"][:index])
    return _part(lowering, node, value, axis, begin)


def _part(lowering: Lowering, node: Node, value: Value, axis: int, begin: int, step: int = 1) -> Value:
    """Every ``step``-th entry from ``begin`` on along one PyTorch axis, as many as ``node`` has."""
    layout, shape = value.layout, lowering.shape(node)
    channels, positions = lowering.split(node, layout)
    starts = tuple(begin if axis == one else 0 for one in layout)
    op = "slice" if step == 1 else "strided_slice"
    attributes: Attributes = {"op": op, "from_positions": positions * step, "positions": positions}
    strides: dict[str, Any] = {} if step == 1 else {"strides": tuple(step if axis == one else 1 for one in layout)}
    size = stored_shape(shape, layout)
    return lowering.emit(
        node,
        "move",
        attributes,
        {"channels": channels},
        [value],
        layout,
        label="slice",
        begin=starts,
        size=size,
        **strides,
    )
