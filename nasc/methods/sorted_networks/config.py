"""Settings of a sorted network, as one frozen value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nasc.errors import UsageError
from nasc.methods.sorted_networks.model import Norms
from nasc.methods.sorted_networks.objective import Loss
from nasc.methods.sorted_networks.pool import Sampling

WIDTHS = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Shares that widths are cut to; those of the LCS paper."""


@dataclass(frozen=True)
class SortedConfig:
    """How a family is made and trained.

    Args:
        widths: Shares the dims are cut to; ``[1]`` for depth alone.
        knobs: Patterns of dim names by knob, e.g. ``{"ffn": ["*.fc1"], "heads": ["*.attn*"]}``; each gets ``widths``.
            By default one knob, ``width``, cuts every dim alike.
        depths: Numbers of blocks, ``"all"`` for every depth the network can have, or none (the default).
        exponents: A dim keeps ``width ** exponent`` of its entries, 1 where not named.
        weights: Weight of every member in the draws, in place of ``sampling``.
        fronts: For each device, the cost of every member: draws are weighted towards the fronts of cost against loss.
        reduced: Also cut dims that a norm or softmax runs over (the hidden size of a transformer).
        multiple: Cut sizes are rounded to multiples of this.
        sampling: ``uniform`` over members, ``per-knob``, or by ``cost``.
        full_share: Probability of the whole network beside its share in that law.
        loss: ``stochastic``, ``summation``, ``full``, ``sandwich`` or ``shrinking``.
        accumulate: Members per step of the stochastic loss, each on its part of the batch.
        drop: Probability with which each block but the first is left out of a step (LayerDrop).
        distil: In-place distillation from the largest member, for the losses that sum.
        freeze: Weights outside the drawn members stay bit for bit, whatever momentum and decay would do.
        norms: ``shared``, ``own`` (for every member) or ``line``.
        recalibrate: Statistics of batch norms of the finished member are made anew from training data.
        order: Before training, units are ordered by importance: ``none`` or ``norms`` (the function does not change).
        seed: Of the draws.
    """

    widths: Sequence[float] = WIDTHS
    knobs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    depths: Sequence[int] | Literal["all"] = ()
    exponents: Mapping[str, float] = field(default_factory=dict)
    weights: Sequence[float] | None = None
    fronts: Sequence[Sequence[float]] = ()
    reduced: bool = False
    multiple: int = 1
    sampling: Sampling = "uniform"
    full_share: float = 0.0
    loss: Loss = "stochastic"
    accumulate: int = 1
    drop: float = 0.0
    distil: bool = False
    freeze: bool = False
    norms: Norms = "shared"
    recalibrate: bool = True
    order: Literal["none", "norms"] = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.order not in ("none", "norms"):
            raise UsageError(f"unknown order {self.order!r}", "known: none, norms")
        if not 0 <= self.drop < 1:
            raise UsageError(f"expected drop to be a probability below one, got {self.drop}")
        if isinstance(self.depths, str) and self.depths != "all":
            raise UsageError(f"expected depths to be numbers of blocks or all, got {self.depths!r}")
