"""Multilinear interpolation on a rectilinear grid.

In two dimensions this is the paper's bilinear rule (arXiv 2306.05785, section on the latency table): exact at the knots, a
value of zero where any size is zero. Beyond the last knot a line goes on through the last two, for the caller to allow
or refuse.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

Weights = tuple[tuple[int, float], ...]
"""Knot index and weight; the value at a point is the sum of weight times value at the knot."""


def weights_at(knots: Sequence[float], size: float) -> Weights:
    """Weights of the knots for a size along one axis.

    Args:
        knots: Increasing, above zero. A knot at zero with value zero is understood.
        size: Zero or more.
    """
    position = bisect_left(knots, size)
    if position == 0:
        return ((0, size / knots[0]),)
    if len(knots) == 1:
        return ((0, size / knots[0]),)
    position = min(position, len(knots) - 1)
    low, high = knots[position - 1], knots[position]
    share = (size - low) / (high - low)
    if share == 1.0:
        return ((position, 1.0),)
    return ((position - 1, 1.0 - share), (position, share))


@dataclass(frozen=True)
class Grid:
    """Values on a rectilinear grid.

    Args:
        knots: Knots of every axis, increasing and above zero.
        values: One per grid point, the last axis fastest.
    """

    knots: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """How far apart neighbours along each axis lie in ``values``."""
        counts = [len(axis) for axis in self.knots]
        return tuple(prod(counts[axis + 1 :]) for axis in range(len(counts)))

    def at(self, point: Sequence[float]) -> float:
        """The interpolated value at a point."""
        return self.combine([weights_at(axis, size) for axis, size in zip(self.knots, point, strict=True)])

    def combine(self, weights: Sequence[Weights]) -> float:
        """The sum over the grid of the product of the axes' weights times the value."""
        return sum(weight * self.values[index] for index, weight in self._corners(weights))

    def _corners(self, weights: Sequence[Weights]) -> Iterator[tuple[int, float]]:
        corners: list[tuple[int, float]] = [(0, 1.0)]
        for stride, axis in zip(self.strides, weights, strict=True):
            corners = [(index + stride * knot, weight * share) for index, weight in corners for knot, share in axis]
        yield from corners


def difference(high: Weights, low: Weights, scale: float) -> Weights:
    """Weights of ``(value at high - value at low) * scale``."""
    return tuple((knot, weight * scale) for knot, weight in high) + tuple(
        (knot, -weight * scale) for knot, weight in low
    )


def complete_grid(points: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """The knots of a grid all of whose points are there: lines with the fewest points are dropped until it is complete.

    Args:
        points: Measured points, in any order; some of them on no grid.

    Returns:
        Knots of every axis.

    >>> complete_grid([(1, 8), (1, 16), (4, 8), (4, 16), (3, 8)])
    ((1, 4), (8, 16))
    """
    present = set(points)
    axes = range(len(points[0]))
    while True:
        counts = [Counter(point[axis] for point in present) for axis in axes]
        if len(present) == prod(len(axis) for axis in counts):
            return tuple(tuple(sorted(axis)) for axis in counts)
        lines = [(count, axis, knot) for axis in axes for knot, count in counts[axis].items() if len(counts[axis]) > 1]
        _, axis, knot = min(lines)
        present = {point for point in present if point[axis] != knot}
