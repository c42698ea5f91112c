"""Gradual magnitude pruning (Zhu and Gupta, arXiv 1710.01878), and one-shot pruning as its limit.

``s(t) = s_f + (s_0 - s_f) (1 - (t - t_0) / (t_1 - t_0))^3`` at regular steps; a weight that was pruned never returns.
"""

from collections.abc import Mapping
from typing import Any

from nasc.methods._schedules import Ramp
from nasc.methods.sparse_training.state import Sparsity, intersection_over_union


class GradualPruning:
    """The schedule of GMP.

    Args:
        ramp: From the first pruning to the last, in fractions of the run; equal ends prune once.
        total_steps: Of the whole run.
        interval: Steps between prunings.
    """

    def __init__(self, ramp: Ramp, total_steps: int, interval: int) -> None:
        self.ramp, self.total_steps = ramp, total_steps
        self.first, self.last = round(ramp.start * total_steps), round(ramp.end * total_steps)
        self.interval = max(1, interval)
        self._iou: float | None = None
        self._expected: float | None = None
        self._wanted = 0.0

    def begin(self, sparsity: Sparsity) -> None:
        """Prune at once where the ramp begins with the run."""
        self.act(sparsity, 0)

    def wants_dense_gradient(self, step: int) -> bool:
        """Never."""
        return False

    def act(self, sparsity: Sparsity, step: int) -> None:
        """Prune further where the schedule says so."""
        if not self.first <= step <= self.last or ((step - self.first) % self.interval and step != self.last):
            return
        ranking = sparsity.rank(only_alive=True)
        wanted = sparsity.aim.sparsity(ranking, self.left(step))
        sparsity.assign(tuple(new & old for new, old in zip(ranking.kept(wanted), sparsity.kept, strict=True)))
        self._iou = intersection_over_union(sparsity.previous, sparsity.kept) if sparsity.previous is not None else None
        self._expected = (1 - wanted) / (1 - self._wanted) if sparsity.previous is not None else None
        self._wanted = wanted
        sparsity.remember()

    def left(self, step: int) -> float:
        """How much of the way from the first to the final sparsity is left: 1 at the first pruning, 0 at the last."""
        if step >= self.last:
            return 0.0
        return float((1 - (step - self.first) / (self.last - self.first)) ** self.ramp.power)

    def is_final(self, step: int) -> bool:
        """The last pruning is done."""
        return step >= self.last

    def is_sparse(self, step: int) -> bool:
        """From the first pruning on."""
        return step >= self.first

    def metrics(self) -> Mapping[str, float]:
        """Overlap of the last two masks, once there are two, and what it is by formula: ``(1 - s_new) / (1 - s_old)``."""
        figures = {"iou": self._iou, "iou_expected": self._expected}
        return {name: value for name, value in figures.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        """The last figures; the masks say the rest."""
        return {"iou": self._iou, "expected": self._expected, "wanted": self._wanted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self._iou, self._expected, self._wanted = state["iou"], state["expected"], state["wanted"]
