import json
from collections.abc import Callable
from pathlib import Path

from nasc.comparison.ledger import FAILURES, RECORDS, TRIALS, Failure, Ledger, complete, finished_record
from nasc.records import Record, collect_records, save_record

Make = Callable[..., Record]


def finish(folder: Path, make: Make, name: str) -> Record:
    record = complete(make(history="history.jsonl", artifact="model.tflite"), name, {"seconds": 3.0})
    save_record(record, folder / TRIALS / name)
    return record


def test_a_finished_trial_is_in_the_ledger_once_however_often_it_is_added(tmp_path: Path, make_record: Make) -> None:
    ledger = Ledger(tmp_path)
    record = finish(tmp_path, make_record, "a")
    assert ledger.add(record)
    assert not ledger.add(record)
    assert not Ledger(tmp_path).add(record)
    assert [r.run for r in collect_records([tmp_path / RECORDS]).records] == ["a"]


def test_what_a_killed_driver_did_not_note_down_is_taken_over_once(tmp_path: Path, make_record: Make) -> None:
    finish(tmp_path, make_record, "a")
    Ledger(tmp_path).reconcile(["a", "b"])
    again = Ledger(tmp_path)
    again.reconcile(["a", "b"])
    assert list(again.records) == ["a"]
    assert len((tmp_path / RECORDS).read_text().splitlines()) == 1


def test_a_line_torn_by_a_kill_is_closed_and_its_trial_noted_again(tmp_path: Path, make_record: Make) -> None:
    Ledger(tmp_path).add(finish(tmp_path, make_record, "a"))
    Ledger(tmp_path).add(finish(tmp_path, make_record, "b"))
    whole = (tmp_path / RECORDS).read_bytes()
    (tmp_path / RECORDS).write_bytes(whole[:-40])
    ledger = Ledger(tmp_path)
    assert list(ledger.records) == ["a"]
    assert len(ledger.problems) == 1
    ledger.reconcile(["a", "b"])
    assert sorted(r.run for r in collect_records([tmp_path / RECORDS]).records) == ["a", "b"]


def test_a_record_that_lacks_its_baseline_does_not_count_as_finished(tmp_path: Path, make_record: Make) -> None:
    save_record(make_record(), tmp_path / TRIALS / "a")
    assert finished_record(tmp_path, "a") is None


def test_paths_in_the_ledger_lead_from_the_ledger_to_the_trial(tmp_path: Path, make_record: Make) -> None:
    Ledger(tmp_path).add(finish(tmp_path, make_record, "a"))
    (record,) = collect_records([tmp_path]).records
    assert record.history == f"{TRIALS}/a/history.jsonl"
    assert record.artifact == f"{TRIALS}/a/model.tflite"


def test_a_failure_is_kept_with_its_traceback_and_forgotten_on_request_or_success(
    tmp_path: Path, make_record: Make
) -> None:
    ledger = Ledger(tmp_path)
    ledger.fail(Failure("a", "failed", "no such data", traceback="Traceback ..."))
    ledger.fail(Failure("b", "stopped", "fell behind"))
    again = Ledger(tmp_path)
    assert again.done("a")
    assert again.failures["a"].traceback == "Traceback ..."
    assert again.failures["a"].date
    again.forget_failures()
    assert not again.done("a")
    assert again.done("b")
    again.add(finish(tmp_path, make_record, "b"))
    assert not Ledger(tmp_path).failures


def test_a_damaged_failure_hides_nothing_else(tmp_path: Path) -> None:
    Ledger(tmp_path).fail(Failure("a", "failed", "x"))
    (tmp_path / FAILURES / "b.json").write_text('{"trial": "b", ')
    (tmp_path / FAILURES / "c.json").write_text(json.dumps({"unknown": 1}))
    assert list(Ledger(tmp_path).failures) == ["a"]
