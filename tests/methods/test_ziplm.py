"""Reconstruction of linear layers: optimal brain surgeon against brute force, and ZipLM on an encoder's block."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from nasc.errors import TargetError, TraceError
from nasc.graph import trace
from nasc.graph.network import Network
from nasc.materialise import materialise, verify
from nasc.methods import ZipLM, price_for_target
from nasc.methods.ziplm.method import single_readers
from nasc.methods.ziplm.reconstruction import DAMPING, remove_groups


def problem(columns: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    x = mixing @ torch.randn(columns, 50, generator=generator, dtype=torch.float64)
    return torch.randn(4, columns, generator=generator, dtype=torch.float64), x @ x.T


def least_squares(weight: Tensor, gram: Tensor, kept: list[int]) -> tuple[float, Tensor]:
    """Smallest error of the output with the kept columns alone, by the normal equations, and the weight."""
    damped = gram + DAMPING * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    best = torch.zeros_like(weight)
    best[:, kept] = weight @ damped[:, kept] @ torch.linalg.inv(damped[kept][:, kept])
    difference = weight - best
    return float((difference @ damped * difference).sum()), best


@pytest.mark.parametrize("width", [1, 2])
def test_the_first_removal_is_the_best_of_all_and_its_compensation_is_least_squares(width: int) -> None:
    weight, gram = problem()
    groups = torch.arange(6) // width
    removal = remove_groups(weight, gram, groups, torch.ones(6 // width).bool(), {1})
    found = {}
    for group in range(6 // width):
        kept = [column for column in range(6) if int(groups[column]) != group]
        found[group] = least_squares(weight, gram, kept)
    best = min(found, key=lambda group: found[group][0])
    assert removal.order[0] == best
    assert removal.errors[0] == pytest.approx(found[best][0])
    torch.testing.assert_close(removal.weights[1], found[best][1])


def test_errors_add_up_to_that_of_the_whole_removal() -> None:
    weight, gram = problem()
    removal = remove_groups(weight, gram, torch.arange(6), torch.ones(6).bool(), {3})
    kept = [column for column in range(6) if column not in removal.order[:3]]
    error, best = least_squares(weight, gram, kept)
    assert sum(removal.errors[:3]) == pytest.approx(error)
    torch.testing.assert_close(removal.weights[3], best)
    others = (least_squares(weight, gram, list(some))[0] for some in itertools.combinations(range(6), 3))
    assert error <= 3 * min(others)  # greedy, but not far from the best of all triples


class Feed(nn.Module):
    """Two feed-forward networks beside a stream, as an encoder has them."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 24), nn.Linear(24, 8)
        self.up2, self.down2 = nn.Linear(8, 24), nn.Linear(24, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.down(torch.relu(self.up(x)))
        x = x + self.down2(torch.relu(self.up2(x)))
        return self.head(x)


def test_an_encoder_s_hidden_units_go_with_compensation_until_the_limit_is_met() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    network = trace(Feed(), (x[:2],))
    assert sorted(reader.path for reader in single_readers(network).values()) == ["down", "down2"]
    price, limit = price_for_target(network, "-50%")
    method = ZipLM(network, price, limit, 50)
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.05)
    expected = None
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(method.model(x), y).backward()
        optimizer.step()
        if method.step_count == 19:
            expected = method.model(x).detach()
        method.step()
    assert method.frozen
    selection = method.select()
    assert 0.8 * limit <= price.total(selection.sizes) <= limit
    assert verify(network, selection, materialise(network, selection)) < 1e-5
    assert expected is not None
    with torch.no_grad():
        after = method.model(x)
        plain = {name: weight.clone() for name, weight in network.model.state_dict().items()}
    assert float((after - expected).norm() / expected.norm()) < 0.5
    assert plain.keys() == network.model.state_dict().keys()


def test_models_without_such_layers_and_targets_out_of_reach_are_said(residual: Network) -> None:
    network = trace(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), (torch.randn(1, 1, 8, 8),))
    price, limit = price_for_target(network, "-50%")
    with pytest.raises(TraceError, match="one linear layer alone reads"):
        ZipLM(network, price, limit, 10)
    price, limit = price_for_target(residual, "-60%")
    with pytest.raises(TargetError, match="the smallest allowed model takes"):
        ZipLM(residual, price, limit, 10)
