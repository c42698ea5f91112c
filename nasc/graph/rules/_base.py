"""What an operator rule is, and what it may ask and say while the graph is walked.

A rule is a small function from the axes of an operator's inputs to the axes of its outputs. On the way it ties axes
(:func:`~nasc.graph.unify.unify`), freezes them, notes reductions and contractions, and says which constant arguments of
the operator depend on sizes, so that the sliced graph can recompute them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, fx

from nasc.graph.unify import Axes, Factors, Variable, Writer, freeze, number, reduce_over, size, unify, write

POSITION = "counts positions, not channels"
COMPUTED_WEIGHT = "is read by a weight that is computed from parameters"
TWO_ACTIVATIONS = "two activations are contracted over it"


class NoRule(Exception):  # noqa: N818 - a signal inside the walk, never shown as an error
    """This use of the operator is outside its rule; what it touches will be frozen."""


@dataclass
class DraftRewrite:
    """How an operator call changes when sizes change, over working axes.

    Args:
        arguments: Argument name to a value in which an axis stands for its size (nested in tuples).
        target: The operator to call instead, or None for the same one.
        counted: The result depends on how many entries there are (a norm, a mean), not only on their values.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    target: Any = None
    counted: bool = False


class SizeOf:
    """Marks an axis that stands for its size among the arguments of a rewrite."""

    __slots__ = ("axis",)

    def __init__(self, axis: Factors) -> None:
        self.axis = axis


@dataclass(frozen=True)
class Origin:
    """A tensor that is a parameter, or a view of one.

    Args:
        parameter: Dotted name.
        axes: For every axis of the tensor, the parameter's axis it is, or None where it is only a part of one.
    """

    parameter: str
    axes: tuple[int | None, ...]


