"""The program at any sizes, run directly: no small graph is built and no weight is copied.

:func:`nasc.graph.slicing.slice_network` writes one small graph per choice of sizes; a family of a thousand members would
need a thousand. Here the program is compiled once to a list of operator calls whose size arguments are filled in when it
runs, on views of the full-size weights: a prefix of a dim is a slice, and a slice is a view. Gradients land in the
full-size parameters, running statistics are updated in the full-size buffers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export.graph_signature import OutputKind
from torch.utils import _pytree as pytree

from nasc.graph.dims import Axis
from nasc.graph.network import Network
from nasc.graph.slicing import _arguments, _bind, _restore, slice_tensor
from nasc.graph.walk import BATCH

_MODE_ARGUMENTS = {
    "batch_norm": "training",
    "dropout": "train",
    "feature_dropout": "train",
    "alpha_dropout": "train",
    "feature_alpha_dropout": "train",
}
"""The argument by which an operator knows that the model trains; exported programs are in evaluation mode."""


@dataclass(frozen=True)
class _Slot:
    """Stands for the value of a node."""

    index: int


@dataclass(frozen=True)
class _Call:
    """One operator call; arguments hold slots for tensors and axes for sizes."""

    name: str
    index: int
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    mode: int | None
    reads: frozenset[int]


@dataclass(frozen=True)
class _Plan:
    """What is run on one way through the program.

    Args:
        calls: The operator calls, in order.
        weights: Place, dotted name and first reader of every parameter and buffer that is read.
        heirs: By the place of a value, the places of skipped values that it stands in for as it is.
    """

    calls: tuple[_Call, ...]
    weights: tuple[tuple[int, str, int], ...]
    heirs: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Detour:
    """A shorter way through the program: one value stands in for a later one, and what lies between is not run.

    Args:
        source: Node name of the value that stands in.
        place: Node name of the value it stands for.
        narrowed: Axis of both to cut to the smaller of the two lengths, None where they are alike.
        renamed: Dims of the place and the dims of the source whose sizes they take behind it.
    """

    source: str
    place: str
    narrowed: int | None = None
    renamed: tuple[tuple[str, str], ...] = ()


Skip = tuple[str, str]
"""Node names of a value that is not computed and of the earlier one, with the same axes, that stands in for it."""

Weights = Callable[[str, Mapping[str, int]], Tensor]
"""Gives a parameter or buffer by dotted name, at sizes."""


class Program:
    """A traced network as a list of operator calls.

    Args:
        network: The traced model.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        graph = network.program.graph
        self._index = {node: place for place, node in enumerate(graph.nodes)}
        self._named = {node.name: place for node, place in self._index.items()}
        self._constants: list[tuple[int, Any, tuple[Axis, ...] | None]] = []
        self._weights: list[tuple[int, str]] = []
        self._inputs: dict[str, int] = {}
        self.calls: list[_Call] = []
        self._read_nodes()
        self._plans: dict[tuple[Detour | None, frozenset[Skip]], _Plan] = {}

    def _read_nodes(self) -> None:
        for node, place in self._index.items():
            if node.op == "placeholder":
                self._read_placeholder(node, place)
            elif node.op == "get_attr":
                value = getattr(self.network.program.graph_module, str(node.target))
                self._constants.append((place, value, None))
            elif node.op == "output":
                self._results = self._template(_user_outputs(self.network, node))
            else:
                self.calls.append(self._compile(node, place))

    def _read_placeholder(self, node: fx.Node, place: int) -> None:
        if node.name in self.network.inputs:
            self._inputs[node.name] = place
        elif node.name in self.network.names:
            if node.users:
                self._weights.append((place, self.network.names[node.name]))
        else:
            specs = self.network.program.graph_signature.input_specs
            spec = next(spec for spec in specs if spec.arg.name == node.name)
            value = self.network.program.constants.get(str(spec.target), getattr(spec.arg, "value", None))
            axes = self.network.tensors.get(node.name) if isinstance(value, Tensor) else None
            self._constants.append((place, value, axes))

    def _compile(self, node: fx.Node, place: int) -> _Call:
        rewrite, target = self.network.rewrites.get(node.name), node.target
        args: Any = node.args
        kwargs: Any = node.kwargs
        if rewrite is not None and rewrite.arguments:
            target = rewrite.target or node.target
            given = {} if rewrite.target is not None else _arguments(node)
            args, kwargs = _bind(target, {**given, **rewrite.arguments})
        name = getattr(getattr(target, "_schema", None), "name", "").partition("::")[2]
        mode = _mode_place(target, _MODE_ARGUMENTS[name]) if name in _MODE_ARGUMENTS else None
        args, kwargs = self._template(args), self._template(dict(kwargs))
        assert callable(target)
        return _Call(node.name, place, target, args, kwargs, mode, frozenset(_slots((args, kwargs))))

    def _template(self, value: Any) -> Any:
        """The value with slots in place of nodes."""
        if isinstance(value, fx.Node):
            return _Slot(self._index[value])
        if isinstance(value, Axis):
            return value
        if isinstance(value, (list, tuple)):
            items = [self._template(item) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
        if isinstance(value, dict):
            return {key: self._template(item) for key, item in value.items()}
        return value

    @property
    def node_names(self) -> tuple[str, ...]:
        """The operator calls, in order."""
        return tuple(call.name for call in self.calls)

    def needed(self, detour: Detour | None = None, skips: frozenset[Skip] = frozenset()) -> tuple[str, ...]:
        """The operator calls that the result depends on, on a way through the program."""
        return tuple(call.name for call in self._plan(detour, skips).calls)

    def reads(self, sizes: Mapping[str, int], detour: Detour | None = None) -> list[tuple[str, Mapping[str, int]]]:
        """Every parameter and buffer that is read, by dotted name, and the sizes it is read at."""
        behind = sizes if detour is None else {**sizes, **_renamed(self.network, detour, sizes)}
        place_of = -1 if detour is None else self._named[detour.place]
        return [(name, behind if first > place_of >= 0 else sizes) for _, name, first in self._plan(detour).weights]

    def _plan(self, detour: Detour | None, skips: frozenset[Skip] = frozenset()) -> _Plan:
        key = detour, skips
        if key not in self._plans:
            swap = {self._named[place]: self._named[source] for place, source in skips}
            if detour is not None:
                swap[self._named[detour.place]] = self._named[detour.source]

            def stands_in(slot: int) -> int:
                while slot in swap:
                    slot = swap[slot]
                return slot

            wanted = set(map(stands_in, _slots(self._results)))
            chosen: list[_Call] = []
            for call in reversed(self.calls):
                if call.index in wanted:
                    chosen.append(call)
                    wanted |= set(map(stands_in, call.reads))
            chosen.reverse()
            first = {slot: call.index for call in reversed(chosen) for slot in call.reads}
            weights = tuple((place, name, first[place]) for place, name in self._weights if place in first)
            heirs: dict[int, tuple[int, ...]] = {}
            for place, _ in skips:
                source = stands_in(self._named[place])
                heirs[source] = (*heirs.get(source, ()), self._named[place])
            self._plans[key] = _Plan(tuple(chosen), weights, heirs)
        return self._plans[key]

    def run(
        self,
        weights: Weights,
        sizes: Mapping[str, int],
        inputs: tuple[Any, ...],
        *,
        training: bool = False,
        detour: Detour | None = None,
        skips: frozenset[Skip] = frozenset(),
    ) -> Any:
        """Compute the network at some sizes.

        Args:
            weights: Gives a parameter or buffer by dotted name at the sizes it is asked for, see :class:`PrefixState`.
            sizes: Size by dim name; a dim that is not named has its dense size.
            inputs: The positional inputs of one call, of any batch size where the network allows it.
            training: Batch norms use and update the batch's statistics, dropout drops.
            detour: A shorter way through the program; sizes behind it are renamed as it says.
            skips: Values that are left out, each with what stands in for it (:func:`nasc.graph.blocks.find_skips`).

        Returns:
            What the model returns.
        """
        values: list[Any] = [None] * len(self._index)
        leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
        for place, leaf in zip(self._inputs.values(), leaves, strict=True):
            values[place] = leaf
        sizes = {**sizes, BATCH: self._batch_of(leaves)}
        behind = sizes if detour is None else {**sizes, **_renamed(self.network, detour, sizes)}
        prefixes = _Prefixes(behind)
        for place, value, axes in self._constants:
            values[place] = slice_tensor(value, axes, prefixes.kept(axes)) if axes else value
        source = place_of = -1
        if detour is not None:
            source, place_of = self._named[detour.source], self._named[detour.place]
        plan = self._plan(detour, skips)
        for place, name, first_read in plan.weights:
            values[place] = weights(name, behind if first_read > place_of >= 0 else sizes)
        for call in plan.calls:
            here = behind if call.index > place_of >= 0 else sizes
            args, kwargs = _fill(call.args, values, here), _fill(call.kwargs, values, here)
            if training and call.mode is not None:
                args = (*args[: call.mode], True, *args[call.mode + 1 :])
            values[call.index] = call.target(*args, **kwargs)
            for heir in plan.heirs.get(call.index, ()):
                values[heir] = values[call.index]
            if call.index == source and detour is not None:
                values[place_of] = self._stand_in(values[source], detour, behind)
        return _restore(_fill(list(self._results), values, behind), self.network)

    def _batch_of(self, leaves: Sequence[Tensor]) -> int:
        return int(leaves[0].shape[0]) if leaves and leaves[0].ndim and self.network.batch is not None else 1

    def _stand_in(self, value: Tensor, detour: Detour, sizes: Mapping[str, int]) -> Tensor:
        if detour.narrowed is None:
            return value
        length = int(self.network.tensors[detour.place][detour.narrowed].size(sizes))
        return value.narrow(detour.narrowed, 0, min(length, value.shape[detour.narrowed]))


def _mode_place(target: Any, name: str) -> int:
    return [argument.name for argument in target._schema.arguments].index(name)


def _user_outputs(network: Network, node: fx.Node) -> list[Any]:
    returned: Any = node.args[0]
    specs = network.program.graph_signature.output_specs
    return [value for value, spec in zip(returned, specs, strict=True) if spec.kind is OutputKind.USER_OUTPUT]


def _slots(value: Any) -> set[int]:
    if isinstance(value, _Slot):
        return {value.index}
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return set().union(*map(_slots, value)) if value else set()
    return set()


def _fill(value: Any, values: Sequence[Any], sizes: Mapping[str, int]) -> Any:
    """A template with what its slots and axes stand for."""
    if isinstance(value, _Slot):
        return values[value.index]
    if isinstance(value, Axis):
        return int(value.size(sizes))
    if isinstance(value, tuple):
        return tuple(_fill(item, values, sizes) for item in value)
    if isinstance(value, list):
        return [_fill(item, values, sizes) for item in value]
    if isinstance(value, dict):
        return {key: _fill(item, values, sizes) for key, item in value.items()}
    return value


def _renamed(network: Network, detour: Detour, sizes: Mapping[str, int]) -> dict[str, int]:
    """Sizes of the dims behind a detour: those of the value that stands in, as far as the dense dim reaches."""
    dims = network.dims
    return {place: min(dims[place].size, sizes.get(source, dims[source].size)) for place, source in detour.renamed}


class _Prefixes:
    """Kept indices of prefixes of some sizes."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes

    def kept(self, axes: Sequence[Axis]) -> dict[str, Tensor]:
        cut = {dim.name: dim.size for axis in axes for dim in axis.dims() if dim.name in self.sizes}
        return {
            name: torch.arange(self.sizes[name])
            for name, size in cut.items()
            if name != BATCH and self.sizes[name] < size
        }


class PrefixState:
    """Views of full-size tensors cut to the first entries of every dim.

    An axis whose kept entries are themselves a prefix (a plain dim, the outermost factor of heads x head_dim) is a view
    and copies nothing; others (the inner factor, a concatenation) are gathered. Which case holds is found once per
    parameter and sizes.

    Args:
        network: The traced model.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._dims = {
            name: tuple(dict.fromkeys(dim.name for axis in axes for dim in axis.dims()))
            for name, axes in network.parameters.items()
        }
        self._cuts: dict[tuple[str, tuple[int | None, ...]], tuple[int | Tensor | None, ...]] = {}

    def cut(self, name: str, tensor: Tensor, sizes: Mapping[str, int]) -> Tensor:
        """One tensor at some sizes; the tensor itself where nothing is cut. Differentiable."""
        key = name, tuple(sizes.get(dim) for dim in self._dims[name])
        if key not in self._cuts:
            self._cuts[key] = tuple(_cut_of(axis, sizes) for axis in self.network.parameters[name])
        for place, cut in enumerate(self._cuts[key]):
            if isinstance(cut, int):
                tensor = tensor.narrow(place, 0, cut)
            elif cut is not None:
                tensor = tensor.index_select(place, cut.to(tensor.device))
        return tensor

    def weights(self, state: Mapping[str, Tensor]) -> Weights:
        """What :meth:`Program.run` asks for, from full-size tensors by dotted name."""
        return lambda name, sizes: self.cut(name, state[name], sizes)


def _cut_of(axis: Axis, sizes: Mapping[str, int]) -> int | Tensor | None:
    """How an axis is cut: None (whole), the length of a prefix, or the kept indices."""
    kept = _Prefixes(sizes).kept((axis,))
    if not kept:
        return None
    indices = axis.kept(kept)
    length = indices.numel()
    return length if torch.equal(indices, torch.arange(length)) else indices
