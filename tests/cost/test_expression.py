"""One expression for every unit and every kind of number."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nasc.cost import Table, cost
from nasc.cost.expression import UNITS
from nasc.errors import OutsideTable, UsageError
from nasc.graph import Network
from nasc.graph.parameters import learned_parameters
from nasc.graph.slicing import slice_network, slice_state


def random_sizes(network: Network, seed: int) -> dict[str, int]:
    generator = torch.Generator().manual_seed(seed)
    changing = [dim for dim in network.dims.values() if dim.frozen is None]
    return {dim.name: int(torch.randint(1, dim.size + 1, (), generator=generator)) for dim in changing}


def one_sample(network: Network) -> torch.Tensor:
    return torch.zeros_like(network.example_inputs[0][:1])


def counted_macs(module: torch.nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() // 2


def test_macs_at_full_size_are_half_of_the_flops_torch_counts(network: Network) -> None:
    assert cost(network, {}, "macs") == counted_macs(network.model.eval(), one_sample(network))


@pytest.mark.parametrize("seed", range(3))
def test_macs_and_params_at_random_sizes_are_those_of_the_sliced_network(network: Network, seed: int) -> None:
    sizes = random_sizes(network, seed)
    kept = {name: torch.arange(size) for name, size in sizes.items()}
    assert cost(network, sizes, "macs") == counted_macs(slice_network(network, kept), one_sample(network))
    state = slice_state(network, kept)
    assert cost(network, sizes, "params") == sum(state[name].numel() for name, _ in learned_parameters(network))


def test_params_are_the_entries_of_the_parameters_in_use(network: Network) -> None:
    expected = sum(p.numel() for name, p in network.model.named_parameters() if not name.startswith("unused"))
    assert cost(network, {}, "params") == expected
    assert cost(network, {}, "bytes") == 4 * expected


def test_params_of_a_removed_channel_count_norm_bias_and_every_reader(mixed: Network) -> None:
    written = 3 * 9 + 2 + (8 * 9 + 1) + (9 + 1) + (4 + 1)  # stem and its norm, inner, depthwise, up
    read = 7 * 9 + 4 + 6 + 14  # inner, down, side, mix
    assert mixed.dims["stem.0"].frozen is None
    assert cost(mixed, {}, "params") - cost(mixed, {"stem.0": 7}, "params") == written + read


def test_every_removed_channel_saves(network: Network) -> None:
    for dim in network.maskable.values():
        for unit in ("macs", "params"):
            assert cost(network, {dim.name: dim.size - 1}, unit) < cost(network, {}, unit)


@pytest.mark.parametrize("unit", UNITS)
def test_relaxed_cost_is_exact_cost_at_whole_sizes(network: Network, full_table: Table, unit: str) -> None:
    sizes = random_sizes(network, 0)
    relaxed = {name: torch.tensor(float(size), dtype=torch.float64) for name, size in sizes.items()}
    exact = cost(network, sizes, unit, full_table)
    assert float(cost(network, relaxed, unit, full_table)) == pytest.approx(float(exact), rel=1e-12)
    assert isinstance(exact, float if unit == "seconds" else int)


def test_a_table_that_is_a_product_gives_the_factor_times_the_products(mixed: Network, full_table: Table) -> None:
    products = [kernel.macs() / kernel.macs_per for kernel in mixed.kernels if kernel.macs_per]
    others = cost(mixed, {}, "seconds", full_table) - 1e-9 * sum(products)
    channels = [kernel.shape() for kernel in mixed.kernels if not kernel.macs_per and kernel.kind != "free"]
    assert others == pytest.approx(1e-9 * sum(dict(shape.sizes)["channels"] for shape in channels))


def test_seconds_outside_the_table_name_the_kernel(mixed: Network, product_table: Table) -> None:
    with pytest.raises(OutsideTable, match=r"^add: no row for binary\[op=add") as refusal:
        cost(mixed, {}, "seconds", product_table)
    assert refusal.value.hint == "measure it"


def test_wrong_units_and_missing_tables_are_refused(mixed: Network) -> None:
    with pytest.raises(UsageError, match="macs, params, bytes, bitops, seconds; got 'flops'"):
        cost(mixed, {}, "flops")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a latency table"):
        cost(mixed, {}, "seconds")
