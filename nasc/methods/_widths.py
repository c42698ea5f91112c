"""From scores to widths: which sizes are worth having, and which entries stay so that a limit is met on the true price.

Prices here are recounted at whole sizes (never the surrogate's), so a limit that is met is met.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

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
    if price.network.least(name) == 0:  # a gate is open or closed
        return tuple(range(size + 1))
    costs = [price.change({}, name, width) for width in range(1, size + 1)]
    rises = [after - before for before, after in pairwise(costs)]
    average = sum(rises) / max(len(rises), 1)
    ends = [width for width, rise in enumerate(rises, start=1) if average > 0 and rise > STEP_RISE * average]
    return (*ends, size) if ends else tuple(range(1, size + 1))


def floor_sizes(price: Price, names: tuple[str, ...], floor: float) -> dict[str, int]:
    """The smallest size each dim may get: a share of its dense size, what its search space asks for; gates may be closed."""
    dims, least = price.network.dims, price.network.least
    return {name: max(dims[name].least, math.ceil(floor * dims[name].size)) if least(name) else 0 for name in names}


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
    further: Mapping[str, tuple[list[float], int]] | None = None,
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
        crowding: Exponent of (dense size / rank) by which the stronger entries of a dim weigh more than their score:
            what is left must carry the work of what is gone, which a score taken beforehand cannot see.
        further: Sizes that are no dims, with the worth of every value they may have and the present one.

    Returns:
        Sizes with price <= limit, and the multiplier.

    Raises:
        TargetError: The limit cannot be met.
    """
    require_reachable(price, floor, limit)
    given = further or {}
    worth = {name: worth_of(vector, crowding) for name, vector in scores.items()}
    worth |= {name: values for name, (values, _) in given.items()}
    knapsack = _Knapsack(price, worth, ladders, floor)
    sizes = {name: int(torch.count_nonzero(vector)) or price.network.least(name) for name, vector in scores.items()}
    sizes |= {name: present for name, (_, present) in given.items()}
    total = price.total(sizes)
    moves = {name: knapsack.best_descent(sizes, name) for name in sizes}
    multiplier = 0.0
    while total > limit:
        descents = [move for move in moves.values() if move is not None]
        if not descents:
            raise TargetError(
                f"the target is {limit:.6g} {price.unit}; no move leads below {total:.6g}",
                "lower the floor of the widths, or ask for more",
            )
        move = min(descents)
        if total - move.saved <= limit:
            move = knapsack.last_descent(sizes, total - limit) or move
        multiplier, sizes[move.name] = max(multiplier, move.ratio), move.size
        total = price.total(sizes)
        for other in price.neighbours(move.name):
            if other in sizes:
                moves[other] = knapsack.best_descent(sizes, other)
    return Allocation(give_back(price, sizes, knapsack.worth, limit, ladders), multiplier)


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


def worth_of(vector: Tensor, crowding: float) -> list[float]:
    """``worth[k]``: the summed score of the k strongest entries, the i-th of d weighing (d / i) ** crowding times more."""
    ordered = torch.sort(vector.detach().to(torch.float64), descending=True).values
    rank = torch.arange(1, ordered.numel() + 1, dtype=torch.float64)
    return [0.0, *torch.cumsum(ordered * (ordered.numel() / rank) ** crowding, 0).tolist()]


class _Move(NamedTuple):
    """A way down for one dim; sorts by score lost per price saved."""

    ratio: float
    size: int
    name: str
    saved: float


@dataclass(frozen=True)
class _Knapsack:
    """What :func:`allocate` chooses from; the fields are its arguments."""

    price: Price
    worth: Mapping[str, list[float]]
    ladders: Mapping[str, tuple[int, ...]]
    floor: Mapping[str, int]

    def best_descent(self, sizes: Mapping[str, int], name: str) -> _Move | None:
        """The way down for one dim that loses least per price saved, or None where nothing saves."""
        rungs = self._rungs(sizes, name)
        sizes_below = [rungs[-step] for step in _LOOK_AHEAD if step <= len(rungs)]
        moves = [self._move(sizes, name, size) for size in sizes_below]
        return min((move for move in moves if move.saved > 0), default=None)

    def last_descent(self, sizes: Mapping[str, int], excess: float) -> _Move | None:
        """The move that loses the least score of all that save enough: the limit is met without waste."""
        best: tuple[float, _Move] | None = None
        for name in sizes:
            for size in reversed(self._rungs(sizes, name)):
                move = self._move(sizes, name, size)
                lost = move.ratio * move.saved
                if best is not None and lost >= best[0]:
                    break  # further down loses more
                if move.saved >= excess:
                    best = lost, move
                    break
        return best[1] if best else None

    def _rungs(self, sizes: Mapping[str, int], name: str) -> list[int]:
        return [rung for rung in self.ladders[name] if self.floor[name] <= rung < sizes[name]]

    def _move(self, sizes: Mapping[str, int], name: str, size: int) -> _Move:
        present = sizes[name]
        saved = -self.price.change(sizes, name, size)
        lost = self.worth[name][present] - self.worth[name][size]
        return _Move(lost / saved if saved > 0 else math.inf, size, name, saved)


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
