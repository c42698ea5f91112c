"""What an exported graph's node says: the operator, its arguments by name, and where in the user's model it was."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx import Node

from nasc.errors import ModelError

INTEGER_ARITHMETIC: Mapping[Callable[..., Any], str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.floordiv: "//",
    operator.mod: "%",
}
"""Python operators that the exporter puts between sizes, and how they are written."""

SPEAKING = frozenset(
    {
        *("conv1d", "conv2d", "conv3d", "div", "div_", "divide", "einsum", "gelu", "gelu_", "pad", "pad_sequence"),
        *("meshgrid", "searchsorted", "scatter_reduce", "index_reduce", "quantile", "nanquantile", "linalg_norm"),
    }
)
"""ATen operators that may be given text (a mode, an equation). ``save`` and ``from_file`` would take file names."""

_ASSERTIONS = frozenset(
    {
        "_assert_tensor_metadata",
        "_assert_async",
        "_assert_scalar",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
    }
)


def operator_name(node: Node) -> str:
    """``"conv2d.default"`` for an ATen node, ``"getitem"`` and the like for a Python function.

    Raises:
        ModelError: The operator belongs to neither PyTorch's own library nor Python's ``operator`` module.
    """
    target = node.target
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return f"{target._schema.name.removeprefix('aten::')}.{target._overloadname}"
    if target is operator.getitem or target in INTEGER_ARITHMETIC:
        return str(getattr(target, "__name__", target))
    raise ModelError(
        f"expected operators of PyTorch's own library in the traced model; got {target} at {node.name!r}",
        "replace the custom operator by plain torch functions, so that the small model runs with torch alone",
    )


def base_name(node: Node) -> str:
    """The operator's name without its overload: ``"conv2d"``, ``"relu_"``."""
    return operator_name(node).split(".")[0]


def arguments(node: Node) -> dict[str, Any]:
    """Every argument of an ATen node by its schema name, defaults included, in schema order."""
    assert isinstance(node.target, torch._ops.OpOverload)
    result: dict[str, Any] = {}
    for position, argument in enumerate(node.target._schema.arguments):
        if position < len(node.args) and not argument.kwarg_only:
            result[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            result[argument.name] = node.kwargs[argument.name]
        else:
            result[argument.name] = argument.default_value if argument.has_default_value() else None
    return result


def defaults(node: Node) -> dict[str, Any]:
    """The default of every argument of an ATen node that has one, by schema name."""
    assert isinstance(node.target, torch._ops.OpOverload)
    return {a.name: a.default_value for a in node.target._schema.arguments if a.has_default_value()}


def keyword_only(node: Node) -> frozenset[str]:
    """The arguments of an ATen node that may only be given by name."""
    assert isinstance(node.target, torch._ops.OpOverload)
    return frozenset(a.name for a in node.target._schema.arguments if a.kwarg_only)


def mutates(node: Node) -> bool:
    """The node writes into one of its inputs."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and bool(target._schema.is_mutable)


def is_assertion(node: Node) -> bool:
    """The node only checks something the exporter assumed; it computes nothing."""
    return node.op == "call_function" and base_name(node) in _ASSERTIONS


def shape_of(value: Any) -> tuple[Any, ...]:
    """Shape of the tensor a node stands for, as the exporter recorded it."""
    return tuple(value.meta["val"].shape)


def module_path(node: Node) -> tuple[str, str]:
    """Path and class name of the block a node belongs to: its innermost module that is not one of torch.nn's layers.

    Returns:
        ``("layer1.0", "BasicBlock")``; ``("", ...)`` for the model itself and for nodes without a record.
    """
    blocks = [("", "")]
    for path, qualified in (node.meta.get("nn_module_stack") or {}).values():
        name = qualified if isinstance(qualified, str) else f"{qualified.__module__}.{qualified.__qualname__}"
        is_layer = name.startswith("torch.nn.modules.") and ".container." not in name
        if not is_layer and not path.startswith("_"):
            blocks.append((path.split("@")[0], name.rsplit(".", 1)[-1]))
    return blocks[-1]
