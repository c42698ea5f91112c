"""What the dashboard shows of all runs, computed from records: frozen values that tests compare by equality."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from nasc.frontier import conditions_of
from nasc.records import Collection, Record
from nasc.units import format_count, format_percent, format_seconds


@dataclass(frozen=True)
class Headline:
    """One figure at the top of the page: what, the number, and what it is compared with."""

    label: str
    value: str
    note: str
    good: bool | None = None


@dataclass(frozen=True)
class ConditionsInfo:
    """One set of conditions: what its runs share, in words, and whether the times are a real device's."""

    title: str
    simulated: bool


@dataclass(frozen=True)
class PageInfo:
    """Everything the page shows but the details of single runs, which it fetches when they are asked for.

    Args:
        title: What the runs are of.
        headlines: Figures at the top.
        conditions: Only runs under the same conditions share a frontier.
        columns: Values of every run by name, one each; see :data:`COLUMNS`.
        problems: What could not be read, a sentence each.
    """

    title: str
    headlines: tuple[Headline, ...]
    conditions: tuple[ConditionsInfo, ...]
    columns: Mapping[str, tuple[Any, ...]]
    problems: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of runs."""
        return len(self.columns["label"])


FIELDS = (
    "model",
    "data",
    "method",
    "device",
    "target",
    "target_s",
    "seed",
    "epochs",
    "measured_s",
    "spread_s",
    "predicted_s",
    "accuracy",
    "accuracy_stderr",
    "dense_accuracy",
    "dense_accuracy_stderr",
    "dense_measured_s",
    "dense_spread_s",
    "dense_predicted_s",
    "macs",
    "dense_macs",
    "params",
    "dense_params",
    "artifact_bytes",
    "train_s",
    "date",
)
"""Fields of the record that the page has of every run, in their own units."""

COLUMNS = ("label", "conditions", "met", "low_s", "high_s", *FIELDS)
"""Names of the columns; ``conditions`` is a place in :attr:`PageInfo.conditions`."""


def build_info(collection: Collection) -> PageInfo:
    """Everything the page shows of all runs.

    Args:
        collection: Records with their folders, from :func:`nasc.records.collect_records`.
    """
    records = collection.records
    groups = [conditions_of(record) for record in records]
    known = sorted(set(groups))
    places = {conditions: place for place, conditions in enumerate(known)}
    columns: dict[str, tuple[Any, ...]] = {
        "label": unique_labels(records),
        "conditions": tuple(places[group] for group in groups),
        "met": tuple(map(meets_target, records)),
        "low_s": tuple(r.interval[0] if r.interval else None for r in records),
        "high_s": tuple(r.interval[1] if r.interval else None for r in records),
    }
    columns |= {name: tuple(getattr(record, name) for record in records) for name in FIELDS}
    columns["data"] = tuple(record.data.partition(":")[0] for record in records)
    return PageInfo(
        title=_title(records),
        headlines=_headlines(records),
        conditions=tuple(ConditionsInfo(str(c), c.origin != "measured") for c in known),
        columns=columns,
        problems=collection.problems,
    )


def unique_labels(records: Sequence[Record]) -> tuple[str, ...]:
    """A label per record: the name of its run, numbered where several share it."""
    counts: dict[str, int] = {}
    labels = []
    for record in records:
        counts[record.run] = counts.get(record.run, 0) + 1
        labels.append(record.run if counts[record.run] == 1 else f"{record.run} ({counts[record.run]})")
    return tuple(labels)


def meets_target(record: Record) -> bool | None:
    """Whether the upper end of the measured interval lies at or below the target; an overlap is a miss."""
    if record.measured_s is None or record.target_s is None:
        return None
    upper = record.interval[1] if record.interval else record.measured_s + (record.spread_s or 0.0)
    return upper <= record.target_s


def _title(records: Sequence[Record]) -> str:
    if not records:
        return "No finished runs"
    models, data = _distinct(r.model for r in records), _distinct(r.data.partition(":")[0] for r in records)
    return f"{_listed(models, 'models')} on {_listed(data, 'data sets')}"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _listed(names: Sequence[str], noun: str) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} {noun}"


def _headlines(records: Sequence[Record]) -> tuple[Headline, ...]:
    if len(records) == 1:
        return _headlines_of_one(records[0])
    return _headlines_of_many(records) if records else ()


def _headlines_of_one(record: Record) -> tuple[Headline, ...]:
    lines = []
    if record.measured_s is not None:
        note = ""
        if record.dense_measured_s:
            change = signed_percent(record.measured_s / record.dense_measured_s - 1)
            note = f"{change} against {format_seconds(record.dense_measured_s)}"
        lines.append(Headline("Measured latency", format_seconds(record.measured_s, record.spread_s), note))
    note = ""
    if record.dense_accuracy is not None:
        note = f"{points(record.accuracy - record.dense_accuracy)} against {format_percent(record.dense_accuracy)}"
    lines.append(Headline("Test accuracy", format_percent(record.accuracy, record.accuracy_stderr), note))
    met = meets_target(record)
    if met is not None:
        share = (record.measured_s or 0.0) / (record.target_s or 1.0)
        lines.append(
            Headline("Target", record.target, f"{'met' if met else 'missed'}: {100 * share:.1f} % of it is used", met)
        )
    note = signed_percent(record.macs / record.dense_macs - 1) + " against dense" if record.dense_macs else ""
    lines.append(Headline("Multiply-adds", format_count(record.macs), note))
    return tuple(lines)


def _headlines_of_many(records: Sequence[Record]) -> tuple[Headline, ...]:
    outcomes = [met for met in map(meets_target, records) if met is not None]
    devices = _distinct(r.device for r in records)
    lines = [Headline("Finished models", f"{len(records):,}", f"on {_listed(devices, 'devices')}")]
    if outcomes:
        hit = sum(outcomes)
        lines.append(
            Headline(
                "Targets met", f"{hit} of {len(outcomes)}", "by the upper end of the interval", hit == len(outcomes)
            )
        )
    errors = [abs(r.predicted_s / r.measured_s - 1) for r in records if r.predicted_s and r.measured_s]
    if errors:
        lines.append(
            Headline("Prediction error", f"{100 * median(errors):.1f} %", f"median; worst {100 * max(errors):.1f} %")
        )
    savings = [
        (1 - r.measured_s / r.dense_measured_s, r)
        for r in records
        if r.measured_s and r.dense_measured_s and r.dense_accuracy and r.accuracy >= r.dense_accuracy - 0.005
    ]
    if savings:
        best, record = max(savings, key=lambda pair: pair[0])
        lines.append(Headline("Most saved within 0.5 points", f"{100 * best:.0f} %", f"{record.run}, {record.method}"))
    return tuple(lines)


def signed_percent(fraction: float) -> str:
    """A change in per cent, with its sign."""
    return f"{100 * fraction:+.1f} %".replace("-", "−")


def points(difference: float) -> str:
    """A difference of two accuracies, in percentage points."""
    return f"{100 * difference:+.2f} points".replace("-", "−")
