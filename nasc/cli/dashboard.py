"""``nasc dashboard``."""

from pathlib import Path

import click

from nasc.cli._output import Reply, Verb
from nasc.errors import RunError


@click.command("dashboard", cls=Verb)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN]...")
@click.option(
    "--html",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("dashboard.html"),
    show_default=True,
    metavar="FILE",
    help="The page to write.",
)
def command(runs: tuple[Path, ...], file: Path) -> Reply:
    """Write one self-contained page of accuracy against measured latency.

    RUN is a run folder, a folder of runs, or a ledger of records (.jsonl); without any it is runs/. What cannot be read
    is named on the page and the rest is shown.

    \b
    Example:
      nasc dashboard runs/ --html frontier.html
    """  # noqa: D301 - click reads the backspace
    from nasc.dashboard import write_page

    info = write_page(runs or (Path("runs"),), file)
    if not info.runs:
        raise RunError(f"no finished run to show: {'; '.join(info.problems)}", hint="make one: nasc demo")
    for problem in info.problems:
        click.echo(f"left out: {problem}", err=True)
    shown = f"{len(info.runs)} run{'' if len(info.runs) == 1 else 's'}"
    return Reply(
        {"html": file.resolve(), "runs": len(info.runs), "problems": info.problems},
        f"{file}: {shown}, open it in a browser",
    )
