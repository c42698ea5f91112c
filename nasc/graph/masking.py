"""Masks on the weights of the untouched module: a zero at every reader of an entry equals removing it."""

from collections.abc import Mapping

from torch import Tensor

from nasc.graph.network import Network
from nasc.graph.state import full_state, tied_names


def masked_state(
    network: Network, vectors: Mapping[str, Tensor], state: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The parameters that contract a masked dim, multiplied by its mask along the contracted axis.

    Use it with :func:`torch.func.functional_call` on the untouched module. Differentiable in the parameters and in the
    masks. For dims that are maskable (:attr:`Dim.maskable`) a zero in the mask equals the removal of that entry.

    Args:
        network: A traced network.
        vectors: Mask of shape (dim.size,) by dim name; a dim that is not named is not masked.
        state: Parameters to use instead of the model's own, by dotted name.

    Returns:
        The changed parameters alone, by dotted name (each of its names where a parameter is tied).
    """
    source = full_state(network.model) if state is None else state
    result: dict[str, Tensor] = {}
    for contraction in network.contractions:
        name = contraction.parameter
        axes = network.parameters[name]
        axis = axes[contraction.axis]
        if not any(dim.name in vectors for dim in axis.dims()):
            continue
        weight = result.get(name, source[name])
        shape = [1] * len(axes)
        shape[contraction.axis] = -1
        result[name] = weight * axis.expand(vectors).to(weight.dtype).view(shape)
    tied = tied_names(network.model)
    return {alias: weight for name, weight in result.items() for alias in tied[name]}


def sparse_state(
    network: Network, masks: Mapping[str, Tensor], state: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The parameters of which single weights are dropped, with zeros there.

    Args:
        network: A traced network.
        masks: Which weights stay (bool or 0/1, the parameter's shape) by dotted parameter name.
        state: Parameters to use instead of the model's own, by dotted name.

    Returns:
        The changed parameters alone, by dotted name (each of its names where a parameter is tied).
    """
    source = {**full_state(network.model), **(state or {})}
    tied = tied_names(network.model)
    return {
        alias: source[name] * mask.to(device=source[name].device, dtype=source[name].dtype)
        for name, mask in masks.items()
        for alias in tied[name]
    }
