"""Lowering rules of what computes: convolutions, linear layers, norms, pooling, element-wise functions."""

from collections.abc import Mapping, Sequence
from math import isinf, prod
from typing import Any

from torch.fx import Node

from nasc.graph.dims import Axis
from nasc.graph.lowering import Attributes, Lowering, constant_axis, is_batch, operator_name, rule
from nasc.graph.lowering_layout import IMAGE, Layout, Value, boundary_layout
from nasc.graph.network import Weights

# --- convolutions -----------------------------------------------------------------------------------------------------


@rule("conv2d.default", "conv2d.padding")
def _conv2d(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, weight, bias, stride, padding, dilation, groups = arguments(node, 7, (None, [1, 1], [0, 0], [1, 1], 1), 2)
    value = lowering.laid_out(lowering.value(source), IMAGE)
    axes, (height, width) = lowering.axes(node), lowering.shape(source)[2:]
    added = value.padding  # by a pad before the convolution, whose own result is never written
    height, width = height - added[0] - added[1], width - added[2] - added[3]
    kernel = weight.meta["val"].shape[2:]
    pads = _total_padding(value, padding, kernel, pair(dilation))
    attributes = _spatial((height, width), kernel, pair(stride), pads)
    dilations = pair(dilation)
    attributes |= {"dilation_h": dilations[0], "dilation_w": dilations[1]}
    out_h, out_w = lowering.shape(node)[2:]
    taps = int(kernel[0]) * int(kernel[1]) * out_h * out_w
    weights, extra = _weights(lowering, weight, bias)
    c_in, c_out = lowering.axes(source)[1], axes[1]
    if groups == 1:
        if attributes["height"] == attributes["width"] == taps == 1 and not any(pads):
            sizes = {"c_in": c_in, "c_out": c_out}
            return lowering.emit(
                node, "linear", {"rows": 1}, sizes, [value], IMAGE, weights=weights, macs_per=1, **extra
            )
        sizes = {"c_in": c_in, "c_out": c_out}
        return lowering.emit(node, "conv", attributes, sizes, [value], IMAGE, weights=weights, macs_per=taps, **extra)
    per_group = weight.meta["val"].shape[1]
    if per_group == 1:
        multiplier = int(weight.meta["val"].shape[0]) // int(groups)
        attributes["multiplier"] = multiplier
        return lowering.emit(
            node,
            "depthwise",
            attributes,
            {"channels": c_in},
            [value],
            IMAGE,
            weights=weights,
            macs_per=taps * multiplier,
            **extra,
        )
    grouped_in, grouped_out = split_groups(c_in, int(groups)), split_groups(c_out, int(groups))
    sizes = {"groups": grouped_in[0], "c_in": grouped_in[1], "c_out": grouped_out[1]}
    return lowering.emit(
        node, "grouped_conv", attributes, sizes, [value], IMAGE, weights=weights, macs_per=taps, **extra
    )


def split_groups(axis: Axis, groups: int) -> tuple[Axis, Axis]:
    """An axis as groups times what one group holds.

    >>> split_groups(Axis((Dim("g", 2), Dim("c", 8))), 2)[1]
    Axis(terms=(Dim(name='c', size=8, frozen=None, reduced=None),))
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


def _spatial(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pads: Sequence[int]) -> Attributes:
    names = ("height", "width", "kernel_h", "kernel_w", "stride_h", "stride_w")
    values = (*size, *kernel, *stride)
    edges = ("pad_top", "pad_bottom", "pad_left", "pad_right")
    return {name: int(value) for name, value in zip((*names, *edges), (*values, *pads), strict=True)}


def _weights(lowering: Lowering, weight: Node, bias: Node | None) -> tuple[Weights, dict[str, Any]]:
    """The parameters by name; one that is computed from others is named by its graph node in ``extra``."""
    extra = {
        role: argument.name
        for role, argument in (("weight", weight), ("bias", bias))
        if argument is not None and lowering.parameter(argument) is None
    }
    return Weights(lowering.parameter(weight), lowering.parameter(bias)), extra


# --- linear -----------------------------------------------------------------------------------------------------------


@rule("linear.default")
def _linear(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, weight, bias = arguments(node, 3, (None,), 2)
    if not lowering.is_constant(weight):
        return lowering.unsupported(node)
    value = _channels_innermost(lowering, lowering.value(source))
    rows = prod(lowering.shape(node)[:-1])
    weights, extra = _weights(lowering, weight, bias)
    if value.columns is not None:
        extra["columns"] = value.columns
    sizes = {"c_in": lowering.axes(source)[-1], "c_out": lowering.axes(node)[-1]}
    return lowering.emit(
        node, "linear", {"rows": rows}, sizes, [value], value.layout, weights=weights, macs_per=rows, **extra
    )


def _channels_innermost(lowering: Lowering, value: Value) -> Value:
    """The PyTorch tensor's last axis is the device's last."""
    last = len(value.layout) - 1
    if value.layout[-1] == last:
        return value
    return lowering.laid_out(value, (*(axis for axis in value.layout if axis != last), last))


# --- norms ------------------------------------------------------------------------------------------------------------


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
    shape = lowering.shape(node)
    image = shape if len(shape) == 4 else (1, *shape[1:], *(1,) * (4 - len(shape)))
    value = lowering.laid_out(value, boundary_layout(len(shape)))
    attributes = _spatial(image[2:], (1, 1), (1, 1), (0, 0, 0, 0)) | {"dilation_h": 1, "dilation_w": 1, "multiplier": 1}
    sizes = {"channels": lowering.axes(node)[1]}
    return lowering.emit(node, "depthwise", attributes, sizes, [value], value.layout, weights=weights)


# --- pooling ----------------------------------------------------------------------------------------------------------


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
    attributes: Attributes = {"op": op, **_spatial(size, kernel, stride, (padding[0], after[0], padding[1], after[1]))}
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


@rule("mean.dim", "amax.default")
def _reduce(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, dims, keepdim = arguments(node, 3, ([], False), 1)
    rank = len(lowering.shape(source))
    reduced = sorted(int(d) % rank for d in ([dims] if isinstance(dims, int) else dims))
    layout = lowering.value(source).layout
    inner = [axis for axis in layout if axis in reduced]
    if 0 in reduced or not inner or list(layout[1 : 1 + len(inner)]) != inner or len(layout) != len(inner) + 2:
        return lowering.unsupported(node)
    op = "mean" if operator_name(node) == "mean.dim" else "max"
    return _global_pool(lowering, node, source, op, keepdim=bool(keepdim))


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


# --- element-wise -----------------------------------------------------------------------------------------------------

_FUNCTIONS: Mapping[str, str] = {
    "hardswish.default": "hard_swish",
    "hardsigmoid.default": "hard_sigmoid",
    "sigmoid.default": "sigmoid",
    "silu.default": "silu",
    "tanh.default": "tanh",
    "abs.default": "abs",
    "neg.default": "neg",
    "exp.default": "exp",
    "sqrt.default": "sqrt",
    "rsqrt.default": "rsqrt",
    "square.default": "square",
}


@rule(*_FUNCTIONS)
def _function(lowering: Lowering, node: Node) -> Value:
    return unary(lowering, node, _FUNCTIONS[operator_name(node)])


@rule("gelu.default")
def _gelu(lowering: Lowering, node: Node) -> Value:
    approximate = node.kwargs.get("approximate", "none")
    return unary(lowering, node, "gelu_tanh" if approximate == "tanh" else "gelu")


@rule("elu.default")
def _elu(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    _, alpha, scale, input_scale = arguments(node, 4, (1.0, 1.0, 1.0), 1)
    if (alpha, scale, input_scale) != (1, 1, 1):
        return lowering.unsupported(node)
    return unary(lowering, node, "elu")


@rule("leaky_relu.default")
def _leaky_relu(lowering: Lowering, node: Node) -> Value:
    _, slope = arguments(node, 2, (0.01,), 1)
    return unary(lowering, node, "leaky_relu", alpha=float(slope))


@rule("relu.default")
def _relu(lowering: Lowering, node: Node) -> Value:
    return clamp(lowering, node, "relu")


@rule("relu6.default")
def _relu6(lowering: Lowering, node: Node) -> Value:
    return clamp(lowering, node, "relu6")


@rule("hardtanh.default", "clamp.default", "clamp_min.default")
def _clamp(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    defaults = (-1.0, 1.0) if operator_name(node) == "hardtanh.default" else (None, None)
    _, low, high = arguments(node, 3, defaults, 1)
    if low != 0 or not (high is None or high == 6 or isinf(high)):
        return lowering.unsupported(node)
    return clamp(lowering, node, "relu6" if high == 6 else "relu")


def clamp(lowering: Lowering, node: Node, op: str) -> Value:
    """Relu or relu6: folded into a convolution or linear layer before it, else a kernel of its own."""
    value = lowering.value(node.args[0])
    if lowering.folds(value) is not None:
        return lowering.fold(value, node, activation=op)
    return unary(lowering, node, op)


def unary(lowering: Lowering, node: Node, op: str, **extra: Any) -> Value:
    """An element-wise function of one tensor, in whatever layout that has."""
    value = lowering.value(node.args[0])
    channels, positions = lowering.split(node, value.layout)
    attributes: Attributes = {"op": op, "positions": positions}
    result = lowering.emit(node, "unary", attributes, {"channels": channels}, [value], value.layout, **extra)
    return Value(node, result.tensor, value.layout, columns=value.columns)


_ARITHMETIC = {
    f"{name}.{overload}": op
    for name, op in (("add", "add"), ("sub", "sub"), ("rsub", "sub"), ("mul", "mul"), ("div", "div"))
    for overload in ("Tensor", "Scalar")
} | {"maximum.default": "maximum", "minimum.default": "minimum"}


@rule(*_ARITHMETIC)
def _binary(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    op = _ARITHMETIC[operator_name(node)]
    operands: list[Any] = list(node.args[:2])
    if operator_name(node).startswith("rsub"):
        operands.reverse()
    if node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("rounding_mode") is not None:
        return lowering.unsupported(node)
    rank = len(lowering.shape(node))
    main = max((o for o in operands if not lowering.is_constant(o)), key=lambda o: prod(lowering.shape(o)))
    value = lowering.value(main)
    if len(value.layout) != rank:
        return lowering.unsupported(node)
    inputs: list[Value] = []
    extra: dict[str, Any] = {}
    for position, operand in enumerate(operands):
        if lowering.is_constant(operand):
            extra = {
                "other": operand.name if isinstance(operand, Node) else float(operand),
                "other_layout": value.layout,
            }
            extra["other_position"] = position
        elif len(lowering.shape(operand)) != rank:
            return lowering.unsupported(node)
        else:
            inputs.append(value if operand is main else lowering.laid_out(lowering.value(operand), value.layout))
    channels, positions = lowering.split(node, value.layout)
    attributes: Attributes = {"op": op, "positions": positions, "broadcast": _broadcast(lowering, operands, value)}
    return lowering.emit(node, "binary", attributes, {"channels": channels}, inputs, value.layout, **extra)


def _broadcast(lowering: Lowering, operands: Sequence[Any], main: Value) -> str:
    """How the smaller operand is repeated: not at all, per channel, per position, or everywhere."""
    whole = lowering.shape(main.node)
    channel = main.layout[-1]
    forms = set()
    for operand in operands:
        shape = _operand_shape(lowering, operand)
        shape = (1,) * (len(whole) - len(shape)) + shape
        if shape == whole:
            continue
        used = {axis for axis, size in enumerate(shape) if size != 1}
        forms.add(
            "scalar" if not used else "channel" if used == {channel} else "position" if channel not in used else "none"
        )
    return min(forms, default="none")


def _operand_shape(lowering: Lowering, operand: Any) -> tuple[int, ...]:
    if not isinstance(operand, Node):
        return ()
    if lowering.is_constant(operand):
        return tuple(int(n) for n in operand.meta["val"].shape)
    return lowering.shape(operand)


@rule("softmax.int", "_softmax.default")
def _softmax(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, dim = node.args[0], int(node.args[1])  # type: ignore[arg-type]
    value = lowering.value(source)
    rank = len(value.layout)
    if value.layout[-1] != dim % rank:
        value = lowering.laid_out(value, (*(axis for axis in value.layout if axis != dim % rank), dim % rank))
    axes, shape = lowering.axes(node), lowering.shape(node)
    positions = prod(size for axis, size in enumerate(shape) if axis != dim % rank)
    channels = Axis(tuple(term for term in axes[dim % rank].terms if not is_batch(term)))
    attributes: Attributes = {"positions": positions}
    return lowering.emit(node, "softmax", attributes, {"channels": channels}, [value], value.layout)


# --- arguments --------------------------------------------------------------------------------------------------------


def arguments(node: Node, count: int, defaults: Sequence[Any], required: int) -> list[Any]:
    """The first ``count`` arguments of an operator in schema order; missing ones are keywords or defaults."""
    names = [argument.name for argument in node.target._schema.arguments[:count]]  # type: ignore[union-attr]
    filled = list(defaults)
    result = []
    for i, name in enumerate(names):
        if i < len(node.args):
            result.append(node.args[i])
        else:
            result.append(node.kwargs.get(name, filled[i - required]))
    return result


def pair(value: Any) -> tuple[int, int]:
    """A size along both sides, given once or twice."""
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])


def first_output(node: Node) -> Any:
    """The (first) tensor a node gives, as the exporter saw it."""
    value = node.meta["val"]
    return value[0] if isinstance(value, tuple | list) else value
