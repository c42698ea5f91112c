"""Networks of every structure the writer knows, with norms that do something."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.models import load_model

SHAPE = (3, 32, 32)


def unsettle(model: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics and affine parameters as after training; fresh ones are ones and zeros, and fold into nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0.0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                if module.affine:
                    module.weight.uniform_(0.5, 1.5, generator=generator)
                    module.bias.normal_(0.0, 0.2, generator=generator)
    return model


def block(c_in: int, c_out: int, act: nn.Module, **options: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, bias=False, **options), nn.BatchNorm2d(c_out), act)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = block(3, channels, nn.Hardswish(), padding=1, stride=2)
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.depthwise = block(channels, channels, nn.SiLU(), padding=2, dilation=2, groups=channels)
        self.head = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x * F.hardsigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))
        x = self.depthwise(x)
        return self.head(x.mean((2, 3)))


class Shuffled(nn.Module):
    """Grouped convolutions with a channel shuffle, a split and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = block(3, 12, nn.ReLU(), padding=1, stride=2)
        self.grouped = block(12, 24, nn.ReLU6(), padding=1, stride=2, groups=3)
        self.branch = block(12, 8, nn.LeakyReLU(0.2), padding=1)
        self.head = nn.Conv2d(20, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.first(x))
        x = x.view(x.size(0), 3, 8, 8, 8).transpose(1, 2).reshape(x.size(0), 24, 8, 8)
        left, right = x.chunk(2, 1)
        return self.head(torch.cat((left, self.branch(right)), 1)).mean((2, 3))


class Arithmetic(nn.Module):
    """Constants on either side, layer scales, functions that are not folded, permutations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.gamma = nn.Parameter(torch.linspace(0.5, 1.5, 6))
        self.mix = nn.Linear(6, 7)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x) * self.gamma[:, None, None]
        x = 1.0 - torch.tanh(x) / 3.0 + torch.sigmoid(x)
        x = self.mix(x.permute(0, 2, 3, 1))
        x = F.gelu(x) + F.elu(x) * F.gelu(x, approximate="tanh")
        x = torch.maximum(x, x.mean((1, 2), keepdim=True))
        return self.head(x.permute(0, 3, 1, 2).mean((2, 3))).softmax(-1)


class UNet(nn.Module):
    """Down, up, and a bridge; the output is an image."""

    def __init__(self) -> None:
        super().__init__()
        self.down = block(3, 6, nn.ReLU(), padding=1)
        self.bottom = block(6, 8, nn.ReLU(), padding=1)
        self.up = nn.ConvTranspose2d(8, 5, 2, stride=2)
        self.out = nn.Conv2d(11, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        bridge = self.down(x)
        x = self.up(self.bottom(F.max_pool2d(bridge, 2)))
        return self.out(torch.cat((bridge, x), 1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{
        name: lambda name=name: load_model(name, num_classes=5, input_shape=SHAPE)
        for name in ("densenet-tiny", "digits-cnn", "mlp", "mobilenetv3-tiny", "resnet-tiny", "vgg-tiny")
    },
    "squeeze-excite": lambda: SqueezeExcite(10),
    "shuffled": Shuffled,
    "arithmetic": Arithmetic,
    "u-net": UNet,
    "flatten": lambda: nn.Sequential(
        block(3, 6, nn.ReLU(), stride=4),
        nn.Flatten(),
        nn.Linear(6 * 64, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(16, 5),
    ),
    "norm-first": lambda: nn.Sequential(
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.ZeroPad2d((0, 1, 0, 1)),
        block(3, 6, nn.Identity(), stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    ),
}


@pytest.fixture(name="unsettle")
def _unsettle() -> Callable[[nn.Module], nn.Module]:
    return unsettle


@pytest.fixture(params=NETWORKS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return unsettle(NETWORKS[request.param]()).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
