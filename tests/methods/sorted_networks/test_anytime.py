"""Members change between two batches without a copy, by deadline; the rivals' presets train."""

import pytest
import torch
from torch import Tensor, nn

from nasc.errors import TargetError
from nasc.graph.network import Network
from nasc.methods import price_for_target
from nasc.methods.sorted_networks import (
    PRESETS,
    UPDATES,
    Anytime,
    Expectation,
    Knob,
    Pool,
    PrefixModel,
    SortedNetwork,
    match_dims,
)


def family(network: Network) -> PrefixModel:
    return PrefixModel(Pool(network, [Knob("width", (0.25, 0.5, 1.0), match_dims(network))])).eval()


def test_the_most_accurate_member_within_the_deadline_answers(residual: Network) -> None:
    known = {0: Expectation(1e-3, 0.6), 1: Expectation(2e-3, 0.9), 2: Expectation(4e-3, 0.8)}
    model, x = family(residual), torch.randn(2, 1, 8, 8)
    anytime = Anytime(model, known, reserve=0.0)
    assert [anytime.member_within(s).index for s in (1e-3, 2.5e-3, 1.0)] == [0, 1, 1]
    assert torch.equal(anytime(x, deadline_s=1e-3), model.run(model.members[0], x))
    assert Anytime(model, known, reserve=0.5).member_within(2e-3).index == 0
    with pytest.raises(TargetError, match=r"the fastest takes 0\.001 s"):
        anytime(x, deadline_s=5e-4)


def test_a_change_of_member_copies_no_weight(residual: Network) -> None:
    model = family(residual)
    name, weight = next(iter(residual.model.named_parameters()))
    for member in model.members:
        view = model._parts[2].cut(name, weight, member.sizes)
        assert view.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_as_many_members_a_step_as_it_says(
    residual: Network, batch: tuple[Tensor, Tensor], name: str
) -> None:
    method = SortedNetwork(residual, *price_for_target(residual, "-50%"), 8, **PRESETS[name])
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.02)
    for _ in range(8):
        loss, _ = method.objective(nn.CrossEntropyLoss(), *batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.step()
    assert int(method.updates.sum()) == 8 * UPDATES[name]
    assert method.price.total(method.select().sizes) <= method.limit
