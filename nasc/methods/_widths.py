"""From scores to widths: which sizes are worth having, and which entries stay so that a limit is met on the true price.

Prices here are recounted at whole sizes (never the surrogate's), so a limit that is met is met.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from nasc.errors import TargetError
from nasc.methods._price import Price

STEP_RISE = 2.0
"""A width ends a step where the next entry costs more than this many average entries."""

_LOOK_AHEAD = (1, 2, 4, 8, 16)  # rungs below the present width that one move may reach


@dataclass(frozen=True)
class Allocation:
    """Sizes that meet a limit, and what the last entry given up was worth.

    Args:
        sizes: By dim name.
        multiplier: Score lost per unit of price saved in the dearest move taken: the Lagrange multiplier of the limit,
            which is what lambda stands for. Zero where nothing had to go.
    """

    sizes: dict[str, int]
    multiplier: float


def efficient_widths(price: Price, name: str) -> tuple[int, ...]:
    """The widths of one dim that the device makes good use of, ascending, the dense one included.

    On a staircase these are the ends of the steps, found from the price itself; on a smooth price every width.

    Args:
        price: What sizes cost.
        name: The dim; all others are at their dense size.
    """
    size = price.network.dims[name].size
    costs = [price.change({}, name, width) for width in range(1, size + 1)]
    rises = [after - before for before, after in pairwise(costs)]
    average = sum(rises) / max(len(rises), 1)
    ends = [width for width, rise in enumerate(rises, start=1) if average > 0 and rise > STEP_RISE * average]
    return (*ends, size) if ends else tuple(range(1, size + 1))


def floor_sizes(price: Price, names: tuple[str, ...], floor: float) -> dict[str, int]:
    """The smallest size each dim may get: a share of its dense size, at least one entry."""
    return {name: max(1, math.ceil(floor * price.network.dims[name].size)) for name in names}


def require_reachable(price: Price, smallest: Mapping[str, int], limit: float) -> None:
    """Refuse a limit that even the smallest allowed model exceeds.

    Raises:
        TargetError: With both figures, in the price's unit.
    """
    least = price.total(smallest)
    if least > limit:
        raise TargetError(
            f"the target is {limit:.6g} {price.unit}; the smallest allowed model takes {least:.6g}, "
            f"the dense one {price.dense:.6g}",
            f"ask for at least {least:.6g} {price.unit}, or lower the floor of the widths",
        )


def allocate(
    price: Price,
    scores: Mapping[str, Tensor],
    limit: float,
    *,
    ladders: Mapping[str, tuple[int, ...]],
    floor: Mapping[str, int],
    crowding: float = 0.0,
) -> Allocation:
    """Sizes that meet a limit while giving up as little score per saved price as can be: a greedy knapsack.

    Each move takes a dim down its ladder by the stretch with the least (score lost) / (price saved); when the limit is
    met, what fits again is given back, best first.

    Args:
        price: Recounted after every move.
        scores: Importance of every entry by dim name, shape (dense size,), not negative; zero where already removed.
        limit: In the price's unit.
        ladders: Allowed sizes by dim name, ascending.
        floor: Smallest allowed size by dim name.
        crowding: Exponent of (dense size / present size) by which the entries of a thinned dim weigh more: what is
            left must carry the work of what is gone, which a local score cannot see.

    Returns:
        Sizes with price <= limit, and the multiplier.

    Raises:
        TargetError: The limit cannot be met.
    """
    require_reachable(price, floor, limit)
    worth = {name: _worth(vector) for name, vector in scores.items()}
    sizes = {name: int(torch.count_nonzero(vector)) or 1 for name, vector in scores.items()}
    total = price.total(sizes)
    moves = {name: _best_descent(price, sizes, name, worth, ladders, floor, crowding) for name in sizes}
    multiplier = 0.0
    while total > limit:
        descents = [(*move, name) for name, move in moves.items() if move is not None]
        if not descents:
            raise TargetError(
                f"the target is {limit:.6g} {price.unit}; no move leads below {total:.6g}",
                "lower the floor of the widths, or ask for more",
            )
        ratio, size, name = min(descents)
        multiplier, sizes[name] = max(multiplier, ratio), size
        total = price.total(sizes)
        for other in price.neighbours(name):
            if other in sizes:
                moves[other] = _best_descent(price, sizes, other, worth, ladders, floor, crowding)
    return Allocation(give_back(price, sizes, worth, limit, ladders), multiplier)


def keep_strongest(scores: Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """0/1 masks that keep the entries with the highest scores; ties go to the lower index.

    Args:
        scores: By dim name, shape (dense size,).
        sizes: How many to keep by dim name.

    Returns:
        Masks of dtype float32 by dim name.
    """
    masks = {}
    for name, vector in scores.items():
        order = torch.sort(vector, descending=True, stable=True).indices[: sizes[name]]
        masks[name] = torch.zeros_like(vector, dtype=torch.float32).index_fill(0, order, 1.0)
    return masks


def bisect_sizes(
    price: Price, limit: float, sizes_at: Callable[[float], dict[str, int]], steps: int = 40
) -> dict[str, int]:
    """The largest member of a one-parameter family of sizes whose true price meets a limit.

    Args:
        price: What sizes cost.
        limit: In the price's unit.
        sizes_at: Sizes for a strength in [0, 1]; 0 is the densest, 1 the smallest allowed.
        steps: Halvings of the interval.

    Raises:
        TargetError: Even strength 1 exceeds the limit.
    """
    require_reachable(price, sizes_at(1.0), limit)
    low, high = 0.0, 1.0
    if price.total(sizes_at(low)) <= limit:
        return sizes_at(low)
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (low, middle) if price.total(sizes_at(middle)) <= limit else (middle, high)
    return sizes_at(high)


def round_to_ladder(width: float, ladder: tuple[int, ...], least: int = 1) -> int:
    """The rung nearest to a wished width (the larger one on a tie), not below ``least`` where a rung allows that."""
    allowed = [rung for rung in ladder if rung >= least] or [ladder[-1]]
    return min(reversed(allowed), key=lambda rung: abs(rung - width))


def _worth(vector: Tensor) -> list[float]:
    """``worth[k]``: the summed score of the k strongest entries."""
    ordered = torch.sort(vector.detach().to(torch.float64), descending=True).values
    return [0.0, *torch.cumsum(ordered, 0).tolist()]


def _best_descent(
    price: Price,
    sizes: Mapping[str, int],
    name: str,
    worth: Mapping[str, list[float]],
    ladders: Mapping[str, tuple[int, ...]],
    floor: Mapping[str, int],
    crowding: float,
) -> tuple[float, int] | None:
    """(score lost per price saved, size) of the cheapest way down for one dim, or None where nothing saves."""
    present = sizes[name]
    rungs = [rung for rung in ladders[name] if floor[name] <= rung < present]
    crowd = (price.network.dims[name].size / present) ** crowding
    best: tuple[float, int] | None = None
    for step in _LOOK_AHEAD:
        if step > len(rungs):
            break
        size = rungs[-step]
        saved = -price.change(sizes, name, size)
        if saved <= 0:
            continue
        ratio = crowd * (worth[name][present] - worth[name][size]) / saved
        if best is None or ratio < best[0]:
            best = ratio, size
    return best


def give_back(
    price: Price,
    sizes: dict[str, int],
    worth: Mapping[str, list[float]],
    limit: float,
    ladders: Mapping[str, tuple[int, ...]],
) -> dict[str, int]:
    """Climb ladders again while the limit allows it, most score per price first; entries already removed stay gone."""
    total = price.total(sizes)
    while True:
        best: tuple[float, str, int, float] | None = None
        for name, present in sizes.items():
            size = next((rung for rung in ladders[name] if rung > present), None)
            if size is None or worth[name][size] <= worth[name][present]:
                continue
            added = price.change(sizes, name, size)
            if total + added > limit:
                continue
            gain = (worth[name][size] - worth[name][present]) / max(added, 1e-12 * price.dense)
            if best is None or gain > best[0]:
                best = gain, name, size, added
        if best is None:
            return sizes
        sizes[best[1]] = best[2]
        total = price.total(sizes)
