"""A member of a family as a graph of its own: a prefix of every dim, and a shorter way through the program."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from nasc.graph.network import Network
from nasc.graph.running import Detour, PrefixState, Program, _renamed
from nasc.graph.slicing import _Slicer, slice_network
from nasc.graph.state import full_state

aten = torch.ops.aten


def cut_network(network: Network, sizes: Mapping[str, int], detour: Detour | None = None) -> fx.GraphModule:
    """The program at prefixes of its dims, on a shorter way, as a module with weights of its own.

    Args:
        network: A traced network.
        sizes: Entries to keep by dim name, from the first on; a dim that is not named is kept whole.
        detour: The way, from :func:`nasc.graph.blocks.find_exits`; None for the whole program.

    Returns:
        A module that computes what :meth:`nasc.graph.running.Program.run` computes in evaluation mode. Parameters and
        buffers keep their dotted names.
    """
    if detour is None:
        return slice_network(network, _kept(sizes))
    return _Shortener(network, sizes, detour).run()


def _kept(sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    return {name: torch.arange(size) for name, size in sizes.items()}


class _Shortener(_Slicer):
    """Builds the graph of a shorter way: as the slicer does, without what is skipped, the head at the sizes it gets."""

    def __init__(self, network: Network, sizes: Mapping[str, int], detour: Detour) -> None:
        super().__init__(network, _kept(sizes))
        self.detour = detour
        self.before = dict(sizes)
        self.behind = {**sizes, **_renamed(network, detour, sizes)}
        program = Program(network)
        self.needed = set(program.needed(detour))
        self.order = {node: place for place, node in enumerate(network.program.graph.nodes)}
        self.place = next(node for node in self.order if node.name == detour.place)
        self._cut_weights()

    def _cut_weights(self) -> None:
        """Weights that only the head reads have the head's sizes."""
        full, cutter = full_state(self.network.model), PrefixState(self.network)
        for node in self.order:
            users = [self.order[user] for user in node.users if user.name in self.needed]
            if node.op == "placeholder" and node.name in self.network.names and users:
                name = self.network.names[node.name]
                sizes = self.behind if min(users) > self.order[self.place] else self.before
                self.state[name] = cutter.cut(name, full[name], sizes)

    def run(self) -> fx.GraphModule:
        """Copy what is needed, in order."""
        for node in self.order:
            if node.op == "placeholder":
                if node.name in self.network.inputs or any(user.name in self.needed for user in node.users):
                    self._placeholder(node)
            elif node.op == "output":
                self._output(node)
            elif node.op == "get_attr":
                if any(user.name in self.needed for user in node.users):
                    self._attribute(
                        node, str(node.target), getattr(self.network.program.graph_module, str(node.target))
                    )
            elif node is self.place:
                self.calls.sizes = self.behind
            elif node.name in self.needed:
                self.nodes[node] = self.calls.add(node)
                if node.name == self.detour.source:
                    self.nodes[self.place] = self._stand_in(self.nodes[node])
        module = fx.GraphModule(self.root, self.graph, class_name="Shortened")
        self._add_counters(module)
        module.train(False)
        return module

    def _add_counters(self, module: nn.Module) -> None:
        """Single numbers beside tensors that are there (how often a batch norm was updated), which no operator reads."""
        present = dict(module.named_modules())
        for name, value in full_state(self.network.model).items():
            path, _, last = name.rpartition(".")
            if path in present and not value.ndim and not hasattr(present[path], last) and name not in self.parameters:
                present[path].register_buffer(last, value.detach().clone())

    def _stand_in(self, value: Any) -> Any:
        axis = self.detour.narrowed
        if axis is None:
            return value
        wanted = int(self.network.tensors[self.detour.place][axis].size(self.behind))
        got = int(self.network.tensors[self.detour.source][axis].size(self.before))
        return value if wanted >= got else self.graph.call_function(aten.slice.Tensor, (value, axis, 0, wanted))
