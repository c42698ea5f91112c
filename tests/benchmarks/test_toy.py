import copy
import json
import math
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import study
import torch
import toy


@pytest.fixture
def cell() -> dict[str, Any]:
    return toy.cells("tiny", 1)[0] | {"train_size": 256, "epochs": 2}


def test_every_cell_is_unique_and_covers_norms_regularisers_and_both_projections() -> None:
    cells = toy.cells("small", 3)
    assert len({json.dumps(cell, sort_keys=True) for cell in cells}) == len(cells) == 24
    assert {(c["norm"], c["regulariser"]) for c in cells} == {(n, r) for n in toy.NORMS for r in toy.REGULARISERS}
    assert {c["norm"] for c in cells if not c["projection"]} == {"batch"}


@pytest.mark.parametrize("projection", [True, False])
def test_both_regularisers_are_one_at_the_start(projection: bool) -> None:
    for name in toy.REGULARISERS:
        assert toy.regulariser(name, projection=projection)(torch.ones(49)).item() == pytest.approx(1.0)


def test_regularisers_have_their_closed_forms() -> None:
    mask = torch.tensor([3.0, 0.0, 4.0, 0.0])
    assert toy.regulariser("l1", projection=True)(mask).item() == pytest.approx(7 / 4)
    assert toy.regulariser("l1/l2", projection=True)(mask).item() == pytest.approx(2 * 7 / 5 / 4)
    assert toy.regulariser("l1", projection=False)(-mask).item() == pytest.approx(7 / 4)
    assert toy.regulariser("l1/l2", projection=False)(-mask).item() == pytest.approx(2 * 7 / 5 / 4)


@pytest.mark.parametrize("norm", toy.NORMS)
def test_a_masked_weight_is_a_masked_input(norm: str) -> None:
    torch.manual_seed(0)
    network, mask, x = toy.build_toy((1, 4, 4), 3, norm), torch.rand(16), torch.randn(9, 1, 4, 4)
    torch.testing.assert_close(toy.scores(network, mask, x), network(x.flatten(1) * mask))


def test_the_clip_removes_negative_entries_and_leaves_at_least_the_largest() -> None:
    mask = torch.tensor([0.5, -0.1, 0.0])
    toy.clip(mask, mask.clone())
    assert mask.tolist() == [0.5, 0.0, 0.0]
    gone = torch.tensor([-0.5, -0.1])
    toy.clip(gone, torch.tensor([0.1, 0.2]))
    assert gone.tolist() == pytest.approx([0.0, 0.2])


def test_what_is_logged_is_recounted_from_the_mask(cell: dict[str, Any]) -> None:
    data = toy.load_data(cell)
    network = toy.build_toy(data.input_shape, data.num_classes, "batch")
    mask = torch.zeros(64)
    mask[:4] = 2.0
    log = toy.measure(network, mask, data)
    assert (log["zeros"], log["macs"]) == (60, 4 * 128 + 128 * 10)
    assert (log["l1"], log["r"]) == (8.0, math.sqrt(64 * 4))
    assert log["mean"] == pytest.approx(0.125)
    assert log["variance"] == pytest.approx(4 / 16 - 0.125**2, rel=1e-4)


def test_lambda_zero_is_plain_training_bit_for_bit(cell: dict[str, Any]) -> None:
    data = toy.load_data(cell)
    torch.manual_seed(0)
    masked = toy.build_toy(data.input_shape, data.num_classes, "batch")
    plain = copy.deepcopy(masked)
    run = toy.train_mask(masked, data, cell, 0.0)
    optimizer = torch.optim.SGD(plain.parameters(), lr=toy.LEARNING_RATE, momentum=toy.MOMENTUM)
    for epoch in range(cell["dense_epochs"], cell["dense_epochs"] + cell["epochs"]):
        order = torch.randperm(len(data.train_y), generator=torch.Generator().manual_seed(epoch))
        plain.train()
        for indices in order.split(toy.BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(plain(data.train_x[indices].flatten(1)), data.train_y[indices]).backward()
            optimizer.step()
    assert run["kept"] == 64
    assert all(torch.equal(masked.state_dict()[name], value) for name, value in plain.state_dict().items())


def test_clipping_makes_exact_zeros_and_leaving_it_out_makes_none(cell: dict[str, Any]) -> None:
    strong = cell | {"strengths": [500.0], "train_size": 1024, "epochs": 4}
    clipped, free = (toy.run_cell(strong | {"projection": projection}) for projection in (True, False))
    assert clipped["runs"][0]["kept"] < 32
    assert free["runs"][0]["kept"] == 64
    cuts = free["runs"][0]["thresholds"]
    assert [cut["relative"] for cut in cuts] == list(toy.THRESHOLDS)
    kept = [cut["kept"] for cut in cuts]
    assert kept == sorted(kept, reverse=True)


def test_the_same_cell_gives_the_same_figures(cell: dict[str, Any]) -> None:
    assert toy.run_cell(cell) == toy.run_cell(cell)


def test_correlation_is_one_for_proportional_numbers_and_absent_where_nothing_moved() -> None:
    logs = [{"l1": 2.0 * macs, "r": -1.0 * macs, "macs": macs} for macs in (1, 2, 5)]
    runs = [{"strength": 1.0, "logs": logs}]
    assert toy.correlations(runs, "l1") == pytest.approx((1.0, 1.0))
    assert toy.correlations(runs, "r") == pytest.approx((-1.0, -1.0))
    assert toy.correlations([{"strength": 1.0, "logs": logs[:1] * 3}], "l1") == (None, None)
    assert toy.correlations([{"strength": 0.0, "logs": logs}], "l1") == (None, None)


def test_the_study_runs_reports_and_does_not_run_what_it_has(
    results: Path, arguments: Callable[..., Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = arguments("--seeds", "1")
    cells = [cell for cell in toy.cells("tiny", 1) if cell["norm"] == "batch"]
    rows = study.run_study(toy.NAME, cells[:1], toy.run_cell, flags)
    assert len(rows) == 1
    written = study.results_file(toy.NAME, "tiny").read_text()
    assert study.run_study(toy.NAME, cells[:1], toy.run_cell, flags) == rows
    assert study.results_file(toy.NAME, "tiny").read_text() == written
    toy.report("tiny")
    printed = capsys.readouterr().out
    assert "inputs left" in printed
    assert (results / "toy-tiny.svg").read_text().startswith("<svg")


def test_a_report_without_results_says_so(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy.report("full")
    assert "no results of size full yet" in capsys.readouterr().out
