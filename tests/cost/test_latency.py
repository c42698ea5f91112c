from dataclasses import dataclass, replace

import pytest

from nasc.cost import Table, cost, price_and_slopes, price_latency
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


@dataclass(frozen=True)
class Slower:
    """Twice as slow for models from some bytes of weights on."""

    warm: Table
    threshold: float

    def for_weights(self, weight_bytes: float) -> Table:
        return replace(self.warm, factor=2e-9) if weight_bytes >= self.threshold else self.warm  # type: ignore[type-var]


def test_every_price_considers_where_the_models_weights_lie(mixed: Network, full_table: Table) -> None:
    held = 4 * sum(parameter.numel() for parameter in mixed.model.parameters())
    halves = {name: dim.size // 2 for name, dim in mixed.maskable.items()}
    for threshold, factor in ((held, 2.0), (held + 1, 1.0)):
        table = Slower(full_table, threshold)
        for price in (
            lambda one: price_latency(mixed, halves, one).total_s,
            lambda one: cost(mixed, halves, "seconds", one),
            lambda one: price_and_slopes(mixed, halves, "seconds", one)[0],
        ):
            assert price(table) == pytest.approx(factor * price(full_table))


def test_parts_of_a_model_are_priced_as_parts_of_the_whole(mixed: Network, full_table: Table) -> None:
    table = Slower(full_table, 4 * sum(parameter.numel() for parameter in mixed.model.parameters()))
    parts = [replace(mixed, kernels=(kernel,), parameters={}) for kernel in mixed.kernels]
    assert sum(cost(part, {}, "seconds", table) for part in parts) == pytest.approx(
        float(cost(mixed, {}, "seconds", table))
    )
