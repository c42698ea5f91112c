"""``nasc export``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasc.cli._options import SUFFIXES, data_option, out_option
from nasc.cli._output import Reply, Verb
from nasc.units import format_bytes

if TYPE_CHECKING:
    from nasc.artifact import Artifact

CALIBRATION = 64
"""Training samples that a calibrated scheme looks at."""


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
@click.option(
    "--quantise",
    metavar="SCHEME",
    help="Write integers: int8 (calibrated), int8-dynamic, int8-weights, int4-dynamic or int4-weights.",
)
@data_option(required=False)
@out_option("The file to write; by default model with the format's suffix, inside the run.")
def command(run: Path, format_: str, quantise: str | None, data: str | None, out: Path | None) -> Reply:
    """Write the finished model of a run as a file for a runtime, and compare its output with PyTorch's.

    \b
    Example:
      nasc export runs/first --format onnx
      nasc export runs/first --quantise int8 --data digits
    """  # noqa: D301 - click reads the backspace
    from nasc.cli._subjects import open_run_model
    from nasc.exporters import export, max_abs_difference

    subject = open_run_model(run)
    file = out or run / f"model{SUFFIXES[format_]}"
    artifact = export(subject.model, subject.example_inputs, file, format_)
    if quantise is not None:
        artifact = _quantised(artifact, file, quantise, data)
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


def _quantised(artifact: "Artifact", file: Path, scheme: str, data: str | None) -> "Artifact":
    """The file in integers, in the place of the one in float."""
    from nasc.datasets import load_dataset
    from nasc.exporters.quantisation import quantise_file

    pictures = load_dataset(data).train_x[:CALIBRATION].numpy() if data else ()
    return quantise_file(artifact, file, scheme, [(picture[None],) for picture in pictures])
