import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasc.errors import RunError, TrainingError
from nasc.training.checkpoint import (
    load_checkpoint,
    load_optimizer_state,
    optimizer_state,
    save_checkpoint,
)

leaves = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5)
states = st.dictionaries(
    st.text(max_size=4), st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=5), max_size=4
)


@settings(max_examples=40, deadline=None)
@given(state=states)
def test_every_plain_state_comes_back_equal(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "c.safetensors"
    save_checkpoint(path, state)
    assert load_checkpoint(path) == state


def test_tensors_come_back_bit_for_bit_wherever_they_are(tmp_path):
    cases = [
        torch.randn(3, 4).t(),
        torch.tensor(3.0),
        torch.zeros(0, 2),
        torch.tensor([True, False]),
        torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.randn(5).to(torch.bfloat16),
        torch.tensor([2**40]),
        torch.tensor([float("nan"), float("inf")]),
    ]
    shared = torch.randn(6)
    state = {"a": {"b": cases}, "one": shared, "two": shared[:3]}
    save_checkpoint(tmp_path / "c", state)
    got = load_checkpoint(tmp_path / "c")
    for before, after in zip([*cases, shared, shared[:3]], [*got["a"]["b"], got["one"], got["two"]], strict=True):
        assert before.dtype == after.dtype
        assert torch.equal(before.nan_to_num(), after.nan_to_num())


def test_a_state_that_json_cannot_hold_is_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match="got set in /method/groups"):
        save_checkpoint(tmp_path / "c", {"method": {"groups": {1, 2}}})
    with pytest.raises(TypeError, match="names as keys of a state dictionary, got 3"):
        save_checkpoint(tmp_path / "c", {"method": {3: 1}})


def test_a_save_that_fails_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / "c"
    save_checkpoint(path, {"step": 1})
    with pytest.raises(TypeError):
        save_checkpoint(path, {"step": object()})
    assert load_checkpoint(path) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*file/c"):
        save_checkpoint(tmp_path / "file" / "c", {})


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "c")
    with pytest.raises(RunError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("kind", [lambda p: torch.optim.SGD(p, 0.1, 0.9), torch.optim.AdamW])
def test_an_optimiser_goes_on_from_its_state_bit_for_bit(kind):
    torch.manual_seed(0)
    nets = [nn.Linear(3, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [kind(net.parameters()) for net in nets]
    x = torch.randn(8, 3)

    def step(which):
        optimizers[which].zero_grad()
        nets[which](x).square().sum().backward()
        optimizers[which].step()

    step(0)
    step(0)
    nets[1].load_state_dict(nets[0].state_dict())
    load_optimizer_state(optimizers[1], nets[1], optimizer_state(optimizers[0], nets[0]))
    step(0)
    step(1)
    assert torch.equal(nets[0].weight, nets[1].weight)


def test_the_state_of_another_optimiser_is_refused_with_both_shapes():
    net = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    with pytest.raises(TrainingError, match=r"expected shape \(2, 3\) for the momentum_buffer of weight, got \(4, 4\)"):
        load_optimizer_state(optimizer, net, {"momentum_buffer": {"weight": torch.zeros(4, 4)}})
    with pytest.raises(TrainingError, match="expected a parameter named other for its momentum_buffer"):
        load_optimizer_state(optimizer, net, {"momentum_buffer": {"other": torch.zeros(4, 4)}})
