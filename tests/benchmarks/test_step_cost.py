from pathlib import Path
from typing import Any

import pytest
import step_cost
import study
import torch


def row(method: str, seconds: float, macs: int, **more: Any) -> dict[str, Any]:
    cell = {"data": "d", "model": "m", "seed": 0, "train_size": 9, "epochs": 3, "method": method}
    return {"cell": cell, "train_s": seconds, "macs": macs, **more}


def test_the_ratio_is_of_medians_and_the_quartiles_are_of_neighbours() -> None:
    seconds = {"plain": [1.0, 2.0, 4.0, 1.0, 1.0], "steered": [1.1, 2.4, 4.4, 1.3, 1.2]}
    figures = step_cost.compare(seconds, "steered")
    assert figures["ratio"] == pytest.approx(1.3)
    assert figures["low_quartile"] == pytest.approx(1.1)
    assert figures["high_quartile"] == pytest.approx(1.25)


def test_identical_steps_have_ratio_one() -> None:
    figures = step_cost.compare({"plain": [1.0, 3.0, 2.0], "paper": [1.0, 3.0, 2.0]}, "paper")
    assert set(figures.values()) == {1.0}


def test_a_training_costs_its_search_at_full_size_and_the_rest_at_its_own() -> None:
    rows = [row("dense", 10.0, 100), row("surrogate", 8.0, 50, search_share=0.4), row("l1", 9.0, 50)]
    costs = step_cost.training_cost(rows)
    assert costs["d", "m", "dense"] == {"seconds": [1.0], "macs": [1.0]}
    assert costs["d", "m", "surrogate"] == {"seconds": [0.8], "macs": [pytest.approx(0.7)]}
    assert costs["d", "m", "l1"] == {"seconds": [0.9], "macs": []}


def test_a_training_without_its_dense_run_is_not_compared() -> None:
    assert step_cost.training_cost([row("surrogate", 8.0, 50)]) == {}


def test_a_plain_stepper_trains_like_the_same_method_with_lambda_zero() -> None:
    from nasc.graph import trace
    from nasc.methods import Surrogate

    x, y = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    states = []
    for masked in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(36, 12), torch.nn.ReLU(), torch.nn.Linear(12, 8)
        )
        method = Surrogate(trace(model, (x[:1],)), total_steps=9, controller=None) if masked else None
        step = step_cost.stepper(model, method, x, y)
        step()
        step()
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_study_times_all_variants_and_appends_every_measurement(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cell,) = step_cost.cells("tiny", "simulated")
    threads = torch.get_num_threads()
    try:
        figures = step_cost.run_cell(cell | {"blocks": 3, "steps": 2})
    finally:
        torch.set_num_threads(threads)
    assert {name: len(values) for name, values in figures["seconds"].items()} == {"plain": 3, "steered": 3, "paper": 3}
    assert figures["price"] == "macs"
    for _ in range(2):
        step_cost.append_row(cell, figures, "tiny")
    assert len(study.load_rows(step_cost.NAME, "tiny")) == 2
    step_cost.report("tiny")
    printed = capsys.readouterr().out
    assert printed.count("steered") == 2
    assert "no results of the accuracy study yet" in printed
