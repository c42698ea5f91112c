"""Every operator rule, between a layer that writes a width and a layer that reads it: sliced equals masked."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.graph import trace
from nasc.graph.rules._base import registered
from nasc.testing.network import graph_difference, module_difference, random_inputs, random_kept


@dataclass(frozen=True)
class Case:
    """A layer that writes 12 channels, an operator, and a layer that reads its result.

    Args:
        operator: From the written tensor to the read one.
        read: Channels the last layer reads.
        free: Sizes of the dims that must stay free; None where only the laws are checked.
        maskable: All of them are maskable.
        writer: The first layer.
        shape: Shape of one input sample.
    """

    operator: Callable[[Tensor], Tensor]
    read: int = 12
    free: tuple[int, ...] | None = (12,)
    maskable: bool = True
    writer: Callable[[], nn.Module] = lambda: nn.Conv2d(3, 12, 3, padding=1)
    shape: tuple[int, ...] = (3, 6, 6)


def linear() -> nn.Module:
    return nn.Linear(5, 12)


def wide(channels: int) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(3, channels, 3, padding=1)


VECTOR = {"writer": linear, "shape": (5,)}
SEQUENCE = {"writer": linear, "shape": (4, 5)}

POSITIONS = {
    "max_pool2d": Case(lambda x: F.max_pool2d(x, 2)),
    "max_pool2d with indices": Case(lambda x: F.max_pool2d(x, 2, return_indices=True)[0]),
    "avg_pool2d": Case(lambda x: F.avg_pool2d(x, 3, 1, 1)),
    "adaptive_max_pool2d": Case(lambda x: F.adaptive_max_pool2d(x, 2)),
    "lp_pool2d": Case(lambda x: F.lp_pool2d(x.abs() + 1, 2.0, 2)),
    "nearest": Case(lambda x: F.interpolate(x, scale_factor=2.0)),
    "bilinear": Case(lambda x: F.interpolate(x, size=(9, 9), mode="bilinear")),
    "bicubic": Case(lambda x: F.interpolate(x, size=(9, 9), mode="bicubic", align_corners=True)),
    "reflection pad": Case(lambda x: F.pad(x, (1, 2, 1, 2), mode="reflect")),
    "replication pad": Case(lambda x: F.pad(x, (1, 2, 1, 2), mode="replicate")),
    "constant pad": Case(lambda x: F.pad(x, (1, 2, 1, 2), value=0.5)),
    "crop": Case(lambda x: x[:, :, 1:-1, 2:5]),
    "flip positions": Case(lambda x: x.flip(-1)),
    "roll positions": Case(lambda x: x.roll((1, 2), (2, 3))),
    "unfold and fold": Case(lambda x: F.fold(F.unfold(x, 3, padding=1), (6, 6), 3, padding=1)),
    "windows": Case(lambda x: x.unfold(2, 2, 2).mean(-1)),
    "grid sample": Case(lambda x: F.grid_sample(x, torch.zeros(x.shape[0], 4, 4, 2), align_corners=False)),
}
CHANNELS = {
    "pixel shuffle": Case(lambda x: F.pixel_shuffle(x, 2), 3, (3,)),
    "pixel unshuffle": Case(lambda x: F.pixel_unshuffle(x, 2), 48),
    "channel shuffle": Case(lambda x: F.channel_shuffle(x, 3), 12, (3, 4)),
    "pad channels": Case(lambda x: F.pad(x, (0, 0, 0, 0, 2, 3)), 17),
    "instance norm": Case(lambda x: F.instance_norm(x)),
    "batch statistics": Case(lambda x: F.batch_norm(x, None, None, training=True)),
    "group norm": Case(lambda x: F.group_norm(x, 3), 12, (3, 4), False),
    "layer norm": Case(lambda x: F.layer_norm(x, (12,)), **VECTOR, maskable=False),
    "rms norm": Case(lambda x: F.rms_norm(x, (12,)), **VECTOR, maskable=False),
    "local response norm": Case(lambda x: F.local_response_norm(x, 3), free=()),
    "softmax over channels": Case(lambda x: x.softmax(1), maskable=False),
    "log softmax over channels": Case(lambda x: x.log_softmax(-1), **VECTOR, maskable=False),
    "softmax over positions": Case(lambda x: x.flatten(2).softmax(-1).view(x.shape)),
    "glu": Case(lambda x: F.glu(x, 1), 6, (6,)),
    "chunk": Case(lambda x: torch.cat([part.relu() for part in x.chunk(3, 1)], 1), 12, (4, 4, 4)),
    "split with sizes": Case(lambda x: torch.cat(x.split((5, 3, 4), 1)[::-1], 1), 12, (5, 3, 4)),
    "tensor split": Case(lambda x: x.tensor_split(2, 1)[1] * 2, 6, (6, 6)),
    "narrow": Case(lambda x: x.narrow(1, 2, 4), 4, (2, 4, 6)),
    "strided channels": Case(lambda x: x[:, ::2], 6, (6,)),
    "halves in turn": Case(lambda x: x[:, ::2] + x[:, 1::2], 6, (6,)),
    "repeat": Case(lambda x: x.repeat(1, 2, 1, 1), 24, None),
    "repeat interleave": Case(lambda x: x.repeat_interleave(2, 1), 24, None),
    "flip channels": Case(lambda x: x.flip(1), free=()),
    "select a channel": Case(lambda x: x * x[:, 3:4], 12, None),
    "index channels": Case(lambda x: x[:, torch.tensor([2, 0, 1])], 3, ()),
    "index select": Case(lambda x: x.index_select(1, torch.tensor([2, 0, 1])), 3, ()),
    "gather": Case(
        lambda x: x.gather(1, torch.zeros(1, 2, 6, 6, dtype=torch.long).expand(x.shape[0], 2, 6, 6)), 2, (2,)
    ),
    "cumulative sum": Case(lambda x: x.cumsum(1), free=()),
    "argmax": Case(lambda x: x * x.argmax(1, keepdim=True), free=()),
    "unbind": Case(lambda x: torch.stack(x.unbind(1)[:4], 1), 4, ()),
    "swap twice": Case(lambda x: x.swapaxes(1, 3).movedim((1, 2), (2, 3)).permute(0, 1, 3, 2)),
    "unflatten and flatten": Case(lambda x: x.unflatten(1, (3, 4)).flatten(1, 2), 12, (3, 4)),
    "heads in the other order": Case(lambda x: x.unflatten(1, (3, 4)).transpose(1, 2).flatten(1, 2), 12, (3, 4)),
    "channels last": Case(lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)),
    "expand": Case(lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 6, 6)),
    "expand as": Case(lambda x: x.amax((2, 3), keepdim=True).expand_as(x)),
    "squeeze": Case(lambda x: x.mean((2, 3), keepdim=True).squeeze()[:, :, None, None]),
}
_PLACES = torch.tensor([1, 4])


def with_zeros(x: Tensor) -> Tensor:
    """Two channels overwritten."""
    x = x.clone()
    x[:, _PLACES] = 0.0
    return x


ORDER = {
    "sort": Case(lambda x: x.sort(1).values, free=()),
    "largest channels": Case(lambda x: x.topk(3, dim=1).values, 3, ()),
    "largest positions": Case(lambda x: x.flatten(2).topk(4, dim=2)[0].mean(2)),
    "second smallest": Case(lambda x: x * x.kthvalue(2, 1, keepdim=True).values, free=()),
    "running maximum": Case(lambda x: x.cummax(1).values, free=()),
    "ranks": Case(lambda x: x * x.argsort(1), free=()),
}
WRITTEN = {
    "channels written by number": Case(with_zeros, free=()),
    "positions added to": Case(lambda x: x.index_add(2, _PLACES, x[:, :, :2])),
    "positions filled": Case(lambda x: x.index_fill(3, _PLACES, 0.5)),
    "positions scattered": Case(
        lambda x: x.scatter(3, torch.zeros(1, 1, 6, 1, dtype=torch.long).expand_as(x[..., :1]), x[..., :1])
    ),
    "channels scattered": Case(lambda x: x.scatter_add(1, torch.zeros_like(x, dtype=torch.long), x), free=()),
    "an empty range written": Case(lambda x: torch.slice_scatter(x, x[:, :0], 1, 0, 0)),
}
SPECTRAL = {
    "fourier over positions": Case(lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 0.5, s=(6, 6))),
    "fourier over channels": Case(lambda x: torch.fft.fft(x, dim=1).real, free=()),
    "pairs as complex": Case(
        lambda x: torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (6, 2))) * (0.5 + 1j)).flatten(-2),
        free=(6,),
        **VECTOR,
    ),
}
REDUCTIONS = {
    "mean of channels": Case(lambda x: x * x.mean(1, keepdim=True), maskable=False),
    "variance of channels": Case(lambda x: x * x.var(1, keepdim=True), maskable=False),
    "deviation and mean": Case(lambda x: x * torch.std_mean(x, 1, keepdim=True)[0], maskable=False),
    "largest channel": Case(lambda x: x * x.amax(1, keepdim=True), maskable=False),
    "largest of two": Case(lambda x: torch.max(x, 0.1 * x)),
    "log of summed exponentials": Case(lambda x: x * x.logsumexp(1, keepdim=True), maskable=False),
    "norm over channels": Case(lambda x: F.normalize(x, dim=1), maskable=False),
    "sum of channels": Case(lambda x: x + x.sum(1, keepdim=True), maskable=False),
}
POINTWISE = {
    "clamp": Case(lambda x: x.clamp(-1, 1)),
    "where": Case(lambda x: torch.where(x > 0, x, 0.1 * x)),
    "masked fill": Case(lambda x: x.masked_fill(x < 0, 0.5)),
    "power and logarithm": Case(lambda x: (x.abs() + 1).log() ** 2),
    "gelu and mish": Case(lambda x: F.gelu(x) + F.mish(x)),
    "hard functions": Case(lambda x: F.hardsigmoid(x) * F.hardtanh(x) + F.relu6(x)),
    "clone and cast": Case(lambda x: x.clone().double().float()),
    "dropout": Case(lambda x: F.dropout(x, 0.5, training=False)),
    "joined with zeros": Case(lambda x: torch.cat([x, torch.zeros_like(x)], 1), 24),
    "checkerboard": Case(lambda x: x * (torch.arange(6) % 2).view(1, 1, 6, 1)),
    "a constant a channel": Case(lambda x: x * torch.linspace(0, 1, 12).view(12, 1, 1), free=()),
    "outer sum": Case(lambda x: (x[:, :, None] + x[:, None]).flatten(1), 144, None, **VECTOR, maskable=False),
}
PRODUCTS = {
    "gram matrix": Case(lambda x: (x.flatten(2) @ x.flatten(2).transpose(1, 2)).mean(2), 12, (12,), False),
    "bmm": Case(lambda x: torch.bmm(x, x.transpose(1, 2).softmax(-1) @ x), **SEQUENCE, maskable=False),
    "baddbmm": Case(lambda x: torch.baddbmm(x, x @ x.transpose(1, 2), x), **SEQUENCE, maskable=False),
    "einsum of activations": Case(lambda x: torch.einsum("bnc,bmc->bnm", x, x) @ x, **SEQUENCE, maskable=False),
    "einsum kept axes": Case(lambda x: torch.einsum("bnc,bnc->bnc", x, x), **SEQUENCE),
    "attention": Case(lambda x: F.scaled_dot_product_attention(x, x, x), **SEQUENCE, maskable=False),
    "causal attention": Case(
        lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.3), **SEQUENCE, maskable=False
    ),
}
CASES = {**POSITIONS, **CHANNELS, **ORDER, **WRITTEN, **SPECTRAL, **REDUCTIONS, **POINTWISE, **PRODUCTS}


class Sandwich(nn.Module):
    """Writer, operator, reader."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.writer = case.writer()
        self.operator = case.operator
        image = len(case.shape) == 3
        self.reader = nn.Conv2d(case.read, 4, 1) if image else nn.Linear(case.read, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.operator(self.writer(x))
        if isinstance(self.reader, nn.Conv2d) and y.ndim == 2:
            y = y[..., None, None]
        return self.reader(y)


@pytest.mark.parametrize("name", list(CASES))
def test_a_width_seen_through_an_operator_slices_as_it_masks(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    network = trace(Sandwich(case), (torch.randn(2, *case.shape),))
    assert network.unsupported == {}
    assert network.batch is not None
    free = {key: dim.size for key, dim in network.dims.items() if dim.frozen is None}
    if case.free is not None:
        assert sorted(free.values()) == sorted(case.free)
        assert all(network.dims[key].maskable for key in free) == (case.maskable or not free)  # by zeros alone
        assert set(network.maskable) == set(free)  # counting live entries
    kept = random_kept(network, maskable=False)
    assert graph_difference(network, kept, random_inputs(network, network.batch)) < 1e-5
    assert module_difference(network, random_kept(network), random_inputs(network, 3)) < 1e-5


LAYERS = {
    "conv1d": (nn.Sequential(nn.Conv1d(5, 12, 3), nn.ReLU(), nn.Conv1d(12, 4, 3)), (5, 9)),
    "conv3d": (nn.Sequential(nn.Conv3d(2, 12, 2), nn.BatchNorm3d(12), nn.Conv3d(12, 4, 2)), (2, 4, 4, 4)),
    "conv without padding": (nn.Sequential(nn.Conv2d(3, 12, 3), nn.Conv2d(12, 4, 3, dilation=2)), (3, 9, 9)),
    "depthwise multiplier": (
        nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 24, 3, groups=12), nn.Conv2d(24, 4, 1)),
        (3, 6, 6),
    ),
    "grouped": (nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 18, 3, groups=3), nn.Conv2d(18, 4, 1)), (3, 6, 6)),
    "transposed": (
        nn.Sequential(nn.Conv2d(3, 12, 1), nn.ConvTranspose2d(12, 10, 2, 2), nn.Conv2d(10, 4, 1)),
        (3, 6, 6),
    ),
    "transposed grouped": (
        nn.Sequential(nn.Conv2d(3, 12, 1), nn.ConvTranspose2d(12, 9, 2, 2, groups=3), nn.Conv2d(9, 4, 1)),
        (3, 6, 6),
    ),
    "prelu per channel": (nn.Sequential(nn.Conv2d(3, 12, 1), nn.PReLU(12), nn.Conv2d(12, 4, 1)), (3, 6, 6)),
    "prelu for all": (nn.Sequential(nn.Conv2d(3, 12, 1), nn.PReLU(), nn.Conv2d(12, 4, 1)), (3, 6, 6)),
    "batch norm of vectors": (nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.Linear(12, 4)), (5,)),
    "instance norm with weights": (
        nn.Sequential(nn.Conv2d(3, 12, 1), nn.InstanceNorm2d(12, affine=True), nn.Conv2d(12, 4, 1)),
        (3, 6, 6),
    ),
    "spectral norm": (
        nn.Sequential(
            nn.Linear(5, 12),
            nn.ReLU(),
            torch.nn.utils.parametrizations.spectral_norm(nn.Linear(12, 8)),
            nn.Linear(8, 4),
        ),
        (5,),
    ),
    "transformer encoder layer": (
        nn.Sequential(nn.Linear(5, 16), nn.TransformerEncoderLayer(16, 4, 24, batch_first=True), nn.Linear(16, 4)),
        (7, 5),
    ),
}


