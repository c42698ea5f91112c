"""The small model equals the user's with masked weights, and trains as it would."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree

from nasc.graph import Selection, trace
from nasc.graph.masking import masked_state
from nasc.graph.slicing import slice_state
from nasc.graph.state import full_state
from nasc.materialise import materialise, verify
from nasc.materialise.verify import masks


def leaves(value: object) -> list[Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def loss_of(outputs: object) -> Tensor:
    return sum((leaf.square().sum() for leaf in leaves(outputs)), start=torch.zeros(()))


def without_dropout(model: nn.Module) -> nn.Module:
    """Training mode with the one random part switched off."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.MultiheadAttention):
            module.dropout = module.p = 0.0  # type: ignore[assignment]
    return model


def test_the_small_model_equals_the_masked_one_at_another_batch_size(case):
    small = materialise(case.network, case.selection)
    assert verify(case.network, case.selection, small, (case.inputs(5),)) < 1e-5


def test_the_small_model_is_smaller(case):
    small = materialise(case.network, case.selection)
    assert case.selection.kept
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in case.model.parameters())


def test_gains_matter(case):
    small = materialise(case.network, case.selection)
    plain = materialise(case.network, Selection(case.selection.kept))
    assert verify(case.network, case.selection, plain) > 1e-4 > verify(case.network, case.selection, small)


def test_keeping_everything_changes_no_bit(case):
    whole = materialise(case.network, Selection()).eval()
    x = case.inputs(3)
    for got, expected in zip(leaves(whole(x)), leaves(case.model.eval()(x)), strict=True):
        assert torch.equal(got, expected)


def test_structure_of_the_result_is_the_users(case):
    small = materialise(case.network, case.selection).eval()
    x = case.inputs(2)
    assert _pytree.tree_structure(small(x)) == _pytree.tree_structure(case.model.eval()(x))


def test_state_dict_names_and_their_order_are_the_users(case):
    small = materialise(case.network, case.selection)
    assert list(small.state_dict()) == list(case.model.state_dict())
    assert [name for name, _ in small.named_parameters()] == [name for name, _ in case.model.named_parameters()]


def test_the_users_model_is_untouched(case):
    before = {name: tensor.clone() for name, tensor in case.model.state_dict().items()}
    modes = [module.training for module in case.model.modules()]
    small = materialise(case.network, case.selection)
    verify(case.network, case.selection, small)
    assert modes == [module.training for module in case.model.modules()]
    assert all(torch.equal(before[name], tensor) for name, tensor in case.model.state_dict().items())
    held = {id(tensor) for tensor in case.model.state_dict(keep_vars=True).values()}
    assert not held & {id(tensor) for tensor in small.state_dict(keep_vars=True).values()}


def test_gradients_are_slices_of_the_masked_models(residual):
    """Law: d loss / d small weight = the kept part of d loss / d full weight, in training mode, norms included."""
    selection = Selection(residual.selection.kept)
    small = materialise(residual.network, selection).train()
    model = residual.model.train()
    x = residual.inputs(6)
    loss_of(small(x)).backward()
    loss_of(
        torch.func.functional_call(model, masked_state(residual.network, masks(residual.network, selection)), x)
    ).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    expected = slice_state(residual.network, selection.kept, gradients)
    for name, parameter in small.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-4, msg=name)


def test_one_training_step_is_the_original_models(case):
    original = copy.deepcopy(case.model)
    without_dropout(original)
    whole = materialise(trace(original, case.network.example_inputs), Selection())
    assert whole.training
    x = case.inputs(4)
    for model in (original, whole):
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
        loss_of(model(x)).backward()
        optimiser.step()
    expected = original.state_dict()
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-5, msg=name)


def test_norms_keep_statistics_as_the_original_does(residual):
    whole = materialise(residual.network, Selection()).train()
    residual.model.train()
    for batch in (4, 7):
        whole(residual.inputs(batch))
        residual.model(residual.inputs(batch))
    for (name, got), (_, expected) in zip(whole.named_buffers(), residual.model.named_buffers(), strict=True):
        assert torch.equal(got, expected), name
    assert int(whole.state_dict()["stem.1.num_batches_tracked"]) == 2


