"""How an ATen operator is written in Python as people write it: ``F.relu(x)``, ``x.flatten(1)``, ``x + y``.

Three tables cover the operators of everyday models; what is in none of them is written as the call
``torch.ops.aten.NAME.OVERLOAD(...)``, which says exactly what the exporter recorded. Only names from this file can
reach the written source, so a graph cannot smuggle code into it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from nasc.errors import ModelError
from nasc.materialise.containers import quoted
from nasc.materialise.layers import square
from nasc.materialise.operators import (
    INTEGER_ARITHMETIC,
    arguments,
    base_name,
    defaults,
    keyword_only,
    operator_name,
    shape_of,
)

Render = Callable[[Any], str]

INFIX: Mapping[str, str] = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "matmul": "@",
    "remainder": "%",
    "pow": "**",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "__and__": "&",
    "__or__": "|",
}
"""Operators of two operands and their sign."""


@dataclass(frozen=True)
class Function:
    """A function of ``torch.nn.functional`` or ``torch`` with the operator's own argument names.

    Args:
        name: As written.
        positional: How many leading arguments are written without their name.
        drop: Arguments that the function does not take; they say nothing about the result.
        training: Argument that says whether the model trains; written as ``training=self.training``.
        squared: Arguments written as one number where the operator has equal numbers per spatial axis.
    """

    name: str
    positional: int = 1
    drop: tuple[str, ...] = ()
    training: str | None = None
    squared: tuple[str, ...] = ("stride", "padding", "dilation", "output_padding", "kernel_size", "output_size")


FUNCTIONS: Mapping[str, Function] = {
    **{f"conv{n}d": Function(f"F.conv{n}d", 3) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": Function(f"F.conv_transpose{n}d", 3) for n in (1, 2, 3)},
    **{f"max_pool{n}d": Function(f"F.max_pool{n}d", 2) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": Function(f"F.avg_pool{n}d", 2) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": Function(f"F.adaptive_avg_pool{n}d", 2) for n in (1, 2, 3)},
    **{
        name: Function(f"F.{name}")
        for name in (
            *("relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "silu", "elu", "selu", "celu", "leaky_relu"),
            *("mish", "gelu", "softplus", "glu"),
        )
    },
    "linear": Function("F.linear", 3),
    "prelu": Function("F.prelu", 2),
    "log_sigmoid": Function("F.logsigmoid"),
    "pixel_shuffle": Function("F.pixel_shuffle", 2),
    "pixel_unshuffle": Function("F.pixel_unshuffle", 2),
    "channel_shuffle": Function("F.channel_shuffle", 2),
    "pad": Function("F.pad", 2, squared=()),
    "constant_pad_nd": Function("F.pad", 2, squared=()),
    "layer_norm": Function("F.layer_norm", 2, drop=("cudnn_enable",)),
    "group_norm": Function("F.group_norm", 2, drop=("cudnn_enabled",)),
    "rms_norm": Function("F.rms_norm", 2),
    "dropout": Function("F.dropout", 2, training="train"),
    "feature_dropout": Function("F.dropout2d", 2, training="train"),
    "alpha_dropout": Function("F.alpha_dropout", 2, training="train"),
    "feature_alpha_dropout": Function("F.feature_alpha_dropout", 2, training="train"),
    "scaled_dot_product_attention": Function("F.scaled_dot_product_attention", 3),
    **{name: Function(f"torch.{name}") for name in ("cat", "stack")},
    **{name: Function(f"torch.{name}", 2) for name in ("bmm", "minimum", "maximum")},
    "baddbmm": Function("torch.baddbmm", 3),
    "addmm": Function("torch.addmm", 3),
    "where": Function("torch.where", 3),
    "arange": Function("torch.arange", 3, drop=("layout", "pin_memory")),
    **{
        name: Function(f"torch.{name}", 2, drop=("layout", "pin_memory"))
        for name in ("zeros_like", "ones_like", "full_like", "zeros", "ones", "full")
    },
    **{
        name: Function(f"torch.{name}")
        for name in ("rsqrt", "sqrt", "exp", "log", "erf", "sin", "cos", "tanh", "sigmoid")
    },
}
"""Operators written as a function."""

METHODS: Mapping[str, int] = {
    **dict.fromkeys(("contiguous", "clone", "detach", "t", "abs", "neg", "ceil", "floor", "round"), 1),
    **dict.fromkeys(("flatten", "transpose", "permute", "view", "reshape", "expand", "repeat", "movedim"), 3),
    **dict.fromkeys(("add", "sub", "mul", "div", "pow"), 2),
    **dict.fromkeys(
        ("unsqueeze", "squeeze", "softmax", "log_softmax", "mean", "sum", "amax", "amin", "prod", "norm"), 2
    ),
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "unbind", "narrow", "select", "unflatten", "roll"), 4),
    **dict.fromkeys(("type_as", "expand_as", "view_as", "masked_fill", "index_select", "gather", "cumsum"), 3),
    **dict.fromkeys(("argmax", "max", "min", "topk", "var", "std", "tril", "triu", "flip", "logical_not"), 2),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "square", "reciprocal", "logical_and", "logical_or"), 2),
}
"""Operators written as a method of their first argument, and how many leading arguments stand without their name."""

_SPREAD = frozenset({"permute", "view", "reshape", "expand", "repeat"})
_IN_PLACE_FLAG = frozenset(
    {
        "relu",
        "relu6",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
        "silu",
        "elu",
        "selu",
        "celu",
        "leaky_relu",
        "mish",
        "dropout",
    }
)


def expression(node: Node, render: Render) -> str:
    """Python text of a node's value.

    Args:
        node: A call of an ATen operator or of integer arithmetic between sizes.
        render: Text of an argument: a variable's name for a node, a literal for a value.

    Raises:
        ModelError: The operator is not part of PyTorch.
    """
    name = base_name(node)
    if node.target in INTEGER_ARITHMETIC:
        left, right = node.args
        return f"{_operand(left, render)} {INTEGER_ARITHMETIC[node.target]} {_operand(right, render)}"  # type: ignore[index]
    if name == "getitem":
        return f"{render(node.args[0])}[{render(node.args[1])}]"
    special = _SPECIAL.get(operator_name(node)) or _SPECIAL.get(name)
    text = special(arguments(node), node, render) if special else None
    if text is not None:
        return text
    plain = name.removesuffix("_") if not name.startswith("_") else name
    if plain in FUNCTIONS and (name == plain or plain in _IN_PLACE_FLAG):
        return _function(FUNCTIONS[plain], node, render, in_place=name != plain)
    if plain in METHODS and not _has_device(node):
        return _method(name, METHODS[plain], node, render)
    return _recorded(node, render)


def literal(value: Any) -> str:
    """Python text of a constant argument.

    Raises:
        ModelError: A value that the written file cannot spell.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool | int | float | complex):
        return repr(value)
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return str(value)
    if isinstance(value, torch.device):
        return "device"
    raise ModelError(f"expected numbers, names and types as constants of the traced model; got {type(value).__name__}")


