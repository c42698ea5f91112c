"""Pareto dominance of accuracy against latency, by value or beyond doubt."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One model in the plane of the frontier.

    Args:
        latency_s: Measured latency in seconds; less is better.
        accuracy: Fraction in 0..1; more is better.
        latency_error_s: Half-width of the error bar of the latency.
        accuracy_error: Half-width of the error bar of the accuracy.
    """

    latency_s: float
    accuracy: float
    latency_error_s: float = 0.0
    accuracy_error: float = 0.0

    @property
    def worst(self) -> "Point":
        """The slow and inaccurate corner of the error bars, as a point without error."""
        return Point(self.latency_s + self.latency_error_s, self.accuracy - self.accuracy_error)

    @property
    def best(self) -> "Point":
        """The fast and accurate corner of the error bars, as a point without error."""
        return Point(self.latency_s - self.latency_error_s, self.accuracy + self.accuracy_error)


def dominates(a: Point, b: Point, *, certain: bool = False) -> bool:
    """Whether ``a`` is at least as fast and as accurate as ``b``, and better in one of the two.

    >>> dominates(Point(0.010, 0.92), Point(0.012, 0.91))
    True
    >>> dominates(Point(0.010, 0.92, accuracy_error=0.01), Point(0.012, 0.91, accuracy_error=0.01), certain=True)
    False

    Args:
        a: The point that may be better.
        b: The point that may be worse.
        certain: Demand it of the worst corner of ``a`` against the best corner of ``b``: intervals that overlap decide
            nothing.
    """
    if certain:
        a, b = a.worst, b.best
    no_worse = a.latency_s <= b.latency_s and a.accuracy >= b.accuracy
    return no_worse and (a.latency_s < b.latency_s or a.accuracy > b.accuracy)


def pareto(points: Sequence[Point], *, certain: bool = False) -> list[int]:
    """Indices of the points that no other dominates, from fast to slow.

    Args:
        points: Any number of points, in any order; equal points stay together, in or out.
        certain: Leave a point out only where another dominates it beyond the error bars of both; the result then holds
            every point that may belong to the front.

    Returns:
        Indices into ``points``, sorted by latency, the more accurate first where it is equal.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i].latency_s, -points[i].accuracy))
    if certain:
        return [i for i in order if not any(dominates(other, points[i], certain=True) for other in points)]
    front: list[int] = []
    for i in order:
        # Everything before i is as fast or faster, so i survives only by more accuracy, or as a twin of the last.
        if not front or points[i].accuracy > points[front[-1]].accuracy or _same_place(points[i], points[front[-1]]):
            front.append(i)
    return front


def _same_place(a: Point, b: Point) -> bool:
    return a.latency_s == b.latency_s and a.accuracy == b.accuracy
