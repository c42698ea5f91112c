"""Records round-trip, refuse what does not fit in words, and nothing written is lost."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasc.errors import RunError
from nasc.records import (
    Record,
    Width,
    append_record,
    collect_records,
    load_record,
    package_versions,
    save_record,
    source_commit,
    to_json,
    write_atomic,
)

Maker = Callable[..., Record]


def test_a_record_reads_back_equal_from_its_folder_and_from_its_file(make_record: Maker, tmp_path: Path) -> None:
    record = make_record(
        interval=(9.7e-4, 1.02e-3),
        widths=(Width(name="conv1", dense=16, kept=8),),
        recipe={"batch_size": 64},
        warnings=("the machine was busy",),
        extra={"ratio": 0.5},
    )
    path = save_record(record, tmp_path / "run")
    assert load_record(tmp_path / "run") == record
    assert load_record(path) == record
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["record.json"]


def test_a_record_is_frozen(make_record: Maker) -> None:
    with pytest.raises(AttributeError):
        make_record().accuracy = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"accuracy": 1.2}, "accuracy is outside 0..1"),
        ({"measured_s": -1.0}, "measured_s is negative"),
        ({"measured_s": float("nan")}, "measured_s is nan"),
        ({"interval": (2.0, 1.0)}, "interval is not ordered"),
        ({"schema": 7}, "schema 7 instead of 1"),
    ],
)
def test_impossible_numbers_are_refused_when_a_record_is_made(
    make_record: Maker, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_record(**changes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": 99}, "has schema 99, expected 1"),
        ({"accuracy": "high"}, "accuracy"),
        ({"accuracy": 3}, "outside 0..1"),
        ({"surprise": 1}, "surprise"),
        ({"origin": "guessed"}, "guessed"),
        ({"widths": [{"name": "a", "dense": 4, "kept": 5}]}, "dim a keeps 5 of 4"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_key_at_fault(
    make_record: Maker, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(to_json(make_record()) | change))
    with pytest.raises(RunError, match=sentence):
        load_record(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3"])
def test_a_half_written_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(RunError, match=r"record\.json"):
        load_record(tmp_path)


def test_a_missing_run_says_how_to_finish_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a finished run") as caught:
        load_record(tmp_path / "nowhere")
    assert "nasc compress" in caught.value.hint


def test_a_ledger_keeps_every_record_also_after_a_half_written_line(make_record: Maker, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    append_record(make_record(seed=0), ledger)
    with ledger.open("ab") as file:
        file.write(b'{"schema": 1, "run": "torn')
    append_record(make_record(seed=1), ledger)
    collected = collect_records([ledger])
    assert [record.seed for record in collected.records] == [0, 1]
    assert len(collected.problems) == 1
    assert "line 2" in collected.problems[0]


def test_appending_from_several_processes_at_once_loses_no_line(make_record: Maker, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    code = (
        "import sys, msgspec; from pathlib import Path; from nasc.records import append_record, Record\n"
        "record = msgspec.json.decode(sys.argv[2], type=Record)\n"
        "for _ in range(50): append_record(record, Path(sys.argv[1]))"
    )
    argument = json.dumps(to_json(make_record()))
    writers = [subprocess.Popen([sys.executable, "-c", code, str(ledger), argument]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    collected = collect_records([ledger])
    assert len(collected.entries) == 150
    assert not collected.problems


def test_collecting_finds_runs_in_folders_and_shows_the_rest_of_a_damaged_set(
    make_record: Maker, tmp_path: Path
) -> None:
    save_record(make_record(run="a"), tmp_path / "a")
    save_record(make_record(run="b"), tmp_path / "b")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "record.json").write_text("{")
    (tmp_path / "empty").mkdir()
    collected = collect_records([tmp_path, tmp_path / "a", tmp_path / "empty", tmp_path / "gone"])
    assert [record.run for record in collected.records] == ["a", "b"]
    assert collected.entries[0].folder == tmp_path / "a"
    assert len(collected.problems) == 3
    assert all("\n" not in problem for problem in collected.problems)


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(make_record: Maker, tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    target.mkdir()
    with pytest.raises(RunError, match="cannot write"):
        write_atomic(target, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_atomic(tmp_path / "file" / "below", b"new")
    with pytest.raises(RunError, match="cannot append"):
        append_record(make_record(), tmp_path / "file" / "ledger.jsonl")


def test_versions_and_commit_are_read_without_importing_anything(tmp_path: Path) -> None:
    assert set(package_versions("msgspec", "no-such-package")) == {"msgspec"}
    assert source_commit(tmp_path) == ""
    subprocess.run(
        "git init -q . && git config user.email a@b && git config user.name c", shell=True, cwd=tmp_path, check=True
    )
    (tmp_path / "file").write_text("one")
    subprocess.run("git add file && git commit -q -m one", shell=True, cwd=tmp_path, check=True)
    clean = source_commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("two")
    assert source_commit(tmp_path) == clean + "+"
