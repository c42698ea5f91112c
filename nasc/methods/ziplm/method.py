"""Structured pruning of encoders by layer-wise reconstruction error against latency (ZipLM, arXiv 2302.04089).

For every dim that one linear layer alone reads (hidden units of a feed-forward network, heads before the output
projection) the inputs of that layer are gathered while the dense model trains. At pruning time entries go in the order
of least reconstruction error, the rest of the layer's weight making up for them; how many go from which layer is the
knapsack that meets the limit on the price; then the rest of the run fine-tunes. Departures: the knapsack is greedy with
errors relative to each layer's output energy, where ZipLM searches over priors of the layers' sensitivity (SPDY) and
prunes and fine-tunes for a sequence of targets; dims with several readers (the residual stream) stay whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasc.errors import TraceError
from nasc.graph.dims import Dim
from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._masks import MaskedModel, Masks
from nasc.methods._price import Price
from nasc.methods._widths import allocate, efficient_widths, floor_sizes, require_reachable
from nasc.methods.ziplm.reconstruction import remove_groups


@dataclass(frozen=True)
class Reader:
    """The one linear layer that reads a dim.

    Args:
        path: Of the module.
        groups: Entry of the dim for every input column.
    """

    path: str
    groups: Tensor


class ZipLM:
    """Prune dims with a single linear reader, with compensation, until the price meets the limit.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        start: Fraction of the run trained dense; pruning happens there, at once.
        calibration: Steps before it whose inputs are gathered.
        floor: Smallest share of a dim that may stay.

    Raises:
        TraceError: No dim has a single linear reader.
        TargetError: The limit is below the smallest allowed model.
    """

    def __init__(
        self,
        network: Network,
        price: Price,
        limit: float,
        total_steps: int,
        *,
        start: float = 0.4,
        calibration: int = 32,
        floor: float = 0.05,
    ) -> None:
        self.network, self.price, self.limit, self.total_steps = network, price, limit, total_steps
        self.at = max(1, int(start * total_steps))
        self.first = max(0, self.at - calibration)
        self.readers = single_readers(network)
        if not self.readers:
            raise TraceError(
                "expected a model with a dim that one linear layer alone reads, such as the hidden units of a "
                "feed-forward network; got none",
                "choose another method, such as surrogate or halp",
            )
        self.masks = Masks(network, trainable=False, names=tuple(self.readers))
        self.model: nn.Module = MaskedModel(network, self.masks.vectors)
        self.floor = floor_sizes(price, tuple(self.readers), floor)
        require_reachable(price, self.floor, limit)
        self.grams: dict[str, Tensor] = {}
        self.worth = {name: torch.ones(size) for name, size in self.masks.layout}
        self.step_count = 0
        self._frozen = False
        self._hooks: list[Any] = []
        if self.first == 0:
            self._listen()

    def penalty(self) -> Tensor:
        """Zero: nothing is added to the loss."""
        return torch.zeros((), device=self.masks.flat.device)

    def step(self) -> None:
        """Count; gather inputs shortly before the pruning, then prune."""
        self.step_count += 1
        if self._frozen:
            return
        if self.step_count >= self.at:
            self._prune()
        elif self.step_count >= self.first and not self._hooks:
            self._listen()

    def _listen(self) -> None:
        for name, reader in self.readers.items():
            module = self.network.model.get_submodule(reader.path)
            self._hooks.append(module.register_forward_pre_hook(self._gatherer(name)))

    def _gatherer(self, name: str) -> Any:
        def gather(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if not module.training:
                return
            x = inputs[0].detach().flatten(0, -2).double().cpu()
            gram = x.T @ x
            self.grams[name] = self.grams[name] + gram if name in self.grams else gram

        return gather

    def _prune(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        removals = {}
        for name, reader in self.readers.items():
            weight, size = self._weight(reader), self.masks.layout.ones().new_ones(self.network.dims[name].size)
            removals[name] = remove_groups(weight, self._gram(name, weight), reader.groups, size.bool())
            self.worth[name] = self._worth(
                weight, self._gram(name, weight), removals[name].order, removals[name].errors
            )
        ladders = {name: efficient_widths(self.price, name) for name in self.readers}
        sizes = allocate(self.price, self.worth, self.limit, ladders=ladders, floor=self.floor).sizes
        masks = {}
        for name, reader in self.readers.items():
            gone = self.network.dims[name].size - sizes[name]
            alive = torch.ones(self.network.dims[name].size)
            alive[list(removals[name].order[:gone])] = 0
            masks[name] = alive
            weight = self._weight(reader)
            again = remove_groups(
                weight, self._gram(name, weight), reader.groups, torch.ones_like(alive).bool(), {gone}
            )
            module = self.network.model.get_submodule(reader.path)
            assert isinstance(module, nn.Linear)
            with torch.no_grad():
                module.weight.copy_(again.weights[gone])
        self.masks.assign(self.masks.layout.join(masks).to(self.masks.flat))
        self.grams = {}
        self._frozen = True

    def _weight(self, reader: Reader) -> Tensor:
        module = self.network.model.get_submodule(reader.path)
        assert isinstance(module, nn.Linear)
        return module.weight.detach().double().cpu()

    def _gram(self, name: str, weight: Tensor) -> Tensor:
        return self.grams.get(name, torch.eye(weight.shape[1], dtype=weight.dtype))

    def _worth(self, weight: Tensor, gram: Tensor, order: tuple[int, ...], errors: tuple[float, ...]) -> Tensor:
        """Every entry's error when it goes, over the energy of the layer's output; the last one left is worth most."""
        energy = float((weight @ gram * weight).sum()) or 1.0
        size = len(order) + 1
        worth = torch.full((size,), 2.0)
        # A later removal never counts for less than an earlier one, so that the order stands.
        rising = torch.tensor(errors, dtype=torch.float64).cummax(0).values / energy if errors else torch.empty(0)
        for place, group in enumerate(order):
            worth[group] = float(rising[place]) * (1 + 1e-6 * place) + 1e-12 * (place + 1)
        return worth

    @property
    def frozen(self) -> bool:
        """Pruning is over; what follows is fine-tuning."""
        return self._frozen

    def select(self) -> Selection:
        """What to keep, as it stands now."""
        return self.masks.select()

    def scores(self) -> dict[str, Tensor]:
        """What the output loses with each entry, by dim."""
        return dict(self.worth)

    def metrics(self) -> dict[str, float]:
        """The true price and the number of survivors."""
        sizes = self.masks.sizes()
        return {"price": self.price.total(sizes), "survivors": float(sum(sizes.values()))}

    def state_dict(self) -> dict[str, Any]:
        """Step, masks, gathered inputs, worth and whether pruning is over."""
        return {
            "step": self.step_count,
            "masks": self.masks.flat.detach().clone(),
            "grams": {name: gram.clone() for name, gram in self.grams.items()},
            "worth": {name: worth.clone() for name, worth in self.worth.items()},
            "frozen": self._frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count, self._frozen = int(state["step"]), bool(state["frozen"])
        self.grams = {name: gram.clone() for name, gram in state["grams"].items()}
        self.worth = {name: worth.clone() for name, worth in state["worth"].items()}
        self.masks.assign(state["masks"])
        if self.step_count >= self.first and not self._frozen and not self._hooks:
            self._listen()


def single_readers(network: Network) -> Mapping[str, Reader]:
    """The maskable dims that exactly one plain linear layer contracts, each once along its axis."""
    readers: dict[str, list[Reader]] = {}
    for contraction in network.contractions:
        axis = network.parameters[contraction.parameter][contraction.axis]
        path, _, kind = contraction.parameter.rpartition(".")
        module = network.model.get_submodule(path) if kind == "weight" else None
        names = [term.name for term in axis.terms if isinstance(term, Dim)]
        for name in {dim.name for dim in axis.dims()} & set(network.maskable):
            plain = type(module) is nn.Linear and contraction.axis == 1 and len(names) == len(axis.terms)
            once = names.count(name) == 1
            reader = Reader(path if plain and once else "", _groups(axis, name, network.dims[name].size))
            readers.setdefault(name, []).append(reader)
    return {name: found[0] for name, found in readers.items() if len(found) == 1 and found[0].path}


def _groups(axis: Any, name: str, size: int) -> Tensor:
    """Which entry of a dim every position of an axis belongs to."""
    return torch.as_tensor(axis.expand({name: torch.arange(size, dtype=torch.float64)})).long()
