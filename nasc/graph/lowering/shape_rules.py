"""Lowering rules of what only moves or renames data: reshapes, permutations, concatenation, slices, pads, resizes."""

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch.fx import Node

from nasc.graph.dims import Axis
from nasc.graph.lowering.arguments import Attributes, arguments
from nasc.graph.lowering.engine import Lowering, constant_axis, rule, shape_of
from nasc.graph.lowering.layout import (
    IMAGE,
    Columns,
    Shape,
    Value,
    permuted,
    reshaped,
    same_order,
)
from nasc.graph.lowering.names import operator_name
from nasc.graph.network import Weights

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
    "positive.default",
)
def _nothing(lowering: Lowering, node: Node) -> Value:
    return lowering.alias(node, lowering.value(node.args[0]))


@rule("to.dtype", "to.device", "_to_copy.default", "to.dtype_layout", "type_as.default")
def _convert(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """Wide and narrow numbers of a sort are one on the device; other conversions are not."""
    source = node.args[0]
    assert isinstance(source, Node)
    before, after = source.meta["val"].dtype, node.meta["val"].dtype
    if before != after and not (_is_whole(before) and _is_whole(after)):
        return lowering.unsupported(node)
    return lowering.alias(node, lowering.value(source))


def _is_whole(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point and not dtype.is_complex and dtype != torch.bool


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
    "view_as.default",
    "reshape_as.default",
    "_reshape_copy.default",
)
def _reshape(lowering: Lowering, node: Node) -> Value:
    source = node.args[0]
    assert isinstance(source, Node)
    value = lowering.value(source)
    shape, target = lowering.shape(source), lowering.shape(node)
    if shape == target:
        return lowering.alias(node, value)
    needed, _ = reshaped(shape, target, value.layout)
    sample = len(target) == 2 and target[0] == shape[0] == 1
    if not same_order(shape, needed, value.layout) and sample and _only_linear_readers(node):
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


@rule("expand.default", "expand_as.default", "repeat.default")
def _expand(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source = node.args[0]
    assert isinstance(source, Node)
    value, target = lowering.value(source), lowering.shape(node)
    missing = len(target) - len(value.layout)
    axes = (*(Axis() for _ in range(missing)), *lowering.axes(source))
    shape = shape_of(axes)
    if missing == 0 and shape == target:
        return lowering.alias(node, value)
    if any(want % have for want, have in zip(target, shape, strict=True)):
        return lowering.unsupported(node)
    layout = (*range(missing), *(axis + missing for axis in value.layout))
    if missing:
        value = lowering.view(value, axes, layout, f"{node.name}.lifted")
        if shape == target:
            return lowering.alias(node, value, layout)
    channels, positions = lowering.split(node, layout)
    before = max(positions * prod(shape) // prod(target), 1)
    attributes: Attributes = {"op": "tile", "from_positions": before, "positions": positions}
    multiples = tuple(target[axis] // shape[axis] for axis in layout)
    return lowering.emit(node, "move", attributes, {"channels": channels}, [value], layout, multiples=multiples)


@rule("roll.default")
def _roll(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, shifts, dims = arguments(node, 3, ([],), 2)
    value, shape = lowering.value(source), lowering.shape(node)
    if not dims:
        return lowering.unsupported(node)
    by_axis = {int(dim) % len(shape): int(shift) for dim, shift in zip(dims, shifts, strict=True)}
    channels, positions = lowering.split(node, value.layout)
    attributes: Attributes = {"op": "roll", "from_positions": positions, "positions": positions}
    shifted = tuple(by_axis.get(axis, 0) % shape[axis] for axis in value.layout)
    return lowering.emit(node, "move", attributes, {"channels": channels}, [value], value.layout, shifts=shifted)


@rule("pixel_shuffle.default")
def _pixel_shuffle(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """``[c r r, h, w] -> [c, h r, w r]``: the axes apart, in another order, together again."""
    source, factor = arguments(node, 2, (), 2)
    batch, _, height, width = lowering.axes(source)
    channels = lowering.axes(node)[1]
    side = constant_axis(f"={factor}", int(factor))
    apart = (batch, channels, side, side, height, width)
    value = lowering.laid_out(lowering.value(source), (0, 2, 3, 1))
    value = lowering.view(replace(value, node=node), apart, (0, 4, 5, 1, 2, 3), f"{node.name}.apart")
    value = lowering.laid_out(value, (0, 4, 2, 5, 3, 1))
    return replace(lowering.view(value, lowering.axes(node), (0, 2, 3, 1), node.name), axes=None)


@rule("pixel_unshuffle.default")
def _pixel_unshuffle(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """``[c, h r, w r] -> [c r r, h, w]``."""
    source, factor = arguments(node, 2, (), 2)
    batch, channels, _, _ = lowering.axes(source)
    _, _, height, width = lowering.axes(node)
    side = constant_axis(f"={factor}", int(factor))
    apart = (batch, channels, height, side, width, side)
    value = lowering.laid_out(lowering.value(source), (0, 2, 3, 1))
    value = lowering.view(replace(value, node=node), apart, (0, 2, 3, 4, 5, 1), f"{node.name}.apart")
    value = lowering.laid_out(value, (0, 2, 4, 1, 3, 5))
    return replace(lowering.view(value, lowering.axes(node), (0, 2, 3, 1), node.name), axes=None)


@rule("embedding.default")
def _embedding(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    weight, indices = node.args[:2]
    assert isinstance(weight, Node)
    assert isinstance(indices, Node)
    if not lowering.is_constant(weight) or lowering.is_constant(indices):
        return lowering.unsupported(node)
    value = lowering.value(indices)
    attributes: Attributes = {
        "rows": prod(lowering.shape(indices)),
        "vocabulary": int(weight.meta["val"].shape[0]),
    }
    name = lowering.parameter(weight)
    extra: dict[str, Any] = {} if name is not None else {"weight": weight.name}
    layout = (*value.layout, len(value.layout))
    sizes = {"channels": lowering.axes(node)[-1]}
    return lowering.emit(node, "embedding", attributes, sizes, [value], layout, weights=Weights(name), **extra)


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
