"""``nasc analyze``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasc.cli._output import Reply, Verb
from nasc.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from nasc.analysis import Finding

WHAT = (
    "entropy, loss, uncertainty, iou, channels, decompression, weight-decay, sharpness, connectivity, "
    "corruptions, transfer"
)


@click.command("analyze", cls=Verb)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--what", required=True, metavar="NAMES", help=f"What to look at, joined by commas: {WHAT}; or all.")
@click.option("--data", "-d", metavar="DATA", help="The runs' data set, where it lies elsewhere than they say.")
@click.option("--transfer-data", metavar="DATA", help="The other task of --what transfer.")
@click.option("--pictures", type=click.IntRange(min=1), default=2000, show_default=True, help="Pictures at most.")
@click.option("--points", type=click.IntRange(min=2), default=11, show_default=True, help="Places between two runs.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also a page.")
def command(
    runs: tuple[Path, ...],
    what: str,
    data: str | None,
    transfer_data: str | None,
    pictures: int,
    points: int,
    page: Path | None,
) -> Reply:
    """Look into finished runs: how decided, how sharp, how robust, and whether training longer would pay.

    Every analysis is a table here, and a table and a figure in analysis/NAME.json of the first run's folder.

    \b
    Examples:
      nasc analyze runs/first --what entropy,loss
      nasc analyze runs/short runs/long --what connectivity --html line.html
    """  # noqa: D301 - click reads the backspace
    from rich.console import Group

    from nasc.analysis import ANALYSES, Settings, Subject, analyze, save_finding, save_page

    names = [name.strip() for name in what.split(",") if name.strip()]
    if names == ["all"]:
        names = [name for name in ANALYSES if name != "connectivity" or len(runs) > 1]
    unknown = [name for name in names if name not in ANALYSES]
    if unknown or not names:
        raise UsageError(f"unknown analysis {', '.join(unknown) or what!r}", f"known: {WHAT}; or all")
    subjects = [Subject(run, data) for run in runs]
    settings = Settings(pictures=pictures, points=points, transfer_data=transfer_data)
    findings = [analyze(subjects, name, settings) for name in names]
    files = [save_finding(finding, runs[0]) for finding in findings]
    if page is not None:
        save_page(findings, page)
    reply = {
        "runs": [subject.name for subject in subjects],
        "findings": {finding.what: finding.to_json() for finding in findings},
        "files": files,
        "html": page,
    }
    return Reply(reply, Group(*(_table(finding) for finding in findings)))


def _table(finding: "Finding") -> "Table":
    from rich.table import Table

    from nasc.analysis import show

    table = Table(*finding.columns, title=finding.title, caption=finding.note or None, caption_justify="left")
    for row in finding.rows:
        table.add_row(*map(show, row))
    return table
