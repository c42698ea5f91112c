from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from nasc.comparison import make_config
from nasc.comparison.proposals import FILE, Proposals
from nasc.records import Record

CONFIG = make_config(
    {
        "models": "digits-cnn", "data": "digits", "targets": ["-40%"], "methods": ["l1"], "trials": 5,
        "tune": {"*": {"learning_rate": "0.05..0.4:log"}},
    }
)  # fmt: skip
(GROUP,) = CONFIG.groups


@pytest.fixture
def proposals(tmp_path: Path) -> Iterator[Proposals]:
    made = Proposals(CONFIG, tmp_path)
    yield made
    made.close()


def trials(folder: Path) -> list[Any]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / FILE}")
    found = optuna.load_study(study_name=str(GROUP), storage=storage).get_trials()
    storage.engine.dispose()
    return list(found)


def test_the_first_proposal_is_the_defaults_and_others_lie_in_the_range(proposals: Proposals) -> None:
    assert proposals.params(GROUP, 0) == {}
    drawn = [proposals.params(GROUP, number)["learning_rate"] for number in (1, 2, 3)]
    assert len(set(drawn)) == 3
    assert all(0.05 <= rate <= 0.4 for rate in drawn)


def test_a_proposal_is_drawn_once_and_remembered_by_another_process(proposals: Proposals, tmp_path: Path) -> None:
    drawn = proposals.params(GROUP, 1)
    again = Proposals(CONFIG, tmp_path)
    assert again.params(GROUP, 1) == drawn == proposals.params(GROUP, 1)
    again.close()
    assert len(trials(tmp_path)) == 1


def test_the_study_learns_the_mean_accuracy_and_latency_over_the_seeds(
    proposals: Proposals, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    proposals.params(GROUP, 0)
    proposals.tell(GROUP, 0, [make_record(accuracy=0.8, measured_s=1e-3), make_record(accuracy=0.9, measured_s=3e-3)])
    proposals.tell(GROUP, 0, [make_record(accuracy=0.1)])  # told once
    (trial,) = trials(tmp_path)
    assert trial.values == pytest.approx([0.85, 2e-3])


def test_what_failed_and_what_was_stopped_say_so(proposals: Proposals, tmp_path: Path) -> None:
    for number in (0, 1):
        proposals.params(GROUP, number)
    proposals.tell(GROUP, 0, [])
    proposals.tell(GROUP, 1, [], stopped=True)
    assert [trial.state for trial in trials(tmp_path)] == [TrialState.FAIL, TrialState.PRUNED]


def test_the_studies_have_two_objectives_that_the_dashboard_of_optuna_can_name(
    proposals: Proposals, tmp_path: Path
) -> None:
    proposals.params(GROUP, 0)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / FILE}")
    (summary,) = optuna.get_all_study_summaries(storage)
    assert [direction.name for direction in summary.directions] == ["MAXIMIZE", "MINIMIZE"]
    study = optuna.load_study(study_name=str(GROUP), storage=storage)
    assert study.metric_names == ["accuracy", "latency"]
    storage.engine.dispose()
