"""From scores to sizes: limits are met on the recounted price, close to the best there is."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from nasc.errors import TargetError
from nasc.graph import trace
from nasc.graph.network import Network
from nasc.methods._price import Price
from nasc.methods._widths import (
    allocate,
    bisect_sizes,
    efficient_widths,
    floor_sizes,
    keep_strongest,
    round_to_ladder,
)


@pytest.fixture
def small() -> Network:
    model = nn.Sequential(nn.Linear(7, 10), nn.ReLU(), nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 4))
    return trace(model, (torch.randn(2, 7),))


def ladders_of(price: Price) -> dict[str, tuple[int, ...]]:
    return {name: tuple(range(1, dim.size + 1)) for name, dim in price.network.maskable.items()}


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_allocation_meets_the_limit_and_is_near_the_best_of_all_sizes(small: Network, share: float, seed: int) -> None:
    price = Price(small, "macs")
    generator = torch.Generator().manual_seed(seed)
    scores = {name: torch.rand(dim.size, generator=generator) + 0.05 for name, dim in small.maskable.items()}
    names = tuple(scores)
    limit = share * price.dense
    found = allocate(price, scores, limit, ladders=ladders_of(price), floor=dict.fromkeys(names, 1)).sizes
    assert price.total(found) <= limit

    def worth(sizes: dict[str, int]) -> float:
        return sum(float(scores[name].sort(descending=True).values[: sizes[name]].sum()) for name in names)

    everything = (
        dict(zip(names, sizes, strict=True)) for sizes in product(*(range(1, scores[n].numel() + 1) for n in names))
    )
    best = max(worth(sizes) for sizes in everything if price.total(sizes) <= limit)
    assert worth(found) >= 0.93 * best


def test_allocation_gives_up_nothing_when_the_dense_model_fits(small: Network) -> None:
    price = Price(small, "macs")
    scores = {name: torch.ones(dim.size) for name, dim in small.maskable.items()}
    found = allocate(price, scores, price.dense, ladders=ladders_of(price), floor=dict.fromkeys(scores, 1))
    assert found.sizes == {name: dim.size for name, dim in small.maskable.items()}
    assert found.multiplier == 0


def test_what_is_already_removed_does_not_come_back(small: Network) -> None:
    price = Price(small, "macs")
    scores = {name: torch.ones(dim.size) for name, dim in small.maskable.items()}
    first = next(iter(scores))
    scores[first][3:] = 0
    found = allocate(price, scores, price.dense, ladders=ladders_of(price), floor=dict.fromkeys(scores, 1))
    assert found.sizes[first] == 3


def test_crowding_spreads_removals_over_the_dims(small: Network) -> None:
    price = Price(small, "macs")
    first, second = small.maskable
    scores = {first: torch.full((10,), 0.5), second: torch.ones(12)}
    shares = {}
    for crowding in (0.0, 3.0):
        sizes = allocate(
            price,
            scores,
            0.5 * price.dense,
            ladders=ladders_of(price),
            floor=dict.fromkeys(scores, 1),
            crowding=crowding,
        ).sizes
        shares[crowding] = abs(sizes[first] / 10 - sizes[second] / 12)
    assert shares[3.0] < shares[0.0]


def test_an_unreachable_limit_is_refused_with_both_figures(small: Network) -> None:
    price = Price(small, "macs")
    scores = {name: torch.ones(dim.size) for name, dim in small.maskable.items()}
    with pytest.raises(
        TargetError, match="the target is 5 macs; the smallest allowed model takes 12, the dense one 238"
    ):
        allocate(price, scores, 5, ladders=ladders_of(price), floor=dict.fromkeys(scores, 1))


def test_efficient_widths_are_the_ends_of_the_steps(small: Network, staircase: Callable[[int], Any]) -> None:
    price = Price(small, "seconds", staircase(4))
    assert {name: efficient_widths(price, name) for name in small.maskable} == {
        name: (*range(4, dim.size, 4), dim.size) for name, dim in small.maskable.items()
    }


def test_every_width_is_efficient_where_the_price_is_smooth(small: Network) -> None:
    price = Price(small, "macs")
    assert all(efficient_widths(price, name) == tuple(range(1, dim.size + 1)) for name, dim in small.maskable.items())


def test_strongest_entries_are_kept_and_ties_go_to_the_lower_index() -> None:
    scores = {"a": torch.tensor([0.1, 0.5, 0.5, 0.9]), "b": torch.ones(3)}
    masks = keep_strongest(scores, {"a": 2, "b": 1})
    assert masks["a"].tolist() == [0, 1, 0, 1]
    assert masks["b"].tolist() == [1, 0, 0]


def test_bisection_finds_the_largest_member_that_fits(small: Network) -> None:
    price = Price(small, "macs")

    def sizes_at(share: float) -> dict[str, int]:
        return {name: max(1, round((1 - share) * dim.size)) for name, dim in small.maskable.items()}

    found = price.total(bisect_sizes(price, 0.5 * price.dense, sizes_at))
    members = {price.total(sizes_at(step / 1000)) for step in range(1001)}
    assert found == max(total for total in members if total <= 0.5 * price.dense)


def test_floors_are_shares_of_the_dense_size_with_at_least_one_entry(small: Network) -> None:
    price = Price(small, "macs")
    names = tuple(small.maskable)
    assert list(floor_sizes(price, names, 0.25).values()) == [3, 3]
    assert list(floor_sizes(price, names, 0.0).values()) == [1, 1]


@pytest.mark.parametrize(("wished", "rung"), [(17, 16), (24, 32), (3, 16), (40, 40)])
def test_widths_are_rounded_to_the_nearest_rung(wished: float, rung: int) -> None:
    assert round_to_ladder(wished, (16, 32, 40)) == rung


def test_the_last_move_takes_no_more_than_it_must(small: Network, staircase: Callable[[int], Any]) -> None:
    """A coarse step with a good ratio is not taken where a finer, cheaper move already meets the limit."""
    price = Price(small, "macs")
    first, second = small.maskable
    scores = {first: torch.full((10,), 1.0), second: torch.full((12,), 0.1)}
    ladders = {first: tuple(range(1, 11)), second: (1, 12)}  # the second dim can only fall all the way
    found = allocate(price, scores, price.dense - 19, ladders=ladders, floor=dict.fromkeys(scores, 1)).sizes
    assert found == {first: 9, second: 12}
