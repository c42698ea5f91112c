"""The studies of sparse training run at their tiny size, and their cells are what they claim."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import sparse_adviser
import sparse_length
import sparse_published
import sparse_tables
import study


def test_every_cell_of_every_table_is_unique_and_can_be_written() -> None:
    for table in sparse_tables.TABLES:
        made = sparse_tables.cells(table, "small", 3)
        assert len({repr(sorted(cell.items())) for cell in made}) == len(made)
        assert {cell["seed"] for cell in made} == {0, 1, 2}


def test_the_length_study_has_the_dense_network_and_every_sparsity_for_every_seed() -> None:
    made = sparse_length.cells("small", 2)
    assert [(cell["seed"], cell["sparsity"]) for cell in made[:4]] == [(0, 0.0), (0, 0.9), (0, 0.95), (0, 0.98)]
    assert len(made) == 8


def test_a_tiny_length_study_writes_figures_that_the_adviser_can_ask_about(
    results: Path, arguments: Callable[..., Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"cell": cell, **sparse_length.run_cell(cell)}
        for cell in sparse_length.cells("tiny", 1)
        if cell["sparsity"] in (0.0, 0.9)
    ]
    monkeypatch.setattr(sparse_length, "load_rows", lambda name, size: rows)
    runs = sparse_length.all_runs("tiny")
    assert {run["method"] for run in runs} == {"dense", "acdc++", "gmp", "rigl"}
    sparse = [run for run in runs if run["method"] != "dense"]
    assert all(run["zeros"] == pytest.approx(0.9, abs=0.01) for run in sparse)
    assert all(0 < run["training_cost"] < 1 for run in sparse)
    assert len(sparse_adviser.pairs("tiny")) == 4
    sparse_length.report("tiny")


@pytest.mark.parametrize("table", ["budgets", "connectivity", "twin"])
def test_a_tiny_table_has_its_figures(table: str) -> None:
    cell = next(cell for cell in sparse_tables.cells(table, "tiny", 1) if cell["method"] != "dense")
    found = sparse_tables.run_cell(cell)
    assert 0 <= found["accuracy"] <= 1
    if table == "connectivity":
        assert found["barriers_train"]
    if table == "twin":
        assert 0 <= found["twin"] <= 1


def test_quoted_figures_carry_their_source() -> None:
    quotes = sparse_published.load_quotes()
    assert all(quote["source"] and 0 < quote["accuracy"] < 1 and 0 <= quote["sparsity"] < 1 for quote in quotes)
    assert "AC/DC++" in sparse_published.table(0.9)


def test_the_correlation_is_pearsons() -> None:
    assert sparse_adviser.correlation([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx(1)
    assert study.mean_and_spread([1.0]) == "1 (1)"
