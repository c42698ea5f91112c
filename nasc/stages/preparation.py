"""Surrogate, then sorted: a short run of the latency surrogate prepares a network for sorted training on that device."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nasc.datasets import ImageData
from nasc.graph import Network, Selection
from nasc.graph.masking import masked_state
from nasc.methods import Price, build
from nasc.methods.sorted_networks import exponents_of, order_units
from nasc.training import Frozen, Recipe, train


@dataclass(frozen=True)
class Prepared:
    """What the short run found.

    Args:
        exponents: How fast each dim shrinks along the device's ratios; an option of the sorted network.
        sizes: The sizes at the target.
        steps: Optimiser steps it took.
    """

    exponents: dict[str, float]
    sizes: dict[str, int]
    steps: int


def prepare_family(
    network: Network,
    price: Price,
    limit: float,
    data: ImageData,
    recipe: Recipe,
    *,
    width: float = 0.5,
    folder: Path | None = None,
) -> Prepared:
    """Train with the surrogate until its selection stands, and put the units of every dim in the order of its scores.

    Args:
        network: The traced model; its weights are trained and then permuted, its function is that of the trained weights.
        price: What sizes cost on the device.
        limit: A target in the middle of those the family is for.
        data: The data set.
        recipe: Of the short run; its epochs are added to the family's.
        width: The cut of the family that shall stand at the sizes found.
        folder: For checkpoints; nothing is kept where not given.

    Returns:
        Options for the sorted network.
    """
    steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
    method = build("surrogate", network, price, limit, steps)
    history = train(method, data, recipe, folder=folder, progress=False, on_frozen=_stop)
    selection = method.select()
    sizes = dict(selection.sizes)
    _fold(network, selection)
    order_units(network, method.scores())
    dense = {name: network.dims[name].size for name in sizes}
    return Prepared(exponents_of(sizes, dense, width), sizes, history.step)


@torch.no_grad()
def _fold(network: Network, selection: Selection) -> None:
    """Masks go into what reads them; units that were removed stay as they are, behind the others."""
    vectors = {name: torch.where(gain > 0, gain, torch.ones_like(gain)) for name, gain in selection.gains.items()}
    if vectors:
        parameters = dict(network.model.named_parameters(remove_duplicate=False))
        for name, weight in masked_state(network, vectors).items():
            parameters[name].copy_(weight)


def _stop(frozen: Frozen) -> bool:
    return True
