"""Random gates on channels, trained by the reparametrisation trick (Louizos et al., arXiv 1712.01312).

    u ~ U(0, 1),  s = sigmoid((log u - log(1 - u) + log alpha) / beta),  z = min(1, max(0, s (zeta - gamma) + gamma))
    P(z > 0) = sigmoid(log alpha - beta log(-gamma / zeta))                                                 (eqs. 10-12)

The penalty is lambda times the price at the expected sizes, sum_j P(z_j > 0) of each dim: expected FLOPs, or seconds, by the
same expression as everybody's. To compare at a target it gets what our own method gets: a ramp, a lambda that follows
the true price, and in the end the most probable entries that fit.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._masks import MaskedModel, Masks, select_positive
from nasc.methods._price import Price
from nasc.methods._schedules import Ramp
from nasc.methods._widths import bisect_sizes, floor_sizes, keep_strongest, require_reachable

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1  # the paper's section 4
_SHIFT = BETA * math.log(-GAMMA / ZETA)


def probability(log_alpha: Tensor) -> Tensor:
    """P(z > 0), eq. 12."""
    return torch.sigmoid(log_alpha - _SHIFT)


def expected_gate(log_alpha: Tensor) -> Tensor:
    """What stands for z once training is over, eq. 13."""
    return (torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def sample_gate(log_alpha: Tensor) -> Tensor:
    """A draw of z, differentiable in log alpha, eqs. 10 and 11."""
    tiny = torch.finfo(log_alpha.dtype).eps
    noise = torch.rand_like(log_alpha).clamp(tiny, 1 - tiny)
    stretched = torch.sigmoid((noise.logit() + log_alpha) / BETA) * (ZETA - GAMMA) + GAMMA
    return stretched.clamp(0, 1)


class HardConcrete:
    """Gates that are drawn anew in every step; at the end of the ramp the most probable that meet the limit stay.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        start: Fraction of the run at which the penalty begins.
        end: Fraction at which the gates are fixed.
        first: P(z > 0) of every gate at the start.
        gain: How fast lambda follows the gap between true price and goal, per step.
        learning_rate: Step size of log alpha (Adam).
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
        end: float = 0.5,
        first: float = 0.97,
        gain: float = 0.05,
        learning_rate: float = 0.05,
        floor: float = 0.05,
    ) -> None:
        self.network, self.price, self.limit, self.total_steps = network, price, limit, total_steps
        self.ramp, self.gain = Ramp(start, end), gain
        self.masks = Masks(network, trainable=True)  # log alpha until the gates are fixed, the gates themselves after
        self.floor = floor_sizes(price, self.masks.layout.names, floor)
        require_reachable(price, self.floor, limit)
        self.masks.assign(torch.full_like(self.masks.flat, math.log(first / (1 - first)) + _SHIFT))
        self.model: nn.Module = MaskedModel(network, self._vectors)
        self.optimizer = torch.optim.Adam([self.masks.flat], lr=learning_rate)
        self.strength = 0.0
        self.step_count = 0
        self._frozen = False

    def _vectors(self) -> dict[str, Tensor]:
        self.masks.vectors()  # moves the masks to where the model is
        if self._frozen:
            return self.masks.layout.split(self.masks.flat.detach())
        gate = sample_gate if self.model.training else expected_gate
        return self.masks.layout.split(gate(self.masks.flat))

    def penalty(self) -> Tensor:
        """Lambda times the price at the expected sizes over the dense price; differentiable in log alpha."""
        if self._frozen or self.strength == 0:
            return torch.zeros((), device=self.masks.flat.device)
        layout = self.masks.layout
        sizes = layout.total(probability(self.masks.flat))
        value, slopes = self.price.slopes(dict(zip(layout.names, sizes.tolist(), strict=True)))
        slope = sizes.new_tensor([slopes.get(name, 0.0) for name in layout.names])
        linear = (slope * (sizes - sizes.detach())).sum()  # the price itself, and its gradient by the chain rule
        return self.strength / self.price.dense * (value + linear)

    def step(self) -> None:
        """Move log alpha, then lambda towards the goal."""
        self.step_count += 1
        fraction = self.step_count / self.total_steps
        if self._frozen:
            self.masks.take_gradient()
            return
        if self.masks.flat.grad is not None and fraction >= self.ramp.start:
            self.optimizer.step()
        self.masks.take_gradient()
        if fraction >= self.ramp.end:
            self._fix()
        elif fraction >= self.ramp.start:
            goal = self.ramp.between(fraction, self.price.dense, self.limit)
            gap = (self.price.total(self._sizes()) - goal) / self.price.dense
            self.strength = max(0.0, self.strength + self.gain * gap)

    def _sizes(self) -> dict[str, int]:
        return self.masks.layout.counts(expected_gate(self.masks.flat.detach()))

    def _fix(self) -> None:
        values = {name: vector.cpu() for name, vector in self.scores().items()}

        def sizes_at(threshold: float) -> dict[str, int]:
            return {name: max(self.floor[name], int((vector > threshold).sum())) for name, vector in values.items()}

        kept = self.masks.layout.join(keep_strongest(values, bisect_sizes(self.price, self.limit, sizes_at)))
        gates = expected_gate(self.masks.flat.detach()).clamp_min(1e-3)
        self.masks.assign(gates * kept.to(gates))
        self._frozen = True

    @property
    def frozen(self) -> bool:
        """The gates are fixed; what follows is fine-tuning."""
        return self._frozen

    def select(self) -> Selection:
        """Entries with open gates, and the gates as gains."""
        if self._frozen:
            return self.masks.select()
        return select_positive(self.masks.layout, expected_gate(self.masks.flat.detach()))

    def scores(self) -> dict[str, Tensor]:
        """P(z > 0) by dim; after the gates are fixed, the gates."""
        flat = self.masks.flat.detach().cpu()
        return self.masks.layout.split(flat if self._frozen else probability(flat))

    def metrics(self) -> dict[str, float]:
        """Lambda, the true price, and the number of survivors."""
        sizes = self.masks.sizes() if self._frozen else self._sizes()
        price = self.price.total({name: max(1, size) for name, size in sizes.items()})
        return {"strength": self.strength, "price": price, "survivors": float(sum(sizes.values()))}

    def state_dict(self) -> dict[str, Any]:
        """Step, log alpha, the state of its optimiser, lambda and whether the gates are fixed."""
        state = self.optimizer.state[self.masks.flat]
        return {
            "step": self.step_count,
            "masks": self.masks.flat.detach().clone(),
            "moments": {name: torch.as_tensor(value).clone() for name, value in state.items()},
            "strength": self.strength,
            "frozen": self._frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count, self._frozen = int(state["step"]), bool(state["frozen"])
        self.strength = float(state["strength"])
        self.masks.assign(state["masks"])
        self.optimizer.state[self.masks.flat] = {name: value.clone() for name, value in state["moments"].items()}
