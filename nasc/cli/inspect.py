"""``nasc inspect``."""

import click

from nasc.cli._options import model_option, shape_options
from nasc.cli._output import Reply, Verb


@click.command("inspect", cls=Verb)
@model_option()
@shape_options
def command(model: str, input_shape: tuple[int, ...] | None, classes: int | None) -> Reply:
    """Show a model's dims and kernels, what ties them, and what is frozen and why.

    \b
    Example:
      nasc inspect --model resnet-tiny
    """  # noqa: D301 - click reads the backspace
    from nasc.cli._subjects import open_model
    from nasc.graph import trace
    from nasc.graph.inspect import describe, render

    subject = open_model(model, input_shape, classes)
    network = trace(subject.model, subject.example_inputs)
    return Reply(describe(network), render(network))
