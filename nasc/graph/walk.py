"""The dimension walk: apply the operator rules to every node of a program, in order."""

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from nasc.graph.rules import find_rule
from nasc.graph.rules._base import Call, NoRule, Origin, Walk
from nasc.graph.state import full_state, tied_names
from nasc.graph.unify import Axes, Variable, Writer, find, freeze, size, write

BATCH = "batch"
INPUT = "is an axis of the model's input"
OUTPUT = "reaches the model's output"
UNUSED = "is not used by the traced model"
CONSTANT = "belongs to a constant"


@dataclass
class Walked:
    """What the walk leaves behind, still in working variables.

    Args:
        walk: Axes of every node, contractions and rewrites.
        parameters: Axes of every parameter and buffer by dotted name, tied ones shared.
        names: Dotted name by placeholder node name.
        unsupported: Operators without a rule, with how often they were met.
        first_names: The first of the names of a parameter or buffer that is tied, by each of its names.
    """

    walk: Walk
    parameters: dict[str, Axes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    unsupported: Counter[str] = field(default_factory=Counter)
    first_names: dict[str, str] = field(default_factory=dict)


def walk_program(program: ExportedProgram, model: nn.Module, batch: int | None) -> Walked:
    """Find the axes of every tensor of a program.

    Args:
        program: A cleaned program (:func:`nasc.graph.program.clean`).
        model: The module it was exported from; tells which parameters are tied.
        batch: Batch size in the program, one that divides no other size; or None.
    """
    walk = Walk(batch=batch, batch_variable=Variable(batch, frozen=BATCH, batch=True) if batch else None)
    first_names = {name: tied[0] for name, tied in tied_names(model).items()}
    walked = Walked(walk, parameters=_parameter_axes(model, first_names), first_names=first_names)
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            walk.axes[node] = _enter(walked, node, specs[node.name])
        elif node.op == "get_attr":
            walk.axes[node] = walk.fresh(node.meta.get("val"), CONSTANT)
        elif node.op == "call_function":
            walk.axes[node] = _apply(walked, node)
        elif node.op == "output":
            for result in node.all_input_nodes:
                _freeze_value(walk.axes.get(result), OUTPUT)
    _freeze_unused(walked)
    _find_untied_batch(walk)
    return walked


def _parameter_axes(model: nn.Module, first_names: Mapping[str, str]) -> dict[str, Axes]:
    """New free axes for every parameter and buffer; the same tensor under two names has the same axes."""
    result: dict[str, Axes] = {}
    for name, tensor in full_state(model).items():
        first = result.get(first_names[name])
        result[name] = first or [[Variable(length)] if length != 1 else [] for length in tensor.shape]
    return result


def _enter(walked: Walked, node: fx.Node, spec: Any) -> Any:
    """The axes of a placeholder: an input's are frozen, a parameter's are free."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    if spec.kind is InputKind.USER_INPUT:
        axes: Axes = [[Variable(length, frozen=INPUT)] if length != 1 else [] for length in value.shape]
        if axes and walked.walk.batch_variable is not None and value.shape[0] == walked.walk.batch:
            axes[0] = [walked.walk.batch_variable]
        for axis in axes:
            write(axis, Writer(0, f"input:{node.name}"))
        return axes
    if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
        name = str(spec.target)
        walked.names[node.name] = name
        axes = walked.parameters[name]
        if node.users:
            walked.walk.origins[node] = Origin(walked.first_names[name], tuple(range(len(axes))))
        return axes
    return [[Variable(length, frozen=CONSTANT)] if length != 1 else [] for length in value.shape]


def _apply(walked: Walked, node: fx.Node) -> Any:
    """The axes of an operator's result; without a rule, everything it touches is frozen."""
    walk, value = walked.walk, node.meta.get("val")
    if node.target is operator.getitem:
        return _take_item(walk, node)
    if not _has_tensors(value):
        return None
    if not hasattr(node.target, "_schema"):
        return _give_up(walked, node, f"operator {getattr(node.target, '__name__', node.target)} has no rule")
    name = str(node.target._schema.name).replace("::", ".")
    rule = find_rule(node.target)
    if rule is None:
        return _give_up(walked, node, f"operator {name} has no rule")
    try:
        axes = rule(Call(walk, node))
    except NoRule as limit:
        return _give_up(walked, node, f"operator {name} has no rule for {limit}")
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as surprise:
        # A use of the operator that its rule did not foresee: leave it alone rather than fail.
        return _give_up(walked, node, f"operator {name} has no rule for this use ({type(surprise).__name__})")
    if not _fits(axes, value):
        return _give_up(walked, node, f"operator {name} has no rule for these shapes")
    _follow_views(walk, node, axes)
    return axes


def _take_item(walk: Walk, node: fx.Node) -> Any:
    source: Any = node.args[0]
    index: Any = node.args[1]
    axes = walk.axes.get(source)
    if axes is None:
        return walk.fresh(node.meta.get("val"), CONSTANT)
    if source in walk.origins:  # a piece of a parameter, e.g. of a packed projection that is cut in three
        parameter = source.all_input_nodes[0]
        _note_view(walk, walk.origins[source], walk.axes[parameter], node, axes[index])
    return axes[index]


def _follow_views(walk: Walk, node: fx.Node, axes: Any) -> None:
    """Know a view of a parameter as one, axis by axis.

    Rules hand on an axis they leave alone as the very same list, so identity tells which axis is which.
    """
    if len(node.all_input_nodes) != 1 or node.all_input_nodes[0] not in walk.origins:
        return
    if node.target._schema.name.split("::")[1] not in _VIEW_NAMES:  # type: ignore[union-attr]
        return
    source = node.all_input_nodes[0]
    if axes and isinstance(node.meta["val"], Tensor):
        _note_view(walk, walk.origins[source], walk.axes[source], node, axes)
    else:
        walk.origins[node] = walk.origins[source]


_VIEWS = """
    permute transpose swapaxes swapdims t numpy_T mT adjoint movedim moveaxis unsqueeze squeeze split split_with_sizes
    chunk unsafe_split unsafe_chunk tensor_split slice select unbind clone contiguous to _to_copy detach alias float
    dropout lift_fresh lift_fresh_copy
"""
_VIEW_NAMES = frozenset(_VIEWS.split())


def _note_view(walk: Walk, origin: Origin, source: Axes, node: fx.Node, axes: Axes) -> None:
    places = {id(axis): origin.axes[place] for place, axis in enumerate(source)}
    walk.origins[node] = Origin(origin.parameter, tuple(places.get(id(axis)) for axis in axes))


def _give_up(walked: Walked, node: fx.Node, reason: str) -> Any:
    walked.unsupported[reason] += 1
    walked.walk.rewrites.pop(node, None)
    for source in node.all_input_nodes:
        _freeze_value(walked.walk.axes.get(source), reason)
    return walked.walk.fresh(node.meta.get("val"), reason)


def _freeze_value(axes: Any, reason: str) -> None:
    """Freeze every axis of a tensor, or of a list of tensors."""
    if axes is None:
        return
    for axis in _each_axis(axes):
        freeze(axis, reason)


def _each_axis(axes: Any) -> list[Any]:
    result = []
    for item in axes:
        if item is None:
            continue
        if all(isinstance(inner, Variable) for inner in item):
            result.append(item)
        else:
            result += _each_axis(item)
    return result


def _has_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_tensors(item) for item in value)
    return isinstance(value, Tensor)


def _fits(axes: Any, value: Any) -> bool:
    """The axes have the sizes the exporter saw."""
    if isinstance(value, Tensor):
        return [size(axis) for axis in axes] == [int(length) for length in value.shape]
    if isinstance(value, (list, tuple)):
        return len(axes) == len(value) and all(_fits(item, inner) for item, inner in zip(axes, value, strict=True))
    return True


def _freeze_unused(walked: Walked) -> None:
    """Parameters that nothing reads, under none of their names, stay as they are."""
    used = {id(walked.parameters[origin.parameter]) for origin in walked.walk.origins.values()}
    for axes in walked.parameters.values():
        if id(axes) not in used:
            _freeze_value(axes, UNUSED)


def _find_untied_batch(walk: Walk) -> None:
    """A size given as a constant that nothing was joined with, and that is as long as the batch, is the batch."""
    if walk.batch_variable is None:
        return
    for variable in map(find, walk.given):
        untied = variable.is_leaf and variable.frozen is None and variable.writer is None
        if untied and variable.size == walk.batch:
            variable.parent = walk.batch_variable
