"""Lowering rules of what only moves or renames data: reshapes, permutations, concatenation, slices, pads, resizes."""

from dataclasses import replace
from math import prod
from typing import Any

from torch.fx import Node

from nasc.graph.lowering.arguments import Attributes, arguments
from nasc.graph.lowering.engine import RULES, Lowering, rule
from nasc.graph.lowering.layout import (
    IMAGE,
    Columns,
    Shape,
    Value,
    permuted,
    reshaped,
    same_order,
    stored_shape,
)
from nasc.graph.lowering.names import operator_name

_CONVOLUTIONS = ("conv2d.default", "conv2d.padding")
_KEEPS_COLUMNS = (
    "relu.default",
    "relu6.default",
    "dropout.default",
    "hardswish.default",
    "silu.default",
    "gelu.default",
    "sigmoid.default",
    "contiguous.default",
    "clone.default",
)


@rule(
    "dropout.default",
    "feature_dropout.default",
    "alpha_dropout.default",
    "contiguous.default",
    "clone.default",
    "alias.default",
    "detach.default",
    "lift_fresh_copy.default",
    "_assert_tensor_metadata.default",
)
def _nothing(lowering: Lowering, node: Node) -> Value:
    return lowering.alias(node, lowering.value(node.args[0]))


@rule("to.dtype", "to.device", "_to_copy.default", "to.dtype_layout")
def _convert(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source = node.args[0]
    assert isinstance(source, Node)
    if source.meta["val"].dtype != node.meta["val"].dtype:
        return lowering.unsupported(node)
    return lowering.alias(node, lowering.value(source))


@rule(
    "view.default",
    "_unsafe_view.default",
    "reshape.default",
    "flatten.using_ints",
    "unflatten.int",
    "squeeze.default",
    "squeeze.dim",
    "squeeze.dims",
    "unsqueeze.default",
)
def _reshape(lowering: Lowering, node: Node) -> Value:
    source = node.args[0]
    assert isinstance(source, Node)
    value = lowering.value(source)
    shape, target = lowering.shape(source), lowering.shape(node)
    if shape == target:
        return lowering.alias(node, value)
    needed, _ = reshaped(shape, target, value.layout)
    if not same_order(shape, needed, value.layout) and len(target) == 2 and _only_linear_readers(node):
        return _flattened(lowering, node, value, shape)
    return lowering.reshape(node, value)


def _flattened(lowering: Lowering, node: Node, value: Value, shape: Shape) -> Value:
    """Flatten in device order: the linear layer that reads it has its columns permuted instead, once, in the file."""
    order = tuple(axis - 1 for axis in value.layout if axis != 0)
    result = lowering.emit(
        node, "free", {"op": "reshape"}, {}, [value], (0, 1), label="flatten", shape=lowering.shape(node)
    )
    return replace(result, columns=Columns(shape[1:], order))


def _only_linear_readers(node: Node) -> bool:
    """Everything that reads this, element-wise functions in between, is a linear layer."""
    for reader in node.users:
        target = operator_name(reader)
        if target == "linear.default" and reader.args[0] is node:
            continue
        if target not in _KEEPS_COLUMNS or not _only_linear_readers(reader):
            return False
    return bool(node.users)


@rule("permute.default", "transpose.int", "t.default", "swapaxes.default")
def _permute(lowering: Lowering, node: Node) -> Value:
    value = lowering.value(node.args[0])
    rank = len(value.layout)
    return lowering.alias(node, value, permuted(value.layout, _order(node, rank)))


def _order(node: Node, rank: int) -> list[int]:
    order = list(range(rank))
    if operator_name(node) == "permute.default":
        return [int(axis) % rank for axis in node.args[1]]  # type: ignore[arg-type, union-attr]
    if operator_name(node) == "t.default":
        return [1, 0]
    first, second = (int(axis) % rank for axis in node.args[1:3])  # type: ignore[arg-type]
    order[first], order[second] = order[second], order[first]
    return order


@rule("cat.default")
def _cat(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    sources, dim = arguments(node, 2, (0,), 1)
    if any(lowering.is_constant(source) for source in sources):
        return lowering.unsupported(node)
    layout = lowering.value(sources[0]).layout
    axis = int(dim) % len(layout)
    place = layout.index(axis)
    values = [lowering.laid_out(lowering.value(source), layout) for source in sources]
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
    if step != 1 or not isinstance(start, int):
        return lowering.unsupported(node)
    axis = int(dim) % len(lowering.shape(node))
    size = lowering.shape(source)[axis]
    begin = max(start if start >= 0 else size + start, 0)
    return _part(lowering, node, lowering.value(source), axis, begin)


@rule("select.int")
def _select(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """Unsupported as yet: dropping an axis renumbers the layout; classifiers on one token come with transformers."""
    return lowering.unsupported(node)


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
    if RULES.get(operator_name(source)) is not _split:
        return lowering.alias(node, replace(value, node=node), value.layout)
    rank = len(value.layout)
    dim = source.args[2] if len(source.args) > 2 else source.kwargs.get("dim", 0)
    axis = int(dim) % rank  # type: ignore[arg-type]
    begin = sum(int(part.shape[axis]) for part in source.meta["val"][:index])
    return _part(lowering, node, value, axis, begin)


def _part(lowering: Lowering, node: Node, value: Value, axis: int, begin: int) -> Value:
    """Entries from ``begin`` on along one PyTorch axis, as many as ``node`` has."""
    layout, shape = value.layout, lowering.shape(node)
    channels, positions = lowering.split(node, layout)
    starts = [begin if axis == one else 0 for one in layout]
    attributes: Attributes = {"op": "slice", "from_positions": positions, "positions": positions}
    return lowering.emit(
        node,
        "move",
        attributes,
        {"channels": channels},
        [value],
        layout,
        label="slice",
        begin=tuple(starts),
        size=stored_shape(shape, layout),
    )


@rule("constant_pad_nd.default", "pad.default")
def _pad(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source = node.args[0]
    assert isinstance(source, Node)
    amounts, fill = _pad_arguments(node)
    if amounts is None or any(amount < 0 for amount in amounts):
        return lowering.unsupported(node)
    value, rank = lowering.value(source), len(lowering.shape(node))
    by_axis = {rank - 1 - i // 2: (amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)}
    spatial = rank == 4 and not any(any(by_axis.get(axis, (0, 0))) for axis in (0, 1))
    if fill == 0 and spatial and value.layout == IMAGE and all(_is_convolution(lowering, node, r) for r in node.users):
        top, bottom, left, right = value.padding
        vertical, horizontal = by_axis.get(2, (0, 0)), by_axis.get(3, (0, 0))
        padding = (top + vertical[0], bottom + vertical[1], left + horizontal[0], right + horizontal[1])
        lowering.share(value)  # the values that are read differ from those that were written
        return replace(lowering.alias(node, value), padding=padding)
    channels, positions = lowering.split(node, value.layout)
    before = positions * prod(lowering.shape(source)) // prod(lowering.shape(node))
    attributes: Attributes = {"op": "pad", "from_positions": max(before, 1), "positions": positions}
    in_file = tuple(by_axis.get(axis, (0, 0)) for axis in value.layout)
    return lowering.emit(
        node, "move", attributes, {"channels": channels}, [value], value.layout, amounts=in_file, fill=fill
    )


def _pad_arguments(node: Node) -> tuple[tuple[int, ...] | None, float]:
    amounts: Any = node.args[1]
    rest = list(node.args[2:])
    if operator_name(node) == "pad.default":
        mode = rest[0] if rest else node.kwargs.get("mode", "constant")
        fill = rest[1] if len(rest) > 1 else node.kwargs.get("value")
        if mode != "constant":
            return None, 0.0
    else:
        fill = rest[0] if rest else node.kwargs.get("value", 0.0)
    return tuple(int(amount) for amount in amounts), float(fill or 0.0)  # type: ignore[arg-type]


def _is_convolution(lowering: Lowering, node: Node, reader: Node) -> bool:
    return operator_name(reader) in _CONVOLUTIONS and reader.args[0] is node
