"""From info to figures. Colours of text and grid are left to the page, which knows whether it is light or dark."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nasc.dashboard.curves import Curves, Series
from nasc.dashboard.info import Details, FrontierInfo, Mark, PredictionInfo, RunInfo, WidthInfo

PALETTE = ("#2f6fed", "#e8710a", "#12a37f", "#c2338a", "#8a63d2", "#b8860b", "#0f9fb5", "#d64545")
"""Colours of the methods; told apart with the common colour blindnesses, and readable on light and dark."""

SYMBOLS = ("circle", "square", "triangle-up", "cross", "star", "hexagon", "triangle-down", "x")
NEUTRAL = "#8a8f98"  # dense models, guides
DIMMED = 0.45  # opacity of dominated models
_LATENCY, _STRENGTH = "latency", "strength λ"
ROW_PX = 26  # height of one dim in the chart of widths


@dataclass(frozen=True)
class Unit:
    """A unit of time for an axis."""

    name: str
    seconds: float

    def of(self, seconds: float) -> float:
        """Seconds in this unit."""
        return seconds / self.seconds


def choose_unit(latencies_s: Sequence[float]) -> Unit:
    """Milliseconds, or microseconds where the largest is below one millisecond, or seconds from one second on."""
    largest = max(latencies_s, default=1e-3)
    if largest >= 1:
        return Unit("s", 1.0)
    return Unit("ms", 1e-3) if largest >= 1e-3 else Unit("us", 1e-6)


def draw_frontier(info: FrontierInfo) -> go.Figure:
    """Accuracy against measured latency, by method, with error bars, the Pareto front and the targets."""
    unit = choose_unit([mark.latency_s for mark in info.marks])
    figure = go.Figure()
    _add_front(figure, info, unit)
    methods = list(dict.fromkeys(mark.method for mark in info.marks if mark.key is not None))
    for place, method in enumerate(methods):
        marks = [mark for mark in info.marks if mark.method == method and mark.key is not None]
        style = {"color": PALETTE[place % len(PALETTE)], "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 11}
        figure.add_trace(_trace(method, marks, unit, style))
    dense = [mark for mark in info.marks if mark.key is None]
    if dense:
        figure.add_trace(_trace("dense", dense, unit, {"color": NEUTRAL, "symbol": "diamond", "size": 12}))
    for target_s in info.targets_s:
        # The corner above the front is empty by definition: the place for the labels.
        figure.add_vline(
            x=unit.of(target_s),
            line={"dash": "dot", "width": 1.5, "color": NEUTRAL},
            annotation={
                "text": f"target {unit.of(target_s):.3g} {unit.name}",
                "textangle": -90,
                "yanchor": "top",
                "y": 1,
            },
            annotation_position="top left",
        )
    figure.update_xaxes(title=f"measured latency ({unit.name}), less is better", rangemode="normal")
    figure.update_yaxes(title="test accuracy (%)", ticksuffix="")
    return _finish(figure, height=460)


def draw_widths(widths: Sequence[WidthInfo]) -> go.Figure:
    """Entries kept of every dim against the dense model, in the order of the network."""
    names = [_text(width.name) for width in widths]
    hover = [
        f"<b>{_text(w.name)}</b><br>{w.kept} of {w.dense} kept ({100 * w.kept / max(w.dense, 1):.0f} %)" for w in widths
    ]
    common = {"y": names, "orientation": "h", "hovertext": hover, "hoverinfo": "text"}
    labels = {"text": [f"{w.kept} / {w.dense}" for w in widths], "textposition": "outside", "cliponaxis": False}
    dense = [w.dense for w in widths]
    kept = [w.kept for w in widths]
    figure = go.Figure(
        [
            go.Bar(name="dense", x=dense, marker={"color": "rgba(138,143,152,.28)"}, **labels, **common),
            go.Bar(name="kept", x=kept, marker={"color": PALETTE[0]}, **common),
        ]
    )
    figure.update_layout(barmode="overlay", bargap=0.3)
    figure.update_yaxes(autorange="reversed", type="category", automargin=True, showgrid=False)
    figure.update_xaxes(title="entries", range=[0, 1.25 * max(dense)], showgrid=False)
    return _finish(figure, height=110 + ROW_PX * max(len(names), 3))


def draw_predictions(predictions: Sequence[PredictionInfo]) -> go.Figure:
    """Latency by the table against the measured one, around the line of agreement and its 3 % band."""
    unit = choose_unit([p.measured_s for p in predictions])
    measured = [unit.of(p.measured_s) for p in predictions]
    predicted = [unit.of(p.predicted_s) for p in predictions]
    ends = [0.93 * min(measured + predicted), 1.07 * max(measured + predicted)]
    figure = go.Figure()
    band = {"x": ends + ends[::-1], "y": [0.97 * e for e in ends] + [1.03 * e for e in ends[::-1]]}
    figure.add_trace(
        go.Scatter(
            **band,
            fill="toself",
            mode="lines",
            line={"width": 0},
            fillcolor="rgba(138,143,152,.22)",
            name="± 3 %",
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter(x=ends, y=ends, mode="lines", line={"color": NEUTRAL, "dash": "dot"}, name="equal", hoverinfo="skip")
    )
    figure.add_trace(
        go.Scatter(
            x=predicted,
            y=measured,
            mode="markers",
            name="models",
            marker={"color": PALETTE[0], "size": 10, "line": {"width": 1, "color": "rgba(255,255,255,.7)"}},
            error_y={"array": [unit.of(p.spread_s) for p in predictions], "thickness": 1.2, "width": 3},
            hovertext=[
                f"<b>{_text(p.label)}</b><br>predicted {unit.of(p.predicted_s):.3g} {unit.name}"
                f"<br>measured {unit.of(p.measured_s):.3g} {unit.name}<br>error {100 * p.error:+.1f} %"
                for p in predictions
            ],
            hoverinfo="text",
        )
    )
    figure.update_xaxes(title=f"predicted by the table ({unit.name})")
    figure.update_yaxes(title=f"measured ({unit.name})")
    return _finish(figure, height=400)


def draw_curves(run: RunInfo, curves: Curves) -> go.Figure:
    """Loss, accuracy, predicted latency with the target, and the strength λ over the training, one above the other."""
    panels = [(title, series) for title, series in _panels(curves, run.target_s is not None) if series]
    figure = make_subplots(rows=max(len(panels), 1), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for row, (title, series) in enumerate(panels, start=1):
        unit = choose_unit([v for s in series for v in s.values if v is not None]) if title == _LATENCY else None
        scale = unit.seconds if unit else 0.01 if title == "accuracy" else 1.0
        for place, line in enumerate(series):
            figure.add_trace(_line(line, curves, scale, PALETTE[(row - 1 + place) % len(PALETTE)]), row=row, col=1)
        if unit and run.target_s is not None:
            target = {"text": "target", "yanchor": "bottom"}
            line_style = {"dash": "dot", "color": NEUTRAL, "width": 1.5}
            figure.add_hline(y=unit.of(run.target_s), line=line_style, annotation=target, row=row, col=1)
        suffix = f" ({unit.name})" if unit else " (%)" if title == "accuracy" else ""
        figure.update_yaxes(title=title + suffix, row=row, col=1)
        if title == _STRENGTH and _positive(series):
            figure.update_yaxes(type="log", dtick=1, row=row, col=1)
        if title == _STRENGTH:
            figure.update_yaxes(tickformat=".0e", nticks=5, row=row, col=1)
    figure.update_xaxes(title=curves.unit, row=max(len(panels), 1), col=1)
    figure.update_layout(hovermode="x unified", showlegend=any(len(series) > 1 for _, series in panels))
    return _finish(figure, height=90 + 150 * max(len(panels), 1))


def _panels(curves: Curves, timed: bool) -> list[tuple[str, tuple[Series, ...]]]:
    """Title and series of each panel; a method's price is a latency where the target is a time."""
    price = tuple(s for s in curves.series if s.name in ("price", "predicted_s"))
    return [
        ("loss", curves.matching("loss")),
        ("accuracy", curves.matching("accuracy")),
        (_LATENCY if timed else "price", price),
        (_STRENGTH, tuple(s for s in curves.series if s.name == "strength")),
    ]


