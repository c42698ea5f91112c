"""Entropy, loss and uncertainty at values known beforehand."""

import math

import pytest
import torch
from torch import nn

from nasc.analysis import accuracy, cross_entropy, prediction_entropy, scores_of, uncertainty


def test_equal_scores_have_the_entropy_of_a_fair_die() -> None:
    assert prediction_entropy(torch.full((3, 7), 2.5)) == pytest.approx(math.log(7))


def test_a_certain_prediction_has_no_entropy() -> None:
    assert prediction_entropy(torch.tensor([[200.0, 0.0, 0.0]])) == pytest.approx(0.0, abs=1e-12)


def test_entropy_does_not_change_when_all_scores_are_shifted() -> None:
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert prediction_entropy(scores + 100) == pytest.approx(prediction_entropy(scores), rel=1e-5)


def test_entropy_of_two_outcomes_is_the_binary_entropy() -> None:
    expected = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert prediction_entropy(torch.tensor([[math.log(0.2), math.log(0.8)]])) == pytest.approx(expected)


def test_cross_entropy_is_minus_the_logarithm_of_the_labels_share_and_never_negative() -> None:
    scores = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    assert cross_entropy(scores, torch.tensor([1, 0])) == pytest.approx(-(math.log(0.75) + math.log(0.5)) / 2)
    assert cross_entropy(torch.tensor([[50.0, 0.0]]), torch.tensor([0])) >= 0


def test_uncertainty_counts_sigmoids_strictly_between_the_bounds() -> None:
    inside, outside = math.log(0.5 / 0.5), math.log(0.95 / 0.05)
    assert uncertainty(torch.tensor([[inside, outside], [-outside, 1.0]])) == 0.5


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert accuracy(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)


def test_looking_at_a_model_leaves_its_state_mode_and_gradients_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).train()
    model(torch.randn(2, 1, 4, 4)).sum().backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    scores_of(model, torch.randn(7, 1, 4, 4), batch_size=3)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
