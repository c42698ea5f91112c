"""Lowering rules of norms that fold into nothing, and of what reduces channels: statistics of each row."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch.fx import Node

from nasc.graph.dims import Axis
from nasc.graph.lowering.arguments import arguments
from nasc.graph.lowering.attention_rules import innermost
from nasc.graph.lowering.engine import Lowering, merged, rule
from nasc.graph.lowering.layout import IMAGE, Value
from nasc.graph.lowering.names import operator_name
from nasc.graph.network import Weights


@rule("layer_norm.default")
def _layer_norm(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, shape, weight, bias, eps = arguments(node, 5, (None, None, 1e-5), 2)
    return _row_norm(lowering, node, "layer", source, len(shape), weight, bias, float(eps))


@rule("rms_norm.default")
def _rms_norm(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, shape, weight, eps = arguments(node, 4, (None, None), 2)
    return _row_norm(lowering, node, "rms", source, len(shape), weight, None, 1.1920929e-07 if eps is None else eps)


@rule("native_layer_norm.default")
def _native_layer_norm(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    if any(user.args[1] != 0 for user in node.users):  # somebody reads the statistics
        return lowering.unsupported(node)
    source, shape, weight, bias, eps = arguments(node, 5, (), 5)
    result = _row_norm(lowering, node, "layer", source, len(shape), weight, bias, float(eps))
    return (result,) if isinstance(result, Value) else result


def _row_norm(
    lowering: Lowering, node: Node, op: str, source: Node, count: int, weight: Any, bias: Any, eps: float
) -> Value | tuple[Value, ...]:
    """A norm of every row over its last ``count`` axes."""
    axes = lowering.axes(source)
    normed = tuple(range(len(axes) - count, len(axes)))
    value = innermost(lowering, lowering.value(source), *normed)
    sizes = {"rows": merged(axes[: normed[0]]), "channels": merged(axes[normed[0] :])}
    weights, extra = _scale_and_shift(lowering, weight, bias)
    return lowering.emit(
        node, "norm", {"op": op}, sizes, [value], value.layout, weights=weights, eps=eps, axes=count, **extra
    )


def _scale_and_shift(lowering: Lowering, weight: Any, bias: Any) -> tuple[Weights, dict[str, Any]]:
    roles = (("weight", weight), ("bias", bias))
    extra = {role: one.name for role, one in roles if one is not None and lowering.parameter(one) is None}
    return Weights(lowering.parameter(weight), lowering.parameter(bias)), extra


@rule("group_norm.default")
def _group_norm(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, groups, weight, bias, eps = arguments(node, 5, (None, None, 1e-5), 2)
    return _grouped_norm(lowering, node, source, int(groups), weight, bias, float(eps))


@rule("instance_norm.default")
def _instance_norm(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    source, weight, bias, _, _, own, _, eps = arguments(node, 8, (True,), 8)
    if not own:
        return lowering.unsupported(node)
    return _grouped_norm(lowering, node, source, lowering.shape(source)[1], weight, bias, float(eps))


def _grouped_norm(
    lowering: Lowering, node: Node, source: Node, groups: int, weight: Any, bias: Any, eps: float
) -> Value | tuple[Value, ...]:
    """Statistics of each group of channels over its positions too; channels are axis 1."""
    axes, rank = lowering.axes(source), len(lowering.shape(source))
    layout = IMAGE if rank == 4 else (0, *range(2, rank), 1)
    value = lowering.laid_out(lowering.value(source), layout)
    sizes = {"rows": merged((axes[0], *axes[2:])), "channels": merged(axes[1:2])}
    weights, extra = _scale_and_shift(lowering, weight, bias)
    return lowering.emit(
        node, "norm", {"op": "group"}, sizes, [value], layout, weights=weights, eps=eps, groups=groups, **extra
    )


# --- reductions over channels -----------------------------------------------------------------------------------------

_REDUCTIONS = {
    "mean.dim": "mean",
    "sum.dim_IntList": "sum",
    "amax.default": "max",
    "amin.default": "min",
    "linalg_vector_norm.default": "l2",
    "norm.ScalarOpt_dim": "l2",
}


@rule(*_REDUCTIONS)
def _reduce(lowering: Lowering, node: Node) -> Value | tuple[Value, ...]:
    op, source = _REDUCTIONS[operator_name(node)], node.args[0]
    assert isinstance(source, Node)
    given = list(node.args[1:])
    if op == "l2" and (given.pop(0) if given else 2) not in (2, 2.0):
        return lowering.unsupported(node)
    rank = len(lowering.shape(source))
    dims = given[0] if given else node.kwargs.get("dim")
    keepdim = bool(given[1] if len(given) > 1 else node.kwargs.get("keepdim", False))
    over = _positive(dims, rank)
    if any(lowering.axes(source)[axis].size({"batch": 2}) != lowering.shape(source)[axis] for axis in over):
        return lowering.unsupported(node)  # it mixes the samples of a batch
    value = lowering.value(source)
    places = sorted(value.layout.index(axis) for axis in over)
    between = places == list(range(1, len(value.layout) - 1)) and len(places) <= 2 and value.layout[0] == 0
    if op in ("mean", "max") and between:
        return _over_positions(lowering, node, value, op, keepdim)
    return _over_channels(lowering, node, value, op, over, keepdim)


def _positive(dims: Any, rank: int) -> tuple[int, ...]:
    if dims is None or dims == []:
        return tuple(range(rank))
    return tuple(sorted(int(dim) % rank for dim in ([dims] if isinstance(dims, int) else dims)))


def _over_positions(lowering: Lowering, node: Node, value: Value, op: str, keepdim: bool) -> Value:
    """Over all device axes but the first and the last: a global pool."""
    axes = lowering.axes_of(value)
    sizes = [int(axes[axis].size()) for axis in value.layout[1:-1]]
    attributes: dict[str, int | float | str] = {"op": op, "height": sizes[0], "width": prod(sizes[1:])}
    layout = value.layout if keepdim else _without(value.layout, value.layout[1:-1])
    channels = {"channels": merged((axes[value.layout[-1]],))}
    return lowering.emit(node, "global_pool", attributes, channels, [value], layout, keepdim=keepdim)


def _over_channels(
    lowering: Lowering, node: Node, value: Value, op: str, over: tuple[int, ...], keepdim: bool
) -> Value:
    """Over the innermost device axes, brought there if need be."""
    axes = lowering.axes_of(value)
    value = innermost(lowering, value, *over)
    sizes = {
        "rows": merged(axis for place, axis in enumerate(axes) if place not in over),
        "channels": Axis(tuple(term for place in over for term in axes[place].terms)),
    }
    layout = value.layout if keepdim else _without(value.layout, over)
    result = lowering.emit(node, "reduce", {"op": op}, sizes, [value], layout, axes=len(over), keepdim=keepdim)
    return replace(result, layout=layout)


def _without(layout: Sequence[int], gone: Sequence[int]) -> tuple[int, ...]:
    """A layout when some axes are dropped and the others move up."""
    return tuple(axis - sum(other < axis for other in gone) for axis in layout if axis not in gone)
