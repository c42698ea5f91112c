"""Hyper-parameters by Optuna: one study for each group, in one SQLite file that optuna-dashboard can open.

A study has two objectives, accuracy (more) and measured latency (less). Its first trial is the defaults. What was asked
for and not answered yet is answered from the file when a comparison goes on: a proposal is never drawn twice.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nasc.comparison.config import CompareConfig, Group
from nasc.records import Record

FILE = "optuna.db"
NUMBER = "proposal"
"""Attribute of a trial in a study: which proposal of the group it is."""


class Proposals:
    """The studies of a comparison.

    Args:
        config: Says what is tuned.
        folder: Where the file is.
    """

    def __init__(self, config: CompareConfig, folder: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / FILE).resolve()}")
        self._studies: dict[Group, optuna.Study] = {}

    def params(self, group: Group, proposal: int) -> dict[str, Any]:
        """The hyper-parameters of a proposal, drawn at the first call and remembered."""
        study = self._study(group)
        known = self._find(study, proposal)
        if known is not None:
            return dict(known.params)
        ranges = {name: bounds.distribution() for name, bounds in self.config.ranges(group.method).items()}
        trial = study.ask(ranges if proposal > 0 else {})
        trial.set_user_attr(NUMBER, proposal)
        return dict(trial.params)

    def tell(self, group: Group, proposal: int, records: Sequence[Record], *, stopped: bool = False) -> None:
        """How a proposal did with all its seeds.

        Args:
            group: Of the proposal.
            proposal: Its number.
            records: Of its finished trials; the mean counts, and without any it failed.
            stopped: It fell behind and was stopped.
        """
        study = self._study(group)
        known = self._find(study, proposal)
        if known is None or known.state.is_finished():
            return
        values = [r.measured_s if r.measured_s is not None else float(r.macs) for r in records]
        if stopped and not records:
            study.tell(known.number, state=TrialState.PRUNED)
        elif not records:
            study.tell(known.number, state=TrialState.FAIL)
        else:
            study.tell(known.number, [fmean(r.accuracy for r in records), fmean(values)])

    def close(self) -> None:
        """Let go of the file."""
        self.storage.engine.dispose()

    def _study(self, group: Group) -> optuna.Study:
        if group not in self._studies:
            seed = self.config.recipe.seed
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study = optuna.create_study(
                    storage=self.storage,
                    study_name=str(group),
                    directions=["maximize", "minimize"],
                    sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5),
                    load_if_exists=True,
                )
                study.set_metric_names(["accuracy", "latency"])
            self._studies[group] = study
        return self._studies[group]

    def _find(self, study: optuna.Study, proposal: int) -> FrozenTrial | None:
        found = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get(NUMBER) == proposal]
        return found[0] if found else None
