"""Plain l1 on the masks (arXiv 2306.05785, eq. 3): loss + lambda * sum of all a, a >= 0 by projection.

The paper shows what goes wrong: a norm layer or a grown weight undoes a shrunk mask, so masks fall together and few
reach zero. To compare it at a target it gets what our own method gets: a schedule, a lambda that follows the true
price, and in the end the largest masks that fit. The sum is divided by the number of entries, so that lambda has the
scale of a loss.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._masks import MaskedModel, Masks, keep_one
from nasc.methods._price import Price
from nasc.methods._schedules import Ramp
from nasc.methods._widths import bisect_sizes, floor_sizes, keep_strongest, require_reachable


class PlainL1:
    """Shrink masks by their l1 norm; at the end of the ramp keep the largest that meet the limit.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit; None leaves lambda fixed and never freezes (eq. 3 as it stands).
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        start: Fraction of the run at which shrinking begins.
        end: Fraction at which the masks are fixed.
        strength: Lambda at the start.
        gain: How fast lambda follows the gap between true price and goal, per step.
        learning_rate: Step size of the masks.
        floor: Smallest share of a dim that may stay.
    """

    def __init__(
        self,
        network: Network,
        price: Price,
        limit: float | None,
        total_steps: int,
        *,
        start: float = 0.1,
        end: float = 0.5,
        strength: float = 0.0,
        gain: float = 0.05,
        learning_rate: float = 0.05,
        floor: float = 0.05,
    ) -> None:
        self.network, self.price, self.limit, self.total_steps = network, price, limit, total_steps
        self.ramp, self.strength, self.gain, self.learning_rate = Ramp(start, end), strength, gain, learning_rate
        self.masks = Masks(network, trainable=True)
        self.model: nn.Module = MaskedModel(network, self.masks.vectors)
        self.floor = floor_sizes(price, self.masks.layout.names, floor)
        if limit is not None:
            require_reachable(price, self.floor, limit)
        self.step_count = 0
        self._frozen = False

    def penalty(self) -> Tensor:
        """Lambda times the mean of all masks; zero once they are fixed or while lambda is zero."""
        if self._frozen or self.strength == 0:
            return torch.zeros((), device=self.masks.flat.device)
        return self.strength * self.masks.flat.sum() / self.masks.flat.numel()

    def step(self) -> None:
        """Descend and project the masks, then move lambda towards the goal."""
        self.step_count += 1
        gradient = self.masks.take_gradient()
        fraction = self.step_count / self.total_steps
        if self._frozen or fraction < self.ramp.start or (self.limit is None and self.strength == 0):
            return
        before = self.masks.flat.detach() - self.learning_rate * gradient
        self.masks.assign(keep_one(self.masks.layout, before.clamp_min(0), before))
        if self.limit is not None:
            self._follow(fraction, self.limit)

    def _follow(self, fraction: float, limit: float) -> None:
        if fraction >= self.ramp.end:
            self._fix(limit)
            return
        goal = self.ramp.between(fraction, self.price.dense, limit)
        gap = (self.price.total(self.masks.sizes()) - goal) / self.price.dense
        self.strength = max(0.0, self.strength + self.gain * gap)

    def _fix(self, limit: float) -> None:
        values = self.masks.layout.split(self.masks.flat.detach().cpu())
        top = float(self.masks.flat.detach().max())

        def sizes_at(threshold: float) -> dict[str, int]:
            return {
                name: max(self.floor[name], int((vector > threshold * top).sum())) for name, vector in values.items()
            }

        kept = self.masks.layout.join(keep_strongest(values, bisect_sizes(self.price, limit, sizes_at)))
        # An entry that the floor brings back has mask zero: it returns with a small one.
        self.masks.assign(self.masks.flat.detach().clamp_min(1e-3) * kept.to(self.masks.flat.device))
        self._frozen = True

    @property
    def frozen(self) -> bool:
        """The masks are fixed; what follows is fine-tuning."""
        return self._frozen

    def select(self) -> Selection:
        """Entries with positive masks, and the masks as gains."""
        return self.masks.select()

    def scores(self) -> dict[str, Tensor]:
        """The masks, by dim."""
        return self.masks.layout.split(self.masks.flat.detach().cpu())

    def metrics(self) -> dict[str, float]:
        """Lambda, the true price, and the number of survivors."""
        sizes = self.masks.sizes()
        return {
            "strength": self.strength,
            "price": self.price.total(sizes),
            "survivors": float(sum(sizes.values())),
        }

    def state_dict(self) -> dict[str, Any]:
        """Step, masks, lambda and whether they are fixed."""
        return {
            "step": self.step_count,
            "masks": self.masks.flat.detach().clone(),
            "strength": self.strength,
            "frozen": self._frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count, self._frozen = int(state["step"]), bool(state["frozen"])
        self.strength = float(state["strength"])
        self.masks.assign(state["masks"])
