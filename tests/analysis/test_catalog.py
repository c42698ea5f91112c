"""Every analysis on finished runs of the real pipeline, on a simulated device, and the verb that asks for them."""

import json
from pathlib import Path
from typing import Any

import pytest

from nasc.analysis import ANALYSES, Settings, Subject, analyze
from nasc.cli import run
from nasc.errors import RunError, UsageError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of one model at one sparsity: AC/DC with two seeds' worth of epochs, and gradual pruning."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASC_HOME", str(tmp_path_factory.mktemp("home")))
        command = [
            "compress",
            "-m",
            "digits-cnn@0.25",
            "-d",
            "digits",
            "--device",
            "simulated",
            "--target",
            "80% sparse",
        ]
        command += ["--train-size", "300", "--batch-size", "50", "--no-dense"]
        for name, method, epochs in (("first", "acdc", "6"), ("second", "gmp", "6")):
            options = ["--method", method, "--epochs", epochs, "--out", str(folder / name)]
            assert run([*command, *options, "--json"]) == 0
    return [folder / "first", folder / "second"]


@pytest.fixture(scope="module")
def subjects(runs: list[Path]) -> list[Subject]:
    return [Subject(path) for path in runs]


SETTINGS = Settings(pictures=100, points=3, transfer_epochs=1)


@pytest.mark.parametrize("what", ANALYSES)
def test_every_analysis_gives_a_table_a_figure_and_json(subjects: list[Subject], what: str) -> None:
    finding = analyze(subjects, what, SETTINGS)
    assert finding.rows
    assert all(len(row) == len(finding.columns) for row in finding.rows)
    assert {finding.x, *finding.y} <= set(finding.columns)
    assert json.loads(json.dumps(finding.to_json()))["what"] == what
    assert len(finding.figure().data) >= 1


def test_the_run_says_how_many_weights_are_left(subjects: list[Subject]) -> None:
    extra = subjects[0].record.extra
    assert extra["weight_sparsity"] == pytest.approx(0.8, abs=0.01)
    assert extra["nonzero_params"] < 0.3 * (subjects[0].record.dense_params or 0)
    assert subjects[0].record.target == "80% sparse"


def test_zeros_are_still_zero_after_fine_tuning(subjects: list[Subject]) -> None:
    (row,) = analyze(subjects[:1], "weight-decay", SETTINGS).records()
    assert 0.6 < row["zeros at the end"] < 0.82  # less where channels that lost all their weights are gone


def test_overlap_of_gradual_masks_is_logged_beside_its_formula(subjects: list[Subject]) -> None:
    rows = [row for row in analyze(subjects[1:], "iou", SETTINGS).records() if row["of the schedule"] is not None]
    assert rows
    assert all(0 <= row["overlap"] <= 1 for row in rows)


def test_connectivity_needs_two_runs(subjects: list[Subject]) -> None:
    with pytest.raises(UsageError, match="two or more runs"):
        analyze(subjects[:1], "connectivity", SETTINGS)


def test_an_unknown_analysis_no_run_and_an_unfinished_run_are_refused(subjects: list[Subject], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown analysis 'mood'"):
        analyze(subjects, "mood")
    with pytest.raises(UsageError, match="at least one run"):
        analyze([], "entropy")
    with pytest.raises(RunError, match="finished model"):
        analyze([Subject(tmp_path)], "entropy")


def test_the_verb_prints_json_and_leaves_files(runs: list[Path], tmp_path: Path, capfd: Any) -> None:
    capfd.readouterr()
    page = tmp_path / "page.html"
    status = run(["analyze", *map(str, runs), "--what", "entropy,channels", "--html", str(page), "--json"])
    reply = json.loads(capfd.readouterr().out)
    assert status == 0
    assert set(reply["findings"]) == {"entropy", "channels"}
    assert all("figure" in json.loads(Path(file).read_text()) for file in reply["files"])
    assert "plotly" in page.read_text()[:5_000_000]


def test_the_verb_refuses_an_unknown_analysis_with_the_known_ones(runs: list[Path], capfd: Any) -> None:
    capfd.readouterr()
    assert run(["analyze", str(runs[0]), "--what", "mood", "--json"]) == 2
    assert "sharpness" in json.loads(capfd.readouterr().out)["hint"]


def test_the_table_is_printed_for_people(runs: list[Path], capfd: Any) -> None:
    capfd.readouterr()
    assert run(["analyze", str(runs[0]), "--what", "entropy"]) == 0
    assert "Entropy of the predictions" in capfd.readouterr().out
