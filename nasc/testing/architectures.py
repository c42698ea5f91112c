"""Small models, one for each structure a tracer must see through. Random weights, sizes that give themselves away.

Batch norms get statistics and scales unlike those of a fresh module, so that forgetting to slice one shows.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Three linear layers on flattened images."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3 * 8 * 8, 24)
        self.second = nn.Linear(24, 14)
        self.head = nn.Linear(14, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = F.relu(self.first(x.view(x.size(0), -1)))
        return self.head(torch.tanh(self.second(x)))  # type: ignore[no-any-return]


class PlainConvolutions(nn.Module):
    """Convolutions, norms, pooling, a mean over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 18, 3, stride=2, padding=1)
        self.head = nn.Linear(18, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        return self.head(F.leaky_relu(self.conv2(x)).mean([2, 3]))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which is a convolution where the width changes."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Same positions divided by the stride."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class Residual(nn.Module):
    """A residual network of two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.layer1 = nn.Sequential(ResidualBlock(12, 12, 1), ResidualBlock(12, 12, 1))
        self.layer2 = nn.Sequential(ResidualBlock(12, 20, 2), ResidualBlock(20, 20, 1))
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = self.layer2(self.layer1(F.relu(self.stem(x))))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    """A gate per channel from the mean over positions."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The input, gated."""
        gate = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * F.hardsigmoid(gate)


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-excite, project."""

    def __init__(self, width_in: int, hidden: int, width: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width_in, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.excite = SqueezeExcite(hidden, 6)
        self.project = nn.Conv2d(hidden, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.residual = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        """Same positions divided by the stride."""
        out: Tensor = F.hardswish(self.bn1(self.expand(x)))
        out = self.excite(F.hardswish(self.bn2(self.depthwise(out))))
        out = self.bn3(self.project(out))
        return x + out if self.residual else out


class MobileBlocks(nn.Module):
    """Inverted residuals with squeeze-excite."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.blocks = nn.Sequential(
            InvertedResidual(8, 20, 8, 1), InvertedResidual(8, 24, 14, 2), InvertedResidual(14, 30, 14, 1)
        )
        self.last = nn.Conv2d(14, 32, 1)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = F.hardswish(self.last(self.blocks(F.hardswish(self.stem(x)))))
        return self.head(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))  # type: ignore[no-any-return]


