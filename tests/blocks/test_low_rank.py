"""Factors in the place of a layer: sections 2.2 and 5 (6, 15) of the method sheet."""

import pytest
import torch
from torch import nn

from nasc.blocks import break_even_rank, factorise, factorise_plus_sparse, is_factorisable, merge
from nasc.blocks.rewriting import called_once, replace_modules
from nasc.graph import trace

LAYERS = {
    "linear": (lambda: nn.Linear(12, 20), (5, 12)),
    "linear without bias": (lambda: nn.Linear(20, 12, bias=False), (5, 20)),
    "1x1": (lambda: nn.Conv2d(8, 16, 1), (2, 8, 7, 7)),
    "3x3 with stride": (lambda: nn.Conv2d(6, 16, 3, stride=2, padding=1), (2, 6, 9, 9)),
    "dilated, same padding": (lambda: nn.Conv2d(6, 5, 3, dilation=2, padding="same"), (2, 6, 9, 9)),
    "reflected": (lambda: nn.Conv2d(4, 9, 3, padding=1, padding_mode="reflect"), (2, 4, 9, 9)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_full_rank_factors_compute_what_the_layer_does(name: str) -> None:
    torch.manual_seed(0)
    build, shape = LAYERS[name]
    layer, x = build(), torch.randn(shape)
    assert is_factorisable(layer)
    torch.testing.assert_close(factorise(layer)(x), layer(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(factorise_plus_sparse(layer, 2)(x), layer(x), rtol=0, atol=1e-5)


def test_a_truncated_pair_is_the_best_approximation_of_its_rank() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(10, 14, bias=False)
    values = torch.linalg.svdvals(layer.weight.detach())
    pair = factorise(layer, 4)
    error = (merge(layer, pair).weight - layer.weight).square().sum()
    torch.testing.assert_close(error, values[4:].square().sum())
    norms = [part.weight.detach().square().sum() for part in (pair.first, pair.second)]
    torch.testing.assert_close(norms[0], norms[1])  # balanced


@pytest.mark.parametrize("name", LAYERS)
def test_merging_is_the_inverse_of_factorising_with_the_mask_on_the_rank(name: str) -> None:
    torch.manual_seed(0)
    build, shape = LAYERS[name]
    layer, x = build(), torch.randn(shape)
    pair = factorise(layer)
    mask = torch.rand(pair.first.weight.shape[0])
    second = pair.second.weight
    with torch.no_grad():
        merged = merge(layer, pair, mask)(x)
        second.mul_(mask.view(1, -1, *[1] * (second.dim() - 2)))
    torch.testing.assert_close(pair(x), merged, rtol=0, atol=1e-5)


def test_break_even_is_where_the_costs_cross() -> None:
    layer = nn.Conv2d(8, 16, 3)
    rank = break_even_rank(layer)
    assert rank * (8 * 9 + 16) == pytest.approx(8 * 9 * 16)


def test_the_rank_is_a_dim_that_masks_act_on() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), factorise(nn.Linear(8, 10)), nn.ReLU(), nn.Linear(10, 3))
    network = trace(model, (torch.randn(2, 6),))
    rank = network.parameters["2.first.weight"][0].terms[0]
    assert rank.maskable  # type: ignore[union-attr]
    assert network.parameters["2.second.weight"][1].terms[0] == rank


def test_grouped_layers_and_single_rows_have_nothing_to_factorise() -> None:
    assert not is_factorisable(nn.Conv2d(8, 8, 3, groups=8))
    assert not is_factorisable(nn.Linear(8, 1))
    assert not is_factorisable(nn.BatchNorm2d(8))


def test_only_layers_that_are_called_once_with_weights_of_their_own_can_be_replaced() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.once, self.twice, self.never = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.tied, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
            self.other.weight = self.tied.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.twice(self.twice(self.once(x)))
            return nn.functional.linear(self.other(self.tied(x)), self.never.weight)

    assert {name for name in called_once(Model(), (torch.randn(2, 4),)) if name} == {"once"}


def test_the_user_s_module_is_not_changed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 6)))
    x = torch.randn(2, 4)
    changed = replace_modules(model, {"1.0": factorise(model[1][0])})  # type: ignore[index, arg-type]
    assert isinstance(model[1][0], nn.Linear)  # type: ignore[index]
    assert isinstance(changed.get_submodule("1.0"), nn.Sequential)
    torch.testing.assert_close(changed(x), model(x), rtol=0, atol=1e-5)
