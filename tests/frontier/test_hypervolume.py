"""The hypervolume equals a count of grid cells, and behaves as an area must."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.frontier import Point, hypervolume, hypervolume_interval

_points = st.lists(st.builds(Point, st.integers(0, 12), st.integers(0, 12)), max_size=10)
REFERENCE = Point(10, 2)


@given(_points)
def test_the_area_is_the_number_of_unit_cells_that_some_point_covers(points: list[Point]) -> None:
    cells = [(x, y) for x in range(10) for y in range(2, 12)]
    covered = sum(any(p.latency_s <= x and p.accuracy >= y + 1 for p in points) for x, y in cells)
    assert hypervolume(points, REFERENCE) == covered


@given(_points, st.builds(Point, st.integers(0, 12), st.integers(0, 12)))
def test_another_model_never_takes_area_away(points: list[Point], more: Point) -> None:
    assert hypervolume([*points, more], REFERENCE) >= hypervolume(points, REFERENCE)


def test_error_bars_give_an_interval_around_the_area() -> None:
    points = [Point(4, 8, latency_error_s=1, accuracy_error=1)]
    low, high = hypervolume_interval(points, REFERENCE)
    assert (low, hypervolume(points, REFERENCE), high) == pytest.approx((5 * 5, 6 * 6, 7 * 7))
