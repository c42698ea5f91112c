"""Operators that sum products over an axis: linear, convolution, matmul, einsum, attention."""

import math
from collections import Counter

from torch import fx

from nasc.graph.rules._base import POSITION, TWO_ACTIVATIONS, Call, NoRule, SizeOf, rule
from nasc.graph.unify import Axes, Factors, freeze, reduce_over, regroup, size, unify

TAP = "is a tap of a convolution kernel"


@rule("linear")
def linear(call: Call) -> Axes:
    """``input[..., i] weight[o, i] -> [..., o]``."""
    inputs, weight = call.axes("input"), call.axes("weight")
    call.contract("weight", 1, inputs[-1])
    call.tie("bias", weight[0])
    call.writes(weight[0], call["weight"])
    return [*inputs[:-1], weight[0]]


# -- convolutions -------------------------------------------------------------------------------------


@rule("conv1d", "conv2d", "conv3d")
def convolution(call: Call) -> Axes:
    """``input[b, g i, x] weight[g o, i, k] -> [b, g o, y]``; a depthwise one has no ``i`` and ties in to out."""
    weight = call.axes("weight")
    batch, channels, positions = _split_image(call)
    groups = int(call.get("groups", 1))
    freeze_all(call, weight[2:], TAP)
    if groups == 1:
        call.contract("weight", 1, channels)
        out = weight[0]
    else:
        group, per_group = _into_groups(channels, groups)
        out_group, out_per_group = _into_groups(weight[0], groups)
        unify(out_group, group)
        call.contract("weight", 1, per_group)
        out = [*group, *out_per_group]
        call.rewrite(groups=SizeOf(group))
    return _finish_convolution(call, batch, out, positions)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(call: Call) -> Axes:
    """``input[b, g i, x] weight[g i, o, k] -> [b, g o, y]``."""
    weight = call.axes("weight")
    batch, channels, positions = _split_image(call)
    groups = int(call.get("groups", 1))
    freeze_all(call, weight[2:], TAP)
    call.contract("weight", 0, channels)
    out: Factors = weight[1]
    if groups > 1:
        group, _ = _into_groups(channels, groups)
        out = [*group, *weight[1]]
        call.rewrite(groups=SizeOf(group))
    return _finish_convolution(call, batch, out, positions)


@rule("convolution", "_convolution")
def any_convolution(call: Call) -> Axes:
    """The operator behind both."""
    return transposed_convolution(call) if call["transposed"] else convolution(call)


def _split_image(call: Call) -> tuple[Axes, Factors, Axes]:
    """Batch axes (none or one), channels and spatial axes of a convolution's input."""
    inputs, rank = call.axes("input"), len(call.axes("weight"))
    lead = len(inputs) - rank + 1
    return inputs[:lead], inputs[lead], inputs[lead + 1 :]


