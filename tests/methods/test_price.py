"""Prices as methods see them."""

import pytest

from nasc.errors import TargetError
from nasc.graph.network import Network
from nasc.methods._price import Price, price_for_target


def test_change_equals_the_difference_of_two_recounts(residual: Network) -> None:
    for unit in ("macs", "params"):
        price = Price(residual, unit)
        sizes = {name: dim.size - 1 for name, dim in residual.maskable.items()}
        for name in residual.maskable:
            expected = price.total(sizes | {name: 3}) - price.total(sizes)
            assert price.change(sizes, name, 3) == pytest.approx(expected)


def test_neighbours_are_the_dims_that_share_a_kernel(residual: Network) -> None:
    price = Price(residual, "macs")
    for name in residual.maskable:
        for other in set(residual.maskable) - {name}:
            shrunk = price.change({other: 1}, name, 1)
            if shrunk != pytest.approx(price.change({}, name, 1)):
                assert other in price.neighbours(name)


def test_a_relative_target_without_a_table_means_macs(residual: Network) -> None:
    price, limit = price_for_target(residual, "-40%")
    assert price.unit == "macs"
    assert limit == pytest.approx(0.6 * price.dense)


def test_a_target_in_seconds_needs_a_table(residual: Network) -> None:
    with pytest.raises(TargetError, match="needs a latency table; got none"):
        price_for_target(residual, "8ms")
