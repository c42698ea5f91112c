"""The plainest rival: every dim times one factor, trained from scratch for the whole run (as MobileNets scale).

The factor is the largest whose true price meets the limit, widths rounded to those the device makes good use of. The
selection stands from the first step, so the pipeline can train the small model itself. A freshly initialised dense
model stands for a freshly initialised small one: readers are scaled by sqrt(dense / kept), which gives their fan-in
initialisation the variance of the small model's. With trained weights it is not from scratch: give it a fresh model.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._masks import MaskedModel, Masks
from nasc.methods._price import Price
from nasc.methods._widths import bisect_sizes, efficient_widths, floor_sizes, keep_strongest, round_to_ladder


class WidthMultiplier:
    """Keep the first entries of every dim, the same share of each, as many as the limit allows.

    Args:
        network: The traced model, freshly initialised.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Not used: nothing changes during the run. Kept so that all methods are built alike.
        floor: Smallest share of a dim that may stay.
        on_steps: Round widths to those the device makes good use of.

    Raises:
        TargetError: The limit is below the smallest allowed model.
    """

    def __init__(
        self,
        network: Network,
        price: Price,
        limit: float,
        total_steps: int = 0,
        *,
        floor: float = 0.05,
        on_steps: bool = True,
    ) -> None:
        self.network, self.price, self.limit, self.total_steps = network, price, limit, total_steps
        self.masks = Masks(network, trainable=False)
        self.model: nn.Module = MaskedModel(network, self.masks.vectors)
        layout = self.masks.layout
        least = floor_sizes(price, layout.names, floor)
        ladders = {
            name: efficient_widths(price, name) if on_steps else tuple(range(1, size + 1)) for name, size in layout
        }

        def sizes_at(share: float) -> dict[str, int]:
            return {name: round_to_ladder((1 - share) * size, ladders[name], least[name]) for name, size in layout}

        sizes = bisect_sizes(price, limit, sizes_at)
        kept = keep_strongest({name: torch.ones(size) for name, size in layout}, sizes)
        gains = {name: kept[name] * (size / sizes[name]) ** 0.5 for name, size in layout}
        self.masks.assign(layout.join(gains))

    def penalty(self) -> Tensor:
        """Zero: nothing is added to the loss."""
        return torch.zeros((), device=self.masks.flat.device)

    def step(self) -> None:
        """Nothing: the selection stands from the start."""

    @property
    def frozen(self) -> bool:
        """Always true."""
        return True

    def select(self) -> Selection:
        """The first entries of every dim, with the initialisation's scale as gains."""
        return self.masks.select()

    def scores(self) -> dict[str, Tensor]:
        """The order of the entries: earlier ones come first."""
        return {name: torch.arange(size, 0, -1, dtype=torch.float32) for name, size in self.masks.layout}

    def metrics(self) -> dict[str, float]:
        """The true price and the number of survivors."""
        sizes = self.masks.sizes()
        return {"price": self.price.total(sizes), "survivors": float(sum(sizes.values()))}

    def state_dict(self) -> dict[str, Any]:
        """The masks."""
        return {"masks": self.masks.flat.detach().clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.masks.assign(state["masks"])
