"""Training histories: JSON lines, one row an epoch, as named series."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POSITIONS = ("epoch", "step")
"""Keys that say where in the training a row was written, the preferred one first."""


@dataclass(frozen=True)
class Series:
    """One quantity over the training; None where a row does not have it."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Curves:
    """A training history.

    Args:
        unit: What ``positions`` count: ``"epoch"``, ``"step"`` or ``"row"``.
        positions: Place of each row.
        series: Every other number of the rows.
    """

    unit: str
    positions: tuple[float, ...]
    series: tuple[Series, ...]

    def __getitem__(self, name: str) -> tuple[float | None, ...]:
        for series in self.series:
            if series.name == name:
                return series.values
        raise KeyError(name)

    def matching(self, *words: str) -> tuple[Series, ...]:
        """The series whose names contain one of the words."""
        return tuple(series for series in self.series if any(word in series.name for word in words))


def read_curves(path: Path, problems: list[str]) -> Curves | None:
    """Read a history; lines that are not whole are skipped and counted in one sentence.

    Args:
        path: The JSON-lines file.
        problems: Receives a sentence if the file is missing or damaged.

    Returns:
        The curves, or None if there are no rows.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
        return None
    rows = [row for line in lines if line.strip() and (row := _parse(line)) is not None]
    torn = sum(1 for line in lines if line.strip()) - len(rows)
    if torn:
        problems.append(f"{path}: {torn} of {len(lines)} lines are not whole and were left out")
    return _curves(rows) if rows else None


def _parse(line: bytes) -> dict[str, float] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return _numbers(row) if isinstance(row, dict) else None


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a row; those of an object inside it by their own names."""
    found: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            found |= _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[key] = float(value)
    return found


def _curves(rows: list[dict[str, float]]) -> Curves:
    unit = next((key for key in POSITIONS if all(key in row for row in rows)), "row")
    if unit != "row":  # after a resume the later row of an epoch is the one that counts
        rows = sorted({row[unit]: row for row in rows}.values(), key=lambda row: row[unit])
    names = dict.fromkeys(name for row in rows for name in row if name not in POSITIONS)
    return Curves(
        unit=unit,
        positions=tuple(row[unit] if unit != "row" else float(i) for i, row in enumerate(rows)),
        series=tuple(Series(name, tuple(row.get(name) for row in rows)) for name in names),
    )
