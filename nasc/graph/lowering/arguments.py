"""Reading the arguments of ATen operators."""

from collections.abc import Sequence
from typing import Any

from torch.fx import Node

Attributes = dict[str, int | float | str]
"""Of a kernel's signature."""


def arguments(node: Node, count: int, defaults: Sequence[Any], required: int) -> list[Any]:
    """The first ``count`` arguments of an operator, in schema order.

    Args:
        node: A call of the operator.
        count: How many.
        defaults: Of those after the first ``required``, which are always given by position.
        required: See above.
    """
    names = [argument.name for argument in node.target._schema.arguments[:count]]  # type: ignore[union-attr]
    given = list(node.args[:count])
    rest = enumerate(names[len(given) :], start=len(given))
    return given + [node.kwargs[name] if name in node.kwargs else defaults[i - required] for i, name in rest]


def pair(value: Any) -> tuple[int, int]:
    """A size along both sides, given once or twice."""
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])


def first_output(node: Node) -> Any:
    """The (first) tensor a node gives, as the exporter saw it."""
    value = node.meta["val"]
    return value[0] if isinstance(value, tuple | list) else value


def window_attributes(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pads: Sequence[int]
) -> Attributes:
    """The attributes that convolutions and pools share.

    Args:
        size: Height and width of the input, before padding.
        kernel: Height and width of the window.
        stride: Down and to the right.
        pads: Entries added at the top, bottom, left and right.
    """
    names = ("height", "width", "kernel_h", "kernel_w", "stride_h", "stride_w")
    edges = ("pad_top", "pad_bottom", "pad_left", "pad_right")
    values = (*size, *kernel, *stride, *pads)
    return {name: int(value) for name, value in zip((*names, *edges), values, strict=True)}
