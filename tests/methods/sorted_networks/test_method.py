"""The method: freezing what is not drawn, selecting within the limit, depth, resuming."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasc.graph import trace
from nasc.graph.network import Network
from nasc.graph.shortening import cut_network
from nasc.materialise import materialise, verify
from nasc.methods import Price, price_for_target, readjust
from nasc.methods.sorted_networks import SortedNetwork, family_networks
from nasc.training import Recipe, build_optimizer

Batch = tuple[Tensor, Tensor]


def train(method: SortedNetwork, batch: Batch, steps: int, **options: Any) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.05, **{"momentum": 0.9, "weight_decay": 1e-3} | options)
    for _ in range(steps):
        loss, _ = method.objective(nn.CrossEntropyLoss(), *batch)
        optimizer.zero_grad()
        (loss + method.penalty()).backward()
        optimizer.step()
        method.step()
    return optimizer


def build(network: Network, steps: int = 20, target: str = "-50%", **options: Any) -> SortedNetwork:
    return SortedNetwork(network, *price_for_target(network, target), steps, **options)


def changed(method: SortedNetwork, before: dict[str, Tensor], member_index: int) -> float:
    """Largest change outside a member's entries."""
    touched = method.family.touched(method.pool.members[member_index])
    worst = 0.0
    for name, parameter in method.family.inner.named_parameters():
        outside = torch.ones(parameter.numel(), dtype=torch.bool)
        outside[touched[name]] = False
        worst = max(worst, float((parameter.detach() - before[name]).flatten()[outside].abs().sum()))
    return worst


