"""Pools: enumeration, order, summation sets, and the law of the draws."""

import random

import pytest
from scipy.stats import chisquare

from nasc.cost import cost
from nasc.errors import UsageError
from nasc.graph.blocks import find_exits
from nasc.graph.network import Network
from nasc.methods.sorted_networks import DEPTH, Knob, Pool, Sampler, cut_size, match_dims


def grid(network: Network, count: int = 3) -> Pool:
    names = match_dims(network)
    shares = tuple((place + 1) / count for place in range(count))
    return Pool(network, [Knob("a", shares, names[:1]), Knob("b", shares, names[1:2])])


@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_the_width_rule_is_monotone_at_least_one_and_whole_at_one(multiple: int) -> None:
    for dense in (1, 3, 16, 100):
        sizes = [cut_size(dense, share / 50, multiple) for share in range(1, 51)]
        assert sizes == sorted(sizes)
        assert sizes[0] >= 1
        assert sizes[-1] == dense


def test_a_grid_has_every_member_once_and_duplicates_keep_the_first_label(residual: Network) -> None:
    names = match_dims(residual)
    assert len(grid(residual)) == 9
    pool = Pool(residual, [Knob("w", (0.01, 0.02, 0.5, 1.0), names)])
    assert [member.label for member in pool.members] == ["w 0.01", "w 0.5", "w 1"] or len(pool) == 4
    rounded = Pool(residual, [Knob("w", (0.001, 0.002, 1.0), names)])
    assert [member.label for member in rounded.members] == ["w 0.001", "w 1"]
    assert rounded.members[-1].whole


def test_the_summation_set_of_two_two_is_one_two_and_two_one_and_itself(residual: Network) -> None:
    pool = grid(residual)
    member = pool.at((1, 1))
    assert member is not None
    assert {other.cuts for other in pool.chains(member)} == {(0, 1), (1, 0), (1, 1)}


def test_in_one_dimension_the_summation_set_is_all_up_to_it(residual: Network) -> None:
    pool = Pool(residual, [Knob("w", (0.25, 0.5, 0.75, 1.0), match_dims(residual))])
    assert [member.cuts for member in pool.chains(pool.members[2])] == [(0,), (1,), (2,)]


def test_macs_and_parameters_grow_with_every_cut(residual: Network) -> None:
    pool = grid(residual, 4)
    for unit in ("macs", "params"):
        price = {member.cuts: cost(residual, member.sizes, unit) for member in pool.members}
        for (a, b), value in price.items():
            assert price.get((a + 1, b), value + 1) > value
            assert price.get((a, b + 1), value + 1) > value


def test_draws_follow_the_uniform_law_and_depend_on_seed_and_step_alone(residual: Network) -> None:
    pool = grid(residual)
    sampler = Sampler(pool, seed=3)
    drawn = [sampler.draw(step).index for step in range(20_000)]
    counts = [drawn.count(index) for index in range(9)]
    assert chisquare(counts).pvalue > 1e-3
    random.seed(99)
    assert [Sampler(pool, seed=3).draw(step).index for step in range(50)] == drawn[:50]
    assert [Sampler(pool, seed=4).draw(step).index for step in range(50)] != drawn[:50]


def test_draws_can_be_weighted_by_cost_and_given_to_the_whole_network(residual: Network) -> None:
    pool = grid(residual)
    costs = [float(index + 1) for index in range(9)]
    drawn = [Sampler(pool, "cost", costs=costs).draw(step).index for step in range(9000)]
    expected = [9000 * value / 45 for value in costs]
    assert chisquare([drawn.count(index) for index in range(9)], expected).pvalue > 1e-3
    whole = [Sampler(pool, full_share=0.5).draw(step).index for step in range(4000)].count(pool.largest.index)
    assert abs(whole / 4000 - (0.5 + 0.5 / 9)) < 0.04


def test_per_knob_draws_stay_in_the_pool(residual: Network) -> None:
    names = match_dims(residual)
    knobs = [Knob("a", (0.5, 1.0), names[:1]), Knob("b", (0.25, 0.5, 1.0), names[1:2])]
    pool = Pool(residual, knobs, allowed=lambda member: sum(member.cuts) > 0)
    assert len(pool) == 5
    drawn = {Sampler(pool, "per-knob").draw(step).cuts for step in range(300)}
    assert drawn == {member.cuts for member in pool.members}


def test_wrong_pools_are_refused_in_words(residual: Network) -> None:
    with pytest.raises(UsageError, match="ascending positive cuts"):
        Knob("w", (0.5, 0.25))
    with pytest.raises(UsageError, match="shares up to 1"):
        Knob("w", (0.5, 2.0))
    with pytest.raises(UsageError, match="no dim that can be cut matches nothing"):
        match_dims(residual, ["nothing"])
    with pytest.raises(UsageError, match="at least one member"):
        Pool(residual, [Knob("w", (0.5, 1.0), match_dims(residual))], allowed=lambda member: False)
    with pytest.raises(UsageError, match="unknown sampling"):
        Sampler(grid(residual), "often")  # type: ignore[arg-type]


def test_a_depth_the_network_cannot_have_is_refused(stages: Network) -> None:
    exits = find_exits(stages)
    with pytest.raises(UsageError, match="expected a depth of 1, 2, 3; got 7"):
        Pool(stages, [Knob(DEPTH, (1, 7))], exits)
    assert len(Pool(stages, [Knob(DEPTH, (1, 2, 3))], exits)) == 3
