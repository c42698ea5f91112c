"""What a comparison found, in numbers: a row per group, pairs of methods, and the area that each front dominates."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

from nasc.frontier.hypervolume import hypervolume
from nasc.frontier.pareto import Point
from nasc.frontier.runs import Conditions, conditions_of, run_point
from nasc.records import Record

CHANCE = 0.0
"""Accuracy of the reference point where nothing better is known."""

RESAMPLES = 500
"""Bootstrap samples for the interval of a hypervolume."""


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    Args:
        mean: The mean.
        deviation: Sample standard deviation; None for one value alone.
        count: Number of values.
    """

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class SummaryRow:
    """The trials of one method for one target under one set of conditions.

    Args:
        conditions: What they share.
        model: The model they started from.
        method: The method.
        target: As typed.
        accuracy: Over the seeds; with the change against the dense model of the same seed in ``accuracy_change``.
        measured_s: Measured latency, and ``predicted_s`` by the table.
        train_s: Seconds of training: what a result costs.
        seeds: Which ones.
        met: Trials whose measured interval lies at or below the target, of those with a target in seconds.
    """

    conditions: Conditions
    model: str
    method: str
    target: str
    accuracy: Spread
    accuracy_change: Spread | None
    measured_s: Spread | None
    predicted_s: Spread | None
    train_s: Spread | None
    seeds: tuple[int, ...]
    met: tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """Two methods, compared on the trials they share: same model, conditions, target and seed.

    Args:
        first: A method; ``second`` the other.
        difference: Mean accuracy of the first less that of the second.
        count: Shared trials.
        p_value: Of a two-sided paired t test; None for fewer than two pairs, or where all differences are equal.
        sign_p_value: Of an exact sign-flip test, which assumes no distribution.
    """

    conditions: Conditions
    first: str
    second: str
    difference: Spread
    p_value: float | None
    sign_p_value: float | None


