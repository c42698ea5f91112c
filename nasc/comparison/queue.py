"""Which trial comes next, and what becomes of those that end: the search algorithm that Ray Tune asks."""

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from nasc.comparison.config import CompareConfig, Trial
from nasc.comparison.ledger import Failure, Ledger
from nasc.comparison.proposals import Proposals
from nasc.records import Record, decode_record

Announce = Callable[[Trial, Record | Failure], None]


class TrialQueue(Searcher):
    """Hands the trials that are left to Ray Tune, and notes down what comes back.

    All that must survive stands in the ledger and in Optuna's file before a trial counts as ended, so that nothing of
    Ray's own state is needed to go on.

    Args:
        config: The comparison.
        ledger: Of its finished and failed trials.
        proposals: Its hyper-parameters.
        announce: Told of every end.
    """

    def __init__(self, config: CompareConfig, ledger: Ledger, proposals: Proposals, announce: Announce) -> None:
        super().__init__(metric="accuracy", mode="max")
        self.config, self.ledger, self.proposals, self.announce = config, ledger, proposals, announce
        self.left = deque(trial for trial in config.all_trials() if not ledger.done(trial.name))
        self.running: dict[str, Trial] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial's settings, as Ray hands them to the worker."""
        if not self.left:
            return Searcher.FINISHED
        trial = self.left.popleft()
        self.running[trial_id] = trial
        params = self.proposals.params(trial.group, trial.proposal)
        return {"trial": trial, "params": params, "group": str(trial.group)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note down how a trial ended."""
        trial = self.running.pop(trial_id)
        outcome = self._outcome(trial, result or {}, error)
        if isinstance(outcome, Failure):
            self.ledger.fail(outcome)
        else:
            self.ledger.add(outcome)
        tell_when_whole(self.config, self.ledger, self.proposals, trial)
        self.announce(trial, outcome)

    def _outcome(self, trial: Trial, result: dict[str, Any], error: bool) -> Record | Failure:
        if "record" in result:
            return decode_record(result["record"].encode(), trial.name)
        if "failure" in result:
            return Failure(trial.name, "failed", **json.loads(result["failure"]))
        if error:
            sentence = f"the trial's process died {self.config.crashes + 1} times"
            hint = "look at the machine's memory and its system log, then run the same command with --retry-failed"
            return Failure(trial.name, "failed", sentence, hint)
        return Failure(trial.name, "stopped", f"fell behind its group at epoch {result.get('epoch', 0):g}")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray writes down what it is given, and who listens may be anything."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the state is in the ledger and in Optuna's file."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing; see :meth:`save`."""


def tell_when_whole(config: CompareConfig, ledger: Ledger, proposals: Proposals, trial: Trial) -> None:
    """Answer Optuna once every seed of a proposal has ended."""
    names = [Trial(trial.group, trial.proposal, seed).name for seed in config.seeds]
    if not all(ledger.done(name) for name in names):
        return
    records = [ledger.records[name] for name in names if name in ledger.records]
    stopped = any(ledger.failures[name].kind == "stopped" for name in names if name in ledger.failures)
    proposals.tell(trial.group, trial.proposal, records, stopped=stopped)