class DenseConcat(nn.Module):
    """Every layer reads the concatenation of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(10 + 6 * i) for i in range(3))
        self.layers = nn.ModuleList(nn.Conv2d(10 + 6 * i, 6, 3, padding=1) for i in range(3))
        self.transition = nn.Conv2d(28, 14, 1)
        self.head = nn.Linear(14, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = torch.cat([x, layer(F.relu(norm(x)))], 1)
        return self.head(F.avg_pool2d(self.transition(x), 2).mean((2, 3)))  # type: ignore[no-any-return]


class GroupedConvolutions(nn.Module):
    """A convolution of four groups between two plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(24)
        self.last = nn.Conv2d(24, 14, 1)
        self.head = nn.Linear(14, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = F.relu(self.norm(self.grouped(F.relu(self.first(x)))))
        return self.head(self.last(x).mean((2, 3)))  # type: ignore[no-any-return]


class FlattenHead(nn.Module):
    """A head that reads channels x positions, as VGG does."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.ReLU(True),
        )
        self.classifier = nn.Sequential(nn.Linear(16 * 4, 20), nn.ReLU(True), nn.Dropout(), nn.Linear(20, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = F.adaptive_avg_pool2d(self.features(x), (2, 2))
        return self.classifier(x.view(x.size(0), -1))  # type: ignore[no-any-return]


class SharedModule(nn.Module):
    """One convolution used twice, two heads on one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.shared = nn.Conv2d(12, 12, 3, padding=1)
        self.coarse = nn.Linear(12, 4)
        self.fine = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Coarse (batch, 4) and fine (batch, 10) logits."""
        x = F.relu(self.stem(x))
        x = F.relu(self.shared(F.relu(self.shared(x)))).mean((2, 3))
        return self.coarse(x), self.fine(x)


class ChannelShuffle(nn.Module):
    """Grouped 1x1 convolutions with a shuffle between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first = nn.Conv2d(16, 24, 1, groups=2)
        self.second = nn.Conv2d(24, 16, 1, groups=2)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = F.relu(self.first(F.relu(self.stem(x))))
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(batch, -1, height, width)
        return self.head(F.relu(self.second(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """A U-Net: down, up, and a concatenation across."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(3, 10, 3, padding=1)
        self.down2 = nn.Conv2d(10, 16, 3, padding=1)
        self.middle = nn.Conv2d(16, 22, 3, padding=1)
        self.up = nn.ConvTranspose2d(22, 14, 2, stride=2)
        self.join = nn.Conv2d(14 + 16, 12, 3, padding=1)
        self.last = nn.Conv2d(12 + 10, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """A map of logits (batch, 2, height, width)."""
        a = F.relu(self.down1(x))
        b = F.relu(self.down2(F.max_pool2d(a, 2)))
        c = self.up(F.relu(self.middle(F.max_pool2d(b, 2))))
        d = F.relu(self.join(torch.cat([c, b], 1)))
        d = F.interpolate(d, scale_factor=2.0, mode="nearest")
        return self.head(F.relu(self.last(torch.cat([d, a], 1))))  # type: ignore[no-any-return]


class PaddedShortcut(nn.Module):
    """A shortcut that widens by zero channels and strides by slicing."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.conv = nn.Conv2d(12, 18, 3, 2, 1)
        self.head = nn.Linear(18, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = F.relu(self.stem(x))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3))
        return self.head(F.relu(self.conv(x) + shortcut).mean((2, 3)))  # type: ignore[no-any-return]


class PartialShortcut(nn.Module):
    """A shortcut added in place to the first channels only; a border is written through a view."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.conv = nn.Conv2d(12, 20, 3, padding=1)
        self.norm = nn.BatchNorm2d(20)
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = self.stem(x)
        out = self.norm(self.conv(x))
        out[:, :12] += x
        out[:, :, 0].fill_(0.5)
        return self.head(F.relu_(out).mean((2, 3)))  # type: ignore[no-any-return]


class SplitChannels(nn.Module):
    """Channels cut in two; one half is transformed, the halves are joined again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 20, 3, padding=1)
        self.branch = nn.Conv2d(10, 10, 3, padding=1)
        self.last = nn.Conv2d(20, 14, 1)
        self.gate = nn.Conv2d(14, 24, 1)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        left, right = self.stem(x).chunk(2, dim=1)
        x = F.relu(self.last(torch.cat([left, F.relu(self.branch(right))], 1)))
        return self.head(F.glu(self.gate(x), 1).mean((2, 3)))  # type: ignore[no-any-return]


class GroupNormed(nn.Module):
    """Group norms, PReLU and pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.slope = nn.PReLU(16)
        self.widen = nn.Conv2d(16, 24, 3, padding=1)
        self.head = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """An image (batch, 3, 2 height, 2 width)."""
        x = self.slope(self.norm(self.stem(x)))
        return self.head(F.pixel_shuffle(self.widen(x), 2))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention from one packed projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape (batch, tokens, width)."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))  # type: ignore[no-any-return]


class PatchTransformer(nn.Module):
    """A small vision transformer with a class token and learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.positions = nn.Parameter(torch.randn(1, 5, 24))
        self.norms = nn.ModuleList(nn.LayerNorm(24) for _ in range(4))
        self.attention = nn.ModuleList(Attention(24, 4) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(24, 40) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(40, 24) for _ in range(2))
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.size(0), -1, -1), x], 1) + self.positions
        for i in range(2):
            x = x + self.attention[i](self.norms[2 * i](x))
            x = x + self.down[i](F.gelu(self.up[i](self.norms[2 * i + 1](x))))
        return self.head(x[:, 0])  # type: ignore[no-any-return]


