"""One self-contained HTML page: styles, script, data and plotly.js inside, no request to anywhere."""

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import nasc
from nasc.dashboard.info import COLUMNS, FrontierInfo, Headline, PageInfo, RunInfo, build_info
from nasc.records import collect_records, date_now, write_atomic

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ASSETS = Path(__file__).resolve().parent / "assets"


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
    info = build_info(collect_records(paths))
    write_atomic(file, render_page(info).encode())
    return info


def render_page(info: PageInfo) -> str:
    """The page as HTML text; every text from a record is escaped."""
    from plotly.offline import get_plotlyjs

    return Template((_ASSETS / "page.html").read_text()).substitute(
        title=_escape(info.title),
        subtitle=_escape(_subtitle(info)),
        css=(_ASSETS / "page.css").read_text(),
        problems=_problems(info.problems),
        headlines=_headlines(info.headlines),
        frontiers="\n".join(_frontier(i, frontier) for i, frontier in enumerate(info.frontiers)) or _nothing(info),
        table=_table(info.runs) if info.runs else "",
        runs=_run_section(info.runs) if info.runs else "",
        predictions=_PREDICTIONS if info.predictions else "",
        version=nasc.__version__,
        date=date_now()[:16].replace("T", " ") + " UTC",
        data=_script_json(_figures(info)),
        plotly=get_plotlyjs(),
        js=(_ASSETS / "page.js").read_text(),
    )


_PREDICTIONS = """<section class="card" aria-labelledby="predicted-head">
<h2 id="predicted-head">Predicted against measured</h2>
<p>Latency by the table and of the exported file. Points on the line agree; the band is ± 3 %.</p>
<div class="plot" id="predictions" role="img" aria-label="Scatter chart of predicted against measured latency"></div>
</section>"""


def _figures(info: PageInfo) -> dict[str, Any]:
    """The figures of the page by element id, and those of each run, as plotly.js takes them."""
    from nasc.dashboard import draw

    figures = {f"frontier-{i}": _plain(draw.draw_frontier(frontier)) for i, frontier in enumerate(info.frontiers)}
    if info.predictions:
        figures["predictions"] = _plain(draw.draw_predictions(info.predictions))
    runs = [
        {
            "title": run.title,
            "details": run.details,
            "warnings": run.warnings,
            "widths": _plain(draw.draw_widths(run.widths)) if run.widths else None,
            "curves": _plain(draw.draw_curves(run, run.curves)) if run.curves else None,
        }
        for run in info.runs
    ]
    return {"figures": figures, "runs": runs}


def _plain(figure: "go.Figure") -> dict[str, Any]:
    plain = json.loads(figure.to_json())
    assert isinstance(plain, dict)
    plain["layout"].pop("template", None)
    return plain


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _subtitle(info: PageInfo) -> str:
    count = len(info.runs)
    return f"{count} finished run{'' if count == 1 else 's'}, accuracy against measured latency"


def _nothing(info: PageInfo) -> str:
    text = "No run here has a measured latency yet." if info.runs else "No finished run was found. Make one: nasc demo"
    return f'<section class="card"><p class="empty">{_escape(text)}</p></section>'


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    items = "".join(f"<li>{_escape(problem)}</li>" for problem in problems)
    return f'<div class="problems" role="status">Not everything could be read; the rest is shown.<ul>{items}</ul></div>'


def _headlines(headlines: Sequence[Headline]) -> str:
    return f'<dl class="headlines">{"".join(map(_headline, headlines))}</dl>' if headlines else ""


def _headline(line: Headline) -> str:
    mood = {True: " good", False: " bad", None: ""}[line.good]
    return (
        f'<div><dt>{_escape(line.label)}</dt><dd class="value{mood}">{_escape(line.value)}</dd>'
        f'<dd class="note{mood}">{_escape(line.note)}</dd></div>'
    )


def _frontier(place: int, info: FrontierInfo) -> str:
    badge = '<span class="badge">no real device\'s times</span>' if info.simulated else ""
    return f"""<section class="card" aria-labelledby="frontier-head-{place}">
<h2 id="frontier-head-{place}">Accuracy against latency{badge}</h2>
<p>{_escape(info.title)}. Up and to the left is better; dimmed models are dominated.
Choose a point to see its run below.</p>
<div class="plot" id="frontier-{place}" role="img" aria-label="{_escape(_describe(info))}"></div>
</section>"""


def _describe(info: FrontierInfo) -> str:
    """The chart in words, for those who do not see it; the table below has every number."""
    front = [mark for mark in info.marks if mark.on_front]
    ends = ", ".join(f"{mark.label} at {1e3 * mark.latency_s:.3g} ms and {100 * mark.accuracy:.1f} %" for mark in front)
    return f"Scatter chart of {len(info.marks)} models; on the Pareto front, from fast to slow: {ends}"


def _table(runs: Sequence[RunInfo]) -> str:
    heads = "".join(f'<th scope="col"><button type="button">{_escape(name)}</button></th>' for name in COLUMNS)
    rows = "\n".join(_row(key, run) for key, run in enumerate(runs))
    return f"""<section class="card" aria-labelledby="runs-head">
<div class="bar"><h2 id="runs-head">Runs</h2>
<input type="search" id="filter" placeholder="Filter runs" aria-label="Filter runs"></div>
<div class="scroll tall" tabindex="0" role="region" aria-labelledby="runs-head">
<table><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table></div>
</section>"""


def _row(key: int, run: RunInfo) -> str:
    cells = []
    for column, (text, sort) in enumerate(run.cells):
        mood = (
            {True: ' class="good"', False: ' class="bad"', None: ""}[run.met] if COLUMNS[column] == "Measured" else ""
        )
        shown = f'<button type="button">{_escape(text)}</button>' if column == 0 else _escape(text)
        cells.append(f'<td data-sort="{_escape(str(sort))}"{mood}>{shown}</td>')
    return f'<tr data-key="{key}">{"".join(cells)}</tr>'


def _run_section(runs: Sequence[RunInfo]) -> str:
    options = "".join(f'<option value="{key}">{_escape(run.label)}</option>' for key, run in enumerate(runs))
    return f"""<section class="card" id="run" aria-labelledby="run-head">
<div class="bar"><h2 id="run-head">One run</h2>
<label>Run <select id="pick">{options}</select></label></div>
<p id="run-title" aria-live="polite"></p>
<ul class="problems" id="run-warnings" hidden></ul>
<div class="pair">
<div><h3>What is kept of every dim</h3>
<div class="tall">
<div class="plot" id="widths" role="img" aria-label="Bar chart of kept against dense widths"></div></div>
<p class="empty" id="no-widths" hidden>The record lists no dims.</p></div>
<div><h3>Training</h3>
<div class="plot" id="curves" role="img" aria-label="Training curves"></div>
<p class="empty" id="no-curves" hidden>The record has no training history.</p></div>
</div>
<details><summary>Conditions and provenance</summary><dl class="details" id="run-details"></dl></details>
</section>"""


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
