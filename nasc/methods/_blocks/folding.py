"""After the search: layers whose dense form is cheaper are multiplied out, the others keep the rank that pays.

``U diag(b) V`` costs r (in + out), the dense matrix in x out; which is less is only known once widths and ranks stand. The
folded network computes what the masked one does.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nasc.blocks import merge, replace_modules
from nasc.graph import trace
from nasc.graph.selection import Selection
from nasc.methods._blocks.layers import (
    BlockNetwork,
    Layer,
    bits_name,
    density_name,
    match_axes,
    match_parameters,
)
from nasc.methods._blocks.price import BlockPrice


@dataclass(frozen=True)
class Folded:
    """The network of the final forms, and what was decided in its terms.

    Args:
        price: Of that network, shares and bits settled.
        selection: What stays.
        scores: Importance of every entry by dim name.
        forms: ``"dense"`` or ``"factored"`` by layer path, of the layers that had the choice.
    """

    price: BlockPrice
    selection: Selection
    scores: dict[str, Tensor]
    forms: dict[str, str]


def fold(price: BlockPrice, selection: Selection, scores: Mapping[str, Tensor], sizes: Mapping[str, float]) -> Folded:
    """Give every layer the form that costs least at the selected sizes.

    Args:
        price: Of the rewritten network.
        selection: On the rewritten network.
        scores: By its dims.
        sizes: Dims, shares and bits of the selection.
    """
    blocks = price.blocks
    merged = [layer for layer in blocks.layers if layer.rank is not None and price.cheapest(layer, sizes) == 1]
    kept = {
        layer: _useful_ranks(layer, price, selection, scores, sizes)
        for layer in blocks.layers
        if layer.rank is not None and layer not in merged
    }
    model = blocks.network.model
    replacements: dict[str, nn.Module] = {}
    for layer in merged:
        assert layer.rank is not None
        original, factors = blocks.source.model.get_submodule(layer.path), model.get_submodule(layer.path)
        assert isinstance(original, nn.Linear | nn.Conv2d)
        assert isinstance(factors, nn.Sequential)
        replacements[layer.path] = merge(original, factors, _rank_mask(selection, layer.rank, blocks))
    for layer, useful in kept.items():
        replacements[layer.path] = _thinner(model.get_submodule(layer.path), useful)
    network = trace(replace_modules(model, replacements), blocks.network.example_inputs)
    layers = tuple(_folded_layer(layer, layer in merged) for layer in blocks.layers)
    names = match_parameters(blocks.network, network)
    for layer in merged:
        first, second = (blocks.network.parameters[weight] for weight in layer.weights)
        names |= match_axes((second[0], first[1]), network.parameters[layer.dense][:2])
    ranks: dict[str, Tensor] = {}
    for layer, indices in kept.items():
        (rank,) = network.parameters[layer.weights[0]][0].dims()
        names[str(layer.rank)] = rank.name
        ranks[str(layer.rank)] = indices
    layers = tuple(replace(layer, rank=names[layer.rank]) if layer.rank is not None else layer for layer in layers)
    gone = {str(layer.rank) for layer in merged}
    final = BlockNetwork(
        blocks.source,
        network,
        layers,
        {source: names[name] for source, name in blocks.names.items()},
        blocks.prune,
    )
    return Folded(
        price=BlockPrice(final, price.unit, price.table, given=_settled(final, sizes), choose=False),
        selection=_translate(selection, names, gone, ranks, merged),
        scores={names[name]: _pick(vector, ranks.get(name)) for name, vector in scores.items() if name not in gone},
        forms={layer.path: "dense" if layer in merged else "factored" for layer in blocks.layers if layer.rank},
    )


def _useful_ranks(
    layer: Layer, price: BlockPrice, selection: Selection, scores: Mapping[str, Tensor], sizes: Mapping[str, float]
) -> Tensor:
    """The ranks a factored layer may still have: those kept, and the best of the others up to break-even."""
    rank = str(layer.rank)
    full = price.network.dims[rank].size
    alive = selection.kept.get(rank, torch.arange(full))
    most = next(
        (size - 1 for size in range(int(alive.numel()) + 1, full + 1) if price.cheapest(layer, {**sizes, rank: size})),
        full,
    )
    order = scores[rank].clone()
    order[alive] += order.max() + 1
    return order.topk(max(most, int(alive.numel()))).indices.sort().values


def _rank_mask(selection: Selection, rank: str, blocks: BlockNetwork) -> Tensor:
    size = blocks.network.dims[rank].size
    gain = selection.gains.get(rank, torch.ones(size))
    alive = torch.zeros(size).index_fill(0, selection.kept.get(rank, torch.arange(size)), 1.0)
    return gain * alive


def _thinner(module: nn.Module, ranks: Tensor) -> nn.Module:
    """A copy of the factors with some of their ranks only."""
    module = copy.deepcopy(module)
    first, second = module.get_submodule("first"), module.get_submodule("second")
    assert isinstance(first, nn.Linear | nn.Conv2d)
    assert isinstance(second, nn.Linear | nn.Conv2d)
    with torch.no_grad():
        first.weight = nn.Parameter(first.weight[ranks.to(first.weight.device)], first.weight.requires_grad)
        second.weight = nn.Parameter(second.weight[:, ranks.to(second.weight.device)], second.weight.requires_grad)
    _rename_sizes(first, second, int(ranks.numel()))
    return module


def _rename_sizes(first: nn.Module, second: nn.Module, rank: int) -> None:
    for part, linear, conv in ((first, "out_features", "out_channels"), (second, "in_features", "in_channels")):
        setattr(part, linear if isinstance(part, nn.Linear) else conv, rank)


def _folded_layer(layer: Layer, merged: bool) -> Layer:
    return replace(layer, weights=(layer.dense,), rank=None) if merged else layer


def _settled(blocks: BlockNetwork, sizes: Mapping[str, float]) -> dict[str, float]:
    names = [density_name(layer.sparse) for layer in blocks.layers if layer.sparse is not None]
    names += [bits_name(layer.path) for layer in blocks.layers if layer.quantised]
    return {name: sizes[name] for name in names if name in sizes}


def _pick(vector: Tensor, indices: Tensor | None) -> Tensor:
    return vector if indices is None else vector[indices]


def _translate(
    selection: Selection, names: Mapping[str, str], gone: set[str], ranks: Mapping[str, Tensor], merged: list[Layer]
) -> Selection:
    """A selection of the rewritten network in terms of the folded one."""
    kept = {
        names[name]: torch.searchsorted(ranks[name], indices) if name in ranks else indices
        for name, indices in selection.kept.items()
        if name not in gone
    }
    gains = {names[name]: _pick(gain, ranks.get(name)) for name, gain in selection.gains.items() if name not in gone}
    bits = dict(selection.bits)
    for layer in merged:
        widths = [bits.pop(weight) for weight in layer.weights if weight in bits]
        if widths:
            bits[layer.dense] = widths[0]
    return Selection(kept, gains, dict(selection.masks), bits)
