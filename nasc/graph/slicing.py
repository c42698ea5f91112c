"""The small graph and the small state: entries of dims removed, constants that depend on sizes recomputed."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import OutputKind
from torch.utils import _pytree as pytree

from nasc.graph.dims import Axis, Dim
from nasc.graph.masking import masked_state
from nasc.graph.network import Network
from nasc.graph.state import full_state
from nasc.graph.walk import BATCH

__all__ = ["Kept", "full_state", "rewritten_call", "scatter_state", "slice_network", "slice_state", "slice_tensor"]

Kept = Mapping[str, Tensor]
"""Sorted kept indices (int64) by dim name; a dim that is not named is kept whole."""


def slice_tensor(tensor: Tensor, axes: tuple[Axis, ...], kept: Kept) -> Tensor:
    """Take the kept entries along every axis; the tensor itself where nothing is removed. Differentiable."""
    for place, axis in enumerate(axes):
        if any(dim.name in kept for dim in axis.dims()):
            tensor = tensor.index_select(place, axis.kept(kept).to(tensor.device))
    return tensor


def slice_state(network: Network, kept: Kept, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The parameters and buffers of the small model, by their original dotted names.

    Args:
        network: A traced network.
        kept: Kept indices by dim name.
        state: Full-size tensors by dotted name, e.g. from :func:`nasc.graph.masking.masked_state`; what is not named is
            taken from the model.

    Returns:
        One tensor for every parameter and buffer of the model (tied ones under each of their names).
    """
    full = full_state(network.model)
    full.update(state or {})
    return _once_each(full, lambda name: slice_tensor(full[name], network.parameters[name], kept))


