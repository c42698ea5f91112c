"""A selection survives the disk, and costs afterwards what it did before (law 22)."""

import pytest
import torch
from safetensors.torch import save_file

from nasc.cost import cost
from nasc.errors import RunError
from nasc.graph import Selection
from nasc.materialise.selections import load_selection, save_selection


def test_a_selection_comes_back_equal_and_costs_the_same(case, tmp_path):
    again = load_selection(save_selection(case.selection, tmp_path / "selection.safetensors"))
    for before, after in ((case.selection.kept, again.kept), (case.selection.gains, again.gains)):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    for unit in ("macs", "params"):
        assert cost(case.network, again.sizes, unit) == cost(case.network, case.selection.sizes, unit)


def test_every_field_comes_back(tmp_path):
    before = Selection(
        {"a": torch.tensor([0, 2])}, {"a": torch.rand(3)}, {"w": torch.rand(2, 3) > 0.5}, {"w": 4, "v.weight": 16}
    )
    after = load_selection(save_selection(before, tmp_path / "selection.safetensors"))
    assert all(torch.equal(after.masks[name], mask) for name, mask in before.masks.items())
    assert after.bits == before.bits
    assert after.sizes == before.sizes


def test_an_empty_selection_comes_back_empty(tmp_path):
    again = load_selection(save_selection(Selection(), tmp_path / "selection.safetensors"))
    assert not again.kept
    assert not again.gains


def test_a_missing_broken_or_foreign_file_is_one_sentence(tmp_path):
    (tmp_path / "broken").write_bytes(b"no tensors")
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign")
    save_file({"kept/conv": torch.ones(2)}, tmp_path / "floats")
    for name in ("missing", "broken", "foreign", "floats"):
        with pytest.raises(RunError, match=name):
            load_selection(tmp_path / name)


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        save_selection(Selection(), tmp_path / "file" / "selection.safetensors")