@pytest.mark.parametrize(("momentum", "freeze", "moves"), [(0.0, False, False), (0.9, False, True), (0.9, True, False)])
def test_weights_outside_the_member_move_only_by_momentum_and_the_switch_stops_it(
    residual: Network, batch: Batch, momentum: float, freeze: bool, moves: bool
) -> None:
    method = build(residual, 1000, widths=[0.5, 1.0], freeze=freeze)
    while method._drawn[0].index != 1:  # a step of the whole network first, so that momentum is there
        method.step()
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.05, momentum=momentum)

    def one() -> None:
        loss, _ = method.objective(nn.CrossEntropyLoss(), *batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    one()
    method.step()
    while method._drawn[0].index != 0:
        method.step()
    before = {name: p.detach().clone() for name, p in residual.model.named_parameters()}
    one()
    method.step()
    assert (changed(method, before, 0) > 0) is moves


@pytest.mark.parametrize("options", [{"depths": "all", "widths": [0.5, 1.0]}, {"norms": "own"}, {"drop": 0.5}])
def test_members_that_leave_parameters_out_train_with_the_loops_own_optimiser(
    stages: Network, options: dict[str, Any]
) -> None:
    batch = torch.randn(8, 1, 8, 8), torch.arange(8) % 4
    method = build(stages, 10, "-80%", **options)
    optimizer = build_optimizer(Recipe(learning_rate=0.01), method.model.parameters())
    for _ in range(6):
        loss, _ = method.objective(nn.CrossEntropyLoss(), *batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.step()
    assert all(torch.isfinite(parameter).all() for parameter in method.model.parameters())


def test_the_share_of_updates_of_every_member_is_counted(residual: Network, batch: Batch) -> None:
    method = build(residual, 60)
    train(method, batch, 60)
    assert int(method.updates.sum()) == 60
    assert method.frozen
    assert method.metrics()["most_updates"] < 30
    assert bool((method.updates > 0).sum() > 3)


@pytest.mark.parametrize("options", [{}, {"loss": "sandwich"}, {"norms": "own"}, {"norms": "line"}, {"accumulate": 2}])
def test_the_selected_member_meets_the_limit_and_equals_the_masked_network(
    residual: Network, batch: Batch, options: dict[str, Any]
) -> None:
    method = build(residual, 12, **options)
    train(method, batch, 12)
    selection = method.select()
    assert 0.8 * method.limit <= method.price.total(selection.sizes) <= method.limit
    small = materialise(method.network, selection)
    assert verify(method.network, selection, small) < 1e-5
    again = readjust(method.price, selection, method.scores(), 0.9 * method.limit)
    assert all(torch.equal(kept, torch.arange(kept.numel())) for kept in again.kept.values())


def test_a_member_of_a_pool_is_selected_as_it_was_trained(residual: Network, batch: Batch) -> None:
    method = build(residual, 12, norms="own")
    train(method, batch, 12)
    member = method.best_within(method.limit)
    expected = method.family.eval().run(member, batch[0])
    method.select()
    assert torch.allclose(cut_network(residual, member.sizes)(batch[0]), expected, atol=1e-5)


def test_depth_shortens_the_network_the_selection_speaks_of(stages: Network) -> None:
    torch.manual_seed(0)
    batch = torch.randn(20, 1, 8, 8), torch.arange(20) % 4
    method = build(stages, 12, "-80%", widths=[0.5, 1.0], depths="all")
    train(method, batch, 12)
    method.losses[:] = 1.0
    shallow = method.pool.at((1, 0))
    assert shallow is not None
    method.losses[shallow.index] = 0.5  # the whole width at depth one is the best
    method.limit = method._cost(shallow)
    assert method.best_within(method.limit) is shallow
    selection = method.select()
    assert method.price.total(selection.sizes) <= method.limit * (1 + 1e-9)
    assert method.network is not stages
    small = materialise(method.network, selection).eval()
    x = torch.randn(3, 1, 8, 8)
    assert torch.allclose(small(x), method.family.eval().run(shallow, x), atol=1e-5)


def test_draws_follow_the_fronts_of_the_devices_and_resume_with_their_weights(residual: Network, batch: Batch) -> None:
    fronts = [[1.0, 1.0, 2.0]]  # the first two cost the same: the worse of them is far from the front
    method = build(residual, 400, widths=[0.25, 0.5, 1.0], fronts=fronts)
    method.losses[:] = torch.tensor([2.0, 1.0, 0.5])
    for _ in range(350):
        method.step()
    assert method.weights is not None
    assert method.weights[1] == method.weights[2] == 1.0
    assert method.weights[0] < 0.3
    assert method.updates[0] < 0.6 * method.updates[1]
    again = build(
        trace(copy.deepcopy(residual.model), residual.example_inputs), 400, widths=[0.25, 0.5, 1.0], fronts=fronts
    )
    again.load_state_dict(method.state_dict())
    for _ in range(40):
        method.step()
        again.step()
    assert torch.equal(method.updates, again.updates)


def test_training_resumes_bit_for_bit(residual: Network, batch: Batch) -> None:
    straight = build(trace(copy.deepcopy(residual.model), residual.example_inputs), 30)
    first = build(trace(copy.deepcopy(residual.model), residual.example_inputs), 30)
    train(straight, batch, 20, momentum=0.0)
    train(first, batch, 8, momentum=0.0)
    second = build(trace(copy.deepcopy(first.network.model), residual.example_inputs), 30)
    second.load_state_dict(first.state_dict())
    train(second, batch, 12, momentum=0.0)
    assert all(torch.equal(a, b) for a, b in zip(straight.model.parameters(), second.model.parameters(), strict=True))
    assert torch.equal(straight.updates, second.updates)


def test_a_member_and_its_twin_stay_together_alone_and_part_in_company(residual: Network, batch: Batch) -> None:
    """Sheet 2.9: with one member the mismatch C is zero; a second member's updates make it positive."""
    distances = []
    for widths in ([0.5], [0.5, 1.0]):
        network = trace(copy.deepcopy(residual.model), residual.example_inputs)
        method = build(network, 6, widths=widths)
        twin = materialise(network, _half(method)).train()
        method.model.train()
        train(method, batch, 6, momentum=0.0, weight_decay=0.0)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.05)
        for _ in range(6):
            optimizer.zero_grad()
            nn.functional.cross_entropy(twin(batch[0]), batch[1]).backward()
            optimizer.step()
        mine = dict(cut_network(network, method.pool.members[0].sizes).named_parameters())
        distances.append(max(float((mine[n] - p).detach().abs().max()) for n, p in twin.named_parameters()))
    assert distances[0] < 1e-6
    assert distances[1] > 1e-3


def _half(method: SortedNetwork) -> Any:
    from nasc.graph import Selection

    return Selection({name: torch.arange(size) for name, size in method.pool.members[0].sizes.items()})


def test_sampling_by_cost_prefers_large_members(residual: Network) -> None:
    method = build(residual, 600, sampling="cost", widths=[0.25, 1.0])
    for _ in range(400):
        method.step()
    assert method.updates[1] > 5 * method.updates[0]
    assert isinstance(method.price, Price)


def test_the_networks_a_table_must_know_are_those_of_every_depth(stages: Network) -> None:
    assert family_networks(stages) == ()
    known = {kernel.signature for network in family_networks(stages, depths="all") for kernel in network.kernels}
    method = build(stages, 4, depths="all")
    asked = {k.signature for m in method.pool.members if m.exit for k in method.price_at(m.exit).network.kernels}
    assert asked == known
    assert len(family_networks(stages, depths=[1, 3])) == 1
