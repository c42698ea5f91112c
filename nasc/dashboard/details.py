"""What the dashboard shows of one run: its dims, its training, its analyses, and where every number comes from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasc.dashboard.curves import Curves, read_curves
from nasc.dashboard.families import MemberInfo, read_members
from nasc.records import Entry, Record
from nasc.units import format_bytes, format_seconds

Lines = tuple[tuple[str, str], ...]
"""Label and text of each line of a description list."""

ANALYSES = "analysis"
"""Folder inside a run whose JSON files hold a ``title`` and a plotly ``figure`` each."""


@dataclass(frozen=True)
class WidthInfo:
    """One dim of a finished model."""

    name: str
    dense: int
    kept: int


@dataclass(frozen=True)
class FormInfo:
    """The form of one weight tensor: the bits of its grid, and the share of its entries that are not zero."""

    name: str
    bits: float | None
    density: float | None


@dataclass(frozen=True)
class AnalysisInfo:
    """One analysis of a run, as a figure of plotly's."""

    title: str
    figure: Mapping[str, Any]


@dataclass(frozen=True)
class RunDetails:
    """All that is shown of one run alone.

    Args:
        title: What it is, in one line.
        lines: Conditions and provenance, as label and text.
        warnings: What a reader should know.
        widths: Its dims; ranks of factored layers are dims too.
        forms: Bits and densities of single weights, where a method decided them.
        curves: Its training history, None where there is none.
        family: Members of a sorted family, from fast to slow.
        analyses: What ``nasc analyze`` left in its folder.
        problems: What could not be read.
    """

    title: str
    lines: Lines
    warnings: tuple[str, ...]
    widths: tuple[WidthInfo, ...]
    forms: tuple[FormInfo, ...]
    curves: Curves | None
    family: tuple[MemberInfo, ...]
    analyses: tuple[AnalysisInfo, ...]
    problems: tuple[str, ...]


def build_details(entry: Entry) -> RunDetails:
    """Everything there is of one run.

    Args:
        entry: Its record and the folder its paths start from; files that are missing or torn become a sentence.
    """
    record, problems = entry.record, list[str]()
    home = _home(entry)
    return RunDetails(
        title=f"{record.model} on {record.data.partition(':')[0]}, {record.method} to {record.target}",
        lines=describe(record),
        warnings=record.warnings,
        widths=tuple(WidthInfo(w.name, w.dense, w.kept) for w in record.widths),
        forms=_forms(record),
        curves=read_curves(entry.folder / record.history, problems) if record.history else None,
        family=read_members(home, record, problems),
        analyses=_analyses(home / ANALYSES, problems),
        problems=tuple(problems),
    )


def describe(record: Record) -> Lines:
    """What a figure needs to be believed: conditions, provenance and checks."""
    threads = "1 thread" if record.threads == 1 else f"{record.threads} threads"
    lines: list[tuple[str, str | None]] = [
        ("Model", record.model),
        ("Data", record.data),
        ("Device", f"{record.device}, {record.runtime}, {threads}, {record.dtype}, {record.origin}"),
        ("Method", f"{record.method}, {record.epochs:g} epochs, seed {record.seed}"),
        ("Interval", " to ".join(map(format_seconds, record.interval)) if record.interval else None),
        (
            "Dense latency",
            format_seconds(record.dense_measured_s, record.dense_spread_s) if record.dense_measured_s else None,
        ),
        (
            "Masked against finished",
            f"{record.max_abs_difference:.1e}" if record.max_abs_difference is not None else None,
        ),
        ("Artifact", _artifact(record)),
        ("Training took", format_seconds(record.train_s) if record.train_s else None),
        ("Recipe", _pairs(record.recipe)),
        ("Further", _pairs(record.extra)),
        ("Date", record.date),
        ("Commit", record.commit or None),
        ("Versions", ", ".join(f"{name} {version}" for name, version in record.versions.items()) or None),
        ("Command", record.command or None),
    ]
    return tuple((label, text) for label, text in lines if text)


def _home(entry: Entry) -> Path:
    """The run's own folder: a ledger's records name files that lie deeper."""
    return (entry.folder / entry.record.history).parent if entry.record.history else entry.folder


def _pairs(values: Mapping[str, Any]) -> str | None:
    return ", ".join(f"{key} {value}" for key, value in values.items() if key not in ("bits", "density")) or None


def _artifact(record: Record) -> str | None:
    if record.artifact is None:
        return None
    size = f", {format_bytes(record.artifact_bytes)}" if record.artifact_bytes else ""
    digest = f", sha256 {record.artifact_sha256[:12]}…" if record.artifact_sha256 else ""
    return f"{record.artifact}{size}{digest}"


def _forms(record: Record) -> tuple[FormInfo, ...]:
    bits, density = (record.extra.get(name) for name in ("bits", "density"))
    bits, density = (value if isinstance(value, dict) else {} for value in (bits, density))
    names = dict.fromkeys([*bits, *density])
    return tuple(FormInfo(name, _number(bits.get(name)), _number(density.get(name))) for name in names)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _analyses(folder: Path, problems: list[str]) -> tuple[AnalysisInfo, ...]:
    found = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        content = _read_json(path, problems)
        figure = content.get("figure") if isinstance(content, dict) else None
        if isinstance(figure, dict) and isinstance(figure.get("data"), list):
            given = figure.get("layout")
            layout: dict[str, Any] = given if isinstance(given, dict) else {}
            title = str(content.get("title") or path.stem.replace("_", " "))
            plain = {**layout, "template": None, "title": None}  # the page has its own colours and puts the title above
            found.append(AnalysisInfo(title, {"data": figure["data"], "layout": plain}))
    return tuple(found)


def _read_json(path: Path, problems: list[str]) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        problems.append(f"{path} cannot be read: {error}")
        return None
