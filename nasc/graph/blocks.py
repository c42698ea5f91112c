"""Where a network can end early: the blocks of its containers, and the shorter ways that skip the last of them.

A way with depth b runs the first b blocks of the network and goes on behind the last one, with the same head
(sortednet.md 2.3: a prefix of the whole network). The value after block b stands in for the value after the last block;
where it has fewer channels the head reads its first ones, where the picture is larger the head's pooling takes it.
Blocks are found in the model's own containers (``nn.Sequential``, ``nn.ModuleList``); whether a way exists is decided by
the program: nothing behind the last block may need anything that is skipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from nasc.graph.dims import Axis, Dim
from nasc.graph.network import Network
from nasc.graph.rules._base import module_path
from nasc.graph.running import Detour, PrefixState, Program, Skip
from nasc.graph.state import full_state

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Exit:
    """A depth a network can have.

    Args:
        blocks: How many blocks are run, from the first on.
        name: Dotted path of the last block that is run.
        detour: The way through the program; None for the whole network.
    """

    blocks: int
    name: str
    detour: Detour | None


def find_exits(network: Network, program: Program | None = None) -> tuple[Exit, ...]:
    """Every depth the network can have, ascending; the last one is the whole network.

    Args:
        network: A traced network.
        program: Its program, compiled; made anew where not given.

    Returns:
        At least one exit. A network without repeated blocks has only its whole self.
    """
    program = program or Program(network)
    ends = list(_block_ends(network))
    while len(ends) > 1:
        exits = list(_early_exits(program, ends))
        if exits:
            return (*exits, Exit(len(ends), ends[-1][0], None))
        ends.pop()  # what looks like the last block may be the head: a container often holds both
    return (Exit(1, "", None),)


def _early_exits(program: Program, ends: list[tuple[str, str]]) -> Iterator[Exit]:
    """The ways from the end of each block to the end of the last one, as far as they exist."""
    for number, (path, node) in enumerate(ends[:-1], start=1):
        detour = _detour(program.network, node, ends[-1][1])
        if detour is not None and _leads(program, detour):
            yield Exit(number, path, detour)


def find_skips(network: Network, program: Program | None = None) -> tuple[Skip, ...]:
    """Blocks that can be left out alone, as LayerDrop does: what comes in stands in for what goes out.

    Args:
        network: A traced network.
        program: Its program, compiled; made anew where not given.

    Returns:
        A skip for every block but the first whose input and output have the same axes, in order.
    """
    program = program or Program(network)
    ends = [node for _, node in _block_ends(network)]
    found = []
    for source, place in pairwise(ends):
        alike = network.tensors.get(source) == network.tensors.get(place)
        nodes = program.node_names
        left_out = set(nodes[nodes.index(source) + 1 : nodes.index(place) + 1])
        if alike and not left_out & set(program.needed(skips=frozenset({(place, source)}))):
            found.append((place, source))
    return tuple(found)


def _block_ends(network: Network) -> Iterator[tuple[str, str]]:
    """Path and output (node name) of every block that has one output, in the order in which they run."""
    order = {node.name: place for place, node in enumerate(network.program.graph.nodes)}
    found = []
    for path in _block_paths(network.model):
        node = _only_output(network, path)
        if node is not None:
            found.append((order[node], path, node))
    yield from ((path, node) for _, path, node in sorted(found))


def _block_paths(model: nn.Module) -> list[str]:
    """Children of containers that hold two weights or more; where there are none, those with one."""
    for least in (2, 1):
        paths = list(_repeated(model, "", least))
        if len(paths) > 1:
            return paths
    return []


def _repeated(module: nn.Module, path: str, least: int) -> Iterator[str]:
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        is_block = isinstance(module, _CONTAINERS) and _weights(child) >= least and not _holds_blocks(child, least)
        if is_block:
            yield inner
        else:
            yield from _repeated(child, inner, least)


def _holds_blocks(module: nn.Module, least: int) -> bool:
    """A stage rather than a block: a container most of whose weights lie in children that could be blocks themselves."""
    if not isinstance(module, _CONTAINERS):
        return False
    inside = sum(count for child in module.children() if (count := _weights(child)) >= max(least, 2))
    return 2 * inside > _weights(module)


def _weights(module: nn.Module) -> int:
    return sum(parameter.ndim > 1 for parameter in module.parameters())


def _only_output(network: Network, path: str) -> str | None:
    """The one value of a block that anything outside reads, None where there are several."""
    inside = {
        node
        for node in network.program.graph.nodes
        if node.op == "call_function" and f"{module_path(node)}.".startswith(f"{path}.")
    }
    leaving = [node for node in inside if any(user not in inside for user in node.users)]
    return leaving[0].name if len(leaving) == 1 else None


def _detour(network: Network, source: str, place: str) -> Detour | None:
    """The detour from one block's output to another's; None where their axes cannot be matched."""
    ours: Any = network.tensors.get(source)
    theirs: Any = network.tensors.get(place)
    if not _plain(ours) or not _plain(theirs) or len(ours) != len(theirs):
        return None
    narrowed, renamed = None, []
    for index, (axis, other) in enumerate(zip(ours, theirs, strict=True)):
        if axis == other or not (_named(network, axis) or _named(network, other)):
            continue
        if narrowed is not None or not (_single(network, axis) and _single(network, other)):
            return None
        narrowed = index
        renamed.append((_name(other), _name(axis)))
    return Detour(source, place, narrowed, tuple(renamed))


def _plain(axes: Any) -> bool:
    return isinstance(axes, tuple) and all(isinstance(axis, Axis) for axis in axes)


def _named(network: Network, axis: Axis) -> bool:
    return any(dim.name in network.dims for dim in axis.dims())


def _single(network: Network, axis: Axis) -> bool:
    return len(axis.terms) == 1 and isinstance(axis.terms[0], Dim) and axis.terms[0].name in network.dims


def _name(axis: Axis) -> str:
    return next(axis.dims()).name


def _leads(program: Program, detour: Detour) -> bool:
    """The way skips all between the two values, and the head takes what stands in."""
    nodes = program.node_names
    skipped = set(nodes[nodes.index(detour.source) + 1 : nodes.index(detour.place) + 1])
    if skipped & set(program.needed(detour)):
        return False
    network = program.network
    weights = PrefixState(network).weights(full_state(network.model))
    with torch.no_grad():
        whole = program.run(weights, {}, network.example_inputs)
        try:
            short = program.run(weights, {}, network.example_inputs, detour=detour)
        except (RuntimeError, ValueError, IndexError):
            return False
    return bool(_shapes(short) == _shapes(whole))


def _shapes(value: Any) -> Any:
    leaves = torch.utils._pytree.tree_leaves(value)
    return [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, torch.Tensor)]
