"""``nasc tables``."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from nasc.cli._grid import draw_grid
from nasc.cli._options import MODELS, SUFFIXES, device_options, out_option, shape_options
from nasc.cli._output import Reply, Verb
from nasc.errors import TableError, UsageError
from nasc.units import format_percent, format_seconds

if TYPE_CHECKING:
    from rich.table import Table

    from nasc.cli._subjects import Subject
    from nasc.devices import Device
    from nasc.table import Drift, TableFiles


@click.command("tables", cls=Verb)
@click.argument("action", type=click.Choice(["show", "check", "compare", "merge"]), default="show")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@device_options
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    metavar="MODEL",
    help=f"For check: a model to predict and measure: {MODELS}.",
)
@out_option("For merge: the folder that gets the new table.")
@shape_options
def command(
    action: str,
    files: tuple[Path, ...],
    device: str,
    runtime: str,
    threads: int,
    models: tuple[str, ...],
    out: Path | None,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
) -> Reply:
    """Show the latency tables there are, check one against whole models measured now, compare or merge two.

    \b
    Examples:
      nasc tables
      nasc tables check --device cpu --model resnet-tiny --model vgg-tiny
      nasc tables compare monday.csv friday.csv
      nasc tables merge mine.csv yours.csv --out both/
    """  # noqa: D301 - click reads the backspace
    if action == "show":
        return _show()
    if action in ("compare", "merge"):
        return _pair(action, files, out)
    if not models:
        raise UsageError(
            "expected at least one --model to predict and measure", hint="nasc tables check --model resnet-tiny"
        )
    from nasc.cli._subjects import open_model
    from nasc.devices import get_device

    subjects = [open_model(spec, input_shape, classes) for spec in models]
    return _check(get_device(device, runtime=runtime, threads=threads), subjects)


def _show() -> Reply:
    from nasc.table import list_tables

    tables = [_summary(files) for files in list_tables()]
    rows = [_row(table) for table in tables if "error" not in table]
    grid = draw_grid(["device", "runtime", "threads>", "dtype", "rows>", "held-out error", "updated", "table"], rows)
    return Reply({"tables": tables}, grid if rows else "No table yet: nasc profile --device cpu makes one.")


def _summary(files: "TableFiles") -> dict[str, Any]:
    """What is known of a table; a broken one says why, and the others are still shown."""
    from nasc.table import read_table

    try:
        table = read_table(files)
    except TableError as error:
        click.echo(f"{files.rows}: {error.message}", err=True)
        return {"table": files.rows, "error": error.message}
    provenance, environment = table.provenance, table.provenance.environment
    held_out = provenance.held_out
    return {
        "table": files.rows,
        "device": environment.device,
        "hardware": environment.hardware,
        "runtime": environment.runtime,
        "threads": environment.threads,
        "dtype": environment.dtype,
        "origin": environment.origin,
        "rows": len(table.rows),
        "updated": provenance.updated or environment.date,
        "held_out": None if held_out is None else held_out.median_error,
        "held_out_worst": None if held_out is None else held_out.worst_error,
        "anchor_s": provenance.anchor_s,
        "floor_s": provenance.floor_s,
        "environment": environment.to_dict(),
        "warnings": provenance.warnings,
    }


def _row(table: Mapping[str, Any]) -> tuple[str, ...]:
    error = "unknown" if table["held_out"] is None else format_percent(table["held_out"])
    device = table["device"] if table["origin"] == "measured" else f"{table['device']} ({table['origin']})"
    return (
        device,
        table["runtime"],
        str(table["threads"]),
        table["dtype"],
        str(table["rows"]),
        error,
        table["updated"][:10],
        str(table["table"]),
    )


def _check(device: "Device", subjects: Sequence["Subject"]) -> Reply:
    """Export, measure and predict whole models, all in the same processes."""
    from nasc.cost import price_latency
    from nasc.exporters import export
    from nasc.graph import trace
    from nasc.measurement import measure_anchored
    from nasc.table import load_table

    table = load_table(device)
    predicted = [price_latency(trace(s.model, s.example_inputs), {}, table) for s in subjects]
    with tempfile.TemporaryDirectory() as folder:
        artifacts = [
            export(s.model, s.example_inputs, Path(folder) / f"{i}{SUFFIXES[device.format]}")
            for i, s in enumerate(subjects)
        ]
        measured = measure_anchored(artifacts, device, anchor_reference_s=table.anchor_s)
    checks: list[dict[str, Any]] = [
        {
            "model": subject.name,
            "predicted_s": price.total_s,
            "measured_s": time.seconds,
            "spread_s": time.spread_s,
            "error": price.total_s / time.seconds - 1,
            "uncovered_share": price.uncovered_share,
        }
        for subject, price, time in zip(subjects, predicted, measured, strict=True)
    ]
    return Reply({"checks": checks, "median_error": median(abs(check["error"]) for check in checks)}, _describe(checks))


def _pair(action: str, files: Sequence[Path], out: Path | None) -> Reply:
    """What is done with two tables, given by the paths of their rows."""
    from nasc.table import TableFiles, compare_tables, merge_tables, read_table, write_table

    if len(files) != 2:
        raise UsageError(f"expected two tables (their .csv files); got {len(files)}", "nasc tables lists what there is")
    first, second = (read_table(TableFiles(path.parent, path.stem)) for path in files)
    if action == "compare":
        drift = compare_tables(first, second)
        return Reply(asdict(drift), _describe_drift(drift))
    if out is None:
        raise UsageError("expected --out: the folder that gets the merged table")
    target = TableFiles(out, files[0].stem)
    if target.exist:
        raise UsageError(f"{target.rows} is there already", "give another --out")
    merged = merge_tables(first, second)
    out.mkdir(parents=True, exist_ok=True)
    write_table(target, list(merged.rows.values()), merged.provenance)
    return Reply({"table": target.rows, "rows": len(merged.rows)}, f"{target.rows}: {len(merged.rows)} rows")


def _describe_drift(drift: "Drift") -> "Table":
    kinds = {**drift.kinds, "all": drift.total}
    rows = [
        (
            kind,
            str(change.rows),
            f"{100 * change.median:+.1f} %",
            format_percent(change.size),
            format_percent(change.p90),
            format_percent(change.worst),
            format_percent(change.beyond_errors),
        )
        for kind, change in kinds.items()
    ]
    heads = ["kind", "rows>", "median change>", "median size>", "90 % within>", "largest>", "beyond error bars>"]
    return draw_grid(heads, rows)


def _describe(checks: Sequence[Mapping[str, Any]]) -> "Table":
    rows = [
        (
            check["model"],
            format_seconds(check["predicted_s"]),
            format_seconds(check["measured_s"], check["spread_s"]),
            f"{100 * check['error']:+.1f} %",
            format_percent(check["uncovered_share"]),
        )
        for check in checks
    ]
    return draw_grid(["model", "predicted>", "measured>", "error>", "not covered>"], rows)
