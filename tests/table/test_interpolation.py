import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.table.interpolation import Grid, complete_grid, weights_at

KNOTS = ((1.0, 2.0, 4.0, 9.0), (3.0, 5.0, 10.0))
VALUES = tuple((1 + x) ** 2 * (2 + y) % 17 + x * y for x in KNOTS[0] for y in KNOTS[1])
GRID = Grid(KNOTS, VALUES)


def test_the_grid_is_exact_at_its_knots() -> None:
    points = list(itertools.product(*KNOTS))
    assert [GRID.at(point) for point in points] == pytest.approx(list(VALUES))


@pytest.mark.parametrize(("i", "j"), itertools.product(range(3), range(2)))
def test_a_cells_centre_is_the_mean_of_its_corners(i: int, j: int) -> None:
    x, y = KNOTS[0][i : i + 2], KNOTS[1][j : j + 2]
    corners = [GRID.at(point) for point in itertools.product(x, y)]
    assert GRID.at((sum(x) / 2, sum(y) / 2)) == pytest.approx(sum(corners) / 4)


@given(st.floats(0.01, 8.9), st.floats(0.01, 9.9))
def test_it_is_continuous_across_cells(x: float, y: float) -> None:
    tiny = 1e-7
    assert GRID.at((x + tiny, y + tiny)) == pytest.approx(GRID.at((x, y)), abs=1e-3)


@given(st.floats(0.0, 9.0), st.floats(0.0, 10.0))
def test_the_order_of_the_axes_does_not_matter(x: float, y: float) -> None:
    transposed = Grid((KNOTS[1], KNOTS[0]), tuple(VALUES[i * 3 + j] for j in range(3) for i in range(4)))
    assert GRID.at((x, y)) == pytest.approx(transposed.at((y, x)))


@given(st.floats(0.0, 9.0))
def test_a_size_of_zero_costs_nothing(size: float) -> None:
    assert GRID.at((0.0, size)) == 0.0
    assert GRID.at((size, 0.0)) == 0.0


def test_a_product_is_reproduced_exactly() -> None:
    grid = Grid(KNOTS, tuple(0.25 * x * y for x in KNOTS[0] for y in KNOTS[1]))
    for x, y in itertools.product((0.3, 1.0, 3.3, 8.0), (0.5, 4.1, 9.9)):
        assert grid.at((x, y)) == pytest.approx(0.25 * x * y)


def test_beyond_the_last_knot_the_last_line_goes_on() -> None:
    assert Grid(((1.0, 2.0),), (3.0, 5.0)).at((4.0,)) == pytest.approx(9.0)
    assert Grid(((2.0,),), (3.0,)).at((4.0,)) == pytest.approx(6.0)


@given(st.floats(1.0, 9.0))
def test_weights_between_knots_add_up_to_one(size: float) -> None:
    assert sum(weight for _, weight in weights_at(KNOTS[0], size)) == pytest.approx(1.0)


def test_three_axes_work_as_two_do() -> None:
    axes = ((1.0, 3.0), (2.0, 4.0), (1.0, 5.0))
    grid = Grid(axes, tuple(x + 10 * y + 100 * z for x, y, z in itertools.product(*axes)))
    assert grid.at((2.0, 3.0, 4.0)) == pytest.approx(2 + 30 + 400)


def test_points_on_no_grid_are_left_out() -> None:
    grid = list(itertools.product((1, 4, 8), (16, 32, 64)))
    line = [(4, width) for width in range(1, 65)]
    scattered = [(3, 24), (7, 48)]
    assert complete_grid([*grid, *line, *scattered]) == ((1, 4, 8), (16, 32, 64))


def test_a_half_measured_grid_gives_its_complete_part() -> None:
    assert complete_grid([(1, 16), (4, 16), (8, 16), (1, 32), (4, 32)]) == ((1, 4), (16, 32))


def test_a_grid_with_one_axis_is_all_of_its_points() -> None:
    assert complete_grid([(8,), (1,), (4,)]) == ((1, 4, 8),)
