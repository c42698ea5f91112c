"""Choosing again for another limit: trimmed or grown, near what it was."""

import pytest
import torch

from nasc.errors import TargetError
from nasc.graph import Selection
from nasc.graph.network import Network
from nasc.methods import Price, readjust, smallest_sizes


@pytest.fixture
def scores(residual: Network) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(dim.size, generator=generator) + 0.1 for name, dim in residual.maskable.items()}


def half(network: Network) -> Selection:
    return Selection({name: torch.arange(dim.size // 2) for name, dim in network.maskable.items()})


def test_trimming_stays_below_the_limit_and_near_what_was_kept(
    residual: Network, scores: dict[str, torch.Tensor]
) -> None:
    price, before = Price(residual), half(residual)
    limit = 0.8 * price.total(before.sizes)
    after = readjust(price, before, scores, limit)
    assert 0.9 * limit <= price.total(after.sizes) <= limit
    for name, indices in before.kept.items():  # a dim is trimmed, or grown by what others left over: never swapped
        one, other = set(after.kept[name].tolist()), set(indices.tolist())
        assert one <= other or one >= other


def test_growing_keeps_a_superset_below_the_limit(residual: Network, scores: dict[str, torch.Tensor]) -> None:
    price, before = Price(residual), half(residual)
    limit = 1.3 * price.total(before.sizes)
    after = readjust(price, before, scores, limit)
    assert 0.9 * limit <= price.total(after.sizes) <= limit
    assert all(set(after.kept[name].tolist()) >= set(before.kept[name].tolist()) for name in before.kept)


def test_the_entries_that_come_back_are_those_of_the_highest_score(residual: Network) -> None:
    price, before = Price(residual), half(residual)
    scores = {name: torch.ones(dim.size) for name, dim in residual.maskable.items()}
    for vector in scores.values():
        vector[-1] = 5.0
    after = readjust(price, before, scores, 1.3 * price.total(before.sizes))
    grown = [name for name in before.kept if after.sizes[name] > before.sizes[name]]
    assert grown
    assert all(residual.dims[name].size - 1 in after.kept[name].tolist() for name in grown)


def test_entries_that_come_back_take_the_median_gain(residual: Network, scores: dict[str, torch.Tensor]) -> None:
    price, kept = Price(residual), half(residual).kept
    gains = {name: torch.full((dim.size,), 3.0) for name, dim in residual.maskable.items()}
    for name, indices in kept.items():
        gains[name][indices.numel() :] = 0
    before = Selection(kept, gains)
    after = readjust(price, before, scores, 1.3 * price.total(before.sizes))
    assert all(bool((after.gains[name][indices] == 3).all()) for name, indices in after.kept.items())


def test_the_same_limit_changes_nothing_where_nothing_more_fits(
    residual: Network, scores: dict[str, torch.Tensor]
) -> None:
    price = Price(residual)
    first = readjust(price, half(residual), scores, 0.4 * price.dense)
    second = readjust(price, first, scores, 0.4 * price.dense)
    assert first.sizes == second.sizes


def test_a_limit_below_the_smallest_model_is_refused(residual: Network, scores: dict[str, torch.Tensor]) -> None:
    price = Price(residual)
    with pytest.raises(TargetError, match="the smallest allowed model takes"):
        readjust(price, half(residual), scores, 0.5 * price.total(smallest_sizes(price)))
