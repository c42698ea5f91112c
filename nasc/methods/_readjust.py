"""Choosing again for another limit: a selection trimmed or grown by the method's own scores, near what it was."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from nasc.graph.selection import Selection
from nasc.methods._price import Price
from nasc.methods._widths import allocate, efficient_widths, floor_sizes, give_back, require_reachable

FLOOR = 0.05
"""Smallest share of a dim that any method may leave, unless it asks for more."""


CROWDING = 2.0
"""As the surrogate's own: what is left of a thinned dim weighs more."""

UNSPENT = 0.01
"""Share of the limit that may stay unspent before other ways to spend it are tried."""


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
        scores: Importance of every entry by dim name, shape (dense size,), those of removed entries included; a removed
            entry with the score zero has no weights left and never comes back.
        limit: In the price's unit.

    Raises:
        TargetError: No allowed model meets the limit.
    """
    require_reachable(price, smallest_sizes(price), limit)
    given = {name: vector.detach().float().cpu() for name, vector in scores.items()}
    alive = {name: _indicator(selection, name, vector) for name, vector in given.items()}
    positive = {name: vector.clamp_min(1e-12) * ((vector > 0) | (alive[name] > 0)) for name, vector in given.items()}
    ranks = {name: vector + alive[name] * (vector.max() + 1) for name, vector in positive.items()}
    worth = {name: _worth(ranks[name], positive[name]) for name in ranks}
    survivors = {name: vector * alive[name] for name, vector in positive.items()}
    before = {name: int(vector.sum()) for name, vector in alive.items()}
    floor = _floor(price, before, limit)
    on_steps = {name: efficient_widths(price, name) for name in positive}
    least = price.network.least
    every = {name: tuple(range(least(name), vector.numel() + 1)) for name, vector in positive.items()}

    def spend(start: Mapping[str, Tensor], ladders: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Sizes within the limit: trimmed from a start along ladders, then grown by any width that still fits."""
        sizes = {name: int(torch.count_nonzero(vector)) for name, vector in start.items()}
        if price.total(sizes) > limit:
            rungs = {name: tuple(sorted({*ladders[name], size})) for name, size in sizes.items()}
            least = {name: min(floor[name], size) for name, size in sizes.items()}
            sizes = dict(allocate(price, start, limit, ladders=rungs, floor=least, crowding=CROWDING).sizes)
        return give_back(price, sizes, worth, limit, every)

    sizes = spend(survivors, on_steps)
    if price.total(sizes) < limit * (1 - UNSPENT):
        # Steps too high to climb from here: come down from above, where a width inside a step is still cheaper to read.
        further = [sizes, spend(survivors, every), spend(positive, on_steps), spend(positive, every)]
        most = max(map(price.total, further))
        spent = [option for option in further if price.total(option) >= most - UNSPENT * limit]
        sizes = min(spent, key=lambda option: _distance(option, before))
    kept = {name: torch.topk(ranks[name], sizes[name]).indices.sort().values for name in ranks}
    gains = {name: _gain(selection, name, kept[name]) for name in kept if name in selection.gains}
    return replace(selection, kept=kept, gains=gains)


def _worth(ranks: Tensor, scores: Tensor) -> list[float]:
    """``worth[k]``: the summed score of the first k entries in the order in which they would be kept."""
    order = torch.sort(ranks, descending=True, stable=True).indices
    return [0.0, *torch.cumsum(scores[order].double(), 0).tolist()]


def _indicator(selection: Selection, name: str, like: Tensor) -> Tensor:
    if name not in selection.kept:
        return torch.ones_like(like)
    return torch.zeros_like(like).index_fill(0, selection.kept[name].cpu(), 1.0)


def _floor(price: Price, before: Mapping[str, int], limit: float) -> dict[str, int]:
    """No dim loses more than half of what the method left it, unless the limit cannot be met otherwise; gates may close."""
    smallest = smallest_sizes(price)
    near = {name: max(smallest[name], math.ceil(size / 2)) for name, size in before.items() if smallest[name]}
    near = {**dict.fromkeys(before, 0), **near}
    return near if price.total(near) <= limit else smallest


def _distance(sizes: Mapping[str, int], before: Mapping[str, int]) -> float:
    """How far widths are from what they were: the summed logarithms of their ratios."""
    return sum(abs(math.log(max(size, 0.5) / max(before[name], 0.5))) for name, size in sizes.items())


def _gain(selection: Selection, name: str, kept: Tensor) -> Tensor:
    """Gains over the dense dim: as they were, and the median of the survivors' for entries that come back."""
    gain = selection.gains[name].detach().clone()
    before = selection.kept.get(name, torch.arange(gain.numel())).to(gain.device)
    back = torch.isin(kept.to(gain.device), before, invert=True)
    gain[kept.to(gain.device)[back]] = gain[before].median()
    return gain
