"""RigL (arXiv 1911.11134), SET (arXiv 1707.04780) and static masks: sparse from the first step to the last.

Every so many steps and in every layer, RigL drops the fraction ``f = alpha / 2 (1 + cos(pi t / T_end))`` of the active
weights that is smallest and grows as many where the dense gradient is largest; SET grows at random; static masks stay.
New weights start at zero with no momentum, and the step that moves masks moves no weight.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from nasc.errors import UsageError
from nasc.methods.sparse_training.ranking import Kept
from nasc.methods.sparse_training.state import Sparsity, intersection_over_union

Growth = Literal["gradient", "random", "none"]


class DropAndGrow:
    """The schedule of RigL and its controls.

    Args:
        total_steps: Of the whole run.
        growth: ``"gradient"`` (RigL), ``"random"`` (SET) or ``"none"`` (static).
        interval: Steps between updates.
        end: Fraction of the run after which masks stay.
        alpha: Fraction that is dropped at the first update.
    """

    def __init__(
        self, total_steps: int, growth: Growth, *, interval: int, end: float = 0.75, alpha: float = 0.3
    ) -> None:
        if not (0 < alpha < 1 and 0 < end <= 1 and interval >= 1):
            raise UsageError(
                f"expected 0 < alpha < 1, 0 < end <= 1 and interval >= 1; got alpha {alpha}, end {end}, interval {interval}"
            )
        self.growth, self.interval, self.alpha = growth, interval, alpha
        self.end = 0 if growth == "none" else round(end * total_steps)
        self._iou: float | None = None
        self._bound: float | None = None

    def begin(self, sparsity: Sparsity) -> None:
        """Draw masks at random, with every unit at its own sparsity.

        Raises:
            UsageError: The budget ranks units together, and there is nothing yet to rank by.
        """
        if not sparsity.rule.per_unit:
            raise UsageError(
                "expected a budget that gives every layer a density of its own; masks are drawn before training",
                "use --option budget=erk or budget=uniform",
            )
        if self.growth != "none" and any(unit.fixed is not None for unit in sparsity.rule.units):
            raise UsageError(
                "expected a pattern whose groups may move; N of M stay N of M only where nothing grows",
                "use another pattern, or --method acdc for N:M",
            )
        generator = sparsity.generator(0)
        ranking = sparsity.rule.rank([torch.rand(unit.groups, generator=generator) for unit in sparsity.rule.units])
        sparsity.assign(ranking.kept(sparsity.aim.sparsity(ranking, 0.0)))
        sparsity.remember()

    def fraction(self, step: int) -> float:
        """``f(t)``: alpha at the start, zero from the end on (arXiv 1911.11134, eq. 3 there; cosine)."""
        return self.alpha / 2 * (1 + math.cos(math.pi * step / self.end)) if step < self.end else 0.0

    def wants_dense_gradient(self, step: int) -> bool:
        """In the steps that move masks."""
        return self.growth != "none" and 0 < step < self.end and step % self.interval == 0

    def act(self, sparsity: Sparsity, step: int) -> None:
        """Move masks after a step that was taken for its gradient."""
        place = step - 1  # the step just taken was the one after ``place`` steps
        if not self.wants_dense_gradient(place):
            return
        sparsity.weights.undo_step()
        scores = sparsity.rule.scores(sparsity.weights.values())
        growth = self._growth_scores(sparsity, place)
        kept = move_masks(sparsity.kept, scores, growth, self.fraction(place))
        before, closed = sparsity.kept, sparsity.rule.masks(sparsity.kept)
        sparsity.assign(kept)
        opened = {name: mask & ~closed[name] for name, mask in sparsity.rule.masks(kept).items()}
        sparsity.weights.reset_momentum(opened)
        self._iou = intersection_over_union(before, kept)
        self._bound = (1 - self.fraction(place)) / (1 + self.fraction(place))
        sparsity.remember()

    def _growth_scores(self, sparsity: Sparsity, step: int) -> tuple[Tensor, ...]:
        if self.growth == "gradient":
            return sparsity.rule.scores(sparsity.weights.gradients())
        generator = sparsity.generator(step)
        return tuple(torch.rand(unit.groups, generator=generator) for unit in sparsity.rule.units)

    def is_final(self, step: int) -> bool:
        """No update is left."""
        return step >= self.end

    def is_sparse(self, step: int) -> bool:
        """Always."""
        return True

    def metrics(self) -> Mapping[str, float]:
        """Overlap of the last two masks, and the least it could have been."""
        figures = {"iou": self._iou, "iou_bound": self._bound}
        return {name: value for name, value in figures.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        """The last figures; the masks say the rest."""
        return {"iou": self._iou, "bound": self._bound}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self._iou, self._bound = state["iou"], state["bound"]


def move_masks(kept: Kept, scores: tuple[Tensor, ...], growth: tuple[Tensor, ...], fraction: float) -> Kept:
    """Drop the weakest active groups of every unit and grow as many others; the number of active ones stays.

    Args:
        kept: Which groups are active, bool (groups,), unit by unit.
        scores: Magnitudes, unit by unit.
        growth: What the others are ranked by; those just dropped take part.
        fraction: Share of the active groups that is dropped.
    """
    result = []
    for flags, score, wish in zip(kept, scores, growth, strict=True):
        active = int(flags.sum())
        dropped = int(fraction * active)
        if dropped == 0 or active == flags.numel():
            result.append(flags)
            continue
        order = torch.sort(torch.where(flags, score, -torch.inf), descending=True, stable=True).indices
        new = torch.zeros_like(flags)
        new[order[: active - dropped]] = True
        eligible = torch.where(new, -torch.inf, wish)
        new[torch.sort(eligible, descending=True, stable=True).indices[:dropped]] = True
        result.append(new)
    return tuple(result)
