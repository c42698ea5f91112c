"""Sorted networks (arXiv 2309.00255): one training run, a whole family of sub-models in one set of weights.

A member keeps the *first* entries of every dim and, where depth is a knob, the first blocks. At each step one member is
drawn and trained on views of the shared weights:

    theta*_b = the intersection over dims j of theta(Dim_j cut at b_j)                                  (Eq. 1)
    loss_m = L(y, f(x, theta*_b)) / g_acc,  m = 1..g_acc,  then one optimiser step

Members are ranked by what they lost while they trained; the finished family is evaluated, priced on any device's table and
read off without search (:mod:`nasc.family`). Theory stated with the paper (App. B): with L-Lipschitz gradients a member and
an independent twin obey ``|theta_{t+1} - phi_{t+1}| <= (1 + eta L) |theta_t - phi_t| + eta C`` with C the mismatch of
gradients. This is a bound on growth, not convergence; C is zero only where no other member updates the shared weights.

Departures: cuts of a dim are rounded shares, at least one unit; an early exit reads the head from the origin on; what the
paper's appendix holds (hyper-parameters, the grid of the 160 members) is not recovered, so pools and recipes are ours.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasc.graph.blocks import Exit, find_exits, find_skips
from nasc.graph.network import Network
from nasc.graph.running import Program, Skip
from nasc.graph.selection import Selection
from nasc.graph.shortening import cut_network
from nasc.graph.trace import trace
from nasc.methods._price import Price
from nasc.methods._readjust import smallest_sizes
from nasc.methods._scores import writer_norms
from nasc.methods._widths import bisect_sizes, require_reachable
from nasc.methods.sorted_networks.config import SortedConfig
from nasc.methods.sorted_networks.model import PrefixModel
from nasc.methods.sorted_networks.objective import build_objective
from nasc.methods.sorted_networks.ordering import order_units
from nasc.methods.sorted_networks.pool import DEPTH, Knob, Member, Pool, Sampler, match_dims
from nasc.methods.sorted_networks.targets import frontier_weights

_REWEIGH = 50
"""Steps between two looks at the fronts."""

_MEMORY = 0.9
"""Share of a member's mean loss that its last value keeps."""


