"""A small real data set, a small network with every kind of state, and a method that does nothing but can freeze."""

import pytest
import torch
from torch import nn

from nasc.datasets import load_dataset


@pytest.fixture(scope="session")
def data():
    return load_dataset("digits", train_size=256)


def build_net(seed=0):
    """Convolution, batch norm and dropout: weights, running statistics and random draws."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


class Idle:
    """A method of strength zero: it draws random numbers, counts steps, and freezes when told."""

    network = price = None  # selects nothing

    def __init__(self, model, freeze_at=None):
        self.model, self.freeze_at = model, freeze_at
        self.steps = 0
        self.trace = torch.zeros(3)

    def penalty(self):
        return 0.0 * torch.rand(4).sum()

    def step(self):
        self.steps += 1
        self.trace += torch.rand(3)

    @property
    def frozen(self):
        return self.freeze_at is not None and self.steps >= self.freeze_at

    def select(self):
        from nasc.graph.selection import Selection

        return Selection()

    def scores(self):
        return {}

    def metrics(self):
        return {"steps": float(self.steps)}

    def state_dict(self):
        return {"steps": self.steps, "trace": self.trace}

    def load_state_dict(self, state):
        self.steps, self.trace = state["steps"], state["trace"].clone()


@pytest.fixture
def net():
    return build_net()


@pytest.fixture
def make_net():
    return build_net


@pytest.fixture
def make_idle():
    return Idle


@pytest.fixture
def same_state():
    """Whether two modules hold the same tensors, bit for bit."""

    def same(one, two):
        first, second = one.state_dict(), two.state_dict()
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

    return same
