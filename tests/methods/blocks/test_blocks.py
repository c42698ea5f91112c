"""Blocks under one price: costs, choice of form, folding. Section 2.2, 2.7 and 5 (5, 6, 15, 16) of the method sheet."""

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from nasc.blocks.quantisation import BITS
from nasc.errors import TargetError, TraceError, UsageError
from nasc.graph import trace
from nasc.graph.network import Network
from nasc.materialise import materialise, small_masks, verify
from nasc.methods import Surrogate, price_for_target
from nasc.methods._blocks import BlockPrice, WeightForms, bits_name, build_blocks, density_name
from nasc.methods._price import Price
from nasc.methods.surrogate.block_steering import true_sizes
from nasc.methods.surrogate.relaxed import relax_blocks

Batch = tuple[Tensor, Tensor]


class Wide(nn.Module):
    """Layers wide enough that factors pay: 3x3, 1x1, depthwise and linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.conv = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1, stride=2), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False), nn.BatchNorm2d(24))
        self.point = nn.Sequential(nn.Conv2d(24, 32, 1), nn.ReLU())
        self.hidden = nn.Linear(32, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.point(self.depthwise(self.conv(self.stem(x)))).mean((2, 3))
        return self.head(torch.relu(self.hidden(x)))


@pytest.fixture
def wide() -> Network:
    torch.manual_seed(0)
    return trace(Wide(), (torch.randn(2, 1, 8, 8),))


@pytest.fixture(scope="module")
def fixed() -> Network:
    """The same, for tests that train nothing."""
    torch.manual_seed(0)
    return trace(Wide(), (torch.randn(2, 1, 8, 8),))


COMBINATIONS = [
    ",".join(blocks)
    for blocks in (
        ("lowrank",),
        ("sparse",),
        ("quant",),
        ("prune", "lowrank"),
        ("lowrank", "sparse"),
        ("prune", "lowrank", "sparse", "quant"),
    )
]


def train(method: Surrogate, batch: Batch, steps: int, rate: float = 0.05) -> None:
    optimizer = torch.optim.SGD(method.model.parameters(), lr=rate, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        (nn.functional.cross_entropy(method.model(batch[0]), batch[1]) + method.penalty()).backward()
        optimizer.step()
        method.step()


@pytest.mark.parametrize("blocks", COMBINATIONS)
def test_the_rewritten_network_computes_what_the_user_s_does_and_costs_as_much(fixed: Network, blocks: str) -> None:
    built = build_blocks(fixed, frozenset(blocks.split(",")))  # type: ignore[arg-type]
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        built.network.model.eval(), fixed.model.eval()
        torch.testing.assert_close(built.network.model(x), fixed.model(x), rtol=0, atol=1e-5)
    if blocks != "lowrank,sparse" and "lowrank,sparse" not in blocks:
        for unit in ("macs", "params"):
            assert BlockPrice(built, unit).dense == Price(fixed, unit).dense  # type: ignore[arg-type]


def test_the_price_of_a_layer_is_that_of_its_cheaper_form_by_closed_form(fixed: Network) -> None:
    built = build_blocks(fixed, frozenset({"prune", "lowrank"}))
    price = BlockPrice(built, "macs")
    layer = next(layer for layer in built.layers if layer.path == "conv.0")
    assert layer.rank is not None
    before = price.total({})
    positions, fan_in, out = 16, 16 * 9, 24  # 4 x 4 places, 3 x 3 taps
    for rank in range(1, 25):
        expected = positions * min(fan_in * out, rank * (fan_in + out))
        assert price.total({layer.rank: rank}) == before - positions * fan_in * out + expected
        assert price.change({}, layer.rank, rank) == expected - positions * fan_in * out
        assert price.cheapest(layer, {layer.rank: rank}) == (0 if rank * (fan_in + out) <= fan_in * out else 1)


def test_shares_scale_multiply_adds_and_bits_scale_bytes(fixed: Network) -> None:
    built = build_blocks(fixed, frozenset({"sparse", "quant"}))
    hidden, weight = bits_name("hidden"), density_name("hidden.weight")
    macs, size = BlockPrice(built, "macs"), BlockPrice(built, "bytes")
    assert macs.change({}, weight, 0.25) == -0.75 * 32 * 32
    assert macs.change({}, hidden, 2) == 0
    assert size.change({}, hidden, 8) == -32 * 32
    assert size.change({weight: 0.25}, hidden, 8) == -0.25 * 32 * 32
    assert size.change({}, weight, 0.5) == -0.5 * 2 * 32 * 32
    operations = BlockPrice(built, "bitops")
    assert operations.dense == 16 * macs.dense
    assert operations.change({}, hidden, 4) == -12 * 32 * 32


@pytest.mark.parametrize("unit", ["macs", "params", "bytes", "bitops"])
def test_a_change_is_the_difference_of_totals_and_slopes_are_those_of_the_first_form(fixed: Network, unit: str) -> None:
    built = build_blocks(fixed, frozenset({"prune", "lowrank", "quant"}))
    price = BlockPrice(built, unit)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    sizes: dict[str, float] = {
        name: int(torch.randint(2, dim.size + 1, (1,), generator=generator))
        for name, dim in built.network.maskable.items()
    }
    sizes |= {bits_name(layer.path): 8.0 for layer in built.layers}
    for name, size in list(sizes.items())[::2]:
        smaller = max(1, size // 2)
        assert price.change(sizes, name, smaller) == pytest.approx(
            price.total({**sizes, name: smaller}) - price.total(sizes)
        )
        assert name in price.neighbours(name)
    factored = BlockPrice(built, unit, choose=False)  # type: ignore[arg-type]
    value, slopes = price.slopes(sizes)
    assert value == pytest.approx(factored.total(sizes))
    for name in sizes:
        up, down = ({**sizes, name: sizes[name] + delta} for delta in (0.5, -0.5))
        assert slopes.get(name, 0.0) == pytest.approx(factored.slopes(up)[0] - factored.slopes(down)[0])


def test_true_cost_is_at_most_the_surrogate_on_every_binary_mask() -> None:
    torch.manual_seed(0)
    network = trace(nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 3)), (torch.randn(2, 8),))
    built = build_blocks(network, frozenset({"prune", "lowrank", "quant"}))
    method = Surrogate(network, total_steps=10, controller=None, blocks="prune,lowrank,quant")
    forms = WeightForms(built, relaxed=True)
    price, masks = BlockPrice(built, "bytes"), method.masks
    sizes = [forms.entries().get(name, size) for name, size in masks.layout]
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        flat = (torch.rand(sum(sizes), generator=generator) > 0.5).float()
        if bool((masks.layout.total(flat) == 0)[: len(built.masked)].any()):
            continue
        masks.assign(flat)
        relaxed = relax_blocks(price, masks.layout, flat, forms).value
        assert price.total(true_sizes(masks, forms)) <= relaxed * (1 + 1e-6)


def test_the_relaxed_price_at_ones_is_the_factored_price_and_its_gradient_is_the_finite_difference() -> None:
    torch.manual_seed(0)
    network = trace(nn.Sequential(nn.Linear(20, 24), nn.ReLU(), nn.Linear(24, 20)), (torch.randn(2, 20),))
    blocks = "prune,lowrank,sparse,quant"
    method = Surrogate(network, total_steps=10, controller=None, blocks=blocks)
    built = build_blocks(network, method.config.forms)
    forms, layout = WeightForms(built, relaxed=True), method.masks.layout
    price = BlockPrice(built, "bytes", choose=False)
    assert relax_blocks(price, layout, layout.ones(), forms).value == pytest.approx(price.dense)
    flat = 0.2 + torch.rand(layout.segments.numel(), dtype=torch.float64)
    relaxed = relax_blocks(price, layout, flat, forms)
    for index in range(0, flat.numel(), 97):
        step = torch.zeros_like(flat)
        step[index] = 1e-5
        up, down = (relax_blocks(price, layout, flat + sign * step, forms).value for sign in (1, -1))
        assert float(relaxed.gradient[index]) == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("blocks", COMBINATIONS)
def test_one_run_ends_below_the_target_and_the_small_model_is_the_masked_one(
    wide: Network, batch: Batch, blocks: str
) -> None:
    target = f"{0.35 * Price(wide, 'bytes').dense / 1000:.3f}kB"
    method = Surrogate(wide, target=target, total_steps=60, blocks=blocks)
    train(method, batch, 50)
    assert method.frozen
    assert method.limit is not None
    method.model.eval()
    selection = method.select()
    assert method.price.total(selection.sizes) <= method.limit
    with torch.no_grad():
        expected = method.model(batch[0])
        small = materialise(method.network, selection).eval()
        fine = 2e-4 if 16 in selection.bits.values() else 2e-5  # 16 bits are float while the masked model trains
        torch.testing.assert_close(small(batch[0]), expected, rtol=0, atol=fine)
    assert verify(method.network, selection, small) < 1e-5
    for name, mask in small_masks(method.network, selection).items():
        assert int((dict(small.named_parameters())[name] != 0).sum()) <= int(mask.sum())
    for name, bits in selection.bits.items():
        assert bits in BITS
        if bits <= 8:
            assert dict(small.named_parameters())[name].unique().numel() <= 2**bits + 1


def test_layers_whose_dense_form_is_cheaper_are_multiplied_out(wide: Network, batch: Batch) -> None:
    method = Surrogate(wide, target="0.05MMAC", total_steps=60, blocks="prune,lowrank")
    train(method, batch, 50)
    assert set(method.forms.values()) <= {"dense", "factored"}
    parameters = dict(materialise(method.network, method.select()).named_parameters())
    for path, form in method.forms.items():
        assert (f"{path}.first.weight" in parameters) == (form == "factored")
        if form == "factored":
            first, second = parameters[f"{path}.first.weight"], parameters[f"{path}.second.weight"]
            assert first.numel() + second.numel() <= second.shape[0] * first[0].numel()


@pytest.mark.parametrize("blocks", ["lowrank", "lowrank,sparse", "sparse,quant"])
def test_a_run_that_stops_goes_on_bitwise(wide: Network, batch: Batch, blocks: str) -> None:
    target = f"{0.4 * Price(wide, 'bytes').dense / 1000:.3f}kB"
    whole = Surrogate(wide, target=target, total_steps=60, blocks=blocks)
    train(whole, batch, 25)
    twin = trace(copy.deepcopy(wide.model), wide.example_inputs)
    resumed = Surrogate(twin, target=target, total_steps=60, blocks=blocks)
    resumed.model.load_state_dict(whole.model.state_dict())
    resumed.load_state_dict(whole.state_dict())
    for method in (whole, resumed):
        train(method, batch, 27)
    first, second = whole.select(), resumed.select()
    assert first.bits == second.bits
    assert all(torch.equal(first.kept[name], second.kept[name]) for name in first.kept)
    assert all(torch.equal(first.masks[name], second.masks[name]) for name in first.masks)


def test_strength_zero_is_training_of_the_rewritten_module(wide: Network, batch: Batch) -> None:
    built = build_blocks(wide, frozenset({"lowrank", "sparse"}))
    plain = copy.deepcopy(built.network.model)
    method = Surrogate(wide, total_steps=20, controller=None, blocks="lowrank,sparse")
    train(method, batch, 5)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(batch[0]), batch[1]).backward()
        optimizer.step()
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, method.model.get_parameter(f"inner.{name}"))


def test_the_paper_s_dynamics_close_gates_and_drop_single_weights(batch: Batch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 5))
    network = trace(model, (batch[0][:1],))
    price = Price(network, "bytes")
    options = {"learning_rate": 0.5, "strength": 300.0, "normalised": True, "controller": None}
    method = Surrogate(network, price=price, total_steps=150, blocks="sparse,quant", **options)  # type: ignore[arg-type]
    train(method, batch, 150, rate=0.02)
    selection = method.select()
    assert min(int(mask.sum()) / mask.numel() for mask in selection.masks.values()) < 0.95
    assert bool((method.masks.flat >= 0).all())
    gates = [
        vector for name, vector in method.masks.layout.split(method.masks.flat).items() if name.startswith("bits:")
    ]
    assert all(bool((vector <= 1).all()) for vector in gates)


def test_unknown_blocks_and_impossible_ones_are_said(fixed: Network) -> None:
    with pytest.raises(UsageError, match="got shrink"):
        Surrogate(fixed, target="-40%", total_steps=10, blocks="shrink")
    tiny = trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), (torch.randn(1, 2),))
    with pytest.raises(TraceError, match="can become lowrank"):
        Surrogate(tiny, target="-40%", total_steps=10, blocks="lowrank")
    with pytest.raises(TargetError, match="the smallest allowed model takes"):
        Surrogate(fixed, target="1kMAC", total_steps=10, blocks="lowrank")


def test_only_the_layers_that_are_named_change(fixed: Network) -> None:
    built = build_blocks(fixed, frozenset({"lowrank", "quant"}), only="hidden|point")
    assert {layer.path for layer in built.layers} == {"hidden", "point.0"}
    with pytest.raises(UsageError, match="cannot read the layers"):
        build_blocks(fixed, frozenset({"quant"}), only="(")


def test_names_of_combinations_are_all_there() -> None:
    assert len(set(itertools.chain.from_iterable(name.split(",") for name in COMBINATIONS))) == 4


def test_a_relative_target_is_one_of_the_user_s_network(fixed: Network) -> None:
    price, limit = price_for_target(fixed, "-40%")
    method = Surrogate(fixed, target="-40%", total_steps=10, blocks="lowrank,sparse")
    assert method.limit == limit
    assert price.dense > limit
