"""An l1 penalty on batch-norm scales; channels whose scale has become small go.

* **MorphNet** (Gordon et al., arXiv 1711.06798): each |gamma| is weighted by what its channel costs (eq. 5: the derivative
  of the FLOPs by the number of living channels), channels below a threshold go, then all widths are multiplied by
  one factor until the limit is met (algorithm 1, step 5), and the result is trained.
* **Network slimming** (Liu et al., arXiv 1708.06519): every |gamma| weighs the same, and one threshold over all channels
  decides.

Channels that a residual stream ties share the largest of their scales (MorphNet's "group" regulariser). Dims without a batch
norm stay whole. Departures: widths never exceed those of the model given; lambda rises until enough channels have gone
instead of being swept; with ``retrain`` the rest of the run starts from the first weights as in the paper, without it (the
default) from those it has, which is the better use of one run.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from nasc.errors import TraceError, UsageError
from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._masks import MaskedModel, Masks
from nasc.methods._price import Price
from nasc.methods._schedules import Ramp
from nasc.methods._scores import norm_scales
from nasc.methods._widths import bisect_sizes, floor_sizes, keep_strongest, require_reachable

Weighting = Literal["price", "uniform"]


class GammaPenalty:
    """Shrink batch-norm scales, then keep the channels with the largest.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        weighting: ``"price"`` for MorphNet, ``"uniform"`` for network slimming.
        start: Fraction of the run at which the penalty begins.
        end: Fraction at which the widths are fixed.
        threshold: A scale below this share of the median scale at the start counts as gone.
        gain: How fast lambda follows the gap between true price and goal, per run: at a gap of a tenth all the time it
            would reach a tenth of this, times the share of the run.
        floor: Smallest share of a dim that may stay.
        retrain: Go back to the first weights once the widths are fixed.

    Raises:
        UsageError: An unknown weighting.
        TraceError: The model has no batch norm over a prunable dim.
        TargetError: The limit is below the smallest allowed model.
    """

    def __init__(
        self,
        network: Network,
        price: Price,
        limit: float,
        total_steps: int,
        *,
        weighting: Weighting = "price",
        start: float = 0.05,
        end: float = 0.4,
        threshold: float = 0.1,
        gain: float = 0.2,
        floor: float = 0.05,
        retrain: bool = False,
    ) -> None:
        if weighting not in ("price", "uniform"):
            raise UsageError(f"unknown weighting {weighting!r}", "known: price, uniform")
        self.network, self.price, self.limit, self.total_steps = network, price, limit, total_steps
        self.weighting, self.ramp, self.gain, self.retrain = weighting, Ramp(start, end), gain, retrain
        scales = norm_scales(network)
        if not scales:
            raise TraceError(
                "expected a model with batch norms, whose scales this method shrinks; got none on a prunable dim",
                "choose another method, such as surrogate or magnitude-global",
            )
        self.masks = Masks(network, trainable=False)
        self.model: nn.Module = MaskedModel(network, self.masks.vectors)
        floors = floor_sizes(price, self.masks.layout.names, floor)
        self.floor = {name: floors[name] if name in scales else size for name, size in self.masks.layout}
        require_reachable(price, self.floor, limit)
        self.threshold = threshold * float(torch.cat([scale.detach().cpu() for scale in scales.values()]).median())
        self.first = {name: tensor.detach().clone() for name, tensor in network.model.state_dict().items()}
        self.strength = 0.0
        self.step_count = 0
        self._frozen = False

    def penalty(self) -> Tensor:
        """Lambda times the sum of weight times scale over all channels; the weights average to one."""
        if self._frozen or self.strength == 0:
            return torch.zeros((), device=self.masks.flat.device)
        scales = norm_scales(self.network)
        weights = self._weights(scales)
        channels = sum(scale.numel() for scale in scales.values())
        average = sum(weights[name] * scale.numel() for name, scale in scales.items()) / channels
        total = torch.stack([weights[name] * scale.sum() for name, scale in scales.items()]).sum()
        return self.strength * total / max(average, 1e-30)

    def _weights(self, scales: dict[str, Tensor]) -> dict[str, float]:
        """What a channel of each dim costs at the living sizes, or one."""
        if self.weighting == "uniform":
            return dict.fromkeys(scales, 1.0)
        _, slopes = self.price.slopes({name: float(size) for name, size in self._living().items()})
        return {name: max(slopes.get(name, 0.0), 0.0) for name in scales}

    def _living(self) -> dict[str, int]:
        scales = norm_scales(self.network)
        counts = {name: int((scale > self.threshold).sum()) for name, scale in scales.items()}
        return {name: max(self.floor[name], counts.get(name, size)) for name, size in self.masks.layout}

    def step(self) -> None:
        """Follow the goal with lambda; fix the widths at the end of the ramp."""
        self.step_count += 1
        fraction = self.step_count / self.total_steps
        if self._frozen or fraction < self.ramp.start:
            return
        if fraction >= self.ramp.end:
            self._fix()
            return
        goal = self.ramp.between(fraction, self.price.dense, self.limit)
        gap = (self.price.total(self._living()) - goal) / self.price.dense
        self.strength = max(0.0, self.strength + self.gain * gap / self.total_steps)

    def _fix(self) -> None:
        scores = self.scores()
        sizes = self._widened() if self.weighting == "price" else self._above_one_threshold(scores)
        self.masks.assign(self.masks.layout.join(keep_strongest(scores, sizes)).to(self.masks.flat))
        if self.retrain:
            self.network.model.load_state_dict(self.first)
        self._frozen = True

    def _widened(self) -> dict[str, int]:
        """The living widths times the largest factor that meets the limit, none above its dense width."""
        living, dense = self._living(), dict(self.masks.layout)
        most = max(dense[name] / size for name, size in living.items())

        def sizes_at(strength: float) -> dict[str, int]:
            factor = most * (1 - strength)
            return {
                name: min(dense[name], max(self.floor[name], round(factor * size))) for name, size in living.items()
            }

        return bisect_sizes(self.price, self.limit, sizes_at)

    def _above_one_threshold(self, scores: dict[str, Tensor]) -> dict[str, int]:
        top = max(float(vector.max()) for vector in scores.values())

        def sizes_at(threshold: float) -> dict[str, int]:
            return {
                name: max(self.floor[name], int((vector > threshold * top).sum())) for name, vector in scores.items()
            }

        return bisect_sizes(self.price, self.limit, sizes_at)

    @property
    def frozen(self) -> bool:
        """The widths are fixed; what follows is training of what is left."""
        return self._frozen

    def select(self) -> Selection:
        """What to keep, as it stands now."""
        return self.masks.select()

    def scores(self) -> dict[str, Tensor]:
        """The scales by dim; a dim without a norm counts as its largest scale throughout."""
        scales = {name: scale.detach().cpu() for name, scale in norm_scales(self.network).items()}
        top = max(float(scale.max()) for scale in scales.values())
        return {name: scales.get(name, torch.full((size,), top)) for name, size in self.masks.layout}

    def metrics(self) -> dict[str, float]:
        """Lambda, the true price of the living widths, and the number of survivors."""
        sizes = self.masks.sizes() if self._frozen else self._living()
        return {
            "strength": self.strength,
            "price": self.price.total(sizes),
            "survivors": float(sum(sizes.values())),
        }

    def state_dict(self) -> dict[str, Any]:
        """Step, masks, lambda, whether the widths are fixed, and the first weights where they are needed again."""
        return {
            "step": self.step_count,
            "masks": self.masks.flat.detach().clone(),
            "strength": self.strength,
            "threshold": self.threshold,
            "frozen": self._frozen,
            "first": dict(self.first) if self.retrain else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count, self._frozen = int(state["step"]), bool(state["frozen"])
        self.strength, self.threshold = float(state["strength"]), float(state["threshold"])
        self.first = dict(state["first"]) or self.first
        self.masks.assign(state["masks"])
