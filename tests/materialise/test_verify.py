"""The checks find a wrong small model, before and after it is trained on."""

from dataclasses import replace

import pytest
import torch

from nasc.errors import ModelError
from nasc.graph import Selection
from nasc.materialise import materialise, small_masks, verify, verify_trained
from nasc.materialise.verify import masks


def train(model, inputs, steps=5):
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        outputs = torch.utils._pytree.tree_leaves(model(inputs))
        sum(output.square().mean() for output in outputs).backward()
        optimiser.step()


def test_a_wrong_weight_is_found(case):
    small = materialise(case.network, case.selection)
    with torch.no_grad():
        next(small.parameters()).mul_(1.5)
    assert verify(case.network, case.selection, small) > 1e-4


def test_a_wrong_selection_is_found(residual):
    small = materialise(residual.network, residual.selection)
    other = {
        name: residual.network.dims[name].size - 1 - kept.flip(0) for name, kept in residual.selection.kept.items()
    }
    assert verify(residual.network, Selection(other, residual.selection.gains), small) > 1e-3


def test_after_training_the_weights_put_back_into_the_users_model_agree(case):
    small = materialise(case.network, case.selection)
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    train(small, case.inputs(6))
    assert any(not torch.equal(before[name], tensor) for name, tensor in small.state_dict().items())
    assert verify_trained(case.network, case.selection, small, (case.inputs(3),)) < 1e-5


def test_training_is_what_the_first_check_would_reject(residual):
    small = materialise(residual.network, residual.selection)
    train(small, residual.inputs(6))
    assert verify(residual.network, residual.selection, small) > 1e-5


def test_modes_are_left_as_they_were(residual):
    small = materialise(residual.network, residual.selection).train()
    residual.model.eval()
    residual.model.layer1.train()
    verify(residual.network, residual.selection, small)
    assert small.training
    assert not residual.model.training
    assert residual.model.layer1.training


def test_dims_that_no_mask_can_remove_are_refused_in_words(tied):
    name, dim = next((name, dim) for name, dim in tied.network.dims.items() if dim.frozen and dim.size > 1)
    selection = Selection({name: torch.arange(dim.size - 1)})
    with pytest.raises(ModelError, match="zero mask") as caught:
        verify(tied.network, selection, tied.model)
    assert dim.frozen in caught.value.message


def test_the_mask_of_a_dim_is_its_gain_where_it_is_kept(residual):
    name = next(iter(residual.network.maskable))
    size = residual.network.dims[name].size
    gains = torch.arange(1.0, size + 1)
    found = masks(residual.network, Selection({name: torch.tensor([1, 3])}, {name: gains}))[name]
    assert found.tolist() == [gains[index].item() if index in (1, 3) else 0.0 for index in range(size)]


def test_what_is_not_a_number_never_passes(residual):
    small = materialise(residual.network, residual.selection)
    with torch.no_grad():
        next(small.parameters()).fill_(torch.nan)
    assert verify(residual.network, residual.selection, small) == float("inf")


def test_single_weights_that_are_dropped_are_zero_in_the_small_model(residual):
    name = "layer1.conv1.weight" if "layer1.conv1.weight" in residual.network.parameters else None
    name = name or next(p for p, axes in residual.network.parameters.items() if len(axes) == 4)
    weight = dict(residual.model.named_parameters())[name]
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    selection = replace(residual.selection, masks={name: mask})
    small = materialise(residual.network, selection)
    assert verify(residual.network, selection, small) < 1e-5
    assert verify(residual.network, residual.selection, small) > 1e-3
    kept = small_masks(residual.network, selection)[name]
    assert torch.all(dict(small.named_parameters())[name][~kept] == 0)
