"""The ledger of a comparison: every finished trial once, every failed one with its traceback.

``records.jsonl`` is appended to and never edited. A trial's own folder holds its record first, written whole or not at
all; whatever the ledger lacks of that, after a kill between the two, is taken over when the comparison goes on. Only the
driver writes here, under the folder's lock, so that nothing is there twice.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from nasc.errors import RunError
from nasc.records import Record, append_record, collect_records, date_now, load_record, write_atomic

RECORDS, FAILURES, TRIALS, STATE = "records.jsonl", "failures", "trials", "state"
"""Names inside a comparison's folder."""

FINAL = "comparison"
"""Key of ``Record.extra`` that a trial writes last: a record without it may still lack its baseline."""


@dataclass(frozen=True)
class Failure:
    """A trial that ended without a model.

    Args:
        trial: Its name.
        kind: ``"failed"``, or ``"stopped"`` where it fell behind the others of its group.
        error: One sentence.
        hint: What can be done.
        traceback: Where it happened; empty for what was stopped.
        date: ISO 8601 in UTC.
    """

    trial: str
    kind: Literal["failed", "stopped"]
    error: str
    hint: str = ""
    traceback: str = ""
    date: str = ""


class Ledger:
    """What is known of the trials of one comparison.

    Args:
        folder: The comparison's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = collect_records([folder / RECORDS]) if (folder / RECORDS).is_file() else None
        self.problems: tuple[str, ...] = found.problems if found else ()
        self.records: dict[str, Record] = {record.run: record for record in found.records} if found else {}
        self.failures: dict[str, Failure] = {failure.trial: failure for failure in _read_failures(folder / FAILURES)}

    def done(self, trial: str) -> bool:
        """Whether a trial has ended, one way or the other."""
        return trial in self.records or trial in self.failures

    def reconcile(self, trials: Iterable[str]) -> None:
        """Take over the finished trials that a killed driver did not come to note down."""
        for trial in trials:
            if trial not in self.records and (record := finished_record(self.folder, trial)) is not None:
                self.add(record)

    def add(self, record: Record) -> bool:
        """Append a finished trial, on disk when this returns.

        Returns:
            False if it is there already: nothing is written.
        """
        if record.run in self.records:
            return False
        moved = _from_here(record)
        append_record(moved, self.folder / RECORDS)
        self.records[record.run] = moved
        (self.folder / FAILURES / f"{record.run}.json").unlink(missing_ok=True)
        self.failures.pop(record.run, None)
        return True

    def fail(self, failure: Failure) -> None:
        """Note down a trial that ended without a model."""
        dated = Failure(**{**asdict(failure), "date": date_now()})
        path = self.folder / FAILURES / f"{failure.trial}.json"
        write_atomic(path, json.dumps(asdict(dated), indent=2).encode() + b"\n")
        self.failures[failure.trial] = dated

    def forget_failures(self) -> None:
        """Have the failed trials tried again; those that were stopped stay so."""
        for trial in [name for name, failure in self.failures.items() if failure.kind == "failed"]:
            (self.folder / FAILURES / f"{trial}.json").unlink(missing_ok=True)
            del self.failures[trial]


def finished_record(folder: Path, trial: str) -> Record | None:
    """The record of a trial that ran to its end, from its own folder."""
    try:
        record = load_record(folder / TRIALS / trial)
    except RunError:
        return None
    return record if FINAL in record.extra else None


def complete(record: Record, trial: str, facts: Mapping[str, Any]) -> Record:
    """A record with what the comparison knows of it."""
    return msgspec.structs.replace(record, run=trial, extra={**record.extra, FINAL: dict(facts)})


def _from_here(record: Record) -> Record:
    """The record with the paths of its files as they are seen from the ledger."""
    inside = f"{TRIALS}/{record.run}"
    moved = {
        name: f"{inside}/{value}" for name in ("artifact", "history") if (value := getattr(record, name)) is not None
    }
    return msgspec.structs.replace(record, **moved)


def _read_failures(folder: Path) -> list[Failure]:
    """Every failure that can be read; a half-written one cannot be, since they are written at once."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Failure(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError):
            continue
    return found
