"""``nasc profile``."""

from typing import TYPE_CHECKING

import click

from nasc.cli._options import MODELS, device_options, shape_options
from nasc.cli._output import Reply, Verb
from nasc.units import format_duration

if TYPE_CHECKING:
    from nasc.table import ProfileResult

DEFAULT_MODELS = ("digits-cnn", "mobilenetv3-tiny", "resnet-tiny")


@click.command("profile", cls=Verb)
@device_options
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    metavar="MODEL",
    help=f"Measure what this model needs: {MODELS}. Repeatable.",
)
@shape_options
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Stop after this long; the next call goes on.",
)
@click.option(
    "--resume", is_flag=True, help="Go on where an earlier profile stopped; this is what happens in any case."
)
def command(
    device: str,
    runtime: str,
    threads: int,
    models: tuple[str, ...],
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    budget: float | None,
    resume: bool,
) -> Reply:
    """Build or extend a device's latency table.

    Every session is on disk as soon as it is measured; nothing is measured twice. Without --model the table covers
    nasc's own small networks.

    \b
    Example:
      nasc profile --device cpu --model torchvision:mobilenet_v3_small
    """  # noqa: D301 - click reads the backspace
    from nasc.cli._subjects import open_model
    from nasc.devices import get_device
    from nasc.graph import trace
    from nasc.table import profile

    where = get_device(device, runtime=runtime, threads=threads)
    subjects = [open_model(spec, input_shape, classes) for spec in models or DEFAULT_MODELS]
    networks = [trace(subject.model, subject.example_inputs) for subject in subjects]
    result = profile(where, networks, budget_s=60 * budget if budget else None)
    return Reply(
        {
            "table": result.files.rows,
            "rows": result.rows,
            "added": result.added,
            "elapsed_s": result.elapsed_s,
            "complete": result.complete,
        },
        _describe(result),
    )


def _describe(result: "ProfileResult") -> str:
    text = f"{result.files.rows}: {result.rows} rows, {result.added} new, in {format_duration(result.elapsed_s)}"
    return (
        text
        if result.complete
        else text + "\nThe budget ended before everything was measured; the same command goes on."
    )
