"""Kernels of transformers: products, norms and moves with the right shapes, and FLOPs that equal PyTorch's own count."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.cost import cost
from nasc.graph import Kernel, trace
from nasc.testing.architectures import ARCHITECTURES, build
from nasc.testing.network import counted_macs, random_kept

from .test_lowering import kinds, lowered


def of_kind(kernels: tuple[Kernel, ...], kind: str) -> list[dict[str, int]]:
    return [dict(kernel.shape().sizes) for kernel in kernels if kernel.kind == kind]


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "recurrent"])
def test_multiply_adds_equal_pytorchs_count_dense_and_sliced(name: str) -> None:
    network = trace(*build(name))
    assert not [kernel.name for kernel in network.kernels if kernel.kind == "unsupported"]
    for kept in ({}, random_kept(network, seed=1), random_kept(network, maskable=False, seed=2)):
        sizes = {dim: int(indices.numel()) for dim, indices in kept.items()}
        assert cost(network, sizes) == counted_macs(network, kept)


def test_attention_is_two_products_a_softmax_and_what_moves_the_heads() -> None:
    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(8, 24)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).view(x.size(0), -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    kernels = lowered(SelfAttention(), 5, 8)
    assert of_kind(kernels, "matmul") == [
        {"batch": 2, "m": 5, "k": 4, "n": 5},
        {"batch": 2, "m": 5, "k": 5, "n": 4},
    ]
    assert of_kind(kernels, "softmax") == [{"rows": 10, "channels": 5}]
    assert "unsupported" not in kinds(kernels)


def test_grouped_queries_are_rows_of_their_key_head() -> None:
    def attend(x: Tensor) -> Tensor:
        q, kv = x[:, :, :24], x[:, :, 24:]
        q = q.view(x.size(0), 5, 6, 4).transpose(1, 2)
        kv = kv.view(x.size(0), 5, 2, 4).transpose(1, 2)
        return F.scaled_dot_product_attention(q, kv, kv, enable_gqa=True)

    kernels = lowered(attend, 5, 32)
    assert of_kind(kernels, "matmul")[0] == {"batch": 2, "m": 15, "k": 4, "n": 5}
    assert of_kind(kernels, "softmax") == [{"rows": 30, "channels": 5}]


def test_einsum_is_a_product_of_its_two_operands() -> None:
    kernels = lowered(lambda x: torch.einsum("bihd,bjhd->bhij", x, x * 2), 5, 3, 4)
    assert of_kind(kernels, "matmul") == [{"batch": 3, "m": 5, "k": 4, "n": 5}]


@pytest.mark.parametrize(
    ("norm", "op", "sizes"),
    [
        (nn.LayerNorm(8), "layer", {"rows": 5, "channels": 8}),
        (nn.RMSNorm(8), "rms", {"rows": 5, "channels": 8}),
        (nn.LayerNorm((5, 8)), "layer", {"rows": 1, "channels": 40}),
        (nn.GroupNorm(5, 5), "group", {"rows": 8, "channels": 5}),
    ],
)
def test_a_norm_is_one_kernel_over_rows_and_channels(norm: nn.Module, op: str, sizes: dict[str, int]) -> None:
    (kernel,) = [kernel for kernel in lowered(nn.Sequential(norm), 5, 8) if kernel.kind not in ("free", "move")]
    assert (kernel.kind, kernel.signature["op"], dict(kernel.shape().sizes)) == ("norm", op, sizes)


def test_statistics_of_channels_are_reductions_and_of_positions_are_pools() -> None:
    assert kinds(lowered(lambda x: x.mean(-1, keepdim=True), 5, 8)) == ["reduce"]
    assert kinds(lowered(lambda x: x.mean(1), 5, 8)) == ["global_pool"]
    assert kinds(lowered(lambda x: x.norm(dim=-1), 5, 8)) == ["reduce"]


def test_rows_that_pruning_changes_are_a_size() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.channels, self.tokens, self.head = nn.Linear(4, 8), nn.Linear(5, 6), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.head(self.tokens(self.channels(x).transpose(1, 2)).transpose(1, 2))
            return result

    network = trace(Mixer(), (torch.randn(2, 5, 4),))
    (mixing,) = [kernel for kernel in network.kernels if kernel.kind == "linear_rows"]
    assert dict(mixing.shape({"channels": 3}).sizes) == {"rows": 3, "c_in": 5, "c_out": 6}
    assert mixing.macs({"channels": 3}) == 3 * 5 * 6


def test_a_look_up_names_rows_and_vocabulary() -> None:
    network = trace(nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 2)), (torch.randint(0, 11, (2, 7)),))
    kernel = network.kernels[0]
    assert (kernel.kind, kernel.signature["rows"], kernel.signature["vocabulary"]) == ("embedding", 7, 11)
    assert dict(kernel.shape().sizes) == {"channels": 6}


def test_what_depends_on_shapes_alone_is_no_kernel() -> None:
    def masked(x: Tensor) -> Tensor:
        seen = torch.full_like(x[0], -math.inf).triu(1)
        return x + seen

    assert kinds(lowered(masked, 5, 5)) == ["binary"]


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: x.roll(2, 1), "move"),
        (lambda x: x[:, 1::2], "move"),
        (lambda x: x[:, 2], "move"),
        (lambda x: x.unsqueeze(1).expand(-1, 3, -1, -1), "move"),
        (lambda x: torch.stack([x, x * 2], 2), "concat"),
        (lambda x: x.clamp(-1.0, 2.0), "binary"),
        (lambda x: x**3, "unary"),
        (lambda x: torch.addcmul(x, x, x + 1), "binary"),
        (F.softplus, "unary"),
        (F.mish, "unary"),
    ],
)
def test_more_operators_have_kernels(function: object, kind: str) -> None:
    found = kinds(lowered(function, 6, 8))  # type: ignore[arg-type]
    assert "unsupported" not in found
    assert kind in found