class SortedNetwork:
    """Train every member of a pool in one network; at the end the best one within the limit is selected.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Optimiser steps of the whole run; the family trains to its end.
        **options: Fields of :class:`SortedConfig`.

    Raises:
        UsageError: A setting is unknown or out of range.
        TargetError: The limit is below the smallest allowed model.
    """

    def __init__(self, network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> None:
        self.config = SortedConfig(**options)
        self.network, self.price, self.limit, self.total_steps = network, price, limit, total_steps
        self.dense, self._whole_price = network, price
        self._prices: dict[int, Price] = {}
        require_reachable(price, smallest_sizes(price), limit)
        if self.config.order == "norms":
            order_units(network, writer_norms(network))
        program = Program(network)
        self.pool = build_pool(network, self.config, program)
        self._costs = [self._cost(member) for member in self.pool.members] if self.config.sampling == "cost" else None
        self._draw_by(self.config.weights)
        self.family = PrefixModel(self.pool, self.config.norms, program)
        self.model: nn.Module = self.family
        self.step_count = 0
        self.updates = torch.zeros(len(self.pool), dtype=torch.int64)
        self.losses = torch.full((len(self.pool),), float("nan"), dtype=torch.float64)
        self._droppable = find_skips(network, program) if self.config.drop else ()
        self._partial = bool(self._droppable or self.config.depths or self.config.norms == "own")
        self._drawn: tuple[Member, ...] = self._objective.members(0)
        self._before: dict[str, Tensor] = {}
        self._selected: Selection | None = None
        self.family.member = self._drawn[0]

    def _draw_by(self, weights: Sequence[float] | None) -> None:
        """From now on members are drawn with these weights, or by the configured law."""
        self.weights = None if weights is None else [float(weight) for weight in weights]
        self.sampler = Sampler(
            self.pool,
            self.config.sampling,
            full_share=self.config.full_share,
            costs=self._costs,
            weights=self.weights,
            seed=self.config.seed,
        )
        self._objective = build_objective(
            self.config.loss,
            self.pool,
            self.sampler,
            accumulate=self.config.accumulate,
            distil=self.config.distil,
            total_steps=self.total_steps,
        )

    # -- training ---------------------------------------------------------------------------------

    def objective(self, criterion: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a step and the scores of its batch, for loops that let a method choose its loss."""
        self.family.member = self.pool.largest
        self._remember()
        self.family.skips = self._dropped()
        loss, scores, losses = self._objective.loss(self.family, criterion, x, y, self._drawn)
        self.family.skips = frozenset()
        for member, value in zip(self._drawn, losses, strict=False):
            before = float(self.losses[member.index])
            self.losses[member.index] = value if before != before else _MEMORY * before + (1 - _MEMORY) * value
        if self.config.norms == "line":
            loss = loss + self.family.line_cosine()
        return loss + self._untouched() if self._partial else loss, scores

    def _untouched(self) -> Tensor:
        """Zero, with a zero gradient for every parameter: fused optimisers refuse a group in which some have none."""
        firsts = [parameter.view(-1)[0] for parameter in self.model.parameters() if parameter.requires_grad]
        return 0.0 * torch.stack(firsts).sum()

    def penalty(self) -> Tensor:
        """Zero: nothing is added to the loss."""
        return torch.zeros((), device=next(self.family.inner.parameters()).device)

    @torch.no_grad()
    def step(self) -> None:
        """Count the members' updates, put back what was frozen, draw the next members."""
        self._restore()
        for member in self._drawn:
            self.updates[member.index] += 1
        self.step_count += 1
        if self.frozen:
            self.family.member = self.pool.largest
            return
        if self.config.fronts and self.step_count % _REWEIGH == 0:
            self._draw_by(frontier_weights(self.config.fronts, self.losses.tolist()))
        self._drawn = self._objective.members(self.step_count)
        self.family.member = self._drawn[0]

    def _dropped(self) -> frozenset[Skip]:
        """The blocks that this step leaves out."""
        source = random.Random(f"{self.config.seed}/{self.step_count}/drop")
        return frozenset(skip for skip in self._droppable if source.random() < self.config.drop)

    def _remember(self) -> None:
        if self.config.freeze:
            self._before = {name: p.detach().clone() for name, p in self.family.inner.named_parameters()}

    def _restore(self) -> None:
        """Entries outside the union of the drawn members as they were before the optimiser moved them."""
        if not self._before:
            return
        reads = [self.family.touched(member) for member in self._drawn]
        for name, parameter in self.family.inner.named_parameters():
            outside = torch.ones(parameter.numel(), dtype=torch.bool)
            for touched in reads:
                if name in touched:
                    outside[touched[name]] = False
            outside = outside.view(parameter.shape).to(parameter.device)
            parameter.copy_(torch.where(outside, self._before[name], parameter))
        self._before = {}

    @property
    def frozen(self) -> bool:
        """The family has been trained to the end of the run."""
        return self.step_count >= self.total_steps

    @property
    def recalibrates(self) -> bool:
        """Whether the finished member's batch norms get statistics of their own."""
        return self.config.recalibrate and self.config.norms != "own"

    # -- selection --------------------------------------------------------------------------------

    def select(self) -> Selection:
        """The member within the limit that lost least, grown evenly along all dims to fill the limit."""
        if self._selected is not None:
            return self._selected
        member = self.best_within(self.limit)
        if member.exit is not None:
            self._shorten(member.exit)
        sizes = self._grown(member)
        selection = Selection({name: torch.arange(size) for name, size in sizes.items()})
        if self.frozen:
            self.family.settle_norms(member)
            self._selected = selection
        return selection

    def best_within(self, limit: float) -> Member:
        """The member with the least loss among those whose price meets a limit; the smallest where none does."""
        fitting = [member for member in self.pool.members if self._cost(member) <= limit]
        if not fitting:
            return min(self.pool.members, key=lambda member: (self._cost(member), member.index))
        seen = [member for member in fitting if not torch.isnan(self.losses[member.index])]
        if len(self.pool.knobs) == 1 or not seen:  # one knob: more is better
            return max(fitting, key=lambda member: (self._cost(member), -member.index))
        return min(seen, key=lambda member: (float(self.losses[member.index]), member.index))

    def _cost(self, member: Member) -> float:
        if member.exit is None:
            return self._whole_price.total(member.sizes)
        short = self.price_at(member.exit)
        return short.total(_translate(short.network, self.dense, member.sizes))

    def _grown(self, member: Member) -> dict[str, int]:
        """Sizes between the member and the whole, or below it where even the smallest member is too large."""
        names = list(self.network.maskable)
        dense = {name: self.network.dims[name].size for name in names}
        own = _translate(self.network, self.dense, member.sizes) if member.exit else dict(member.sizes)
        start = {name: own.get(name, dense[name]) for name in names}
        least = {name: min(start[name], size) for name, size in smallest_sizes(self.price).items()}

        def at(share: float) -> dict[str, int]:
            low, high, place = (start, dense, 1 - 2 * share) if share < 0.5 else (least, start, 2 - 2 * share)
            return {name: round(low[name] + place * (high[name] - low[name])) for name in names}

        return bisect_sizes(self.price, self.limit, at)

    def _shorten(self, exit_: Exit) -> None:
        """From here on the selection speaks of the network that ends at this exit."""
        self.price = self.price_at(exit_)
        self.network = self.price.network

    def price_at(self, exit_: Exit) -> Price:
        """The price of the network that ends at an exit; its :attr:`Price.network` is that network."""
        if exit_.blocks not in self._prices:
            short = trace(cut_network(self.dense, {}, exit_.detour), self.dense.example_inputs)
            self._prices[exit_.blocks] = Price(short, self._whole_price.unit, self._whole_price.table)
        return self._prices[exit_.blocks]

    def scores(self) -> dict[str, Tensor]:
        """The order of the entries: earlier ones come first, so that what is readjusted stays a prefix."""
        return {
            name: torch.arange(dim.size, 0, -1, dtype=torch.float32) / dim.size
            for name, dim in self.network.maskable.items()
        }

    def metrics(self) -> dict[str, float]:
        """Members drawn so far, the fewest and the most updates of one, and the mean of their losses."""
        seen = self.losses[~torch.isnan(self.losses)]
        return {
            "members": float((self.updates > 0).sum()),
            "fewest_updates": float(self.updates.min()),
            "most_updates": float(self.updates.max()),
            "member_loss": float(seen.mean()) if seen.numel() else 0.0,
        }

    def state_dict(self) -> dict[str, Any]:
        """Step, updates and losses; what is drawn next follows from the step."""
        weights = torch.tensor(self.weights or [], dtype=torch.float64)
        return {
            "step": self.step_count,
            "updates": self.updates.clone(),
            "losses": self.losses.clone(),
            "weights": weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count = int(state["step"])
        self.updates.copy_(state["updates"])
        self.losses.copy_(state["losses"])
        self._draw_by(state["weights"].tolist() or None)
        self._drawn = self._objective.members(self.step_count)
        self.family.member = self._drawn[0]


def family_networks(network: Network, **options: Any) -> tuple[Network, ...]:
    """The networks that end early, one a depth: their heads are kernels the whole network has not.

    Args:
        network: The traced model.
        **options: Fields of :class:`SortedConfig`.
    """
    config = SortedConfig(**options)
    if not config.depths:
        return ()
    exits = {member.exit.blocks: member.exit for member in build_pool(network, config).members if member.exit}
    return tuple(trace(cut_network(network, {}, exit_.detour), network.example_inputs) for exit_ in exits.values())


def build_pool(network: Network, config: SortedConfig, program: Program | None = None) -> Pool:
    """The pool a configuration describes.

    Raises:
        UsageError: A pattern matches no dim, or a depth is not one of the network's.
    """
    widths = tuple(config.widths)
    knobs = [
        Knob(name, widths, match_dims(network, patterns, reduced=config.reduced), dict(config.exponents))
        for name, patterns in (config.knobs or {"width": ["*"]}).items()
    ]
    exits: tuple[Exit, ...] = ()
    if config.depths:
        exits = find_exits(network, program)
        depths = [exit_.blocks for exit_ in exits] if config.depths == "all" else sorted(int(d) for d in config.depths)
        knobs.append(Knob(DEPTH, tuple(depths)))
    return Pool(network, [knob for knob in knobs if knob.cuts != (1.0,)], exits, multiple=config.multiple)


def _translate(short: Network, whole: Network, sizes: Mapping[str, int]) -> dict[str, int]:
    """Sizes by the dim names of a shortened network, given those of the whole: the dims of the same parameters' axes."""
    names: dict[str, str] = {}
    for parameter, axes in short.parameters.items():
        for own, other in zip(axes, whole.parameters.get(parameter, ()), strict=False):
            for dim, original in zip(own.dims(), other.dims(), strict=False):
                if dim.name in short.dims:
                    names.setdefault(dim.name, original.name)
    return {name: min(sizes[names[name]], dim.size) for name, dim in short.dims.items() if names.get(name) in sizes}
