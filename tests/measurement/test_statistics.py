import math

import pytest

from nasc.measurement.statistics import (
    Block,
    SessionValue,
    best_and_gap,
    median_interval,
    relative_gap,
    session_value,
)


def full(*seconds: float) -> list[SessionValue]:
    return [SessionValue(value, full_clock=True) for value in seconds]


def test_the_best_of_sessions_is_their_minimum_and_the_gap_leads_to_the_next() -> None:
    best, gap = best_and_gap(full(1.3, 1.0, 1.02))
    assert best == 1.0
    assert gap == pytest.approx(0.02)
    assert relative_gap(full(2.0, 2.5)) == pytest.approx(0.25)


def test_one_session_says_nothing_of_its_own_error() -> None:
    assert best_and_gap(full(1.0)) == (1.0, math.inf)


def test_sessions_at_full_clock_are_believed_before_corrected_ones() -> None:
    corrected = SessionValue(0.9, full_clock=False)
    assert best_and_gap([corrected, *full(1.0, 1.1)]) == (1.0, pytest.approx(0.1))


def test_a_single_session_at_full_clock_is_the_estimate_and_the_corrected_ones_tell_its_error() -> None:
    corrected = [SessionValue(0.98, full_clock=False), SessionValue(1.3, full_clock=False)]
    assert best_and_gap([*full(1.0), *corrected]) == (1.0, pytest.approx(0.02))


def test_two_equal_sessions_have_no_gap() -> None:
    assert best_and_gap(full(1.0, 1.0, 1.5)) == (1.0, 0.0)


def test_blocks_at_full_clock_count_as_they_are() -> None:
    blocks = [Block((5.0, 4.0), 1.0, 1.005), Block((3.0,), 1.0, 1.3)]  # the clock fell during the second
    assert session_value(blocks, reference_s=1.0) == SessionValue(4.0, full_clock=True)


def test_blocks_at_a_lower_clock_are_corrected_by_the_anchors_around_them() -> None:
    blocks = [Block((5.5,), 1.1, 1.1), Block((6.0,), 1.2, 1.2), Block((4.0,), 1.3, 1.3)]
    # ratios 5, 5, 3.08: the median, so that one disturbed anchor decides nothing
    value = session_value(blocks, reference_s=1.0)
    assert value.seconds == pytest.approx(5.0)
    assert not value.full_clock


def test_the_median_interval_lies_around_the_median_and_narrows_with_agreement() -> None:
    middle, low, high = median_interval([1.0, 1.1, 0.9, 1.05, 0.95])
    assert middle == 1.0
    assert 0.9 <= low < middle < high <= 1.1
    assert median_interval([2.0] * 5) == (2.0, 2.0, 2.0)


def test_the_median_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    import random

    generator = random.Random(1)
    hits = 0
    for trial in range(100):
        _, low, high = median_interval([generator.gauss(10.0, 1.0) for _ in range(15)], seed=trial)
        hits += low <= 10.0 <= high
    assert hits >= 85


def test_the_same_values_and_seed_give_the_same_interval() -> None:
    assert median_interval([1.0, 2.0, 4.0, 8.0], seed=5) == median_interval([1.0, 2.0, 4.0, 8.0], seed=5)
