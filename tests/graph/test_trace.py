"""What trace finds: the dims a person would name, and nothing frozen without need."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.errors import ModelError, TraceError
from nasc.graph import Network, trace
from nasc.graph.slicing import slice_network, slice_state
from nasc.testing.architectures import ARCHITECTURES, build
from nasc.testing.network import module_difference, random_inputs, random_kept


def free_dims(network: Network) -> dict[str, int]:
    return {name: dim.size for name, dim in network.dims.items() if dim.frozen is None}


def traced(name: str) -> Network:
    return trace(*build(name))


# -- what a knowledgeable person would prune is prunable ----------------------------------------------

EXPECTED = {
    "perceptron": {"first": 24, "second": 14},
    "plain convolutions": {"conv1": 12, "conv2": 18},
    "residual": {
        "stem": 12,
        "layer1.0.conv1": 12,
        "layer1.1.conv1": 12,
        "layer2.0.conv1": 20,
        "layer2.0.conv2": 20,
        "layer2.1.conv1": 20,
    },
    "mobile blocks": {
        "stem": 8,
        "blocks.0.expand": 20,
        "blocks.0.excite.reduce": 6,
        "blocks.1.expand": 24,
        "blocks.1.excite.reduce": 6,
        "blocks.1.project": 14,
        "blocks.2.expand": 30,
        "blocks.2.excite.reduce": 6,
        "last": 32,
    },
    "dense concat": {"stem": 10, "layers.0": 6, "layers.1": 6, "layers.2": 6, "transition": 14},
    "grouped convolutions": {"first:0": 4, "first:1": 4, "grouped": 6, "last": 14},
    "flatten head": {"features.0": 12, "features.3": 16, "classifier.0": 20},
    "shared module": {"stem": 12},
    "channel shuffle": {"stem:0": 2, "stem:1": 8, "first:0": 2, "first:1": 6, "second": 8},
    "u-net": {"down1": 10, "down2": 16, "middle": 22, "up": 14, "join": 12, "last": 8},
    "recurrent": {"project": 14, "lstm": 12},
    "two inputs": {"image": 12},
}


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in ("channel shuffle", "recurrent")])
def test_every_hidden_width_is_a_dim_named_after_its_first_writer(name: str) -> None:
    assert free_dims(traced(name)) == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in ("group normed",)])
def test_in_convolutional_networks_every_free_dim_is_maskable(name: str) -> None:
    network = traced(name)
    assert set(free_dims(network)) == set(network.maskable)


def test_only_the_model_s_own_boundary_is_frozen() -> None:
    reasons = {dim.frozen for dim in traced("mobile blocks").dims.values() if dim.frozen}
    assert reasons == {"is an axis of the model's input", "reaches the model's output"}


def test_attention_has_heads_and_a_width_a_head() -> None:
    network = traced("patch transformer")
    sizes = free_dims(network)
    assert (sizes["attention.0.qkv:1"], sizes["attention.0.qkv:2"]) == (4, 6)
    assert network.dims["attention.0.qkv:1"].maskable
    assert network.dims["attention.0.qkv:2"].reduced == "two activations are contracted over it"
    assert network.dims["up.0"].maskable
    assert network.dims["patches"].reduced == "a layer norm runs over it"


def test_tied_weights_share_their_dims() -> None:
    network = traced("tied language model")
    assert network.parameters["embed.weight"] == network.parameters["head.weight"]
    assert network.dims["embed:0"].frozen
    kept = {"embed:1": torch.arange(0, 16, 2)}
    state = slice_state(network, kept)
    assert state["embed.weight"] is state["head.weight"]


def test_removing_a_channel_touches_every_writer_and_reader_of_a_residual_stream() -> None:
    network = traced("residual")
    kept = {"stem": torch.tensor([j for j in range(12) if j != 5])}
    small = slice_state(network, kept)
    changed = {name for name, tensor in small.items() if tensor.shape != network.model.state_dict()[name].shape}
    writers = {"stem.weight", "stem.bias", "layer1.0.conv2.weight", "layer1.1.conv2.weight"}
    norms = {f"layer1.{i}.bn2.{part}" for i in (0, 1) for part in ("weight", "bias", "running_mean", "running_var")}
    readers = {"layer1.0.conv1.weight", "layer1.1.conv1.weight", "layer2.0.conv1.weight", "layer2.0.shortcut.0.weight"}
    assert changed == writers | norms | readers
    assert {c.parameter for c in network.contractions if network.parameters[c.parameter][1].terms} >= readers


# -- ways of writing the same thing -------------------------------------------------------------------


class Head(nn.Module):
    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.head = nn.Linear(12, 5)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(F.relu(self.conv(x))))


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
        lambda x: F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1),
        lambda x: F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0],
        lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
        lambda x: x.mean([2, 3]),
        lambda x: x.mean(-1).mean(-1),
        lambda x: x.amax((2, 3)),
        lambda x: x.flatten(2).sum(-1),
        lambda x: x.view(x.shape[0], x.shape[1], -1).max(dim=2).values,
        lambda x: F.avg_pool2d(x, x.shape[-1]).reshape(-1, 12),
        lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1]).mean(1),
        lambda x: torch.einsum("bchw->bc", x),
        lambda x: torch.stack([x.mean((2, 3)), x.amax((2, 3))]).sum(0),
        lambda x: torch.cat([x[:, :4], x[:, 4:]], 1).mean((2, 3)),
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)).mean((2, 3)),
        lambda x: (x + torch.zeros(x.shape[0], 12, 1, 1)).mean((2, 3)),
        lambda x: (x * torch.ones(12, 1, 1)).mean((2, 3)),
        lambda x: x.mean((2, 3)) if x.shape[1] == 12 else x.sum((2, 3)),
    ],
)
def test_every_way_to_pool_and_flatten_leaves_the_channels_free(pool: Callable[[Tensor], Tensor]) -> None:
    network = trace(Head(pool), (torch.randn(1, 3, 6, 6),))
    assert sum(free_dims(network).values()) == 12  # two parts where the channels are cut and joined again
    assert set(network.maskable) == set(free_dims(network))
    assert module_difference(network, random_kept(network), random_inputs(network, 4)) < 1e-6


def test_a_batch_written_into_constants_stays_free() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(20, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, ids: Tensor) -> Tensor:
            state = torch.zeros(ids.shape[0], 1, 8)
            x = torch.cat([state, self.embed(ids)], 1)
            picked = x[torch.arange(ids.shape[0]), torch.full((ids.shape[0],), 2)]
            return self.head(picked)

    network = trace(Rows(), (torch.randint(0, 20, (2, 4)),))
    assert free_dims(network) == {"embed": 8}
    assert module_difference(network, random_kept(network), random_inputs(network, 7)) < 1e-6


def test_a_model_that_fixes_its_batch_is_traced_at_that_batch_alone() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 9), nn.Linear(9, 3)

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[0] != 4:
                raise ValueError("four samples, please")
            return self.last(self.first(x))

    network = trace(Fixed(), (torch.randn(4, 6),))
    assert network.batch is None
    assert free_dims(network) == {"first": 9}
    assert module_difference(network, random_kept(network), random_inputs(network, 4)) < 1e-6


def test_writing_through_a_view_is_seen() -> None:
    class Through(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 12, 3), nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            x[:, :, 0].zero_()
            return self.head(x.mean((2, 3)))

    network = trace(Through(), (torch.randn(2, 3, 6, 6),))
    assert free_dims(network) == {"conv": 12}
    assert module_difference(network, random_kept(network), random_inputs(network, 3)) < 1e-6


def test_an_operator_without_a_rule_freezes_what_it_touches_and_is_reported() -> None:
    class Renormed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(6, 9), nn.Linear(9, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.second(self.first(x).renorm(2, 0, 1.0)))

    network = trace(Renormed(), (torch.randn(2, 6),))
    assert network.dims["first"].frozen == "operator aten.renorm has no rule"
    assert network.unsupported == {"operator aten.renorm has no rule": 1}
    assert free_dims(network) == {"second": 8}
    assert module_difference(network, random_kept(network), random_inputs(network, 3)) < 1e-6


def test_an_unknown_operator_that_counts_on_the_batch_size_keeps_the_batch_of_the_example() -> None:
    class Paired(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(6, 9), nn.Linear(9, 3)

        def forward(self, x: Tensor) -> Tensor:
            distances = torch.cdist(x, x)  # samples by samples
            weights = torch.triu_indices(x.shape[0], x.shape[0], 1)
            return self.head(self.first(x)) * distances[weights[0], weights[1]].mean()

    inputs = (torch.randn(4, 6),)
    network = trace(Paired(), inputs)
    assert network.unsupported
    assert network.batch is None
    assert module_difference(network, random_kept(network), inputs) < 1e-6


def test_a_sum_over_channels_is_masked_by_counting_live_entries() -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.gate, self.head = nn.Linear(6, 9), nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.gate(x) * self.first(x).sum(-1, keepdim=True))

    network = trace(Summed(), (torch.randn(2, 6),))
    assert network.dims["first"].reduced == "a sum runs over it"
    assert not network.dims["first"].maskable  # by a zero at the readers alone
    assert set(network.maskable) == {"first", "gate"}


# -- names --------------------------------------------------------------------------------------------


def test_dims_and_axes_are_the_same_in_another_process() -> None:
    program = (
        "import json; from nasc.graph import trace; from nasc.testing.architectures import ARCHITECTURES, build\n"
        "print(json.dumps({n: {k: [str(a) for a in v] for k, v in trace(*build(n)).parameters.items()}"
        " for n in ['residual', 'patch transformer', 'channel shuffle']}))"
    )
    found = json.loads(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout)
    for name, axes in found.items():
        assert {key: [str(axis) for axis in value] for key, value in traced(name).parameters.items()} == axes


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_a_name_means_one_dim(name: str) -> None:
    network = traced(name)
    found = {dim for axes in network.parameters.values() for axis in axes for dim in axis.dims()}
    assert len({dim.name for dim in found}) == len(found)
    assert all(network.dims[dim.name] == dim for dim in found if dim.frozen is None)


# -- errors -------------------------------------------------------------------------------------------


class Unwilling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), Branching())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


def test_a_model_that_branches_on_values_ends_in_one_sentence_that_says_where() -> None:
    with pytest.raises(TraceError) as caught:
        trace(Unwilling(), (torch.randn(2, 4),))
    message = caught.value.message
    assert "Unwilling" in message
    assert "inner.1 (Branching)" in message
    assert "test_trace.py:" in message
    assert "x.sum() > 0" in message
    assert "torch.where" in caught.value.hint
    assert "\n" not in message


class Masking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]


class Unique(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.unique(x)


@pytest.mark.parametrize(("culprit", "operator"), [(Masking, "aten.index"), (Unique, "aten._unique2")])
def test_a_size_that_depends_on_values_is_refused_with_operator_module_and_line(
    culprit: type[nn.Module], operator: str
) -> None:
    model = nn.Sequential(nn.Linear(4, 4), culprit())
    with pytest.raises(TraceError) as caught:
        trace(model, (torch.randn(2, 4),))
    message = caught.value.message
    assert f"operator {operator}" in message
    assert " in 1 at " in message
    assert "test_trace.py:" in message


def test_tracing_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TraceError):
        trace(Unwilling(), (torch.randn(2, 4),))
    trace(*build("residual"))
    assert capfd.readouterr() == ("", "")


def test_an_input_the_model_does_not_accept_is_named() -> None:
    model, _ = build("residual")
    with pytest.raises(ModelError, match=r"Residual does not accept the example input float32\[2, 5, 8, 8\]"):
        trace(model, (torch.randn(2, 5, 8, 8),))


def test_a_failed_trace_leaves_the_mode_alone() -> None:
    model = Unwilling().train()
    with pytest.raises(TraceError):
        trace(model, (torch.randn(2, 4),))
    assert all(module.training for module in model.modules())


def test_a_model_that_raises_on_its_own_is_not_traced() -> None:
    class Silent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("out of paper")

    with pytest.raises(ModelError, match="out of paper"):
        trace(Silent(), (torch.randn(2, 4),))


# -- outputs ------------------------------------------------------------------------------------------


def test_outputs_keep_their_container() -> None:
    shared = slice_network(traced("shared module"), {})
    assert isinstance(shared(torch.randn(3, 3, 8, 8)), tuple)
    two = slice_network(traced("two inputs"), {})
    assert list(two(torch.randn(3, 3, 8, 8), torch.randn(3, 5))) == ["logits", "value"]
    assert isinstance(slice_network(traced("perceptron"), {})(torch.randn(3, 3, 8, 8)), Tensor)
