"""Lowering rules of convolutions, linear layers and the norms that fold into them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch.fx import Node

from nasc.graph.dims import Axis
from nasc.graph.lowering.arguments import Attributes, arguments, pair, window_attributes
from nasc.graph.lowering.engine import Lowering, constant_axis, merged, rule
from nasc.graph.lowering.layout import IMAGE, Layout, Value
from nasc.graph.network import Weights


@rule("conv2d.default", "conv2d.padding")
def _conv2d(lowering: Lowering, node: Node) -> Value:
    source, weight, bias, stride, padding, dilation, groups = arguments(node, 7, (None, [1, 1], [0, 0], [1, 1], 1), 2)
    value = lowering.laid_out(lowering.value(source), IMAGE)
    c_in, c_out = lowering.axes(source)[1], lowering.axes(node)[1]
    kernel = [int(n) for n in weight.meta["val"].shape[2:]]
    window = _window(lowering, value, source, kernel, pair(stride), padding, pair(dilation))
    taps = prod(kernel) * prod(lowering.shape(node)[2:])  # multiply-adds per pair of channels
    weights, extra = _weights(lowering, weight, bias)

    def emit(kind: str, attributes: Attributes, macs_per: int, **sizes: Axis) -> Value:
        return lowering.emit(node, kind, attributes, sizes, [value], IMAGE, weights=weights, macs_per=macs_per, **extra)

    if groups == 1 and _is_linear(window):
        return emit("linear", {"rows": 1}, 1, c_in=c_in, c_out=c_out)
    kind, sizes, factor = _kind_of_convolution(c_in, c_out, weight, int(groups))
    if kind == "depthwise":
        window["multiplier"] = factor
    return emit(kind, window, taps * factor, **sizes)


def _window(
    lowering: Lowering,
    value: Value,
    source: Node,
    kernel: Sequence[int],
    stride: tuple[int, int],
    padding: Any,
    dilation: tuple[int, int],
) -> Attributes:
    """Spatial attributes of a convolution, the zeros of a pad before it taken in."""
    height, width = lowering.shape(source)[2:]
    added = value.padding  # by the pad, whose own result is never written
    size = (height - added[0] - added[1], width - added[2] - added[3])
    attributes = window_attributes(size, kernel, stride, _total_padding(value, padding, kernel, dilation))
    return attributes | {"dilation_h": dilation[0], "dilation_w": dilation[1]}


def _is_linear(window: Attributes) -> bool:
    """One position, one tap: a linear layer, as squeeze-and-excite has them."""
    ones = all(window[name] == 1 for name in ("height", "width", "kernel_h", "kernel_w"))
    return ones and not any(window[name] for name in ("pad_top", "pad_bottom", "pad_left", "pad_right"))


@rule("conv_transpose2d.input")
def _conv_transpose2d(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """The pads of the kernel are what is cut off its output at each edge."""
    source, weight, bias, stride, padding, extra_rows, groups, dilation = arguments(
        node, 8, (None, [1, 1], [0, 0], [0, 0], 1, [1, 1]), 2
    )
    kernel, strides = [int(n) for n in weight.meta["val"].shape[2:]], pair(stride)
    cuts = [(p, p - o) for p, o in zip(pair(padding), pair(extra_rows), strict=True)]
    overlapping = all(k >= s for k, s in zip(kernel, strides, strict=True))
    if groups != 1 or pair(dilation) != (1, 1) or min(map(min, cuts)) < 0 or not overlapping:
        return lowering.unsupported(node)
    value = lowering.laid_out(lowering.value(source), IMAGE)
    size = lowering.shape(source)[2:]
    sizes = {"c_in": lowering.axes(source)[1], "c_out": lowering.axes(node)[1]}
    attributes = window_attributes(size, kernel, strides, (*cuts[0], *cuts[1]))
    weights, extra = _weights(lowering, weight, bias)
    taps = prod(kernel) * prod(size)
    return lowering.emit(
        node, "conv_transpose", attributes, sizes, [value], IMAGE, weights=weights, macs_per=taps, **extra
    )


def split_groups(axis: Axis, groups: int) -> tuple[Axis, Axis]:
    """An axis as groups times what one group holds.

    >>> from nasc.graph import Dim
    >>> print(*split_groups(Axis((Dim("g", 2), Dim("c", 8))), 2))
    g=2 c=8
    """
    count = 1
    for i, term in enumerate(axis.terms):
        if count == groups:
            return Axis(axis.terms[:i]), Axis(axis.terms[i:])
        count *= int(Axis((term,)).size())
    whole = int(axis.size())  # one frozen dim: both factors are constants
    return constant_axis(f"{axis}.groups", groups), constant_axis(f"{axis}.per_group", whole // groups)


def _total_padding(
    value: Value, padding: Any, kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[int, int, int, int]:
    """Zeros (top, bottom, left, right), those of a pad before the convolution included."""
    if isinstance(padding, str):
        totals = [d * (int(k) - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        own = (totals[0] // 2, totals[0] - totals[0] // 2, totals[1] // 2, totals[1] - totals[1] // 2)
    else:
        vertical, horizontal = pair(padding)
        own = (vertical, vertical, horizontal, horizontal)
    top, bottom, left, right = (a + b for a, b in zip(own, value.padding, strict=True))
    return top, bottom, left, right


def _weights(lowering: Lowering, weight: Node, bias: Node | None) -> tuple[Weights, dict[str, Any]]:
    """The parameters by name; one that is computed from others is named by its graph node in ``extra``."""
    extra = {
        role: argument.name
        for role, argument in (("weight", weight), ("bias", bias))
        if argument is not None and lowering.parameter(argument) is None
    }
    return Weights(lowering.parameter(weight), lowering.parameter(bias)), extra


@rule("linear.default")
def _linear(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, weight, bias = arguments(node, 3, (None,), 2)
    if not lowering.is_constant(weight):
        return lowering.unsupported(node)
    value = _channels_innermost(lowering, lowering.value(source))
    weights, extra = _weights(lowering, weight, bias)
    if value.columns is not None:
        extra["columns"] = value.columns
    sizes = {"c_in": lowering.axes(source)[-1], "c_out": lowering.axes(node)[-1]}
    rows = merged(lowering.axes(source)[:-1])
    return linear(lowering, node, value, value.layout, rows, sizes, weights, **extra)


def linear(
    lowering: Lowering,
    node: Node,
    value: Value,
    layout: Layout,
    rows: Axis,
    sizes: Mapping[str, Axis],
    weights: Weights,
    **extra: Any,
) -> Value:
    """A linear layer; its rows are a part of its sizes where pruning changes them (a mixer's layer over tokens)."""
    count = int(rows.size())
    if any(dim.frozen is None for dim in rows.dims()):
        sizes = {"rows": rows, **sizes}
        return lowering.emit(
            node, "linear_rows", {}, sizes, [value], layout, weights=weights, macs_per=1, label="linear", **extra
        )
    return lowering.emit(
        node, "linear", {"rows": count}, sizes, [value], layout, weights=weights, macs_per=count, **extra
    )


def _channels_innermost(lowering: Lowering, value: Value) -> Value:
    """The PyTorch tensor's last axis is the device's last."""
    last = len(value.layout) - 1
    if value.layout[-1] == last:
        return value
    return lowering.laid_out(value, (*(axis for axis in value.layout if axis != last), last))


@rule("batch_norm.default")
def _batch_norm(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, weight, bias, mean, variance, training, _, eps = arguments(node, 8, (), 8)
    if training or lowering.parameter(mean) is None:
        return lowering.unsupported(node)
    value = lowering.value(source)
    norm = tuple(lowering.parameter(argument) for argument in (weight, bias, mean, variance))
    kernel = lowering.folds(value)
    if kernel is not None and kernel.weights.norm is None:
        weights = Weights(kernel.weights.weight, kernel.weights.bias, (norm[0], norm[1], norm[2], norm[3]), float(eps))
        return lowering.fold(value, node, weights=weights)
    return _scale_and_shift(
        lowering, node, value, Weights(None, None, (norm[0], norm[1], norm[2], norm[3]), float(eps))
    )


def _scale_and_shift(lowering: Lowering, node: Node, value: Value, weights: Weights) -> Value:
    """A norm with nothing to fold into: a 1x1 depthwise convolution, twice as fast as MUL and ADD, clamp included."""
    axes = lowering.axes(node)
    attributes: Attributes = {"dilation_h": 1, "dilation_w": 1, "multiplier": 1}
    sizes = {"channels": axes[1]}
    if len(axes) == 4:
        value = lowering.laid_out(value, IMAGE)
        attributes |= window_attributes(lowering.shape(node)[2:], (1, 1), (1, 1), (0, 0, 0, 0))
        return lowering.emit(node, "depthwise", attributes, sizes, [value], value.layout, weights=weights)
    layout = (*(axis for axis in range(len(axes)) if axis != 1), 1)
    value = lowering.laid_out(value, layout)
    rows = prod(size for axis, size in enumerate(lowering.shape(node)) if axis != 1)
    image = (constant_axis("one", 1), axes[1], constant_axis(f"={rows}", rows), constant_axis("one", 1))
    attributes |= window_attributes((rows, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    seen = lowering.view(replace(value, node=node), image, IMAGE, f"{node.name}.image")
    scaled = lowering.emit(
        node, "depthwise", attributes, sizes, [seen], IMAGE, output=f"{node.name}.scaled", weights=weights
    )
    return replace(lowering.view(scaled, axes, layout, node.name), axes=None)


@rule("conv1d.default", "conv1d.padding")
def _conv1d(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """A convolution along one axis: an image of height one."""
    source, weight, bias, stride, padding, dilation, groups = arguments(node, 7, (None, [1], [0], [1], 1), 2)
    if isinstance(padding, str):
        return lowering.unsupported(node)
    batch, channels, length = lowering.axes(source)
    one = constant_axis("one", 1)
    value = lowering.laid_out(lowering.value(source), (0, 2, 1))
    image = lowering.view(replace(value, node=node), (batch, channels, one, length), IMAGE, f"{node.name}.image")
    size, taps = lowering.shape(source)[2], int(weight.meta["val"].shape[2])
    step, pad, spread = (int(value[0]) for value in (stride, padding, dilation))
    window = window_attributes((1, size), (1, taps), (1, step), (0, 0, pad, pad))
    window |= {"dilation_h": 1, "dilation_w": spread}
    weights, extra = _weights(lowering, weight, bias)
    out = lowering.axes(node)
    kind, sizes, factor = _kind_of_convolution(channels, out[1], weight, int(groups))
    if kind == "depthwise":
        window["multiplier"] = factor
    macs = taps * lowering.shape(node)[2] * factor
    result = lowering.emit(
        node,
        kind,
        window,
        sizes,
        [image],
        IMAGE,
        output=f"{node.name}.line",
        weights=weights,
        macs_per=macs,
        line=True,
        **extra,
    )
    return replace(lowering.view(result, out, (0, 2, 1), node.name), axes=None)


def _kind_of_convolution(c_in: Axis, c_out: Axis, weight: Node, groups: int) -> tuple[str, dict[str, Axis], int]:
    """Kind, sizes, and for a depthwise one how many outputs an input channel has (else one)."""
    outputs, per_group = (int(n) for n in weight.meta["val"].shape[:2])
    if groups == 1:
        return "conv", {"c_in": c_in, "c_out": c_out}, 1
    if per_group == 1:
        return "depthwise", {"channels": c_in}, outputs // groups
    (count, inner), (_, outer) = split_groups(c_in, groups), split_groups(c_out, groups)
    return "grouped_conv", {"groups": count, "c_in": inner, "c_out": outer}, 1
