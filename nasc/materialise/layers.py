"""Recognises the ``torch.nn`` layer behind an operator and its parameters: the written file says ``nn.Conv2d``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from nasc.materialise.containers import quoted
from nasc.materialise.operators import arguments, operator_name, shape_of


@dataclass(frozen=True)
class Layer:
    """A ``torch.nn`` layer that a node is one call of.

    Args:
        constructor: Python text that builds it, e.g. ``"nn.Conv2d(16, 31, 3, padding=1)"``.
        input: The node it is called on.
        slots: The node of every parameter and buffer the layer must hold, by attribute name; nothing else may be held.
    """

    constructor: str
    input: Node
    slots: Mapping[str, Node]


Lookup = Callable[[Node], Tensor]


def recognise(node: Node, tensor: Lookup, *, cumulative: bool = False) -> Layer | None:
    """The layer a node is one call of, or None where no ``torch.nn`` layer says exactly the same.

    Args:
        node: A call of an ATen operator.
        tensor: Gives the parameter or buffer behind a ``get_attr`` node.
        cumulative: A batch norm whose running statistics are a plain average over all batches (``momentum=None``);
            the graph of an evaluation does not tell.
    """
    build = _BUILDERS.get(operator_name(node))
    if build is None:
        return None
    values = arguments(node)
    slots = {
        name: values[name] for name in ("weight", "bias", "running_mean", "running_var") if values.get(name) is not None
    }
    if "weight" not in slots and "running_mean" not in slots:
        return None
    if not all(isinstance(slot, Node) and slot.op == "get_attr" for slot in slots.values()):
        return None
    if cumulative and "momentum" in values:
        values["momentum"] = None
    tensors = {name: tensor(slot) for name, slot in slots.items()}
    made = build(values, tensors) if len({value.dtype for value in tensors.values()}) == 1 else None
    if made is None:
        return None
    constructor, source = made
    return Layer(constructor, source, slots)


Made = tuple[str, Node] | None


def call_text(function: str, *positional: Any, **optional: tuple[Any, Any]) -> str:
    """Text of a call: positional values, then each ``name=(value, default)`` whose value is not the default."""
    parts = [repr(value) for value in positional]
    parts += [
        f"{name}={quoted(value) if isinstance(value, str) else repr(value)}"
        for name, (value, default) in optional.items()
        if value != default
    ]
    return f"{function}({', '.join(parts)})"


def square(value: Any) -> Any:
    """A list of equal numbers as that one number, other lists as tuples: ``[3, 3]`` is written ``3``."""
    if isinstance(value, list | tuple):
        return value[0] if len(value) and all(item == value[0] for item in value) else tuple(value)
    return value


def _conv(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Made:
    weight = tensors["weight"]
    rank, groups = weight.dim() - 2, values["groups"]
    constructor = call_text(
        f"nn.Conv{rank}d",
        weight.shape[1] * groups,
        weight.shape[0],
        square(list(weight.shape[2:])),
        stride=(square(values["stride"]), 1),
        padding=(square(values["padding"]), 0),
        dilation=(square(values["dilation"]), 1),
        groups=(groups, 1),
        bias=("bias" in tensors, True),
        dtype=(weight.dtype, torch.float32),
    )
    return constructor, values["input"]


def _conv_transpose(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Made:
    weight = tensors["weight"]
    rank, groups = weight.dim() - 2, values["groups"]
    constructor = call_text(
        f"nn.ConvTranspose{rank}d",
        weight.shape[0],
        weight.shape[1] * groups,
        square(list(weight.shape[2:])),
        stride=(square(values["stride"]), 1),
        padding=(square(values["padding"]), 0),
        output_padding=(square(values["output_padding"]), 0),
        groups=(groups, 1),
        bias=("bias" in tensors, True),
        dilation=(square(values["dilation"]), 1),
        dtype=(weight.dtype, torch.float32),
    )
    return constructor, values["input"]


def _linear(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Made:
    weight = tensors["weight"]
    if weight.dim() != 2:
        return None
    constructor = call_text(
        "nn.Linear",
        weight.shape[1],
        weight.shape[0],
        bias=("bias" in tensors, True),
        dtype=(weight.dtype, torch.float32),
    )
    return constructor, values["input"]


def _batch_norm(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Made:
    affine, tracked = {"weight", "bias"} <= tensors.keys(), {"running_mean", "running_var"} <= tensors.keys()
    if len(tensors) != 2 * (affine + tracked) or values["training"] == tracked:
        return None  # half of a pair, or statistics that the layer would not use as this call does
    rank = max(len(shape_of(values["input"])) - 2, 1)
    constructor = call_text(
        f"nn.BatchNorm{rank}d",
        next(iter(tensors.values())).shape[0],
        eps=(values["eps"], 1e-5),
        momentum=(values["momentum"], 0.1),
        affine=(affine, True),
        track_running_stats=(tracked, True),
        dtype=(next(iter(tensors.values())).dtype, torch.float32),
    )
    return constructor, values["input"]


def _layer_norm(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Made:
    shape = tuple(tensors["weight"].shape)
    constructor = call_text(
        "nn.LayerNorm",
        shape[0] if len(shape) == 1 else shape,
        eps=(values["eps"], 1e-5),
        bias=("bias" in tensors, True),
        dtype=(tensors["weight"].dtype, torch.float32),
    )
    return constructor, values["input"]


def _group_norm(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Made:
    if "bias" not in tensors or not isinstance(values["num_groups"], int):
        return None
    weight = tensors["weight"]
    constructor = call_text(
        "nn.GroupNorm",
        values["num_groups"],
        weight.shape[0],
        eps=(values["eps"], 1e-5),
        dtype=(weight.dtype, torch.float32),
    )
    return constructor, values["input"]


def _embedding(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Made:
    rows, width = tensors["weight"].shape
    padding = values["padding_idx"]
    constructor = call_text(
        "nn.Embedding",
        rows,
        width,
        padding_idx=(padding if padding >= 0 else None, None),
        scale_grad_by_freq=(values["scale_grad_by_freq"], False),
        sparse=(values["sparse"], False),
        dtype=(tensors["weight"].dtype, torch.float32),
    )
    return constructor, values["indices"]


def _prelu(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Made:
    weight = tensors["weight"]
    return call_text("nn.PReLU", weight.numel(), dtype=(weight.dtype, torch.float32)), values["self"]


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], Made]] = {
    "conv1d.default": _conv,
    "conv2d.default": _conv,
    "conv3d.default": _conv,
    "conv1d.padding": _conv,
    "conv2d.padding": _conv,
    "conv3d.padding": _conv,
    "conv_transpose1d.default": _conv_transpose,
    "conv_transpose2d.input": _conv_transpose,
    "conv_transpose3d.input": _conv_transpose,
    "linear.default": _linear,
    "batch_norm.default": _batch_norm,
    "layer_norm.default": _layer_norm,
    "group_norm.default": _group_norm,
    "embedding.default": _embedding,
    "prelu.default": _prelu,
}
