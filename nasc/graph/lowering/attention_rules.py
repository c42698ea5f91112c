"""Lowering rules of products of two activations, and of attention, taken apart as a device runs it."""

from dataclasses import replace
from math import sqrt
from typing import Any

import torch
from torch.fx import Node

from nasc.graph.dims import Axis
from nasc.graph.lowering.arguments import Attributes, arguments
from nasc.graph.lowering.engine import Lowering, merged, rule, shape_of
from nasc.graph.lowering.layout import Layout, Value, same_order
from nasc.graph.lowering.matrix_rules import linear, split_groups
from nasc.graph.network import Weights

LOWEST = torch.finfo(torch.float32).min
"""Added to the scores of pairs that do not see each other; finite, so that a row without any stays a number."""


# --- products ---------------------------------------------------------------------------------------------------------


@rule("matmul.default", "bmm.default", "mm.default")
def _matmul(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    left, right = node.args[:2]
    assert isinstance(left, Node)
    assert isinstance(right, Node)
    if lowering.is_constant(right) and right.meta["val"].ndim == 2:
        return _by_weight(lowering, node, left, right, bias=None)
    if lowering.is_constant(left) and left.meta["val"].ndim == 2:
        return _weight_first(lowering, node, left, right)
    shapes = lowering.shape(left), lowering.shape(right)
    if len(shapes[0]) != len(shapes[1]) or len(shapes[0]) < 2 or shapes[0][:-2] != shapes[1][:-2]:
        return lowering.unsupported(node)
    return product(lowering, node, lowering.operand(left), lowering.operand(right), node.name)


@rule("baddbmm.default")
def _baddbmm(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """``input + a @ b`` of activations: a product and a sum; an input whose factor is zero is not read."""
    added, left, right = arguments(node, 3, (), 3)
    beta: Any = node.kwargs.get("beta", 1)
    alpha: Any = node.kwargs.get("alpha", 1)
    if lowering.is_constant(left) or lowering.is_constant(right) or beta not in (0, 1):
        return lowering.unsupported(node)
    result = product(lowering, node, lowering.value(left), lowering.value(right), f"{node.name}.product")
    result = replace(result, axes=lowering.axes(node))
    if alpha != 1:
        result = with_constant(lowering, result, "mul", float(alpha), f"{node.name}.scaled")
    if beta == 1:
        result = with_operand(lowering, result, "add", added, f"{node.name}.sum")
    return lowering.alias(node, result)


@rule("addmm.default")
def _addmm(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """``bias + input @ weight``, the linear layer of GPT-2."""
    bias, left, right = node.args[:3]
    assert isinstance(left, Node)
    assert isinstance(right, Node)
    constants = lowering.is_constant(bias) and lowering.is_constant(right) and not lowering.is_constant(left)
    if not constants or node.kwargs.get("beta", 1) != 1 or node.kwargs.get("alpha", 1) != 1:
        return lowering.unsupported(node)
    return _by_weight(lowering, node, left, right, bias=bias)


def _by_weight(lowering: Lowering, node: Node, left: Node, weight: Node, bias: Any) -> Value | tuple[Value, ...]:
    """``left @ weight``: a linear layer whose weight lies the other way round."""
    value = innermost(lowering, lowering.value(left), len(lowering.shape(left)) - 1)
    rows = merged(lowering.axes(left)[:-1])
    sizes = {"c_in": lowering.axes(left)[-1], "c_out": lowering.axes(node)[-1]}
    return _linear(lowering, node, value, value.layout, rows, sizes, weight, bias, transposed=True)


def _weight_first(lowering: Lowering, node: Node, weight: Node, right: Node) -> Value | tuple[Value, ...]:
    """``weight @ right``: a linear layer over the last axis but one, which has to be innermost."""
    rank = len(lowering.shape(right))
    value = lowering.value(right)
    layout = (*(axis for axis in value.layout if axis != rank - 2), rank - 2)
    value = lowering.laid_out(value, layout)
    rows = merged(axis for place, axis in enumerate(lowering.axes(right)) if place != rank - 2)
    sizes = {"c_in": lowering.axes(right)[-2], "c_out": lowering.axes(node)[-2]}
    return _linear(lowering, node, value, layout, rows, sizes, weight, None, transposed=False)


def _linear(
    lowering: Lowering,
    node: Node,
    value: Value,
    layout: Layout,
    rows: Axis,
    sizes: dict[str, Axis],
    weight: Node,
    bias: Any,
    *,
    transposed: bool,
) -> Value:
    roles = (("weight", weight), ("bias", bias))
    extra: dict[str, Any] = {
        role: one.name for role, one in roles if one is not None and lowering.parameter(one) is None
    }
    if transposed:
        extra["transposed"] = True
    weights = Weights(lowering.parameter(weight), lowering.parameter(bias))
    return linear(lowering, node, value, layout, rows, sizes, weights, **extra)


@rule("einsum.default")
def _einsum(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """Two operands: letters of both and the result are a batch, letters of both alone are summed over."""
    operands: list[Any] = list(node.args[1])  # type: ignore[arg-type]
    terms, _, output = str(node.args[0]).replace(" ", "").partition("->")
    letters = terms.split(",")
    plain = "." not in terms and output and all(len(set(term)) == len(term) for term in letters)
    if len(operands) != 2 or not plain:
        return lowering.unsupported(node)
    left, right = letters
    batch = [one for one in left if one in right and one in output]
    summed = [one for one in left if one in right and one not in output]
    rows, columns = ([one for one in term if one not in other] for term, other in ((left, right), (right, left)))
    if set(output) != {*batch, *rows, *columns} or not summed:
        return lowering.unsupported(node)
    axes = dict(zip(left + right, (*lowering.axes(operands[0]), *lowering.axes(operands[1])), strict=True))
    first = _as_matrices(lowering, operands[0], left, (batch, rows, summed), axes, f"{node.name}.left")
    second = _as_matrices(lowering, operands[1], right, (batch, columns, summed), axes, f"{node.name}.right")
    turned = replace(second, axes=_turned(lowering.axes_of(second)), layout=_turned_layout(second.layout))
    result = product(lowering, node, first, turned, f"{node.name}.product", "einsum")
    order = [*batch, *rows, *columns]
    layout = tuple(output.index(one) for one in order)
    viewed = lowering.view(result, lowering.axes(node), layout, node.name)
    return replace(viewed, axes=None)


def _as_matrices(
    lowering: Lowering,
    operand: Node,
    letters: str,
    groups: tuple[list[str], list[str], list[str]],
    axes: dict[str, Axis],
    name: str,
) -> Value:
    """An operand of einsum as ``[batch, rows, summed]``, each letter of the batch an axis, the others merged."""
    batch, rows, summed = groups
    order = tuple(letters.index(one) for one in (*batch, *rows, *summed))
    value = lowering.laid_out(lowering.operand(operand), order)
    shaped = (*(axes[one] for one in batch), joined([axes[one] for one in rows]), joined([axes[one] for one in summed]))
    return lowering.view(value, shaped, tuple(range(len(shaped))), name)


def joined(axes: list[Axis]) -> Axis:
    """The product of some axes, the batch included."""
    return Axis(tuple(term for axis in axes for term in axis.terms))


def product(lowering: Lowering, node: Node, left: Value, right: Value, output: str, label: str = "matmul") -> Value:
    """``left[..., m, k] right[..., k, n] -> [..., m, n]`` of two activations; the second is read as it lies.

    Both have the same axes before the last two; the result has those of ``node`` unless the caller says otherwise.
    """
    first_axes, second_axes = lowering.axes_of(left), lowering.axes_of(right)
    rank = len(first_axes)
    rows, last = rank - 2, rank - 1
    lead = tuple(axis for axis in left.layout if axis < rows)
    first = lowering.laid_out(left, (*lead, rows, last))
    swapped = same_order(shape_of(second_axes), right.layout, (*lead, last, rows))
    second = lowering.laid_out(right, (*lead, last, rows) if swapped else (*lead, rows, last))
    sizes = {
        "batch": merged(first_axes[:rows]),
        "m": merged(first_axes[rows:last]),
        "k": merged(first_axes[last:]),
        "n": merged(second_axes[last:]),
    }
    layout = (*lead, rows, last)
    return lowering.emit(
        node, "matmul", {}, sizes, [first, second], layout, output=output, label=label, macs_per=1, swapped=swapped
    )


# --- attention --------------------------------------------------------------------------------------------------------


@rule("scaled_dot_product_attention.default")
def _attention(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    """``softmax(q k^T * scale + mask) v``, each step a kernel; grouped queries are rows of their key head's product."""
    query, key, value, mask, _, causal = arguments(node, 6, (None, 0.0, False), 3)
    scale: Any = node.kwargs.get("scale") or 1.0 / sqrt(lowering.shape(query)[-1])
    q, k, v = (lowering.operand(one) for one in (query, key, value))
    if len({len(lowering.axes(one)) for one in (query, key, value)}) > 1 or _is_bool_activation(lowering, mask):
        return lowering.unsupported(node)
    q = with_constant(lowering, replace(q, axes=lowering.axes(query)), "mul", float(scale), f"{node.name}.scaled")
    heads, served = lowering.axes(query)[:-2], lowering.axes(key)[:-2]
    rows, columns = lowering.axes(query)[-2], lowering.axes(key)[-2]
    q = _grouped(lowering, q, served, f"{node.name}.queries")
    scores = product(
        lowering,
        node,
        q,
        replace(k, axes=_turned(lowering.axes(key)), layout=_turned_layout(k.layout)),
        f"{node.name}.scores",
        "scores",
    )
    scores = replace(scores, axes=(*lowering.axes_of(q)[:-1], columns))
    whole = (*heads, rows, columns)
    scores = _ungrouped(lowering, scores, whole, f"{node.name}.rows")
    if causal:
        length, width = shape_of((rows, columns))
        hidden = torch.full((length, width), LOWEST).triu(1)
        scores = with_constant(lowering, scores, "add", hidden, f"{node.name}.masked")
    if mask is not None:
        scores = with_operand(lowering, scores, "add", mask, f"{node.name}.masked")
    scores = softmax(lowering, scores, len(whole) - 1, f"{node.name}.softmax")
    weights = _grouped(lowering, scores, served, f"{node.name}.weights")
    result = product(lowering, node, weights, v, f"{node.name}.values", "values")
    target = lowering.axes(node)
    result = replace(result, axes=(*lowering.axes_of(weights)[:-1], lowering.axes(value)[-1]))
    return replace(_ungrouped(lowering, result, target, node.name), node=node, axes=None)


def _is_bool_activation(lowering: Lowering, mask: Any) -> bool:
    return isinstance(mask, Node) and not lowering.is_constant(mask) and mask.meta["val"].dtype == torch.bool


def _turned(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The last two axes swapped."""
    return (*axes[:-2], axes[-1], axes[-2])


def _turned_layout(layout: Layout) -> Layout:
    rank = len(layout)
    swap = {rank - 1: rank - 2, rank - 2: rank - 1}
    return tuple(swap.get(axis, axis) for axis in layout)


def _grouped(lowering: Lowering, value: Value, served: tuple[Axis, ...], name: str) -> Value:
    """Query heads that share a key head, as more rows of that head: ``[.., kv r, l, x] -> [.., kv, r l, x]``."""
    axes = lowering.axes_of(value)
    if shape_of(axes[:-2]) == shape_of(served):
        return value
    shared, own = axes[-3], served[-1]
    _, repeats = split_groups(shared, int(own.size()))
    grouped = (*served[:-1], own, merged((repeats, axes[-2])), axes[-1])
    ordered = lowering.laid_out(value, tuple(range(len(axes))))
    return lowering.view(ordered, grouped, ordered.layout, name)


def _ungrouped(lowering: Lowering, value: Value, axes: tuple[Axis, ...], name: str) -> Value:
    """The inverse of :func:`_grouped`; the value alone where nothing was grouped."""
    if shape_of(lowering.axes_of(value)) == shape_of(axes):
        return replace(value, axes=axes)
    return lowering.view(value, axes, value.layout, name)


def with_constant(lowering: Lowering, value: Value, op: str, other: float | torch.Tensor, name: str) -> Value:
    """A value and a number, or a tensor that broadcasts to its last axes, under an arithmetic operation."""
    return _arithmetic(
        lowering, value, op, [value], name, "scalar" if isinstance(other, float) else "none", other=other
    )


def with_operand(lowering: Lowering, value: Value, op: str, other: Any, name: str) -> Value:
    """A value and another node, constant or not, that broadcasts to it."""
    if lowering.is_constant(other):
        extra = {"hides": True} if other.meta["val"].dtype == torch.bool else {}
        return _arithmetic(lowering, value, op, [value], name, "none", other=other.name, **extra)
    second = lowering.value(other)
    missing = len(value.layout) - len(second.layout)
    if missing:
        axes = (*(Axis() for _ in range(missing)), *lowering.axes(other))
        layout = (*range(missing), *(axis + missing for axis in second.layout))
        second = lowering.view(second, axes, layout, f"{name}.operand")
    second = lowering.laid_out(second, value.layout)
    return _arithmetic(lowering, value, op, [value, second], name, "none")


def _arithmetic(
    lowering: Lowering, value: Value, op: str, inputs: list[Value], name: str, broadcast: str, **extra: Any
) -> Value:
    axes = lowering.axes_of(value)
    channels, positions = lowering.split_axes(axes, value.layout)
    attributes: Attributes = {"op": op, "positions": positions, "broadcast": broadcast}
    if extra:
        extra |= {"other_layout": value.layout, "other_position": 1}
    result = lowering.emit(
        value.node, "binary", attributes, {"channels": channels}, inputs, value.layout, output=name, label=op, **extra
    )
    return replace(result, axes=axes)


# --- softmax ----------------------------------------------------------------------------------------------------------


@rule("softmax.int", "_softmax.default")
def _softmax(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, dim = node.args[0], int(node.args[1])  # type: ignore[arg-type]
    return lowering.alias(node, softmax(lowering, lowering.value(source), dim % len(lowering.shape(node)), node.name))


def softmax(lowering: Lowering, value: Value, dim: int, name: str) -> Value:
    """Softmax over one PyTorch axis, which has to be innermost."""
    value = innermost(lowering, value, dim)
    axes = lowering.axes_of(value)
    sizes = {"rows": merged(axis for i, axis in enumerate(axes) if i != dim), "channels": merged(axes[dim : dim + 1])}
    result = lowering.emit(value.node, "softmax", {}, sizes, [value], value.layout, output=name, label="softmax")
    return replace(result, axes=axes)


def innermost(lowering: Lowering, value: Value, *dims: int) -> Value:
    """The value with some PyTorch axes last on the device, in this order."""
    if value.layout[len(value.layout) - len(dims) :] == dims:
        return value
    return lowering.laid_out(value, (*(axis for axis in value.layout if axis not in dims), *dims))
