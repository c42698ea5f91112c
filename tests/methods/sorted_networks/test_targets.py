"""What devices say about a family: exponents that pass through found sizes, and weights of the draws."""

import math

import pytest

from nasc.graph.network import Network
from nasc.methods.sorted_networks import Knob, Pool, exponents_of, frontier_weights, match_dims


def test_the_family_passes_through_the_sizes_the_exponents_were_made_of(residual: Network) -> None:
    names = match_dims(residual)
    dense = {name: residual.dims[name].size for name in names}
    sizes = {name: max(1, size // (2 + place)) for place, (name, size) in enumerate(dense.items())}
    pool = Pool(residual, [Knob("width", (0.25, 0.5, 1.0), names, exponents_of(sizes, dense, 0.5))])
    assert pool.members[1].sizes == sizes
    assert pool.members[2].whole
    assert all(pool.members[0].sizes[name] <= size for name, size in sizes.items())


def test_members_on_a_front_weigh_one_and_those_far_from_all_fall_to_the_floor() -> None:
    costs, losses = [[1.0, 2.0, 3.0, 4.0]], [1.0, 3.0, 0.5, 0.9]
    weights = frontier_weights(costs, losses, floor=0.2, sharpness=50.0)
    assert weights[0] == weights[2] == 1.0
    assert weights[1] == pytest.approx(0.2, abs=1e-6)
    assert 0.2 <= weights[3] < 0.25


def test_a_member_good_on_any_device_counts_and_unseen_ones_are_tried() -> None:
    losses = [1.0, 2.0, math.nan]
    assert frontier_weights([[1.0, 2.0, 3.0]], losses)[1] < 0.5
    both = frontier_weights([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0]], losses)
    assert both == [1.0, 1.0, 1.0]