def _into_groups(axis: Factors, groups: int) -> tuple[Factors, Factors]:
    parts = regroup(axis, [groups, size(axis) // groups])
    if parts is None:
        raise NoRule("groups that cut through a concatenation")
    return parts[0], parts[1]


def _finish_convolution(call: Call, batch: Axes, out: Factors, positions: Axes) -> Axes:
    call.tie("bias", out)
    call.writes(out, call["weight"])
    lengths = call.shape[len(batch) + 1 :]
    if _is_pointwise(call, positions, lengths):
        return [*batch, out, *positions]
    freeze_all(call, positions, POSITION)
    return [*batch, out, *call.positions(lengths)]


def _is_pointwise(call: Call, positions: Axes, lengths: tuple[int, ...]) -> bool:
    """A 1x1 kernel that visits every position once leaves the positions as they are."""
    taps = call.axes("weight")[2:]
    steps = [call.get("stride", 1)] if isinstance(call.get("stride", 1), int) else list(call.get("stride", 1))
    return (
        all(size(tap) == 1 for tap in taps)
        and all(step == 1 for step in steps)
        and [size(axis) for axis in positions] == list(lengths)
    )


def freeze_all(call: Call, axes: Axes, reason: str) -> None:
    """Freeze several axes, the batch excepted."""
    for axis in axes:
        freeze(axis, reason)


# -- products -----------------------------------------------------------------------------------------


@rule("matmul", "mm", "bmm", "mv", "dot", "vdot")
def matmul(call: Call) -> Axes:
    """``a[..., m, k] b[..., k, n] -> [..., m, n]``, vectors as in :func:`torch.matmul`."""
    left, right = (call.arguments[name] for name in list(call.arguments)[:2])
    return _product(call, left, right)


@rule("addmm", "addbmm", "baddbmm", "addmv")
def added_matmul(call: Call) -> Axes:
    """``input + a @ b``."""
    names = [name for name in call.arguments if name in {"mat1", "mat2", "batch1", "batch2", "mat", "vec"}]
    axes = _product(call, call[names[0]], call[names[1]])
    if call.name == "addbmm":
        axes = axes[1:]
    return call.broadcast([axes, call.axes("self")], call.shape)


def _product(call: Call, left: fx.Node, right: fx.Node) -> Axes:
    a, b = call.axes_of(left), call.axes_of(right)
    inner_right = len(b) - 2 if len(b) > 1 else 0
    _contract_pair(call, left, len(a) - 1, right, inner_right)
    if right in call.walk.origins and len(b) > 1:
        call.writes(b[-1], right)
    rows = a[-2:-1] if len(a) > 1 else []
    columns = [b[-1]] if len(b) > 1 else []
    lead = call.broadcast([a[:-2], b[:-2]], call.shape[: len(call.shape) - len(rows) - len(columns)])
    return [*lead, *rows, *columns]


def _contract_pair(call: Call, left: fx.Node, left_axis: int, right: fx.Node, right_axis: int) -> None:
    """Contract two tensors; a parameter among them is where a mask may act."""
    a, b = call.axes_of(left)[left_axis], call.axes_of(right)[right_axis]
    if right in call.walk.origins:
        call.contract_node(right, right_axis, a)
    elif left in call.walk.origins:
        call.contract_node(left, left_axis, b)
    else:
        unify(a, b, f"{call.name} contracts axes that do not fit together")
        reduce_over(a, TWO_ACTIVATIONS)


@rule("_grouped_mm")
def grouped_matmul(call: Call) -> Axes:
    """Every row by the matrix of its group, ``a[m, k] b[group, k, n] -> [m, n]``: the experts of a mixture."""
    left, right = (call.arguments[name] for name in list(call.arguments)[:2])
    a, b = call.axes_of(left), call.axes_of(right)
    if len(a) != 2 or len(b) != 3:
        raise NoRule("groups that are not of rows")
    call.freeze([b[0]], "counts the experts that rows are sent to")
    _contract_pair(call, left, 1, right, 1)
    if right in call.walk.origins:
        call.writes(b[2], right)
    return [a[0], b[2]]


@rule("einsum")
def einsum(call: Call) -> Axes:
    """Axes with one letter are tied; a letter that is not in the result is contracted."""
    operands: list[fx.Node] = list(call["tensors"])
    terms, output = _parse_einsum(call["equation"])
    axes: dict[str, Factors] = {}
    where: dict[str, list[tuple[fx.Node, int]]] = {}
    for letters, operand in zip(terms, operands, strict=True):
        for position, (letter, axis) in enumerate(zip(letters, call.axes_of(operand), strict=True)):
            where.setdefault(letter, []).append((operand, position))
            if letter in axes and size(axes[letter]) > 1 and size(axis) > 1:
                unify(axes[letter], axis, "einsum ties axes that do not fit together")
            elif letter not in axes or size(axes[letter]) == 1:
                axes[letter] = axis
    for letter, places in where.items():
        if letter not in output:
            _contract_letter(call, axes[letter], places)
    for operand in operands:
        if operand in call.walk.origins:
            letters = terms[operands.index(operand)]
            for letter in letters:
                if letter in output:
                    call.writes(axes[letter], operand)
    return [axes[letter] for letter in output]


def _contract_letter(call: Call, axis: Factors, places: list[tuple[fx.Node, int]]) -> None:
    weights = [place for place in places if place[0] in call.walk.origins]
    if len(places) == 1:
        reduce_over(axis, "is summed over")
    elif weights:
        call.contract_node(*weights[0], axis)
    else:
        reduce_over(axis, TWO_ACTIVATIONS)


def _parse_einsum(equation: str) -> tuple[list[str], str]:
    equation = equation.replace(" ", "")
    if "." in equation:
        raise NoRule("einsum with an ellipsis")
    left, arrow, output = equation.partition("->")
    if not arrow:
        counts = Counter(left.replace(",", ""))
        output = "".join(sorted(letter for letter, count in counts.items() if count == 1))
    return left.split(","), output


# -- attention ----------------------------------------------------------------------------------------


@rule("scaled_dot_product_attention")
def attention(call: Call) -> Axes:
    """``softmax(q[..., l, e] k[..., s, e] * scale) v[..., s, v] -> [..., l, v]``; the scale stays the dense model's."""
    query, key, value = call.axes("query"), call.axes("key"), call.axes("value")
    unify(query[-1], key[-1], "attention ties queries and keys that do not fit together")
    unify(key[-2], value[-2], "attention ties keys and values that do not fit together")
    reduce_over(key[-1], TWO_ACTIVATIONS)
    reduce_over(key[-2], "softmax runs over it")
    lead = _attention_heads(call, query[:-2], key[:-2], value[:-2])
    if call.has("attn_mask"):
        scores: Axes = [*lead, query[-2], key[-2]]
        call.broadcast([scores, call.axes("attn_mask")], [*call.shape[:-1], size(key[-2])])
    scale = call.get("scale", 1.0 / math.sqrt(size(query[-1])))
    call.rewrite(scale=scale)
    call.counted()
    return [*lead, query[-2], value[-1]]


def _attention_heads(call: Call, query: Axes, key: Axes, value: Axes) -> Axes:
    """Batch and head axes; with grouped queries each key head serves several query heads."""
    lengths = call.shape[:-2]
    if not call.get("enable_gqa", False) or size(query[-1]) == size(key[-1]):
        return call.broadcast([query, key, value], lengths)
    call.broadcast([key, value], [*lengths[:-1], size(key[-1])])
    call.broadcast([query[:-1], key[:-1]], lengths[:-1])
    parts = regroup(query[-1], [size(key[-1]), size(query[-1]) // size(key[-1])])
    if parts is None:
        raise NoRule("grouped queries that do not divide into the key heads")
    unify(parts[0], key[-1])
    return query
