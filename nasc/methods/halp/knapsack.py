"""The knapsack of HALP: one width for every dim, the most importance that still saves enough, by dynamic programming.

Savings of different dims overlap (a matrix shrinks with its input and its output), so the price is linearised at the
present widths, as HALP does per layer; the saving asked for is then raised until the true price meets the goal.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor

from nasc.errors import TargetError
from nasc.methods._price import Price
from nasc.methods._widths import give_back, require_reachable, worth_of

CELLS = 1000
"""Savings are counted in this many parts of what is needed; each is rounded down, so that the sum is not short."""

_RAISES = 12  # halvings of the interval between a saving that is too small and one that is enough


class Option(NamedTuple):
    """A width a dim may get.

    Args:
        size: The width.
        worth: Importance kept with it.
        saved: Price saved with it, at the present widths of the others; not negative.
    """

    size: int
    worth: float
    saved: float


def choose(options: Mapping[str, list[Option]], need: float) -> dict[str, int] | None:
    """One option a dim with the largest summed worth whose savings add up to ``need``, or None where none do.

    Exact for savings counted in thousandths of ``need``, rounded down (a multiple-choice knapsack).
    """
    if need <= 0:
        return {name: max(given, key=lambda option: option.worth).size for name, given in options.items()}
    best = np.full(CELLS + 1, -math.inf)
    best[0] = 0.0
    taken: list[tuple[str, np.ndarray, np.ndarray]] = []
    for name, given in options.items():
        new = np.full(CELLS + 1, -math.inf)
        which, before = np.zeros(CELLS + 1, dtype=int), np.zeros(CELLS + 1, dtype=int)
        for index, option in enumerate(given):
            shift = min(CELLS, int(option.saved / need * CELLS + 1e-9))
            for start, stop in ((0, CELLS - shift), (CELLS - shift, CELLS + 1)):  # below the full saving, and at it
                _take(best, new, which, before, index, option.worth, shift, start, stop)
        taken.append((name, which, before))
        best = new
    if best[CELLS] == -math.inf:
        return None
    chosen, place = {}, CELLS
    for name, which, before in reversed(taken):
        chosen[name] = options[name][which[place]].size
        place = int(before[place])
    return chosen


def _take(
    best: np.ndarray,
    new: np.ndarray,
    which: np.ndarray,
    before: np.ndarray,
    index: int,
    worth: float,
    shift: int,
    start: int,
    stop: int,
) -> None:
    """Let one option lead from the savings ``start <= s < stop`` to ``s + shift``, or to the full saving."""
    if start >= stop:
        return
    if start + shift >= CELLS:  # all of them lead to the full saving: the best one counts
        origin = start + int(best[start:stop].argmax())
        if best[origin] + worth > new[CELLS]:
            new[CELLS], which[CELLS], before[CELLS] = best[origin] + worth, index, origin
        return
    target = slice(start + shift, stop + shift)
    better = best[start:stop] + worth > new[target]
    new[target] = np.where(better, best[start:stop] + worth, new[target])
    which[target] = np.where(better, index, which[target])
    before[target] = np.where(better, np.arange(start, stop), before[target])


def solve(
    price: Price,
    scores: Mapping[str, Tensor],
    goal: float,
    ladders: Mapping[str, tuple[int, ...]],
    floor: Mapping[str, int],
) -> dict[str, int]:
    """Widths that keep the most importance with the true price at or below a goal.

    Args:
        price: What sizes cost.
        scores: Importance of every entry by dim name, zero where it has gone.
        goal: In the price's unit.
        ladders: Allowed sizes by dim name, ascending.
        floor: Smallest allowed size by dim name.

    Raises:
        TargetError: The goal is below the smallest allowed model.
    """
    require_reachable(price, floor, goal)
    worth = {name: worth_of(vector, 0.0) for name, vector in scores.items()}
    present = {name: int((vector > 0).sum()) or 1 for name, vector in scores.items()}
    excess = price.total(present) - goal
    if excess <= 0:
        return present
    options = {name: _options(price, present, name, worth[name], ladders[name], floor[name]) for name in scores}
    most = sum(max(option.saved for option in given) for given in options.values())
    low, high, found = excess, most, None
    asked = excess
    for _ in range(_RAISES):
        sizes = choose(options, asked)
        if sizes is not None and price.total(sizes) <= goal:
            found, high = sizes, asked
        else:
            low = asked if sizes is not None else low
            high = high if sizes is not None else asked
        asked = (low + high) / 2
    if found is None:
        found = {name: min(given, key=lambda option: option.size).size for name, given in options.items()}
    if price.total(found) > goal:
        raise TargetError(
            f"the target is {goal:.6g} {price.unit}; the smallest widths on the device's steps take "
            f"{price.total(found):.6g}",
            "lower the floor of the widths, or ask for more",
        )
    return give_back(price, found, worth, goal, ladders)


def _options(
    price: Price, present: Mapping[str, int], name: str, worth: list[float], ladder: tuple[int, ...], floor: int
) -> list[Option]:
    sizes = {size for size in ladder if floor <= size < present[name]} | {present[name], min(floor, present[name])}
    return [
        Option(size, worth[size], max(0.0, -price.change(present, name, size))) for size in sorted(sizes, reverse=True)
    ]
