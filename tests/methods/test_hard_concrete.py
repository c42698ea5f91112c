"""Hard-concrete gates: the closed forms of arXiv 1712.01312."""

import pytest
import torch
from torch import Tensor

from nasc.graph.network import Network
from nasc.methods import HardConcrete, price_for_target
from nasc.methods._price import Price
from nasc.methods.hard_concrete.method import expected_gate, probability, sample_gate


def test_the_share_of_open_gates_is_the_closed_form() -> None:
    torch.manual_seed(0)
    for value in (-2.0, 0.0, 1.5):
        log_alpha = torch.full((200_000,), value)
        gates = sample_gate(log_alpha)
        assert float((gates > 0).float().mean()) == pytest.approx(float(probability(log_alpha)[0]), abs=5e-3)
        assert 0 <= float(gates.min()) <= float(gates.max()) <= 1
    assert expected_gate(torch.tensor([-9.0, 9.0])).tolist() == [0.0, 1.0]


def test_the_penalty_is_the_expected_price_with_its_gradient(residual: Network) -> None:
    price = Price(residual)
    method = HardConcrete(residual, price, 0.5 * price.dense, 100)
    method.strength = 1.0
    layout = method.masks.layout
    generator = torch.Generator().manual_seed(0)
    method.masks.assign(torch.randn(layout.segments.numel(), generator=generator))
    method.penalty().backward()
    gradient = method.masks.take_gradient()
    sizes = dict(zip(layout.names, layout.total(probability(method.masks.flat.detach())).tolist(), strict=True))
    assert float(method.penalty().detach()) == pytest.approx(price.slopes(sizes)[0] / price.dense)
    for index in (0, layout.segments.numel() - 1):
        values = []
        for sign in (1, -1):
            moved = method.masks.flat.detach().double().clone()
            moved[index] += sign * 1e-3
            total = layout.total(probability(moved))
            values.append(price.slopes(dict(zip(layout.names, total.tolist(), strict=True)))[0] / price.dense)
        assert float(gradient[index]) == pytest.approx((values[0] - values[1]) / 2e-3, rel=1e-2)


def test_evaluation_uses_the_expected_gates_and_training_draws_anew(
    residual: Network, batch: tuple[Tensor, Tensor]
) -> None:
    price, limit = price_for_target(residual, "-50%")
    method = HardConcrete(residual, price, limit, 100)
    method.masks.assign(torch.zeros_like(method.masks.flat))
    method.model.eval()
    assert torch.equal(method.model(batch[0]), method.model(batch[0]))
    method.model.train()
    assert not torch.equal(method.model(batch[0]), method.model(batch[0]))
