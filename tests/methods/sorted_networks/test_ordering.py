"""Units in another order compute the same, and the best come first."""

import pytest
import torch

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.methods._scores import writer_norms
from nasc.methods.sorted_networks import order_units


@pytest.mark.parametrize("name", ["residual", "encoder", "stages"])
def test_ordering_units_leaves_the_function_as_it_is(name: str, request: pytest.FixtureRequest) -> None:
    network: Network = request.getfixturevalue(name)
    x = torch.randn(4, *network.example_inputs[0].shape[1:])
    network.model.eval()
    before = network.model(x)
    scores = {dim: torch.rand(value.size) for dim, value in network.dims.items() if value.frozen is None}
    orders = order_units(network, scores)
    assert any(not torch.equal(order, torch.arange(order.numel())) for order in orders.values())
    assert torch.allclose(network.model(x), before, atol=1e-5)


def test_the_strongest_units_come_first(residual: Network) -> None:
    order_units(residual, writer_norms(residual))
    for vector in writer_norms(residual).values():
        assert torch.equal(vector, vector.sort(descending=True).values)


def test_scores_of_frozen_or_unknown_dims_are_refused(residual: Network) -> None:
    with pytest.raises(UsageError, match="no such dim"):
        order_units(residual, {"nowhere": torch.ones(3)})
    name = next(iter(residual.maskable))
    with pytest.raises(UsageError, match="2 scores for"):
        order_units(residual, {name: torch.ones(2)})