def _function(function: Function, node: Node, render: Render, *, in_place: bool) -> str:
    values, usual = arguments(node), defaults(node)
    positional = min(function.positional, len(values) - len(keyword_only(node)))
    parts = []
    for position, (name, value) in enumerate(values.items()):
        if name in function.drop:
            continue
        if name == function.training:
            parts.append("training=self.training")
        elif position < positional and not _rest_is_default(values, usual, position, positional):
            parts.append(render(square(value) if name in function.squared else value))
        elif position >= positional and not _same(value, usual.get(name)):
            parts.append(f"{name}={render(square(value) if name in function.squared else value)}")
    if in_place:
        parts.append("inplace=True")
    return f"{function.name}({', '.join(parts)})"


def _rest_is_default(values: Mapping[str, Any], usual: Mapping[str, Any], position: int, end: int) -> bool:
    names = list(values)[position:end]
    return all(name in usual and _same(values[name], usual[name]) for name in names)


def _same(value: Any, usual: Any) -> bool:
    """Equal as the operator sees it; a node is never a default."""
    if isinstance(value, Node):
        return False
    if isinstance(value, list | tuple) and isinstance(usual, list | tuple | int):
        return not any(isinstance(item, Node) for item in value) and (
            list(value) == list(usual) if isinstance(usual, list | tuple) else False
        )
    return type(value) is type(usual) and bool(value == usual)


def _method(name: str, positional: int, node: Node, render: Render) -> str:
    values, usual, by_name = arguments(node), defaults(node), keyword_only(node)
    (_, first), *rest = values.items()
    parts: list[str] = []
    named = False
    for position, (key, value) in enumerate(rest, start=1):
        if key in usual and _same(value, usual[key]):
            named = True  # an argument was left out, so what follows needs its name
            continue
        text = render(value)
        if name in _SPREAD and isinstance(value, list | tuple) and value:
            text = text[1:-1].removesuffix(",")
        named = named or position >= positional or key in by_name
        parts.append(f"{key}={text}" if named else text)
    return f"{_operand(first, render)}.{name}({', '.join(parts)})"


def _has_device(node: Node) -> bool:
    return any(isinstance(value, torch.device) for value in arguments(node).values())


