"""Plain scatter and line figures as small SVG files: they open anywhere, need no script, and diff as text."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

PALETTE = ("#2f6fed", "#d9480f", "#0b7a5c", "#862e9c", "#b8860b", "#495057", "#c2255c", "#1098ad")

_WIDTH, _HEIGHT = 420, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 48
_LEGEND_ROW = 16


@dataclass(frozen=True)
class Series:
    """Points that share a colour.

    Args:
        name: In the legend; an empty one is not listed.
        x: One number a point.
        y: One number a point.
        mark: Dots, or dots joined by a line in the given order.
        colour: Index into :data:`PALETTE`.
        y_error: Half-length of a vertical bar at every point, or empty.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    mark: Literal["dots", "line"] = "dots"
    colour: int = 0
    y_error: Sequence[float] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Args:
        title: Above it.
        x_label: Quantity and unit.
        y_label: Quantity and unit.
        series: What is drawn, later ones on top.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


def write_figure(path: Path, panels: Sequence[Panel], *, columns: int = 2) -> None:
    """Draw panels in a grid, and write the file in one step.

    Args:
        path: Ends in ``.svg``.
        panels: At least one; a panel without points says so.
        columns: Panels in a row.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    legend = max(_legend_height(panel) for panel in panels)
    height = _HEIGHT + legend
    parts = [
        f'<g transform="translate({_WIDTH * (index % columns)} {height * (index // columns)})">{_draw(panel)}</g>'
        for index, panel in enumerate(panels)
    ]
    size = f'width="{_WIDTH * columns}" height="{height * rows}" viewBox="0 0 {_WIDTH * columns} {height * rows}"'
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


@dataclass(frozen=True)
class _Scale:
    """A linear map from values to pixels, with round ticks."""

    low: float
    high: float
    start: float
    end: float
    step: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [index * self.step for index in range(first, last + 1)]

    def text(self, value: float) -> str:
        decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{value:.{decimals}f}"


def _scale(values: Sequence[float], start: float, end: float) -> _Scale:
    """A scale over all values, with a margin, whose ticks are 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return _Scale(low, high, start, end, step)


def _draw(panel: Panel) -> str:
    heading = _text(_WIDTH / 2, 18, panel.title, size=13, weight="600")
    points = [
        (x, y) for series in panel.series for x, y in zip(series.x, series.y, strict=True) if math.isfinite(x + y)
    ]
    if not points:
        return heading + _text(_WIDTH / 2, _HEIGHT / 2, "no results yet")
    x = _scale([point[0] for point in points], _LEFT, _WIDTH - _RIGHT)
    y = _scale([point[1] for point in points], _HEIGHT - _BOTTOM, _TOP)
    return heading + _axes(panel, x, y) + "".join(_series(series, x, y) for series in panel.series) + _legend(panel)


def _axes(panel: Panel, x: _Scale, y: _Scale) -> str:
    top, bottom, left, right = _TOP, _HEIGHT - _BOTTOM, _LEFT, _WIDTH - _RIGHT
    grid = "".join(f"M{x(tick):.1f} {top}V{bottom}" for tick in x.ticks)
    grid += "".join(f"M{left} {y(tick):.1f}H{right}" for tick in y.ticks)
    labels = "".join(_text(x(tick), bottom + 15, x.text(tick)) for tick in x.ticks)
    labels += "".join(_text(left - 6, y(tick) + 4, y.text(tick), anchor="end") for tick in y.ticks)
    middle = (top + bottom) / 2
    turned = f'<g transform="translate(14 {middle}) rotate(-90)">{_text(0, 0, panel.y_label)}</g>'
    frame = f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#868e96"/>'
    below = _text((left + right) / 2, bottom + 34, panel.x_label)
    return f'<path d="{grid}" stroke="#eceef2"/>{frame}{labels}{below}{turned}'


def _series(series: Series, x: _Scale, y: _Scale) -> str:
    colour = PALETTE[series.colour % len(PALETTE)]
    places = [(x(a), y(b)) for a, b in zip(series.x, series.y, strict=True) if math.isfinite(a + b)]
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6"/>' for a, b in places)
    bars = "".join(
        f"M{x(a):.1f} {y(b - error):.1f}V{y(b + error):.1f}"
        for a, b, error in zip(series.x, series.y, series.y_error, strict=False)
    )
    line = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places) if series.mark == "line" and places else ""
    stroke = f'<path d="{line}{bars}" fill="none" stroke="{colour}" stroke-width="1.4"/>' if line or bars else ""
    return f'{stroke}<g fill="{colour}" fill-opacity=".75">{dots}</g>'


def _legend_height(panel: Panel) -> int:
    return _LEGEND_ROW * (1 - -sum(bool(series.name) for series in panel.series) // 2)


def _legend(panel: Panel) -> str:
    parts = []
    for index, series in enumerate(series for series in panel.series if series.name):
        x, y = _LEFT + (_WIDTH - _LEFT) / 2 * (index % 2), _HEIGHT + _LEGEND_ROW * (index // 2 + 0.5)
        colour = PALETTE[series.colour % len(PALETTE)]
        parts.append(f'<circle cx="{x + 4:.0f}" cy="{y - 4:.0f}" r="4" fill="{colour}"/>')
        parts.append(_text(x + 13, y, series.name, anchor="start"))
    return "".join(parts)


def _text(x: float, y: float, content: str, *, anchor: str = "middle", size: int = 11, weight: str = "400") -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="#343a40"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(content)}</text>'
