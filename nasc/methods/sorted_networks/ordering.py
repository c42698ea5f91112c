"""Units in order of importance: the network computes the same, but its prefixes are its most important units.

A permutation of a dim applied to every tensor axis that carries it changes nothing; sorted training then starts with the
best units at the origin, where every member uses them. The scores may come from weight norms, or from the masks of a short
surrogate run on the device the family is for.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.graph.slicing import slice_tensor
from nasc.graph.state import full_state


@torch.no_grad()
def order_units(network: Network, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Permute the units of dims in place so that scores fall; ties keep their order.

    Args:
        network: The traced network; its model's parameters and buffers are changed, its function is not.
        scores: Importance of every entry, shape (dense size,), by dim name.

    Returns:
        The permutation of each dim: entry i is what was entry ``order[i]``.

    Raises:
        UsageError: A dim is unknown, frozen, or its scores have another length.
    """
    orders = {}
    for name, vector in scores.items():
        dim = network.dims.get(name)
        if dim is None or dim.frozen is not None or vector.numel() != dim.size:
            got = "no such dim" if dim is None else dim.frozen or f"{vector.numel()} scores for {dim.size} entries"
            raise UsageError(f"expected scores of a dim that may change; got {name}: {got}")
        orders[name] = torch.sort(vector.detach().cpu(), descending=True, stable=True).indices
    done: set[int] = set()
    for name, tensor in full_state(network.model).items():
        axes = network.parameters.get(name)
        if axes is not None and id(tensor) not in done:
            done.add(id(tensor))
            tensor.copy_(slice_tensor(tensor, axes, orders))
    return orders
