"""Small networks of every structure that prices differ in, and a table with a closed form."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.errors import OutsideTable
from nasc.graph import Network, trace
from nasc.kernels import Signature
from nasc.models import load_model


class Mixed(nn.Module):
    """Residual, concatenation, groups, depthwise and squeeze-excite, a flatten, tied heads and a branch never run."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.side = nn.Conv2d(8, 6, 1)
        self.mix = nn.Conv2d(14, 14, 1)
        self.grouped = nn.Conv2d(14, 12, 3, stride=2, groups=2)
        self.head, self.twin = nn.Linear(12 * 9, 5), nn.Linear(12 * 9, 5)
        self.twin.weight = self.head.weight
        self.unused = nn.Linear(9, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.depthwise(self.inner(x))
        x = x * self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        x = self.mix(torch.cat((x, self.side(x)), 1))
        x = F.relu(self.grouped(x)).flatten(1)
        return self.head(x) + self.twin(x)


@dataclass(frozen=True)
class ProductTable:
    """``seconds = factor * product of sizes`` for the kinds it knows."""

    factor: float = 1e-9
    kinds: tuple[str, ...] = ("conv", "linear", "depthwise", "grouped_conv")

    def seconds(self, signature: Signature, sizes: Mapping[str, int | float | Tensor]) -> float | Tensor:
        if signature.kind not in self.kinds:
            raise OutsideTable(f"no row for {signature}", "measure it")
        result: float | Tensor = self.factor
        for size in sizes.values():
            result = result * size
        return result

    def slope(self, signature: Signature, sizes: Mapping[str, float]) -> dict[str, float]:
        total = self.factor
        for size in sizes.values():
            total *= size
        return {name: total / size for name, size in sizes.items()}

    def covers(self, signature: Signature, sizes: Mapping[str, int | float | Tensor]) -> bool:
        return signature.kind in self.kinds


EVERY_KIND = ("conv", "linear", "depthwise", "grouped_conv", "global_pool", "pool", "unary", "binary", "concat", "move")


@pytest.fixture(scope="session")
def mixed() -> Network:
    torch.manual_seed(0)
    return trace(Mixed(), (torch.zeros(2, 3, 7, 7),))


@pytest.fixture(scope="session", params=["mixed", "mobilenetv3-tiny", "densenet-tiny", "vgg-tiny", "mlp"])
def network(request: pytest.FixtureRequest) -> Network:
    if request.param == "mixed":
        return request.getfixturevalue("mixed")  # type: ignore[no-any-return]
    model = load_model(request.param, num_classes=5, input_shape=(3, 32, 32))
    return trace(model, (torch.zeros(1, 3, 32, 32),))


@pytest.fixture
def product_table() -> ProductTable:
    return ProductTable()


@pytest.fixture
def full_table() -> ProductTable:
    return ProductTable(kinds=EVERY_KIND)
