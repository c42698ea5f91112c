"""Width search with shared weights: one training run in which every step trains one member of the family.

A member keeps the first entries of every dim, as slimmable networks do (Yu et al., arXiv 1812.08928). Until ``warm`` the
members are drawn at random around the dense network; then the search compares them by the loss of training batches it sees
anyway, which is what the budget of one run allows:

* ``"random"``: the best of a pool of members within the limit (Li and Talwalkar, arXiv 1902.07638);
* ``"evolution"``: the pool renews itself from its better half;
* ``"policy"``: policy gradient with TuNAS's absolute reward.

The best member's widths are fixed at ``end``; the rest of the run fine-tunes them.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._masks import MaskedModel, Masks
from nasc.methods._price import Price
from nasc.methods._widths import efficient_widths, floor_sizes, require_reachable
from nasc.methods.weight_sharing.strategies import Member, PolicyGradient, Pool, draw

Search = Literal["random", "evolution", "policy"]
RUNGS = 8
"""Widths a dim may take: even shares of its dense size."""


class WeightSharing:
    """Train a family with shared weights, then keep its best member within the limit.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        search: ``"random"``, ``"evolution"`` or ``"policy"``.
        warm: Fraction of the run that only trains the family.
        end: Fraction at which the best member is fixed.
        candidates: Size of the pool.
        floor: Smallest share of a dim that may stay.
        seed: Of the members drawn.

    Raises:
        UsageError: An unknown search.
        TargetError: The limit is below the smallest allowed model.
    """

    def __init__(
        self,
        network: Network,
        price: Price,
        limit: float,
        total_steps: int,
        *,
        search: Search = "evolution",
        warm: float = 0.25,
        end: float = 0.5,
        candidates: int = 16,
        floor: float = 0.1,
        seed: int = 0,
    ) -> None:
        if search not in ("random", "evolution", "policy"):
            raise UsageError(f"unknown search {search!r}", "known: random, evolution, policy")
        self.network, self.price, self.limit, self.total_steps = network, price, limit, total_steps
        self.warm, self.end, self.seed = warm, end, seed
        self.masks = Masks(network, trainable=False)
        self.model: nn.Module = MaskedModel(network, self.masks.vectors)
        self.floor = floor_sizes(price, self.masks.layout.names, floor)
        require_reachable(price, self.floor, limit)
        self.ladders = {name: _ladder(price, name, self.floor[name]) for name in self.masks.layout.names}
        rungs = {name: len(ladder) for name, ladder in self.ladders.items()}
        self.rungs = rungs
        self.strategy: Pool | PolicyGradient = (
            PolicyGradient(rungs, self._ratio)
            if search == "policy"
            else Pool(rungs, self._fits, size=candidates, evolve=search == "evolution")
        )
        self.member: Member = {name: count - 1 for name, count in rungs.items()}
        self.step_count = 0
        self._loss: float | None = None
        self._searching = False  # whether the present member is one of the search's
        self._frozen = False

    def _sizes(self, member: Member) -> dict[str, int]:
        return {name: self.ladders[name][rung] for name, rung in member.items()}

    def _ratio(self, member: Member) -> float:
        return self.price.total(self._sizes(member)) / self.limit

    def _fits(self, member: Member) -> bool:
        return self._ratio(member) <= 1

    def observe(self, loss: float) -> None:
        """The loss of the batch just computed, under the present member."""
        self._loss = loss

    def penalty(self) -> Tensor:
        """Zero: nothing is added to the loss."""
        return torch.zeros((), device=self.masks.flat.device)

    def step(self) -> None:
        """Tell the search what the member was worth, and put the next one on."""
        self.step_count += 1
        if self._frozen:
            return
        fraction = self.step_count / self.total_steps
        generator = torch.Generator().manual_seed((self.seed << 32) + self.step_count)
        if fraction >= self.end:
            self._fix(generator)
            return
        if fraction <= self.warm:
            self._put(self._warm_member(generator))
            return
        if isinstance(self.strategy, PolicyGradient):
            self.strategy.active = True
        if self._loss is not None and self._searching:
            self.strategy.tell(self.member, self._loss)
        self._searching = True
        self._put(self.strategy.propose(generator))

    def _warm_member(self, generator: torch.Generator) -> Member:
        """The dense network every fourth step, else any member: all widths learn, the widest most."""
        if self.step_count % 4 == 0:
            return {name: count - 1 for name, count in self.rungs.items()}
        return {name: int(torch.randint(count, (), generator=generator)) for name, count in self.rungs.items()}

    def _fix(self, generator: torch.Generator) -> None:
        """The best member, brought down to the limit or up to it rung by rung, all dims alike."""
        ready = isinstance(self.strategy, PolicyGradient) or bool(self.strategy.members)
        member = dict(self.strategy.best()) if ready else draw(self.rungs, generator, self._fits)
        while not self._fits(member):
            name = max(member, key=lambda dim: member[dim] / self.rungs[dim])
            member[name] -= 1
        for name in sorted(member, key=lambda dim: member[dim] / self.rungs[dim]):
            while member[name] + 1 < self.rungs[name] and self._fits({**member, name: member[name] + 1}):
                member[name] += 1
        self._put(member)
        self._frozen = True

    def _put(self, member: Member) -> None:
        self.member = member
        sizes = self._sizes(member)
        masks = {name: (torch.arange(size) < sizes[name]).float() for name, size in self.masks.layout}
        self.masks.assign(self.masks.layout.join(masks).to(self.masks.flat))

    @property
    def frozen(self) -> bool:
        """The widths are fixed; what follows is fine-tuning."""
        return self._frozen

    def select(self) -> Selection:
        """The present member."""
        return self.masks.select()

    def scores(self) -> dict[str, Tensor]:
        """The order in which entries are shared: the first of a dim is in every member, the last in the widest only."""
        return {name: torch.arange(size, 0, -1, dtype=torch.float32) / size for name, size in self.masks.layout}

    def metrics(self) -> dict[str, float]:
        """The price of the present member and the number of its entries."""
        sizes = self.masks.sizes()
        return {"price": self.price.total(sizes), "survivors": float(sum(sizes.values()))}

    def state_dict(self) -> dict[str, Any]:
        """Step, member, the search's state and whether the widths are fixed."""
        return {
            "step": self.step_count,
            "masks": self.masks.flat.detach().clone(),
            "member": dict(self.member),
            "search": self.strategy.state(),
            "searching": self._searching,
            "loss": self._loss,
            "frozen": self._frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count, self._frozen = int(state["step"]), bool(state["frozen"])
        self._searching, self._loss = bool(state["searching"]), state["loss"]
        self.member = {name: int(rung) for name, rung in state["member"].items()}
        self.strategy.load(state["search"])
        self.masks.assign(state["masks"])


def _ladder(price: Price, name: str, floor: int) -> tuple[int, ...]:
    """At most eight widths from the floor to the dense one, on the device's steps where it has them."""
    size = price.network.dims[name].size
    rungs = sorted({rung for rung in efficient_widths(price, name) if rung >= floor} | {floor, size})
    if len(rungs) <= RUNGS:
        return tuple(rungs)
    picked = torch.linspace(0, len(rungs) - 1, RUNGS).round().long().tolist()
    return tuple(rungs[index] for index in picked)