@pytest.mark.parametrize("name", list(LAYERS))
def test_layers_slice_as_they_mask(name: str) -> None:
    model, shape = LAYERS[name]
    torch.manual_seed(0)
    network = trace(model, (torch.randn(2, *shape),))
    assert network.unsupported == {}
    assert network.batch is not None
    kept = random_kept(network, maskable=False)
    assert kept
    assert graph_difference(network, kept, random_inputs(network, network.batch)) < 1e-5
    assert module_difference(network, random_kept(network), random_inputs(network, 3)) < 1e-5


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_slice_as_they_mask(cell: type[nn.RNNBase], bidirectional: bool) -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(5, 9)
            self.cell = cell(9, 12, 2, batch_first=True, bidirectional=bidirectional)
            self.head = nn.Linear(24 if bidirectional else 12, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cell(self.embed(x))[0])

    network = trace(Tagger(), (torch.randn(2, 6, 5),))
    assert network.unsupported == {}
    assert {dim.size for dim in network.maskable.values()} == {9, 12}
    assert module_difference(network, random_kept(network), random_inputs(network, 3)) < 1e-5


def test_an_axis_that_shrinks_to_one_entry_is_not_squeezed_away() -> None:
    network = trace(Sandwich(CASES["squeeze"]), (torch.randn(2, 3, 6, 6),))
    kept = {"writer": torch.tensor([5])}
    assert module_difference(network, kept, random_inputs(network, 3)) < 1e-5


def test_every_rule_names_an_operator_that_exists() -> None:
    assert [name for name in registered() if not hasattr(torch.ops.aten, name)] == []
