"""What can be chosen about Pixelfly."""

from dataclasses import dataclass
from typing import Literal

from nasc.errors import UsageError

Layers = Literal["all", "linear", "conv"]

DENSITIES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75)
"""Budgets that are tried, as shares of the dense compute of the layers that are replaced."""


@dataclass(frozen=True)
class PixelflyConfig:
    """Options of the method.

    Args:
        block: Side b of a block; 8 at the widths (64 to 256) of small networks, 32 at 512 and up.
        low_rank_share: rho, the share of a layer's weights that goes to low rank; the paper's best is 1/4 to 1/3.
        density: The budget; by default the largest of :data:`DENSITIES` whose price meets the target.
        layers: Which layers are replaced.
        variance_matched: Start with the dense layers' output variance instead of the authors'.
        pretrained: Approximate the weights the model comes with instead of starting from scratch.
        end: Share of the run after which the method hands over the small model in plain torch.
    """

    block: int = 8
    low_rank_share: float = 0.25
    density: float | None = None
    layers: Layers = "all"
    variance_matched: bool = False
    pretrained: bool = False
    end: float = 0.9

    def __post_init__(self) -> None:
        if self.layers not in ("all", "linear", "conv"):
            raise UsageError(f"unknown layers {self.layers!r}", "known: all, linear, conv")
        if not 0 <= self.end <= 1:
            raise UsageError(f"expected an end between 0 and 1; got {self.end:g}")
        if self.density is not None and not 0 < self.density <= 1:
            raise UsageError(f"expected a density above 0 and at most 1; got {self.density:g}")
