"""``nasc export``."""

from pathlib import Path

import click

from nasc.cli._options import SUFFIXES, out_option
from nasc.cli._output import Reply, Verb
from nasc.units import format_bytes


@click.command("export", cls=Verb)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(SUFFIXES)),
    default="litert",
    show_default=True,
    help="Format of the file.",
)
@out_option("The file to write; by default model with the format's suffix, inside the run.")
def command(run: Path, format_: str, out: Path | None) -> Reply:
    """Write the finished model of a run as a file for a runtime, and compare its output with PyTorch's.

    \b
    Example:
      nasc export runs/first --format onnx
    """  # noqa: D301 - click reads the backspace
    from nasc.cli._subjects import open_run_model
    from nasc.exporters import export, max_abs_difference

    subject = open_run_model(run)
    file = out or run / f"model{SUFFIXES[format_]}"
    artifact = export(subject.model, subject.example_inputs, file, format_)
    difference = max_abs_difference(artifact, subject.model, subject.example_inputs)
    return Reply(
        {
            "artifact": file,
            "format": format_,
            "bytes": artifact.size_bytes,
            "sha256": artifact.sha256,
            "max_abs_difference": difference,
        },
        f"{file}: {format_bytes(artifact.size_bytes)}, output within {difference:.1e} of PyTorch's",
    )
