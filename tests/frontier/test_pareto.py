"""The front equals brute force over all pairs, with and without error bars."""

from hypothesis import given
from hypothesis import strategies as st

from nasc.frontier import Point, dominates, pareto

_small = st.integers(0, 6)  # few values, so that ties are common
_points = st.lists(st.builds(Point, _small, _small, st.integers(0, 2), st.integers(0, 2)), max_size=12)


def brute_force(points: list[Point], certain: bool) -> set[int]:
    def beaten(i: int) -> bool:
        return any(dominates(points[j], points[i], certain=certain) for j in range(len(points)) if j != i)

    return {i for i in range(len(points)) if not beaten(i)}


@given(_points)
def test_the_front_is_what_no_other_point_dominates(points: list[Point]) -> None:
    assert set(pareto(points)) == brute_force(points, certain=False)


@given(_points)
def test_with_intervals_only_what_is_beaten_beyond_doubt_leaves(points: list[Point]) -> None:
    assert set(pareto(points, certain=True)) == brute_force(points, certain=True)
    assert set(pareto(points)) <= set(pareto(points, certain=True))


@given(_points)
def test_the_front_is_sorted_from_fast_to_slow(points: list[Point]) -> None:
    latencies = [points[i].latency_s for i in pareto(points)]
    assert latencies == sorted(latencies)


@given(_points)
def test_dominance_is_a_strict_order(points: list[Point]) -> None:
    for a in points:
        assert not dominates(a, a)
        for b in points:
            assert not (dominates(a, b) and dominates(b, a))
            assert not dominates(a, b, certain=True) or dominates(a, b)


def test_overlapping_error_bars_decide_nothing() -> None:
    fast = Point(1.0, 0.90, accuracy_error=0.02)
    slow = Point(2.0, 0.89, accuracy_error=0.02)
    assert pareto([fast, slow]) == [0]
    assert pareto([fast, slow], certain=True) == [0, 1]


def test_no_points_have_an_empty_front() -> None:
    assert pareto([]) == []
