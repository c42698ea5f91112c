"""Searches with shared weights: they find the best member of a family whose losses are known."""

import pytest
import torch

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.methods import WeightSharing, price_for_target
from nasc.methods.weight_sharing.strategies import Member, PolicyGradient, Pool, draw

RUNGS = {"a": 6, "b": 6, "c": 6}


def fits(member: Member) -> bool:
    return sum(member.values()) <= 9


def loss(member: Member) -> float:
    """Best within the limit: a = 5, b = 4, c = 0."""
    return 10 - 2 * member["a"] - 1.5 * member["b"] - 0.5 * member["c"]


@pytest.mark.parametrize("evolve", [False, True])
def test_a_pool_keeps_its_best_and_evolution_finds_a_better_one(evolve: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    pool = Pool(RUNGS, fits, size=12, evolve=evolve, tries=1)
    for _ in range(300):
        member = pool.propose(generator)
        assert fits(member)
        pool.tell(member, loss(member))
    assert loss(pool.best()) == min(loss(member) for member in pool.members)
    if evolve:
        assert loss(pool.best()) <= -5  # the best of all is at -6, a pool that is only drawn seldom comes so near


def test_policy_gradient_goes_where_the_reward_is() -> None:
    generator = torch.Generator().manual_seed(0)
    policy = PolicyGradient(RUNGS, lambda member: sum(member.values()) / 9, beta=4.0)
    policy.active = True
    for _ in range(800):
        member = policy.propose(generator)
        policy.tell(member, loss(member) / 4)
    best = policy.best()
    assert abs(sum(best.values()) - 9) <= 2
    assert best["a"] >= 4
    assert best["c"] <= 2


def test_draws_fit_or_are_the_smallest() -> None:
    generator = torch.Generator().manual_seed(0)
    assert all(fits(draw(RUNGS, generator, fits)) for _ in range(50))
    assert draw(RUNGS, generator, lambda member: False) == dict.fromkeys(RUNGS, 0)


def test_a_member_keeps_the_first_entries_of_every_dim(residual: Network) -> None:
    price, limit = price_for_target(residual, "-50%")
    method = WeightSharing(residual, price, limit, 40)
    for _ in range(9):
        method.observe(1.0)
        method.step()
        for vector in method.masks.layout.split(method.masks.flat):
            mask = method.masks.layout.split(method.masks.flat)[vector]
            assert torch.equal(mask, mask.sort(descending=True).values)
    with pytest.raises(UsageError, match="unknown search"):
        WeightSharing(residual, price, limit, 40, search="grid")  # type: ignore[arg-type]
