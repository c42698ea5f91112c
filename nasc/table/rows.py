"""Rows of a latency table, and their text forms."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nasc.errors import TableError
from nasc.kernels import KINDS, Attribute, KernelShape, Signature

COLUMNS = ("kind", "attributes", "sizes", "best_s", "gap_s", "cold_s", "sessions", "runs")


@dataclass(frozen=True)
class Row:
    """The measured time of one kernel.

    Args:
        shape: The kernel.
        seconds: The anchored median over fresh sessions, the cost of an empty call taken off.
        gap_s: Distance to the next session, the error bar.
        cold_s: Its time when its weights have left the inner caches; as ``seconds`` where that was not measured.
        sessions: Fresh sessions it was measured in.
        runs: Timed runs in total.
    """

    shape: KernelShape
    seconds: float
    gap_s: float
    cold_s: float
    sessions: int
    runs: int


def write_rows(rows: Iterable[Row]) -> str:
    """Rows as CSV text, sorted by shape, one line each."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=lambda row: sort_key(row.shape)):
        shape = row.shape
        writer.writerow(
            (
                shape.kind,
                " ".join(f"{name}={value}" for name, value in shape.signature.attributes),
                " ".join(f"{name}={value}" for name, value in shape.sizes),
                f"{row.seconds:.5g}",
                f"{row.gap_s:.2g}",
                f"{row.cold_s:.5g}",
                row.sessions,
                row.runs,
            )
        )
    return stream.getvalue()


def read_rows(text: str, origin: str) -> list[Row]:
    """The inverse of :func:`write_rows`.

    Args:
        text: The CSV text.
        origin: Where it comes from, for messages.

    Raises:
        TableError: A line is broken or a shape stands there twice.
    """
    reader = csv.reader(io.StringIO(text))
    header = next(reader, [])
    if not set(COLUMNS) - {"cold_s"} <= set(header):
        raise TableError(
            f"{origin}: expected the columns {','.join(COLUMNS)}; got {','.join(header) or 'an empty file'}"
        )
    rows: dict[KernelShape, Row] = {}
    for number, line in enumerate(reader, start=2):
        try:
            row = _read_row(dict(zip(header, line, strict=True)))
        except (KeyError, ValueError) as error:
            raise TableError(
                f"{origin}, line {number}: expected a table row; got {','.join(line)!r} ({error})"
            ) from error
        if row.shape in rows:
            raise TableError(f"{origin}, line {number}: {row.shape} stands here twice", "delete one of the two lines")
        rows[row.shape] = row
    return list(rows.values())


def _read_row(line: Mapping[str, str]) -> Row:
    sizes = {name: int(value) for name, value in _pairs(line["sizes"]).items()}
    return Row(
        shape=shape_from(line["kind"], _pairs(line["attributes"]), sizes),
        seconds=float(line["best_s"]),
        gap_s=float(line["gap_s"]),
        cold_s=float(line.get("cold_s", line["best_s"])),
        sessions=int(line["sessions"]),
        runs=int(line["runs"]),
    )


def _pairs(text: str) -> dict[str, Attribute]:
    return {name: parse_value(value) for name, _, value in (pair.partition("=") for pair in text.split())}


def parse_value(text: str) -> Attribute:
    """An int, a float or a word, whichever fits first."""
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def shape_from(kind: str, attributes: Mapping[str, Attribute], sizes: Mapping[str, int]) -> KernelShape:
    """A kernel shape from its parts, sizes in the order of its kind.

    Raises:
        KeyError: The kind is unknown or a size is missing.
    """
    return Signature(kind, tuple(attributes.items())).at(**{name: sizes[name] for name in KINDS[kind].sizes})


def sort_key(shape: KernelShape) -> tuple[object, ...]:
    """An order of shapes that does not depend on the types of attribute values."""
    return (
        shape.kind,
        tuple((name, str(value).rjust(12)) for name, value in shape.signature.attributes),
        tuple(value for _, value in shape.sizes),
    )
