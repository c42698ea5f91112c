"""What a comparison will take: from the trials that have ended, or from a few timed training steps."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from statistics import fmean

import torch

from nasc.comparison.config import CompareConfig, Group, Trial
from nasc.comparison.ledger import FINAL, Ledger
from nasc.datasets import ImageData, load_dataset
from nasc.stages.search import load_classifier
from nasc.training import build_criterion

TIMED_STEPS = 3
SETTLING_S = 20.0
"""What export and measurements of a trial take beside its training, in seconds: up to five candidates are timed."""


@dataclass(frozen=True)
class Forecast:
    """Trials of one group, and what they should take.

    Args:
        group: Model, device, method and target.
        trials: All of them; ``done`` and ``failed`` have ended already.
        trial_s: Seconds of one trial.
        known: From trials that have ended; otherwise from a few timed steps of the dense model.
    """

    group: Group
    trials: int
    done: int
    failed: int
    trial_s: float
    known: bool

    @property
    def left_s(self) -> float:
        """Seconds of computing that are left."""
        return (self.trials - self.done - self.failed) * self.trial_s


def forecast(config: CompareConfig, ledger: Ledger) -> tuple[Forecast, ...]:
    """What will run, and how long it should take; a few training steps are timed, nothing is written.

    Args:
        config: The comparison.
        ledger: What has ended already.
    """
    measured = _finished_seconds(ledger)
    steps: dict[str, float] = {}
    made = []
    for group in config.groups:
        names = [trial.name for trial in config.all_trials() if trial.group == group]
        known = measured.get((group.model, group.method))
        if known is None and group.model not in steps:
            steps[group.model] = estimate_training(config, group)
        made.append(
            Forecast(
                group=group,
                trials=len(names),
                done=sum(name in ledger.records for name in names),
                failed=sum(name in ledger.failures for name in names),
                trial_s=known if known is not None else steps[group.model] + SETTLING_S,
                known=known is not None,
            )
        )
    return tuple(made)


def wall_seconds(config: CompareConfig, forecasts: tuple[Forecast, ...], cores: int) -> float:
    """The time until all is done, with as many trials at once as the cores allow."""
    at_once = max(1, min(int(cores / config.cpus), config.concurrent or cores))
    waiting = [f.trial_s for f in forecasts for _ in range(f.trials - f.done - f.failed)]
    baselines = len(config.models) * len(config.seeds) if waiting else 0
    training = max((f.trial_s - SETTLING_S for f in forecasts), default=0.0)
    total = sum(waiting) + baselines * max(training, 0.0)
    longest = max(waiting, default=0.0)
    return max(total / at_once, longest) if waiting else 0.0


def estimate_training(config: CompareConfig, group: Group) -> float:
    """Seconds of one training run of a model's dense form, from a few timed steps."""
    asked = config.compress_config(Trial(group, proposal=0, seed=config.seeds[0]), {})
    data = load_dataset(config.data, train_size=config.train_size, seed=config.seeds[0])
    model = load_classifier(asked, data)
    step_s = time_step(model, data, config)
    return step_s * ceil(len(data.train_y) / config.recipe.batch_size) * config.recipe.epochs


def time_step(model: torch.nn.Module, data: ImageData, config: CompareConfig) -> float:
    """Seconds of one training step, the first left out."""
    criterion, size = build_criterion(config.recipe), config.recipe.batch_size
    x, y = data.train_x[:size], data.train_y[:size]
    model.train()
    began = 0.0
    for step in range(1 + TIMED_STEPS):
        if step == 1:
            began = time.perf_counter()
        model.zero_grad()
        criterion(model(x), y).backward()
    return (time.perf_counter() - began) / TIMED_STEPS


def _finished_seconds(ledger: Ledger) -> Mapping[tuple[str, str], float]:
    """Mean wall-clock seconds of the finished trials by model and method."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in ledger.records.values():
        seconds = record.extra.get(FINAL, {}).get("seconds")
        if seconds is not None:
            found.setdefault((record.model, record.method), []).append(float(seconds))
    return {key: fmean(values) for key, values in found.items()}
