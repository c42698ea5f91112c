"""HALP's knapsack against trying everything."""

import itertools
import random

import pytest
import torch

from nasc.graph.network import Network
from nasc.methods._price import Price
from nasc.methods._widths import floor_sizes
from nasc.methods.halp.knapsack import CELLS, Option, choose, solve


def brute_force(options: dict[str, list[Option]], need: float) -> float | None:
    worths = [
        sum(option.worth for option in some)
        for some in itertools.product(*options.values())
        if sum(option.saved for option in some) >= need
    ]
    return max(worths, default=None)


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_is_the_best_of_all(seed: int) -> None:
    draw = random.Random(seed)
    options = {
        name: [Option(8 - k, draw.uniform(0, 10) / (k + 1), float(k * draw.randint(1, 4))) for k in range(5)]
        for name in "abcd"
    }
    for need in (0.0, 1.0, 8.0, 20.0, 60.0):
        expected, found = brute_force(options, need), choose(options, need)
        surely = brute_force(options, need * (1 + len(options) / CELLS))  # savings are counted in whole cells
        if found is None:
            assert surely is None
            continue
        picked = [next(o for o in options[name] if o.size == size) for name, size in found.items()]
        worth = sum(option.worth for option in picked)
        assert sum(option.saved for option in picked) >= need
        assert expected is not None
        assert worth <= expected * (1 + 1e-9)
        assert surely is None or worth >= surely * (1 - 1e-9)


@pytest.mark.parametrize("share", [0.8, 0.5, 0.2])
def test_the_true_price_meets_the_goal_and_the_importance_is_near_the_best_of_all(
    residual: Network, share: float
) -> None:
    torch.manual_seed(0)
    price = Price(residual)
    scores = {name: torch.rand(dim.size) for name, dim in residual.maskable.items()}
    ladders = {name: tuple(range(2, vector.numel() + 1, 2)) for name, vector in scores.items()}
    floor = floor_sizes(price, tuple(scores), 0.1)
    sizes = solve(price, scores, share * price.dense, ladders, floor)
    assert price.total(sizes) <= share * price.dense
    kept = {name: float(scores[name].sort(descending=True).values[:size].sum()) for name, size in sizes.items()}
    best = 0.0
    for widths in itertools.product(*ladders.values()):
        trial = dict(zip(ladders, widths, strict=True))
        if price.total(trial) <= share * price.dense:
            tops = (scores[name].sort(descending=True).values[:size].sum() for name, size in trial.items())
            best = max(best, float(sum(tops)))
    assert sum(kept.values()) >= 0.97 * best