@dataclass
class Walk:
    """Everything the rules have said so far.

    Args:
        batch: The batch size the program was exported with, one that divides no other size; or None.
        axes: The axes of every node's value.
        origins: The nodes that are parameters, or views of one.
        rewrites: What changes in a call with the sizes.
        contractions: Parameter and axis, in order of first use.
        running_variances: Buffers that batch norms divide by.
        order: How many writers there have been.
        batch_variable: The batch, as a variable.
        given: Sizes that the program gives as constants.
    """

    batch: int | None = None
    axes: dict[fx.Node, Any] = field(default_factory=dict)
    origins: dict[fx.Node, Origin] = field(default_factory=dict)
    rewrites: dict[fx.Node, DraftRewrite] = field(default_factory=dict)
    contractions: dict[tuple[str, int], None] = field(default_factory=dict)
    running_variances: dict[str, None] = field(default_factory=dict)
    order: int = 0
    batch_variable: Variable | None = None
    given: list[Variable] = field(default_factory=list)

    def fresh(self, value: Any, reason: str | None) -> Any:
        """New axes for a value, frozen for a reason (or free); see :meth:`fresh_axis` for the batch."""
        if isinstance(value, Tensor):
            return [self.fresh_axis(int(length), reason) for length in value.shape]
        if isinstance(value, (list, tuple)):
            return [self.fresh(item, reason) for item in value]
        return None

    def fresh_axis(self, length: int, reason: str | None) -> Factors:
        """A new axis of the given length; the batch where its unmistakable size divides the length."""
        if self.batch_variable is not None and length and length % self.batch_variable.size == 0:
            return [self.batch_variable, *number(length // self.batch_variable.size, reason or POSITION)]
        return [Variable(length, frozen=reason)] if length != 1 else []


class Call:
    """One operator call, as its rule sees it."""

    def __init__(self, walk: Walk, node: fx.Node) -> None:
        self.walk = walk
        self.node = node
        self.value: Any = node.meta.get("val")
        schema = node.target._schema  # type: ignore[union-attr]
        self.name: str = schema.name.split("::")[1]
        self.overload: str = schema.overload_name
        self.arguments: dict[str, Any] = {}
        for index, argument in enumerate(schema.arguments):
            if index < len(node.args):
                self.arguments[argument.name] = node.args[index]
            else:
                self.arguments[argument.name] = node.kwargs.get(argument.name, argument.default_value)

    # -- what it reads ----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The argument, or a default where the operator has none of that name or it is None."""
        value = self.arguments.get(name)
        return default if value is None else value

    def has(self, name: str) -> bool:
        """The argument is there and is a tensor."""
        return isinstance(self.arguments.get(name), fx.Node)

    def axes(self, name: str) -> Axes:
        """The axes of a tensor argument (a copy of the list; the axes themselves are shared)."""
        return self.axes_of(self.arguments[name])

    def axes_of(self, node: Any) -> Axes:
        """The axes of an input node."""
        axes = self.walk.axes.get(node)
        if axes is None:
            raise NoRule(f"{self.name} of something that is not a tensor")
        return list(axes)

    def tensors(self) -> list[Axes]:
        """The axes of every tensor argument, in order."""
        return [
            self.axes_of(node) for node in self.node.all_input_nodes if isinstance(node.meta.get("val"), torch.Tensor)
        ]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the (first) output."""
        value = self.value[0] if isinstance(self.value, (list, tuple)) else self.value
        return tuple(int(length) for length in value.shape)

    def index(self, name: str, rank: int, extra: int = 0) -> int:
        """An axis argument as a non-negative index into ``rank + extra`` axes."""
        value = int(self.get(name, 0))
        return value + rank + extra if value < 0 else value

    # -- what it says -----------------------------------------------------------------------------

    def rewrite(self, **arguments: Any) -> None:
        """Say which arguments follow the sizes; see :class:`SizeOf`."""
        self.walk.rewrites.setdefault(self.node, DraftRewrite()).arguments.update(arguments)

    def replace(self, target: Any, *arguments: Any) -> None:
        """Say that another operator is called when sizes change, with all its arguments in its schema's order."""
        names = [argument.name for argument in target._schema.arguments]
        self.walk.rewrites[self.node] = DraftRewrite(dict(zip(names, arguments, strict=False)), target)

    def counted(self) -> None:
        """Say that the result depends on the number of entries reduced over."""
        self.walk.rewrites.setdefault(self.node, DraftRewrite()).counted = True

    def reduce(self, axis: Factors, what: str) -> None:
        """Note that a reduction runs over an axis."""
        reduce_over(axis, what)
        self.counted()

    def tie(self, name: str, axis: Factors, position: int = 0) -> None:
        """Tie an axis of an optional tensor argument to another axis."""
        if self.has(name):
            unify(self.axes(name)[position], axis, f"{self.name} ties axes that do not fit together")

    def contract(self, name: str, position: int, axis: Factors) -> None:
        """Say that a weight's axis is contracted with an activation's."""
        self.contract_node(self.arguments[name], position, axis)

    def contract_node(self, node: fx.Node, position: int, axis: Factors) -> None:
        """Say that axis ``position`` of a weight node is contracted with ``axis`` of an activation."""
        weight_axis = self.axes_of(node)[position]
        if size(weight_axis) == 1:
            return
        unify(axis, weight_axis, f"{self.name} contracts axes that do not fit together")
        origin = self.walk.origins.get(node)
        parameter_axis = origin.axes[position] if origin else None
        if origin is None or parameter_axis is None:
            reduce_over(weight_axis, COMPUTED_WEIGHT)
        else:
            self.walk.contractions[origin.parameter, parameter_axis] = None

    def writes(self, axis: Factors, weight: fx.Node | None = None) -> None:
        """Say that this operator writes an axis; the first writer gives the dim its name."""
        self.walk.order += 1
        origin = self.walk.origins.get(weight) if weight is not None else None
        path = origin.parameter.rpartition(".")[0] if origin else ""
        write(axis, Writer(self.walk.order, path or module_path(self.node) or self.node.name))

    def freeze(self, axes: Sequence[Factors], reason: str) -> None:
        """Freeze several axes for one reason."""
        for axis in axes:
            freeze(axis, reason)

    # -- what many rules share --------------------------------------------------------------------

    def given(self, length: int) -> Factors:
        """A size the program gives as a constant; it follows whatever it is joined with."""
        if length == 1:
            return []
        variable = Variable(length)
        self.walk.given.append(variable)
        return [variable]

    def broadcast(self, operands: Sequence[Axes], shape: Sequence[int]) -> Axes:
        """Tie the axes of operands that broadcast together; axes of size one tie nothing."""
        result: Axes = []
        for position, length in enumerate(shape):
            tied: Factors | None = None
            for operand in operands:
                index = position - (len(shape) - len(operand))
                if index < 0 or size(operand[index]) == 1:
                    continue
                if tied is None:
                    tied = operand[index]
                else:
                    unify(tied, operand[index], f"{self.name} joins axes that do not fit together")
            result.append(list(tied) if tied is not None else self.walk.fresh_axis(int(length), POSITION))
        return result

    def positions(self, lengths: Sequence[int]) -> Axes:
        """New axes that count positions."""
        return [number(int(length), POSITION) for length in lengths]


def module_path(node: fx.Node) -> str:
    """The dotted path of the module an operator was called in, or an empty string."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(next(reversed(stack.values()))[0])
    return path.removeprefix("L['self'].").removeprefix("L['self']")


Rule = Callable[[Call], Any]
"""From a call to the axes of its output: :data:`Axes`, or a list of them where there are several outputs."""

_AnyRule = TypeVar("_AnyRule", bound=Rule)

_RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[_AnyRule], _AnyRule]:
    """Register a rule for ATen operators, by name without overload and without the in-place underscore."""

    def register(function: _AnyRule) -> _AnyRule:
        for name in names:
            if name in _RULES:
                raise ValueError(f"operator {name} has two rules")
            _RULES[name] = function
        return function

    return register


def registered() -> Mapping[str, Rule]:
    """Every rule by operator name."""
    return _RULES
