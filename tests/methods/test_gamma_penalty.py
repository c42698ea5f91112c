"""Penalties on batch-norm scales: MorphNet and network slimming."""

import copy

import pytest
import torch
from torch import Tensor, nn

from nasc.errors import TraceError, UsageError
from nasc.graph import trace
from nasc.graph.network import Network
from nasc.methods import GammaPenalty, price_for_target
from nasc.methods._scores import norm_scales


def test_a_stream_has_the_largest_of_its_scales(residual: Network) -> None:
    model = residual.model
    with torch.no_grad():
        model.stem[1].weight.copy_(torch.linspace(0, 1, 12))  # type: ignore[index, union-attr]
        model.second[1].weight.copy_(torch.linspace(-1, 0, 12))  # type: ignore[index, union-attr]
    stream = residual.parameters["stem.1.weight"][0].terms[0]
    expected = torch.maximum(torch.linspace(0, 1, 12), torch.linspace(-1, 0, 12).abs())
    torch.testing.assert_close(norm_scales(residual)[stream.name].detach(), expected)  # type: ignore[union-attr]


def test_the_weight_of_a_channel_is_what_it_costs(residual: Network) -> None:
    price, limit = price_for_target(residual, "-50%")
    method = GammaPenalty(residual, price, limit, 100)
    method.strength = 2.0
    scales = norm_scales(residual)
    _, slopes = price.slopes(residual.dense_sizes)
    expected = sum(slopes[name] * float(scale.detach().sum()) for name, scale in scales.items())
    channels = sum(scale.numel() for scale in scales.values())
    expected /= sum(slopes[name] * scale.numel() for name, scale in scales.items()) / channels
    assert float(method.penalty().detach()) == pytest.approx(2.0 * expected)


def test_the_penalty_makes_scales_smaller_than_they_would_be(residual: Network, batch: tuple[Tensor, Tensor]) -> None:
    ends = {}
    for gain in (0.0, 5.0):
        network = trace(copy.deepcopy(residual.model), residual.example_inputs)
        price, limit = price_for_target(network, "-60%")
        method = GammaPenalty(network, price, limit, 100, weighting="uniform", gain=gain)
        optimizer = torch.optim.SGD(method.model.parameters(), lr=0.05)
        for _ in range(39):
            optimizer.zero_grad()
            (nn.functional.cross_entropy(method.model(batch[0]), batch[1]) + method.penalty()).backward()
            optimizer.step()
            method.step()
        assert (method.strength > 0) == (gain > 0)
        ends[gain] = sum(float(scale.detach().sum()) for scale in norm_scales(network).values())
    assert ends[5.0] < 0.9 * ends[0.0]


def test_retraining_starts_from_the_first_weights(residual: Network, batch: tuple[Tensor, Tensor]) -> None:
    first = {name: value.clone() for name, value in residual.model.state_dict().items()}
    price, limit = price_for_target(residual, "-40%")
    method = GammaPenalty(residual, price, limit, 20, retrain=True)
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.1)
    for _ in range(8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(method.model(batch[0]), batch[1]).backward()
        optimizer.step()
        method.step()
    assert method.frozen
    assert all(torch.equal(first[name], value) for name, value in residual.model.state_dict().items())


def test_a_model_without_norms_and_an_unknown_weighting_are_said(mlp: Network, residual: Network) -> None:
    network = trace(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (torch.randn(2, 4),))
    price, limit = price_for_target(network, "-40%")
    with pytest.raises(TraceError, match="batch norms"):
        GammaPenalty(network, price, limit, 10)
    price, limit = price_for_target(residual, "-40%")
    with pytest.raises(UsageError, match="unknown weighting"):
        GammaPenalty(residual, price, limit, 10, weighting="heavy")  # type: ignore[arg-type]
