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
    metavar="FILE",
    help="Write one self-contained page instead of serving it.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="0 for any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; loopback unless told otherwise.")
def command(runs: tuple[Path, ...], file: Path | None, port: int, host: str) -> Reply:
    """Accuracy against measured latency of finished runs: a live page, or one self-contained file.

    RUN is a run folder, a folder of runs, a comparison's folder, or a ledger of records (.jsonl); without any it is runs/.
    The live page shows runs as they end; Ctrl-C stops it. What cannot be read is named on the page and the rest is shown.

    \b
    Examples:
      nasc dashboard runs/comparison
      nasc dashboard runs/ --html frontier.html
    """  # noqa: D301 - click reads the backspace
    paths = runs or (Path("runs"),)
    return _serve(paths, host, port) if file is None else _write(paths, file)


def _write(paths: tuple[Path, ...], file: Path) -> Reply:
    from nasc.dashboard import write_page

    info = write_page(paths, file)
    if not info.count:
        raise RunError(f"no finished run to show: {'; '.join(info.problems)}", hint="make one: nasc demo")
    for problem in info.problems:
        click.echo(f"left out: {problem}", err=True)
    shown = f"{info.count} run{'' if info.count == 1 else 's'}"
    return Reply(
        {"html": file.resolve(), "runs": info.count, "problems": info.problems},
        f"{file}: {shown}, open it in a browser",
    )


def _serve(paths: tuple[Path, ...], host: str, port: int) -> Reply:
    from nasc.dashboard import Dashboard

    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise RunError(f"no finished run to show: {', '.join(missing)} does not exist", hint="make one: nasc demo")
    dashboard = Dashboard(paths, host=host, port=port)
    info = dashboard.payload.info
    click.echo(f"{dashboard.url} shows {info.count} runs and those that end from now on; Ctrl-C stops it", err=True)
    for problem in info.problems:
        click.echo(f"left out: {problem}", err=True)
    try:
        dashboard.serve()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    return Reply({"url": dashboard.url, "runs": dashboard.payload.info.count}, f"{dashboard.url} is closed")
