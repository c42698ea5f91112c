"""Losses: which members take part, and that sums of losses are sums of gradients."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.methods.sorted_networks import Knob, Objective, Pool, PrefixModel, Sampler, build_objective, match_dims
from nasc.methods.sorted_networks.objective import soft_cross_entropy


def plain(network: Network) -> Pool:
    """Four widths."""
    return Pool(network, [Knob("width", (0.25, 0.5, 0.75, 1.0), match_dims(network))])


def gradients(model: PrefixModel, objective: Objective, step: int, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
    model.zero_grad()
    loss, _, _ = objective.loss(model, nn.CrossEntropyLoss(), *batch, objective.members(step))
    loss.backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in model.inner.parameters()]


@pytest.fixture
def data(encoder: Network) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 7, 5, generator=generator), torch.randint(0, 3, (12,), generator=generator)


def objective(pool: Pool, loss: Any, **options: Any) -> Objective:
    return build_objective(loss, pool, Sampler(pool, seed=1), **options)


def test_full_summation_is_the_sum_of_the_members_gradients(encoder: Network, data: tuple[Tensor, Tensor]) -> None:
    pool = plain(encoder)
    model = PrefixModel(pool)
    summed = gradients(model, objective(pool, "full"), 0, data)
    single = [gradients(model, Objective(lambda step, m=member: (m,)), 0, data) for member in pool.members]  # type: ignore[misc]
    for total, parts in zip(summed, zip(*single, strict=True), strict=True):
        assert torch.allclose(total, sum(parts), atol=1e-5)  # type: ignore[arg-type]


def test_the_mean_of_stochastic_gradients_tends_to_the_sum_over_the_pools_size(
    encoder: Network, data: tuple[Tensor, Tensor]
) -> None:
    pool = plain(encoder)
    model, draws = PrefixModel(pool), 400
    stochastic = objective(pool, "stochastic")
    drawn = [stochastic.members(step)[0].index for step in range(draws)]
    single = [gradients(model, Objective(lambda step, m=member: (m,)), 0, data) for member in pool.members]  # type: ignore[misc]
    mean = sum(single[index][0] for index in drawn) / draws
    expected = gradients(model, objective(pool, "full"), 0, data)[0] / len(pool)
    assert float((mean - expected).norm() / expected.norm()) < 0.2


def test_accumulated_micro_batches_of_one_member_are_one_batch(encoder: Network, data: tuple[Tensor, Tensor]) -> None:
    pool = Pool(encoder, [Knob("width", (0.5,), match_dims(encoder))])
    model = PrefixModel(pool)
    whole = gradients(model, objective(pool, "stochastic"), 0, data)
    split = gradients(model, objective(pool, "stochastic", accumulate=4), 0, data)
    for a, b in zip(whole, split, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_each_loss_takes_the_members_it_is_named_for(encoder: Network) -> None:
    pool = plain(encoder)
    largest, smallest = pool.largest, pool.smallest
    assert len(objective(pool, "stochastic").members(0)) == 1
    assert len(objective(pool, "stochastic", accumulate=4).members(0)) == 4
    assert {member.index for member in objective(pool, "full").members(5)} == {0, 1, 2, 3}
    for step in range(20):
        sandwich = objective(pool, "sandwich").members(step)
        assert sandwich[0] is largest
        assert sandwich[-1] is smallest
        assert len(sandwich) == 4
        chain = objective(pool, "summation").members(step)
        assert [member.index for member in chain] == list(range(chain[0].index, -1, -1))


def test_progressive_shrinking_starts_whole_and_ends_with_all(encoder: Network) -> None:
    pool = plain(encoder)
    shrinking = objective(pool, "shrinking", total_steps=1000)
    assert {shrinking.members(step)[0].index for step in range(250)} == {pool.largest.index}
    smallest = [min(shrinking.members(step)[0].index for step in range(start, start + 60)) for start in (450, 600, 800)]
    assert smallest == sorted(smallest, reverse=True)
    assert {shrinking.members(step)[0].index for step in range(800, 900)} == {0, 1, 2, 3}


def test_in_place_distillation_teaches_all_but_the_first(encoder: Network, data: tuple[Tensor, Tensor]) -> None:
    pool = plain(encoder)
    model = PrefixModel(pool).eval()
    distil = objective(pool, "sandwich", distil=True)
    members = distil.members(0)
    _, scores, losses = distil.loss(model, nn.CrossEntropyLoss(), *data, members)
    assert losses[0] == pytest.approx(float(nn.functional.cross_entropy(scores.detach(), data[1])))
    for member, loss in list(zip(members, losses, strict=True))[1:]:
        assert loss == pytest.approx(float(soft_cross_entropy(model.run(member, data[0]), scores).detach()), rel=1e-5)


def test_soft_cross_entropy_is_the_entropy_where_student_and_teacher_agree() -> None:
    scores = torch.randn(6, 5, dtype=torch.float64)
    entropy = torch.distributions.Categorical(logits=scores).entropy().mean()
    assert torch.allclose(soft_cross_entropy(scores, scores), entropy)
    assert soft_cross_entropy(torch.randn(6, 5, dtype=torch.float64), scores) > entropy


def test_a_pool_of_the_whole_network_trains_like_plain_training_bit_for_bit(
    residual: Network, batch: tuple[Tensor, Tensor]
) -> None:
    twin = copy.deepcopy(residual.model).train()
    pool = Pool(residual, [Knob("width", (1.0,), match_dims(residual))])
    model, stochastic = PrefixModel(pool).train(), objective(pool, "stochastic")
    first, second = (torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3) for m in (model, twin))
    for step in range(5):
        loss, _, _ = stochastic.loss(model, nn.CrossEntropyLoss(), *batch, stochastic.members(step))
        for optimizer, value in ((first, loss), (second, nn.functional.cross_entropy(twin(batch[0]), batch[1]))):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(residual.model.parameters(), twin.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(residual.model.buffers(), twin.buffers(), strict=True))


def test_unknown_losses_are_refused_by_name(encoder: Network) -> None:
    with pytest.raises(UsageError, match="unknown loss 'sum'") as caught:
        objective(plain(encoder), "sum")
    assert "stochastic" in caught.value.hint
