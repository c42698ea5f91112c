"""``nasc measure``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasc.cli._options import device_options
from nasc.cli._output import Reply, Verb
from nasc.errors import TableError
from nasc.units import format_seconds

if TYPE_CHECKING:
    from nasc.devices import Device


@click.command("measure", cls=Verb)
@click.argument("subject", type=click.Path(path_type=Path), metavar="RUN|FILE")
@device_options
@click.option(
    "--sessions", type=click.IntRange(min=3), default=5, show_default=True, help="Fresh processes to measure in."
)
def command(subject: Path, device: str, runtime: str, threads: int, sessions: int) -> Reply:
    """Time a finished model on a device, beside a reference model in the same processes.

    \b
    Example:
      nasc measure runs/first --device cpu
      nasc measure model.tflite --device cpu --threads 2
    """  # noqa: D301 - click reads the backspace
    from nasc.cli._subjects import find_artifact
    from nasc.devices import get_device
    from nasc.exporters import open_artifact
    from nasc.measurement import measure_anchored

    where = get_device(device, runtime=runtime, threads=threads)
    file = find_artifact(subject)
    (measured,) = measure_anchored([open_artifact(file)], where, sessions=sessions, anchor_reference_s=_scale(where))
    data = {
        "measured_s": measured.seconds,
        "spread_s": measured.spread_s,
        "interval": measured.interval,
        "minimum_s": measured.minimum_s,
        "device": where.name,
        "runtime": where.runtime,
        "threads": where.threads,
        "dtype": where.dtype,
        "origin": where.origin,
        "artifact": file,
        "warnings": measured.warnings,
    }
    low, high = (format_seconds(end) for end in measured.interval)
    lines = [f"{file}: {format_seconds(measured.seconds, measured.spread_s)} on {device}, between {low} and {high}"]
    return Reply(data, "\n".join([*lines, *(f"warning: {warning}" for warning in measured.warnings)]))


def _scale(device: "Device") -> float | None:
    """The reference model's time in the device's table, so that both are on one scale; None without a table."""
    from nasc.table import load_table

    try:
        return load_table(device).anchor_s
    except TableError:
        return None
