"""Pixelfly on networks of several kinds: budgets, targets, and that the plain form is what was trained."""

import pytest
import torch
from torch import nn

from nasc.block_sparse import PixelflyConv2d, PixelflyLinear
from nasc.errors import TargetError, TraceError, UsageError
from nasc.graph import trace
from nasc.materialise import load_model, materialise, save_model, verify
from nasc.methods import Price, build, rewritten
from nasc.methods.pixelfly import Pixelfly, PixelflyConfig, find_schema, sparsify
from nasc.methods.pixelfly.config import DENSITIES


class Residual(nn.Module):
    """A residual block: a widened hidden layer between two of the stream's width."""

    def __init__(self, width, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), Residual(32, 64), Residual(32, 60), nn.Linear(32, 5)), torch.randn(1, 12)


def convnet():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    layers += [nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    layers += [nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 24, 1), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)]
    return nn.Sequential(*layers), torch.randn(1, 3, 8, 8)


MODELS = {"perceptron": perceptron, "convnet": convnet}


def traced(name):
    model, x = MODELS[name]()
    return trace(model, (x,)), x


@pytest.mark.parametrize("name", MODELS)
def test_the_first_and_the_last_layer_and_grouped_convolutions_stay_dense(name):
    network, _ = traced(name)
    schema = find_schema(network)
    names = [matrix.name for matrix in schema.matrices]
    if name == "perceptron":
        assert names == ["1.up", "1.down", "2.up", "2.down"]
        assert schema.left_dense == {"0": "reads the model's input", "3": "writes the model's output"}
    else:
        assert names == ["3", "7"]
        assert "grouped" in schema.left_dense["6"]
    assert sum(matrix.macs for matrix in schema.matrices) == sum(
        int(kernel.macs()) for kernel in network.kernels if kernel.weights.weight in {f"{n}.weight" for n in names}
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("share", [0.7])
def test_the_price_meets_the_limit_and_the_plain_form_is_the_trained_one(name, share, tmp_path):
    network, x = traced(name)
    price = Price(network, "macs")
    method = build("pixelfly", network, price, share * price.dense, 10, block=4)
    assert method.price.total({}) <= share * price.dense
    assert method.price.network is method.network
    assert not [kernel for kernel in method.network.kernels if kernel.kind == "unsupported"]
    replaced = [m for m in method.model.modules() if isinstance(m, PixelflyLinear | PixelflyConv2d)]
    assert replaced
    optimizer = torch.optim.AdamW(method.model.parameters(), lr=0.01)
    inputs = x.repeat(6, *[1] * (x.dim() - 1)) + torch.randn(6, *x.shape[1:])
    for _ in range(9):
        (method.model(inputs).square().mean() + method.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.step()
    assert method.frozen
    selection = method.select()
    method.model.eval()
    small = materialise(method.network, selection)
    assert verify(method.network, selection, small) < 1e-5
    torch.testing.assert_close(small.eval()(inputs), method.model(inputs), atol=1e-5, rtol=1e-5)
    save_model(small, tmp_path / "model")
    torch.testing.assert_close(load_model(tmp_path / "model").eval()(inputs), small(inputs))
    assert not any(type(module).__module__.startswith("nasc.block_sparse") for module in small.modules())


def test_the_largest_density_that_fits_is_taken():
    network, _ = traced("perceptron")
    price = Price(network, "macs")
    prices = {}
    for density in (0.4, 0.5, 0.6):
        method = build("pixelfly", network, price, price.dense, 1, block=8, density=density)
        prices[density] = method.price.dense
    assert prices[0.4] < prices[0.6]
    limit = prices[0.6] - 1
    chosen = build("pixelfly", network, price, limit, 1, block=8)
    assert chosen.density in DENSITIES
    assert chosen.price.dense == max(value for value in prices.values() if value <= limit)


def test_a_limit_that_no_density_meets_is_refused_with_the_smallest():
    network, _ = traced("perceptron")
    price = Price(network, "macs")
    with pytest.raises(TargetError, match=r"the smallest, 0\.\d+, takes \d+"):
        build("pixelfly", network, price, 0.01 * price.dense, 1, block=4)


def test_a_density_that_holds_no_block_anywhere_is_refused():
    network, _ = traced("perceptron")
    price = Price(network, "macs")
    with pytest.raises(TargetError, match=r"blocks of 4 fit into no layer at a density of 0\.05"):
        build("pixelfly", network, price, price.dense, 1, block=4, density=0.05)


def test_a_model_without_a_layer_between_its_first_and_last_is_refused():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    network = trace(model, (torch.randn(1, 8),))
    with pytest.raises(TraceError, match="between its first and its last"):
        find_schema(network)


def test_unknown_options_are_refused():
    network, _ = traced("perceptron")
    price = Price(network, "macs")
    with pytest.raises(UsageError, match="sides"):
        build("pixelfly", network, price, price.dense, 1, sides=4)
    with pytest.raises(UsageError, match="unknown layers 'none'"):
        PixelflyConfig(layers="none")


def test_the_layers_asked_for_are_replaced():
    network, _ = traced("convnet")
    assert [matrix.name for matrix in find_schema(network, PixelflyConfig(layers="conv")).matrices] == ["3", "7"]
    with pytest.raises(TraceError):
        find_schema(network, PixelflyConfig(layers="linear"))


def test_at_full_density_nothing_is_replaced():
    network, x = traced("perceptron")
    model, forms = sparsify(network, 1.0, PixelflyConfig(block=4))
    assert all(form.dense for form in forms.values())
    assert torch.equal(model(x), network.model(x))


def test_trained_weights_are_approximated_when_asked():
    network, _ = traced("perceptron")
    weight = network.model.get_submodule("1.up").weight
    errors = {}
    for pretrained in (False, True):
        model, _ = sparsify(network, 0.6, PixelflyConfig(block=4, pretrained=pretrained))
        errors[pretrained] = float(
            (model.get_submodule("1.up").dense() - weight).detach().norm() / weight.detach().norm()
        )
    assert errors[True] < 0.7 < errors[False]


def test_every_network_the_method_may_choose_is_announced():
    network, _ = traced("perceptron")
    price = Price(network, "macs")
    announced = {Price(one, "macs").dense for one in rewritten("pixelfly", network, block=8)}
    assert len(announced) > 2
    assert build("pixelfly", network, price, 0.7 * price.dense, 1, block=8).price.dense in announced


def test_the_step_is_resumed_and_the_same_seed_gives_the_same_model():
    network, _ = traced("perceptron")
    price = Price(network, "macs")
    methods = []
    for _ in range(2):
        torch.manual_seed(3)
        methods.append(Pixelfly(network, price, 0.9 * price.dense, 10, block=8, density=0.5))
    one, other = methods
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for _ in range(9):
        one.step()
    assert not other.frozen
    other.load_state_dict(one.state_dict())
    assert other.frozen
    assert other.metrics()["density"] == one.density
