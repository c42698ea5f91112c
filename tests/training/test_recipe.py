import math

import pytest
import torch
from torch import nn

from nasc.errors import UsageError
from nasc.training import Recipe, build_optimizer


def test_the_rate_rises_in_a_straight_line_and_falls_as_a_cosine():
    recipe = Recipe(learning_rate=2.0, warmup=0.2)
    rates = [recipe.learning_rate_at(step, 100) for step in range(100)]
    assert rates[:20] == pytest.approx([0.1 * (step + 1) for step in range(20)])
    assert rates[20:] == pytest.approx([1 + math.cos(math.pi * step / 80) for step in range(80)])


def test_the_rate_of_a_linear_decay_loses_the_same_every_step():
    recipe = Recipe(warmup=0.0, decay="linear")
    rates = [recipe.learning_rate_at(step, 10) for step in range(10)]
    assert rates == pytest.approx([recipe.learning_rate * (1 - step / 10) for step in range(10)])


def test_every_step_of_the_shortest_run_has_a_rate():
    assert Recipe(warmup=0.9).learning_rate_at(0, 1) == Recipe().learning_rate


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_norms_and_biases_are_never_decayed(optimizer):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    groups = build_optimizer(Recipe(optimizer=optimizer), net.parameters()).param_groups
    decayed = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    assert decayed == {id(net[0].weight), id(net[3].weight)}
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_frozen_parameters_are_left_out():
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    assert len(build_optimizer(Recipe(), net.parameters()).param_groups) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("optimizer", "lion"),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("label_smoothing", 1.0),
        ("warmup", 1.0),
        ("decay", "steps"),
        ("clip_norm", -1.0),
        ("precision", "fp8"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(UsageError, match=f"expected {field} to be .*, got {value!r}"):
        Recipe(**{field: value})


def test_a_gradient_is_clipped_to_its_norm(data, make_net):
    from nasc.training import train

    net = make_net()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    recipe = Recipe(epochs=1, batch_size=256, learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip_norm=1e-3)
    train(net, data, recipe, progress=False)
    moved = torch.cat([(new - old).flatten() for new, old in zip(net.parameters(), before, strict=True)])
    assert float(moved.detach().norm()) == pytest.approx(1e-3, rel=0.02)
