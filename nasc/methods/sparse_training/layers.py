"""Which weights may be pruned: those of convolutions and linear layers; never biases, norms or embeddings."""

from dataclasses import dataclass

import torch
from torch import fx

from nasc.errors import TraceError
from nasc.graph.network import Kernel, Network
from nasc.graph.state import tied_names

MATRIX_KINDS = ("conv", "grouped_conv", "conv_transpose", "linear")
DEPTHWISE = "depthwise"
_LOOK_UPS = (torch.ops.aten.embedding.default, torch.ops.aten.embedding_bag.default)


@dataclass(frozen=True)
class Layer:
    """The weight of a convolution or a linear layer.

    Args:
        name: Dotted name of the parameter.
        shape: Its shape; axis 0 is the output, axis 1 the input, the rest the kernel.
        macs_per_weight: Multiply-adds that one weight takes part in, for a batch of one: the output positions, summed
            over all calls of the layer.
    """

    name: str
    shape: tuple[int, ...]
    macs_per_weight: float

    @property
    def weights(self) -> int:
        """Number of weights."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def prunable_layers(network: Network, *, depthwise: bool = False) -> tuple[Layer, ...]:
    """The prunable weights in the order in which the network runs them, tied ones once.

    Args:
        network: The traced model.
        depthwise: Also the kernels of depthwise convolutions, which the paper leaves dense.

    Raises:
        TraceError: There is none.
    """
    kinds = (*MATRIX_KINDS, DEPTHWISE) if depthwise else MATRIX_KINDS
    parameters = dict(network.model.named_parameters(remove_duplicate=False))
    tied = tied_names(network.model)
    excluded = {alias for name in _looked_up(network) for alias in tied[name]}
    macs: dict[str, float] = {}
    for kernel in network.kernels:
        name = kernel.weights.weight
        if kernel.kind not in kinds or name not in parameters or name in excluded or parameters[name].dim() < 2:
            continue
        first = tied[name][0]
        macs[first] = macs.get(first, 0.0) + _macs(kernel) / parameters[name].numel()
    if not macs:
        raise TraceError(
            f"expected a model with convolutions or linear layers, got none among {len(network.kernels)} kernels",
            "see what was found with: nasc inspect --model M",
        )
    return tuple(Layer(name, tuple(parameters[name].shape), each) for name, each in macs.items())


def _looked_up(network: Network) -> set[str]:
    """The tables of embeddings: parameters that the program looks rows up in."""
    tables = (node.args[0] for node in network.program.graph.nodes if node.target in _LOOK_UPS)
    return {network.names[table.name] for table in tables if isinstance(table, fx.Node) and table.name in network.names}


def _macs(kernel: Kernel) -> float:
    return float(kernel.macs())