def _positive(series: Sequence[Series]) -> bool:
    return all(value is None or value > 0 for line in series for value in line.values)


def _line(series: Series, curves: Curves, scale: float, color: str) -> go.Scatter:
    return go.Scatter(
        x=list(curves.positions),
        y=[None if value is None else value / scale for value in series.values],
        mode="lines" if len(curves.positions) > 30 else "lines+markers",
        name=_text(series.name.removesuffix("_s").replace("_", " ")),
        line={"color": color, "width": 2},
        marker={"size": 5},
        connectgaps=True,
    )


def _add_front(figure: go.Figure, info: FrontierInfo, unit: Unit) -> None:
    """The staircase of the front: at a latency one gets the best accuracy of everything as fast or faster."""
    if len(info.front) < 2:
        return
    figure.add_trace(
        go.Scatter(
            x=[unit.of(latency_s) for latency_s, _ in info.front],
            y=[100 * accuracy for _, accuracy in info.front],
            mode="lines",
            line={"shape": "hv", "color": "rgba(47,111,237,.55)", "width": 2.5},
            name="Pareto front",
            hoverinfo="skip",
        )
    )


def _trace(name: str, marks: Sequence[Mark], unit: Unit, style: dict[str, object]) -> go.Scatter:
    return go.Scatter(
        name=_text(name),
        x=[unit.of(mark.latency_s) for mark in marks],
        y=[100 * mark.accuracy for mark in marks],
        mode="markers",
        marker=style
        | {
            "opacity": [1.0 if mark.on_front or mark.key is None else DIMMED for mark in marks],
            "line": {"width": 1, "color": "rgba(255,255,255,.75)"},
        },
        error_x={"array": [unit.of(mark.latency_error_s) for mark in marks], "thickness": 1.2, "width": 3},
        error_y={"array": [100 * mark.accuracy_error for mark in marks], "thickness": 1.2, "width": 3},
        customdata=[mark.key for mark in marks],
        hovertext=[_hover(mark.label, mark.details) for mark in marks],
        hoverinfo="text",
    )


def _hover(label: str, details: Details) -> str:
    return f"<b>{_text(label)}</b><br>" + "<br>".join(f"{_text(name)}: {_text(text)}" for name, text in details)


def _text(text: str) -> str:
    """Plotly reads a little HTML in its texts, so that names from records are escaped."""
    return html.escape(text, quote=False)


def _finish(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 58, "r": 18, "t": 40, "b": 54},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom", "xanchor": "left"},
        hoverlabel={"align": "left"},
        dragmode=False,
    )
    figure.update_xaxes(zeroline=False, title_standoff=10)
    figure.update_yaxes(zeroline=False, title_standoff=8)
    return figure
