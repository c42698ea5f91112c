"""The controller: one run that ends at the target, no sweep over lambda.

The paper's masks, price, projection and exact zeros stay. What changes, and why (figures: benchmarks/surrogate_dynamics.py):

1. **The task's pull on a mask is measured, not taken from its gradient.** A mask and its readers' weights can be rescaled
   against each other, so ``a_j dL/da_j = <W_j, dL/dW_j>``, which is zero wherever the weights are at rest: the raw gradient
   says nothing about what an entry is worth, and raw descent moves all masks alike. What the loss would lose with the
   entry is estimated by the running mean of ``(a_j dL/da_j)^2`` over batches (Molchanov et al. 2019, first-order Taylor),
   which no rescaling changes.
2. **Lambda is solved for, not integrated.** At every decision the goal (on the true price, along a cubic ramp) is met by a
   greedy knapsack over the entries: least importance per saved price goes first. The multiplier of that knapsack *is*
   lambda, so nothing can wind up, and the price is the recounted one, so nothing can be met by small non-zero masks.
3. **Masks of entries that must go fall in equal steps and are clipped at zero**; the others return to one. At the end of
   the ramp all masks are 0 or 1, the selection is final, and the rest of the run is fine-tuning.
4. **Widths land on the device's steps**: a dim only moves between widths that the price itself shows to be the ends of
   steps.
"""

from typing import Any

import torch
from torch import Tensor

from nasc.methods._masks import Masks
from nasc.methods._price import Price
from nasc.methods._schedules import Ramp
from nasc.methods._widths import allocate, efficient_widths, floor_sizes, keep_strongest, require_reachable
from nasc.methods.surrogate.config import SurrogateConfig
from nasc.methods.surrogate.relaxed import relax


class Steering:
    """Masks under a controller that ends the run at the limit.

    Args:
        masks: Moved in place.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Of the whole run.
        config: The options.

    Raises:
        TargetError: The limit is below the smallest allowed model.
    """

    def __init__(self, masks: Masks, price: Price, limit: float, total_steps: int, config: SurrogateConfig) -> None:
        self.masks, self.price, self.limit, self.config = masks, price, limit, config
        self.ramp = Ramp(config.start, config.end)
        self.frozen = False
        self.strength = 0.0
        layout = masks.layout
        self._floor = floor_sizes(price, layout.names, config.floor)
        require_reachable(price, self._floor, limit)
        self._ladders = {
            name: efficient_widths(price, name) if config.on_steps else tuple(range(1, size + 1))
            for name, size in layout
        }
        self._fall = 1.0 / max(1.0, config.fade * total_steps)
        self._wanted = layout.ones()  # 1 for entries that stay, 0 for those that are to go
        self._importance = torch.zeros_like(self._wanted)
        self._steps = 0

    def penalty(self) -> Tensor:
        """``lambda * price / dense price`` for the record; the masks are moved by :meth:`step`, so it has no gradient."""
        value = 0.0 if self.frozen else self.strength * self.relaxed_price() / self.price.dense
        return torch.tensor(value, device=self.masks.flat.device)

    def relaxed_price(self) -> float:
        """The price at the surrogate sizes of the masks as they stand."""
        return relax(self.price, self.masks.layout, self.masks.flat.detach(), self.config.form).value

    def step(self, fraction: float, learning_rate: float) -> None:
        """Take in a gradient, decide where a decision is due, move the masks.

        Args:
            fraction: Of the run that is done.
            learning_rate: Not used: masks fall at their own pace.
        """
        gradient = self.masks.take_gradient()
        if self.frozen:
            return
        self._steps += 1
        self._measure(gradient)
        due = self._steps % self.config.interval == 0 or fraction >= self.ramp.end
        if fraction > self.ramp.start and due and self._undecided(fraction):
            self._decide(self.ramp.between(fraction, self.price.dense, self.limit))
        self._move()
        if fraction >= min(1.0, self.config.end + self.config.fade):
            self.masks.assign(self._wanted.to(self.masks.flat))
            self.frozen = True

    def _undecided(self, fraction: float) -> bool:
        """Decisions end with the ramp: the first one at or after its end is the last."""
        return fraction < self.ramp.end or self.price.total(self._sizes()) > self.limit

    def _sizes(self) -> dict[str, int]:
        return self.masks.layout.counts(self._wanted.to(self.masks.flat.device))

    def _measure(self, gradient: Tensor) -> None:
        taylor = (self.masks.flat.detach() * gradient).square()
        keep = self.config.memory
        self._importance = keep * self._importance.to(taylor) + (1 - keep) * taylor

    def _decide(self, goal: float) -> None:
        """Choose who is to go so that the true price of the others meets the goal; who has gone does not return."""
        layout = self.masks.layout
        # A survivor of importance zero must still rank above the removed.
        floor = torch.finfo(torch.float32).tiny
        scores = layout.split(self._importance.cpu().clamp_min(floor) * self._wanted.cpu())
        allocation = allocate(
            self.price,
            scores,
            goal,
            ladders=self._ladders,
            floor=self._floor,
            crowding=self.config.crowding,
        )
        self.strength = allocation.multiplier * self.price.dense or self.strength
        self._wanted = layout.join(keep_strongest(scores, allocation.sizes))

    def _move(self) -> None:
        masks, wanted = self.masks.flat.detach(), self._wanted.to(self.masks.flat)
        lower, upper = (masks - self._fall).clamp_min(0), (masks + self._fall).clamp_max(1)
        self.masks.assign(torch.where(wanted > 0, upper, lower))

    def scores(self) -> Tensor:
        """The running mean of the squared Taylor terms, shape (entries,)."""
        return self._importance.detach()

    def state_dict(self) -> dict[str, Any]:
        """Lambda, importance, who is to stay, the count of steps, and whether the masks are fixed."""
        return {
            "strength": self.strength,
            "importance": self._importance.clone(),
            "wanted": self._wanted.clone(),
            "steps": self._steps,
            "frozen": self.frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.strength, self.frozen, self._steps = float(state["strength"]), bool(state["frozen"]), int(state["steps"])
        self._importance, self._wanted = state["importance"].clone(), state["wanted"].clone()
