"""The controller: one run that ends at the target, no sweep over lambda.

The paper's masks, l1/l2 price, projection and exact zeros stay. What changes, and why (benchmarks/surrogate_dynamics.py):

1. **R is taken of a_j |W_j|, not of a_j.** A mask and the weights that read it can be rescaled against each other without
   changing the network, so ``a`` alone says nothing, and at the paper's start a = 1 the gradient of R is zero. The norm of
   an entry's readers times its mask is the same in every such gauge. There R has a gradient from the first step on: within
   a dim it pushes down the entries that are read least, in that order.
2. **Between dims the price decides against a measured sensitivity.** The raw gradient of the loss by a mask cannot:
   ``a_j dL/da_j = <W_j, dL/dW_j>``, which is zero wherever the weights are at rest. Its running mean square over batches
   (first-order Taylor, Molchanov et al. 2019) is not zero, and rescaling does not change it; averaged over a dim it says
   what the loss would lose per entry. The slopes of the price are those at the surrogate sizes, eq. 6.
3. **Lambda is solved for, not integrated.** At every decision the goal (on the true price, along a cubic ramp) is met by a
   greedy knapsack: least score per saved price goes first. Its multiplier *is* lambda, so nothing winds up, and the price
   is the recounted one, so nothing is met by small masks that are not zero.
4. **Masks that must go fall in equal steps and are clipped at zero**; until then they may be called back, and rise again.
   In the end all masks are 0 or 1, the selection is final, and the rest of the run is fine-tuning.
5. **Widths land on the device's steps**: a dim only moves between widths that the price itself shows to be ends of steps.
"""

from typing import Any

import torch
from torch import Tensor

from nasc.methods._masks import Masks
from nasc.methods._price import Price
from nasc.methods._schedules import Ramp
from nasc.methods._scores import reader_energies
from nasc.methods._widths import allocate, efficient_widths, floor_sizes, keep_strongest, require_reachable
from nasc.methods.surrogate.config import SurrogateConfig
from nasc.methods.surrogate.norms import sizes_and_gradient
from nasc.methods.surrogate.relaxed import relax

_LEAST = 1e-6  # a dim that costs or matters nothing still counts by this share of the average


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
        self._sensitivity = torch.zeros(len(layout.names))  # running mean of sum (a_j dL/da_j)^2, by dim
        self._steps = 0

    def penalty(self) -> Tensor:
        """Zero: the masks feel the price in :meth:`step`, in closed form, and the weights never do."""
        return torch.zeros((), device=self.masks.flat.device)

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

    def scores(self) -> Tensor:
        """What each entry is worth against the others, shape (entries,), those that have gone included.

        The entry's share of its dim's energy, times the dim's price slope and sensitivity, weighed against each other.
        """
        layout = self.masks.layout
        energy = layout.join(reader_energies(self.price.network, layout.split(self._alive())))
        alive = layout.total(self._alive().to(layout.segments.device)).cpu()
        slope = self._slopes(energy)
        measured = _relative(self._sensitivity.cpu() / alive)
        balance = self.config.sensitivity
        weight = _relative(slope) ** (1 - balance) * measured**balance
        return energy * weight[layout.segments.cpu()]

    def _slopes(self, energy: Tensor) -> Tensor:
        """Price per entry of each dim at the surrogate sizes (eq. 6), shape (dims,)."""
        layout = self.masks.layout
        masks = (energy.sqrt() * self.masks.flat.detach().cpu()).to(layout.segments.device)
        sizes, _ = sizes_and_gradient(layout, masks, self.config.form)
        _, slopes = self.price.slopes(dict(zip(layout.names, sizes.tolist(), strict=True)))
        return torch.tensor([slopes.get(name, 0.0) for name in layout.names])

    def _undecided(self, fraction: float) -> bool:
        """Decisions end with the ramp: the first one at or after its end is the last."""
        return fraction < self.ramp.end or self.price.total(self._sizes()) > self.limit

    def _alive(self) -> Tensor:
        """1 for entries whose mask has not reached zero, shape (entries,)."""
        return (self.masks.flat.detach() > 0).float().cpu()

    def _sizes(self) -> dict[str, int]:
        return self.masks.layout.counts(self._wanted.to(self.masks.flat.device))

    def _measure(self, gradient: Tensor) -> None:
        taylor = self.masks.layout.total((self.masks.flat.detach() * gradient).square())
        keep = self.config.memory
        self._sensitivity = keep * self._sensitivity.to(taylor) + (1 - keep) * taylor

    def _decide(self, goal: float) -> None:
        """Choose who is to go so that the true price of the others meets the goal; a mask at zero stays there."""
        layout = self.masks.layout
        scores = layout.split(self.scores().clamp_min(torch.finfo(torch.float32).tiny) * self._alive())
        allocation = allocate(
            self.price,
            scores,
            goal,
            ladders=self._ladders,
            floor=self._floor,
            crowding=self.config.crowding,
        )
        worth = sum(float(vector.sum()) for vector in scores.values())
        # Lambda without units: share of the worth lost per share of the dense price saved, in the dearest move.
        self.strength = allocation.multiplier * self.price.dense / worth or self.strength
        self._wanted = layout.join(keep_strongest(scores, allocation.sizes))

    def _move(self) -> None:
        masks, wanted = self.masks.flat.detach(), self._wanted.to(self.masks.flat)
        lower, upper = (masks - self._fall).clamp_min(0), (masks + self._fall).clamp_max(1)
        self.masks.assign(torch.where(wanted > 0, upper, lower))

    def state_dict(self) -> dict[str, Any]:
        """Lambda, sensitivity, who is to stay, the count of steps, and whether the masks are fixed."""
        return {
            "strength": self.strength,
            "sensitivity": self._sensitivity.clone(),
            "wanted": self._wanted.clone(),
            "steps": self._steps,
            "frozen": self.frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.strength, self.frozen, self._steps = float(state["strength"]), bool(state["frozen"]), int(state["steps"])
        self._sensitivity, self._wanted = state["sensitivity"].clone(), state["wanted"].clone()


def _relative(values: Tensor) -> Tensor:
    """Values over their mean, none below a small share of it; ones where all are zero."""
    mean = values.mean()
    return (values / mean).clamp_min(_LEAST) if float(mean) > 0 else torch.ones_like(values)
