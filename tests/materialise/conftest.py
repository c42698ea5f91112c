"""Small networks of every family, and random selections of them."""

import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.graph import Network, Selection, trace


class ConvNorm(nn.Sequential):
    """Convolution, norm, activation."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, act: type[nn.Module] = nn.ReLU, **options: Any) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False, **options)
        super().__init__(conv, nn.BatchNorm2d(c_out), act())


class Residual(nn.Module):
    """A basic block of a ResNet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + x)


class ResidualNet(nn.Module):
    """Two stages with a projection between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 8)
        self.layer1 = nn.Sequential(Residual(8), Residual(8))
        self.down = nn.Conv2d(8, 12, 1, stride=2)
        self.layer2 = Residual(12)
        self.fc = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.down(self.layer1(self.stem(x))))
        return self.fc(x.mean((2, 3)))


class SqueezeExcite(nn.Module):
    """Channel gates."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class InvertedResidual(nn.Module):
    """A block of MobileNetV3."""

    def __init__(self, channels: int, expanded: int) -> None:
        super().__init__()
        self.expand = ConvNorm(channels, expanded, 1, nn.Hardswish)
        self.depthwise = ConvNorm(expanded, expanded, 3, nn.Hardswish, groups=expanded)
        self.se = SqueezeExcite(expanded, 6)
        self.project = ConvNorm(expanded, channels, 1, nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.se(self.depthwise(self.expand(x))))


class MobileNet(nn.Module):
    """Depthwise convolutions, squeeze-excite, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(ConvNorm(3, 8, act=nn.ReLU6, stride=2), InvertedResidual(8, 20))
        self.classifier = nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Dropout(0.3), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))


class ConcatNet(nn.Module):
    """Dense connectivity: norms over concatenations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1, self.conv2 = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(14, 6, 3, padding=1)
        self.norm1, self.norm2, self.norm3 = nn.BatchNorm2d(8), nn.BatchNorm2d(14), nn.BatchNorm2d(20)
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv1(F.relu(self.norm1(x)))], 1)
        x = torch.cat([x, self.conv2(F.relu(self.norm2(x)))], 1)
        return self.head(F.relu(self.norm3(x)).mean((2, 3)))


class SharedHead(nn.Module):
    """One module used twice, two results, a scale that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = ConvNorm(3, 8)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = F.relu(self.twice(F.relu(self.twice(self.trunk(x))))) * self.scale
        pooled = x.mean((2, 3))
        return {"class": self.head(pooled), "pair": (self.head(-pooled), self.head(pooled) - 1)}


class TiedLanguageModel(nn.Module):
    """An encoder whose output matrix is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(17, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.head = nn.Linear(8, 17)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(tokens)))


class Upsampling(nn.Module):
    """Down, up, and a concatenation with what was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down = ConvNorm(3, 6), ConvNorm(6, 10)
        self.up = nn.ConvTranspose2d(10, 6, 2, stride=2)
        self.leave = nn.Conv2d(18, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        deep = self.down(F.max_pool2d(x, 2))
        wide = F.interpolate(deep, scale_factor=2.0, mode="nearest")[:, :6]
        return self.leave(torch.cat([x, self.up(deep), wide], dim=1))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(48, 24),
        nn.BatchNorm1d(24),
        nn.GELU(),
        nn.Linear(24, 16),
        nn.LeakyReLU(0.2),
        nn.Linear(16, 5),
    )


def grouped() -> nn.Module:
    return nn.Sequential(
        ConvNorm(3, 12), ConvNorm(12, 12, groups=3), nn.Conv2d(12, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def flatten_head() -> nn.Module:
    return nn.Sequential(
        *(ConvNorm(3, 8), nn.MaxPool2d(2), ConvNorm(8, 12), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(12 * 4 * 4, 20), nn.ReLU(), nn.Dropout(0.2), nn.Linear(20, 10)),
    )


@dataclass(frozen=True)
class Case:
    """A traced model with a random selection of all that a mask can remove."""

    name: str
    model: nn.Module
    network: Network
    selection: Selection

    def inputs(self, batch: int) -> Tensor:
        """Inputs of another batch size than the traced one."""
        example = self.network.example_inputs[0]
        generator = torch.Generator().manual_seed(batch)
        if example.dtype == torch.int64:
            return torch.randint(0, 17, (batch, *example.shape[1:]), generator=generator)
        return torch.randn(batch, *example.shape[1:], generator=generator)


def image(size: int) -> Tensor:
    return torch.randn(2, 3, size, size)


FAMILIES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mlp": (mlp, lambda: image(4)),
    "residual": (ResidualNet, lambda: image(8)),
    "mobile": (MobileNet, lambda: image(16)),
    "grouped": (grouped, lambda: image(8)),
    "flatten head": (flatten_head, lambda: image(16)),
    "concat": (ConcatNet, lambda: image(8)),
    "shared head": (SharedHead, lambda: image(8)),
    "tied encoder": (TiedLanguageModel, lambda: torch.randint(0, 17, (2, 7))),
    "upsampling": (Upsampling, lambda: image(8)),
}


def selection_of(network: Network, share: float = 0.6, gains: bool = True) -> Selection:
    """Random kept indices of every maskable dim, with random gains."""
    generator = torch.Generator().manual_seed(1)
    kept = {
        name: torch.randperm(dim.size, generator=generator)[: max(1, round(share * dim.size))].sort().values
        for name, dim in network.maskable.items()
    }
    values = {name: 0.5 + torch.rand(network.dims[name].size, generator=generator) for name in kept}
    return Selection(kept, values if gains else {})


def settle(model: nn.Module) -> nn.Module:
    """Give norms statistics and parameters that are not their neutral ones."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low in (
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
                (module.weight, 0.5),
                (module.bias, -0.5),
            ):
                nn.init.uniform_(tensor, low, low + 1)
    return model


@functools.cache
def make_case(name: str) -> Case:
    torch.manual_seed(0)
    make, example = FAMILIES[name]
    model = settle(make())
    network = trace(model, (example(),))
    return Case(name, model, network, selection_of(network))


def borrowed(name: str) -> Iterator[Case]:
    """A case, traced once in a session, given back as it was."""
    case = make_case(name)
    state = copy.deepcopy(case.model.state_dict())
    yield case
    case.model.load_state_dict(state)
    case.model.requires_grad_(True).train().zero_grad()


@pytest.fixture(params=list(FAMILIES))
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """One network of every family."""
    yield from borrowed(request.param)


@pytest.fixture
def residual() -> Iterator[Case]:
    """The residual network alone."""
    yield from borrowed("residual")


@pytest.fixture
def tied() -> Iterator[Case]:
    """The encoder with tied matrices alone."""
    yield from borrowed("tied encoder")


@pytest.fixture
def mobile() -> Iterator[Case]:
    """The network with depthwise convolutions, squeeze-excite and dropout alone."""
    yield from borrowed("mobile")
