"""Choosing again for another limit: a selection trimmed or grown by the method's own scores, near what it was."""

from collections.abc import Mapping

import torch
from torch import Tensor

from nasc.graph.selection import Selection
from nasc.methods._price import Price
from nasc.methods._widths import allocate, efficient_widths, floor_sizes, give_back, require_reachable

FLOOR = 0.05
"""Smallest share of a dim that any method may leave, unless it asks for more."""


def smallest_sizes(price: Price, floor: float = FLOOR) -> dict[str, int]:
    """The sizes of the smallest allowed model: every maskable dim at its floor, at least one entry."""
    return floor_sizes(price, tuple(price.network.maskable), floor)


def readjust(price: Price, selection: Selection, scores: Mapping[str, Tensor], limit: float) -> Selection:
    """The selection nearest to a given one whose true price meets another limit.

    What must go is the entries that lose the least score per saved price; what may come back is the removed entries that
    gain the most, with the gain of their dim's median survivor. Growing stops at any width, not only at the end of a
    step: what reads a dim pays for every entry, so the last bit of the limit is spent there.

    Args:
        price: What sizes cost.
        selection: From a frozen method.
        scores: Importance of every entry by dim name, shape (dense size,), those of removed entries included.
        limit: In the price's unit.

    Raises:
        TargetError: No allowed model meets the limit.
    """
    floor = smallest_sizes(price)
    require_reachable(price, floor, limit)
    positive = {name: vector.detach().float().cpu().clamp_min(1e-12) for name, vector in scores.items()}
    alive = {name: _indicator(selection, name, vector) for name, vector in positive.items()}
    sizes = {name: int(vector.sum()) for name, vector in alive.items()}
    ladders = {name: tuple(sorted({*efficient_widths(price, name), size})) for name, size in sizes.items()}
    if price.total(sizes) > limit:
        survivors = {name: vector * alive[name] for name, vector in positive.items()}
        sizes = dict(allocate(price, survivors, limit, ladders=ladders, floor=_at_most(floor, sizes)).sizes)
    ranks = {name: vector + alive[name] * (vector.max() + 1) for name, vector in positive.items()}
    every = {name: tuple(range(1, vector.numel() + 1)) for name, vector in positive.items()}
    sizes = give_back(price, sizes, {name: _worth(ranks[name], positive[name]) for name in sizes}, limit, every)
    kept = {name: torch.topk(ranks[name], sizes[name]).indices.sort().values for name in ranks}
    return Selection(kept, {name: _gain(selection, name, kept[name]) for name in kept if name in selection.gains})


def _worth(ranks: Tensor, scores: Tensor) -> list[float]:
    """``worth[k]``: the summed score of the first k entries in the order in which they would be kept."""
    order = torch.sort(ranks, descending=True, stable=True).indices
    return [0.0, *torch.cumsum(scores[order].double(), 0).tolist()]


def _indicator(selection: Selection, name: str, like: Tensor) -> Tensor:
    if name not in selection.kept:
        return torch.ones_like(like)
    return torch.zeros_like(like).index_fill(0, selection.kept[name].cpu(), 1.0)


def _at_most(floor: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, int]:
    return {name: min(floor[name], size) for name, size in sizes.items()}


def _gain(selection: Selection, name: str, kept: Tensor) -> Tensor:
    """Gains over the dense dim: as they were, and the median of the survivors' for entries that come back."""
    gain = selection.gains[name].detach().clone()
    before = selection.kept.get(name, torch.arange(gain.numel())).to(gain.device)
    back = torch.isin(kept.to(gain.device), before, invert=True)
    gain[kept.to(gain.device)[back]] = gain[before].median()
    return gain
