"""What is pruned together: hand-made tensors, whole groups, exact counts."""

import pytest
import torch
from torch import Tensor, nn

from nasc.errors import UsageError
from nasc.graph import trace
from nasc.graph.network import Network
from nasc.methods.sparse_training import prunable_layers
from nasc.methods.sparse_training.budgets import make_pools
from nasc.methods.sparse_training.patterns import make_units
from nasc.methods.sparse_training.ranking import Rule


def traced(layer: nn.Module, shape: tuple[int, ...]) -> Network:
    return trace(nn.Sequential(layer, nn.Flatten()), (torch.randn(1, *shape),))


def masks(network: Network, pattern: str, sparsity: float, budget: str = "global", **options: bool) -> Tensor:
    """The mask of the network's one layer."""
    units = make_units(pattern, network, prunable_layers(network), **options)
    rule = Rule(units, make_pools(budget, units))
    (mask,) = rule.rank(rule.scores(dict(network.model.named_parameters()))).masks(sparsity).values()
    return mask


def test_block4_groups_four_inputs_at_one_place_of_the_kernel() -> None:
    network = traced(nn.Conv2d(8, 2, 3), (8, 5, 5))
    weight = network.model[0].weight
    with torch.no_grad():
        weight.fill_(0.01)
        weight[1, 4:8, 2, 0] = 1.0  # one group of four input channels at one offset of one output row
    mask = masks(network, "block4", 1 - 1 / 36)
    expected = torch.zeros_like(mask)
    expected[1, 4:8, 2, 0] = True
    assert torch.equal(mask, expected)


@pytest.mark.parametrize(("inputs", "groups"), [(8, 2), (10, 3), (3, 1)])
def test_block4_keeps_or_drops_whole_groups_and_counts_them_exactly(inputs: int, groups: int) -> None:
    torch.manual_seed(0)
    mask = masks(traced(nn.Linear(inputs, 6), (inputs,)), "block4", 0.5)
    parts = [mask[:, start : start + 4] for start in range(0, inputs, 4)]
    whole = torch.stack([part.all(1) for part in parts])
    assert torch.equal(whole, torch.stack([part.any(1) for part in parts]))
    assert int((~whole).sum()) == round(0.5 * 6 * groups)


def test_a_short_last_group_is_scored_by_its_real_members() -> None:
    network = traced(nn.Linear(5, 1), (5,))
    with torch.no_grad():
        network.model[0].weight.copy_(torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.9]]))
    assert masks(network, "block4", 0.5).tolist() == [[False] * 4 + [True]]


def test_square_blocks_go_as_a_whole_and_those_at_the_edge_are_smaller() -> None:
    torch.manual_seed(0)
    mask = masks(traced(nn.Linear(7, 6), (7,)), "block4x4", 0.5)
    blocks = [mask[rows, columns] for rows in (slice(0, 4), slice(4, 6)) for columns in (slice(0, 4), slice(4, 7))]
    assert all(bool(block.all()) or not bool(block.any()) for block in blocks)
    assert sum(not bool(block.any()) for block in blocks) == 2


@pytest.mark.parametrize(("inputs", "expected"), [(8, 4), (6, 4), (5, 3)])
def test_two_of_four_inputs_stay_in_every_group(inputs: int, expected: int) -> None:
    torch.manual_seed(0)
    network = traced(nn.Conv2d(inputs, 3, 2), (inputs, 4, 4))
    mask = masks(network, "2:4", 0.5)
    weight = network.model[0].weight.detach().abs()
    assert torch.equal(mask.sum(1), torch.full((3, 2, 2), expected))
    for start in range(0, inputs - 3, 4):
        group, chosen = weight[:, start : start + 4], mask[:, start : start + 4]
        assert torch.equal(chosen.sum(1), torch.full((3, 2, 2), 2))
        least_kept = torch.where(chosen, group, torch.inf).amin(1)
        assert bool((torch.where(chosen, -torch.inf, group).amax(1) <= least_kept).all())


def test_two_of_four_equal_weights_stay_too() -> None:
    network = traced(nn.Linear(8, 2), (8,))
    with torch.no_grad():
        network.model[0].weight.fill_(0.3)
    assert masks(network, "2:4", 0.5).tolist() == [[True, True, False, False] * 2] * 2


def test_keeping_rows_leaves_the_strongest_weight_of_every_output() -> None:
    torch.manual_seed(0)
    network = traced(nn.Linear(16, 8), (16,))
    with torch.no_grad():
        network.model[0].weight[:4] *= 100
    bare, kept = (masks(network, "unstructured", 0.9, keep_rows=keep) for keep in (False, True))
    assert not bool(bare[4:].any())
    assert bool(kept.any(1).all())
    assert int(kept.sum()) == int(bare.sum())
    strongest = network.model[0].weight.detach().abs().argmax(1)
    assert bool(kept[torch.arange(8), strongest].all())


def test_a_dropped_channel_loses_every_weight_that_reads_it(network: Network) -> None:
    units = make_units("channels", network, prunable_layers(network))
    rule = Rule(units, make_pools("uniform", units))
    kept = rule.rank(rule.scores(dict(network.model.named_parameters()))).kept(0.5)
    made = rule.masks(kept)
    wide = {unit.name: flags for unit, flags in zip(units, kept, strict=True)}["wide.0"]
    assert int(wide.sum()) == 8
    assert torch.equal(made["head.weight"], wide[None, :].expand(4, 16))


def test_no_dim_loses_all_its_channels(network: Network) -> None:
    units = make_units("channels", network, prunable_layers(network))
    rule = Rule(units, make_pools("global", units))
    kept = rule.rank(rule.scores(dict(network.model.named_parameters()))).kept(1.0)
    assert [int(flags.sum()) for flags in kept] == [1] * len(units)


@pytest.mark.parametrize("pattern", ["rows", "block", "4:2", "0:4", "block0x4", "blockx4", "2:", "4x4"])
def test_a_pattern_that_makes_no_sense_is_refused(network: Network, pattern: str) -> None:
    with pytest.raises(UsageError, match="unknown pattern"):
        make_units(pattern, network, prunable_layers(network))
