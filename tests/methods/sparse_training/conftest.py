"""Networks, and a loop in a few lines, that sparse training is tried on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasc.graph import trace
from nasc.graph.network import Network
from nasc.methods import Price, build
from nasc.methods.sparse_training import SparseTraining


class Plain(nn.Module):
    """Three convolutions (one depthwise) with norms, and a head."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.deep = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.wide = nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.head = nn.Linear(2 * width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.wide(self.deep(self.stem(x))).mean((2, 3)))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return trace(Plain(), (torch.randn(2, 3, 6, 6),))


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(16) % 4
    return [
        (torch.randn(16, 3, 6, 6, generator=generator) + 0.4 * labels[:, None, None, None], labels) for _ in range(60)
    ]


Maker = Callable[..., SparseTraining]


@pytest.fixture
def make(network: Network) -> Maker:
    """A method by name on the network, with 40 steps, at a sparsity or a share of the dense price."""

    def build_one(name: str, share: float = 0.3, unit: Any = "macs", steps: int = 40, **options: Any) -> SparseTraining:
        price = Price(network, unit)
        method = build(name, network, price, share * price.dense, steps, **options)
        assert isinstance(method, SparseTraining)
        return method

    return build_one


@pytest.fixture
def drive(batches: list[tuple[Tensor, Tensor]]) -> Callable[..., torch.optim.Optimizer]:
    """Take steps with a method the way a training loop does; gives the optimiser, which may be handed in again."""

    def go(
        method: SparseTraining,
        steps: int,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        watch: Callable[[int], None] | None = None,
    ) -> torch.optim.Optimizer:
        if optimizer is None:
            optimizer = torch.optim.SGD(method.model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
            method.follow(optimizer)
        for _ in range(steps):
            x, y = batches[method.step_count % len(batches)]
            optimizer.zero_grad()
            (nn.functional.cross_entropy(method.model(x), y) + method.penalty()).backward()
            optimizer.step()
            method.step()
            if watch:
                watch(method.step_count)
        return optimizer

    return go
