import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.graph import trace
from nasc.graph.inspect import describe
from nasc.graph.selection import Selection
from nasc.graph.training_only import training_only
from nasc.materialise import load_model, materialise, save_model
from nasc.materialise.generated import source_of


class DropPath(nn.Module):
    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = torch.rand(x.shape[0], 1) >= self.probability
        return x * keep / (1 - self.probability)


class FunctionalDropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=self.training)


def network_of(*middle: nn.Module):
    return trace(nn.Sequential(nn.Linear(5, 8), *middle, nn.Linear(8, 3)), (torch.randn(4, 5),))


def test_stochastic_depth_is_named():
    assert training_only(network_of(DropPath(0.5))) == {"1": "DropPath"}


def test_stochastic_depth_that_never_drops_is_not():
    assert training_only(network_of(DropPath(0.0))) == {}


def test_operators_that_follow_training_are_kept_and_not_named():
    assert training_only(network_of(FunctionalDropout(), nn.Dropout(0.5), nn.BatchNorm1d(8))) == {}


def test_model_and_random_state_are_left_as_they_were():
    network = network_of(DropPath(0.5))
    network.model.train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    training_only(network)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in network.model.modules())


def test_the_description_says_so():
    assert describe(network_of(DropPath(0.5)))["training_only"] == {"1": "DropPath"}


def test_the_finished_model_says_what_it_lacks_and_loads(tmp_path):
    small = materialise(network_of(DropPath(0.5), DropPath(0.2)), Selection())
    assert "- DropPath (2x)" in source_of(small).text
    save_model(small, tmp_path)
    x = torch.randn(3, 5)
    assert torch.equal(load_model(tmp_path)(x), small.eval()(x))


def test_a_model_that_lacks_nothing_says_nothing():
    assert "Not in this file" not in source_of(materialise(network_of(nn.Dropout(0.5)), Selection())).text


class Remembering(nn.Module):
    def forward(self, x: Tensor, seen: list[Tensor]) -> Tensor:
        seen.append(x)
        assert self.training in (True, False)  # asks, and does nothing about it
        return x * len(seen)


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.memory, self.last = nn.Linear(5, 8), Remembering(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.memory(self.first(x), []))


def test_a_module_that_writes_into_its_arguments_is_not_mistaken():
    assert training_only(trace(Outer(), (torch.randn(4, 5),))) == {}