def _recorded(node: Node, render: Render) -> str:
    parts = [render(value) for value in node.args]
    parts += [f"{name}={render(value)}" for name, value in node.kwargs.items()]
    name, _, overload = operator_name(node).partition(".")
    return f"torch.ops.aten.{name}.{overload}({', '.join(parts)})"


def _operand(value: Any, render: Render) -> str:
    """Text of a value that an operator or a dot stands beside, in brackets where it needs them."""
    text = render(value)
    if isinstance(value, Node):
        return f"({text})" if value.target in INTEGER_ARITHMETIC else text
    return f"({text})" if text.startswith("-") else text


Special = Callable[[Mapping[str, Any], Node, Render], str | None]


def _infix(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    left, right, *_ = values.values()
    if not _same(values.get("alpha", 1), 1) or values.get("rounding_mode") is not None:
        return None
    return f"{_operand(left, render)} {INFIX[base_name(node)]} {_operand(right, render)}"


def _rsub(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    if not _same(values["alpha"], 1):
        return None
    return f"{_operand(values['other'], render)} - {_operand(values['self'], render)}"


def _slice(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    dim, start, end, step = values["dim"], values["start"], values["end"], values["step"]
    dim = dim + len(shape_of(values["self"])) if dim < 0 else dim
    first = "" if start in (None, 0) else render(start)
    last = "" if end is None or (isinstance(end, int) and end >= 2**31) else render(end)
    pace = "" if step == 1 else f":{render(step)}"
    return f"{_operand(values['self'], render)}[{':, ' * dim}{first}:{last}{pace}]"


def _select(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    dim = values["dim"] + len(shape_of(values["self"])) if values["dim"] < 0 else values["dim"]
    return f"{_operand(values['self'], render)}[{':, ' * dim}{render(values['index'])}]"


def _index(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    places = ", ".join(":" if index is None else render(index) for index in values["indices"])
    return f"{_operand(values['self'], render)}[{places}]"


def _size(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    return f"{_operand(values['self'], render)}.size({values['dim']})"


def _batch_norm(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    tracked = values["running_mean"] is not None
    parts = [render(values[name]) for name in ("input", "running_mean", "running_var")]
    parts += [f"{name}={render(values[name])}" for name in ("weight", "bias") if values[name] is not None]
    training = "self.training" if tracked and not values["training"] else render(values["training"])
    return f"F.batch_norm({', '.join(parts)}, training={training}, momentum={values['momentum']}, eps={values['eps']})"


def _embedding(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    padding = "" if values["padding_idx"] < 0 else f", padding_idx={values['padding_idx']}"
    return f"F.embedding({render(values['indices'])}, {render(values['weight'])}{padding})"


def _hardtanh(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    if (values["min_val"], values["max_val"]) != (0, 6):
        return None
    in_place = ", inplace=True" if base_name(node).endswith("_") else ""
    return f"F.relu6({render(values['self'])}{in_place})"


def _to(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    parts = [render(values[name]) for name in ("device", "dtype") if values.get(name) is not None]
    return f"{_operand(values['self'], render)}.to({', '.join(parts)})" if parts else None


def _interpolate(mode: str) -> Special:
    def write(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
        parts = [render(values["input"])]
        if values["output_size"] is not None:
            parts.append(f"size={render(values['output_size'])}")
        elif values["scale_factors"] is not None:
            parts.append(f"scale_factor={render(square(values['scale_factors']))}")
        parts.append(f"mode={quoted(mode)}")
        if "align_corners" in values:
            parts.append(f"align_corners={values['align_corners']}")
        return f"F.interpolate({', '.join(parts)})"

    return write


def _einsum(values: Mapping[str, Any], node: Node, render: Render) -> str | None:
    return f"torch.einsum({quoted(values['equation'])}, {', '.join(render(tensor) for tensor in values['tensors'])})"


_SPECIAL: Mapping[str, Special] = {
    **dict.fromkeys(INFIX, _infix),
    "rsub": _rsub,
    "slice": _slice,
    "select": _select,
    "index.Tensor": _index,
    "sym_size": _size,
    "batch_norm": _batch_norm,
    "embedding": _embedding,
    "hardtanh": _hardtanh,
    "hardtanh_": _hardtanh,
    "to": _to,
    "_to_copy": _to,
    "upsample_nearest1d.vec": _interpolate("nearest"),
    "upsample_nearest2d.vec": _interpolate("nearest"),
    "upsample_nearest3d.vec": _interpolate("nearest"),
    "upsample_linear1d.vec": _interpolate("linear"),
    "upsample_bilinear2d.vec": _interpolate("bilinear"),
    "upsample_bicubic2d.vec": _interpolate("bicubic"),
    "einsum": _einsum,
}
