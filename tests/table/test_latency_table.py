import itertools
from dataclasses import replace

import pytest
import torch

from nasc.devices import LocalCpu
from nasc.errors import OutsideTable
from nasc.kernels import KernelShape, signature
from nasc.table import LatencyTable
from nasc.table.plan import grid_shapes
from nasc.table.provenance import Provenance, Residency, cold_share
from nasc.table.rows import Row
from nasc.table.steps import Steps
from tests.table.conftest import TableMaker

LINEAR = signature("linear", rows=4)
FAMILY = "linear rows=many"
STEPS = {(FAMILY, "c_out"): Steps.pure(16)}
SHAPES = [LINEAR.at(c_in=i, c_out=o) for i, o in itertools.product((1, 8, 64), (16, 32, 64, 128))]


def staircase(shape: KernelShape) -> float:
    """Linear in the inputs, whole steps of 16 in the outputs."""
    return 1e-6 + 1e-9 * shape["c_in"] * -(-shape["c_out"] // 16)


@pytest.fixture
def table(make_table: TableMaker) -> LatencyTable:
    return make_table(SHAPES, staircase, STEPS)


@pytest.fixture
def bilinear(make_table: TableMaker) -> LatencyTable:
    return make_table(SHAPES, lambda shape: 3e-9 * shape["c_in"] * shape["c_out"], STEPS, form="bilinear")


def test_it_is_exact_at_every_whole_width_though_it_measured_a_few(table: LatencyTable) -> None:
    for c_in, c_out in itertools.product(range(1, 65), range(1, 129)):
        expected = staircase(LINEAR.at(c_in=c_in, c_out=c_out))
        assert table.seconds(LINEAR, {"c_in": c_in, "c_out": c_out}) == pytest.approx(expected)


def test_a_relaxed_price_is_the_exact_one_at_whole_sizes(table: LatencyTable) -> None:
    for c_in, c_out in itertools.product((1, 7, 64), (1, 15, 16, 17, 48, 128)):
        sizes = {"c_in": torch.tensor(float(c_in)), "c_out": torch.tensor(float(c_out), requires_grad=True)}
        relaxed = table.seconds(LINEAR, sizes)
        assert isinstance(relaxed, torch.Tensor)
        assert relaxed.item() == pytest.approx(table.seconds(LINEAR, {"c_in": c_in, "c_out": c_out}))


def test_descent_feels_the_height_of_the_step(table: LatencyTable) -> None:
    c_in = torch.tensor(32.0, dtype=torch.float64, requires_grad=True)
    c_out = torch.tensor(40.0, dtype=torch.float64, requires_grad=True)  # on the step from 33 to 48
    table.seconds(LINEAR, {"c_in": c_in, "c_out": c_out}).backward()  # type: ignore[union-attr]
    assert c_in.grad is not None
    assert c_out.grad is not None
    assert c_out.grad.item() == pytest.approx(32 * 1e-9 / 16)
    assert c_in.grad.item() == pytest.approx(3 * 1e-9)


def test_slopes_in_floats_are_the_gradient(table: LatencyTable) -> None:
    for c_in, c_out in itertools.product((1.0, 7.5, 60.0), (5.0, 16.0, 33.3, 128.0)):
        sizes = {
            name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
            for name, value in (("c_in", c_in), ("c_out", c_out))
        }
        table.seconds(LINEAR, sizes).backward()  # type: ignore[union-attr]
        slope = table.slope(LINEAR, {"c_in": c_in, "c_out": c_out})
        assert slope == pytest.approx({name: size.grad.item() for name, size in sizes.items()})  # type: ignore[union-attr]


def test_going_down_one_whole_step_saves_what_the_slope_promised(table: LatencyTable) -> None:
    here, below = (table.seconds(LINEAR, {"c_in": 64, "c_out": c_out}) for c_out in (112, 96))
    promised = 16 * table.slope(LINEAR, {"c_in": 64, "c_out": 112})["c_out"]
    assert here - below == pytest.approx(promised)


def test_between_whole_sizes_the_relaxed_price_does_not_jump(table: LatencyTable) -> None:
    last = table.seconds(LINEAR, {"c_in": 8, "c_out": 31.0})
    for hundredth in range(3101, 3400):
        now = table.seconds(LINEAR, {"c_in": 8, "c_out": hundredth / 100})
        assert abs(now - last) <= 8e-9 / 100 * 1.01
        last = now


def test_the_bilinear_form_of_a_product_is_the_flops_surrogate_exactly(bilinear: LatencyTable) -> None:
    masks = [torch.rand(size, dtype=torch.float64, requires_grad=True) for size in (64, 128)]
    widths = [mask.numel() ** 0.5 * mask.sum() / mask.norm() for mask in masks]  # R(a)
    priced = bilinear.seconds(LINEAR, {"c_in": widths[0], "c_out": widths[1]})
    flops = 3e-9 * widths[0] * widths[1]
    assert isinstance(priced, torch.Tensor)
    assert priced.item() == pytest.approx(flops.item())
    expected = torch.autograd.grad(flops, masks, retain_graph=True)
    for got, gradient in zip(torch.autograd.grad(priced, masks), expected, strict=True):
        torch.testing.assert_close(got, gradient)


def test_the_bilinear_form_goes_straight_to_zero_below_the_first_knot(bilinear: LatencyTable) -> None:
    assert bilinear.seconds(LINEAR, {"c_in": 8, "c_out": 5.5}) == pytest.approx(3e-9 * 8 * 5.5)
    assert bilinear.seconds(LINEAR, {"c_in": 0, "c_out": 64}) == 0


def test_the_bilinear_gradient_is_the_finite_difference_inside_a_cell(make_table: TableMaker) -> None:
    table = make_table(SHAPES, lambda shape: 1e-6 * (shape["c_in"] ** 0.5 + shape["c_out"] ** 1.3), form="bilinear")
    point, tiny = {"c_in": 20.4, "c_out": 50.6}, 1e-5  # on a line of slope one between whole sizes
    for name, slope in table.slope(LINEAR, point).items():
        up, down = ({**point, name: point[name] + sign * tiny} for sign in (1, -1))
        difference = (float(table.seconds(LINEAR, up)) - float(table.seconds(LINEAR, down))) / (2 * tiny)
        assert slope == pytest.approx(difference, rel=1e-4)


def test_sizes_of_zero_cost_nothing(table: LatencyTable) -> None:
    assert table.seconds(LINEAR, {"c_in": 0, "c_out": 64}) == 0.0
    assert table.seconds(LINEAR, {"c_in": 64, "c_out": 0}) == 0.0


def test_what_is_free_is_free(table: LatencyTable) -> None:
    free = signature("free", op="reshape")
    assert table.seconds(free, {}) == 0.0
    assert table.slope(free, {}) == {}
    assert table.covers(free, {})


def test_a_size_beyond_the_measured_ones_is_refused_with_the_command_to_type(table: LatencyTable) -> None:
    assert not table.covers(LINEAR, {"c_in": 65, "c_out": 64})
    with pytest.raises(OutsideTable, match=r"c_in = 65 of linear\[rows=4\] is outside .* \(1 to 64\)") as caught:
        table.seconds(LINEAR, {"c_in": 65, "c_out": 64})
    assert "nasc profile --device simulated" in caught.value.hint


def test_a_kernel_that_was_never_measured_is_refused(table: LatencyTable) -> None:
    other = signature("linear", rows=5)
    assert not table.covers(other, {"c_in": 1, "c_out": 16})
    with pytest.raises(OutsideTable, match=r"no row for linear\[rows=5\]"):
        table.seconds(other, {"c_in": 1, "c_out": 16})


def test_a_size_that_never_moved_is_only_known_where_it_was_measured(make_table: TableMaker) -> None:
    table = make_table([LINEAR.at(c_in=c_in, c_out=10) for c_in in (1, 64)], staircase, STEPS)
    assert table.covers(LINEAR, {"c_in": 30, "c_out": 10})
    assert not table.covers(LINEAR, {"c_in": 30, "c_out": 7})
    assert table.seconds(LINEAR, {"c_in": 64, "c_out": 10}) == pytest.approx(staircase(LINEAR.at(c_in=64, c_out=10)))


def test_rows_inside_a_step_do_not_disturb_the_grid(make_table: TableMaker) -> None:
    inside = [LINEAR.at(c_in=8, c_out=width) for width in (17, 40, 50)]
    table = make_table([*SHAPES, *inside], staircase, STEPS)
    assert table.seconds(LINEAR, {"c_in": 64, "c_out": 128}) == pytest.approx(staircase(LINEAR.at(c_in=64, c_out=128)))


def test_classes_of_a_step_have_prices_of_their_own(make_table: TableMaker) -> None:
    def dips(shape: KernelShape) -> float:  # multiples of 16 are cheap, 1 to 8 are half a step, the rest is dear
        step, inside = divmod(shape["c_out"] - 1, 16)
        return 1e-8 * shape["c_in"] * (step + (1.0 if inside == 15 else 0.5 if inside < 8 else 1.25))

    classes = (8,) * 8 + (15,) * 7 + (16,)
    steps = Steps(16, classes, classes)
    knots = [16 * step + position for step in (0, 1, 3, 7) for position in (8, 15, 16)]
    table = make_table(grid_shapes(LINEAR, [[1, 64], knots]), dips, {(FAMILY, "c_out"): steps})
    for c_in, c_out in itertools.product((1, 33, 64), range(1, 129)):
        expected = dips(LINEAR.at(c_in=c_in, c_out=c_out))
        assert table.seconds(LINEAR, {"c_in": c_in, "c_out": c_out}) == pytest.approx(expected)
    assert table.slope(LINEAR, {"c_in": 64, "c_out": 40})["c_out"] == pytest.approx(64e-8 / 16)


def test_a_larger_model_pays_more_of_its_kernels_cold_times(provenance: Provenance) -> None:
    rows = [Row(shape, 1e-5, 0.0, 2e-5, 3, 90) for shape in SHAPES]
    facts = {"inner_cache_bytes": 1_000_000}
    known = replace(
        provenance,
        environment=replace(provenance.environment, facts=facts),
        residency=(Residency(4e6, 0.8), Residency(2e6, 0.5), Residency(6e6, 0.7), Residency(3e5, 0.9)),
    )
    table, sizes = LatencyTable.from_rows(rows, known), {"c_in": 8, "c_out": 16}
    seconds = [
        float(table.for_weights(megabytes * 1e6).seconds(LINEAR, sizes)) for megabytes in (0, 0.5, 1.25, 2, 3, 4, 6, 9)
    ]
    assert seconds == pytest.approx([1e-5, 1e-5, 1.25e-5, 1.5e-5, 1.625e-5, 1.75e-5, 1.75e-5, 1.75e-5], abs=6e-8)
    assert table.seconds(LINEAR, sizes) == 1e-5
    assert table.for_weights(4e6) is table.for_weights(4.001e6)  # views are made once


def test_a_model_whose_times_tell_more_counts_for_more() -> None:
    points = [Residency(2e6, 0.9, telling=0.1), Residency(4e6, 0.3, telling=0.9)]
    assert cold_share(points, 1e6, 3e6) == pytest.approx(0.1 * 0.9 + 0.9 * 0.3)


def test_without_a_known_cache_every_model_is_warm(table: LatencyTable) -> None:
    assert table.for_weights(1e9) is table


def test_methods_learn_the_period_from_the_table(table: LatencyTable) -> None:
    assert table.steps(LINEAR, "c_out") == 16
    assert table.steps(LINEAR, "c_in") == 1
    assert table.steps(signature("linear", rows=9), "c_out") == 16  # of the same family
    assert table.steps(signature("linear", rows=1), "c_out") == 1  # of another


def test_it_says_where_its_times_come_from(table: LatencyTable) -> None:
    assert (table.origin, table.device) == ("simulated", "simulated")
    assert LocalCpu().origin == "measured"


def test_thousands_of_prices_take_no_time(table: LatencyTable) -> None:
    import time

    start = time.perf_counter()
    for width in range(2000):
        table.seconds(LINEAR, {"c_in": 1 + width % 64, "c_out": 1 + width % 128})
    assert time.perf_counter() - start < 1.0
