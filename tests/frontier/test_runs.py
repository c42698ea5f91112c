"""Only records of the same conditions share a frontier; simulated times stand apart and say so."""

from collections.abc import Callable

import pytest

from nasc.frontier import build_frontiers
from nasc.records import Record

Maker = Callable[..., Record]


def test_a_faster_and_better_run_dominates_only_under_equal_conditions(make_record: Maker) -> None:
    records = [
        make_record(measured_s=2e-3, accuracy=0.8),
        make_record(measured_s=1e-3, accuracy=0.9),
        make_record(measured_s=5e-4, accuracy=0.95, threads=2),
    ]
    one_thread, two_threads = build_frontiers(records)
    assert [one_thread.runs[i] for i in one_thread.front] == [1]
    assert [two_threads.runs[i] for i in two_threads.front] == [2]


def test_simulated_times_never_join_measured_ones_and_are_marked(make_record: Maker) -> None:
    measured, simulated = build_frontiers([make_record(), make_record(origin="simulated", measured_s=1e-6)])
    assert len(measured.points) == len(simulated.points) == 1
    assert "simulated" in str(simulated.conditions)
    assert "simulated" not in str(measured.conditions)


def test_the_dense_model_is_one_point_however_many_runs_measured_it(make_record: Maker) -> None:
    records = [
        make_record(seed=seed, dense_measured_s=latency, dense_accuracy=accuracy)
        for seed, latency, accuracy in ((0, 4e-3, 0.90), (1, 5e-3, 0.92), (2, 9e-3, 0.94))
    ]
    (frontier,) = build_frontiers(records)
    assert frontier.dense == ("net",)
    assert frontier.points[-1].latency_s == 5e-3
    assert frontier.points[-1].accuracy == pytest.approx(0.92)


def test_a_record_without_a_measurement_is_on_no_frontier(make_record: Maker) -> None:
    assert build_frontiers([make_record(measured_s=None, spread_s=None)]) == ()
