import io
import json

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from nasc.graph import trace
from nasc.graph.inspect import describe, render
from nasc.graph.network import Network
from nasc.testing.architectures import build


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.unused = nn.Linear(7, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cumsum(self.conv(x).relu() + x, 2)
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> Network:
    return trace(Residual(), (torch.zeros(1, 3, 6, 6),))


def test_a_residual_dim_lists_all_its_writers_and_readers(network: Network) -> None:
    (dim,) = (dim for dim in describe(network)["dims"] if dim["name"] == "stem")
    assert dim["size"] == 8
    assert dim["written_by"] == ["stem", "conv"]
    assert dim["read_by"] == ["conv", "head"]
    assert "add" in dim["passed_by"]


def test_a_frozen_dim_says_why(network: Network) -> None:
    (dim,) = (dim for dim in describe(network)["dims"] if dim["name"] == "head")
    assert "output" in dim["frozen"]


def test_totals_count_what_the_computation_uses(network: Network) -> None:
    data = describe(network)
    assert data["macs"] == 36 * 9 * (3 * 8 + 8 * 8) + 8 * 5
    assert data["params"] == 3 * 8 * 9 + 8 + 8 * 8 * 9 + 8 + 8 * 5 + 5
    assert data["not_lowered"] == {"aten.cumsum.default": 1}


def test_the_description_is_plain_data(network: Network) -> None:
    assert json.loads(json.dumps(describe(network)))["kernels"][0]["sizes"] == {"c_in": 3, "c_out": 8}


def test_the_text_names_dims_kernels_reasons_and_gaps(network: Network) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(network))
    text = console.export_text()
    for part in ("stem", "may change", "no: ", "conv relu", "MMAC", "no kernel for aten.cumsum.default"):
        assert part in text


def test_a_dim_counts_the_work_and_parameters_it_is_a_size_of(network: Network) -> None:
    (dim,) = (dim for dim in describe(network)["dims"] if dim["name"] == "stem")
    assert dim["params"] == 3 * 8 * 9 + 8 + 8 * 8 * 9 + 8 + 8 * 5
    assert dim["macs"] == 36 * 9 * (3 * 8 + 8 * 8) + 8 * 5


def test_every_reason_that_rules_give_has_advice() -> None:
    network = trace(*build("patch transformer"))
    for dim in describe(network)["dims"]:
        assert (dim["frozen"] is None) == (dim["advice"] is None)
        assert dim["advice"] != "", dim["frozen"]
