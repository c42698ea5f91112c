"""The page's data as plain JSON values: columns of all runs at once, details of single runs in blocks."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nasc
from nasc.dashboard.details import RunDetails, build_details
from nasc.dashboard.info import PageInfo, build_info
from nasc.dashboard.latency import TableInfo, read_tables
from nasc.records import Collection, Entry, collect_records, date_now

BLOCK = 50
"""Runs whose details stand together: a page of ten thousand reads one block when one of its runs is looked at."""

DIGITS = 7
"""Significant digits of a number on the page; nothing measured has more."""


@dataclass(frozen=True)
class Payload:
    """All data of a page.

    Args:
        info: Of all runs.
        entries: The runs.
        tables: Latency tables of their devices.
    """

    info: PageInfo
    entries: tuple[Entry, ...]
    tables: tuple[TableInfo, ...]

    def overview(self) -> dict[str, Any]:
        """What the page needs to start."""
        info = self.info
        return {
            "version": nasc.__version__,
            "date": date_now()[:16].replace("T", " ") + " UTC",
            "title": info.title,
            "problems": info.problems,
            "headlines": [asdict(line) for line in info.headlines],
            "conditions": [asdict(conditions) for conditions in info.conditions],
            "count": info.count,
            "block": BLOCK,
            "columns": {name: _rounded(values) for name, values in info.columns.items()},
            "tables": [asdict(table) for table in self.tables],
        }

    @property
    def blocks(self) -> int:
        """How many blocks of details there are."""
        return math.ceil(len(self.entries) / BLOCK)

    def block(self, number: int) -> list[dict[str, Any]]:
        """The details of the runs of one block."""
        entries = self.entries[number * BLOCK : (number + 1) * BLOCK]
        return [_details(build_details(entry)) for entry in entries]


def collect_payload(paths: Sequence[Path]) -> Payload:
    """Read everything under some paths.

    Args:
        paths: Run folders, folders of runs, record files or ledgers.
    """
    found = collect_records(paths)
    problems = list(found.problems)
    devices = dict.fromkeys(record.device for record in found.records)
    tables = read_tables(devices, problems)
    info = build_info(Collection(found.entries, tuple(problems)))
    return Payload(info, found.entries, tables)


def to_text(value: Any) -> str:
    """JSON that cannot end the script element it may stand in, and that has no NaN."""
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _details(details: RunDetails) -> dict[str, Any]:
    plain = asdict(details)
    curves = details.curves
    plain["curves"] = curves and {
        "unit": curves.unit,
        "positions": curves.positions,
        "series": {series.name: _rounded(series.values) for series in curves.series},
    }
    return plain


def _rounded(values: Sequence[Any]) -> list[Any]:
    return [float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for value in values]


def _finite(value: Any) -> Any:
    """The same with null for what is no number: a figure of somebody else's may hold it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
