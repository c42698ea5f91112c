"""The rivals: magnitude (uniform, global), plain l1, width multiplier, and the registry."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasc.errors import TargetError, UsageError
from nasc.graph import trace
from nasc.graph.network import Network
from nasc.methods import METHODS, Magnitude, Method, PlainL1, WidthMultiplier, build, price_for_target
from nasc.methods._price import Price
from nasc.methods._scores import reader_energies, writer_norms

Batch = tuple[Tensor, Tensor]


def train(method: Method, batch: Batch, steps: int, rate: float = 0.05) -> None:
    optimizer = torch.optim.SGD(method.model.parameters(), lr=rate, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(method.model(batch[0]), batch[1])
        getattr(method, "observe", lambda value: None)(float(loss.detach()))
        (loss + method.penalty()).backward()
        optimizer.step()
        method.step()


FAMILIES = ("sorted",)
"""Methods that train a family to the end of the run and select then; all others leave a part of it for fine-tuning."""

ELSEWHERE = ("ziplm", "pixelfly", "acdc", "acdc++", "gmp", "rigl", "set", "static", "one-shot", "powerpropagation")
"""Methods with tests of their own: they know linear layers only, change forms, or drop single weights."""

GENERAL = [name for name in METHODS if name not in ELSEWHERE]


@pytest.mark.parametrize("name", GENERAL)
@pytest.mark.parametrize("target", ["-20%", "-60%"])
def test_every_method_ends_frozen_just_below_its_target(
    residual: Network, batch: Batch, name: str, target: str
) -> None:
    price, limit = price_for_target(residual, target)
    method = build(name, residual, price, limit, 60)
    assert isinstance(method, Method)
    train(method, batch, 60 if name in FAMILIES else 50)
    assert method.frozen
    total = price.total(method.select().sizes)
    assert 0.8 * limit <= total <= limit
    before = method.select()
    train(method, batch, 5)
    assert all(torch.equal(before.kept[key], value) for key, value in method.select().kept.items())


@pytest.mark.parametrize("name", GENERAL)
def test_every_method_refuses_an_unreachable_target_before_training(residual: Network, name: str) -> None:
    price, _ = price_for_target(residual, "-50%")
    with pytest.raises(TargetError, match="the smallest allowed model takes"):
        build(name, residual, price, 1.0, 60)


@pytest.mark.parametrize("name", GENERAL)
def test_every_method_resumes_where_it_stopped(residual: Network, batch: Batch, name: str) -> None:
    network = trace(copy.deepcopy(residual.model), residual.example_inputs)
    price, limit = price_for_target(network, "-50%")
    whole = build(name, network, price, limit, 60)
    train(whole, batch, 25)
    twin = trace(copy.deepcopy(network.model), residual.example_inputs)
    resumed = build(name, twin, Price(twin), limit, 60)
    resumed.load_state_dict(whole.state_dict())
    for method in (whole, resumed):
        torch.manual_seed(1)  # the training loop seeds every step
        train(method, batch, 30)
    first, second = whole.select(), resumed.select()
    assert all(torch.equal(first.kept[key], second.kept[key]) for key in first.kept)


def test_unknown_methods_and_options_are_named(residual: Network) -> None:
    price, limit = price_for_target(residual, "-50%")
    with pytest.raises(UsageError, match="unknown method 'lottery'") as caught:
        build("lottery", residual, price, limit, 10)
    assert "surrogate" in caught.value.hint
    with pytest.raises(UsageError, match="tempo"):
        build("l1", residual, price, limit, 10, tempo=3)


def test_writer_norms_pool_all_writers_of_a_stream_and_leave_out_readers(residual: Network) -> None:
    norms = writer_norms(residual)
    stream = next(name for name in norms if name.startswith("stem"))
    model = residual.model
    squares = model.stem[0].weight.square().flatten(1).sum(1) + model.second[0].weight.square().flatten(1).sum(1)
    count = model.stem[0].weight[0].numel() + model.second[0].weight[0].numel()
    torch.testing.assert_close(norms[stream], (squares / count).sqrt().detach())


def test_reader_energies_are_ratios_to_the_mean_of_the_living(residual: Network) -> None:
    alive = {name: torch.ones(dim.size) for name, dim in residual.maskable.items()}
    stream = next(name for name in alive if name.startswith("stem"))
    alive[stream][3] = 0
    expected = []
    for reader in (residual.model.first[0], residual.model.down[0]):
        energy = reader.weight.detach().square().sum((0, 2, 3))
        expected.append(energy / energy[alive[stream] > 0].mean())
    torch.testing.assert_close(reader_energies(residual, alive)[stream], torch.stack(expected).mean(0))


def test_reader_energies_see_through_flattened_positions() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    network = trace(model, (torch.randn(2, 1, 4, 4),))
    (name,) = network.maskable
    energy = model[3].weight.detach().reshape(2, 3, 4).square().sum((0, 2))
    torch.testing.assert_close(reader_energies(network, {name: torch.ones(3)})[name], energy / energy.mean())


def test_uniform_magnitude_keeps_the_same_share_of_every_dim(residual: Network, batch: Batch) -> None:
    price, limit = price_for_target(residual, "-50%")
    method = Magnitude(residual, price, limit, 10, allocation="uniform", start=0.1, end=0.1)
    train(method, batch, 3)
    shares = [size / residual.dims[name].size for name, size in method.select().sizes.items()]
    assert max(shares) - min(shares) <= 1 / 12


def test_one_shot_magnitude_removes_the_smallest_norms(residual: Network, batch: Batch) -> None:
    price, limit = price_for_target(residual, "-50%")
    method = Magnitude(residual, price, limit, 100, start=0.2, end=0.2)
    train(method, batch, 19)
    assert price.total(method.select().sizes) == price.dense
    for parameter in residual.model.parameters():
        parameter.requires_grad_(False)
    norms = writer_norms(residual)
    method.step()
    for name, kept in method.select().kept.items():
        removed = torch.ones(norms[name].numel(), dtype=torch.bool).index_fill(0, kept, value=False)
        assert float(norms[name][kept].min()) >= float(norms[name][removed].max())


def test_plain_l1_without_a_limit_adds_lambda_times_the_mean_mask(residual: Network, batch: Batch) -> None:
    method = PlainL1(residual, Price(residual), None, 50, start=0.0, end=1.0, strength=3.0, learning_rate=0.5)
    assert float(method.penalty().detach()) == pytest.approx(3.0)
    method.penalty().backward()
    method.step()
    expected = 1 - 0.5 * 3.0 / method.masks.flat.numel()
    torch.testing.assert_close(method.masks.flat.detach(), torch.full_like(method.masks.flat, expected))


def test_plain_l1_of_strength_zero_without_a_limit_is_plain_training(residual: Network, batch: Batch) -> None:
    plain = copy.deepcopy(residual.model)
    train(PlainL1(residual, Price(residual), None, 10), batch, 10)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(batch[0]), batch[1]).backward()
        optimizer.step()
    pairs = zip(plain.state_dict().values(), residual.model.state_dict().values(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


def test_the_width_multiplier_is_the_largest_that_fits_and_lands_on_steps(
    residual: Network, staircase: Callable[[int], Any]
) -> None:
    price = Price(residual, "seconds", staircase(4))
    method = WidthMultiplier(residual, price, 0.5 * price.dense)
    sizes = method.select().sizes
    assert method.frozen
    assert all(size % 4 == 0 for size in sizes.values())
    assert all(indices.tolist() == list(range(sizes[name])) for name, indices in method.select().kept.items())
    assert price.total(sizes) <= 0.5 * price.dense


def test_the_width_multiplier_gives_readers_the_scale_of_a_small_models_start(residual: Network) -> None:
    price, limit = price_for_target(residual, "-50%")
    selection = WidthMultiplier(residual, price, limit).select()
    for name, gains in selection.gains.items():
        kept = selection.kept[name]
        expected = (residual.dims[name].size / kept.numel()) ** 0.5
        torch.testing.assert_close(gains[kept], torch.full((kept.numel(),), expected))
