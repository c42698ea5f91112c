"""What an analysis found: a table, a figure, and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nasc.records import write_atomic

Value = str | int | float | None


@dataclass(frozen=True)
class Finding:
    """A table, and how to draw it.

    Args:
        what: Name of the analysis.
        title: One line for people.
        columns: Names of the columns, with units.
        rows: One tuple a row, in the order of the columns.
        x: The column along the figure.
        y: The columns that are drawn.
        by: The column whose values are separate lines; empty for one.
        note: What a reader should know.
    """

    what: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    x: str
    y: tuple[str, ...]
    by: str = ""
    note: str = ""

    def column(self, name: str) -> tuple[Value, ...]:
        """The values of a column."""
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)

    def records(self) -> list[dict[str, Value]]:
        """The rows as one mapping each."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {**asdict(self), "rows": self.records()}

    def figure(self) -> Any:
        """A plotly figure: lines over numbers, bars over names."""
        import plotly.graph_objects as go

        numeric = all(isinstance(value, (int, float)) for value in self.column(self.x))
        figure = go.Figure()
        figure.update_layout(title={"text": self.title}, xaxis_title=self.x, template="plotly_white")
        for key in dict.fromkeys(self.column(self.by)) if self.by else [None]:
            part = [row for row in self.records() if not self.by or row[self.by] == key]
            for name in self.y:
                label = " ".join(str(text) for text in (key, name if len(self.y) > 1 or not self.by else None) if text)
                data = {"x": [row[self.x] for row in part], "y": [row[name] for row in part], "name": label}
                figure.add_trace(go.Scatter(mode="lines+markers", **data) if numeric else go.Bar(**data))
        if len(self.y) == 1:
            figure.update_layout(yaxis_title=self.y[0])
        return figure


FOLDER = "analysis"


def save_finding(finding: Finding, folder: Path) -> Path:
    """Write ``analysis/NAME.json`` (table and figure) into a run's folder, whole or not at all.

    Raises:
        RunError: The folder cannot be written.
    """
    path = folder / FOLDER / f"{finding.what}.json"
    content = {**finding.to_json(), "figure": json.loads(finding.figure().to_json())}
    write_atomic(path, json.dumps(content, indent=1).encode() + b"\n")
    return path


def save_page(findings: Sequence[Finding], path: Path) -> Path:
    """One self-contained page with the figure and the table of every finding.

    Raises:
        RunError: The file cannot be written.
    """
    from html import escape

    parts = ["<!doctype html><meta charset='utf-8'><title>nasc analyze</title>", _STYLE]
    for place, finding in enumerate(findings):
        parts.append(finding.figure().to_html(full_html=False, include_plotlyjs=place == 0))
        parts.append(_table(finding.columns, finding.records()))
        parts.append(f"<p>{escape(finding.note)}</p>")
    write_atomic(path, "\n".join(parts).encode())
    return path


_STYLE = "<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:right}</style>"


def _table(columns: Sequence[str], records: Sequence[Mapping[str, Value]]) -> str:
    from html import escape

    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(show(record[name]))}</td>" for name in columns) + "</tr>" for record in records
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def show(value: Value) -> str:
    """A value for people: four digits, a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
