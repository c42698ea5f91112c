"""Norms, means and attention over masked dims: the untouched module, masked, equals the sliced graph."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.errors import ModelError
from nasc.graph import Network, trace
from nasc.graph.live import live_reductions
from nasc.graph.masking import masked_call
from nasc.graph.slicing import slice_network
from nasc.testing.architectures import build
from nasc.testing.network import masks, module_difference, random_inputs, random_kept, relative_difference


class Written(nn.Module):
    """A function between two linear layers, so that its channels are a dim that may change."""

    def __init__(self, function: Callable[..., Tensor], width: int = 12, out: int | None = None, **layers: nn.Module):
        super().__init__()
        torch.manual_seed(0)
        self.write, self.read = nn.Linear(5, width), nn.Linear(out or width, 3)
        self.function, self.layers = function, nn.ModuleDict(layers)
        for layer in layers.values():
            for parameter in layer.parameters():
                nn.init.normal_(parameter, 1.0, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.read(self.function(self.write(x), **self.layers))
        return result


def traced(function: Callable[..., Tensor], **layers: nn.Module) -> Network:
    return trace(Written(function, **layers).eval(), (torch.randn(2, 7, 5),))


class RootMeanSquare(nn.Module):
    """As language models write it: no function of PyTorch's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


STATISTICS: dict[str, Callable[[], Network]] = {
    "layer norm": lambda: traced(lambda x, n: n(x), n=nn.LayerNorm(12)),
    "layer norm without parameters": lambda: traced(lambda x: F.layer_norm(x, (12,))),
    "rms norm": lambda: traced(lambda x, n: n(x), n=nn.RMSNorm(12)),
    "rms norm by hand": lambda: traced(lambda x, n: n(x), n=RootMeanSquare(12)),
    "group norm": lambda: traced(lambda x, n: n(x.transpose(1, 2)).transpose(1, 2), n=nn.GroupNorm(3, 12)),
    "mean": lambda: traced(lambda x: x * torch.sigmoid(x.mean(-1, keepdim=True))),
    "variance": lambda: traced(lambda x: x / x.var(-1, keepdim=True)),
    "deviation without correction": lambda: traced(lambda x: x / x.std(-1, unbiased=False, keepdim=True)),
    "variance and mean": lambda: traced(lambda x: (x - (vm := torch.var_mean(x, -1, keepdim=True))[1]) / vm[0]),
    "sum": lambda: traced(lambda x: x / (1 + x.square().sum(-1, keepdim=True))),
    "softmax": lambda: traced(lambda x: x.softmax(-1)),
    "largest": lambda: traced(lambda x: x - x.amax(-1, keepdim=True)),
    "length": lambda: traced(lambda x: F.normalize(x, dim=-1)),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_of_a_masked_dim_are_those_of_its_live_entries(name: str) -> None:
    network = STATISTICS[name]()
    assert network.live, {dim: network.dims[dim].reduced for dim in network.dims}
    for seed in (1, 2):
        kept = random_kept(network, seed=seed)
        assert set(kept) >= network.live
        assert module_difference(network, kept, random_inputs(network, 3, seed=seed)) < 1e-5


@pytest.mark.parametrize("name", ["patch transformer", "tied language model", "group normed", "cross attention"])
def test_transformers_are_masked_in_stream_heads_head_width_and_hidden_width(name: str) -> None:
    model, inputs = build(name)
    network = trace(model, inputs)
    free = {name for name, dim in network.dims.items() if dim.frozen is None and dim.size > 1}
    assert set(network.maskable) == free
    for seed in (3, 4):
        assert module_difference(network, random_kept(network, seed=seed), random_inputs(network, 4, seed=seed)) < 1e-5


def test_relaxed_masks_equal_gains_folded_into_the_small_model() -> None:
    from nasc.graph import Selection
    from nasc.materialise import materialise, verify

    model, inputs = build("patch transformer")
    network = trace(model.eval(), inputs)
    generator = torch.Generator().manual_seed(5)
    kept = random_kept(network, seed=5)
    gains = {name: 0.2 + torch.rand(network.dims[name].size, generator=generator) for name in kept}
    selection = Selection(kept, gains)
    assert verify(network, selection, materialise(network, selection)) < 1e-5


def test_masks_of_one_change_no_bit() -> None:
    model, inputs = build("patch transformer")
    network = trace(model.eval(), inputs)
    ones = {name: torch.ones(dim.size) for name, dim in network.maskable.items()}
    assert torch.equal(masked_call(network, ones, inputs), model(*inputs))


def test_the_loss_reaches_masks_through_readers_and_agrees_with_differences() -> None:
    network = traced(lambda x, n: n(x), n=nn.LayerNorm(12))
    network.model.double()
    (x,) = (torch.randn(2, 7, 5, dtype=torch.float64),)
    mask = (torch.rand(12, dtype=torch.float64) + 0.5).requires_grad_()
    with torch.no_grad():
        mask[4] = 0.0
    alive = mask.detach() != 0

    def output(live: Tensor) -> Tensor:
        vector = torch.zeros(12, dtype=torch.float64).index_put((torch.nonzero(alive).flatten(),), live)
        result: Tensor = masked_call(network, {"write": vector}, (x,))
        return result.square().sum()

    assert torch.autograd.gradcheck(output, (mask.detach()[alive].requires_grad_(),))


def test_dropped_entries_get_no_gradient_through_a_norm() -> None:
    network = traced(lambda x, n: n(x), n=nn.LayerNorm(12))
    mask = torch.ones(12)
    mask[3] = 0.0
    masked_call(network, {"write": mask}, (torch.randn(2, 7, 5),)).square().sum().backward()
    gradient = network.model.write.weight.grad  # type: ignore[union-attr]
    assert gradient is not None
    assert not gradient[3].any()
    assert gradient[2].any()


def test_a_head_is_as_narrow_as_what_writes_its_queries_or_keys() -> None:
    model, inputs = build("patch transformer")
    network = trace(model, inputs)
    contracted = [name for name in network.live if "two activations" in (network.dims[name].reduced or "")]
    assert contracted
    written = {name for one in network.written for name in one.only or ()}
    assert set(contracted) <= written


@pytest.mark.parametrize("calls", [0, 2])
def test_a_model_that_takes_another_way_is_refused(calls: int) -> None:
    network = traced(lambda x, n: n(x), n=nn.LayerNorm(12))
    chosen = masks(network, {"write": torch.arange(6)})

    def run() -> None:
        with live_reductions(network, chosen):
            for _ in range(calls):
                F.layer_norm(torch.randn(1, 2, 12), (12,))

    with pytest.raises(ModelError, match=f"number {max(calls, 1)} of layer_norm differs"):
        run()


def test_training_mode_and_nested_modules_are_matched_too() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(6, 16), layer, nn.Linear(16, 3)).train()
    network = trace(model, (torch.randn(2, 5, 6),))
    assert network.live
    kept = random_kept(network, seed=6)
    x = torch.randn(3, 5, 6)
    assert relative_difference(slice_network(network, kept)(x), masked_call(network, masks(network, kept), (x,))) < 1e-5
