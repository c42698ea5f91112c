"""Lowering rules of what changes height and width: pooling, reductions over positions, resizing."""

from math import prod
from typing import Any

from torch.fx import Node

from nasc.graph.lowering.arguments import Attributes, arguments, first_output, pair, window_attributes
from nasc.graph.lowering.engine import Lowering, rule
from nasc.graph.lowering.layout import IMAGE, Layout, Value
from nasc.graph.lowering.names import operator_name


@rule("max_pool2d.default")
def _max_pool(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, kernel, stride, padding, dilation, _ceil = arguments(node, 6, ([], [0, 0], [1, 1], False), 2)
    if pair(dilation) != (1, 1):
        return lowering.unsupported(node)
    return _pool(lowering, node, source, "max", pair(kernel), pair(stride or kernel), pair(padding))


@rule("avg_pool2d.default")
def _avg_pool(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, kernel, stride, padding, ceil, count_padding, divisor = arguments(
        node, 7, ([], [0, 0], False, True, None), 2
    )
    extra = {"count_padding": bool(count_padding), "divisor": divisor, "ceil": bool(ceil)}
    return _pool(lowering, node, source, "avg", pair(kernel), pair(stride or kernel), pair(padding), **extra)


@rule("adaptive_avg_pool2d.default")
def _adaptive_avg_pool(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    return _adaptive_pool(lowering, node, "mean", "avg")


@rule("adaptive_max_pool2d.default")
def _adaptive_max_pool(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    pooled = _adaptive_pool(lowering, node, "max", "max")
    return (pooled,) if isinstance(pooled, Value) else pooled


def _adaptive_pool(lowering: Lowering, node: Node, whole: str, windowed: str) -> Value | tuple[Value, ...]:
    source = node.args[0]
    assert isinstance(source, Node)
    size, target = lowering.shape(source)[2:], tuple(int(n) for n in first_output(node).shape[2:])
    if size == target:
        return lowering.alias(node, lowering.value(source))
    if target == (1, 1):
        return _global_pool(lowering, node, source, whole, keepdim=True)
    if all(want % have == 0 for have, want in zip(size, target, strict=True)):  # every window holds one entry
        return resize(lowering, node, source, "resize_nearest")
    if any(have % want for have, want in zip(size, target, strict=True)):
        return lowering.unsupported(node)
    window = (size[0] // target[0], size[1] // target[1])
    return _pool(lowering, node, source, windowed, window, window, (0, 0))


def _pool(
    lowering: Lowering,
    node: Node,
    source: Node,
    op: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    **extra: Any,
) -> Value:
    value = lowering.laid_out(lowering.value(source), IMAGE)
    size, out = lowering.shape(source)[2:], [int(n) for n in first_output(node).shape[2:]]
    # with ceil_mode a last window may reach further out than the padding does
    after = [max((o - 1) * s + k - n - p, p) for o, s, k, n, p in zip(out, stride, kernel, size, padding, strict=True)]
    extra["padding"] = padding
    attributes: Attributes = {
        "op": op,
        **window_attributes(size, kernel, stride, (padding[0], after[0], padding[1], after[1])),
    }
    return lowering.emit(node, "pool", attributes, {"channels": lowering.axes(source)[1]}, [value], IMAGE, **extra)


def resize(lowering: Lowering, node: Node, source: Node, op: str, *, align_corners: bool = False) -> Value:
    """Other height and width by repeating or blending positions."""
    value = lowering.laid_out(lowering.value(source), IMAGE)
    size, target = lowering.shape(source)[2:], tuple(int(n) for n in first_output(node).shape[2:])
    attributes: Attributes = {"op": op, "from_positions": prod(size), "positions": prod(target)}
    sizes = {"channels": lowering.axes(source)[1]}
    return lowering.emit(
        node, "move", attributes, sizes, [value], IMAGE, label="resize", size=target, align_corners=align_corners
    )


def _global_pool(lowering: Lowering, node: Node, source: Node, op: str, *, keepdim: bool) -> Value:
    """Mean or maximum over all device axes but the first and the last."""
    value = lowering.value(source)
    shape = lowering.shape(source)
    positions = [shape[axis] for axis in value.layout[1:-1]]
    channel = value.layout[-1]
    attributes: Attributes = {"op": op, "height": positions[0], "width": positions[1] if len(positions) > 1 else 1}
    layout: Layout = value.layout if keepdim else (0, 1)
    sizes = {"channels": lowering.axes(source)[channel]}
    return lowering.emit(node, "global_pool", attributes, sizes, [value], layout, keepdim=keepdim)


@rule("upsample_nearest2d.vec", "upsample_bilinear2d.vec", "upsample_nearest2d.default", "upsample_bilinear2d.default")
def _upsample(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source = node.args[0]
    assert isinstance(source, Node)
    bilinear = "bilinear" in operator_name(node)
    align = bool(node.args[2]) if bilinear and len(node.args) > 2 else False
    return resize(lowering, node, source, "resize_bilinear" if bilinear else "resize_nearest", align_corners=align)
