"""Masks: one vector for all dims, applied to the readers' weights (the sheet, section 5: laws 7, 13, 20, 21)."""

import torch
from torch import nn

from nasc.graph import trace
from nasc.graph.network import Network
from nasc.methods._masks import MaskedModel, Masks, keep_one, lay_out, select_positive


def test_split_and_join_are_inverse(residual: Network) -> None:
    layout = lay_out(residual)
    flat = torch.rand(sum(layout.sizes))
    assert torch.equal(layout.join(layout.split(flat)), flat)


def test_totals_are_sums_per_dim(residual: Network) -> None:
    layout = lay_out(residual)
    flat = torch.rand(sum(layout.sizes))
    expected = torch.stack([vector.sum() for vector in layout.split(flat).values()])
    torch.testing.assert_close(layout.total(flat), expected)


def test_masks_of_one_change_no_bit_of_outputs_and_gradients(residual: Network) -> None:
    masks = Masks(residual, trainable=True)
    masked, plain, x = MaskedModel(residual, masks.vectors), residual.model.eval(), torch.randn(3, 1, 8, 8)
    outputs, gradients = [], []
    for module in (plain, masked):
        plain.zero_grad()
        output = module(x)
        output.square().sum().backward()
        outputs.append(output)
        gradients.append([parameter.grad.clone() for parameter in plain.parameters()])
    assert torch.equal(*outputs)
    assert all(torch.equal(left, right) for left, right in zip(*gradients, strict=True))


def test_the_masked_model_has_the_users_parameters_and_no_others(residual: Network) -> None:
    masked = MaskedModel(residual, Masks(residual, trainable=True).vectors)
    assert {id(p) for p in masked.parameters()} == {id(p) for p in residual.model.parameters()}


def test_norm_statistics_of_the_users_module_move_while_masked(residual: Network) -> None:
    masked = MaskedModel(residual, Masks(residual, trainable=True).vectors).train()
    before = residual.model.stem[1].running_mean.clone()
    masked(torch.randn(4, 1, 8, 8) + 1)
    assert not torch.equal(before, residual.model.stem[1].running_mean)


def test_a_zero_mask_cuts_every_reader_of_a_residual_stream(residual: Network) -> None:
    masks = Masks(residual, trainable=True)
    stream = next(name for name in masks.layout.names if name.startswith("stem"))
    masks.layout.split(masks.flat.data)[stream][4] = 0
    masked = MaskedModel(residual, masks.vectors).eval()
    x = torch.randn(2, 1, 8, 8)
    before = masked(x)
    with torch.no_grad():
        for writer in (residual.model.stem[0], residual.model.second[0]):
            writer.weight[4] = torch.randn_like(writer.weight[4])
    assert torch.equal(masked(x), before)


def test_shrinking_a_mask_and_growing_its_reader_leaves_the_output_while_l1_falls(mlp: Network) -> None:
    """The scale cheat: l1 can be had for nothing, R cannot."""
    masks = Masks(mlp, trainable=True)
    name = masks.layout.names[1]
    masked, x = MaskedModel(mlp, masks.vectors).eval(), torch.randn(5, 6)
    before = masked(x)
    with torch.no_grad():
        masks.layout.split(masks.flat.data)[name].mul_(0.25)
        mlp.model[5].weight.mul_(4)
    torch.testing.assert_close(masked(x), before)
    assert float(masks.flat.detach().sum()) < masks.flat.numel()


def test_an_emptied_dim_keeps_its_strongest_entry() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    layout = lay_out(trace(model, (torch.randn(2, 3),)))
    before = torch.tensor([-3.0, -1.0, -2.0, -9.0, 0.5, 0.1, 0.2, 0.3, -0.4])
    kept = keep_one(layout, before.clamp_min(0), before)
    assert kept.tolist() == [0, torch.tensor(1e-3).item(), 0, 0, *before[4:8].tolist(), 0]


def test_selection_names_survivors_and_gains_only_where_they_differ_from_one(mlp: Network) -> None:
    layout = lay_out(mlp)
    first, second = layout.names
    flat = layout.ones()
    vectors = layout.split(flat)
    vectors[first][2:5] = 0
    vectors[second][0] = 0.5
    selection = select_positive(layout, flat)
    assert selection.kept[first].tolist() == [0, 1, *range(5, 16)]
    assert selection.sizes == {first: 13, second: 24}
    assert set(selection.gains) == {second}
    assert torch.equal(selection.gains[second], vectors[second])
