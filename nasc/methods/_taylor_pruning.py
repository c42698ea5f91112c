"""What pruning by Taylor importance shares: gather while training, prune along a ramp, then leave the masks alone.

An entry is worth the running mean of ``(a_j dL/da_j)^2``, its squared first-order Taylor term (Molchanov et al.,
arXiv 1906.10771, eq. 8, gate form; a = 1: the sum of weight times gradient over its readers).
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._masks import MaskedModel, Masks
from nasc.methods._price import Price
from nasc.methods._schedules import Ramp
from nasc.methods._widths import floor_sizes, require_reachable


class TaylorPruning(ABC):
    """Prune along a ramp by gathered importance; who goes is the subclass's to say.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        start: Fraction of the run trained dense.
        end: Fraction at which the limit is met.
        interval: Steps between prunings; importance is gathered in between.
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
            self.prune(self.ramp.between(fraction, self.price.dense, self.limit))
            self._frozen = last

    @abstractmethod
    def prune(self, goal: float) -> None:
        """Set masks so that the price meets a goal; masks at zero stay there."""

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
