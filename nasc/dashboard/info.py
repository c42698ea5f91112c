"""What the dashboard shows, computed from records: frozen values that tests compare by equality."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from nasc.dashboard.curves import Curves, read_curves
from nasc.frontier import Frontier, Point, build_frontiers
from nasc.records import Collection, Entry, Record
from nasc.units import format_bytes, format_count, format_percent, format_seconds

Details = tuple[tuple[str, str], ...]
"""Label and text of each line of a hover box or a description list."""


@dataclass(frozen=True)
class Mark:
    """One model in the frontier chart.

    Args:
        key: Number of its run among the page's runs, None for a dense model.
        label: What it is called.
        method: Method that made it, ``"dense"`` for the model it started from.
        latency_s: Measured latency; ``latency_error_s`` is the half-width of its error bar.
        accuracy: Test accuracy; ``accuracy_error`` is its standard error.
        on_front: No other model is at least as fast and as accurate.
        details: What the hover box says.
    """

    key: int | None
    label: str
    method: str
    latency_s: float
    latency_error_s: float
    accuracy: float
    accuracy_error: float
    on_front: bool
    details: Details


@dataclass(frozen=True)
class FrontierInfo:
    """The frontier of one set of conditions: its models, the front from fast to slow, the targets asked for."""

    title: str
    marks: tuple[Mark, ...]
    front: tuple[tuple[float, float], ...]
    targets_s: tuple[float, ...]
    simulated: bool


@dataclass(frozen=True)
class PredictionInfo:
    """A latency by the table beside the measured one."""

    label: str
    predicted_s: float
    measured_s: float
    spread_s: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted_s / self.measured_s - 1


@dataclass(frozen=True)
class WidthInfo:
    """One dim of a finished model."""

    name: str
    dense: int
    kept: int


@dataclass(frozen=True)
class RunInfo:
    """All that is shown of one run.

    Args:
        label: Short name, unique on the page.
        title: What it is, in one line.
        method: Name of the method.
        met: The measured interval lies at or below the target; None where there was no time to meet or no measurement.
        cells: Text and sort key of each column of :data:`COLUMNS`.
        widths: Its dims.
        curves: Its training history, None where there is none.
        target_s: The target in seconds, if it is a time.
        details: Everything else, as label and text.
        warnings: What a reader should know.
    """

    label: str
    title: str
    method: str
    met: bool | None
    cells: tuple[tuple[str, float | str], ...]
    widths: tuple[WidthInfo, ...]
    curves: Curves | None
    target_s: float | None
    details: Details
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Headline:
    """One figure at the top of the page: what, the number, and what it is compared with."""

    label: str
    value: str
    note: str
    good: bool | None = None


@dataclass(frozen=True)
class PageInfo:
    """The whole page."""

    title: str
    headlines: tuple[Headline, ...]
    frontiers: tuple[FrontierInfo, ...]
    predictions: tuple[PredictionInfo, ...]
    runs: tuple[RunInfo, ...]
    problems: tuple[str, ...]


COLUMNS = (
    "Run",
    "Method",
    "Target",
    "Predicted",
    "Measured",
    "vs dense",
    "Accuracy",
    "vs dense",
    "MACs",
    "Parameters",
    "Seed",
)
"""Heads of the table of runs."""


def build_info(collection: Collection) -> PageInfo:
    """Everything the page shows.

    Args:
        collection: Records with their folders, from :func:`nasc.records.collect_records`.
    """
    records = collection.records
    labels = unique_labels(records)
    problems = list(collection.problems)
    runs = tuple(_run(entry, label, problems) for entry, label in zip(collection.entries, labels, strict=True))
    return PageInfo(
        title=_title(records),
        headlines=_headlines(records),
        frontiers=tuple(_frontier(frontier, records, labels) for frontier in build_frontiers(records)),
        predictions=_predictions(records, labels),
        runs=runs,
        problems=tuple(problems),
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
            change = _signed_percent(record.measured_s / record.dense_measured_s - 1)
            note = f"{change} against {format_seconds(record.dense_measured_s)}"
        lines.append(Headline("Measured latency", format_seconds(record.measured_s, record.spread_s), note))
    note = ""
    if record.dense_accuracy is not None:
        note = f"{_points(record.accuracy - record.dense_accuracy)} against {format_percent(record.dense_accuracy)}"
    lines.append(Headline("Test accuracy", format_percent(record.accuracy, record.accuracy_stderr), note))
    met = meets_target(record)
    if met is not None:
        share = (record.measured_s or 0.0) / (record.target_s or 1.0)
        lines.append(
            Headline("Target", record.target, f"{'met' if met else 'missed'}: {100 * share:.1f} % of it is used", met)
        )
    note = _signed_percent(record.macs / record.dense_macs - 1) + " against dense" if record.dense_macs else ""
    lines.append(Headline("Multiply-adds", format_count(record.macs), note))
    return tuple(lines)


def _headlines_of_many(records: Sequence[Record]) -> tuple[Headline, ...]:
    outcomes = [met for met in map(meets_target, records) if met is not None]
    devices = _distinct(r.device for r in records)
    lines = [Headline("Finished models", str(len(records)), f"on {_listed(devices, 'devices')}")]
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


def _frontier(frontier: Frontier, records: Sequence[Record], labels: Sequence[str]) -> FrontierInfo:
    runs = [
        _mark(frontier, place, labels[key], records[key].method, _hover(records[key]), key)
        for place, key in enumerate(frontier.runs)
    ]
    dense = [
        _mark(frontier, place, f"{model}, dense", "dense", _hover_dense(frontier.points[place]), None)
        for place, model in enumerate(frontier.dense, start=len(runs))
    ]
    targets = {target for i in frontier.runs if (target := records[i].target_s) is not None}
    return FrontierInfo(
        title=str(frontier.conditions),
        marks=(*runs, *dense),
        front=tuple((frontier.points[i].latency_s, frontier.points[i].accuracy) for i in frontier.front),
        targets_s=tuple(sorted(targets)),
        simulated=frontier.conditions.origin != "measured",
    )


def _mark(frontier: Frontier, place: int, label: str, method: str, details: Details, key: int | None) -> Mark:
    point = frontier.points[place]
    return Mark(
        key=key,
        label=label,
        method=method,
        latency_s=point.latency_s,
        latency_error_s=point.latency_error_s,
        accuracy=point.accuracy,
        accuracy_error=point.accuracy_error,
        on_front=place in frontier.front,
        details=details,
    )


def _hover_dense(point: Point) -> Details:
    return (
        ("Measured", format_seconds(point.latency_s, point.latency_error_s)),
        ("Accuracy", format_percent(point.accuracy)),
    )


def _hover(record: Record) -> Details:
    lines = [
        ("Model", record.model),
        ("Method", f"{record.method}, seed {record.seed}"),
        ("Target", record.target),
        ("Measured", format_seconds(record.measured_s or 0.0, record.spread_s)),
    ]
    if record.predicted_s is not None:
        lines.append(("Predicted", format_seconds(record.predicted_s)))
    lines.append(("Accuracy", format_percent(record.accuracy, record.accuracy_stderr)))
    if record.dense_accuracy is not None:
        lines.append(("Dense", format_percent(record.dense_accuracy)))
    return (*lines, ("MACs", format_count(record.macs)), ("Parameters", format_count(record.params)))


def _predictions(records: Sequence[Record], labels: Sequence[str]) -> tuple[PredictionInfo, ...]:
    found: dict[PredictionInfo, None] = {}
    for record, label in zip(records, labels, strict=True):
        if record.predicted_s and record.measured_s:
            found[PredictionInfo(label, record.predicted_s, record.measured_s, record.spread_s or 0.0)] = None
        if record.dense_predicted_s and record.dense_measured_s:
            found[
                PredictionInfo(
                    f"{record.model}, dense",
                    record.dense_predicted_s,
                    record.dense_measured_s,
                    record.dense_spread_s or 0.0,
                )
            ] = None
    return tuple(found)


def _run(entry: Entry, label: str, problems: list[str]) -> RunInfo:
    record = entry.record
    return RunInfo(
        label=label,
        title=f"{record.model} on {record.data.partition(':')[0]}, {record.method} to {record.target}",
        method=record.method,
        met=meets_target(record),
        cells=_cells(record, label),
        widths=tuple(WidthInfo(w.name, w.dense, w.kept) for w in record.widths),
        curves=read_curves(entry.folder / record.history, problems) if record.history else None,
        target_s=record.target_s,
        details=_details(record),
        warnings=record.warnings,
    )


def _cells(record: Record, label: str) -> tuple[tuple[str, float | str], ...]:
    measured, dense = record.measured_s, record.dense_measured_s
    latency_change = measured / dense - 1 if measured and dense else None
    accuracy_change = record.accuracy - record.dense_accuracy if record.dense_accuracy is not None else None
    return (
        (label, label),
        (record.method, record.method),
        (record.target, record.target_s if record.target_s is not None else record.target),
        _seconds_cell(record.predicted_s, None),
        _seconds_cell(measured, record.spread_s),
        (_signed_percent(latency_change), latency_change) if latency_change is not None else _ABSENT,
        (format_percent(record.accuracy, record.accuracy_stderr), record.accuracy),
        (_points(accuracy_change), accuracy_change) if accuracy_change is not None else _ABSENT,
        (format_count(record.macs), float(record.macs)),
        (format_count(record.params), float(record.params)),
        (str(record.seed), float(record.seed)),
    )


_ABSENT: tuple[str, float | str] = ("–", "")


def _seconds_cell(seconds: float | None, spread_s: float | None) -> tuple[str, float | str]:
    return (format_seconds(seconds, spread_s), seconds) if seconds is not None else _ABSENT


def _details(record: Record) -> Details:
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
        ("Recipe", ", ".join(f"{key} {value}" for key, value in record.recipe.items()) or None),
        ("Further", ", ".join(f"{key} {value}" for key, value in record.extra.items()) or None),
        ("Date", record.date),
        ("Commit", record.commit or None),
        ("Versions", ", ".join(f"{name} {version}" for name, version in record.versions.items()) or None),
        ("Command", record.command or None),
    ]
    return tuple((label, text) for label, text in lines if text)


def _artifact(record: Record) -> str | None:
    if record.artifact is None:
        return None
    size = f", {format_bytes(record.artifact_bytes)}" if record.artifact_bytes else ""
    digest = f", sha256 {record.artifact_sha256[:12]}…" if record.artifact_sha256 else ""
    return f"{record.artifact}{size}{digest}"


def _signed_percent(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %".replace("-", "−")


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} points".replace("-", "−")
