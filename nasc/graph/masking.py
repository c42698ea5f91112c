"""Masks on the weights of the untouched module: a zero at every reader of an entry equals removing it.

Where norms and the like run over a dim, their statistics are kept to live entries (:mod:`nasc.graph.live`).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.func import functional_call

from nasc.graph.live import live_reductions
from nasc.graph.network import Network
from nasc.graph.state import full_state, tied_names


def masked_state(
    network: Network, vectors: Mapping[str, Tensor], state: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The parameters that contract a masked dim, multiplied by its mask along the contracted axis.

    Use it with :func:`torch.func.functional_call` on the untouched module, inside
    :func:`nasc.graph.live.live_reductions`; :func:`masked_call` is both. Differentiable in the parameters and in the
    masks. For dims that are maskable (:attr:`Network.maskable`) a zero in the mask equals the removal of that entry.

    Args:
        network: A traced network.
        vectors: Mask of shape (dim.size,) by dim name; a dim that is not named is not masked.
        state: Parameters to use instead of the model's own, by dotted name.

    Returns:
        The changed parameters alone, by dotted name (each of its names where a parameter is tied).
    """
    source = full_state(network.model) if state is None else state
    result: dict[str, Tensor] = {}
    for contraction in (*network.contractions, *network.written):
        name = contraction.parameter
        axes = network.parameters[name]
        axis, only = axes[contraction.axis], contraction.only
        acting = vectors if only is None else {dim: vector for dim, vector in vectors.items() if dim in only}
        if not any(dim.name in acting for dim in axis.dims()):
            continue
        weight = result.get(name, source[name])
        shape = [1] * len(axes)
        shape[contraction.axis] = -1
        result[name] = weight * axis.expand(acting).to(weight).view(shape)
    for gate, branch in network.branches.items():
        if gate in vectors:
            for name in branch.scaled:
                weight = result.get(name, source[name])
                result[name] = weight * vectors[gate].to(weight).reshape(())
    tied = tied_names(network.model)
    return {alias: weight for name, weight in result.items() for alias in tied[name]}


def masked_call(
    network: Network,
    vectors: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> Any:
    """What the untouched module returns with masked weights and statistics over live entries.

    Args:
        network: A traced network.
        vectors: Mask of shape (dim.size,) by dim name; dims of :attr:`Network.maskable`.
        args: Of the module's call.
        kwargs: Of the module's call.
        state: Parameters to use as they are, by dotted name, instead of masking the module's own.
    """
    used = masked_state(network, vectors) if state is None else dict(state)
    with live_reductions(network, vectors):
        return functional_call(network.model, used, args, dict(kwargs or {}))


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