def scatter_state(network: Network, kept: Kept, small_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`slice_state`: a full-size state that computes what the small model does.

    What reads removed entries is zero. The entries themselves are the dense model's: nothing sees them, and zeros could
    mean a division by zero (a weight norm, a running variance).

    Args:
        network: A traced network.
        kept: Kept indices by dim name.
        small_state: Tensors of the small model by dotted name.
    """
    dense = full_state(network.model)

    def scatter(name: str) -> Tensor:
        small, axes = small_state[name], network.parameters[name]
        if not axes:
            return small
        full = dense[name].detach().to(small.device, small.dtype)
        places = torch.meshgrid(*[axis.kept(kept).to(small.device) for axis in axes], indexing="ij")
        return full.index_put(places, small)

    full = _once_each(small_state, scatter)
    alive = {
        name: torch.zeros(network.dims[name].size).index_fill(0, indices.cpu(), 1.0) for name, indices in kept.items()
    }
    known = {**dense, **full}
    return {**full, **{name: value for name, value in masked_state(network, alive, known).items() if name in full}}


def _once_each(state: Mapping[str, Tensor], compute: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """A new tensor for every name; names of one tensor get one new tensor, so that what is tied stays tied."""
    made: dict[int, Tensor] = {}
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if id(tensor) not in made:
            made[id(tensor)] = compute(name)
        result[name] = made[id(tensor)]
    return result


def slice_network(network: Network, kept: Kept) -> fx.GraphModule:
    """The program at smaller sizes, as a graph module that accepts any batch size.

    Parameters and buffers keep their dotted names as attributes; gains are not applied.

    Args:
        network: A traced network.
        kept: Kept indices by dim name.

    Returns:
        A module with one placeholder for each input tensor; it returns what the model returns, with containers other
        than tuples, lists and dicts flattened to a tuple.
    """
    return _Slicer(network, kept).run()


def rewritten_call(
    graph: fx.Graph, node: fx.Node, network: Network, kept: Kept, nodes: Mapping[fx.Node, Any]
) -> fx.Node:
    """Append one operator call of the program to another graph, at smaller sizes.

    Args:
        graph: The graph to append to.
        node: The call in the program.
        network: The traced network.
        kept: Kept indices by dim name.
        nodes: The new graph's node for every input of the call.
    """
    return _Calls(graph, network, kept, dict(nodes)).add(node)


class _Calls:
    """Writes operator calls of a program into a new graph, their size arguments recomputed."""

    def __init__(self, graph: fx.Graph, network: Network, kept: Kept, nodes: dict[fx.Node, Any]) -> None:
        self.graph = graph
        self.network = network
        self.sizes = {name: int(indices.numel()) for name, indices in kept.items()}
        self.nodes = nodes
        self.batch_source: fx.Node | None = None
        self._batch_size: fx.Node | None = None

    def add(self, node: fx.Node) -> fx.Node:
        """Write one call."""
        rewrite = self.network.rewrites.get(node.name)
        if rewrite is None or not rewrite.arguments:
            return self.graph.node_copy(node, self.nodes.__getitem__)
        target: Any = rewrite.target or node.target
        given = {} if rewrite.target is not None else _arguments(node)
        values = {name: self.map(value) for name, value in given.items()}
        infer = target is torch.ops.aten.reshape.default
        values.update({name: self._value(value, infer) for name, value in rewrite.arguments.items()})
        args, kwargs = _bind(target, values)
        return self.graph.call_function(target, args, kwargs)

    def map(self, value: Any) -> Any:
        """A value of the program over the new graph's nodes."""
        return fx.node.map_arg(value, self.nodes.__getitem__)

    def _value(self, value: Any, infer: bool) -> Any:
        """The value at the new sizes; one axis that follows the batch may be left to reshape to infer."""
        if isinstance(value, Axis):
            return self._size(value)
        if isinstance(value, tuple):
            following = [index for index, item in enumerate(value) if isinstance(item, Axis) and _follows_batch(item)]
            if infer and len(following) == 1:
                return [-1 if index in following else self._value(item, infer) for index, item in enumerate(value)]
            return [self._value(item, infer) for item in value]
        return self.map(value)

    def _size(self, axis: Axis) -> Any:
        """The size of an axis: an int, or a node where it follows the batch."""
        if not _follows_batch(axis):
            return int(axis.size(self.sizes))
        result: Any = 1
        for term in axis.terms:
            if isinstance(term, Dim):
                value: Any = self._batch() if term.name == BATCH else self.sizes.get(term.name, term.size)
            else:
                value = 0
                for part in term.parts:
                    value = self._compute(operator.add, value, self._size(part), neutral=0)
            result = self._compute(operator.mul, result, value, neutral=1)
        return result

    def _compute(self, operation: Callable[[Any, Any], Any], left: Any, right: Any, neutral: int) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            return operation(left, right)
        if left == neutral:
            return right
        return left if right == neutral else self.graph.call_function(operation, (left, right))

    def _batch(self) -> Any:
        if self.batch_source is None:
            return self.network.batch
        if self._batch_size is None:
            self._batch_size = self.graph.call_function(torch.ops.aten.sym_size.int, (self.batch_source, 0))
        return self._batch_size


class _Slicer:
    """Builds one small graph."""

    def __init__(self, network: Network, kept: Kept) -> None:
        self.network = network
        self.kept = kept
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.nodes: dict[fx.Node, Any] = {}
        self.calls = _Calls(self.graph, network, kept, self.nodes)
        self.parameters = dict(network.model.named_parameters(remove_duplicate=False))
        self.state = slice_state(network, kept)

    def run(self) -> fx.GraphModule:
        """Copy every node, in order; the addition of a removed branch is what it was added to."""
        closed = self.network.closed(self.kept)
        by_name = {node.name: node for node in self.network.program.graph.nodes} if closed else {}
        for node in self.network.program.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node)
            elif node.op == "output":
                self._output(node)
            elif node.op == "get_attr":
                self._attribute(node, str(node.target), getattr(self.network.program.graph_module, str(node.target)))
            elif node.name in closed:
                self.nodes[node] = self.nodes[by_name[closed[node.name].skip]]
            else:
                self.nodes[node] = self.calls.add(node)
                self.nodes[node].meta = {
                    key: node.meta[key] for key in ("nn_module_stack", "stack_trace") if key in node.meta
                }
        if closed:
            self._remove_unused()
        module = fx.GraphModule(self.root, self.graph, class_name="Sliced")
        module.train(False)
        return module

    def _remove_unused(self) -> None:
        """Leave out the calls, parameters and buffers that nothing needs without the removed branches."""
        for node in reversed(self.graph.nodes):
            if not node.users and node.op in ("call_function", "get_attr"):
                self.graph.erase_node(node)
        used = {str(node.target) for node in self.graph.nodes if node.op == "get_attr"}
        for name in [*dict(self.root.named_parameters()), *dict(self.root.named_buffers())]:
            if name not in used:
                path, _, last = name.rpartition(".")
                delattr(self.root.get_submodule(path), last)

    def _placeholder(self, node: fx.Node) -> None:
        if node.name in self.network.inputs:
            self.nodes[node] = self.graph.placeholder(node.name)
            axes = self.network.tensors[node.name]
            if self.calls.batch_source is None and axes and _follows_batch(axes[0]):
                self.calls.batch_source = self.nodes[node]
        elif not node.users:
            return
        elif node.name in self.network.names:
            name = self.network.names[node.name]
            self._attribute(node, name, self.state[name])
        else:
            self._constant(node)

    def _constant(self, node: fx.Node) -> None:
        """A tensor or number the program carries that is neither a parameter nor a buffer."""
        spec = next(spec for spec in self.network.program.graph_signature.input_specs if spec.arg.name == node.name)
        value = self.network.program.constants.get(str(spec.target))
        if isinstance(value, Tensor):
            self._attribute(node, node.name, slice_tensor(value, self.network.tensors[node.name], self.kept))
        else:
            self.nodes[node] = getattr(spec.arg, "value", None)

    def _attribute(self, node: fx.Node, name: str, value: Any) -> None:
        """Set a possibly dotted attribute of the new module: a parameter stays one, another tensor is a buffer."""
        owner = self.root
        *path, last = name.split(".")
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        if name in self.parameters:
            trained = self.parameters[name].requires_grad
            owner.register_parameter(last, nn.Parameter(value.detach().clone(), requires_grad=trained))
        elif isinstance(value, Tensor):
            owner.register_buffer(last, value.detach().clone())
        else:
            setattr(owner, last, value)
        self.nodes[node] = self.graph.get_attr(name)

    def _output(self, node: fx.Node) -> None:
        returned: Any = node.args[0]
        specs = self.network.program.graph_signature.output_specs
        pairs = zip(returned, specs, strict=True)
        results = [self.calls.map(value) for value, spec in pairs if spec.kind is OutputKind.USER_OUTPUT]
        self.graph.output(_restore(results, self.network))


