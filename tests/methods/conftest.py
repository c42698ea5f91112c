"""Small networks, and a price with a closed form, that every method is tried on."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasc.graph import trace
from nasc.graph.network import Network
from nasc.kernels import Signature


class Staircase:
    """``seconds = 1e-9 * c_in * ceil(c_out / period) * period`` for matrix kernels, nothing for the rest."""

    def __init__(self, period: int) -> None:
        self.period = period

    def seconds(self, signature: Signature, sizes: Mapping[str, int | float | Tensor]) -> Any:
        if signature.kind not in ("conv", "linear"):
            return 0.0
        return 1e-9 * sizes["c_in"] * math.ceil(float(sizes["c_out"]) / self.period - 1e-9) * self.period

    def slope(self, signature: Signature, sizes: Mapping[str, float]) -> dict[str, float]:
        if signature.kind not in ("conv", "linear"):
            return dict.fromkeys(sizes, 0.0)
        rounded = math.ceil(sizes["c_out"] / self.period - 1e-9) * self.period
        return {"c_in": 1e-9 * rounded, "c_out": 1e-9 * sizes["c_in"]}

    def covers(self, signature: Signature, sizes: Mapping[str, Any]) -> bool:
        return True


class Residual(nn.Module):
    """A stem, one residual block and a downsampling convolution: dims that are tied, and dims that are not."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.first = nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width))
        self.second = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.down = nn.Sequential(nn.Conv2d(width, 3 * width, 3, stride=2, padding=1, bias=False), nn.ReLU())
        self.head = nn.Linear(3 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.second(torch.relu(self.first(x))) + x)
        return self.head(self.down(x).mean((2, 3)))


@pytest.fixture
def residual() -> Network:
    torch.manual_seed(0)
    return trace(Residual(), (torch.randn(2, 1, 8, 8),))


@pytest.fixture
def mlp() -> Network:
    torch.manual_seed(0)
    first, second = (nn.Linear(6, 16), nn.BatchNorm1d(16)), (nn.Linear(16, 24), nn.ReLU())
    model = nn.Sequential(*first, nn.ReLU(), *second, nn.Linear(24, 3))
    return trace(model, (torch.randn(2, 6),))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 5
    pictures = torch.randn(40, 1, 8, 8, generator=generator) + 0.5 * labels[:, None, None, None]
    return pictures, labels


@pytest.fixture
def staircase() -> Callable[[int], Staircase]:
    return Staircase
