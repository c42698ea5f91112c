"""In-place operators replaced by functional ones, through views too, so that every tensor of a graph has one value.

``aten.add_(x, y)`` becomes ``aten.add(x, y)`` and whoever reads ``x`` later reads the sum. Where ``x`` is a slice of a base,
the sum is scattered into the base, and later readers of the base, or of another view of it, read that.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

_SCATTERS = {aten.slice.Tensor: aten.slice_scatter.default, aten.select.int: aten.select_scatter.default}
_MAY_SHARE = frozenset({"reshape", "contiguous", "to", "flatten", "expand_as", "view_as", "reshape_as", "dropout"})


def make_functional(graph: fx.Graph) -> bool:
    """Replace every in-place operator of a graph.

    Returns:
        False where one writes through a view that is not made of slices and selections while other values that share its
        memory are read later; the graph is then partly replaced but still computes the same.
    """
    memory = _Memory({node: place for place, node in enumerate(graph.nodes)})
    for node in list(graph.nodes):
        if _is_in_place(node) and not _replace(graph, node, memory):
            return False
        memory.add(node)
    return True


@dataclass
class _Memory:
    """Which nodes share memory, and the order in which nodes run.

    Args:
        order: Place in the execution order; nodes that a write adds have the place of that write.
        base: The node whose memory a node shares; itself where it has its own.
        sharing: All nodes of a base.
    """

    order: dict[fx.Node, int]
    base: dict[fx.Node, fx.Node] = field(default_factory=dict)
    sharing: dict[fx.Node, list[fx.Node]] = field(default_factory=dict)

    def add(self, node: fx.Node) -> None:
        """Note a node; what it reads was noted before."""
        source = _shares_with(node)
        self.base[node] = node if source is None else self.base[source]
        self.sharing.setdefault(self.base[node], []).append(node)

    def add_after(self, graph: fx.Graph, last: fx.Node, target: Any, args: tuple[Any, ...], value: Any) -> fx.Node:
        """Put a new call right after a node."""
        with graph.inserting_after(last):
            new = graph.call_function(target, args)
        new.meta = {**last.meta, "val": value}
        self.order[new] = self.order[last]
        self.add(new)
        return new

    def reads_after(self, writer: fx.Node) -> Callable[[fx.Node], bool]:
        """Whether a node runs after a writer."""
        return lambda user: self.order[user] > self.order[writer]


def _is_in_place(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def _shares_with(node: fx.Node) -> fx.Node | None:
    """The node whose memory this node's result may share."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or not node.args:
        return None
    source = node.args[0]
    if not isinstance(source, fx.Node):
        return None
    if node.target is operator.getitem:
        return source
    if schema is None:
        return None
    name = schema.name.split("::")[1]
    shares = name in _MAY_SHARE or any(result.alias_info is not None for result in schema.returns)
    return source if shares else None


def _functional_form(target: Any) -> Any:
    """``aten.add_.Tensor`` gives ``aten.add.Tensor``; None where there is none."""
    schema = target._schema
    name = schema.name.split("::")[1]
    if not schema.name.startswith("aten::") or not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(aten, name[:-1], None)
    return getattr(packet, schema.overload_name or "default", None) if packet is not None else None


def _replace(graph: fx.Graph, node: fx.Node, memory: _Memory) -> bool:
    """Make one in-place call functional and give its result to all who read it later under any name."""
    written, functional = node.args[0], _functional_form(node.target)
    if functional is None or not isinstance(written, fx.Node):
        return False
    base, is_later = memory.base[written], memory.reads_after(node)
    stale = [other for other in memory.sharing[base] if other is not written and any(map(is_later, other.users))]
    chains = {other: _chain(other, base) for other in (written, *stale)}
    if stale and any(chain is None for chain in chains.values()):
        return False
    _call(node, functional)
    written.replace_all_uses_with(node, delete_user_cb=is_later)
    if stale:
        last = current = _scatter(graph, node, chains[written] or [], memory)
        for other in stale:
            seen = last = _view_again(graph, current, last, chains[other] or [], memory)
            other.replace_all_uses_with(seen, delete_user_cb=is_later)
    return True


def _call(node: fx.Node, functional: Any) -> None:
    """Turn an in-place call into a functional one; copying equals the source where nothing is broadcast or cast."""
    source = node.args[1] if len(node.args) > 1 else None
    if functional is aten.copy.default and isinstance(source, fx.Node):
        new, old = source.meta["val"], node.meta["val"]
        if new.shape == old.shape and new.dtype == old.dtype:
            node.target, node.args = aten.clone.default, (source,)
            return
    node.target = functional


def _chain(node: fx.Node, base: fx.Node) -> list[fx.Node] | None:
    """The views that lead from a base to a node, outermost first; None if one of them is no slice or selection."""
    chain: list[fx.Node] = []
    while node is not base:
        source = node.args[0]
        if node.target not in _SCATTERS or not isinstance(source, fx.Node):
            return None
        chain.insert(0, node)
        node = source
    return chain


def _scatter(graph: fx.Graph, value: fx.Node, chain: list[fx.Node], memory: _Memory) -> fx.Node:
    """The base's new value: what was written to a view of it, put back view by view."""
    last = value
    for view in reversed(chain):
        parent: Any = view.args[0]
        target = _SCATTERS[view.target]  # type: ignore[index]
        last = memory.add_after(graph, last, target, (parent, last, *view.args[1:]), parent.meta["val"])
    return last


def _view_again(graph: fx.Graph, value: fx.Node, last: fx.Node, chain: list[fx.Node], memory: _Memory) -> fx.Node:
    """The same view of a new value, placed after ``last``."""
    for view in chain:
        last = memory.add_after(graph, last, view.target, (value, *view.args[1:]), view.meta["val"])
        value = last
    return value
