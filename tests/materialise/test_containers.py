"""Names become members of containers, and whatever they contain stays a name."""

import ast

import pytest
import torch
from torch import nn

from nasc.materialise.containers import Containers, Held, quoted


def held(*names: str) -> dict[str, Held]:
    return {name: Held(nn.Parameter(torch.zeros(2))) for name in names}


def lines(containers: Containers) -> list[str]:
    return list(containers.init_lines())[1:]


def test_numbers_in_a_row_become_a_list_and_numbers_with_gaps_a_dict():
    row = Containers(held("a.0.weight", "a.1.weight"), {"a.0": "nn.Linear(1, 2)", "a.1": "nn.Linear(1, 2)"}, {})
    assert lines(row)[0] == "self.a = nn.ModuleList(["
    assert row.access("a.1.weight") == "self.a[1].weight"
    gaps = Containers(held("a.0.weight", "a.3.weight"), {"a.0": "nn.Linear(1, 2)", "a.3": "nn.Linear(1, 2)"}, {})
    assert lines(gaps)[0] == "self.a = nn.ModuleDict({"
    assert gaps.access("a.3.weight") == 'self.a["3"].weight'


def test_names_become_a_block_and_parameters_its_members():
    block = Containers(held("a.scale", "a.fc.weight"), {"a.fc": "nn.Linear(1, 2)"}, {})
    assert lines(block) == [
        "self.a = Block(",
        "    scale=nn.Parameter(torch.zeros(2)),",
        "    fc=nn.Linear(1, 2),",
        ")",
    ]


def test_buffers_are_registered_after_their_container():
    tensors = {"a.mask": Held(torch.zeros(2, dtype=torch.bool)), "b": Held(torch.zeros(()), persistent=False)}
    assert lines(Containers(tensors, {}, {})) == [
        "self.a = Block()",
        'self.a.register_buffer("mask", torch.zeros(2, dtype=torch.bool))',
        'self.register_buffer("b", torch.zeros(()), persistent=False)',
    ]


def test_a_tie_stands_where_its_name_stood():
    tied = Containers(
        held("a.weight", "c.weight"),
        {"a": "nn.Linear(1, 2)", "c": "nn.Linear(1, 2)"},
        {"b": "a"},
        ["a.weight", "b.weight", "c.weight"],
    )
    assert lines(tied) == ["self.a = nn.Linear(1, 2)", "self.b = self.a", "self.c = nn.Linear(1, 2)"]


@pytest.mark.parametrize("name", ['a"b', "a'b", "a'\"b", "a\nimport os", "class", "\\", "a b", "#", "\u2028", '"""'])
def test_whatever_a_name_contains_is_one_string(name):
    assert ast.literal_eval(quoted(name)) == name
    containers = Containers(
        held(f"{name}.weight", f"g.{name}.weight", f"g.{name}.scale"), {name: "nn.Linear(1, 2)"}, {}
    )
    statements = ast.parse("\n".join(containers.init_lines())).body
    assert len(statements) == 3
    for path in (name, f"g.{name}.scale"):
        access = ast.parse(containers.access(path), mode="eval").body
        assert name in [node.value for node in ast.walk(access) if isinstance(node, ast.Constant)]
