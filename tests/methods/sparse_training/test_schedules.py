"""What each schedule does to masks, weights, gradients and momentum, step by step."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nasc.errors import TargetError, UsageError
from nasc.methods.sparse_training import AcDc, DropAndGrow, GradualPruning, SparseTraining
from nasc.methods.sparse_training.rigl import move_masks

Maker = Callable[..., SparseTraining]
Drive = Callable[..., torch.optim.Optimizer]


def masked_entries(method: SparseTraining) -> Tensor:
    masks = method.masks.rule.masks(method.masks.kept)
    return torch.cat([method.weights.parameters[name].detach()[~mask] for name, mask in masks.items()])


def momentum(method: SparseTraining, optimizer: torch.optim.Optimizer) -> Tensor:
    return torch.cat([optimizer.state[p]["momentum_buffer"].flatten() for p in method.model.parameters()])


# -- AC/DC ----------------------------------------------------------------------------------------------


def test_in_a_sparse_phase_masked_weights_stay_exactly_zero(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.9, steps=100)
    optimizer = drive(method, 10)
    assert method.schedule.is_sparse(10)
    drive(method, 4, optimizer)
    assert masked_entries(method).numel() == round(0.9 * method.weights.count())
    assert not bool(masked_entries(method).any())


def test_masked_weights_get_no_gradient_in_a_sparse_phase(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.9, steps=100)
    drive(method, 12)
    masks = method.masks.rule.masks(method.masks.kept)
    gradients = method.weights.gradients()
    assert not any(bool(gradients[name][~mask].any()) for name, mask in masks.items())
    assert any(bool(gradients[name][mask].any()) for name, mask in masks.items())


def test_decompression_opens_all_weights_at_zero_without_momentum_and_then_they_move(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.9, steps=100)
    optimizer = drive(method, 14)
    pruned = {name: ~mask for name, mask in method.masks.rule.masks(method.masks.kept).items()}
    assert bool(momentum(method, optimizer).any())
    drive(method, 1, optimizer)
    assert method.masks.density == 1
    assert not any(bool(method.weights.parameters[name][where].any()) for name, where in pruned.items())
    assert not bool(momentum(method, optimizer).any())
    drive(method, 2, optimizer)
    moved = torch.cat([method.weights.parameters[name][where].detach() for name, where in pruned.items()])
    assert float((moved != 0).float().mean()) > 0.5


def test_compression_leaves_momentum_alone(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.9, steps=100)
    optimizer = drive(method, 9)
    before = momentum(method, optimizer).abs().sum()
    drive(method, 1, optimizer)
    assert method.masks.density < 1
    assert momentum(method, optimizer).abs().sum() > 0.2 * before


def test_a_weight_that_was_pruned_can_win_a_later_mask(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.5, steps=100)
    optimizer = drive(method, 10)
    first = torch.cat(method.masks.kept)
    drive(method, 9, optimizer)
    loser = int((~first).nonzero()[0])
    with torch.no_grad():
        method.weights.parameters[method.masks.rule.units[0].name].view(-1)[loser] = 10.0
    drive(method, 1, optimizer)
    assert not bool(first[loser])
    assert bool(torch.cat(method.masks.kept)[loser])


def test_sparse_decompression_opens_the_next_weights_of_the_same_ranking(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.9, open_sparsity=0.6, steps=100)
    optimizer = drive(method, 10)
    tight = torch.cat(method.masks.kept)
    drive(method, 5, optimizer)
    wide = torch.cat(method.masks.kept)
    assert bool((~tight | wide).all())
    assert int(wide.sum()) == wide.numel() - round(0.6 * wide.numel())


def test_decompression_as_sparse_as_compression_keeps_the_number_of_weights(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.8, open_sparsity=0.8, steps=100)
    counts: list[int] = []
    drive(method, 60, watch=lambda step: counts.append(int(torch.cat(method.masks.kept).sum())))
    assert len(set(counts[10:])) == 1


def test_zero_sparsity_without_resets_is_dense_training_bit_for_bit(make: Maker, drive: Drive, network: Any) -> None:
    start = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    drive(make("acdc", sparsity=0.0, reset_momentum=False, steps=30), 30)
    sparse = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    network.model.load_state_dict(start)
    never = make("one-shot", sparsity=0.0, start=1.0, steps=31)
    drive(never, 30)
    assert all(torch.equal(tensor, sparse[name]) for name, tensor in network.model.state_dict().items())


def test_resetting_momentum_is_a_difference(make: Maker, drive: Drive, network: Any) -> None:
    start = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    results = []
    for reset in (True, False):
        network.model.load_state_dict(start)
        drive(make("acdc", sparsity=0.0, reset_momentum=reset, steps=30), 30)
        results.append(network.model.head.weight.detach().clone())
    assert not torch.equal(*results)


def test_rising_sparsity_never_falls_and_is_at_the_target_in_the_last_two_phases(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.98, rising=True, first_sparsity=0.8, steps=100)
    seen: list[float] = []
    drive(method, 100, watch=lambda step: seen.append(method.masks.density))
    assert isinstance(method.schedule, AcDc)
    levels = [seen[phase.start] for phase in method.schedule.phases if phase.sparse]
    total = method.weights.count()
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(0.2, abs=1 / total)
    assert levels[-2:] == pytest.approx([0.02, 0.02], abs=1 / total)
    assert levels[-3] > 0.02 + 1 / total


def test_the_dense_twin_is_the_network_before_the_last_compression(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.9, keep_twin=True, steps=100)
    copies: dict[int, Tensor] = {}

    def copy(step: int) -> None:
        copies[step] = method.network.model.get_parameter("stem.0.weight").detach().clone()

    optimizer = drive(method, 84, watch=copy)
    assert isinstance(method.schedule, AcDc)
    assert method.schedule.twin is None
    drive(method, 1, optimizer)
    assert method.schedule.twin is not None
    twin = method.schedule.twin["stem.0.weight"]
    assert float((twin == 0).float().mean()) < 0.5
    assert torch.allclose(twin, copies[84], atol=0.1)
    assert not torch.equal(twin, method.network.model.get_parameter("stem.0.weight"))


# -- gradual pruning ------------------------------------------------------------------------------------


def test_the_cubic_schedule_has_its_closed_form_values() -> None:
    from nasc.methods._schedules import Ramp

    schedule = GradualPruning(Ramp(0.1, 0.8), 100, 10)
    sparsities = [0.95 + (0.05 - 0.95) * schedule.left(step) for step in (10, 20, 40, 60, 80)]
    assert sparsities == pytest.approx([0.05, 0.3832, 0.7821, 0.9290, 0.95], abs=5e-5)


def test_gradual_masks_only_shrink_and_end_at_the_target(make: Maker, drive: Drive) -> None:
    method = make("gmp", sparsity=0.9, steps=60)
    seen = [torch.cat(method.masks.kept)]
    drive(method, 60, watch=lambda step: seen.append(torch.cat(method.masks.kept)))
    assert all(bool((~new | old).all()) for old, new in itertools.pairwise(seen))
    assert len({int(each.sum()) for each in seen}) > 5
    assert int((~seen[-1]).sum()) == round(0.9 * seen[-1].numel())
    assert not bool(masked_entries(method).any())
    figures = method.metrics()
    assert figures["iou"] == pytest.approx(figures["iou_expected"], abs=0.02)  # counts are whole numbers of weights


def test_a_layer_that_lost_all_its_weights_is_reported_and_can_be_prevented(make: Maker, network: Any) -> None:
    with torch.no_grad():
        network.model.head.weight.mul_(1e-6)
    assert make("one-shot", sparsity=0.5, start=0.0).metrics()["collapsed"] == 1
    with torch.no_grad():
        network.model.head.weight.normal_().mul_(1e-6)
    assert make("one-shot", sparsity=0.5, start=0.0, keep_rows=True).metrics()["collapsed"] == 0


def test_one_shot_prunes_once(make: Maker, drive: Drive) -> None:
    method = make("one-shot", sparsity=0.9, start=0.5, steps=20)
    seen: list[float] = []
    drive(method, 20, watch=lambda step: seen.append(method.masks.density))
    assert seen[:9] == [1.0] * 9
    assert len(set(seen[9:])) == 1
    assert method.frozen


# -- RigL, SET, static ----------------------------------------------------------------------------------


def test_the_smallest_active_are_dropped_and_the_largest_gradients_grow() -> None:
    kept = (torch.tensor([True, True, True, True, False, False, False, False]),)
    scores = (torch.tensor([4.0, 1.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0]),)
    growth = (torch.tensor([9.0, 0.1, 9.0, 0.5, 0.2, 0.9, 0.0, 0.3]),)
    (moved,) = move_masks(kept, scores, growth, 0.5)
    assert moved.tolist() == [True, False, True, True, False, True, False, False]  # 3 was dropped and grew again


@pytest.mark.parametrize(
    ("name", "budget"), [("rigl", "erk"), ("rigl", "uniform-all"), ("set", "erk"), ("static", "erk")]
)
def test_every_layer_keeps_its_number_of_weights(make: Maker, drive: Drive, name: str, budget: str) -> None:
    method = make(name, sparsity=0.8, budget=budget, steps=60, interval=5)
    counts = [int(flags.sum()) for flags in method.masks.kept]
    drive(method, 60, watch=lambda step: None if step % 7 else check(method, counts))
    assert [int(flags.sum()) for flags in method.masks.kept] == counts
    assert not bool(masked_entries(method).any())


def check(method: SparseTraining, counts: list[int]) -> None:
    assert [int(flags.sum()) for flags in method.masks.kept] == counts


def test_the_share_that_moves_falls_from_alpha_to_zero() -> None:
    schedule = DropAndGrow(100, "gradient", interval=10, end=0.75, alpha=0.3)
    assert schedule.fraction(0) == pytest.approx(0.3)
    assert schedule.fraction(75) == 0
    shares = [schedule.fraction(step) for step in range(76)]
    assert shares == sorted(shares, reverse=True)


def test_the_step_that_moves_masks_moves_no_weight_and_new_ones_start_at_zero(make: Maker, drive: Drive) -> None:
    method = make("rigl", sparsity=0.8, steps=60, interval=5)
    optimizer = drive(method, 5)
    before = {name: value.detach().clone() for name, value in method.model.named_parameters()}
    old_momentum = {p: optimizer.state[p]["momentum_buffer"].clone() for p in method.model.parameters()}
    old = method.masks.rule.masks(method.masks.kept)
    drive(method, 1, optimizer)
    new = method.masks.rule.masks(method.masks.kept)
    opened = {name: new[name] & ~old[name] for name in new}
    assert sum(int(each.sum()) for each in opened.values()) > 0
    for name, value in method.model.named_parameters():
        stayed = new[name] & old[name] if name in new else torch.ones_like(value, dtype=torch.bool)
        assert torch.equal(value[stayed], before[name][stayed]), name
        remembered = optimizer.state[value]["momentum_buffer"]
        assert torch.equal(remembered[stayed], old_momentum[value][stayed]), name
    for name, where in opened.items():
        parameter = method.weights.parameters[name]
        assert not bool(parameter[where].any())
        assert not bool(optimizer.state[parameter]["momentum_buffer"][where].any())


def test_rigl_grows_by_the_dense_gradient(make: Maker, drive: Drive) -> None:
    method = make("rigl", sparsity=0.8, steps=60, interval=5)
    optimizer = drive(method, 5)
    before = method.masks.kept
    drive(method, 1, optimizer)
    gradients = method.masks.rule.scores(method.weights.gradients())
    for unit in range(len(before)):
        grown = method.masks.kept[unit] & ~before[unit]
        idle = ~method.masks.kept[unit] & ~before[unit]
        if bool(grown.any()):
            assert gradients[unit][grown].min() >= gradients[unit][idle].max()


def test_overlap_of_rigls_masks_is_not_below_its_bound(make: Maker, drive: Drive) -> None:
    method = make("rigl", sparsity=0.8, steps=60, interval=5)
    drive(method, 30)
    figures = method.metrics()
    assert figures["iou_bound"] == pytest.approx(
        (1 - method.schedule.fraction(25)) / (1 + method.schedule.fraction(25))
    )
    assert figures["iou_bound"] <= figures["iou"] < 1


def test_static_masks_are_final_from_the_start(make: Maker) -> None:
    assert make("static", sparsity=0.8).frozen


def test_a_budget_that_ranks_layers_together_cannot_draw_masks(make: Maker) -> None:
    with pytest.raises(UsageError, match="a density of its own"):
        make("rigl", sparsity=0.8, budget="global")
    with pytest.raises(UsageError, match="groups may move"):
        make("rigl", pattern="2:4")


# -- powerpropagation -----------------------------------------------------------------------------------


def test_powers_change_neither_the_function_at_the_start_nor_at_the_end(
    make: Maker, drive: Drive, network: Any
) -> None:
    x = torch.randn(4, 3, 6, 6)
    network.model.eval()
    expected = network.model(x)
    method = make("powerpropagation", sparsity=0.8, steps=40)
    assert torch.allclose(method.model(x), expected, atol=1e-5)
    optimizer = drive(method, 31)
    assert not method.frozen
    assert not torch.allclose(method.model(x), network.model(x), atol=1e-3)  # the module still holds roots
    drive(method, 1, optimizer)
    assert method.frozen
    network.model.eval()
    assert torch.allclose(method.model.eval()(x), network.model(x), atol=1e-6)


def test_small_weights_move_less_under_powers() -> None:
    from nasc.methods.sparse_training.power import power

    v = torch.tensor([0.1, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: power(value, 3.0), (v,))
    (slope,) = torch.autograd.grad(power(v, 3.0).sum(), v)
    assert slope.tolist() == pytest.approx([3 * 0.1**2, 3.0])


# -- aims -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["acdc", "gmp", "rigl", "static", "one-shot"])
@pytest.mark.parametrize("unit", ["macs", "params", "bytes"])
def test_a_price_is_met_by_the_selection_itself_and_not_by_much_less(
    make: Maker, drive: Drive, name: str, unit: str
) -> None:
    method = make(name, unit=unit, share=0.5, steps=40)
    drive(method, 40)
    assert method.frozen
    spent = method.price_now() / method.limit
    assert spent <= 1
    assert spent > (0.98 if unit != "bytes" else 0.75)  # whole channels are coarse on 8 and 16 of them


def test_a_target_in_bytes_prunes_channels_and_one_in_macs_weights(make: Maker) -> None:
    assert make("static", unit="bytes", share=0.5).select().masks == {}
    assert make("static", unit="macs", share=0.5).select().kept == {}


def test_a_limit_that_zeros_cannot_meet_is_refused_before_training(make: Maker) -> None:
    with pytest.raises(TargetError, match="with all prunable weights gone"):
        make("acdc", share=0.001)


def test_options_that_contradict_are_refused(make: Maker) -> None:
    with pytest.raises(UsageError, match="sparsity < 1"):
        make("acdc", sparsity=1.0)
    with pytest.raises(UsageError, match=r"fixes the sparsity at 0\.47"):
        make("acdc", pattern="2:4", sparsity=0.9)
    with pytest.raises(UsageError, match="does not take the option"):
        make("acdc", colour="red")


# -- the cost of training -------------------------------------------------------------------------------


def test_a_run_of_acdc_at_the_preset_costs_half_a_dense_one_and_half_a_sparse_one(make: Maker, drive: Drive) -> None:
    method = make("acdc", sparsity=0.9, steps=100)
    shares: list[float] = []
    drive(method, 100, watch=lambda step: shares.append(method.step_cost()))
    sparse_shares = [share for share in shares if share < 1]
    assert len(sparse_shares) == 51  # after step 10, 11, ..., the last one included
    expected = 0.5 + 0.5 * sum(sparse_shares[:50]) / 50
    assert method.metrics()["training_cost"] == pytest.approx(expected, abs=0.005)


def test_the_step_in_which_rigl_moves_masks_computes_the_whole_gradient(make: Maker, drive: Drive) -> None:
    method = make("rigl", sparsity=0.8, steps=60, interval=5)
    drive(method, 4)
    sparse = method.step_cost()
    drive(method, 7)  # steps 1 to 11, of which 6 and 11 moved masks
    update = (2 * sparse + 1) / 3
    assert method.metrics()["training_cost"] == pytest.approx((9 * sparse + 2 * update) / 11)
