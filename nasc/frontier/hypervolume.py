"""The area a frontier dominates: one number for how good a whole front is."""

from collections.abc import Sequence

from nasc.frontier.pareto import Point, pareto


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Area between a front and a reference point, in seconds times accuracy.

    The reference is a point that every useful model beats, e.g. the dense model's latency at chance accuracy; points
    that do not beat it add nothing (Zitzler and Thiele, 1998, in two dimensions).

    >>> round(hypervolume([Point(0.004, 0.90), Point(0.006, 0.92)], reference=Point(0.010, 0.10)), 6)
    0.00488

    Args:
        points: Models; dominated ones change nothing.
        reference: Slowest latency and lowest accuracy that count.
    """
    inside = [p for p in points if p.latency_s < reference.latency_s and p.accuracy > reference.accuracy]
    front = [inside[i] for i in pareto(inside)]
    ends = [p.latency_s for p in [*front, reference][1:]]
    # Strips from one point to the next slower one, as high as the best accuracy so far.
    return sum((end - p.latency_s) * (p.accuracy - reference.accuracy) for p, end in zip(front, ends, strict=True))


def hypervolume_interval(points: Sequence[Point], reference: Point) -> tuple[float, float]:
    """Hypervolume with every point at the worst, and at the best, corner of its error bars."""
    return hypervolume([p.worst for p in points], reference), hypervolume([p.best for p in points], reference)
