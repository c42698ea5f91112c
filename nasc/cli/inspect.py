"""``nasc inspect``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasc.cli._options import model_option, search_space_option, shape_options
from nasc.cli._output import Reply, Verb
from nasc.errors import UsageError

if TYPE_CHECKING:
    from nasc.graph import Network


@click.command("inspect", cls=Verb)
@model_option()
@shape_options
@search_space_option
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also draw it as a page.")
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Also draw it as an SVG picture.")
def command(
    model: str,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    search_space: str | None,
    html: Path | None,
    svg: Path | None,
) -> Reply:
    """Show a model's dims and kernels, what ties them, and what is frozen and why.

    \b
    Examples:
      nasc inspect --model resnet-tiny
      nasc inspect --model resnet-tiny --search-space multiples-of-8 --html resnet.html
    """  # noqa: D301 - click reads the backspace
    from nasc.cli._subjects import open_model, trace_subject
    from nasc.graph.inspect import describe, render

    network = trace_subject(open_model(model, input_shape, classes), search_space)
    pictures = _draw(network, model, html, svg)
    return Reply({**describe(network), "pictures": pictures}, render(network))


def _draw(network: "Network", title: str, html: Path | None, svg: Path | None) -> list[Path]:
    """The pictures asked for, written whole or not at all."""
    from nasc.graph.picture import draw_html, draw_svg
    from nasc.records import write_atomic

    asked = [(path, draw) for path, draw in ((html, draw_html), (svg, draw_svg)) if path is not None]
    for path, draw in asked:
        try:
            write_atomic(path, draw(network, title).encode())
        except OSError as failure:
            raise UsageError(f"expected a file that can be written; {path} gave: {failure}") from failure
    return [path for path, _ in asked]
