"""Records: everything nasc claims about one finished model, as one JSON file beside it.

A run folder holds one ``record.json``; a ledger is a file of records, one a line, only ever appended to. Both carry the
schema's number, and whatever does not fit it is refused in words instead of being guessed at. Times are seconds, sizes
bytes, MACs and parameters counts, accuracies fractions in 0..1.
"""

import contextlib
import json
import math
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec

from nasc.errors import RunError

SCHEMA = 1
"""Number of the record schema; it grows when a key changes its meaning."""

FILE_NAME = "record.json"
"""Name of the record inside a run folder."""

Origin = Literal["measured", "emulated", "simulated"]


class Width(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Entries of one dim: in the dense model and in the finished one."""

    name: str
    dense: int
    kept: int

    def __post_init__(self) -> None:
        _require(0 <= self.kept <= self.dense, f"dim {self.name} keeps {self.kept} of {self.dense} entries")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One finished model: what it is, what was asked, predicted and measured, and how all that came about.

    Args:
        run: Name of the run, unique in its folder.
        model: The model's specification as the user typed it; likewise ``data``.
        method: Name of the method that made it, ``"dense"`` for none.
        seed: Seed of the run.
        epochs: Epochs trained in total, fine-tuning included.
        device: Device name; with ``runtime``, ``threads`` and ``dtype`` the conditions of every time in the record.
        target: The target as typed, e.g. ``"8ms"`` or ``"300MMAC"``.
        date: When the record was made, ISO 8601 in UTC.
        accuracy: Test accuracy of the finished model, with its standard error; likewise the dense model's.
        macs: Multiply-adds of the finished model for a batch of one; likewise parameters, and the dense model's.
        target_s: The target in seconds, None where the target is not a time.
        predicted_s: Latency by the table.
        measured_s: Latency of the exported file, measured on the device; None if it was never measured.
        spread_s: Half-width of the error bar of ``measured_s``.
        interval: Confidence interval of ``measured_s`` as (low, high).
        dense_predicted_s: The dense model's latency by the table.
        dense_measured_s: The dense model's, measured in the same sessions; ``dense_spread_s`` likewise.
        origin: ``"measured"``, or ``"emulated"`` / ``"simulated"`` where the times are no real device's.
        artifact: The exported file, relative to the record's folder; with its hash, size in bytes and format.
        max_abs_difference: Largest difference between the finished model's output and the masked dense model's.
        widths: What is kept of every dim.
        history: The training history (JSON lines), relative to the record's folder.
        train_s: Wall-clock seconds of training.
        recipe: The resolved training and method configuration.
        versions: Version by package name.
        commit: Commit of nasc's source, with ``+`` after it if the tree was changed; empty where unknown.
        command: The command line that started the run.
        warnings: What a reader of the numbers should know.
        extra: Further numbers of a method or a device.
        schema: Always :data:`SCHEMA`.
    """

    run: str
    model: str
    data: str
    method: str
    seed: int
    epochs: float
    device: str
    runtime: str
    threads: int
    dtype: str
    target: str
    date: str
    accuracy: float
    macs: int
    params: int
    accuracy_stderr: float | None = None
    dense_accuracy: float | None = None
    dense_accuracy_stderr: float | None = None
    dense_macs: int | None = None
    dense_params: int | None = None
    target_s: float | None = None
    predicted_s: float | None = None
    measured_s: float | None = None
    spread_s: float | None = None
    interval: tuple[float, float] | None = None
    dense_predicted_s: float | None = None
    dense_measured_s: float | None = None
    dense_spread_s: float | None = None
    origin: Origin = "measured"
    artifact: str | None = None
    artifact_format: str | None = None
    artifact_sha256: str | None = None
    artifact_bytes: int | None = None
    max_abs_difference: float | None = None
    widths: tuple[Width, ...] = ()
    history: str | None = None
    train_s: float | None = None
    recipe: Mapping[str, Any] = {}
    versions: Mapping[str, str] = {}
    commit: str = ""
    command: str = ""
    warnings: tuple[str, ...] = ()
    extra: Mapping[str, Any] = {}
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        _require(self.schema == SCHEMA, f"schema {self.schema} instead of {SCHEMA}")
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float):
                _require(math.isfinite(value), f"{name} is {value}")
            if isinstance(value, float) and name.endswith("_s"):
                _require(value >= 0, f"{name} is negative: {value} s")
        for name in ("accuracy", "dense_accuracy"):
            fraction = getattr(self, name)
            _require(fraction is None or 0 <= fraction <= 1, f"{name} is outside 0..1: {fraction}")
        if self.interval is not None:
            low, high = self.interval
            _require(0 <= low <= high < math.inf, f"interval is not ordered: {low}..{high} s")