def test_a_norm_that_averages_over_all_batches_stays_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=None, eps=1e-3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    whole = materialise(trace(model, (torch.randn(2, 3, 8, 8),)), Selection()).train()
    for seed in range(3):
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        whole(x)
        model(x)
    assert torch.equal(whole.state_dict()["1.running_mean"], model.state_dict()["1.running_mean"])


def test_dropout_drops_only_while_training(mobile):
    small = materialise(mobile.network, mobile.selection)
    x = mobile.inputs(8)
    small.train()
    torch.manual_seed(0)
    first = small(x)
    assert not torch.equal(first, small(x))
    small.eval()
    assert torch.equal(small(x), small(x))


def test_tied_matrices_stay_tied(tied):
    small = materialise(tied.network, tied.selection)
    assert small.head.weight is small.embed.weight
    loss_of(small(tied.inputs(2))).backward()
    torch.optim.SGD(small.parameters(), lr=0.1).step()
    assert torch.equal(small.state_dict()["head.weight"], small.state_dict()["embed.weight"])


def test_frozen_parameters_stay_frozen(residual):
    residual.model.stem.requires_grad_(False)
    small = materialise(trace(residual.model, residual.network.example_inputs), residual.selection)
    assert {name: p.requires_grad for name, p in small.named_parameters()} == {
        name: p.requires_grad for name, p in residual.model.named_parameters()
    }


def test_the_training_mode_is_the_users(residual):
    for mode in (True, False):
        residual.model.train(mode)
        assert all(module.training is mode for module in materialise(residual.network, residual.selection).modules())


def test_random_numbers_drawn_later_do_not_change(residual):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    materialise(residual.network, residual.selection)
    assert torch.equal(torch.rand(4), expected)


def test_double_precision_stays_and_the_difference_shrinks_with_it(residual):
    model = copy.deepcopy(residual.model).double()
    network = trace(model, (residual.inputs(2).double(),))
    small = materialise(network, residual.selection)
    assert {tensor.dtype for tensor in small.parameters()} == {torch.float64}
    assert verify(network, residual.selection, small) < 1e-12


def test_a_mask_on_the_writers_side_of_a_norm_would_not_remove_its_channel():
    """Law 14: a channel zeroed before its norm still carries act(beta), so masks sit on the readers."""
    torch.manual_seed(0)
    conv, norm, reader = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
    nn.init.constant_(norm.bias, 0.7)
    model = nn.Sequential(conv, norm, nn.ReLU(), reader).eval()
    network = trace(model, (torch.randn(2, 3, 6, 6),))
    selection = Selection({"0": torch.tensor([0, 1, 3])})
    small = materialise(network, selection).eval()
    x = torch.randn(2, 3, 6, 6)
    written = full_state(model)["0.weight"].clone()
    bias = full_state(model)["0.bias"].clone()
    written[2], bias[2] = 0, 0
    masked_writer = torch.func.functional_call(model, {"0.weight": written, "0.bias": bias}, x)
    constant = F.relu(norm(torch.zeros(1, 4, 1, 1)))[0, 2, 0, 0].detach()
    assert float(constant) > 0.6
    difference = masked_writer - small(x)
    expected = (reader.weight[:, 2, 0, 0] * constant).view(1, 2, 1, 1).expand_as(difference)
    torch.testing.assert_close(difference, expected, rtol=0, atol=1e-5)


def test_removing_one_entry_of_a_stream_touches_every_writer_and_reader(residual):
    stream = next(name for name in residual.network.maskable if "stem" in name)
    kept = torch.tensor([index for index in range(residual.network.dims[stream].size) if index != 2])
    small = materialise(residual.network, Selection({stream: kept})).state_dict()
    changed = {name for name, tensor in residual.model.state_dict().items() if tensor.shape != small[name].shape}
    writers = {
        f"layer1.{block}.{part}" for block in (0, 1) for part in ("conv2.weight", "bn2.weight", "bn2.running_var")
    }
    readers = {"layer1.0.conv1.weight", "layer1.1.conv1.weight", "down.weight"}
    assert writers | readers | {"stem.0.weight", "stem.1.bias"} <= changed
    assert "layer1.0.bn1.weight" not in changed


def test_parameters_that_the_output_does_not_need_are_left_out():
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    small = materialise(trace(Unused(), (torch.randn(2, 4),)), Selection())
    assert list(small.state_dict()) == ["used.weight", "used.bias"]
