"""Pixelfly as a method: the pattern is fixed before training, by the largest budget whose price meets the target.

The rewritten network is traced in plain torch, layer by layer as it will be exported, and priced like any other; the model
that trains is the same in block-sparse form, whose step is faster. For the last tenth of the run the plain model itself is
trained, after the device has agreed with its price.

Departure: the paper gives a density and trains; here the density follows from the target.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nasc.block_sparse.budget import Form, allocate
from nasc.block_sparse.convolution import PixelflyConv2d
from nasc.block_sparse.layers import PixelflyLinear
from nasc.block_sparse.plain import PlainPixelfly, copy_weights, plain_like
from nasc.blocks.rewriting import replace_modules
from nasc.errors import TargetError
from nasc.graph import Network, Selection, trace
from nasc.methods._price import Price
from nasc.methods._scores import writer_norms
from nasc.methods.pixelfly.config import DENSITIES, PixelflyConfig
from nasc.methods.pixelfly.rewriting import Layer, Schema, find_schema, sparsify


class Pixelfly:
    """Every layer as a flat block butterfly plus low rank, at one density, trained from scratch.

    Args:
        network: The traced model, freshly initialised.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Optimiser steps of the whole run.
        **options: See :class:`PixelflyConfig`.

    Raises:
        TargetError: No density meets the limit.
        TraceError: The model has no layer that can be replaced.
        UsageError: An option is unknown or out of range.
    """

    def __init__(self, network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> None:
        self.config = PixelflyConfig(**options)
        self.source, self.limit, self.total_steps = network, limit, total_steps
        schema = find_schema(network, self.config)
        candidate = _choose(network, schema, price, limit, self.config)
        self.model: nn.Module = candidate.model
        self.forms: Mapping[str, Form] = candidate.forms
        self.network, self.price, self.density = candidate.network, candidate.price, candidate.density
        self._pairs = candidate.pairs
        self.step_count = 0

    def penalty(self) -> Tensor:
        """Zero: nothing is added to the loss."""
        return torch.zeros((), device=next(self.model.parameters()).device)

    def step(self) -> None:
        """Count the step."""
        self.step_count += 1

    @property
    def frozen(self) -> bool:
        """The plain model can take over: the share ``end`` of the run is done."""
        return self.step_count >= self.config.end * self.total_steps

    def select(self) -> Selection:
        """Everything of the rewritten network, whose weights are brought up to date."""
        self._update_plain()
        return Selection()

    def scores(self) -> dict[str, Tensor]:
        """The norms of what writes each entry: what goes first should the device be slower than its price."""
        self._update_plain()
        return writer_norms(self.network)

    def metrics(self) -> dict[str, float]:
        """Price, density, and the mean alpha."""
        alphas = [float(layer.alpha.detach()) for layer, _ in self._pairs if layer.alpha is not None]
        found = {"price": self.price.dense, "density": self.density}
        return found | ({"alpha": sum(alphas) / len(alphas)} if alphas else {})

    def state_dict(self) -> dict[str, Any]:
        """The step."""
        return {"step": self.step_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count = int(state["step"])

    @torch.no_grad()
    def _update_plain(self) -> None:
        """The weights of the training form, in the plain one."""
        shared = dict(self.model.state_dict())
        plain = self.network.model
        own = {name: tensor for name, tensor in plain.state_dict().items() if name in shared}
        for name, tensor in own.items():
            tensor.copy_(shared[name])
        for layer, other in self._pairs:
            copy_weights(layer, other)


class _Candidate:
    """The network at one density: the model that trains, and the plain one that is priced."""

    def __init__(self, network: Network, schema: Schema, density: float, config: PixelflyConfig) -> None:
        self.density = density
        self.model, self.forms = sparsify(network, density, config, schema)
        replaced = dict(_layers(self.model))
        plain = {path: plain_like(layer) for path, layer in replaced.items()}
        self.pairs: tuple[tuple[Layer, PlainPixelfly], ...] = tuple(
            (layer, plain[path]) for path, layer in replaced.items()
        )
        self.network = trace(replace_modules(network.model, plain), network.example_inputs)
        self.price: Price

    def priced(self, price: Price) -> "_Candidate":
        """The same, with a price in the unit of the given one."""
        self.price = Price(self.network, price.unit, price.table)
        return self


def _layers(model: nn.Module) -> Iterator[tuple[str, Layer]]:
    for path, module in model.named_modules():
        if isinstance(module, PixelflyLinear | PixelflyConv2d):
            yield path, module


def _densities(config: PixelflyConfig) -> tuple[float, ...]:
    return DENSITIES if config.density is None else (config.density,)


def _choose(network: Network, schema: Schema, price: Price, limit: float, config: PixelflyConfig) -> _Candidate:
    """The largest density whose price meets the limit, found by bisection: the price grows with the density."""
    densities = _distinct(schema, config)
    if not densities:
        raise TargetError(
            f"blocks of {config.block} fit into no layer at a density of {max(_densities(config)):g}",
            "ask for more density, or for smaller blocks (block)",
        )
    low, high = 0, len(densities) - 1
    best: _Candidate | None = None
    smallest: float | None = None
    while low <= high:
        middle = (low + high) // 2
        candidate = _Candidate(network, schema, densities[middle], config).priced(price)
        smallest = candidate.price.dense if smallest is None else min(smallest, candidate.price.dense)
        if candidate.price.dense <= limit:
            best, low = candidate, middle + 1
        else:
            high = middle - 1
    if best is None:
        raise TargetError(
            f"expected a density whose price is at most {limit:g} {price.unit}; the smallest, {densities[0]:g}, takes "
            f"{smallest:g}",
            "ask for more, for smaller blocks (block), or use a method that also removes channels",
        )
    return best


def _distinct(schema: Schema, config: PixelflyConfig) -> list[float]:
    """The densities that give different networks."""
    seen: dict[tuple[Form, ...], float] = {}
    for density in _densities(config):
        forms = allocate(schema.matrices, density, block=config.block, low_rank_share=config.low_rank_share)
        key = tuple(forms[matrix.name] for matrix in schema.matrices)
        if any(not form.dense for form in key):
            seen.setdefault(key, density)
    return sorted(seen.values())


def pixelfly_networks(network: Network, **options: Any) -> tuple[Network, ...]:
    """The rewritten networks at every density: what the table must cover before the method asks for prices."""
    config = PixelflyConfig(**options)
    schema = find_schema(network, config)
    return tuple(_Candidate(network, schema, density, config).network for density in _distinct(schema, config))
