"""Prune the channels whose removal changes the loss least, to first order (Molchanov et al., arXiv 1906.10771).

An entry is worth the running mean of ``(a_j dL/da_j)^2`` (eq. 8, gate form), ranked over the whole network by one threshold,
whatever an entry costs: the threshold is found by bisection on the true price. A few channels go at a time, along a ramp,
with training in between; then the rest of the run fine-tunes. With the price in the ranking this is HALP.
"""

import torch

from nasc.methods._taylor_pruning import TaylorPruning
from nasc.methods._widths import bisect_sizes, keep_strongest


class Taylor(TaylorPruning):
    """Prune by one threshold over Taylor importance until the price meets the limit; arguments of the base class."""

    def prune(self, goal: float) -> None:
        """Keep what lies above the threshold at which the price meets the goal."""
        alive = (self.masks.flat.detach() > 0).float().cpu()
        worth = self.importance.cpu().clamp_min(torch.finfo(torch.float32).tiny).log()
        lowest = float(worth.min()) - 1
        height = (worth - lowest) * alive  # on a log scale, above zero where alive: bisection resolves all decades
        scores = self.masks.layout.split(height / height.max())

        def sizes_at(threshold: float) -> dict[str, int]:
            return {name: max(self.floor[name], int((vector > threshold).sum())) for name, vector in scores.items()}

        kept = keep_strongest(scores, bisect_sizes(self.price, goal, sizes_at))
        self.masks.assign(self.masks.layout.join(kept).to(self.masks.flat) * alive.to(self.masks.flat))
