"""``nasc demo``."""

from pathlib import Path

import click

from nasc.cli._options import device_options
from nasc.cli._output import Reply, Verb
from nasc.units import format_percent, format_seconds, parse_target

MODEL, DATA = "digits-cnn", "digits"
TARGETS = ("-40%", "-65%", "-85%")


@click.command("demo", cls=Verb)
@device_options
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    metavar="FOLDER",
    help="The folder of the runs and the page.",
)
def command(device: str, runtime: str, threads: int, out: Path) -> Reply:
    """Profile this machine, compress a small network to three targets, and write the page.

    Real data (handwritten digits that come with scikit-learn), a real runtime, measured results, in minutes on two
    cores. Stopped, the same command goes on.

    \b
    Example:
      nasc demo
    """  # noqa: D301 - click reads the backspace
    from nasc.dashboard import write_page
    from nasc.pipeline import CompressConfig, compress

    records = []
    for target in TARGETS:
        click.echo(f"== {MODEL} on {DATA}, {target} on {device}", err=True)
        config = CompressConfig(
            model=MODEL,
            data=DATA,
            target=parse_target(target),
            device=device,
            runtime=runtime,
            threads=threads,
            out=out / f"{MODEL}{target}",
        )
        records.append((config.folder, compress(config)))
    page = out / "dashboard.html"
    write_page([out], page)
    data = [
        {"run": folder, "measured_s": record.measured_s, "accuracy": record.accuracy, "target_s": record.target_s}
        for folder, record in records
    ]
    lines = [
        f"{folder}: {format_seconds(record.measured_s or 0.0, record.spread_s)} for {record.target}, "
        f"accuracy {format_percent(record.accuracy, record.accuracy_stderr)}"
        for folder, record in records
    ]
    return Reply({"runs": data, "html": page}, "\n".join([*lines, f"{page}: open it in a browser"]))
