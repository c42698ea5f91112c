"""Compares a small model with the user's own: the difference that must not be there.

Both checks run the user's *untouched* module with other weights (``torch.func.functional_call``), never the traced
graph, so a wrong tie in the graph cannot hide.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from nasc.blocks import quantise_living
from nasc.errors import ModelError
from nasc.graph.masking import masked_call, masked_state, sparse_state
from nasc.graph.network import Network
from nasc.graph.program import evaluating
from nasc.graph.selection import Selection
from nasc.graph.slicing import scatter_state, slice_tensor
from nasc.graph.state import full_state


def verify(network: Network, selection: Selection, small: nn.Module, inputs: tuple[Any, ...] | None = None) -> float:
    """Largest absolute difference between the small model and the user's with masked weights, in evaluation mode.

    Args:
        network: The traced model, with the weights the small model was made of.
        selection: What was kept, and the gains.
        small: The small model, before any further training (see :func:`verify_trained`).
        inputs: What to run both on; the example inputs of the trace where not given.

    Raises:
        ModelError: The selection removes entries that no mask can remove (something runs over them that is not known).
    """
    _require_maskable(network, selection)
    with torch.no_grad():
        state = masked_state(network, masks(network, selection))
        state |= sparse_state(network, selection.masks, state)
        state |= _on_grids(network, selection, {**full_state(network.model), **state})
        return _difference(network, selection, state, small, inputs or network.example_inputs)


def verify_trained(
    network: Network, selection: Selection, small: nn.Module, inputs: tuple[Any, ...] | None = None
) -> float:
    """As :func:`verify`, for a small model that was trained on.

    Its weights are put back into the user's full-size model, zeros where entries were removed, so the two must agree
    whatever the training did.
    """
    _require_maskable(network, selection)
    with torch.no_grad():
        held = {**dict(small.named_parameters()), **dict(small.named_buffers())}
        tensors = {name: tensor for name, tensor in held.items() if name in network.parameters}
        state = scatter_state(network, selection.kept, tensors)
        gates = {name: vector for name, vector in masks(network, selection).items() if name in network.branches}
        removed = {name: vector * 0 for name, vector in gates.items() if not vector.any()}
        state |= {name: tensor for name, tensor in masked_state(network, removed).items() if name not in state}
        return _difference(network, selection, state, small, inputs or network.example_inputs)


def masks(network: Network, selection: Selection) -> dict[str, Tensor]:
    """The mask of every dim that a selection names, over the dense dim: its gain where kept, zero where removed."""
    result = {}
    for name in (*selection.kept, *selection.gains):
        size = network.dims[name].size
        gain = selection.gains.get(name, torch.ones(size))
        alive = torch.zeros(size, dtype=gain.dtype, device=gain.device)
        alive[selection.kept.get(name, torch.arange(size)).to(gain.device)] = 1
        result[name] = gain.detach() * alive
    return result


def _on_grids(network: Network, selection: Selection, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of few bits at full size: what is kept on the grid of its own largest magnitude, the rest zero."""
    small = {
        name: quantise_living(slice_tensor(state[name], network.parameters[name], selection.kept), bits)
        for name, bits in selection.bits.items()
    }
    return scatter_state(network, selection.kept, small)


def _require_maskable(network: Network, selection: Selection) -> None:
    for name, kept in selection.kept.items():
        dim = network.dims[name]
        if kept.numel() < dim.size and name not in network.maskable:
            raise ModelError(
                f"expected only dims that a zero mask removes exactly; {name} "
                f"({kept.numel()} of {dim.size} kept) is not one: {dim.reduced or dim.frozen}",
                "compare with the sliced graph instead, or keep this dim whole",
            )


def _difference(
    network: Network, selection: Selection, state: Mapping[str, Tensor], small: nn.Module, inputs: tuple[Any, ...]
) -> float:
    with evaluating(network.model), evaluating(small):
        expected = masked_call(network, masks(network, selection), inputs, state=state)
        got = small(*_tensors(inputs))
    pairs = zip(_tensors(expected), _tensors(got), strict=True)
    return max((_largest(a.double() - b.double()) for a, b in pairs if a.numel()), default=0.0)


def _largest(difference: Tensor) -> float:
    """The largest entry; infinity where one is not a number, so that no comparison lets it pass."""
    largest = float(difference.abs().max())
    return math.inf if math.isnan(largest) else largest


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
