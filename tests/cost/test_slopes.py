"""Value and slopes in plain floats against autograd through the same expression."""

import gc
from dataclasses import replace

import pytest
import torch

import nasc.cost.slopes as slopes_module
from nasc.cost import Table, cost, price_and_slopes
from nasc.cost.expression import UNITS
from nasc.graph import Axis, Dim, Network, Sum


@pytest.mark.parametrize("unit", UNITS)
def test_value_and_slopes_agree_with_autograd(network: Network, full_table: Table, unit: str) -> None:
    generator = torch.Generator().manual_seed(0)
    shares = {name: 0.2 + 0.8 * torch.rand((), generator=generator, dtype=torch.float64) for name in network.dims}
    sizes = {name: (network.dims[name].size * share).requires_grad_() for name, share in shares.items()}
    total = cost(network, sizes, unit, full_table)
    gradients = torch.autograd.grad(total, list(sizes.values()), allow_unused=True)
    value, slopes = price_and_slopes(network, {name: size.item() for name, size in sizes.items()}, unit, full_table)
    assert value == pytest.approx(float(total.detach()), rel=1e-12)
    assert set(slopes) == set(network.dims)
    for name, gradient in zip(sizes, gradients, strict=True):
        assert slopes[name] == pytest.approx(0.0 if gradient is None else float(gradient), rel=1e-9)


def test_slopes_are_what_one_more_channel_adds_to_a_linear_price(mixed: Network) -> None:
    for name in mixed.maskable:
        size = mixed.dims[name].size - 1
        _, slopes = price_and_slopes(mixed, {name: size}, "params")
        step = cost(mixed, {name: size + 1}, "params") - cost(mixed, {name: size}, "params")
        _, after = price_and_slopes(mixed, {name: size + 1}, "params")
        assert min(slopes[name], after[name]) <= step <= max(slopes[name], after[name])


def test_a_dim_of_size_zero_has_a_slope_too(mixed: Network) -> None:
    value, slopes = price_and_slopes(mixed, {"stem.0": 0.0}, "macs")
    assert 0 < value < cost(mixed, {}, "macs")
    assert slopes["stem.0"] > 0


def test_the_product_rule_holds_for_sums_within_products() -> None:
    a, b, c = Dim("a", 3), Dim("b", 5), Dim("c", 2)
    axis = Axis((c, Sum((Axis((a,)), Axis((b, a)), Axis((Dim("k", 4, frozen="constant"),))))))
    value, slopes = slopes_module._axis(axis, {"a": 2.0, "b": 0.0, "c": 7.0})
    assert value == 7.0 * (2.0 + 0.0 + 4)
    assert slopes == {"c": 6.0, "a": 7.0, "b": 14.0, "k": 7.0}


def test_plans_follow_the_network_they_were_made_for(mixed: Network) -> None:
    part = replace(mixed, kernels=mixed.kernels[:1])
    whole, _ = price_and_slopes(mixed, {}, "macs")
    first, _ = price_and_slopes(part, {}, "macs")
    assert first == cost(part, {}, "macs") < whole
    key = id(part)
    del part
    gc.collect()
    assert key not in slopes_module._plans
