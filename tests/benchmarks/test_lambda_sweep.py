import csv
import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lambda_sweep
import pytest
import study
import torch

from nasc.cost import cost
from nasc.devices import get_device
from nasc.graph import Network
from nasc.methods import Price
from nasc.training import Recipe, train


@pytest.fixture
def cell() -> dict[str, Any]:
    """A network so small that its table on the simulated device takes a few seconds."""
    small = {"model": "mlp@0.1", "train_size": 1024, "epochs": 8}
    return lambda_sweep.cells("tiny", 1, "simulated")[0] | small


@pytest.fixture
def subject(cell: dict[str, Any]) -> tuple[Any, Network]:
    return lambda_sweep.load_subject(cell)


def test_the_sweep_has_the_dense_model_and_every_lambda_of_both_prices() -> None:
    cells = lambda_sweep.cells("small", 2, "cpu")
    strengths = lambda_sweep.SETTINGS["small"]["strengths"]
    assert len(cells) == 2 * (1 + 2 * len(strengths))
    assert [cell["price"] for cell in cells[:3]] == ["none", "macs", "seconds"]


def test_lambda_zero_is_plain_training_bit_for_bit(cell: dict[str, Any], subject: tuple[Any, Network]) -> None:
    data, network = subject
    _, plain = lambda_sweep.load_subject(cell)
    recipe = Recipe(epochs=1)
    method = lambda_sweep.make_method(Price(network), 0.0, recipe, len(data.train_y))
    train(method, data, recipe, progress=False)
    train(plain.model, data, recipe, progress=False)
    expected = plain.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.model.state_dict().items())


def test_masks_take_the_learning_rate_of_the_recipe_step_by_step(subject: tuple[Any, Network]) -> None:
    data, network = subject
    recipe = Recipe(epochs=3, momentum=0.0)
    total_steps = recipe.steps_per_epoch(len(data.train_y)) * 3
    method = lambda_sweep.make_method(Price(network), 1.0, recipe, len(data.train_y))
    for step in range(total_steps):
        before = method.masks.flat.detach().clone()
        method.masks.flat.grad = torch.full_like(before, 0.1)
        method.step()
        moved = before - method.masks.flat.detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * recipe.learning_rate_at(step, total_steps)))


def test_a_sweep_on_a_simulated_device_ends_with_files_a_table_and_a_figure(
    cell: dict[str, Any],
    subject: tuple[Any, Network],
    results: Path,
    arguments: Callable[..., Namespace],
    capsys: pytest.CaptureFixture[str],
) -> None:
    lambda_sweep.cover_table(cell)
    assert lambda_sweep.table_covers(get_device("simulated"), subject[1])
    cells = [cell, cell | {"price": "seconds", "strength": 60.0}, cell | {"price": "macs", "strength": 60.0}]
    for planned in cells:
        row = {"cell": planned, **lambda_sweep.run_cell(planned)}
        check_row(row, subject[1])
        with study.results_file(lambda_sweep.NAME, "tiny").open("a") as file:
            file.write(json.dumps(row) + "\n")
    assert study.run_study(lambda_sweep.NAME, cells, lambda_sweep.run_cell, arguments())[0]["macs"] == row["dense_macs"]

    lambda_sweep.measure_files("tiny", "simulated")
    timed = study.load_rows(f"{lambda_sweep.NAME}-latency", "tiny")
    lambda_sweep.measure_files("tiny", "simulated")
    assert study.load_rows(f"{lambda_sweep.NAME}-latency", "tiny") == timed
    assert [row["origin"] for row in timed] == ["simulated", "simulated"]
    for measured in timed:  # launches cancel in the difference to the dense model
        saved = row["dense_predicted_s"] - measured["predicted_s"]
        assert measured["dense_measured_s"] - measured["measured_s"] == pytest.approx(saved, rel=0.1)

    lambda_sweep.report("tiny")
    printed = capsys.readouterr().out
    assert "Pareto front of accuracy against measured latency" in printed
    written = (results / "lambda_sweep-tiny.csv").read_text().splitlines()
    assert [line["price"] for line in csv.DictReader(written)] == ["none", "seconds", "macs"]
    assert (results / "lambda_sweep-tiny.svg").exists()


def check_row(row: dict[str, Any], network: Network) -> None:
    """Counted figures are those of the widths that are left, and what was cut out computes what was trained."""
    assert row["macs"] == cost(network, row["widths"], "macs")
    assert row["params"] == cost(network, row["widths"], "params")
    assert row["max_abs_difference"] < 1e-5
    assert row["latency_origin"] == "simulated"
    if row["cell"]["price"] == "none":
        assert row["macs"] == row["dense_macs"]
    else:
        assert row["macs"] < row["dense_macs"]
        assert all(set(epoch) >= {"price", "relaxed_price", "survivors"} for epoch in row["epochs"])


def test_the_front_keeps_what_nothing_beats() -> None:
    points = [
        {"predicted_s": seconds, "accuracy": accuracy}
        for seconds, accuracy in ((3.0, 0.9), (1.0, 0.7), (2.0, 0.6), (2.5, 0.85))
    ]
    assert [point["predicted_s"] for point in lambda_sweep.front(points, "predicted_s")] == [1.0, 2.5, 3.0]


def test_groups_put_the_dense_model_first_and_lambdas_in_order() -> None:
    points = [
        {"price": price, "strength": strength}
        for price, strength in (("seconds", 3.0), ("macs", 10.0), ("macs", 2.0), ("none", 0.0), ("macs", 2.0))
    ]
    assert list(lambda_sweep.group(points)) == [("none", 0.0), ("macs", 2.0), ("macs", 10.0), ("seconds", 3.0)]
    assert len(lambda_sweep.group(points)["macs", 2.0]) == 2
