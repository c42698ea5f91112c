import torch

from nasc.training.seeding import derive_seed, epoch_order, seed_step


def test_every_purpose_and_place_has_a_stream_of_its_own():
    seeds = {derive_seed(seed, use, place) for seed in range(4) for use in ("step", "order") for place in range(50)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_the_same_in_every_process():
    assert derive_seed(0, "step", 0) == 7316601067076945981


def test_an_epoch_takes_every_picture_once_in_an_order_of_its_own():
    orders = [epoch_order(0, epoch, 100) for epoch in range(3)]
    assert all(order.sort().values.tolist() == list(range(100)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_a_step_draws_the_same_whatever_was_drawn_before():
    with torch.random.fork_rng():
        seed_step(3, 7)
        first = torch.rand(5)
        seed_step(3, 7)
        assert torch.equal(first, torch.rand(5))
        seed_step(3, 8)
        assert not torch.equal(first, torch.rand(5))
