"""A network on another task: features frozen, or everything trained with masks fixed."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from nasc.analysis import transfer
from nasc.analysis.transfer import features_of, replace_head
from nasc.datasets import load_dataset
from nasc.errors import ModelError


@pytest.fixture(scope="module")
def halves() -> tuple[Any, Any]:
    """Digits 0 to 4, and 5 to 9 as another task."""
    data = load_dataset("digits")

    def only(low: int) -> Any:
        parts = {}
        for part in ("train", "val", "test"):
            x, y = getattr(data, f"{part}_x"), getattr(data, f"{part}_y")
            chosen = (y >= low) & (y < low + 5)
            parts |= {f"{part}_x": x[chosen][:200], f"{part}_y": y[chosen][:200] - low}
        return replace(data, num_classes=5, **parts)

    return only(0), only(5)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5))


def test_both_transfers_learn_the_other_task_and_leave_the_network_alone(halves: tuple[Any, Any]) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = transfer(model, halves[1], epochs=60)
    assert found.linear > 0.5
    assert found.full > 0.3
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_features_are_what_the_head_reads(halves: tuple[Any, Any]) -> None:
    model = network()
    head = replace_head(model, halves[1], seed=0)
    x = halves[1].test_x[:7]
    expected = model[:3](x)
    torch.testing.assert_close(features_of(model, head, x).flatten(1), expected)


def test_a_network_without_a_linear_head_is_refused(halves: tuple[Any, Any]) -> None:
    with pytest.raises(ModelError, match="ends in a linear layer"):
        transfer(nn.Sequential(nn.Conv2d(1, 5, 8), nn.Flatten()), halves[0])
