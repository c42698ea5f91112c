"""Which dims can be masked although something reduces over them, and where their masks act.

A dim over which two activations are contracted (the width of an attention head) has no weight that reads it. It is masked
where one of the two activations is *written*: with zero rows, and zero biases, in the projection of the queries, the
products with the keys lose those entries, as removal does. :class:`Sites` walks from an activation back to such weights,
through operators that give zero for zero. The same walk finds the parameters behind a weight that is computed from others.

Dims that norms, means or softmaxes run over are masked at their readers, while :mod:`nasc.graph.live` keeps the
statistics to live entries; that needs the module to call those functions itself, which is tried out once.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx
from torch.utils import _pytree as pytree

from nasc.graph.dims import Axis
from nasc.graph.live import over_axes, record_reductions
from nasc.graph.network import Contraction, Network, Reduction
from nasc.graph.program import evaluating
from nasc.graph.rules._base import COMPUTED_WEIGHT, TWO_ACTIVATIONS
from nasc.graph.state import tied_names

_KIND_OF = {
    **{name: name for name in ("layer_norm", "rms_norm", "group_norm", "mean", "sum", "amax", "amin", "logsumexp")},
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), "variance"),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), "softmax"),
    **dict.fromkeys(("norm", "linalg_vector_norm"), "norm"),
}
"""Kind of reduction by the program's operator."""

_COVERED = frozenset(
    f"{what} runs over it"
    for what in (
        "a layer norm",
        "a group norm",
        "softmax",
        "a mean",
        "a variance",
        "a sum",
        "amax",
        "amin",
        "logsumexp",
    )
) | {TWO_ACTIVATIONS, COMPUTED_WEIGHT}
"""What a mask can take into account, if the place where it happens is one that is known."""

Site = tuple[str, int]
"""A parameter and the axis of it that holds the dims."""


def mark_live(network: Network, reasons: Mapping[str, Sequence[str]]) -> Network:
    """The network with the reductions, and the places for masks, that make more of its dims maskable.

    Args:
        network: A traced network.
        reasons: Everything that reduces over a dim, by its name.
    """
    reductions = tuple(_find_reductions(network))
    matched = _matched_kinds(network, reductions) if reductions else frozenset()
    sites = Finder(network, matched)
    sites.run()
    live = frozenset(
        name
        for name, dim in network.dims.items()
        if dim.frozen is None and dim.reduced and name not in sites.lost and set(reasons[name]) <= _COVERED
    )
    written = tuple(
        Contraction(parameter, axis, frozenset(names & live))
        for (parameter, axis), names in sites.written.items()
        if names & live
    )
    over_live = {one.kind for one in reductions for axis in one.over for dim in axis.dims() if dim.name in live}
    return replace(
        network, written=written, reductions=tuple(one for one in reductions if one.kind in over_live), live=live
    )


# --- reductions -------------------------------------------------------------------------------------------------------


def _find_reductions(network: Network) -> Iterator[Reduction]:
    """Every call of the program that a module could have made to a reducing function, in order."""
    for node in network.program.graph.nodes:
        kind = _KIND_OF.get(_operator(node))
        source = node.args[0] if kind else None
        if kind is None or not isinstance(source, fx.Node):
            continue
        axes = network.tensors.get(source.name)
        if axes is None or not all(isinstance(axis, Axis) for axis in axes):
            continue
        places = _reduced_places(node, kind, len(axes))
        yield Reduction(kind, node.name, len(axes), places, over_axes(axes, places))


def _reduced_places(node: fx.Node, kind: str, rank: int) -> tuple[int, ...]:
    if kind in ("layer_norm", "rms_norm"):
        return tuple(range(rank - len(_argument(node, "normalized_shape")), rank))
    if kind == "group_norm":
        return (1,)
    given = _argument(node, "dim")
    if given is None or given == []:
        return tuple(range(rank))
    return tuple(sorted(int(one) % rank for one in ([given] if isinstance(given, int) else given)))


def _argument(node: fx.Node, name: str) -> Any:
    """An argument of a call by its name; None where it is not given."""
    for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if argument.name == name:
            return node.args[index] if index < len(node.args) else node.kwargs.get(name)
    return None


def _operator(node: fx.Node) -> str:
    schema = getattr(node.target, "_schema", None)
    return str(schema.name).split("::")[1] if node.op == "call_function" and schema is not None else ""


