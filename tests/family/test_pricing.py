"""Members priced from records cost what the traced networks cost."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from nasc.cost import cost
from nasc.errors import OutsideTable, UsageError
from nasc.family import Family, MemberLine, Way, price_members
from nasc.family.pricing import evaluate_axis
from nasc.graph import Axis, Dim, Network, Sum, trace
from nasc.graph.blocks import find_exits
from nasc.graph.shortening import cut_network
from nasc.kernels import Signature
from nasc.methods.sorted_networks import DEPTH, Knob, Pool, match_dims
from nasc.stages.family import _expression, way_of


class Smooth:
    """Seconds from sizes in closed form, an empty call among them."""

    floor_s = 3e-6

    def seconds(self, signature: Signature, sizes: Mapping[str, Any]) -> Any:
        result = 1e-9 * (1 + len(signature.kind))
        for size in sizes.values():
            result = result * (size + 0.5)
        return result


class Net(nn.Module):
    """Blocks of two widths, so that an exit renames dims."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.blocks = nn.Sequential(
            *[
                nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Conv2d(b, b, 1), nn.ReLU())
                for a, b in ((6, 6), (6, 10), (10, 14))
            ]
        )
        self.head = nn.Linear(14, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return trace(Net(), (torch.randn(1, 1, 8, 8),))


def family_of(network: Network) -> tuple[Family, Pool]:
    exits = find_exits(network)
    pool = Pool(network, [Knob("width", (0.4, 0.7, 1.0), match_dims(network)), Knob(DEPTH, (1, 2, 3))], exits)
    ways = [way_of(network, network, 3, None)]
    for exit_ in exits[:-1]:
        short = trace(cut_network(network, {}, exit_.detour), network.example_inputs)
        ways.append(way_of(short, network, exit_.blocks, exit_.detour))
    members = tuple(
        MemberLine(m.label, dict(m.values), dict(m.sizes), m.exit.blocks if m.exit else 3) for m in pool.members
    )
    family = Family(
        "r", "net", "d", 4, (1, 8, 8), dict(network.dense_sizes), 0, ways=tuple(ways), members=members, validation=0
    )
    return family, pool


@pytest.mark.parametrize("unit", ["macs", "params", "bytes", "seconds"])
def test_a_members_price_is_that_of_the_network_it_becomes(network: Network, unit: Any) -> None:
    family, pool = family_of(network)
    table = Smooth() if unit == "seconds" else None
    prices = price_members(family, unit, table)
    assert len(prices) == 9
    for member, price in zip(pool.members, prices, strict=True):
        built = cut_network(network, member.sizes, member.exit.detour if member.exit else None)
        own = trace(built, network.example_inputs)
        assert price == pytest.approx(float(cost(own, {}, unit, table)), rel=1e-9), member.label


def test_a_family_survives_the_way_through_json(network: Network) -> None:
    family, _ = family_of(network)
    again = msgspec.json.decode(msgspec.json.encode(family), type=Family)
    assert again == family
    assert price_members(again, "macs") == price_members(family, "macs")


def test_axes_of_products_and_concatenations_keep_their_sizes() -> None:
    a, b = Dim("a", 4), Dim("b", 3)
    axis = Axis((a, Sum((Axis((b,)), Axis((Dim("=5", 5),))))))
    expression = _expression(axis, {"a": "a", "b": "b"})
    for sizes in ({"a": 4, "b": 3}, {"a": 2, "b": 1}):
        assert evaluate_axis(expression, sizes) == axis.size(sizes)


def test_what_the_table_never_measured_is_named(network: Network) -> None:
    class Empty:
        def seconds(self, signature: Signature, sizes: Mapping[str, Any]) -> Any:
            raise OutsideTable(f"no row for {signature.kind}", "measure it")

    family, _ = family_of(network)
    with pytest.raises(OutsideTable, match="stem: no row for conv"):
        price_members(family, "seconds", Empty())
    with pytest.raises(UsageError, match="needs a latency table"):
        price_members(family, "seconds")
    assert isinstance(family.ways[0], Way)
