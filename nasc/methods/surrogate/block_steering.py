"""The controller where layers have a choice of form: widths, ranks, shares of weights and bits in one knapsack.

As :mod:`nasc.methods.surrogate.steering`, with one currency for all of them: the share of a layer's weight energy that is
given up, times the layer's price and its measured sensitivity, weighed against each other.

* A rank is worth |u_r|^2 |v_r|^2, its squared singular value where the factors are balanced: only the product of the two
  is the same in every gauge.
* Single weights are worth w^2; a layer's share falls in 1/64ths.
* Bits are worth the energy of the rounding error they save: a grid moves between 16, 8, 4 and 2 bits at once.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nasc.blocks.quantisation import BITS
from nasc.graph.network import Network
from nasc.methods._blocks import Layer, WeightForms, bits_name, density_name
from nasc.methods._blocks.price import FULL_BITS
from nasc.methods._masks import Masks
from nasc.methods._price import Price, Unit
from nasc.methods._schedules import Ramp
from nasc.methods._scores import reader_energies
from nasc.methods._widths import allocate, efficient_widths, floor_sizes, keep_strongest, require_reachable, worth_of
from nasc.methods.surrogate.config import SurrogateConfig
from nasc.methods.surrogate.norms import sizes_and_gradient
from nasc.methods.surrogate.relaxed import relax_blocks

LEVELS = 64
"""A share of weights is chosen in steps of 1/64."""

_LEAST = 1e-6  # what costs or matters nothing still counts by this share of the average
_TINY = torch.finfo(torch.float32).tiny


class BlockSteering:
    """Masks, shares and bits under a controller that ends the run at the limit.

    Args:
        masks: Over dims, single weights and gates; moved in place.
        forms: What single weights and gates mean.
        price: What sizes, shares and bits cost.
        limit: In the price's unit.
        total_steps: Of the whole run.
        config: The options.

    Raises:
        TargetError: The limit is below the smallest allowed model.
    """

    def __init__(
        self,
        masks: Masks,
        forms: WeightForms,
        price: Price,
        limit: float,
        total_steps: int,
        config: SurrogateConfig,
    ) -> None:
        self.masks, self.forms, self.price, self.limit, self.config = masks, forms, price, limit, config
        self.ramp = Ramp(config.start, config.end)
        self.frozen = False
        self.strength = 0.0
        self._dims = forms.blocks.masked
        self._ranks = {str(layer.rank): layer for layer in forms.blocks.layers if layer.rank is not None}
        self._layers = {name: layer for layer in forms.blocks.layers for name in _names(layer)}
        self._levels = _Levels(price)
        self._ladders = self._make_ladders()
        self._floor = floor_sizes(price, self._dims, config.floor) | self._least()
        require_reachable(self._levels, self._floor, limit)
        self._fall = 1.0 / max(1.0, config.fade * total_steps)
        self._wanted = masks.layout.ones()
        self._sensitivity = torch.zeros(len(masks.layout.names))  # by dim, as in Steering
        self._weights = dict.fromkeys((layer.path for layer in forms.blocks.layers), 0.0)  # per weight, by layer
        self._steps = 0

    def _make_ladders(self) -> dict[str, tuple[int, ...]]:
        ladders = {}
        for name in self._dims:
            size = self.price.network.dims[name].size
            rungs = efficient_widths(self.price, name) if self.config.on_steps else tuple(range(1, size + 1))
            saving = [rung for rung in rungs if rung < size and self.price.change({}, name, rung) < 0]
            ladders[name] = (*saving, size)
        ladders |= {name: tuple(range(LEVELS + 1)) for name in self.forms.sparse}
        return ladders | dict.fromkeys(self.forms.quantised, BITS)

    def _least(self) -> dict[str, int]:
        """Shares have the floor that widths have, but where the factors stay anyway; bits may fall to two."""
        least = {}
        for name in self.forms.sparse:
            has_factors = self._layers[name].rank is not None
            least[name] = 0 if has_factors else max(1, math.ceil(self.config.floor / 4 * LEVELS))
        return least | dict.fromkeys(self.forms.quantised, BITS[0])

    def penalty(self) -> Tensor:
        """Zero: masks feel the price in :meth:`step`, in closed form."""
        return torch.zeros((), device=self.masks.flat.device)

    def relaxed_price(self) -> float:
        """The price at the surrogate sizes of the masks as they stand."""
        return relax_blocks(self.price, self.masks.layout, self.masks.flat.detach(), self.forms, self.config.form).value

    def step(self, fraction: float, learning_rate: float) -> None:
        """Take in the gradients, decide where a decision is due, move the masks; see :meth:`Steering.step`."""
        gradient = self.masks.take_gradient()
        if self.frozen:
            return
        self._steps += 1
        self._measure(gradient)
        due = self._steps % self.config.interval == 0 or fraction >= self.ramp.end
        if fraction > self.ramp.start and due and (fraction < self.ramp.end or self._wanted_price() > self.limit):
            # The price falls from what the forms cost at first: 16 bits are half of a float.
            self._decide(self.ramp.between(fraction, self.price.dense, self.limit))
        self._move()
        if fraction >= min(1.0, self.config.end + self.config.fade):
            self.masks.assign(self._wanted.to(self.masks.flat))
            self.frozen = True

    def _measure(self, gradient: Tensor) -> None:
        """Running means of the squared first-order Taylor terms: of masks by dim, of single weights by layer."""
        keep = self.config.memory
        taylor = self.masks.layout.total((self.masks.flat.detach() * gradient).square())
        self._sensitivity = keep * self._sensitivity.to(taylor) + (1 - keep) * taylor
        parameters = dict(self.price.network.model.named_parameters())
        for layer in self.forms.blocks.layers:
            terms = [
                (weight.detach() * weight.grad).square().mean()
                for weight in (parameters[name] for name in layer.weights)
                if weight.grad is not None
            ]
            mean = float(torch.stack(terms).mean()) if terms else 0.0
            self._weights[layer.path] = keep * self._weights[layer.path] + (1 - keep) * mean

    def scores(self) -> Tensor:
        """What each entry of a dim or single weight is worth, shape (entries,); gates count as one."""
        energies, weights = self._energies(), self._importance()
        return self.masks.layout.join({name: energies[name] * weights[name] for name in self.masks.layout.names})

    def _energies(self) -> dict[str, Tensor]:
        """Energy of every entry over the mean of its living ones."""
        layout = self.masks.layout
        alive = {name: vector.cpu() for name, vector in layout.split((self.masks.flat.detach() > 0).float()).items()}
        energies = reader_energies(self.price.network, {name: alive[name] for name in self._dims})
        parameters = dict(self.price.network.model.named_parameters())
        for name, layer in self._ranks.items():
            writers = parameters[layer.weights[0]].detach().float().cpu().flatten(1).square().sum(1)
            energies[name] = _normalised(energies[name] * writers, alive[name])
        for name, weight in self.forms.sparse.items():
            energies[name] = _normalised(parameters[weight].detach().float().cpu().square().flatten(), alive[name])
        return energies | {name: torch.ones_like(alive[name]) for name in self.forms.quantised}

    def _importance(self) -> dict[str, float]:
        """Price and sensitivity of one entry of a dim, or of 1/64 of a layer, weighed against each other."""
        slopes, measured = self._slopes(), self._sensitivities()
        names = self.masks.layout.names
        slope = _relative(torch.tensor([slopes[name] for name in names]))
        sensitivity = _relative(torch.tensor([measured[name] for name in names]))
        balance = self.config.sensitivity
        return dict(zip(names, (slope ** (1 - balance) * sensitivity**balance).tolist(), strict=True))

    def _slopes(self) -> dict[str, float]:
        """Price per entry of a dim at the surrogate sizes (eq. 6), and of 1/64 of a layer."""
        layout = self.masks.layout
        sizes, _ = sizes_and_gradient(layout, self.masks.flat.detach().clamp_min(_TINY))
        named = dict(zip(layout.names, sizes.tolist(), strict=True))
        vectors = layout.split(self.masks.flat.detach())
        named |= self.forms.sizes({name: vectors[name] for name in (*self.forms.sparse, *self.forms.quantised)})
        _, slopes = self.price.slopes(named)
        per_entry = {name: slopes.get(name, 0.0) for name in self._dims}
        shares = {name: slopes.get(name, 0.0) / LEVELS for name in self.forms.sparse}
        return per_entry | shares | {n: slopes.get(n, 0.0) * FULL_BITS / LEVELS for n in self.forms.quantised}

    def _sensitivities(self) -> dict[str, float]:
        layout = self.masks.layout
        alive = layout.total((self.masks.flat.detach() > 0).float()).cpu().clamp_min(1)
        by_dim = dict(zip(layout.names, (self._sensitivity.cpu() / alive).tolist(), strict=True))
        parameters = dict(self.price.network.model.named_parameters())
        for name, layer in self._layers.items():
            numel = sum(parameters[weight].numel() for weight in layer.weights)
            by_dim[name] = self._weights[layer.path] * numel / LEVELS
        return by_dim

    def _decide(self, goal: float) -> None:
        """Choose sizes, shares and bits so that the true price meets the goal."""
        energies, weights = self._energies(), self._importance()
        alive = self.masks.layout.split((self.masks.flat.detach() > 0).float().cpu())
        ranked = {name: energies[name].clamp_min(_TINY) * alive[name] for name in energies}
        scores = {name: ranked[name] * weights[name] for name in self._dims}
        further = {name: self._share_worth(ranked[name], weights[name]) for name in self.forms.sparse}
        further |= {name: self._bits_worth(name, weights[name]) for name in self.forms.quantised}
        allocation = allocate(
            self._levels,
            scores,
            max(goal, self.limit),
            ladders=self._ladders,
            floor=self._floor,
            crowding=self.config.crowding,
            further=further,
        )
        worth = sum(float(vector.sum()) for vector in scores.values())
        worth += sum(values[present] for values, present in further.values())
        self.strength = allocation.multiplier * self.price.dense / worth or self.strength
        self._wanted = self.masks.layout.join(self._masks_of(allocation.sizes, ranked))

    def _share_worth(self, ranked: Tensor, weight: float) -> tuple[list[float], int]:
        """Worth of the strongest k/64 of a layer's weights for every k, and the share there is now."""
        ordered = torch.sort(ranked, descending=True).values.double()
        ends = torch.arange(LEVELS + 1) * ordered.numel() // LEVELS
        sums = torch.cat([torch.zeros(1, dtype=torch.float64), ordered.cumsum(0)])[ends]
        mass = sums.diff() * (LEVELS / ordered.numel())
        living = math.ceil(float((ranked > 0).float().mean()) * LEVELS)
        return worth_of((mass * weight).float(), self.config.crowding), living

    def _bits_worth(self, name: str, weight: float) -> tuple[list[float], int]:
        """Worth of every width: the energy of 64/64 of the layer that its grid keeps, and the width there is now."""
        kept = [1.0 - error for error in self.forms.errors(self._layers[name])]
        worth = [0.0] * (BITS[-1] + 1)
        for bits, share in zip(BITS, kept, strict=True):
            worth[bits] = LEVELS * weight * max(share, 0.0)
        vectors = self.masks.layout.split(self._wanted)
        return worth, int(self.forms.sizes(vectors)[name])

    def _masks_of(self, sizes: Mapping[str, int], ranked: Mapping[str, Tensor]) -> dict[str, Tensor]:
        strongest = {name: sizes[name] for name in self._dims}
        strongest |= {name: sizes[name] * ranked[name].numel() // LEVELS for name in self.forms.sparse}
        masks = keep_strongest({name: ranked[name] for name in strongest}, strongest)
        return masks | self.forms.gates({name: sizes[name] for name in self.forms.quantised})

    def _wanted_price(self) -> float:
        return self.price.total(true_sizes(self.masks, self.forms, self._wanted))  # type: ignore[arg-type]

    def _move(self) -> None:
        masks, wanted = self.masks.flat.detach(), self._wanted.to(self.masks.flat)
        lower, upper = (masks - self._fall).clamp_min(0), (masks + self._fall).clamp_max(1)
        moved = self.masks.layout.split(torch.where(wanted > 0, upper, lower))
        gates = self.masks.layout.split(wanted)
        moved |= {name: gates[name] for name in self.forms.quantised}  # a grid is one or the other
        self.masks.assign(self.masks.layout.join(moved))

    def state_dict(self) -> dict[str, Any]:
        """Lambda, sensitivities, who is to stay, the count of steps, and whether the masks are fixed."""
        return {
            "strength": self.strength,
            "sensitivity": self._sensitivity.clone(),
            "weights": dict(self._weights),
            "wanted": self._wanted.clone(),
            "steps": self._steps,
            "frozen": self.frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.strength, self.frozen, self._steps = float(state["strength"]), bool(state["frozen"]), int(state["steps"])
        self._sensitivity, self._wanted = state["sensitivity"].clone(), state["wanted"].clone()
        self._weights = {name: float(value) for name, value in state["weights"].items()}


def true_sizes(masks: Masks, forms: WeightForms, flat: Tensor | None = None) -> dict[str, float]:
    """Sizes, shares and bits that masks stand for, by count."""
    values = masks.flat.detach() if flat is None else flat.to(masks.flat.device)
    counts = masks.layout.counts(values)
    vectors = masks.layout.split(values)
    return {name: float(counts[name]) for name in forms.blocks.masked} | forms.sizes(vectors)


class _Levels(Price):
    """A block price whose shares are counted in 64ths: what a knapsack over whole numbers asks."""

    def __init__(self, price: Price) -> None:
        self.network: Network = price.network
        self.unit: Unit = price.unit
        self.table, self.dense, self._price = price.table, price.dense, price

    def total(self, sizes: Mapping[str, float]) -> float:
        return self._price.total(_shares(sizes))

    def change(self, sizes: Mapping[str, float], name: str, size: float) -> float:
        return self._price.change(_shares(sizes), name, _share(name, size))  # type: ignore[arg-type]

    def neighbours(self, name: str) -> tuple[str, ...]:
        return self._price.neighbours(name)


def _shares(sizes: Mapping[str, float]) -> Any:
    return {name: _share(name, size) for name, size in sizes.items()}


def _share(name: str, size: float) -> float:
    return size / LEVELS if name.startswith(density_name("")) else size


def _names(layer: Layer) -> list[str]:
    names = [density_name(layer.sparse)] if layer.sparse is not None else []
    return [*names, bits_name(layer.path)] if layer.quantised else names


def _normalised(energy: Tensor, alive: Tensor) -> Tensor:
    """Over the mean of the living entries."""
    living = (alive > 0).to(energy)
    return energy / ((energy * living).sum() / living.sum().clamp_min(1)).clamp_min(_TINY)


def _relative(values: Tensor) -> Tensor:
    """Values over their mean, none below a small share of it; ones where all are zero."""
    mean = values.mean()
    return (values / mean).clamp_min(_LEAST) if float(mean) > 0 else torch.ones_like(values)
