"""Prune the channels whose removal changes the loss least, to first order (Molchanov et al., arXiv 1906.10771).

An entry is worth the running mean of ``(a_j dL/da_j)^2`` (eq. 8, gate form), ranked over the whole network by one threshold,
whatever an entry costs: the threshold is found by bisection on the true price. A few channels go at a time, along a ramp,
with training in between; then the rest of the run fine-tunes. With the price in the ranking this is HALP.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._masks import MaskedModel, Masks
from nasc.methods._price import Price
from nasc.methods._schedules import Ramp
from nasc.methods._widths import bisect_sizes, floor_sizes, keep_strongest, require_reachable


class Taylor:
    """Prune by one threshold over squared Taylor terms until the price meets the limit.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        start: Fraction of the run trained dense.
        end: Fraction at which the limit is met.
        interval: Steps between prunings.
        memory: Weight of the past in the running mean, per step.
        floor: Smallest share of a dim that may stay.

    Raises:
        TargetError: The limit is below the smallest allowed model.
    """

    def __init__(
        self,
        network: Network,
        price: Price,
        limit: float,
        total_steps: int,
        *,
        start: float = 0.1,
        end: float = 0.4,
        interval: int = 16,
        memory: float = 0.98,
        floor: float = 0.05,
    ) -> None:
        self.network, self.price, self.limit, self.total_steps = network, price, limit, total_steps
        self.ramp, self.interval, self.memory = Ramp(start, end), max(1, interval), memory
        self.masks = Masks(network, trainable=True)
        self.model: nn.Module = MaskedModel(network, self.masks.vectors)
        self.floor = floor_sizes(price, self.masks.layout.names, floor)
        require_reachable(price, self.floor, limit)
        self.importance = torch.zeros_like(self.masks.flat.detach())
        self.step_count = 0
        self._frozen = False

    def penalty(self) -> Tensor:
        """Zero: nothing is added to the loss."""
        return torch.zeros((), device=self.masks.flat.device)

    def step(self) -> None:
        """Gather importance; prune when the schedule says so."""
        self.step_count += 1
        gradient = self.masks.take_gradient()
        if self._frozen:
            return
        taylor = (self.masks.flat.detach() * gradient).square()
        self.importance = self.memory * self.importance.to(taylor) + (1 - self.memory) * taylor
        fraction = self.step_count / self.total_steps
        last = fraction >= self.ramp.end
        if fraction > self.ramp.start and (self.step_count % self.interval == 0 or last):
            self._prune(self.ramp.between(fraction, self.price.dense, self.limit))
            self._frozen = last

    def _prune(self, goal: float) -> None:
        alive = (self.masks.flat.detach() > 0).float().cpu()
        worth = self.importance.cpu().clamp_min(torch.finfo(torch.float32).tiny).log()
        lowest = float(worth.min()) - 1
        height = (worth - lowest) * alive  # on a log scale, above zero where alive: bisection resolves all decades
        scores = self.masks.layout.split(height / height.max())

        def sizes_at(threshold: float) -> dict[str, int]:
            return {name: max(self.floor[name], int((vector > threshold).sum())) for name, vector in scores.items()}

        kept = keep_strongest(scores, bisect_sizes(self.price, goal, sizes_at))
        self.masks.assign(self.masks.layout.join(kept).to(self.masks.flat) * alive.to(self.masks.flat))

    @property
    def frozen(self) -> bool:
        """Pruning is over; what follows is fine-tuning."""
        return self._frozen

    def select(self) -> Selection:
        """What to keep, as it stands now."""
        return self.masks.select()

    def scores(self) -> dict[str, Tensor]:
        """The running mean of the squared Taylor terms, by dim."""
        return self.masks.layout.split(self.importance.cpu())

    def metrics(self) -> dict[str, float]:
        """The true price and the number of survivors."""
        sizes = self.masks.sizes()
        return {"price": self.price.total(sizes), "survivors": float(sum(sizes.values()))}

    def state_dict(self) -> dict[str, Any]:
        """Step, masks, importance and whether pruning is over."""
        return {
            "step": self.step_count,
            "masks": self.masks.flat.detach().clone(),
            "importance": self.importance.clone(),
            "frozen": self._frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count, self._frozen = int(state["step"]), bool(state["frozen"])
        self.importance = state["importance"].clone()
        self.masks.assign(state["masks"])
