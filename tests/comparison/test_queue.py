"""What Ray Tune is handed, and what becomes of every way in which a trial can end."""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from nasc.comparison import Ledger, make_config
from nasc.comparison.ledger import complete
from nasc.comparison.proposals import FILE, Proposals
from nasc.comparison.queue import TrialQueue
from nasc.records import Record, to_json

Make = Callable[..., Record]
CONFIG = {"models": "digits-cnn", "data": "digits", "targets": ["-40%"], "methods": ["l1"], "seeds": [0, 1]}


class Setup:
    def __init__(self, folder: Path, **changes: Any) -> None:
        self.config = make_config({**CONFIG, "out": folder, **changes})
        self.ledger = Ledger(folder)
        self.proposals = Proposals(self.config, folder)
        self.told: list[str] = []
        self.queue = TrialQueue(
            self.config, self.ledger, self.proposals, lambda trial, outcome: self.told.append(trial.name)
        )

    def states(self) -> list[TrialState]:
        storage = optuna.storages.RDBStorage(f"sqlite:///{self.config.out / FILE}")
        found = optuna.load_study(study_name=str(self.config.groups[0]), storage=storage).get_trials()
        storage.engine.dispose()
        return [trial.state for trial in found]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(tmp_path)
    yield made
    made.proposals.close()


def finished(make: Make, name: str) -> dict[str, Any]:
    return {"record": json.dumps(to_json(complete(make(), name, {"seconds": 1.0})))}


def test_every_trial_is_handed_out_once_and_then_it_is_over(setup: Setup) -> None:
    handed = [setup.queue.suggest(str(k))["trial"].name for k in range(2)]
    assert handed == [trial.name for trial in setup.config.all_trials()]
    assert setup.queue.suggest("2") == Searcher.FINISHED


def test_a_finished_trial_is_noted_once_and_the_study_told_when_its_last_seed_ends(
    setup: Setup, make_record: Make
) -> None:
    names = [setup.queue.suggest(str(k))["trial"].name for k in range(2)]
    setup.queue.on_trial_complete("0", finished(make_record, names[0]))
    assert setup.states() == [TrialState.RUNNING]
    setup.queue.on_trial_complete("1", finished(make_record, names[1]))
    assert setup.states() == [TrialState.COMPLETE]
    assert sorted(Ledger(setup.config.out).records) == sorted(names)
    assert setup.told == names


def test_what_went_wrong_inside_and_the_death_of_a_process_are_failures_with_their_reason(setup: Setup) -> None:
    names = [setup.queue.suggest(str(k))["trial"].name for k in range(2)]
    inside = {"error": "no such data", "hint": "get it", "traceback": "Traceback (most recent call last): ..."}
    setup.queue.on_trial_complete("0", {"failure": json.dumps(inside)})
    setup.queue.on_trial_complete("1", None, error=True)
    failures = Ledger(setup.config.out).failures
    assert failures[names[0]].traceback == inside["traceback"]
    assert "died 4 times" in failures[names[1]].error
    assert setup.states() == [TrialState.FAIL]


def test_a_trial_that_fell_behind_was_stopped_and_not_failed(setup: Setup) -> None:
    names = [setup.queue.suggest(str(k))["trial"].name for k in range(2)]
    for k in range(2):
        setup.queue.on_trial_complete(str(k), {"epoch": 6, "val_accuracy": 0.1})
    assert {failure.kind for failure in Ledger(setup.config.out).failures.values()} == {"stopped"}
    assert set(Ledger(setup.config.out).failures) == set(names)
    assert setup.states() == [TrialState.PRUNED]


def test_another_queue_over_the_same_folder_hands_out_only_what_is_left(
    setup: Setup, make_record: Make, tmp_path: Path
) -> None:
    first = setup.queue.suggest("0")["trial"].name
    setup.queue.on_trial_complete("0", finished(make_record, first))
    again = Setup(tmp_path, seeds=[0, 1, 2])
    assert [trial.seed for trial in again.queue.left] == [1, 2]
    again.proposals.close()


def test_ray_may_write_the_queue_down_whoever_listens(setup: Setup) -> None:
    assert pickle.loads(pickle.dumps(setup.queue)) is not None
