"""The tables of ``nasc compare report``."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from nasc.cli._grid import draw_grid
from nasc.cli._output import Reply
from nasc.frontier import Area, Pair, Spread, SummaryRow, areas, compare_pairs, summarise
from nasc.records import Collection
from nasc.units import format_percent, format_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

MINUS = "−"


def report_reply(found: Collection) -> Reply:
    """What ``nasc compare report`` prints.

    Args:
        found: The records.
    """
    from rich.console import Group

    rows, pairs, fronts = summarise(found.records), compare_pairs(found.records), areas(found.records)
    blocks: list[RenderableType] = []
    for conditions in dict.fromkeys(row.conditions for row in rows):
        blocks.append(_rows_grid(str(conditions), [row for row in rows if row.conditions == conditions]))
        blocks.append(_pairs_grid([pair for pair in pairs if pair.conditions == conditions]))
        blocks.append(_areas_grid([area for area in fronts if area.conditions == conditions]))
    data = {
        "rows": [_plain(row) for row in rows],
        "pairs": [_plain(pair) for pair in pairs],
        "hypervolumes": [_plain(area) for area in fronts],
        "problems": found.problems,
    }
    return Reply(data, Group(*blocks))


def _plain(value: SummaryRow | Pair | Area) -> dict[str, object]:
    return {**asdict(value), "conditions": str(value.conditions)}


def _rows_grid(title: str, rows: list[SummaryRow]) -> "RenderableType":
    heads = (
        "model",
        "method",
        "target",
        "seeds>",
        "accuracy>",
        "vs dense>",
        "measured>",
        "predicted>",
        "training>",
        "met>",
    )
    return draw_grid(heads, [_row(row) for row in rows], title=title)


def _row(row: SummaryRow) -> tuple[str, ...]:
    met, timed = row.met
    return (
        row.model,
        row.method,
        row.target,
        str(row.accuracy.count),
        _shown(row.accuracy, format_percent),
        _points(row.accuracy_change),
        _shown(row.measured_s, format_seconds),
        _shown(row.predicted_s, format_seconds),
        _shown(row.train_s, format_seconds),
        f"{met} of {timed}" if timed else "–",
    )


def _pairs_grid(pairs: list[Pair]) -> "RenderableType":
    if not pairs:
        return "\nNo two methods share a target and a seed: nothing to pair."
    heads = ("method", "against", "pairs>", "difference>", "p (paired t)>", "p (sign flips)>")
    cells = [
        (p.first, p.second, str(p.difference.count), _points(p.difference), _p(p.p_value), _p(p.sign_p_value))
        for p in pairs
    ]
    return draw_grid(heads, cells, title="\nPairs of methods: same model, target and seed")


def _areas_grid(fronts: list[Area]) -> "RenderableType":
    if not fronts:
        return ""
    heads = ("model", "method", "hypervolume>", "95 % interval>", "fronts>")
    cells = [
        (a.model, a.method, f"{a.value:.4f}", f"{a.low:.4f} to {a.high:.4f}", str(a.seeds))
        for a in sorted(fronts, key=lambda area: (area.model, -area.value))
    ]
    title = "\nHypervolume: share of the box between the dense latency at 0 % and 0 s at 100 %"
    return draw_grid(heads, cells, title=title)


def _shown(value: Spread | None, show: Callable[[float], str]) -> str:
    if value is None:
        return "–"
    return show(value.mean) + (f" ± {show(value.deviation)}" if value.deviation is not None else "")


def _points(value: Spread | None) -> str:
    if value is None:
        return "–"
    deviation = f" ± {100 * value.deviation:.2f}" if value.deviation is not None else ""
    return f"{100 * value.mean:+.2f}{deviation} points".replace("-", MINUS)


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
