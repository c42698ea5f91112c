"""How a sparsity is shared: published ERK densities, exact counts, ends that stay dense."""

import pytest
import torch

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.methods.sparse_training import BUDGETS, prunable_layers
from nasc.methods.sparse_training.budgets import erk_densities, make_pools
from nasc.methods.sparse_training.patterns import Unit, make_units
from nasc.methods.sparse_training.ranking import Kept, Rule

MLP = [(300, 784), (100, 300), (10, 100)]
CONVS = [(16, 3, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3), (10, 64)]


def rule(network: Network, budget: str, pattern: str = "unstructured") -> Rule:
    units = make_units(pattern, network, prunable_layers(network))
    return Rule(units, make_pools(budget, units))


def choose(rule: Rule, sparsity: float, seed: int = 0) -> Kept:
    generator = torch.Generator().manual_seed(seed)
    return rule.rank([torch.rand(unit.groups, generator=generator) for unit in rule.units]).kept(sparsity)


def dropped(kept: Kept) -> list[int]:
    return [int((~flags).sum()) for flags in kept]


@pytest.mark.parametrize(
    ("shapes", "sparsity", "expected"),
    [
        (MLP, 0.9, [0.0796, 0.2302, 1.0]),
        (MLP, 0.95, [0.0385, 0.1113, 0.9185]),
        (CONVS, 0.9, [0.5663, 0.1147, 0.0542, 1.0]),
        (CONVS, 0.8, [1.0, 0.2817, 0.1330, 1.0]),
    ],
)
def test_erk_gives_the_published_densities(
    shapes: list[tuple[int, ...]], sparsity: float, expected: list[float]
) -> None:
    assert erk_densities(shapes, sparsity) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 0.9, 0.99])
def test_erk_keeps_the_total_and_no_density_is_above_one(sparsity: float) -> None:
    counts = [int(torch.tensor(shape).prod()) for shape in CONVS]
    densities = erk_densities(CONVS, sparsity)
    assert max(densities) <= 1
    kept = sum(density * count for density, count in zip(densities, counts, strict=True))
    assert kept == pytest.approx((1 - sparsity) * sum(counts))


@pytest.mark.parametrize("sparsity", [0.0, 0.37, 0.5, 0.9])
def test_global_drops_exactly_the_rounded_number_of_weights(network: Network, sparsity: float) -> None:
    everything = rule(network, "global")
    total = sum(unit.groups for unit in everything.units)
    assert sum(dropped(choose(everything, sparsity))) == round(sparsity * total)


def test_uniform_drops_the_same_share_of_every_layer_but_the_first_and_the_last(network: Network) -> None:
    each = rule(network, "uniform")
    expected = [0, *(round(0.9 * unit.groups) for unit in each.units[1:-1]), 0]
    assert dropped(choose(each, 0.9)) == expected


def test_uniform_all_prunes_the_ends_too(network: Network) -> None:
    each = rule(network, "uniform-all")
    assert dropped(choose(each, 0.9)) == [round(0.9 * unit.groups) for unit in each.units]


def test_global_but_ends_leaves_the_ends_dense_and_meets_the_sparsity_between_them(network: Network) -> None:
    middle = rule(network, "global-ends")
    counts = dropped(choose(middle, 0.9))
    assert counts[0] == counts[-1] == 0
    assert sum(counts) == round(0.9 * sum(unit.groups for unit in middle.units[1:-1]))


@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_last_80_holds_the_last_layer_at_most_at_80_percent(network: Network, sparsity: float) -> None:
    extended = rule(network, "last-80")
    counts = dropped(choose(extended, sparsity))
    assert counts[0] == 0
    assert counts[-1] == round(min(0.8, sparsity) * extended.units[-1].groups)


def test_erk_on_a_network_drops_what_its_densities_say(network: Network) -> None:
    by_layer = rule(network, "erk")
    densities = erk_densities([unit.shape for unit in by_layer.units], 0.8)
    expected = [round((1 - d) * unit.groups) for d, unit in zip(densities, by_layer.units, strict=True)]
    assert dropped(choose(by_layer, 0.8)) == expected


def test_masks_of_a_higher_sparsity_lie_within_those_of_a_lower(network: Network) -> None:
    for name in BUDGETS:
        each = rule(network, name)
        looser, tighter = choose(each, 0.6), choose(each, 0.8)
        assert all(bool((~small | large).all()) for small, large in zip(tighter, looser, strict=True)), name


def test_the_global_mask_is_a_sort_of_everything(network: Network) -> None:
    everything = rule(network, "global")
    weights = dict(network.model.named_parameters())
    kept = everything.rank(everything.scores(weights)).kept(0.7)
    magnitudes = torch.cat([weights[unit.name].detach().abs().flatten() for unit in everything.units])
    threshold = magnitudes.sort().values[round(0.7 * magnitudes.numel())]
    assert torch.equal(torch.cat(kept), magnitudes >= threshold)


def test_the_global_mask_does_not_depend_on_the_order_of_the_layers(network: Network) -> None:
    layers = prunable_layers(network)
    weights = dict(network.model.named_parameters())

    def masks(order: tuple[Unit, ...]) -> dict[str, torch.Tensor]:
        ruled = Rule(order, make_pools("global", order))
        return ruled.rank(ruled.scores(weights)).masks(0.8)

    forward, backward = (masks(make_units("unstructured", network, each)) for each in (layers, layers[::-1]))
    assert all(torch.equal(forward[name], backward[name]) for name in forward)


def test_a_layer_scaled_up_keeps_a_larger_share_under_the_global_budget(network: Network) -> None:
    everything = rule(network, "global")
    weights = {name: value.detach().clone() for name, value in network.model.named_parameters()}
    before = everything.rank(everything.scores(weights)).kept(0.8)
    weights[everything.units[1].name] *= 3
    after = everything.rank(everything.scores(weights)).kept(0.8)
    assert int(after[1].sum()) > int(before[1].sum())
    assert sum(dropped(after)) == sum(dropped(before))


def test_ties_are_counted_exactly_and_go_to_the_lower_index(network: Network) -> None:
    everything = rule(network, "global")
    kept = everything.rank([torch.ones(unit.groups) for unit in everything.units]).kept(0.6)
    flat = torch.cat(kept)
    assert int(flat.sum()) == flat.numel() - round(0.6 * flat.numel())
    assert bool(flat[: int(flat.sum())].all())


def test_biases_norms_and_depthwise_kernels_are_not_prunable_unless_the_last_are_asked_for(network: Network) -> None:
    names = [layer.name for layer in prunable_layers(network)]
    assert names == ["stem.0.weight", "wide.0.weight", "head.weight"]
    assert "deep.weight" in [layer.name for layer in prunable_layers(network, depthwise=True)]


def test_a_weight_takes_part_in_one_multiply_add_per_output_position(network: Network) -> None:
    macs = {layer.name: layer.macs_per_weight for layer in prunable_layers(network)}
    assert macs == {"stem.0.weight": 36.0, "wide.0.weight": 36.0, "head.weight": 1.0}


def test_an_unknown_budget_is_refused(network: Network) -> None:
    with pytest.raises(UsageError, match="unknown budget 'fair'"):
        rule(network, "fair")
    with pytest.raises(UsageError, match="is of layers"):
        rule(network, "erk", "channels")
