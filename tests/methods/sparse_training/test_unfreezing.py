"""Sparse transfer: what trains in which epoch, what never changes, and how the learning rate starts anew."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasc.errors import ModelError, UsageError
from nasc.graph import trace
from nasc.methods import Price
from nasc.methods.sparse_training import GradualUnfreezing, find_blocks
from nasc.models.encoder import EncoderTiny
from nasc.training import RewoundRecipe
from nasc.training.recipe import build_optimizer

STEPS = 3
"""Of an epoch."""


def encoder() -> nn.Module:
    torch.manual_seed(0)
    model = EncoderTiny(2, 6, width=0.125, vocabulary=20)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.blocks.named_parameters():
            if parameter.dim() == 2 and "norm" not in name:
                parameter[torch.rand(parameter.shape, generator=generator) < 0.9] = 0
    return model


def unfreezing(model: nn.Module, **options: Any) -> GradualUnfreezing:
    network = trace(model, (torch.randint(0, 20, (2, 6)),))
    return GradualUnfreezing(network, Price(network), STEPS, **options)


def run(method: GradualUnfreezing, epochs: int) -> list[dict[str, Tensor]]:
    """The parameters before the first epoch and after each."""
    recipe = RewoundRecipe(epochs=epochs, rewinds=epochs, optimizer="adamw", learning_rate=1e-2, weight_decay=0.1)
    optimizer = build_optimizer(recipe, method.model.parameters())
    method.follow(optimizer)
    copies = [snapshot(method.model)]
    generator = torch.Generator().manual_seed(2)
    for step in range(epochs * STEPS):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step, epochs * STEPS)
        tokens = torch.randint(0, 20, (8, 6), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(method.model(tokens), tokens[:, 0] % 2).backward()
        optimizer.step()
        method.step()
        if (step + 1) % STEPS == 0:
            copies.append(snapshot(method.model))
    return copies


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_the_blocks_of_an_encoder_are_found_in_order() -> None:
    assert find_blocks(encoder()) == ("blocks.0", "blocks.1", "blocks.2", "blocks.3")
    with pytest.raises(ModelError, match="row of blocks"):
        find_blocks(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)))


def test_the_set_that_trains_grows_by_one_block_an_epoch_from_the_last() -> None:
    method = unfreezing(encoder())
    assert method.epochs == 4 + 2
    always = set(method.trainable(0))
    assert {"classifier.weight", "classifier.bias", "norm.weight", "blocks.0.up.bias"} <= always
    assert not any(name.endswith("up.weight") for name in always)
    for epoch in range(1, 5):
        opened = set(method.trainable(epoch)) - set(method.trainable(epoch - 1))
        layers = ("attention.query", "attention.key", "attention.value", "attention.output", "up", "down")
        assert opened == {f"blocks.{4 - epoch}.{layer}.weight" for layer in layers}
    assert method.trainable(5) == method.trainable(4)
    assert not {"words.weight", "places"} & set(method.trainable(5))


def test_frozen_weights_do_not_change_by_a_bit_and_open_ones_do() -> None:
    method = unfreezing(encoder())
    copies = run(method, method.epochs)
    for epoch, (before, after) in enumerate(pairwise(copies)):
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed <= method.trainable(epoch)
        assert "classifier.weight" in changed
        if 1 <= epoch <= 4:
            assert f"blocks.{4 - epoch}.up.weight" in changed


def test_masks_are_the_upstream_ones_to_the_end() -> None:
    model = encoder()
    before = {name: value == 0 for name, value in snapshot(model).items()}
    method = unfreezing(model)
    run(method, method.epochs)
    for name in method.weights.parameters:
        assert torch.equal(model.get_parameter(name) == 0, before[name])


def test_a_block_that_opens_late_starts_with_an_empty_memory() -> None:
    method = unfreezing(encoder())
    recipe = RewoundRecipe(optimizer="adamw", learning_rate=1e-2)
    optimizer = build_optimizer(recipe, method.model.parameters())
    method.follow(optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        method.model(torch.randint(0, 20, (4, 6))).sum().backward()
        optimizer.step()
        method.step()
    assert method.model.get_parameter("classifier.weight") in optimizer.state
    assert method.model.get_parameter("blocks.3.up.weight") not in optimizer.state


@pytest.mark.parametrize(("order", "first", "last"), [("all", 24, 24), ("none", 0, 0), ("first-last", 0, 24)])
def test_the_ablations_open_other_blocks(order: str, first: int, last: int) -> None:
    method = unfreezing(encoder(), order=order)
    counts = [sum(".weight" in n and n in method.weights.parameters for n in method.trainable(e)) for e in range(6)]
    assert (counts[0], counts[-1]) == (first, last)
    if order == "first-last":
        assert "blocks.0.up.weight" in method.trainable(1)


def test_the_learning_rate_starts_anew_in_every_epoch_and_ends_near_zero() -> None:
    recipe = RewoundRecipe(epochs=4, rewinds=4, learning_rate=2e-4)
    rates = [recipe.learning_rate_at(step, 400) for step in range(400)]
    assert rates[0::100] == [2e-4] * 4
    assert all(rate == pytest.approx(2e-6) for rate in rates[99::100])
    with pytest.raises(UsageError, match="rewinds"):
        RewoundRecipe(rewinds=0)
