"""Networks with norms, heads and blocks, small enough to build a member of by hand."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from nasc.graph import trace
from nasc.graph.network import Network


class Block(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, hidden: int, heads: int, head_dim: int, ffn: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.q = nn.Linear(hidden, heads * head_dim)
        self.k = nn.Linear(hidden, heads * head_dim)
        self.v = nn.Linear(hidden, heads * head_dim)
        self.o = nn.Linear(heads * head_dim, hidden)
        self.fc1, self.fc2 = nn.Linear(hidden, ffn), nn.Linear(ffn, hidden)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        y = self.norm1(x)
        q, k, v = (
            layer(y).view(batch, tokens, self.heads, self.head_dim).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.o(y.transpose(1, 2).reshape(batch, tokens, self.heads * self.head_dim))
        return x + self.fc2(torch.relu(self.fc1(self.norm2(x))))


class Encoder(nn.Module):
    """Embedding, blocks, norm, mean over tokens, classifier."""

    def __init__(self, hidden: int = 16, heads: int = 4, head_dim: int = 4, ffn: int = 24, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Linear(5, hidden)
        self.layers = nn.ModuleList([Block(hidden, heads, head_dim, ffn) for _ in range(depth)])
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))


class Stages(nn.Module):
    """A stem and three convolution blocks of growing width, pooled: depth where channels differ."""

    def __init__(self, widths: tuple[int, ...] = (6, 6, 10, 14)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 3, padding=1)
        pairs = itertools.pairwise(widths)
        self.blocks = nn.Sequential(
            *[
                nn.Sequential(
                    nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, b, 1), nn.ReLU()
                )
                for a, b in pairs
            ]
        )
        self.head = nn.Linear(widths[-1], 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(torch.relu(self.stem(x))).mean((2, 3)))


@pytest.fixture
def encoder() -> Network:
    torch.manual_seed(0)
    return trace(Encoder(), (torch.randn(2, 7, 5),))


@pytest.fixture
def stages() -> Network:
    torch.manual_seed(0)
    return trace(Stages(), (torch.randn(2, 1, 8, 8),))