def _matched_kinds(network: Network, reductions: Sequence[Reduction]) -> frozenset[str]:
    """The kinds of reductions that the module calls itself, as often and on shapes like those of the program."""
    with evaluating(network.model):
        called = record_reductions(network.model, network.example_inputs)
    expected, seen = defaultdict(list), defaultdict(list)
    nodes = {node.name: node for node in network.program.graph.nodes}
    for one in reductions:
        expected[one.kind].append(_shape_in_program(network, nodes[one.node]))
    for call in called:
        seen[call.kind].append(call.shape)
    return frozenset(
        kind
        for kind, theirs in expected.items()
        if len(theirs) == len(seen[kind]) and all(map(_alike, theirs, seen[kind]))
    )


def _shape_in_program(network: Network, node: fx.Node) -> tuple[Any, ...]:
    """Shape of a reduction's input; None for an axis that depends on the batch."""
    source: Any = node.args[0]
    axes = network.tensors[source.name]
    return tuple(None if any(dim.name == "batch" for dim in axis.dims()) else int(axis.size()) for axis in axes)


def _alike(expected: tuple[Any, ...], seen: tuple[int, ...]) -> bool:
    return len(expected) == len(seen) and all(a is None or a == b for a, b in zip(expected, seen, strict=True))


# --- where masks of contracted dims act -------------------------------------------------------------------------------

_VIEW_NAMES = """
    view reshape _unsafe_view permute transpose t swapaxes unsqueeze squeeze flatten unflatten expand expand_as view_as
    reshape_as slice select split split_with_sizes chunk unbind clone contiguous dropout alias detach to _to_copy type_as
    repeat roll movedim narrow unfold mT numpy_T
"""
_ZERO_FOR_ZERO_NAMES = """
    neg abs relu relu6 gelu silu tanh leaky_relu hardswish elu selu celu mish square sqrt sin hardtanh rms_norm
"""
_VIEWS = frozenset(_VIEW_NAMES.split())
_ZERO_FOR_ZERO = frozenset(_ZERO_FOR_ZERO_NAMES.split())
_SUMS = frozenset({"add", "sub"})
_PRODUCTS = frozenset({"mul", "matmul", "bmm", "mm"})
_AFFINE_NORMS = frozenset({"layer_norm", "batch_norm", "group_norm", "instance_norm"})
_WRITERS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d"), ("weight", "bias")),
    **{f"conv_transpose{n}d": ("weight", "bias") for n in (1, 2, 3)},
    "addmm": ("mat2", "self"),
}


