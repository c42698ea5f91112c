"""Which parameters of a model its traced computation really uses."""

from collections.abc import Iterator

from nasc.graph.dims import Axis
from nasc.graph.network import Network


def learned_parameters(network: Network) -> Iterator[tuple[str, tuple[Axis, ...]]]:
    """Name and axes of every learned parameter that some operator reads; tied ones once, under their first name.

    The gates of the branches it belongs to follow its axes, so that the product counts its entries.

    Buffers (running statistics) are not learned; parameters of branches that only training runs are not read.
    """
    names = network.program.graph_signature.inputs_to_parameters
    read = {names[node.name] for node in network.program.graph.nodes if node.name in names and node.users}
    parameters = dict(network.model.named_parameters(remove_duplicate=False))
    seen: set[int] = set()
    for name, axes in network.parameters.items():
        if name in read and id(parameters[name]) not in seen:
            seen.add(id(parameters[name]))
            gates = (Axis((network.dims[gate],)) for gate, one in network.branches.items() if name in one.parameters)
            yield name, (*axes, *gates)