def _follows_batch(axis: Axis) -> bool:
    return any(dim.name == BATCH for dim in axis.dims())


def _arguments(node: fx.Node) -> dict[str, Any]:
    """The given arguments of a call by name."""
    given: dict[str, Any] = {}
    for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if index < len(node.args):
            given[argument.name] = node.args[index]
        elif argument.name in node.kwargs:
            given[argument.name] = node.kwargs[argument.name]
    return given


def _bind(target: Any, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of an operator call, in the schema's order."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for argument in target._schema.arguments:
        if argument.name not in values:
            if not argument.kwarg_only and any(name in values for name in _later_positional(target, argument.name)):
                args.append(argument.default_value)
        elif argument.kwarg_only:
            kwargs[argument.name] = values[argument.name]
        else:
            args.append(values[argument.name])
    return tuple(args), kwargs


def _later_positional(target: Any, name: str) -> list[str]:
    names = [argument.name for argument in target._schema.arguments if not argument.kwarg_only]
    return names[names.index(name) + 1 :]


def _restore(results: list[Any], network: Network) -> Any:
    """The results in the container the model returns."""
    spec = network.program.call_spec.out_spec
    if spec is None or not _is_plain(spec) or spec.num_leaves != len(results):
        return tuple(results)
    return pytree.tree_unflatten(results, spec)


def _is_plain(spec: pytree.TreeSpec) -> bool:
    """Made of tuples, lists and dicts only."""
    return spec.is_leaf() or (spec.type in (tuple, list, dict) and all(_is_plain(child) for child in spec.children()))