@dataclass(frozen=True)
class Area:
    """The hypervolume of a method's front.

    Args:
        conditions: What its points share.
        model: The model they started from.
        method: The method.
        value: Mean over the seeds' fronts, as a share of the box between the reference point and perfection.
        low: Lower end of the bootstrap interval over seeds and error bars, 95 %; likewise ``high``.
        seeds: Fronts the mean is over.
    """

    conditions: Conditions
    model: str
    method: str
    value: float
    low: float
    high: float
    seeds: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation.

    >>> spread([1.0, 3.0])
    Spread(mean=2.0, deviation=1.4142135623730951, count=2)
    """
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def summarise(records: Sequence[Record]) -> tuple[SummaryRow, ...]:
    """A row for each model, method and target under each set of conditions."""
    groups: dict[tuple[Conditions, str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((conditions_of(record), record.model, record.target, record.method), []).append(record)
    return tuple(_row(conditions, same) for (conditions, *_), same in groups.items())


def compare_pairs(records: Sequence[Record]) -> tuple[Pair, ...]:
    """Every two methods with the trials they share, under each set of conditions."""
    cells: dict[Conditions, dict[str, dict[tuple[str, str, int], float]]] = {}
    for record in _best_proposals(records):
        methods = cells.setdefault(conditions_of(record), {})
        methods.setdefault(record.method, {})[record.model, record.target, record.seed] = record.accuracy
    return tuple(
        _pair(conditions, first, second, methods)
        for conditions, methods in sorted(cells.items())
        for first, second in combinations(methods, 2)
        if methods[first].keys() & methods[second].keys()
    )


def areas(records: Sequence[Record], *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Area, ...]:
    """The hypervolume of each method's front, with intervals.

    The reference point is the slowest dense model at an accuracy of nothing; the value is a share of the box from there to
    no time at all and every answer right, so that it needs no unit.

    Args:
        records: Any; those without a measured latency are left out.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.
    """
    groups: dict[tuple[Conditions, str], dict[str, list[Record]]] = {}
    for record in records:
        if record.measured_s is not None:
            groups.setdefault((conditions_of(record), record.model), {}).setdefault(record.method, []).append(record)
    return tuple(
        _area(conditions, model, method, same, _reference(methods), resamples, seed)
        for (conditions, model), methods in sorted(groups.items())
        for method, same in methods.items()
    )


def paired_t(differences: Sequence[float]) -> float | None:
    """Two-sided p value of the hypothesis that paired differences have mean zero (Student 1908)."""
    if len(differences) < 2 or len(set(differences)) == 1:
        return None
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0.0).pvalue)


def sign_flip(differences: Sequence[float], *, limit: int = 2**14, seed: int = 0) -> float | None:
    """Two-sided p value of the same by flipping signs (Fisher 1935): exact up to 14 pairs, sampled above.

    >>> sign_flip([1.0, 2.0, 3.0])
    0.25

    Returns:
        Share of the sign patterns whose mean lies as far from zero; None for fewer than two pairs.
    """
    count = len(differences)
    if count < 2:
        return None
    observed = abs(math.fsum(differences)) * (1 - 1e-12)
    exact = 2**count <= limit
    generator = random.Random(seed)
    patterns = range(2**count) if exact else [generator.getrandbits(count) for _ in range(limit)]
    hits = sum(
        abs(math.fsum(d if pattern >> place & 1 else -d for place, d in enumerate(differences))) >= observed
        for pattern in patterns
    )
    return hits / len(patterns) if exact else (hits + 1) / (len(patterns) + 1)


def _row(conditions: Conditions, records: Sequence[Record]) -> SummaryRow:
    first = records[0]
    changes = [r.accuracy - r.dense_accuracy for r in records if r.dense_accuracy is not None]
    timed = [r for r in records if r.target_s is not None and r.measured_s is not None]
    return SummaryRow(
        conditions=conditions,
        model=first.model,
        method=first.method,
        target=first.target,
        accuracy=spread([r.accuracy for r in records]),
        accuracy_change=_known(changes),
        measured_s=_known([r.measured_s for r in records if r.measured_s is not None]),
        predicted_s=_known([r.predicted_s for r in records if r.predicted_s is not None]),
        train_s=_known([r.train_s for r in records if r.train_s is not None]),
        seeds=tuple(sorted({r.seed for r in records})),
        met=(sum(_meets(r) for r in timed), len(timed)),
    )


def _known(values: Sequence[float]) -> Spread | None:
    return spread(values) if values else None


def _meets(record: Record) -> bool:
    assert record.measured_s is not None
    assert record.target_s is not None
    upper = record.interval[1] if record.interval else record.measured_s + (record.spread_s or 0.0)
    return upper <= record.target_s


def _best_proposals(records: Sequence[Record]) -> list[Record]:
    """Of several proposals for one model, target, method and seed, the most accurate: what a user would keep."""
    best: dict[tuple[object, ...], Record] = {}
    for record in records:
        key = (conditions_of(record), record.model, record.target, record.method, record.seed)
        if key not in best or record.accuracy > best[key].accuracy:
            best[key] = record
    return list(best.values())


def _pair(
    conditions: Conditions, first: str, second: str, methods: Mapping[str, Mapping[tuple[str, str, int], float]]
) -> Pair:
    shared = sorted(methods[first].keys() & methods[second].keys())
    differences = [methods[first][key] - methods[second][key] for key in shared]
    return Pair(conditions, first, second, spread(differences), paired_t(differences), sign_flip(differences))


def _reference(methods: Mapping[str, Sequence[Record]]) -> Point:
    records = [record for same in methods.values() for record in same]
    slowest = max(r.dense_measured_s or r.measured_s or 0.0 for r in records)
    return Point(slowest, CHANCE)


def _area(
    conditions: Conditions,
    model: str,
    method: str,
    records: Sequence[Record],
    reference: Point,
    resamples: int,
    seed: int,
) -> Area:
    fronts: dict[int, list[Point]] = {}
    for record in records:
        fronts.setdefault(record.seed, []).append(run_point(record))
    box = reference.latency_s * (1 - reference.accuracy)
    of_seeds = list(fronts.values())
    value = fmean(hypervolume(points, reference) for points in of_seeds) / box
    generator = random.Random(seed)
    drawn = sorted(
        fmean(hypervolume([_shaken(p, generator) for p in points], reference) for points in sample) / box
        for sample in (generator.choices(of_seeds, k=len(of_seeds)) for _ in range(resamples))
    )
    low, high = drawn[int(0.025 * resamples)], drawn[min(resamples - 1, int(0.975 * resamples))]
    return Area(conditions, model, method, value, min(low, value), max(high, value), len(of_seeds))


def _shaken(point: Point, generator: random.Random) -> Point:
    """A point somewhere in its error bars: accuracy by its standard error, latency evenly."""
    return Point(
        max(0.0, point.latency_s + generator.uniform(-1, 1) * point.latency_error_s),
        min(1.0, max(0.0, point.accuracy + generator.gauss(0, 1) * point.accuracy_error)),
    )
