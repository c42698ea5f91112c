"""Depth as dims: residual branches that a gate of size one removes.

Where a network adds something to what it was computed from, ``y = x + f(x)``, the branch ``f`` may go and ``y = x`` is left.
:func:`with_depth` finds these additions in the program, whatever the model is made of, and gives each branch a dim of
size 1, its gate: kernels and parameters of the branch are priced times the gate, a mask on the gate scales the last
weights of the branch (so a zero makes ``f`` vanish in the untouched module), and a selection that keeps no entry of the
gate leaves the branch out of the sliced program. Methods search depth as they search widths.

What is after the addition stays (the norm of a post-norm transformer, the clamp of a ResNet), as does a branch beside a
shortcut that is a layer itself: without it nothing would stand for the block.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from nasc.graph.dims import Dim
from nasc.graph.network import Branch, Kernel, Network
from nasc.graph.sites import Finder, Site

_ADDITIONS = frozenset({torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor})


def with_depth(network: Network) -> Network:
    """The network with a gate for every residual branch that can be removed.

    Args:
        network: A traced network.

    Returns:
        The same network with more dims, named after the module that ends the branch with ``:branch`` behind it; each
        has size 1, is maskable, and may be kept empty in a selection.
    """
    nodes = list(network.program.graph.nodes)
    ancestors = _ancestors(nodes)
    place = {node: index for index, node in enumerate(nodes)}
    finder = Finder(network, frozenset())
    branches: dict[str, Branch] = {}
    for node in nodes:
        found = _residual(node, ancestors, place, network)
        if found is None:
            continue
        skip, last = found
        gone = _dead_without(node, last)
        sites = finder.search(last, "")
        if last not in gone or not sites or not _own(sites, gone, network, finder):
            continue
        name = _name(sites, branches)
        branches[name] = Branch(name, node.name, skip.name, frozenset(p for p, _ in sites), _parameters(gone, network))
        network = _gated(network, Dim(name, 1), {one.name for one in (*gone, node)})
    live = network.live | set(branches)
    return replace(network, branches=branches, live=live)


def _ancestors(nodes: Sequence[fx.Node]) -> dict[fx.Node, int]:
    """Everything a node depends on, as a set of bits: bit i is node i of the program."""
    result: dict[fx.Node, int] = {}
    bit = {node: 1 << index for index, node in enumerate(nodes)}
    for node in nodes:
        bits = 0
        for source in node.all_input_nodes:
            bits |= result[source] | bit[source]
        result[node] = bits
    return result


def _residual(
    node: fx.Node, ancestors: Mapping[fx.Node, int], place: Mapping[fx.Node, int], network: Network
) -> tuple[fx.Node, fx.Node] | None:
    """What stays and what was computed from it, for an addition of the two."""
    if node.target not in _ADDITIONS or node.kwargs.get("alpha", 1) != 1:
        return None
    left, right = node.args[:2]
    if not isinstance(left, fx.Node) or not isinstance(right, fx.Node) or not _same_shape(node, left, right):
        return None
    for skip, last in ((left, right), (right, left)):
        if ancestors[last] >> place[skip] & 1 and skip.name not in network.names:
            return skip, last
    return None


def _same_shape(node: fx.Node, left: fx.Node, right: fx.Node) -> bool:
    shapes = {tuple(one.meta["val"].shape) for one in (node, left, right) if isinstance(one.meta.get("val"), Tensor)}
    dtypes = {one.meta["val"].dtype for one in (node, left, right)}
    return len(shapes) == 1 and len(dtypes) == 1


def _dead_without(addition: fx.Node, last: fx.Node) -> set[fx.Node]:
    """What nobody needs once the addition no longer reads ``last``."""
    dead: set[fx.Node] = set()
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node in dead or not all(user in dead or (node is last and user is addition) for user in node.users):
            continue
        dead.add(node)
        waiting.extend(node.all_input_nodes)
    return dead


def _own(sites: Iterable[Site], gone: set[fx.Node], network: Network, finder: Finder) -> bool:
    """The weights that would be scaled belong to this branch alone, under all their names."""
    scaled = {parameter for parameter, _ in sites}
    return all(
        node in gone
        for node in network.program.graph.nodes
        if node.name in network.names and node.users and finder.first[network.names[node.name]] in scaled
    )


def _parameters(gone: set[fx.Node], network: Network) -> frozenset[str]:
    """Names of the parameters that go with a branch: those that are read nowhere else, under none of their names."""
    return frozenset(network.names[node.name] for node in gone if node.name in network.names)


def _name(sites: Iterable[Site], taken: Mapping[str, Any]) -> str:
    path = sorted(parameter for parameter, _ in sites)[-1].rpartition(".")[0]
    name, count = f"{path}:branch", 1
    while name in taken:
        count += 1
        name = f"{path}:branch{count}"
    return name


def _gated(network: Network, gate: Dim, nodes: set[str]) -> Network:
    def gated(kernel: Kernel) -> Kernel:
        return replace(kernel, gates=(*kernel.gates, gate)) if kernel.node in nodes else kernel

    return replace(
        network, dims={**network.dims, gate.name: gate}, kernels=tuple(gated(kernel) for kernel in network.kernels)
    )
