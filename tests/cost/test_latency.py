from dataclasses import dataclass, replace

import pytest

from nasc.cost import Table, cost, price_latency, table_for
from nasc.graph import Network


def test_the_total_is_the_sum_over_the_kernels_and_the_cost(mixed: Network, full_table: Table) -> None:
    price = price_latency(mixed, {}, full_table)
    assert price.total_s == pytest.approx(cost(mixed, {}, "seconds", full_table))
    assert price.total_s == sum(kernel.seconds for kernel in price.kernels)
    assert price.uncovered == ()
    assert price.uncovered_share == 0.0
    assert [kernel.name for kernel in price.kernels] == [k.name for k in mixed.kernels if k.kind != "free"]


def test_what_no_row_covers_is_listed_with_its_share_of_the_work(mixed: Network, product_table: Table) -> None:
    price = price_latency(mixed, {}, product_table)
    assert "add" in price.uncovered
    assert {kernel.kind for kernel in price.kernels} <= set(product_table.kinds)
    assert 0.0 < price.uncovered_share < 0.2


def test_a_table_without_any_row_covers_nothing(mixed: Network, product_table: Table) -> None:
    price = price_latency(mixed, {}, type(product_table)(kinds=()))
    assert (price.total_s, price.kernels, price.uncovered_share) == (0.0, (), 1.0)


def test_smaller_sizes_cost_less(mixed: Network, full_table: Table) -> None:
    halves = {name: dim.size // 2 for name, dim in mixed.maskable.items()}
    assert price_latency(mixed, halves, full_table).total_s < price_latency(mixed, {}, full_table).total_s


def test_a_whole_network_is_priced_as_its_weights_in_the_caches_have_it(mixed: Network, full_table: Table) -> None:
    @dataclass(frozen=True)
    class Slower:
        """Twice as slow from 1000 bytes of weights on."""

        warm: Table

        def for_weights(self, weight_bytes: float) -> Table:
            return replace(self.warm, factor=2e-9) if weight_bytes > 1000 else self.warm  # type: ignore[type-var]

    table = Slower(full_table)
    assert cost(mixed, {}, "bytes") > 1000
    assert table_for(mixed, {}, table) == replace(full_table, factor=2e-9)  # type: ignore[arg-type, type-var]
    slow, fast = (price_latency(mixed, {}, one).total_s for one in (table, full_table))  # type: ignore[arg-type]
    assert slow == pytest.approx(2 * fast)
    assert table_for(mixed, {}, full_table) is full_table
