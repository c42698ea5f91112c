"""Several limits at once."""

import pytest
import torch
from torch import Tensor, nn

from nasc.graph.network import Network
from nasc.methods import METHODS, Constrained, build
from nasc.methods._price import Price


@pytest.fixture
def both(residual: Network) -> Constrained:
    macs, params = Price(residual, "macs"), Price(residual, "params")
    return Constrained(macs, 0.6 * macs.dense, ((params, 0.3 * params.dense),))


def test_it_is_at_most_its_limit_exactly_where_every_price_is(residual: Network, both: Constrained) -> None:
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(100):
        sizes = {
            name: int(torch.randint(1, dim.size + 1, (1,), generator=generator))
            for name, dim in residual.maskable.items()
        }
        met = Price(residual, "macs").total(sizes) <= both.limit
        met &= Price(residual, "params").total(sizes) <= both.further[0][1]
        assert (both.total(sizes) <= both.limit) == met
        seen.add(met)
        name = next(iter(sizes))
        smaller = {**sizes, name: max(1, sizes[name] // 2)}
        change = both.change(sizes, name, smaller[name])
        assert change == pytest.approx(both.total(smaller) - both.total(sizes))
    assert seen == {True, False}


def test_slopes_are_those_of_the_limit_that_binds(residual: Network, both: Constrained) -> None:
    sizes = {name: 0.9 * size for name, size in residual.dense_sizes.items()}
    value, slopes = both.slopes(sizes)
    price, limit = both.further[0]
    expected, by_dim = price.slopes(sizes)
    assert value == pytest.approx(expected * both.limit / limit)
    assert slopes == pytest.approx({name: slope * both.limit / limit for name, slope in by_dim.items()})


@pytest.mark.parametrize("name", [name for name in METHODS if name in ("surrogate", "halp", "magnitude-global", "l1")])
def test_methods_meet_all_limits_without_knowing(
    residual: Network, both: Constrained, batch: tuple[Tensor, Tensor], name: str
) -> None:
    method = build(name, residual, both, both.limit, 60)
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.05)
    for _ in range(55):
        optimizer.zero_grad()
        (nn.functional.cross_entropy(method.model(batch[0]), batch[1]) + method.penalty()).backward()
        optimizer.step()
        method.step()
    sizes = method.select().sizes
    assert both.first.total(sizes) <= both.limit
    assert both.further[0][0].total(sizes) <= both.further[0][1]
