"""Lowering rules of element-wise functions and arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isinf, prod
from typing import Any

from torch.fx import Node

from nasc.graph.dims import Axis
from nasc.graph.lowering.arguments import Attributes, arguments
from nasc.graph.lowering.attention_rules import with_constant, with_operand
from nasc.graph.lowering.engine import Lowering, rule, shape_of
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
    "sin.default": "sin",
    "cos.default": "cos",
    "log.default": "log",
    "floor.default": "floor",
    "reciprocal.default": "reciprocal",
    "mish.default": "mish",
    "log_sigmoid.default": "log_sigmoid",
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


@rule("pow.Tensor_Scalar")
def _power(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    exponent = float(node.args[1])  # type: ignore[arg-type]
    names = {2.0: "square", 3.0: "cube", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
    if exponent not in names:
        return unary(lowering, node, "pow", exponent=exponent)
    return unary(lowering, node, names[exponent])


@rule("softplus.default")
def _softplus(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    _, beta, _threshold = arguments(node, 3, (1.0, 20.0), 1)
    return unary(lowering, node, "softplus") if beta == 1 else lowering.unsupported(node)


@rule("prelu.default")
def _prelu(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, weight = node.args[:2]
    assert isinstance(weight, Node)
    if not lowering.is_constant(weight):
        return lowering.unsupported(node)
    value, rank = lowering.value(source), len(lowering.shape(node))
    shared = weight.meta["val"].numel() == 1
    layout = value.layout if shared or value.layout[-1] == 1 else (*(a for a in value.layout if a != 1), 1)
    value = lowering.laid_out(value, layout)
    channels, positions = lowering.split(node, layout)
    attributes: Attributes = {"op": "prelu", "positions": positions}
    shape = tuple(-1 if axis == 1 and not shared else 1 for axis in range(rank))
    return lowering.emit(
        node,
        "unary",
        attributes,
        {"channels": channels},
        [value],
        layout,
        other=weight.name,
        other_shape=shape,
        other_layout=layout,
    )


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


@rule("clamp_min.default")
def _clamp_min(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    return _clamp_between(lowering, node, node.args[1], None)


@rule("clamp_max.default")
def _clamp_max(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    return _clamp_between(lowering, node, None, node.args[1])


@rule("hardtanh.default", "clamp.default")
def _clamp(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    defaults = (-1.0, 1.0) if operator_name(node) == "hardtanh.default" else (None, None)
    _, low, high = arguments(node, 3, defaults, 1)
    return _clamp_between(lowering, node, low, high)


def _clamp_between(lowering: Lowering, node: Node, low: Any, high: Any) -> Value | tuple[Value, ...]:
    if isinstance(low, Node) or isinstance(high, Node):
        return lowering.unsupported(node)
    low = None if low is None or isinf(low) else float(low)
    high = None if high is None or isinf(high) else float(high)
    if low != 0 or high not in (None, 6):
        return _between(lowering, node, low, high)
    return clamp(lowering, node, "relu6" if high == 6 else "relu")


def _between(lowering: Lowering, node: Node, low: float | None, high: float | None) -> Value:
    """A clamp to other bounds: the larger of two, then the smaller of two."""
    value = replace(lowering.value(node.args[0]), node=node, axes=lowering.axes(node))
    if low is not None:
        value = with_constant(lowering, value, "maximum", low, node.name if high is None else f"{node.name}.above")
    if high is not None:
        value = with_constant(lowering, value, "minimum", high, node.name)
    return replace(value, axes=None)


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
    return arithmetic(lowering, node, op, operands)


@rule("masked_fill.Scalar")
def _masked_fill(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, mask, fill = node.args[:3]
    return _chosen(lowering, node, source, mask, float(fill), fills=True)  # type: ignore[arg-type]


@rule("where.self", "where.ScalarOther")
def _where(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """Of a constant condition, and a constant number where it is false."""
    condition, source, other = node.args[:3]
    single = isinstance(other, Node) and other.meta["val"].numel() == 1
    number = other.name if single and isinstance(other, Node) else other
    if isinstance(other, Node) and (not single or not lowering.is_constant(other)):
        return lowering.unsupported(node)
    return _chosen(lowering, node, source, condition, number, fills=False)


def _chosen(
    lowering: Lowering, node: Node, source: Any, mask: Any, other: Any, *, fills: bool
) -> Value | tuple[Value, ...]:
    """Entries of a tensor, or a number where a constant mask says so (``fills``) or does not."""
    whole = not lowering.is_constant(source) and lowering.shape(source) == lowering.shape(node)
    if not whole or not lowering.is_constant(mask):
        return lowering.unsupported(node)
    value = lowering.value(source)
    channels, positions = lowering.split(node, value.layout)
    attributes: Attributes = {"op": "select", "positions": positions, "broadcast": "none"}
    extra = {"other": mask.name, "other_layout": value.layout, "fill": other, "fills": fills}
    return lowering.emit(node, "binary", attributes, {"channels": channels}, [value], value.layout, **extra)


@rule("addcmul.default")
def _add_product(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """``input + value * a * b``: two kernels."""
    added, first, second = node.args[:3]
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    if lowering.is_constant(first) or lowering.shape(first) != lowering.shape(node):
        first, second = second, first
    whole = not lowering.is_constant(first) and lowering.shape(first) == lowering.shape(node)
    if node.kwargs.get("value", 1) != 1 or not whole:
        return lowering.unsupported(node)
    value = replace(lowering.value(first), node=node, axes=lowering.axes(first))
    value = with_operand(lowering, value, "mul", second, f"{node.name}.product")
    return replace(with_operand(lowering, value, "add", added, node.name), axes=None)


def arithmetic(lowering: Lowering, node: Node, op: str, operands: Sequence[Any]) -> Value | tuple[Value, ...]:
    """An operation of two operands that broadcast; numbers and constants among them are stored in the file."""
    rank = len(lowering.shape(node))
    main = max((o for o in operands if not lowering.is_constant(o)), key=lambda o: prod(lowering.shape(o)))
    value = lifted(lowering, lowering.value(main), rank, f"{node.name}.main")
    inputs: list[Value] = []
    extra: dict[str, Any] = {}
    for position, operand in enumerate(operands):
        if lowering.is_constant(operand):
            extra = {
                "other": operand.name if isinstance(operand, Node) else float(operand),
                "other_layout": value.layout,
            }
            extra["other_position"] = position
        elif operand is main:
            inputs.append(value)
        else:
            other = lifted(lowering, lowering.value(operand), rank, f"{node.name}.operand")
            inputs.append(lowering.laid_out(other, value.layout))
    channels, positions = lowering.split(node, value.layout)
    attributes: Attributes = {"op": op, "positions": positions, "broadcast": _broadcast(lowering, operands, value)}
    return lowering.emit(node, "binary", attributes, {"channels": channels}, inputs, value.layout, **extra)


def lifted(lowering: Lowering, value: Value, rank: int, name: str) -> Value:
    """The value with axes of size one in front, so that it has as many as what it is broadcast to."""
    missing = rank - len(value.layout)
    if missing == 0:
        return value
    axes = (*(Axis() for _ in range(missing)), *lowering.axes_of(value))
    layout = (*range(missing), *(axis + missing for axis in value.layout))
    return lowering.view(value, axes, layout, name)


def _broadcast(lowering: Lowering, operands: Sequence[Any], main: Value) -> str:
    """How the smaller operand is repeated: not at all, per channel, per position, or everywhere."""
    whole = shape_of(lowering.axes_of(main))
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
