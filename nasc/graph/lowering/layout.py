"""How a tensor of the model lies in memory on the device.

A device keeps channels last, PyTorch keeps them second. A *layout* says which axis of the PyTorch tensor stands behind
each axis of the device's tensor, outermost first: ``(0, 2, 3, 1)`` for an image. Permuting a PyTorch tensor then costs
nothing, only its layout changes; data moves where a reader needs another order than the one it finds. Axes of size one
have no order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch.fx import Node

from nasc.graph.dims import Axis

Layout = tuple[int, ...]
Shape = tuple[int, ...]

IMAGE: Layout = (0, 2, 3, 1)


@dataclass(frozen=True)
class Columns:
    """The last axis of a flattened tensor holds these axes in device order, not in PyTorch's.

    Args:
        shape: The axes as PyTorch flattens them, e.g. (C, H, W).
        order: Which of them comes first, second, ... on the device, e.g. (1, 2, 0).
    """

    shape: Shape
    order: Layout


@dataclass(frozen=True)
class Value:
    """Where the result of a graph node is found on the device.

    Args:
        node: The node; its tensor has the PyTorch shape.
        tensor: Name of the device tensor; several nodes may share one.
        layout: PyTorch axis behind each device axis.
        padding: Zeros (top, bottom, left, right) that the next convolution still has to add.
        columns: How the last axis was flattened, where that is not PyTorch's order.
        axes: PyTorch's axes, where this is a step on the way to the node's result; None where they are the node's.
    """

    node: Node
    tensor: str
    layout: Layout
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    columns: Columns | None = None
    axes: tuple[Axis, ...] | None = None


def boundary_layout(rank: int) -> Layout:
    """Layout of the model's inputs and outputs: rank 4 is an image with channels last, the rest lies as in PyTorch.

    >>> boundary_layout(4)
    (0, 2, 3, 1)
    """
    return IMAGE if rank == len(IMAGE) else tuple(range(rank))


def stored_shape(shape: Shape, layout: Layout) -> Shape:
    """Shape of the device's tensor."""
    return tuple(shape[axis] for axis in layout)


def same_order(shape: Shape, first: Layout, second: Layout) -> bool:
    """Both layouts put the entries in the same order (they may differ in where axes of size one stand)."""
    return _ordered(shape, first) == _ordered(shape, second)


def permuted(layout: Layout, order: Sequence[int]) -> Layout:
    """Layout of ``tensor.permute(order)`` when nothing moves.

    >>> permuted((0, 2, 3, 1), (0, 2, 3, 1))
    (0, 1, 2, 3)
    """
    return tuple(list(order).index(axis) for axis in layout)


def reshaped(shape: Shape, target: Shape, layout: Layout) -> tuple[Layout, Layout]:
    """What a reshape needs and what it gives.

    Axes that merge must lie next to each other in PyTorch's order; nothing else has to move.

    Args:
        shape: PyTorch shape before.
        target: PyTorch shape after.
        layout: Layout before.

    Returns:
        The layout the tensor must be brought into first (the same order where nothing moves), and the layout after.

    >>> reshaped((1, 8, 4, 4), (1, 128), (0, 2, 3, 1))  # flatten: the channels have to move to the front
    ((0, 1, 2, 3), (0, 1))
    >>> reshaped((1, 8, 4, 4), (1, 2, 4, 4, 4), (0, 2, 3, 1))  # channels into groups: nothing moves
    ((0, 2, 3, 1), (0, 3, 4, 1, 2))
    """
    groups = _groups(shape, target)
    order = _ordered(shape, layout)
    for sources, _ in groups:
        order = _adjacent(order, sources)
    after: list[int] = []
    for axis in order:
        for sources, results in groups:
            if sources[0] == axis:
                after.extend(results)
    needed = layout if order == _ordered(shape, layout) else _complete(shape, order)
    return needed, _complete(target, after)


def _ordered(shape: Shape, layout: Layout) -> list[int]:
    """The axes that have an order, in device order."""
    return [axis for axis in layout if shape[axis] != 1]


def _adjacent(order: list[int], axes: list[int]) -> list[int]:
    """``order`` with ``axes`` side by side and ascending, at the place of the last of them."""
    places = [order.index(axis) for axis in axes]
    if places == list(range(places[0], places[0] + len(places))):
        return order
    others = [axis for axis in order if axis not in axes]
    before = sum(axis not in axes for axis in order[: max(places)])
    return others[:before] + axes + others[before:]


def _complete(shape: Shape, order: Sequence[int]) -> Layout:
    """A layout with the axes of size one added: at their usual places where that fits, else in front."""
    usual = boundary_layout(len(shape))
    if _ordered(shape, usual) == list(order):
        return usual
    return (*(axis for axis, size in enumerate(shape) if size == 1), *order)


def _groups(shape: Shape, target: Shape) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes of equal product on both sides, axes of size one left out."""
    left = [axis for axis, size in enumerate(shape) if size != 1]
    right = [axis for axis, size in enumerate(target) if size != 1]
    groups: list[tuple[list[int], list[int]]] = []
    while left:
        sources, results = [left.pop(0)], [right.pop(0)]
        while (gap := prod(shape[i] for i in sources) - prod(target[i] for i in results)) != 0:
            if gap < 0:
                sources.append(left.pop(0))
            else:
                results.append(right.pop(0))
        groups.append((sources, results))
    return groups
