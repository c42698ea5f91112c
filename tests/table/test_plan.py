from collections.abc import Callable

import pytest
import torch
from torch import nn

from nasc.graph import trace
from nasc.graph.network import Network
from nasc.table.plan import (
    LINE_LENGTH,
    add_knot,
    covers,
    find_regions,
    grid_shapes,
    plan_held_out,
    plan_knots,
    plan_lines,
    size_of_grid,
)
from nasc.table.provenance import Provenance
from nasc.table.steps import Steps
from tests.table.conftest import TableMaker


def network() -> Network:
    model = nn.Sequential(nn.Conv2d(3, 20, 1), nn.ReLU(), nn.Conv2d(20, 24, 1), nn.ReLU(), nn.Conv2d(24, 7, 1))
    return trace(model, (torch.zeros(1, 3, 8, 8),))


NETWORK = network()
(REGION,) = find_regions([NETWORK])
STEPS = {"c_out": Steps.pure(8)}


def test_kernels_of_one_signature_are_one_region() -> None:
    assert REGION.dense == ((3, 20), (20, 24), (24, 7))
    assert REGION.moves == (True, True)
    assert (REGION.largest(0), REGION.largest(1)) == (24, 24)


def test_a_line_is_planned_per_moving_size_of_a_family(provenance: Provenance) -> None:
    lines = plan_lines([REGION], provenance)
    assert {line.size for line in lines} == {"c_in", "c_out"}
    for line in lines:
        assert [shape[line.size] for shape in line.shapes] == list(range(1, LINE_LENGTH + 1))


def test_what_is_known_is_not_probed_again(provenance: Provenance) -> None:
    known = provenance.with_steps({(line.family, line.size): Steps() for line in plan_lines([REGION], provenance)})
    assert plan_lines([REGION], known) == []


def test_knots_lie_on_the_ends_of_steps_up_to_the_full_width() -> None:
    c_in, c_out = plan_knots(REGION, STEPS)
    assert c_in[0] == 1
    assert c_in[-1] == 24
    assert c_out == [8, 16, 24]


def test_knots_the_table_has_stay_and_are_extended() -> None:
    assert plan_knots(REGION, STEPS, ((5, 100), (8, 40)))[1] == [8, 16, 32, 40]


def test_a_size_that_cannot_move_has_its_own_values_only() -> None:
    model = nn.Sequential(nn.Conv2d(3, 20, 3), nn.ReLU(), nn.Conv2d(20, 7, 1))
    regions = find_regions([trace(model, (torch.zeros(1, 3, 8, 8),))])
    window = {region.dense[0]: region for region in regions}
    assert plan_knots(window[3, 20], STEPS) == [[3], [8, 16, 24]]
    assert plan_knots(window[20, 7], STEPS)[1] == [7]


def test_a_grid_holds_every_product_of_its_knots() -> None:
    knots = plan_knots(REGION, STEPS)
    shapes = grid_shapes(REGION.signature, knots)
    assert len(set(shapes)) == len(shapes) == size_of_grid(knots)


def test_held_out_kernels_are_what_a_smaller_network_could_have() -> None:
    drawn = plan_held_out(REGION, 20, seed=1)
    assert drawn == plan_held_out(REGION, 20, seed=1) != plan_held_out(REGION, 20, seed=2)
    assert all(any(s["c_in"] <= i and s["c_out"] <= o for i, o in REGION.dense) for s in drawn)


def test_a_bad_prediction_adds_a_line_at_the_end_of_its_step() -> None:
    shape = REGION.signature.at(c_in=1, c_out=18)
    assert add_knot(REGION, [[1, 24], [8, 16, 48]], shape, STEPS) == [[1, 24], [8, 16, 24, 48]]
    known = [[1, 24], [8, 24]]
    assert add_knot(REGION, known, shape, STEPS) == known


@pytest.mark.parametrize("missing", [lambda s: s["c_in"] != 24, lambda s: s["c_out"] != 8])
def test_a_table_covers_a_network_down_to_one_entry(make_table: TableMaker, missing: Callable[..., bool]) -> None:
    shapes = grid_shapes(REGION.signature, plan_knots(REGION, STEPS))
    steps = {(plan_lines([REGION], make_table([], len).provenance)[0].family, "c_out"): Steps.pure(8)}
    assert covers(make_table(shapes, lambda _: 1.0, steps), [REGION])
    assert not covers(make_table(filter(missing, shapes), lambda _: 1.0, steps), [REGION])
