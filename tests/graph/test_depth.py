"""Residual branches as dims of size one: found, priced, masked and left out."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.cost import cost, price_and_slopes
from nasc.graph import Network, Selection, trace
from nasc.graph.depth import with_depth
from nasc.graph.masking import masked_call
from nasc.graph.slicing import slice_network
from nasc.materialise import load_selection, materialise, save_selection, verify, verify_trained
from nasc.testing.architectures import build
from nasc.testing.network import (
    graph_difference,
    masks,
    module_difference,
    random_inputs,
    random_kept,
    relative_difference,
)


class Residual(nn.Module):
    """Linear blocks around which the stream goes on; the second is used twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Linear(5, 8), nn.Linear(8, 3)
        self.first = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))
        self.shared = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.first(x)
        x = x + self.shared(x)
        x = x + self.shared(x)
        result: Tensor = self.head(x)
        return result


def deep(name: str) -> Network:
    model, inputs = build(name)
    return with_depth(trace(model.eval(), inputs))


EMPTY = torch.arange(0)
DEEP = ["residual", "mobile blocks", "patch transformer", "tied language model"]


def test_a_branch_is_named_after_the_module_that_ends_it() -> None:
    network = with_depth(trace(Residual(), (torch.randn(2, 5),)))
    assert set(network.branches) == {"first.3:branch"}
    assert network.dims["first.3:branch"].size == 1
    assert "first.3:branch" in network.maskable


def test_a_branch_whose_weights_serve_elsewhere_stays() -> None:
    network = with_depth(trace(Residual(), (torch.randn(2, 5),)))
    assert not any("shared" in name for name in network.branches)


def test_a_shortcut_that_is_a_layer_keeps_its_branch() -> None:
    network = deep("residual")
    ends = {name.partition(":")[0] for name in network.branches}
    shortcut = {name.partition(".shortcut")[0] for name, _ in network.model.named_parameters() if ".shortcut" in name}
    assert ends
    assert shortcut
    assert not any(end.startswith(tuple(shortcut)) for end in ends)


@pytest.mark.parametrize("name", DEEP)
def test_a_traced_network_has_no_gates_unless_asked(name: str) -> None:
    model, inputs = build(name)
    network = trace(model, inputs)
    assert not network.branches
    assert with_depth(network).branches
    assert cost(with_depth(network), {}) == cost(network, {})
    assert cost(with_depth(network), {}, "params") == cost(network, {}, "params")


@pytest.mark.parametrize("name", DEEP)
def test_a_closed_gate_is_the_module_without_the_branch(name: str) -> None:
    network = deep(name)
    for gate in network.branches:
        assert module_difference(network, {gate: EMPTY}, random_inputs(network, 3)) < 1e-5
    assert module_difference(network, dict.fromkeys(network.branches, EMPTY), random_inputs(network, 3)) < 1e-5


@pytest.mark.parametrize("name", DEEP)
def test_depth_and_width_go_together(name: str) -> None:
    network = deep(name)
    for seed in (1, 2):
        kept = random_kept(network, seed=seed)
        assert module_difference(network, kept, random_inputs(network, 3, seed=seed)) < 1e-5
        assert graph_difference(network, kept, random_inputs(network, network.batch or 1, seed=seed)) < 1e-5


def test_removal_by_hand_equals_the_closed_gate() -> None:
    model = Residual().eval()
    network = with_depth(trace(model, (torch.randn(2, 5),)))
    x = torch.randn(4, 5)
    y = model.stem(x)
    y = y + model.shared(y)
    expected = model.head(y + model.shared(y))
    small = slice_network(network, {"first.3:branch": EMPTY})
    assert torch.equal(small(x), expected)
    assert not any(name.startswith("first") for name, _ in small.named_parameters())


def test_a_relaxed_gate_scales_the_branch_and_has_its_gradient() -> None:
    model = Residual().double().eval()
    network = with_depth(trace(model, (torch.randn(2, 5).double(),)))
    x = torch.randn(4, 5).double()
    gate = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    y = model.stem(x)
    y = y + 0.3 * model.first(y)
    y = y + model.shared(y)
    expected = model.head(y + model.shared(y))
    assert torch.allclose(masked_call(network, {"first.3:branch": gate}, (x,)), expected)
    assert torch.autograd.gradcheck(lambda g: masked_call(network, {"first.3:branch": g}, (x,)).square().sum(), (gate,))


def test_kernels_and_parameters_of_a_branch_are_priced_times_its_gate() -> None:
    network = with_depth(trace(Residual(), (torch.randn(2, 5),)))
    closed = {"first.3:branch": 0}
    assert cost(network, {}) - cost(network, closed) == 2 * 8 * 12
    assert cost(network, {}, "params") - cost(network, closed, "params") == 8 + 8 + 8 * 12 + 12 + 12 * 8 + 8
    gate = torch.tensor(0.25, requires_grad=True)
    relaxed = cost(network, {"first.3:branch": gate})
    assert isinstance(relaxed, Tensor)
    relaxed.backward()
    assert relaxed.item() == cost(network, closed) + 0.25 * 2 * 8 * 12
    assert gate.grad is not None
    value, slopes = price_and_slopes(network, {"first.3:branch": 0.25})
    assert (value, slopes["first.3:branch"]) == (relaxed.item(), gate.grad.item())


@pytest.mark.parametrize("name", DEEP)
def test_the_price_of_a_shallower_network_is_that_of_the_network_traced_again(name: str) -> None:
    network = deep(name)
    kept = random_kept(network, seed=3)
    selection = Selection(kept)
    again = trace(materialise(network, selection), network.example_inputs)
    for unit in ("macs", "params"):
        assert cost(again, {}, unit) == cost(network, selection.sizes, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DEEP)
def test_shallow_models_are_materialised_trained_and_verified(name: str) -> None:
    network = deep(name)
    kept = random_kept(network, seed=4) | dict.fromkeys(list(network.branches)[:1], EMPTY)
    selection = Selection(kept, {gate: torch.full((1,), 0.5) for gate in list(network.branches)[1:]})
    small = materialise(network, selection)
    assert verify(network, selection, small) < 1e-5
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    assert verify_trained(network, selection, small) < 1e-5


def test_a_selection_without_branches_is_saved_and_loaded(tmp_path: Path) -> None:
    network = deep("residual")
    selection = Selection(dict.fromkeys(network.branches, EMPTY))
    save_selection(selection, tmp_path / "selection.safetensors")
    assert load_selection(tmp_path / "selection.safetensors").sizes == dict.fromkeys(network.branches, 0)


def test_tracing_a_deep_network_changes_no_bit_while_gates_are_open() -> None:
    network = deep("patch transformer")
    ones = masks(network, {name: torch.arange(1) for name in network.branches})
    x = network.example_inputs
    assert torch.equal(masked_call(network, ones, x), network.model(*x))
    assert relative_difference(slice_network(network, {})(*x), network.model(*x)) < 1e-6


def test_a_weight_that_is_tied_across_blocks_is_no_gate() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = x + F.relu(self.a(x))
            return x + F.relu(self.b(x))

    assert not with_depth(trace(Tied(), (torch.randn(2, 5),))).branches
