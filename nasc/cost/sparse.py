"""What a selection costs where zero weights count for nothing: the multiply-adds and parameters that are not zero.

Runtimes without sparse kernels do multiply by zero; there only removed entries of dims save anything, which
:func:`nasc.cost.cost` prices. These are the counts the literature on sparse training states (arXiv 2308.02060, after RigL).
"""

from nasc.cost.expression import cost
from nasc.graph.network import Network
from nasc.graph.parameters import learned_parameters
from nasc.graph.selection import Selection
from nasc.graph.slicing import slice_tensor
from nasc.graph.state import tied_names


def nonzero_share(network: Network, selection: Selection) -> dict[str, float]:
    """Share of the small model's weights that may be other than zero, by name of the masked parameter."""
    shares = {}
    for name, mask in selection.masks.items():
        small = slice_tensor(mask, network.parameters[name], selection.kept)
        shares[name] = float(small.float().mean()) if small.numel() else 0.0
    return shares


def nonzero_macs(network: Network, selection: Selection) -> float:
    """Multiply-adds by weights that are not zero, for a batch of one: every weight times its output positions.

    Args:
        network: The traced model.
        selection: What is kept, and the masks over single weights.
    """
    shares = _by_any_name(network, nonzero_share(network, selection))
    sizes = selection.sizes
    return sum(
        float(kernel.macs(sizes)) * shares.get(kernel.weights.weight or "", 1.0)
        for kernel in network.kernels
        if kernel.macs_per
    )


def nonzero_params(network: Network, selection: Selection) -> int:
    """Learned parameters that are not masked to zero; tied ones once."""
    shares = _by_any_name(network, nonzero_share(network, selection))
    whole = int(cost(network, selection.sizes, "params"))
    zeros = 0
    for name, axes in learned_parameters(network):
        if name in shares:
            count = 1
            for axis in axes:
                count *= int(axis.size(selection.sizes))
            zeros += count - round(shares[name] * count)
    return whole - zeros


def _by_any_name(network: Network, shares: dict[str, float]) -> dict[str, float]:
    tied = tied_names(network.model)
    return {alias: share for name, share in shares.items() for alias in tied[name]}
