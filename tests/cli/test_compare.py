"""``nasc compare`` without running trials: what is read, what is forecast, what is refused, what is reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasc.cli import run
from nasc.cli.compare import SeedsType
from nasc.records import Record, append_record

ASKED = ("compare", "-m", "digits-cnn", "-d", "digits", "--device", "simulated", "--targets=-40%,-60%")


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    def reply(*arguments: str) -> tuple[int, Any]:
        status = run([*arguments, "--json"])
        return status, json.loads(capfd.readouterr().out)

    return reply


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (3,)), ("0,1,4", (0, 1, 4)), ("0-3", (0, 1, 2, 3)), ("0-1,7", (0, 1, 7))]
)
def test_seeds_are_listed_or_counted(text: str, seeds: tuple[int, ...]) -> None:
    assert SeedsType().convert(text, None, None) == seeds


def test_a_dry_run_says_what_would_run_and_writes_nothing(ask: Any, tmp_path: Path) -> None:
    out = tmp_path / "cmp"
    status, reply = ask(
        *ASKED, "--methods", "l1,surrogate", "--seeds", "0-2", "--epochs", "2", "--dry-run", "--out", str(out)
    )
    assert status == 0
    assert (reply["trials"], reply["left"]) == (12, 12)
    assert {(group["method"], group["target"]) for group in reply["groups"]} == {
        ("l1", "-40%"), ("l1", "-60%"), ("surrogate", "-40%"), ("surrogate", "-60%"),
    }  # fmt: skip
    assert reply["wall_s"] > 0
    assert not out.exists()


def test_what_has_finished_tells_how_long_the_rest_takes(
    ask: Any, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    from nasc.comparison import Group, Trial

    done = Trial(Group("digits-cnn", "simulated", "l1", "-40%"), 0, 0).name
    record = make_record(run=done, model="digits-cnn", method="l1", extra={"comparison": {"seconds": 7.0}})
    append_record(record, tmp_path / "records.jsonl")
    status, reply = ask(*ASKED, "--methods", "l1", "--dry-run", "--out", str(tmp_path))
    assert status == 0
    assert reply["left"] == 1
    assert [group["trial_s"] for group in reply["groups"]] == [7.0, 7.0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("compare",), "a comparison needs models, data, targets"),
        ((*ASKED, "--methods", "surogate"), "unknown method 'surogate'"),
        ((*ASKED, "--tune", "learning_rate=fast"), "cannot read the range 'fast'"),
        ((*ASKED, "--seeds", "one"), "expected whole numbers"),
        ((*ASKED, "--config", "nowhere.yaml"), "cannot read nowhere.yaml"),
        ((*ASKED, "--track", "wandb", "--out", "{tmp}"), "--track wandb needs the package wandb"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    ask: Any, arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    if "wandb" in arguments:
        pytest.importorskip("ray")
        from importlib.util import find_spec

        if find_spec("wandb") is not None:
            pytest.skip("wandb is installed here: nothing is refused")
    status, reply = ask(*(part.format(tmp=tmp_path) for part in arguments))
    assert status == 2
    assert sentence in reply["error"]


def test_the_report_has_rows_pairs_and_hypervolumes(
    ask: Any, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    for method, accuracies in (("l1", (0.80, 0.82)), ("surrogate", (0.86, 0.87))):
        for seed, accuracy in enumerate(accuracies):
            changes = {"run": f"{method}-{seed}", "method": method, "seed": seed, "accuracy": accuracy}
            append_record(make_record(**changes, dense_measured_s=2e-3, train_s=9.0), tmp_path / "records.jsonl")
    status, reply = ask("compare", "report", str(tmp_path))
    assert status == 0
    assert [row["method"] for row in reply["rows"]] == ["l1", "surrogate"]
    assert reply["pairs"][0]["difference"]["mean"] == pytest.approx(-0.055)
    best = max(reply["hypervolumes"], key=lambda area: area["value"])
    assert best["method"] == "surrogate"
    assert best["low"] <= best["value"] <= best["high"]


def test_a_report_of_nothing_says_how_to_make_something(ask: Any, tmp_path: Path) -> None:
    status, reply = ask("compare", "report", str(tmp_path))
    assert status == 1
    assert "no finished trial" in reply["error"]


def test_the_report_is_readable_without_json(
    tmp_path: Path, make_record: Callable[..., Record], capfd: pytest.CaptureFixture[str]
) -> None:
    for method in ("l1", "surrogate"):
        append_record(make_record(run=method, method=method, dense_measured_s=2e-3), tmp_path / "records.jsonl")
    assert run(["compare", "report", str(tmp_path)]) == 0
    shown = capfd.readouterr().out
    assert "Pairs of methods" in shown
    assert "Hypervolume" in shown
