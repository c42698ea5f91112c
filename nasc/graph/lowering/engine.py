"""The walk over a graph that lowers it, and what its rules may ask and do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch.fx import Node

from nasc.graph.dims import Axis, Dim
from nasc.graph.lowering.arguments import Attributes
from nasc.graph.lowering.layout import (
    Layout,
    Shape,
    Value,
    boundary_layout,
    reshaped,
    same_order,
    stored_shape,
)
from nasc.graph.lowering.names import KernelNames, operator_name
from nasc.graph.network import Kernel, Weights
from nasc.kernels import signature

BATCH = "batch"
"""Name of the dim that is the batch; kernels are those of a batch of one."""

FOLDING_KINDS = ("conv", "grouped_conv", "depthwise", "conv_transpose", "linear", "linear_rows")
"""Kinds that run a norm and a clamp for nothing. A clamp after an addition costs as much as alone, so it stays one."""

VALUE_FREE = frozenset(
    f"{name}.default" for name in ("new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like")
) | {"fill.Scalar", "fill.Tensor"}
"""Operators that read a tensor's shape and none of its values."""

Rule = Callable[["Lowering", Node], Value | tuple[Value, ...]]

RULES: dict[str, Rule] = {}


def rule(*targets: str) -> Callable[[Rule], Rule]:
    """Register the rule of some ATen operators, e.g. ``"conv2d.default"``; in-place variants share it."""

    def register(function: Rule) -> Rule:
        for target in targets:
            RULES[target] = function
        return function

    return register


