import csv
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.table.steps import LINE, Steps, find_steps, ladder

MEASURED = Path(__file__).parents[1] / "golden" / "staircase_avx512.csv"


def measured(curve: str) -> dict[int, float]:
    """Minima over five rounds on an AVX-512 machine, LiteRT, one thread."""
    with MEASURED.open() as stream:
        return {int(row["size"]): float(row[f"{curve}_us"]) for row in csv.DictReader(stream)}


def climb(size: int, period: int) -> float:
    return 2.0 + 1.5 * -(-size // period)


@pytest.mark.parametrize("period", [2, 3, 4, 8, 12, 16, 24, 32])
def test_the_period_of_a_staircase_is_found(period: int) -> None:
    assert find_steps({size: climb(size, period) for size in range(1, 129)}) == Steps.pure(period)


@pytest.mark.parametrize("period", [4, 8, 16, 32])
@pytest.mark.parametrize("seed", range(3))
def test_noise_and_disturbed_points_do_not_hide_it(period: int, seed: int) -> None:
    generator = Random(seed)
    times = {size: climb(size, period) * (1 + 0.01 * generator.random()) for size in range(1, 129)}
    for _ in range(4):
        times[generator.randint(1, 128)] *= 1.5
    assert find_steps(times).period == period


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_line_has_no_steps(seed: int) -> None:
    generator = Random(seed)
    assert find_steps({size: (3.0 + size) * (1 + 0.05 * generator.random()) for size in range(1, 129)}) == LINE


@pytest.mark.parametrize(
    ("curve", "periods"),
    [
        ("conv1x1_c_in", {1}),
        ("linear_c_out", {16}),
        ("conv1x1_c_out", {16, 32}),  # every second step is a little higher
        ("conv3x3_c_out", {32}),  # with half a step at the start
        ("depthwise_channels", {16}),
    ],
)
def test_the_steps_of_a_real_machine_are_found(curve: str, periods: set[int]) -> None:
    assert find_steps(measured(curve), floor_s=0.5).period in periods


@pytest.mark.parametrize(
    ("curve", "classes"), [("linear_c_out", {1}), ("conv3x3_c_out", {1}), ("conv1x1_c_out", {1, 2})]
)
def test_sizes_that_cost_the_same_are_of_one_class(curve: str, classes: set[int]) -> None:
    times = measured(curve)
    steps = find_steps(times, floor_s=0.5)
    assert len(set(steps.later)) in classes
    for size, seconds in times.items():
        if steps.representative(size) <= 128:
            assert seconds == pytest.approx(times[steps.representative(size)], rel=0.05)


def test_half_a_step_at_the_start_is_kept_apart() -> None:
    steps = find_steps(measured("conv3x3_c_out"), floor_s=0.5)
    assert set(steps.first) == {16, 32}
    assert set(steps.later) == {32}


def test_multiples_that_are_cheaper_than_what_lies_before_them_are_a_class_of_their_own() -> None:
    steps = find_steps(measured("depthwise_channels"), floor_s=0.5)
    assert steps.period == 16
    assert steps.later[14] != 16  # 15 channels cost more than 16


def test_too_short_a_line_shows_nothing() -> None:
    assert find_steps({1: 1.0, 2: 1.0, 3: 2.0}) == LINE


def test_times_lost_in_the_cost_of_a_call_show_nothing() -> None:
    assert find_steps({size: 0.1 * climb(size, 8) for size in range(1, 65)}, floor_s=10.0) == LINE


@given(st.integers(1, 200), st.sampled_from([1, 2, 8, 16, 30]))
def test_the_end_of_its_step_stands_for_a_size_on_a_pure_staircase(size: int, period: int) -> None:
    steps = Steps.pure(period)
    assert steps.representative(size) == steps.end(size)
    assert steps.end(size) % period == 0
    assert 0 <= steps.end(size) - size < period


@given(st.integers(1, 200))
def test_a_size_and_what_stands_for_it_share_step_and_class(size: int) -> None:
    steps = Steps(4, (4, 4, 4, 4), (2, 2, 3, 4))
    stands_for = steps.representative(size)
    assert steps.end(stands_for) == steps.end(size)
    assert steps.representative(stands_for) == stands_for >= size


def test_a_ladder_holds_every_class_on_its_rungs() -> None:
    assert ladder(Steps(4, (3, 3, 3, 4), (2, 2, 4, 4)), 12, 2.0) == [3, 4, 6, 8, 10, 12]


def test_float32_noise_does_not_push_a_size_onto_the_next_step() -> None:
    assert Steps.pure(16).end(32.00001) == 32


@given(st.integers(1, 2000), st.sampled_from([1, 8, 16]), st.floats(1.1, 4.0))
def test_a_ladder_leads_from_one_step_to_the_top(largest: int, period: int, ratio: float) -> None:
    steps = Steps.pure(period)
    rungs = ladder(steps, largest, ratio)
    assert rungs[0] == period
    assert rungs[-1] == steps.end(largest)
    assert all(low < high <= max(ratio * low, low + period) + 1e-9 for low, high in pairwise(rungs))
