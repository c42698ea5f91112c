"""The laws every traced model obeys, on one small model for each structure."""

import copy

import pytest
import torch

from nasc.graph import Network, trace
from nasc.graph.masking import masked_call, masked_state
from nasc.graph.program import evaluating
from nasc.graph.slicing import scatter_state, slice_network, slice_state
from nasc.graph.state import full_state
from nasc.testing.architectures import ARCHITECTURES, build
from nasc.testing.network import (
    graph_difference,
    masks,
    module_difference,
    random_inputs,
    random_kept,
    relative_difference,
)


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def network(request: pytest.FixtureRequest) -> Network:
    model, inputs = build(request.param)
    return trace(model, inputs)


def test_sliced_graph_equals_masked_graph_on_every_unfrozen_dim(network: Network) -> None:
    kept = random_kept(network, maskable=False, seed=1)
    assert kept
    assert network.batch is not None
    assert graph_difference(network, kept, random_inputs(network, network.batch)) < 1e-5


@pytest.mark.parametrize("seed", [2, 3])
def test_masked_readers_of_the_untouched_module_equal_the_sliced_graph(network: Network, seed: int) -> None:
    kept = random_kept(network, seed=seed)
    assert kept
    assert module_difference(network, kept, random_inputs(network, 5, seed=seed)) < 1e-5


def test_nothing_removed_is_the_dense_model_at_any_batch_size(network: Network) -> None:
    for batch in (1, 4):
        assert module_difference(network, {}, random_inputs(network, batch)) < 1e-6


def test_every_operator_has_a_rule(network: Network) -> None:
    assert network.unsupported == {}


def test_axes_have_the_sizes_of_the_tensors(network: Network) -> None:
    for name, tensor in full_state(network.model).items():
        assert [axis.size() for axis in network.parameters[name]] == list(tensor.shape), name
        for axis in network.parameters[name]:
            assert axis.kept({}).tolist() == list(range(int(axis.size())))


def test_scattered_state_is_sliced_back_unchanged_and_computes_the_same(network: Network) -> None:
    kept = random_kept(network, seed=4)
    small = slice_state(network, kept)
    full = scatter_state(network, kept, small)
    again = slice_state(network, kept, full)
    assert all(torch.equal(again[name], small[name]) for name in small)
    assert all(bool((full[name] > 0).all()) for name in network.running_variances)  # nothing is divided by zero
    inputs = random_inputs(network, 3)
    with evaluating(network.model), torch.no_grad():
        vectors = masks(network, kept)
        expected = masked_call(network, vectors, inputs)
        scattered = masked_call(network, vectors, inputs, state=full)
    assert relative_difference(scattered, expected) < 1e-5


def test_sliced_parameters_keep_their_names_and_have_the_sliced_shapes(network: Network) -> None:
    kept = random_kept(network, maskable=False, seed=5)
    state = slice_state(network, kept)
    for name, parameter in slice_network(network, kept).named_parameters():
        assert parameter.shape == state[name].shape


def test_masks_have_gradients_that_agree_with_differences() -> None:
    model, inputs = build("flatten head")
    model = model.double().eval()
    network = trace(model, (inputs[0].double(),))
    vectors = {name: (torch.rand(dim.size).double() + 0.5).requires_grad_() for name, dim in network.maskable.items()}

    def output(*values: torch.Tensor) -> torch.Tensor:
        state = masked_state(network, dict(zip(vectors, values, strict=True)))
        result: torch.Tensor = torch.func.functional_call(model, state, (inputs[0].double(),))
        return result.square().sum()

    assert torch.autograd.gradcheck(output, tuple(vectors.values()))


def test_masks_of_one_change_no_bit() -> None:
    model, inputs = build("residual")
    network = trace(model, inputs)
    ones = {name: torch.ones(dim.size) for name, dim in network.maskable.items()}
    state = full_state(model)
    assert all(torch.equal(value, state[name]) for name, value in masked_state(network, ones).items())


@pytest.mark.parametrize("name", ["mobile blocks", "tied language model"])
def test_tracing_leaves_the_model_as_it_was(name: str) -> None:
    model, inputs = build(name)
    model.train()
    list(model.children())[-1].eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    attributes = [set(vars(module)) for module in model.modules()]
    trace(model, inputs)
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()] == hooks
    assert [set(vars(module)) for module in model.modules()] == attributes
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_network_follows_the_model_while_it_trains() -> None:
    model, inputs = build("plain convolutions")
    network = trace(model, inputs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert module_difference(network, random_kept(network), random_inputs(network, 2)) < 1e-5


@pytest.mark.parametrize("name", ["patch transformer", "cross attention", "tied language model"])
def test_narrower_heads_keep_the_dense_scale_of_attention(name: str) -> None:
    model, inputs = build(name)
    network = trace(model, inputs)
    widths = {key: dim for key, dim in network.dims.items() if dim.reduced == "two activations are contracted over it"}
    assert widths
    kept = {key: torch.arange(0, dim.size, 2) for key, dim in widths.items()}
    zeroed = scatter_state(network, kept, slice_state(network, kept))  # zero queries and keys add nothing to a product
    with evaluating(model), torch.no_grad():
        expected = torch.func.functional_call(model, zeroed, inputs)
        assert relative_difference(slice_network(network, kept)(*inputs), expected) < 1e-5


def test_a_masked_parameter_is_masked_under_each_of_its_names() -> None:
    model, inputs = build("tied language model")
    network = trace(model, inputs)
    (stream,) = network.parameters["embed.weight"][1].dims()
    state = masked_state(network, {stream.name: torch.linspace(0, 1, stream.size)})
    assert state["embed.weight"] is state["head.weight"]
