"""The surrogate: the paper's form, its options, and the controller (the sheet, section 5: laws 5 to 8, 11, 20 to 23)."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nasc.errors import TargetError, UsageError
from nasc.graph import trace
from nasc.graph.network import Network
from nasc.materialise import materialise
from nasc.methods import Method, Surrogate, SurrogateConfig
from nasc.methods._masks import lay_out
from nasc.methods._price import Price
from nasc.methods.surrogate.norms import surrogate_size
from nasc.methods.surrogate.relaxed import as_loss_term, relax

Batch = tuple[Tensor, Tensor]


def run(search: Surrogate, batch: Batch, steps: int, rate: float = 0.05, optimizer: Any = None) -> list[float]:
    """Plain training with the method in the loop; the losses of all steps."""
    optimizer = optimizer or torch.optim.SGD(search.model.parameters(), lr=rate, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(search.model(batch[0]), batch[1]) + search.penalty()
        loss.backward()
        optimizer.step()
        search.step()
        losses.append(float(loss.detach()))
    return losses


# -- the price -------------------------------------------------------------------------------------------------------


class Excited(nn.Module):
    """Stride, padding, groups, depthwise and squeeze-excite."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.grouped, self.head = nn.Conv2d(8, 12, 3, groups=2), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.depthwise(torch.relu(self.stem(x))))
        x = x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(torch.relu(self.grouped(x)).mean((2, 3)))


def test_flops_surrogate_at_ones_equals_an_independent_counter(residual: Network, mlp: Network) -> None:
    excited = trace(Excited(), (torch.randn(2, 3, 16, 16),))
    for network in (residual, mlp, excited):
        example = network.example_inputs[0][:1]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.model.eval()(example)
        layout = lay_out(network)
        relaxed = relax(Price(network, "macs"), layout, layout.ones())
        assert relaxed.value == pytest.approx(counter.get_total_flops() / 2)