@dataclass
class Finder:
    """Goes through the products of a program and finds, for every dim they sum over, weights that write it.

    Args:
        network: The traced network.
        matched: Kinds of reductions whose statistics can be kept to live entries.
        written: Dims by the place their mask acts at.
        lost: Dims that some operator reduces over in a way no mask can mend.
    """

    network: Network
    matched: frozenset[str]
    written: dict[Site, set[str]] = field(default_factory=lambda: defaultdict(set))
    lost: set[str] = field(default_factory=set)
    known: dict[tuple[fx.Node, str], frozenset[Site] | None] = field(default_factory=dict)
    first: dict[str, str] = field(init=False)
    read: set[Site] = field(init=False)

    def __post_init__(self) -> None:
        self.read = {(one.parameter, one.axis) for one in self.network.contractions}
        self.first = {name: tied[0] for name, tied in tied_names(self.network.model).items()}

    def run(self) -> None:
        """Look at every call of the program."""
        for node in self.network.program.graph.nodes:
            if node.op == "call_function":
                self._look(node)

    def _look(self, node: fx.Node) -> None:
        name, rewrite = _operator(node), self.network.rewrites.get(node.name)
        if name in _KIND_OF:
            if _KIND_OF[name] not in self.matched:
                self.lost |= self._dims(node.args[0], _reduced_places_of(self.network, node))
        elif name == "scaled_dot_product_attention":
            self.lost |= self._dims(node.args[1], (-2,))
            self._contract([(node.args[0], -1), (node.args[1], -1)])
        elif name in ("matmul", "bmm", "mm", "baddbmm", "mv", "dot"):
            left, right = node.args[-2:]
            self._contract([(right, -2 if len(self._axes(right)) > 1 else 0), (left, -1)])
        elif name == "einsum":
            self._einsum(node)
        elif name in _WRITERS and name != "addmm":
            weight: Any = node.args[1]
            self._contract([(weight, 0 if "transpose" in name else 1), (node.args[0], -1 if name == "linear" else 1)])
        elif rewrite is not None and rewrite.counted:
            for source in node.all_input_nodes:
                self.lost |= self._dims(source, range(len(self._axes(source))))

    def _einsum(self, node: fx.Node) -> None:
        terms, _, output = str(node.args[0]).replace(" ", "").partition("->")
        operands: Any = node.args[1]
        pairs = list(zip(terms.split(","), operands, strict=True))
        for letter in sorted(set(terms) - set(output) - {","}):
            self._contract([(one, letters.index(letter)) for letters, one in pairs if letter in letters])

    def _contract(self, operands: Sequence[tuple[Any, int]]) -> None:
        """For every dim that is summed over: where a zero mask makes one of the factors zero."""
        for name in sorted(self._dims(operands[0][0], (operands[0][1],))):
            dim = self.network.dims.get(name)
            if dim is None or dim.frozen is not None or dim.reduced is None:
                continue  # its readers mask it
            found = [sites for one, _ in operands if (sites := self.search(one, name)) is not None]
            if not found:
                self.lost.add(name)
                continue
            best = next((sites for sites in found if sites <= self.read), found[0])
            for site in best - self.read:
                self.written[site].add(name)

    def search(self, node: Any, name: str) -> frozenset[Site] | None:
        """Where a zero mask makes a tensor zero at the entries of a dim; None where that is not known.

        Without a name: where zeros make all of the tensor zero.
        """
        if not isinstance(node, fx.Node) or (name and name not in self._dims(node, range(len(self._axes(node))))):
            return None
        key = node, name
        if key not in self.known:
            self.known[key] = None
            self.known[key] = self._search(node, name)
        return self.known[key]

    def _search(self, node: fx.Node, name: str) -> frozenset[Site] | None:
        if node.op == "placeholder":
            return self._parameter_site(node, name)
        operator = "getitem" if node.op == "call_function" and "getitem" in str(node.target) else _operator(node)
        inputs: tuple[Any, ...] = node.args
        if operator in _WRITERS:
            return self._all([_argument(node, role) for role in _WRITERS[operator]], name)
        if operator == "rms_norm" and (site := self.search(_argument(node, "weight"), name)) is not None:
            return site
        if operator == "getitem" or operator in _VIEWS or operator in _ZERO_FOR_ZERO:
            return self.search(inputs[0], name)
        if operator in _AFFINE_NORMS:
            return self._all([_argument(node, "weight"), _argument(node, "bias")], name)
        if operator in _SUMS:
            return self._all(inputs[:2], name)
        if operator in _PRODUCTS:
            return next((sites for one in inputs[:2] if (sites := self.search(one, name)) is not None), None)
        if operator == "div":
            return self.search(inputs[0], name)
        if operator == "cat":
            parts: Any = inputs[0]
            holds = [one for one in parts if not name or name in self._dims(one, range(len(self._axes(one))))]
            return self._all(holds, name)
        if operator == "embedding":
            return self.search(inputs[0], name)
        if operator == "scaled_dot_product_attention":
            return self.search(inputs[2], name)
        return None

    def _all(self, nodes: Sequence[Any], name: str) -> frozenset[Site] | None:
        """The places of several tensors that all have to be zero; those that are not given are."""
        found: frozenset[Site] = frozenset()
        given = [node for node in nodes if node is not None]
        for node in given:
            sites = self.search(node, name)
            if sites is None:
                return None
            found |= sites
        return found if given else None

    def _parameter_site(self, node: fx.Node, name: str) -> frozenset[Site] | None:
        parameter = self.network.names.get(node.name)
        if parameter is None:
            return None
        for place, axis in enumerate(self.network.parameters[parameter]):
            if not name or any(dim.name == name for dim in axis.dims()):
                return frozenset({(self.first[parameter], place)})
        return None

    def _axes(self, node: Any) -> tuple[Axis, ...]:
        """The axes of a tensor, those of all tensors of a list; none for anything else."""
        axes = self.network.tensors.get(node.name) if isinstance(node, fx.Node) else None
        leaves = pytree.tree_leaves(axes) if axes is not None else []
        return tuple(axis for axis in leaves if isinstance(axis, Axis))

    def _dims(self, node: Any, places: Sequence[int]) -> set[str]:
        axes = self._axes(node)
        return {dim.name for place in places if -len(axes) <= place < len(axes) for dim in axes[place].dims()}


def _reduced_places_of(network: Network, node: fx.Node) -> tuple[int, ...]:
    source: Any = node.args[0]
    axes = network.tensors.get(getattr(source, "name", ""), ())
    return _reduced_places(node, _KIND_OF[_operator(node)], len(axes))
