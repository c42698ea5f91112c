"""Stopping early what falls behind (ASHA, Li et al. 2020, arXiv 1810.05934), within a group only.

Trials of other targets or methods are no rivals: the tightest target would always be stopped. What is compared is the
validation accuracy while the small model is fine-tuned, at the same epoch; a method whose selection stands only at the
end of its run reports no such epoch and is never stopped.
"""

from math import ceil
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

KEEP = 1.5
"""Reduction factor: a rung lets the best 1 / 1.5 of what reached it go on."""

GRACE = 0.5
"""Share of the epochs before the first rung."""


class StopWithinGroups(FIFOScheduler):
    """One ASHA for each group.

    Args:
        epochs: Of every trial.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.epochs = epochs
        self.of_group: dict[str, TrialScheduler] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Enter it in the ASHA of its group."""
        self._scheduler(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Go on, or stop where the group's rung says so."""
        if "val_accuracy" not in result:
            return str(TrialScheduler.CONTINUE)
        return str(self._scheduler(trial).on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Its last accuracy counts for the others."""
        if "val_accuracy" in result:
            self._scheduler(trial).on_trial_complete(tune_controller, trial, result)

    def _scheduler(self, trial: Any) -> Any:
        group = trial.config["group"]
        if group not in self.of_group:
            self.of_group[group] = AsyncHyperBandScheduler(
                time_attr="epoch",
                metric="val_accuracy",
                mode="max",
                max_t=self.epochs + 1,  # the last epoch is never cut off
                grace_period=max(1, ceil(GRACE * self.epochs)),
                reduction_factor=KEEP,
            )
        return self.of_group[group]