@dataclass(frozen=True)
class Entry:
    """A record and the folder its relative paths start from."""

    record: Record
    folder: Path


@dataclass(frozen=True)
class Collection:
    """What was found under some paths: the records that read well, and one sentence for each that did not."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """The records without their folders."""
        return tuple(entry.record for entry in self.entries)


def save_record(record: Record, folder: Path) -> Path:
    """Write ``record.json`` into a run folder, whole or not at all.

    Returns:
        The path written.

    Raises:
        RunError: The folder cannot be written.
    """
    path = folder / FILE_NAME
    write_atomic(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    return path


def load_record(path: Path) -> Record:
    """Read one record.

    Args:
        path: A run folder or the record file itself.

    Raises:
        RunError: There is none, or it is not whole, or it is of another schema.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"expected a finished run with {FILE_NAME} at {path}, got none", hint="finish it: run nasc compress again"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror}") from error
    return decode_record(content, str(file))


def append_record(record: Record, ledger: Path) -> None:
    """Append one line to a ledger, on disk when this returns; a half-written last line is closed, never lengthened.

    Raises:
        RunError: The ledger cannot be written.
    """
    line = msgspec.json.encode(record) + b"\n"
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with ledger.open("ab+") as file:
            if file.tell() and not _ends_with_newline(ledger):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(
            f"cannot append to {ledger}: {error.strerror}", hint="free space or choose another --out"
        ) from error


def collect_records(paths: Iterable[Path]) -> Collection:
    """Read every record under some paths: run folders, folders of runs, record files and ledgers.

    A path that does not read well becomes a sentence in ``problems``; the rest is still there.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    for file in _record_files(paths, problems):
        try:
            content = file.read_bytes()
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
            continue
        for label, text in _documents(file, content):
            try:
                entries.append(Entry(decode_record(text, label), file.parent))
            except RunError as error:
                problems.append(error.message)
    return Collection(tuple(entries), tuple(problems))


def decode_record(content: bytes, label: str) -> Record:
    """A record from JSON.

    Args:
        content: One JSON object.
        label: Where it came from, for the error.

    Raises:
        RunError: It is no whole record of this schema; the message says which key is at fault.
    """
    try:
        raw = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{label} is not a whole record: {error}", hint="run it again, or leave it out") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise RunError(
            f"{label} has schema {schema if schema is not None else 'none'}, expected {SCHEMA}",
            hint="read it with the version of nasc that wrote it, or run it again",
        )
    try:
        return msgspec.convert(raw, Record)
    except (msgspec.ValidationError, ValueError) as error:
        raise RunError(
            f"{label} does not fit the record schema {SCHEMA}: {error}", hint="run it again, or leave it out"
        ) from error


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary file in the same folder, flushed to disk, then renamed.

    Raises:
        RunError: The folder cannot be made or written.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise RunError(f"cannot write {path}: {error.strerror}", hint="free space or choose another --out") from error


def date_now() -> str:
    """The time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def package_versions(*names: str) -> dict[str, str]:
    """Version of every named package that is installed, read without importing it."""
    versions = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def source_commit(folder: Path | None = None) -> str:
    """Commit of the checkout that holds nasc, followed by ``+`` if files differ from it; empty outside a checkout.

    Args:
        folder: Another checkout to ask about.
    """
    where = folder or Path(__file__).resolve().parent.parent
    commit = _git(where, "rev-parse", "HEAD")
    return commit + "+" if commit and _git(where, "status", "--porcelain", "--untracked-files=no") else commit


def _git(folder: Path, *arguments: str) -> str:
    if not (folder / ".git").exists():
        return ""
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def _ends_with_newline(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def _record_files(paths: Iterable[Path], problems: list[str]) -> list[Path]:
    """Record files under the paths in order, each once; what holds none becomes a problem."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_file():
            found[path] = None
        elif (path / FILE_NAME).is_file():
            found[path / FILE_NAME] = None
        elif path.is_dir():
            inside = sorted(path.glob(f"*/{FILE_NAME}")) + sorted(path.glob("*.jsonl"))
            found.update(dict.fromkeys(inside))
            if not inside:
                problems.append(f"{path} holds no finished run")
        else:
            problems.append(f"{path} does not exist")
    return list(found)


def _documents(file: Path, content: bytes) -> list[tuple[str, bytes]]:
    """The JSON texts of a record file (one) or of a ledger (one a line), each with a label for errors."""
    if file.suffix != ".jsonl":
        return [(str(file), content)]
    lines = enumerate(content.splitlines(), start=1)
    return [(f"{file}, line {number},", line) for number, line in lines if line.strip()]


def to_json(value: Record) -> dict[str, Any]:
    """A record as plain JSON values."""
    plain = json.loads(msgspec.json.encode(value))
    assert isinstance(plain, dict)
    return plain