@pytest.mark.parametrize("options", [{"target": "-50%"}, {"controller": None, "strength": 20.0, "normalised": True}])
def test_masked_equals_materialised(residual: Network, batch: Batch, options: dict[str, Any]) -> None:
    """Also with masks between zero and one, which are folded into the readers."""
    search = Surrogate(residual, total_steps=60, learning_rate=0.1, **options)
    run(search, batch, 40)
    small = materialise(residual, search.select())
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in residual.model.parameters())
    torch.testing.assert_close(small.eval()(batch[0]), search.model.eval()(batch[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["paper", "exact"])
def test_relaxed_price_at_ones_is_the_dense_price(residual: Network, form: Any) -> None:
    price, layout = Price(residual, "macs"), lay_out(residual)
    assert relax(price, layout, layout.ones(), form).value == pytest.approx(price.dense)


def test_true_price_never_exceeds_the_surrogate_on_binary_masks(mlp: Network) -> None:
    price, layout = Price(mlp, "macs"), lay_out(mlp)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        flat = (torch.rand(sum(layout.sizes), generator=generator) < 0.4).float()
        flat[0] = flat[-1] = 1
        true = price.total(layout.counts(flat))
        assert true <= relax(price, layout, flat).value * (1 + 1e-6)
        assert relax(price, layout, flat, "exact").value == pytest.approx(true)


@pytest.mark.parametrize("unit", ["macs", "params"])
def test_closed_form_gradient_of_the_price_equals_autograd(residual: Network, unit: Any) -> None:
    price, layout = Price(residual, unit), lay_out(residual)
    flat = (torch.rand(sum(layout.sizes), dtype=torch.float64) + 0.05).requires_grad_()
    sizes = {name: surrogate_size(vector) for name, vector in layout.split(flat).items()}
    total = nasc_cost(residual, sizes, unit)
    (expected,) = torch.autograd.grad(total, flat)
    relaxed = relax(price, layout, flat)
    assert relaxed.value == pytest.approx(float(total.detach()))
    torch.testing.assert_close(relaxed.gradient, expected)
    (through_loss,) = torch.autograd.grad(as_loss_term(flat, relaxed, 0.3), flat)
    torch.testing.assert_close(through_loss, 0.3 * expected)


def nasc_cost(network: Network, sizes: dict[str, Tensor], unit: str) -> Any:
    import nasc.cost

    return nasc.cost.cost(network, sizes, unit)


def test_latency_of_a_straight_table_is_a_multiple_of_the_macs(mlp: Network, staircase: Callable[[int], Any]) -> None:
    layout = lay_out(mlp)
    macs, seconds = Price(mlp, "macs"), Price(mlp, "seconds", staircase(1))
    for keep in (3, 7, 16):
        sizes = dict.fromkeys(layout.names, keep)
        assert seconds.total(sizes) == pytest.approx(1e-9 * macs.total(sizes))


# -- the paper's form ------------------------------------------------------------------------------------------------


def test_strength_zero_is_plain_training_bit_for_bit(residual: Network, batch: Batch) -> None:
    plain = copy.deepcopy(residual.model)
    search = Surrogate(residual, controller=None, strength=0.0, total_steps=20)
    run(search, batch, 20)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(batch[0]), batch[1]).backward()
        optimizer.step()
    for (name, left), right in zip(plain.state_dict().items(), residual.model.state_dict().values(), strict=True):
        assert torch.equal(left, right), name
    assert torch.equal(search.masks.flat.detach(), search.masks.layout.ones())


def test_one_step_is_the_papers_formula(residual: Network, batch: Batch) -> None:
    search = Surrogate(residual, controller=None, strength=1e-6, learning_rate=0.3, total_steps=5)
    start = torch.rand_like(search.masks.flat) + 0.01
    search.masks.assign(start)
    loss = nn.functional.cross_entropy(search.model(batch[0]), batch[1]) + search.penalty()
    (gradient,) = torch.autograd.grad(loss, search.masks.flat, retain_graph=True)
    loss.backward()
    search.step()
    torch.testing.assert_close(search.masks.flat.detach(), (start - 0.3 * gradient).clamp_min(0))


def test_masks_take_the_models_learning_rate_where_none_is_given(residual: Network, batch: Batch) -> None:
    moved = {}
    for rate in (0.01, 0.02):
        network = trace(copy.deepcopy(residual.model), residual.example_inputs)
        search = Surrogate(network, controller=None, strength=1e-9, total_steps=5)
        optimizer = torch.optim.SGD(search.model.parameters(), lr=rate)
        search.follow(optimizer)
        run(search, batch, 1, optimizer=optimizer)
        moved[rate] = (search.masks.flat.detach() - 1).abs().sum()
    torch.testing.assert_close(moved[0.02], 2 * moved[0.01])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_masks_stay_nonnegative_finite_and_never_empty_under_any_pressure(
    residual: Network, batch: Batch, optimizer: Any
) -> None:
    search = Surrogate(
        residual,
        controller=None,
        strength=50.0,
        normalised=True,
        learning_rate=0.1,
        optimizer=optimizer,
        total_steps=60,
    )
    for _ in range(60):
        losses = run(search, batch, 1, rate=0.01)
        assert all(torch.isfinite(torch.tensor(losses)))
        assert float(search.masks.flat.detach().min()) >= 0
        assert min(search.masks.sizes().values()) >= 1
    assert sum(search.masks.sizes().values()) < search.masks.flat.numel()


def test_a_step_that_would_clip_whole_dims_leaves_the_strongest_entry_of_each(residual: Network) -> None:
    search = Surrogate(residual, controller=None, strength=1.0, normalised=True, learning_rate=0.5, total_steps=5)
    start = torch.rand_like(search.masks.flat) + 0.5
    search.masks.assign(start)
    search.masks.flat.grad = torch.full_like(start, 1e3)
    search.step()
    assert set(search.masks.sizes().values()) == {1}
    for name, vector in search.masks.layout.split(search.masks.flat.detach()).items():
        assert int(vector.argmax()) == int(search.masks.layout.split(start)[name].argmax())
    assert bool(torch.isfinite(search.penalty().detach()))


def test_without_projection_nothing_is_exactly_zero(residual: Network, batch: Batch) -> None:
    zeros = {}
    for project in (True, False):
        network = trace(copy.deepcopy(residual.model), residual.example_inputs)
        search = Surrogate(
            network, controller=None, strength=50.0, normalised=True, learning_rate=0.1, project=project, total_steps=80
        )
        run(search, batch, 80, rate=0.01)
        zeros[project] = int((search.masks.flat.detach() == 0).sum())
    assert zeros[True] > 0
    assert zeros[False] == 0


def test_absorbing_zeros_stay(residual: Network, batch: Batch) -> None:
    search = Surrogate(
        residual, controller=None, strength=20.0, normalised=True, learning_rate=0.1, absorbing=True, total_steps=80
    )
    gone = torch.zeros_like(search.masks.flat, dtype=torch.bool)
    for _ in range(80):
        run(search, batch, 1, rate=0.02)
        now = search.masks.flat.detach() == 0
        assert bool((now | ~gone).all())
        gone = now
    assert bool(gone.any())


def test_renormalisation_changes_masks_and_weights_but_not_the_function(residual: Network, batch: Batch) -> None:
    options = {"controller": None, "strength": 1e-6, "learning_rate": 0.3, "total_steps": 3}
    twin = trace(copy.deepcopy(residual.model), residual.example_inputs)
    outputs = []
    for network, renormalise in ((residual, False), (twin, True)):
        search = Surrogate(network, renormalise=renormalise, **options)  # type: ignore[arg-type]
        run(search, batch, 1)
        outputs.append(search.model.eval()(batch[0]))
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    norms = search.masks.layout.total(search.masks.flat.detach().square())
    torch.testing.assert_close(norms, torch.tensor(search.masks.layout.sizes, dtype=torch.float32))


def test_warm_up_raises_lambda_in_a_straight_line(mlp: Network) -> None:
    search = Surrogate(mlp, controller=None, strength=2.0, warm_up=0.5, total_steps=8)
    seen = [search.strength]
    for _ in range(8):
        search.step()
        seen.append(search.strength)
    assert seen == pytest.approx([0, 0.5, 1, 1.5, 2, 2, 2, 2, 2])


def test_reaching_the_target_can_freeze_the_masks(residual: Network, batch: Batch) -> None:
    search = Surrogate(
        residual,
        target="-30%",
        controller=None,
        strength=20.0,
        normalised=True,
        learning_rate=0.1,
        freeze_at_target=True,
        total_steps=200,
    )
    while not search.frozen and search.step_count < 300:
        run(search, batch, 1, rate=0.02)
    assert search.frozen
    assert search.price.total(search.select().sizes) <= 0.7 * search.price.dense
    before = search.masks.flat.detach().clone()
    run(search, batch, 3)
    assert torch.equal(before, search.masks.flat.detach())
    assert float(search.penalty()) == 0


# -- the controller --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["-20%", "-50%", "-80%"])
@pytest.mark.parametrize("fade", [0.0, 0.2])
def test_one_run_ends_at_the_target_with_masks_fixed_and_time_left(
    residual: Network, batch: Batch, target: str, fade: float
) -> None:
    search = Surrogate(residual, target=target, total_steps=100, interval=4, fade=fade)
    run(search, batch, 81)
    assert search.frozen
    total, limit = search.price.total(search.select().sizes), search.limit
    assert limit is not None
    assert 0.85 * limit <= total <= limit
    assert set(search.masks.flat.detach().tolist()) == {0.0, 1.0}
    assert search.strength > 0
    before = search.masks.flat.detach().clone()
    run(search, batch, 10)
    assert torch.equal(before, search.masks.flat.detach())


def test_widths_land_on_the_steps_of_the_device(
    residual: Network, batch: Batch, staircase: Callable[[int], Any]
) -> None:
    search = Surrogate(residual, table=staircase(4), target="-50%", total_steps=60, interval=4)
    run(search, batch, 50)
    assert search.frozen
    assert all(size % 4 == 0 for size in search.select().sizes.values())
    assert search.limit is not None
    assert search.price.total(search.select().sizes) <= search.limit


def test_the_dense_phase_is_plain_training_bit_for_bit(residual: Network, batch: Batch) -> None:
    plain = Surrogate(
        trace(copy.deepcopy(residual.model), residual.example_inputs), controller=None, strength=0.0, total_steps=100
    )
    search = Surrogate(residual, target="-50%", total_steps=100, start=0.3)
    assert run(plain, batch, 30) == pytest.approx(run(search, batch, 30), abs=0)
    assert torch.equal(search.masks.flat.detach(), search.masks.layout.ones())


def test_removed_entries_do_not_come_back_and_the_price_follows_its_ramp(residual: Network, batch: Batch) -> None:
    search = Surrogate(residual, target="-60%", total_steps=100, interval=2)
    gone, prices = torch.zeros_like(search.masks.flat, dtype=torch.bool), []
    for _ in range(60):
        run(search, batch, 1)
        now = search.masks.flat.detach() == 0
        assert bool((now | ~gone).all())
        gone = now
        prices.append(search.metrics()["price"])
    assert prices == sorted(prices, reverse=True)
    assert len(set(prices)) > 5


def test_same_seed_same_selection(residual: Network, batch: Batch) -> None:
    kept = []
    for _ in range(2):
        search = Surrogate(
            trace(copy.deepcopy(residual.model), residual.example_inputs), target="-50%", total_steps=40, interval=4
        )
        run(search, batch, 30)
        kept.append({name: indices.tolist() for name, indices in search.select().kept.items()})
    assert kept[0] == kept[1]


def test_entries_that_nothing_reads_go_first(residual: Network, batch: Batch) -> None:
    dead = torch.tensor([1, 5, 8, 20])
    with torch.no_grad():
        residual.model.second[0].weight[:, dead] = 0
    search = Surrogate(residual, target="-12%", total_steps=100, interval=4)
    run(search, batch, 60, rate=1e-9)
    name = next(key for key in search.select().kept if key.startswith("first"))
    assert not set(dead.tolist()) & set(search.select().kept[name].tolist())


def test_rescaling_masks_against_their_readers_does_not_change_the_scores(residual: Network, batch: Batch) -> None:
    """In another gauge of (a, W) the network is the same, and so is every decision."""
    search = Surrogate(residual, target="-50%", total_steps=1000)
    run(search, batch, 3, rate=1e-9)
    before = search.scores()
    with torch.no_grad():
        residual.model.head.weight.mul_(7)
    after = search.scores()
    for name, vector in before.items():
        torch.testing.assert_close(after[name], vector)


@pytest.mark.parametrize(
    "options",
    [{"target": "-50%", "fade": 0.1}, {"controller": None, "strength": 5.0, "normalised": True, "momentum": 0.9}],
    ids=["steered", "paper"],
)
@pytest.mark.parametrize("at", [3, 17, 33])
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(
    residual: Network, batch: Batch, options: dict[str, Any], at: int
) -> None:
    def begin(model: nn.Module) -> tuple[Surrogate, torch.optim.Optimizer]:
        network = trace(model, residual.example_inputs)
        search = Surrogate(network, total_steps=50, **options)
        return search, torch.optim.SGD(search.model.parameters(), lr=0.05, momentum=0.9)

    whole, optimizer = begin(copy.deepcopy(residual.model))
    run(whole, batch, at, optimizer=optimizer)
    saved = copy.deepcopy((whole.network.model, optimizer.state_dict(), whole.state_dict()))
    run(whole, batch, 45 - at, optimizer=optimizer)

    resumed, optimizer = begin(saved[0])
    optimizer.load_state_dict(saved[1])
    resumed.load_state_dict(saved[2])
    run(resumed, batch, 45 - at, optimizer=optimizer)
    assert torch.equal(whole.masks.flat.detach(), resumed.masks.flat.detach())
    for left, right in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(left, right)


# -- refusals --------------------------------------------------------------------------------------------------------


def test_it_fulfils_the_contract_of_a_method(residual: Network) -> None:
    assert isinstance(Surrogate(residual, target="-50%", total_steps=10), Method)


def test_a_target_below_the_smallest_model_is_refused_before_training(residual: Network) -> None:
    with pytest.raises(TargetError, match="the smallest allowed model takes"):
        Surrogate(residual, target="-99.9%", total_steps=10)


def test_a_controller_needs_a_target(residual: Network) -> None:
    with pytest.raises(UsageError, match="a controller needs a target"):
        Surrogate(residual, total_steps=10)
    with pytest.raises(UsageError, match="freeze_at_target needs a target"):
        Surrogate(residual, total_steps=10, controller=None, strength=1.0, freeze_at_target=True)


def test_a_model_without_prunable_dims_is_refused() -> None:
    from nasc.errors import TraceError

    network = trace(nn.Linear(3, 2), (torch.randn(2, 3),))
    with pytest.raises(TraceError, match="at least one prunable dim"):
        Surrogate(network, target="-50%", total_steps=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "cubic"}, "unknown form 'cubic'"),
        ({"controller": "pid"}, "unknown controller 'pid'"),
        ({"start": 0.6, "end": 0.4}, "expected start <= end"),
        ({"memory": 1.5}, "memory must lie between 0 and 1"),
        ({"strength": 1.0}, "exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SurrogateConfig(**options)


@pytest.mark.parametrize("total_steps", [1, 2, 5, 9])
def test_the_shortest_run_still_ends_frozen_below_its_target(residual: Network, total_steps: int) -> None:
    search = Surrogate(residual, target="-50%", total_steps=total_steps)
    for _ in range(total_steps):
        search.step()
    assert search.frozen
    assert search.limit is not None
    assert search.price.total(search.select().sizes) <= search.limit
