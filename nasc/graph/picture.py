"""A network as a picture: kernels from top to bottom, every dim a line along those it runs through, like a metro map.

A dot is a kernel that writes the dim, a ring one that reads it, a bar one that passes it on; grey dashed lines are frozen.
Thickness grows with the size, the bar at the right with the multiply-adds.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from nasc.graph.dims import Dim
from nasc.graph.inspect import advise, describe
from nasc.graph.network import Kernel, Network

_ROW = 22
_LANE = 18
_MARGIN = 28
_TOP = 100
_NAME_WIDTH = 250
_SIZES_WIDTH = 190
_BAR_WIDTH = 150
_LETTER = 6.7  # width of one letter of the small type
_COLOURS = (
    "#2563eb",
    "#d97706",
    "#059669",
    "#db2777",
    "#7c3aed",
    "#0891b2",
    "#dc2626",
    "#65a30d",
    "#9333ea",
    "#0d9488",
)
_GREY = "#b6bec9"
_ROLES = {"c_out": "written", "c_in": "read"}

_STYLE = """
  text { font: 12px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2937 }
  .title { font-size: 20px; font-weight: 650 } .soft { fill: #6b7280 } .small { font-size: 11px }
  .block { fill: #f8fafc; stroke: #e2e8f0 } .bar { fill: #cbd5e1 }
  .dim { transition: opacity .15s } svg:has(.dim:hover) .dim:not(:hover) { opacity: .15 }
  .frozen .line { stroke-dasharray: 3 4; stroke-linecap: butt }
"""


@dataclass(frozen=True)
class _Line:
    """One dim in the picture.

    Args:
        dim: The dim.
        stops: Row and role of every kernel it runs through, ascending.
        lane: Place among the lines, from the right.
    """

    dim: Dim
    stops: tuple[tuple[int, str], ...]
    lane: int

    @property
    def first(self) -> int:
        """Row of the first stop."""
        return self.stops[0][0]

    @property
    def last(self) -> int:
        """Row of the last stop."""
        return self.stops[-1][0]


def draw_svg(network: Network, title: str = "") -> str:
    """The network as a standalone SVG.

    Args:
        network: The traced model.
        title: Heading; by default the name of the model's class.
    """
    kernels = [kernel for kernel in network.kernels if kernel.kind != "free"]
    lines = _lay_out(network.dims, kernels)
    lanes = 1 + max((line.lane for line in lines), default=0)
    left = _MARGIN + lanes * _LANE
    width = left + 16 + _NAME_WIDTH + _SIZES_WIDTH + _BAR_WIDTH + _MARGIN
    height = _TOP + len(kernels) * _ROW + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_heading(network, title or type(network.model).__name__),
        *_draw_blocks(kernels, left),
        *(element for line in lines for element in _draw_line(line, left)),
        *_draw_kernels(kernels, left),
        "</svg>",
    ]
    return "\n".join(parts)


def draw_html(network: Network, title: str = "") -> str:
    """The same picture as a page of its own, which scrolls; pointing at a line shows its dim.

    Args:
        network: The traced model.
        title: Heading; by default the name of the model's class.
    """
    heading = escape(title or type(network.model).__name__)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>\n'
        "<style>body { margin: 24px auto; max-width: max-content; background: #ffffff }</style></head>\n"
        f"<body>\n{draw_svg(network, title)}\n</body></html>\n"
    )


# -- where things go ---------------------------------------------------------------------------------------------------


def _lay_out(dims: Mapping[str, Dim], kernels: Sequence[Kernel]) -> list[_Line]:
    """A lane for every dim that a kernel touches: short lines near the kernels, long ones outside."""
    stops: dict[str, dict[int, str]] = {}
    for row, kernel in enumerate(kernels):
        for size, axis in kernel.sizes.items():
            for dim in axis.dims():
                if dim.name in dims:
                    role = _ROLES.get(size, "passed")
                    stops.setdefault(dim.name, {})[row] = stops.get(dim.name, {}).get(row, role)
    found = [(dims[name], tuple(sorted(places.items()))) for name, places in stops.items()]
    found.sort(key=lambda item: (item[1][-1][0] - item[1][0][0], item[1][0][0]))
    taken: list[list[tuple[int, int]]] = []
    lines = []
    for dim, places in found:
        span = places[0][0], places[-1][0]
        lane = next((number for number, spans in enumerate(taken) if _is_free(spans, span)), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(span)
        lines.append(_Line(dim, places, lane))
    return lines


def _is_free(spans: Sequence[tuple[int, int]], span: tuple[int, int]) -> bool:
    return all(span[1] < first or last < span[0] for first, last in spans)


def block_of(name: str) -> str:
    """The block a kernel belongs to: its module path up to the first number, else its parent module.

    >>> block_of("encoder.layer.3.attention.query"), block_of("stem.conv")
    ('encoder.layer.3', 'stem')
    """
    parts = name.split(".")
    number = next((place for place, part in enumerate(parts[:-1]) if part.isdigit()), None)
    if number is None:
        return ".".join(parts[:-1])
    deeper = number + 1 < len(parts) - 1 and parts[number + 1].isdigit()
    return ".".join(parts[: number + (2 if deeper else 1)])


# -- drawing -----------------------------------------------------------------------------------------------------------


def _heading(network: Network, title: str) -> Iterator[str]:
    data = describe(network)
    free = sum(dim["frozen"] is None for dim in data["dims"])
    told = (
        f"{free} of {len(data['dims'])} dims may change  ·  {data['macs'] / 1e6:.2f} MMAC  ·  "
        f"{data['params'] / 1e6:.3f} M parameters"
    )
    yield f'<text class="title" x="{_MARGIN}" y="38">{escape(title)}</text>'
    yield f'<text class="soft" x="{_MARGIN}" y="60">{escape(told)}</text>'
    x, y = _MARGIN, 79
    ink = 'stroke="#64748b" stroke-width="2"'
    yield f'<circle cx="{x + 5}" cy="{y - 4}" r="4.2" fill="#64748b" {ink}/>'
    yield f'<text class="soft small" x="{x + 15}" y="{y}">writes</text>'
    yield f'<circle cx="{x + 65}" cy="{y - 4}" r="4.2" fill="#ffffff" {ink}/>'
    yield f'<text class="soft small" x="{x + 75}" y="{y}">reads</text>'
    yield f'<path d="M{x + 118} {y - 4}h10" {ink}/><text class="soft small" x="{x + 134}" y="{y}">passes on</text>'
    yield f'<path d="M{x + 196} {y - 4}h16" stroke="{_GREY}" stroke-width="3" stroke-dasharray="3 3"/>'
    yield f'<text class="soft small" x="{x + 218}" y="{y}">frozen: point at a line for its name and the reason</text>'


def _middle(row: int) -> float:
    return _TOP + (row + 0.5) * _ROW


def _draw_blocks(kernels: Sequence[Kernel], left: int) -> Iterator[str]:
    width = 16 + _NAME_WIDTH + _SIZES_WIDTH + _BAR_WIDTH
    row = 0
    for _, members in groupby(kernels, key=lambda kernel: block_of(kernel.name)):
        count = len(list(members))
        top, height = _TOP + row * _ROW + 1, count * _ROW - 2
        yield f'<rect class="block" x="{left}" y="{top}" width="{width}" height="{height}" rx="6"/>'
        row += count


def _draw_line(line: _Line, left: int) -> Iterator[str]:
    x = left - (line.lane + 0.5) * _LANE
    frozen = line.dim.frozen is not None
    colour = _GREY if frozen else _COLOURS[sum(map(ord, line.dim.name)) % len(_COLOURS)]
    thickness = 1.5 + 0.55 * math.log2(max(line.dim.size, 1))
    yield f'<g class="dim{" frozen" if frozen else ""}"><title>{escape(_told(line.dim))}</title>'
    top, bottom = _middle(line.first), _middle(line.last)
    if line.first == line.last:
        top, bottom = top - 0.3 * _ROW, bottom + 0.3 * _ROW
    yield (
        f'<path class="line" d="M{x} {top}V{bottom}" stroke="{colour}" stroke-width="{thickness:.1f}" '
        'stroke-linecap="round" fill="none"/>'
    )
    for row, role in line.stops:
        y = _middle(row)
        yield f'<path class="stop" d="M{x} {y}H{left}" stroke="{colour}" stroke-opacity=".35"/>'
        if role == "passed":
            yield f'<path class="stop" d="M{x - 4} {y}h8" stroke="{colour}" stroke-width="3"/>'
        else:
            fill = colour if role == "written" else "#ffffff"
            yield f'<circle class="stop" cx="{x}" cy="{y}" r="4.2" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
    yield "</g>"


def _told(dim: Dim) -> str:
    """What pointing at a line says."""
    lines = [f"{dim.name}: {dim.size}"]
    if dim.frozen is not None:
        lines += [f"frozen: {dim.frozen}", advise(dim.frozen)]
    elif dim.reduced is not None:
        lines.append(f"a zero is not a removal: {dim.reduced}")
    return "\n".join(line for line in lines if line)


def _draw_kernels(kernels: Sequence[Kernel], left: int) -> Iterator[str]:
    most = max((float(kernel.macs()) for kernel in kernels), default=0.0) or 1.0
    for row, kernel in enumerate(kernels):
        y = _middle(row) + 4
        x = left + 12
        letters = int(_NAME_WIDTH / _LETTER)
        kind = _kind_of(kernel)
        macs = float(kernel.macs())
        yield f"<g><title>{escape(f'{kernel.name} ({kind}): {macs / 1e6:.3f} MMAC')}</title>"
        yield f'<text x="{x}" y="{y}">{escape(_shorten(kernel.name, letters))}</text>'
        x += _NAME_WIDTH
        yield f'<text class="soft small" x="{x}" y="{y}">{escape(_shorten(_sizes_of(kernel, kind), 30))}</text>'
        x += _SIZES_WIDTH
        length = max(1.5, (_BAR_WIDTH - 16) * macs / most) if macs else 0
        yield f'<rect class="bar" x="{x}" y="{y - 9}" width="{length:.1f}" height="10" rx="2"/></g>'


def _kind_of(kernel: Kernel) -> str:
    operator = str(dict(kernel.signature.attributes).get("op", ""))
    if kernel.kind == "unsupported":
        return f"no kernel: {operator.removeprefix('aten.').rpartition('.')[0] or operator}"
    return " ".join(filter(None, (kernel.kind, operator, kernel.activation)))


def _sizes_of(kernel: Kernel, kind: str) -> str:
    sizes = {name: int(axis.size()) for name, axis in kernel.sizes.items()}
    if {"c_in", "c_out"} <= sizes.keys():
        return f"{kind}  {sizes['c_in']} → {sizes['c_out']}"
    return f"{kind}  {' × '.join(map(str, sizes.values()))}"


def _shorten(text: str, letters: int) -> str:
    """The end of a long name tells more than its beginning."""
    return text if len(text) <= letters else "…" + text[-(letters - 1) :]
