"""Lowering rules of element-wise functions, arithmetic and softmax."""

from collections.abc import Mapping, Sequence
from math import isinf, prod
from typing import Any

from torch.fx import Node

from nasc.graph.dims import Axis
from nasc.graph.lowering.arguments import Attributes, arguments
from nasc.graph.lowering.engine import Lowering, is_batch, rule
from nasc.graph.lowering.layout import Value
from nasc.graph.lowering.names import operator_name

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
