"""Hardware-aware latency pruning (HALP, Shen et al., arXiv 2110.10811): the most importance that fits a latency.

An entry is worth the running mean of ``(a_j dL/da_j)^2``, its squared first-order Taylor term (a = 1: the sum of weight
times gradient over its readers). At every pruning step a knapsack keeps the most summed worth whose price meets the
goal; what is out is out at once. The knapsack is a dynamic programme over widths (:mod:`nasc.methods.halp.knapsack`).
Departure: the groups are the steps that the price itself shows, where HALP's size is set by hand.
"""

from typing import Any

import torch

from nasc.graph.network import Network
from nasc.methods._price import Price
from nasc.methods._taylor_pruning import TaylorPruning
from nasc.methods._widths import efficient_widths, keep_strongest
from nasc.methods.halp.knapsack import solve


class Halp(TaylorPruning):
    """Prune by a knapsack of Taylor importance until the price meets the limit; arguments of :class:`TaylorPruning`."""

    def __init__(self, network: Network, price: Price, limit: float, total_steps: int, **schedule: Any) -> None:
        super().__init__(network, price, limit, total_steps, **schedule)
        self.ladders = {name: efficient_widths(price, name) for name in self.masks.layout.names}

    def prune(self, goal: float) -> None:
        """Keep the most summed worth that the goal pays for."""
        alive = (self.masks.flat.detach() > 0).float().cpu()
        worth = self.importance.cpu().clamp_min(torch.finfo(torch.float32).tiny) * alive
        scores = self.masks.layout.split(worth)
        sizes = solve(self.price, scores, goal, self.ladders, self.floor)
        kept = self.masks.layout.join(keep_strongest(scores, sizes))
        self.masks.assign(kept.to(self.masks.flat.device))
