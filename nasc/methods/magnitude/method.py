"""Channel pruning by weight norms (Li et al. 2017, "Pruning filters for efficient convnets"), to a price.

An entry of a dim is worth the root mean square of all weights that write it. ``"uniform"`` keeps the same share of
every dim, ``"global"`` ranks all entries together and keeps what lies above one threshold. Share or threshold is found
by bisection on the true price. One-shot after a dense phase (``start == end``), or along a cubic ramp; then the rest of
the run fine-tunes. Departures: norms of several writers of one dim are pooled; ``"global"`` ranks norms over the mean of
their dim unless told otherwise, since raw norms empty whole layers.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._masks import MaskedModel, Masks
from nasc.methods._price import Price
from nasc.methods._schedules import Ramp
from nasc.methods._scores import relative, writer_norms
from nasc.methods._widths import bisect_sizes, efficient_widths, floor_sizes, keep_strongest, round_to_ladder

Allocation = Literal["uniform", "global"]


class Magnitude:
    """Prune the channels whose writers have the smallest norms until the price meets the limit.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        allocation: ``"uniform"`` or ``"global"``.
        start: Fraction of the run trained dense.
        end: Fraction at which the limit is met; equal to ``start`` for one-shot pruning.
        interval: Steps between prunings on the ramp.
        floor: Smallest share of a dim that may stay.
        on_steps: Round uniform widths to those the device makes good use of.
        ranked: ``"relative"`` ranks norms over their dim's mean, ``"raw"`` the norms themselves; global only.

    Raises:
        UsageError: An unknown allocation.
        TargetError: The limit is below the smallest allowed model.
    """

    def __init__(
        self,
        network: Network,
        price: Price,
        limit: float,
        total_steps: int,
        *,
        allocation: Allocation = "uniform",
        start: float = 0.4,
        end: float = 0.4,
        interval: int = 16,
        floor: float = 0.05,
        on_steps: bool = True,
        ranked: Literal["relative", "raw"] = "relative",
    ) -> None:
        if allocation not in ("uniform", "global"):
            raise UsageError(f"unknown allocation {allocation!r}", "known: uniform, global")
        self.network, self.price, self.limit, self.total_steps = network, price, limit, total_steps
        self.allocation, self.interval, self.ranked = allocation, max(1, interval), ranked
        self.ramp = Ramp(start, end)
        self.masks = Masks(network, trainable=False)
        self.model: nn.Module = MaskedModel(network, self.masks.vectors)
        names = self.masks.layout.names
        self.floor = floor_sizes(price, names, floor)
        self.ladders = {
            name: efficient_widths(price, name) if on_steps else tuple(range(1, size + 1))
            for name, size in self.masks.layout
        }
        self.step_count = 0
        self._frozen = False
        bisect_sizes(price, limit, self._sizes_at(writer_norms(network)))  # refuses an impossible limit before training

    def penalty(self) -> Tensor:
        """Zero: magnitude pruning adds nothing to the loss."""
        return torch.zeros((), device=self.masks.flat.device)

    def step(self) -> None:
        """Count the step; prune when the schedule says so."""
        self.step_count += 1
        fraction = self.step_count / self.total_steps
        last = fraction >= self.ramp.end
        if self._frozen or fraction < self.ramp.start or (self.step_count % self.interval and not last):
            return
        self._prune(self.ramp.between(fraction, self.price.dense, self.limit))
        self._frozen = last

    def _prune(self, goal: float) -> None:
        alive = self.masks.layout.split((self.masks.flat.detach() > 0).float().cpu())
        scores = {name: vector * alive[name] for name, vector in writer_norms(self.network).items()}
        sizes = bisect_sizes(self.price, goal, self._sizes_at(scores))
        kept = keep_strongest(scores, {name: min(size, int(alive[name].sum())) for name, size in sizes.items()})
        self.masks.assign(self.masks.layout.join(kept).to(self.masks.flat.device))

    def _sizes_at(self, scores: dict[str, Tensor]) -> Any:
        """Sizes as a function of the share removed (uniform) or of the threshold (global), both in [0, 1]."""
        if self.allocation == "uniform":
            return lambda share: {
                name: round_to_ladder((1 - share) * size, self.ladders[name], self.floor[name])
                for name, size in self.masks.layout
            }
        ranks = relative(scores) if self.ranked == "relative" else scores
        top = max(float(vector.max()) for vector in ranks.values())
        return lambda threshold: {
            name: max(self.floor[name], int((vector > threshold * top).sum())) for name, vector in ranks.items()
        }

    @property
    def frozen(self) -> bool:
        """Pruning is over; what follows is fine-tuning."""
        return self._frozen

    def select(self) -> Selection:
        """What to keep, as it stands now."""
        return self.masks.select()

    def scores(self) -> dict[str, Tensor]:
        """The norms that entries are ranked by."""
        norms = writer_norms(self.network)
        return relative(norms) if self.ranked == "relative" else norms

    def metrics(self) -> dict[str, float]:
        """The true price and the number of survivors."""
        sizes = self.masks.sizes()
        return {"price": self.price.total(sizes), "survivors": float(sum(sizes.values()))}

    def state_dict(self) -> dict[str, Any]:
        """Step, masks and whether pruning is over."""
        return {"step": self.step_count, "masks": self.masks.flat.detach().clone(), "frozen": self._frozen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count, self._frozen = int(state["step"]), bool(state["frozen"])
        self.masks.assign(state["masks"])