class Lowering:
    """The state of one walk; rules call its methods."""

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        tensors: Mapping[str, Any],
        parameters: Mapping[str, tuple[Axis, ...]],
    ) -> None:
        self.program = program
        self.parameters = parameters
        self._tensors = tensors
        signature_ = program.graph_signature
        self._parameter_of = {
            **signature_.inputs_to_parameters,
            **signature_.inputs_to_buffers,
            **signature_.inputs_to_lifted_tensor_constants,
        }
        self._user_inputs = set(signature_.user_inputs)
        self._kernels: list[Kernel] = []
        self._writer: dict[str, int] = {}  # kernel that writes a device tensor
        self._values: dict[Node, Value | tuple[Value, ...]] = {}
        self._shared: set[str] = set()  # device tensors with more than one reader
        self._names = KernelNames(program.graph)
        self.concatenations: dict[tuple[str, ...], Value] = {}
        """Earlier concatenations by what they joined: their device axis, then the names of the tensors."""

    # --- the walk -----------------------------------------------------------------------------------------------------

    def run(self) -> tuple[Kernel, ...]:
        """Visit every node in order."""
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in self._user_inputs:
                self._bind(node, self._input(node))
            elif node.op == "call_function" and self._is_activation(node):
                self._visit(node)
            elif node.op == "output":
                self._finish(node)
        return self._needed()

    def _needed(self) -> tuple[Kernel, ...]:
        """The kernels that an output depends on: some calls are made for a shape alone."""
        wanted = {
            output.name for node in self.program.graph.nodes if node.op == "output" for output in node.all_input_nodes
        }
        kept: list[Kernel] = []
        for kernel in reversed(self._kernels):
            if kernel.output in wanted:
                wanted |= {*kernel.inputs, *(name.rpartition(".")[0] for name in kernel.inputs)}  # "split.1" is split's
                kept.append(kernel)
        return tuple(reversed(kept))

    def _input(self, node: Node) -> Value:
        return Value(node, node.name, boundary_layout(len(self.shape(node))))

    def _visit(self, node: Node) -> None:
        before = len(self._kernels)
        try:
            result = RULES.get(operator_name(node), Lowering.unsupported)(self, node)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # a use of the operator that its rule did not foresee: report it as unsupported rather than fail
            del self._kernels[before:]
            result = self.unsupported(node)
        self._bind(node, result)
        if not str(node.target).endswith(operator_name(node)) and isinstance(node.args[0], Node):
            self._values[node.args[0]] = result  # written in place: later readers of the argument see the result

    def _bind(self, node: Node, value: Value | tuple[Value, ...]) -> None:
        self._values[node] = value
        if len(node.users) > 1:
            self._shared.update(one.tensor for one in (value if isinstance(value, tuple) else (value,)))

    def _finish(self, node: Node) -> None:
        """Bring the outputs into the layout they have at the boundary."""
        for output in node.all_input_nodes:
            value = self._values.get(output)
            if isinstance(value, Value):
                layout = boundary_layout(len(self.shape(output)))
                value = self.laid_out(value, layout)
                if value.tensor != output.name:  # an alias: give it the name the network's output has
                    target = stored_shape(self.shape(output), layout)
                    self.emit(output, "free", {"op": "reshape"}, {}, [value], layout, label="output", shape=target)

    def _is_activation(self, node: Node) -> bool:
        """Depends on the values of an input and is a tensor (or several): the rest is constant, or about sizes."""
        if operator_name(node) in VALUE_FREE:
            return False
        return any(source in self._values for source in node.all_input_nodes) and not isinstance(
            node.meta.get("val"), int | float | bool | torch.SymInt | torch.SymFloat | torch.SymBool
        )

    # --- what rules ask -----------------------------------------------------------------------------------------------

    def value(self, node: Any) -> Value:
        """Where a node's tensor is found.

        Raises:
            KeyError: It is a constant or has several outputs.
        """
        value = self._values[node]
        if isinstance(value, tuple):
            raise KeyError(node)
        return value

    def operand(self, node: Any) -> Value:
        """Where a node's tensor is found; a constant is put into the file."""
        if not self.is_constant(node):
            return self.value(node)
        layout = tuple(range(len(self.axes(node))))
        return self.emit(node, "free", {"op": "constant"}, {}, [], layout, label="constant", constant=node.name)

    def values(self, node: Node) -> tuple[Value, ...]:
        """Where the outputs of a node with several are found."""
        value = self._values[node]
        return value if isinstance(value, tuple) else (value,)

    def is_constant(self, argument: Any) -> bool:
        """Depends on no user input: a number, a parameter, or computed from such."""
        return not isinstance(argument, Node) or argument not in self._values

    def parameter(self, argument: Any) -> str | None:
        """Dotted name of the parameter or buffer a node stands for; None for anything else."""
        return self._parameter_of.get(argument.name) if isinstance(argument, Node) else None

    def axes(self, node: Node) -> tuple[Axis, ...]:
        """Axes of a node's tensor."""
        known = self._tensors.get(node.name)
        if known is not None and all(isinstance(axis, Axis) for axis in known):
            return tuple(known)
        return tuple(constant_axis(f"{node.name}.{i}", int(n)) for i, n in enumerate(node.meta["val"].shape))

    def shape(self, node: Node) -> Shape:
        """PyTorch shape of a node's tensor for a batch of one, dense sizes."""
        return shape_of(self.axes(node))

    def axes_of(self, value: Value) -> tuple[Axis, ...]:
        """Axes of a value: its node's, or those of a step on the way there."""
        return self.axes(value.node) if value.axes is None else value.axes

    def split(self, node: Node, layout: Layout) -> tuple[Axis, int]:
        """Channels and positions of an element-wise kernel that writes a node; see :meth:`split_axes`."""
        return self.split_axes(self.axes(node), layout)

    def split_axes(self, axes: tuple[Axis, ...], layout: Layout) -> tuple[Axis, int]:
        """Channels and positions of an element-wise kernel: what pruning may change, and how often that is repeated.

        The channels are the product of all axes with a dim that is not frozen, or the innermost axis if there is none.
        """
        shape = shape_of(axes)
        changing = [i for i in layout if any(d.frozen is None and d.name != BATCH for d in axes[i].dims())]
        if not changing and layout:
            changing = [layout[-1]]
        return merged(axes[i] for i in sorted(changing)), prod(
            size for i, size in enumerate(shape) if i not in changing
        )

    def folds(self, value: Value, kinds: Sequence[str] = FOLDING_KINDS) -> Kernel | None:
        """The kernel that wrote a value and can take in what follows: of these kinds, no clamp yet, one reader."""
        index = self._writer.get(value.tensor)
        if index is None or value.tensor in self._shared:
            return None
        kernel = self._kernels[index]
        return kernel if kernel.kind in kinds and kernel.activation is None else None

    # --- what rules do ------------------------------------------------------------------------------------------------

    def emit(
        self,
        node: Node,
        kind: str,
        attributes: Attributes,
        sizes: Mapping[str, Axis],
        inputs: Sequence[Value],
        layout: Layout,
        *,
        output: str | None = None,
        label: str | None = None,
        weights: Weights | None = None,
        macs_per: int = 0,
        **extra: Any,
    ) -> Value:
        """Append a kernel.

        Args:
            node: What it computes, or is a step of.
            kind: One of :data:`nasc.kernels.KINDS`.
            attributes: Of its signature.
            sizes: Axis by size name.
            inputs: What it reads.
            layout: Of what it writes.
            output: Name of what it writes; the node's own where None.
            label: What the kernel's name ends in where its module has several.
            weights: Its parameters.
            macs_per: Multiply-adds per product of sizes.
            **extra: For writers.

        Returns:
            What it writes.
        """
        kernel = Kernel(
            name=self._names.take(node, label or operator_name(node).partition(".")[0]),
            signature=signature(kind, **attributes),
            sizes=sizes,
            inputs=tuple(value.tensor for value in inputs),
            output=output or node.name,
            weights=weights or Weights(),
            macs_per=macs_per,
            extra=extra,
            node=node.name,
        )
        self._writer[kernel.output] = len(self._kernels)
        self._kernels.append(kernel)
        return Value(node, kernel.output, layout)

    def fold(self, value: Value, node: Node, **changes: Any) -> Value:
        """Let the kernel behind ``value`` compute ``node`` as well, with changed fields."""
        index = self._writer.pop(value.tensor)
        self._kernels[index] = replace(self._kernels[index], output=node.name, node=node.name, **changes)
        self._writer[node.name] = index
        return replace(value, node=node, tensor=node.name)

    def alias(self, node: Node, value: Value, layout: Layout | None = None) -> Value:
        """``node`` is the same device tensor as ``value``."""
        return replace(value, node=node, layout=value.layout if layout is None else layout, axes=None)

    def laid_out(self, value: Value, layout: Layout) -> Value:
        """The same tensor in the wanted layout: moved, or only viewed otherwise where no entry changes place."""
        if value.layout == layout:
            return value
        node, axes = value.node, self.axes_of(value)
        name = f"{value.tensor}_{len(self._kernels)}"
        if same_order(shape_of(axes), value.layout, layout):
            return replace(self.view(value, axes, layout, name), axes=value.axes)
        order = tuple(value.layout.index(axis) for axis in layout)
        op = move_name(order)
        channels, positions = self.split_axes(axes, layout)
        if op == "shuffle":
            channels, positions = self._split_shuffle(axes, layout, channels, positions)
        attributes: Attributes = {"op": op, "from_positions": positions, "positions": positions}
        moved = self.emit(
            node, "move", attributes, {"channels": channels}, [value], layout, output=name, label="move", order=order
        )
        return replace(moved, axes=value.axes)

    def _split_shuffle(
        self, axes: tuple[Axis, ...], layout: Layout, channels: Axis, positions: int
    ) -> tuple[Axis, int]:
        """As ``split_axes``, with both axes that change places among the channels: their product is what is moved."""
        swapped = merged(axes[axis] for axis in layout[-2:])
        if any(dim.frozen is None and dim not in swapped.dims() for dim in channels.dims()):
            return channels, positions  # something else changes as well
        return swapped, prod(shape_of(axes)) // int(swapped.size())

    def view(self, value: Value, axes: tuple[Axis, ...], layout: Layout, name: str) -> Value:
        """The same entries in the same order, read as a tensor of these axes in this layout."""
        shape = stored_shape(shape_of(axes), layout)
        free = self.emit(
            value.node, "free", {"op": "reshape"}, {}, [value], layout, output=name, label="reshape", shape=shape
        )
        return replace(free, axes=axes)

    def reshape(self, node: Node, value: Value) -> Value:
        """``node`` is ``value`` with another PyTorch shape."""
        shape, target = shape_of(self.axes_of(value)), self.shape(node)
        needed, after = reshaped(shape, target, value.layout)
        source = self.laid_out(value, needed) if not same_order(shape, needed, value.layout) else value
        stored = stored_shape(target, after)
        return self.emit(node, "free", {"op": "reshape"}, {}, [source], after, label="reshape", shape=stored)

    def share(self, value: Value) -> None:
        """Nothing may fold into the kernel that wrote this value any more."""
        self._shared.add(value.tensor)

    def unsupported(self, node: Node) -> Value | tuple[Value, ...]:
        """A kernel that stands for an operator without a rule, or with arguments its rule has no kernel for."""
        sources = [source for source in node.all_input_nodes if not self.is_constant(source)]
        inputs = [value for source in sources for value in self.values(source)]
        result = self.emit(node, "unsupported", {"op": str(node.target)}, {}, inputs, ())
        outputs = node.meta.get("val")
        if isinstance(outputs, tuple | list):
            return tuple(
                replace(result, tensor=f"{node.name}.{i}", layout=boundary_layout(len(output.shape)))
                for i, output in enumerate(outputs)
            )
        return replace(result, layout=boundary_layout(len(self.shape(node))))


def constant_axis(name: str, size: int) -> Axis:
    """An axis that no pruning changes."""
    return Axis() if size == 1 else Axis((Dim(name, size, frozen="a constant of the operator"),))


def shape_of(axes: Iterable[Axis]) -> Shape:
    """PyTorch shape of a tensor for a batch of one, dense sizes."""
    return tuple(int(axis.size({BATCH: 1})) for axis in axes)


def merged(axes: Iterable[Axis]) -> Axis:
    """The product of some axes for one sample, outermost first."""
    return Axis(tuple(term for axis in axes for term in axis.terms if not is_batch(term)))


def is_batch(term: Any) -> bool:
    """The term is the batch."""
    return isinstance(term, Dim) and term.name == BATCH


def move_name(order: Layout) -> str:
    """What a permutation of device axes is called in a table: the last two swapped, or anything else."""
    last = len(order) - 1
    return "shuffle" if order == (*range(last - 1), last, last - 1) and len(order) > 3 else "transpose"
