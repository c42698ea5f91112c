"""Methods search depth as they search widths: gates of residual branches among their dims."""

import pytest
import torch
import torch.nn.functional as F

from nasc.graph import Network, Selection, trace, with_depth
from nasc.materialise import materialise, verify
from nasc.methods import Price, build, readjust
from nasc.methods._masks import keep_one, lay_out
from nasc.methods._widths import efficient_widths, floor_sizes
from nasc.testing.architectures import build as build_model


@pytest.fixture
def deep() -> Network:
    model, inputs = build_model("patch transformer")
    return with_depth(trace(model, inputs))


@pytest.mark.parametrize("name", ["surrogate", "l1", "halp", "magnitude-global", "magnitude-uniform"])
def test_a_method_meets_its_limit_on_a_network_with_gates(name: str, deep: Network) -> None:
    price = Price(deep)
    method = build(name, deep, price, 0.45 * price.dense, 40)
    (x,), y = deep.example_inputs, torch.arange(deep.example_inputs[0].shape[0]) % 3
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.01)
    method.model.train()
    for _ in range(40):
        optimizer.zero_grad()
        (F.cross_entropy(method.model(x).flatten(1), y) + method.penalty()).backward()
        optimizer.step()
        method.step()
    selection = readjust(price, method.select(), method.scores(), 0.45 * price.dense)
    assert price.total(selection.sizes) <= 0.45 * price.dense
    assert verify(deep, selection, materialise(deep, selection)) < 1e-5


def test_a_gate_is_open_or_closed_and_may_be_closed(deep: Network) -> None:
    price, gate = Price(deep), next(iter(deep.branches))
    assert efficient_widths(price, gate) == (0, 1)
    assert floor_sizes(price, (gate,), 0.3) == {gate: 0}


@pytest.mark.parametrize("unit", ["macs", "params"])
def test_the_change_of_closing_a_gate_is_the_difference_of_totals(unit: str, deep: Network) -> None:
    price = Price(deep, unit)  # type: ignore[arg-type]
    sizes = {name: dim.size - 1 for name, dim in deep.maskable.items() if dim.size > 1}
    for name in deep.maskable:
        size = max(sizes.get(name, 1) - 1, deep.least(name))
        expected = price.total({**sizes, name: size}) - price.total(sizes)
        assert price.change(sizes, name, size) == pytest.approx(expected)


def test_only_gates_may_be_left_with_nothing(deep: Network) -> None:
    layout = lay_out(deep)
    rescued = layout.counts(keep_one(layout, torch.zeros_like(layout.ones()), layout.ones()))
    assert {name for name, count in rescued.items() if count == 0} == set(deep.branches)


def test_a_price_that_needs_a_branch_less_closes_the_weakest_gate(deep: Network) -> None:
    price = Price(deep)
    scores = {name: torch.full((dim.size,), 100.0) for name, dim in deep.maskable.items()}
    weakest = sorted(deep.branches)[0]
    scores[weakest] = torch.full((1,), 1e-6)
    limit = price.total({weakest: 0})
    dense = Selection({name: torch.arange(dim.size) for name, dim in deep.maskable.items()})
    chosen = readjust(price, dense, scores, limit)
    assert chosen.sizes[weakest] == 0
    assert all(chosen.sizes[name] == dim.size for name, dim in deep.maskable.items() if name != weakest)