class TiedLanguageModel(nn.Module):
    """Embedding tied to the output layer, causal attention by matmul and softmax, a gated feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(31, 16)
        self.query, self.key, self.value = (nn.Linear(16, 16, bias=False) for _ in range(3))
        self.out = nn.Linear(16, 16, bias=False)
        self.gate, self.up = nn.Linear(16, 28, bias=False), nn.Linear(16, 28, bias=False)
        self.down = nn.Linear(28, 16, bias=False)
        self.norm = nn.RMSNorm(16)
        self.head = nn.Linear(16, 31, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (batch, tokens, 31)."""
        x = self.embed(ids)
        batch, tokens, _ = x.shape
        q, k, v = (f(x).view(batch, tokens, 2, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / 8**0.5
        causal = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).tril()
        weights = scores.masked_fill(~causal, float("-inf")).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, -1))
        x = x + self.down(F.silu(self.gate(x)) * self.up(x))
        return self.head(self.norm(x))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Learned queries attend to tokens through torch's own multi-head attention and its packed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 3, 16))
        self.tokens = nn.Linear(8, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.up = nn.Linear(16, 22)
        self.head = nn.Linear(22 * 3, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        tokens = self.tokens(x)
        queries = self.queries.expand(x.size(0), -1, -1)
        mixed, _ = self.attention(queries, tokens, tokens, need_weights=False)
        return self.head(F.relu(self.up(mixed)).flatten(1))  # type: ignore[no-any-return]


class StandardisedWeights(nn.Module):
    """Convolutions whose weights are computed: weight norm, and a scale per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 12, 3, padding=1))
        self.conv = nn.Conv2d(12, 18, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(18, 1, 1, 1))
        self.last = nn.Conv2d(18, 14, 1)
        self.head = nn.Linear(14, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = F.relu(self.stem(x))
        x = F.relu(F.conv2d(x, self.conv.weight * self.scale, self.conv.bias, padding=1))
        return self.head(F.relu(self.last(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """An LSTM of two layers over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 14)
        self.lstm = nn.LSTM(14, 12, num_layers=2, batch_first=True)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        out, _ = self.lstm(self.project(x))
        return self.head(out[:, -1])  # type: ignore[no-any-return]


class TwoInputs(nn.Module):
    """Two input tensors, a dictionary of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 12, 3, padding=1)
        self.vector = nn.Linear(5, 12)
        self.head = nn.Linear(12, 10)
        self.value = nn.Linear(12, 1)

    def forward(self, image: Tensor, vector: Tensor) -> dict[str, Tensor]:
        """``logits`` (batch, 10) and ``value`` (batch, 1)."""
        x = F.relu(self.image(image).mean((2, 3)) * self.vector(vector))
        return {"logits": self.head(x), "value": self.value(x)}


def _image(size: int = 8) -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, size, size),)


ARCHITECTURES: Mapping[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Any, ...]]]] = MappingProxyType(
    {
        "perceptron": (Perceptron, _image),
        "plain convolutions": (PlainConvolutions, _image),
        "residual": (Residual, _image),
        "mobile blocks": (MobileBlocks, lambda: _image(16)),
        "dense concat": (DenseConcat, _image),
        "grouped convolutions": (GroupedConvolutions, _image),
        "flatten head": (FlattenHead, _image),
        "shared module": (SharedModule, _image),
        "channel shuffle": (ChannelShuffle, _image),
        "u-net": (Encoder, _image),
        "padded shortcut": (PaddedShortcut, _image),
        "partial shortcut": (PartialShortcut, _image),
        "split channels": (SplitChannels, _image),
        "group normed": (GroupNormed, _image),
        "patch transformer": (PatchTransformer, _image),
        "tied language model": (TiedLanguageModel, lambda: (torch.randint(0, 31, (2, 7)),)),
        "cross attention": (CrossAttention, lambda: (torch.randn(2, 5, 8),)),
        "standardised weights": (StandardisedWeights, _image),
        "recurrent": (Recurrent, lambda: (torch.randn(2, 6, 8),)),
        "two inputs": (TwoInputs, lambda: (torch.randn(2, 3, 8, 8), torch.randn(2, 5))),
    }
)
"""Model class and example inputs by the name of the structure."""


def build(name: str, seed: int = 0) -> tuple[nn.Module, tuple[Any, ...]]:
    """A model of :data:`ARCHITECTURES` in training mode, its norms scrambled, and example inputs."""
    torch.manual_seed(seed)
    make, inputs = ARCHITECTURES[name]
    model = make()
    scramble_norms(model)
    return model, inputs()


def scramble_norms(model: nn.Module) -> None:
    """Give every norm scales, shifts and statistics that differ by channel, as after training."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.uniform_(0.5, 1.5)
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is not None:
            module.running_mean.normal_()
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 2.0)
