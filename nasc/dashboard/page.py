"""One self-contained HTML page: styles, scripts, data and plotly.js inside, no request to anywhere."""

import html
from collections.abc import Iterable
from pathlib import Path
from string import Template

from nasc.dashboard.info import PageInfo
from nasc.dashboard.payload import Payload, collect_payload, to_text
from nasc.records import write_atomic

_ASSETS = Path(__file__).resolve().parent / "assets"
SCRIPTS = ("data.js", "charts.js", "frontier.js", "tables.js", "views.js", "page.js")
"""The page's scripts in the order in which they run."""

NO_CONNECTION = "'none'"
OWN_CONNECTION = "'self'"


def write_page(paths: Iterable[Path], file: Path) -> PageInfo:
    """Collect the records under some paths and write the page of them.

    Args:
        paths: Run folders, folders of runs, record files or ledgers.
        file: The HTML file to write, whole or not at all.

    Returns:
        What the page shows; ``problems`` names what could not be read.

    Raises:
        RunError: The file cannot be written.
    """
    payload = collect_payload(tuple(paths))
    write_atomic(file, render_page(payload).encode())
    return payload.info


def render_page(payload: Payload, *, live: bool = False) -> str:
    """The page as HTML text; every text from a record is data and never markup.

    Args:
        payload: What it shows.
        live: Leave the details with the server, and listen to it.
    """
    from plotly.offline import get_plotlyjs

    blocks = "" if live else "\n".join(_block(payload, number) for number in range(payload.blocks))
    return Template((_ASSETS / "page.html").read_text()).substitute(
        title=html.escape(payload.info.title),
        css=(_ASSETS / "page.css").read_text(),
        connect=OWN_CONNECTION if live else NO_CONNECTION,
        live="live" if live else "file",
        data=to_text(payload.overview()),
        blocks=blocks,
        plotly=get_plotlyjs(),
        js="\n".join((_ASSETS / name).read_text() for name in SCRIPTS),
    )


def _block(payload: Payload, number: int) -> str:
    return f'<script type="application/json" id="block-{number}">{to_text(payload.block(number))}</script>'
