"""Transformers as LiteRT files: their outputs equal PyTorch's, kernel by kernel and as whole models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.exporters.litert.exporter import LiteRTExporter
from nasc.exporters.litert.program import write_network
from nasc.graph import trace
from nasc.testing.architectures import build


def difference(model: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> float:
    """Largest difference between the file and the model, relative to the largest output; one sample."""
    model.eval()
    network = trace(model, inputs)
    path = folder / "model.tflite"
    path.write_bytes(write_network(network))
    exporter = LiteRTExporter()
    one = tuple(x[:1] for x in inputs)
    (got,) = exporter.run(exporter.describe(path), [x.numpy() for x in one])
    with torch.no_grad():
        expected = model(*one).numpy()
    return float(np.abs(got - expected).max() / np.abs(expected).max())


TRANSFORMERS = [
    "patch transformer",
    "tied language model",
    "cross attention",
    "group normed",
    "standardised weights",
    "partial shortcut",
    "split channels",
]


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformers_file_computes_what_the_model_does(name: str, tmp_path: Path) -> None:
    model, inputs = build(name)
    assert difference(model, inputs, tmp_path) < 1e-5


class Attention(nn.Module):
    """Attention of some kind over 7 tokens of 24 channels."""

    def __init__(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor], queries: int = 6, keys: int = 6) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(24, 4 * queries), nn.Linear(24, 4 * keys), nn.Linear(24, 4 * keys)
        self.out = nn.Linear(4 * queries, 5)
        self.attend = attend

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (one(x).view(x.size(0), x.size(1), -1, 4).transpose(1, 2) for one in (self.q, self.k, self.v))
        y = self.attend(q, k, v)
        result: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return result


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1) / 2.0).softmax(-1) @ v


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1)
    return torch.einsum("bhij,bhjd->bhid", weights, v)


def linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.softmax(-1) @ (k.softmax(-2).transpose(-2, -1) @ v)


def hidden(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    seen = torch.ones(7, 7, dtype=torch.bool).tril()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def biased(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.linspace(-1, 1, 49).view(7, 7), scale=0.3)


ATTENTIONS = {
    "by hand": (by_hand, 6, 6),
    "by einsum": (by_einsum, 6, 6),
    "linear": (linear, 6, 6),
    "one call": (F.scaled_dot_product_attention, 6, 6),
    "causal": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), 6, 6),
    "hidden": (hidden, 6, 6),
    "biased": (biased, 6, 6),
    "grouped": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), 6, 2),
    "grouped and hidden": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        6,
        3,
    ),
}


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention_of_every_kind_is_exact(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    attend, queries, keys = ATTENTIONS[kind]
    assert difference(Attention(attend, queries, keys), (torch.randn(2, 7, 24),), tmp_path) < 1e-5


def test_multihead_attention_is_exact_in_either_order_of_axes(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(24, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.attention(x, x, x, need_weights=False)[0]
            return result

    torch.manual_seed(0)
    assert difference(Own(), (torch.randn(2, 7, 24),), tmp_path) < 1e-5


class Applied(nn.Module):
    """A function of a tensor, and layers it uses."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.layers)


FUNCTIONS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "roll": (Applied(lambda x: x.roll((1, -2), (1, 2)) * 2), (6, 8)),
    "every second": (Applied(lambda x: x[:, 1::2] + 1), (6, 8)),
    "one of many": (Applied(lambda x: x[:, -2] * 3), (6, 8)),
    "unbind": (Applied(lambda x: (lambda a, b, c: a * b - c)(*x.unbind(1))), (3, 8)),
    "stack": (Applied(lambda x: torch.stack([x, x * 2, x + 1], 2)), (4, 5)),
    "stack last": (Applied(lambda x: torch.stack([x, x * 2], -1)), (4, 5)),
    "expand": (Applied(lambda x: x.unsqueeze(2).expand(-1, -1, 3, -1) + 1), (4, 5)),
    "repeat": (Applied(lambda x: x.repeat(1, 2, 3) * 1.5), (4, 5)),
    "clamp": (Applied(lambda x: x.clamp(-0.5, 0.25)), (4, 5)),
    "clamp below": (Applied(lambda x: x.clamp_min(0.1)), (4, 5)),
    "power": (Applied(lambda x: x.abs() ** 1.7), (4, 5)),
    "mean of channels": (Applied(lambda x: x - x.mean(-1, keepdim=True)), (4, 5)),
    "mean of tokens": (Applied(lambda x: x.mean(1)), (4, 5)),
    "length": (Applied(lambda x: F.normalize(x, dim=1)), (4, 5)),
    "group norm": (Applied(lambda x, n: n(x), n=nn.GroupNorm(2, 6)), (6, 4, 5)),
    "instance norm": (Applied(lambda x, n: n(x), n=nn.InstanceNorm2d(6, affine=True)), (6, 4, 5)),
    "layer norm of images": (Applied(lambda x, n: n(x), n=nn.LayerNorm((4, 5))), (6, 4, 5)),
    "line": (Applied(lambda x, c: c(x), c=nn.Conv1d(6, 4, 3, stride=2, padding=1)), (6, 9)),
    "grouped line": (Applied(lambda x, c: c(x), c=nn.Conv1d(6, 4, 3, groups=2)), (6, 9)),
    "norm of rows": (Applied(lambda x, n: n(x.flatten(0, 1)).view_as(x), n=nn.BatchNorm1d(6)), (4, 6)),
    "slopes": (Applied(lambda x, p: p(x), p=nn.PReLU(6)), (6, 4, 5)),
    "add product": (Applied(lambda x: torch.addcmul(x, x + 1, x * 2)), (4, 5)),
    "filled": (Applied(lambda x: x.masked_fill(torch.ones(5, 5).triu(1) > 0, -2.0)), (5, 5)),
    "chosen": (Applied(lambda x: torch.where(torch.ones(5, 5).triu(1) > 0, x, 0.5)), (5, 5)),
    "pixel shuffle": (Applied(lambda x: F.pixel_shuffle(x * 2, 2)), (12, 3, 4)),
    "pixel unshuffle": (Applied(lambda x: F.pixel_unshuffle(x * 2, 2)), (3, 4, 6)),
    "constant factor": (Applied(lambda x: x @ torch.linspace(-1, 1, 24).view(1, 4, 6)), (5, 4)),
    "other ranks": (Applied(lambda x: x * x.mean((1, 2))[:, None, None] + x[:, 0]), (4, 4)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_more_operators_are_exact(name: str, tmp_path: Path) -> None:
    model, shape = FUNCTIONS[name]
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
    assert difference(model, (torch.randn(1, *shape),), tmp_path) < 1e-5


def test_whole_numbers_are_fed_as_such(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(11, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    assert difference(model, (torch.randint(0, 11, (1, 7)),), tmp_path) < 1e-5
