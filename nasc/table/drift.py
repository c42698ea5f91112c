"""Two tables of one device: how far they differ, and one made of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from nasc.errors import TableError
from nasc.table.latency_table import LatencyTable
from nasc.table.residency import latest
from nasc.table.rows import Row

_BLIND = 0.1
"""Share of an empty call below which no time can be told from another."""


@dataclass(frozen=True)
class Change:
    """How rows of one kind changed from one table to the other.

    Args:
        rows: How many both tables have.
        median: Median of the relative changes, signed: where the device went.
        size: Median of their magnitudes: how well one table repeats the other.
        p90: 90th percentile of the magnitudes; ``worst`` the largest.
        beyond_errors: Share of the rows that changed by more than the error bars of both together.
    """

    rows: int
    median: float
    size: float
    p90: float
    worst: float
    beyond_errors: float


@dataclass(frozen=True)
class Drift:
    """How two tables of one device differ.

    Args:
        total: Over all rows that both have.
        kinds: By kind of kernel.
        anchor: Relative change of the anchor: of the device's clock, which rows are corrected for.
        only_before: Rows that only the first has; ``only_after`` only the second.
    """

    total: Change
    kinds: Mapping[str, Change]
    anchor: float
    only_before: int
    only_after: int


def compare_tables(before: LatencyTable, after: LatencyTable) -> Drift:
    """How the rows of a device changed from one table to another.

    Times are compared on the first table's scale (by the anchors), so that another clock is no drift. Rows that take less
    than a tenth of an empty call in both are left out: nothing so small can be told apart.

    Raises:
        TableError: The tables are of different devices or conditions, or have no row in common.
    """
    require_same_conditions(before, after)
    scale = before.anchor_s / after.anchor_s
    blind = _BLIND * max(before.floor_s, after.floor_s)
    pairs = [
        (row, rescale(after.rows[shape], scale))
        for shape, row in before.rows.items()
        if shape in after.rows and max(row.seconds, after.rows[shape].seconds) > blind
    ]
    if not pairs:
        raise TableError("expected two tables with rows in common; got none", "compare tables of the same models")
    kinds = sorted({row.shape.kind for row, _ in pairs})
    return Drift(
        total=_change(pairs),
        kinds={kind: _change([pair for pair in pairs if pair[0].shape.kind == kind]) for kind in kinds},
        anchor=after.anchor_s / before.anchor_s - 1,
        only_before=len(set(before.rows) - set(after.rows)),
        only_after=len(set(after.rows) - set(before.rows)),
    )


def merge_tables(first: LatencyTable, second: LatencyTable) -> LatencyTable:
    """One table with the rows of both, on the scale of the first.

    Where both have a row, the one with the smaller relative error bar stays. Steps, calibration on whole models and
    provenance are the first's, with what only the second knows added.

    Raises:
        TableError: The tables are of different devices or conditions.
    """
    require_same_conditions(first, second)
    scale = first.anchor_s / second.anchor_s
    rows = dict(first.rows)
    for shape, row in second.rows.items():
        other = rescale(row, scale)
        if shape not in rows or _relative_error(other) < _relative_error(rows[shape]):
            rows[shape] = other
    ours, theirs = first.provenance, second.provenance
    provenance = replace(
        ours,
        steps={**theirs.steps, **ours.steps},
        residency=latest([*theirs.residency, *ours.residency]),
        complete=ours.complete and theirs.complete,
        held_out=None,  # what was held out of one table may be a row of the other
        updated=max(ours.updated, theirs.updated),
        warnings=tuple(dict.fromkeys((*ours.warnings, *theirs.warnings))),
    )
    return LatencyTable(rows, provenance, first.form)


def require_same_conditions(first: LatencyTable, second: LatencyTable) -> None:
    """Refuse to put together what was measured under different conditions.

    Raises:
        TableError: Naming what differs.
    """
    one, other = first.provenance, second.provenance
    for name in ("device", "hardware", "runtime", "threads", "dtype", "origin"):
        expected, got = getattr(one.environment, name), getattr(other.environment, name)
        if expected != got:
            raise TableError(
                f"expected two tables of one device and runtime; {name} is {expected} in the first and {got} in the second"
            )
    if one.anchor_version != other.anchor_version:
        raise TableError(
            f"expected tables with one anchor; got versions {one.anchor_version} and {other.anchor_version}",
            "profile again with one version of nasc",
        )


def rescale(row: Row, scale: float) -> Row:
    """The row with its times multiplied."""
    return replace(row, seconds=scale * row.seconds, gap_s=scale * row.gap_s, cold_s=scale * row.cold_s)


def _change(pairs: Sequence[tuple[Row, Row]]) -> Change:
    changes = [after.seconds / before.seconds - 1 if before.seconds else 1.0 for before, after in pairs]
    sizes = sorted(map(abs, changes))
    beyond = sum(abs(after.seconds - before.seconds) > before.gap_s + after.gap_s for before, after in pairs)
    return Change(
        rows=len(pairs),
        median=median(changes),
        size=median(sizes),
        p90=sizes[min(int(0.9 * len(sizes)), len(sizes) - 1)],
        worst=sizes[-1],
        beyond_errors=beyond / len(pairs),
    )


def _relative_error(row: Row) -> float:
    return row.gap_s / row.seconds if row.seconds > 0 else 0.0
