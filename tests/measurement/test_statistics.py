import math

import pytest

from nasc.measurement.statistics import (
    Block,
    center_and_gap,
    median_interval,
    relative_gap,
    session_value,
)


def test_the_center_of_sessions_is_their_median_and_the_gap_leads_to_the_next() -> None:
    center, gap = center_and_gap([1.3, 1.0, 1.02])
    assert center == 1.02
    assert gap == pytest.approx(0.02)
    assert relative_gap([2.0, 2.5]) == pytest.approx(0.5 / 2.25)
    assert center_and_gap([1.0, 1.2, 1.3, 9.0]) == (pytest.approx(1.25), pytest.approx(0.1))


def test_one_session_says_nothing_of_its_own_error() -> None:
    assert center_and_gap([1.0]) == (1.0, math.inf)


def test_one_lucky_and_one_disturbed_session_decide_nothing() -> None:
    assert center_and_gap([0.5, 1.0, 1.0, 1.0, 7.0]) == (1.0, 0.0)


def test_blocks_are_corrected_by_the_anchors_around_them() -> None:
    blocks = [Block((5.5, 9.0), 1.1, 1.1), Block((6.0,), 1.2, 1.2), Block((4.0,), 1.3, 1.3)]
    # ratios 5, 5, 3.08: the median, so that one disturbed anchor decides nothing
    assert session_value(blocks, reference_s=1.0) == pytest.approx(5.0)


def test_a_sum_of_parts_is_estimated_as_its_parts_are_whatever_the_clock_did() -> None:
    def session(clock: float) -> tuple[Block, Block, Block]:
        return tuple(Block((clock * time,), clock, clock) for time in (3.0, 4.0, 7.0))  # type: ignore[return-value]

    sessions = [session(clock) for clock in (1.0, 1.2, 1.1)]
    one, two, both = (center_and_gap([session_value([s[i]], 1.0) for s in sessions])[0] for i in range(3))
    assert one + two == pytest.approx(both)


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
