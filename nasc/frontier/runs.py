"""From records to frontiers: only what was measured under the same conditions is compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from nasc.frontier.pareto import Point, pareto
from nasc.records import Record


@dataclass(frozen=True, order=True)
class Conditions:
    """What must be equal for two points to be compared. ``origin`` keeps simulated times apart from measured ones."""

    data: str
    device: str
    runtime: str
    threads: int
    dtype: str
    origin: str

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        mark = "" if self.origin == "measured" else f", {self.origin} times"
        return f"{self.data} on {self.device} ({self.runtime}, {threads}, {self.dtype}{mark})"


@dataclass(frozen=True)
class Frontier:
    """Every model measured under the same conditions, and which of them are on the front.

    Args:
        conditions: What they share.
        points: One for each of ``runs`` and then one for each of ``dense``.
        runs: Indices into the given records.
        dense: Names of the dense models, each with one point: the mean accuracy and the median latency of its runs.
        front: Indices into ``points`` that no other point dominates, from fast to slow.
        possible: Indices into ``points`` that none dominates beyond the error bars.
    """

    conditions: Conditions
    points: tuple[Point, ...]
    runs: tuple[int, ...]
    dense: tuple[str, ...]
    front: tuple[int, ...]
    possible: tuple[int, ...]


def build_frontiers(records: Sequence[Record]) -> tuple[Frontier, ...]:
    """One frontier for each set of conditions; records without a measured latency are on none.

    Args:
        records: Any records, of any conditions.

    Returns:
        Frontiers in the order of their conditions.
    """
    groups: dict[Conditions, list[int]] = {}
    for i, record in enumerate(records):
        if record.measured_s is not None:
            groups.setdefault(conditions_of(record), []).append(i)
    return tuple(_build(conditions, records, groups[conditions]) for conditions in sorted(groups))


def run_point(record: Record) -> Point:
    """The finished model of a measured record."""
    assert record.measured_s is not None
    return Point(record.measured_s, record.accuracy, record.spread_s or 0.0, record.accuracy_stderr or 0.0)


def conditions_of(record: Record) -> Conditions:
    """What a record's times belong to."""
    return Conditions(record.data, record.device, record.runtime, record.threads, record.dtype, record.origin)


def _build(conditions: Conditions, records: Sequence[Record], members: Sequence[int]) -> Frontier:
    dense = _dense_points([records[i] for i in members])
    points = (*(run_point(records[i]) for i in members), *dense.values())
    return Frontier(
        conditions=conditions,
        points=points,
        runs=tuple(members),
        dense=tuple(dense),
        front=tuple(pareto(points)),
        possible=tuple(pareto(points, certain=True)),
    )


def _dense_points(records: Sequence[Record]) -> dict[str, Point]:
    """One point per dense model: each of its runs trained or measured it anew."""
    by_model: dict[str, list[Record]] = {}
    for record in records:
        if record.dense_measured_s is not None and record.dense_accuracy is not None:
            by_model.setdefault(record.model, []).append(record)
    return {
        model: Point(
            latency_s=median(r.dense_measured_s or 0.0 for r in same),
            accuracy=fmean(r.dense_accuracy or 0.0 for r in same),
            latency_error_s=median(r.dense_spread_s or 0.0 for r in same),
            accuracy_error=median(r.dense_accuracy_stderr or 0.0 for r in same),
        )
        for model, same in by_model.items()
    }
