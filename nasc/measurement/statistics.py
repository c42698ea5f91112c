"""What is computed from raw times. Pure functions of numbers.

On a machine that is never quite alone, times are a floor plus what other programs added. The floor is estimated by the
minimum over fresh processes; means and standard deviations say something about the neighbours only.
"""

import random
from collections.abc import Sequence
from statistics import median

LEVEL = 0.95
"""Level of the confidence intervals."""

_RESAMPLES = 2000


def best_and_gap(session_minima: Sequence[float]) -> tuple[float, float]:
    """The smallest session minimum, and its distance to the second smallest: how well the floor is known.

    Args:
        session_minima: One minimum per fresh session, in seconds; at least one.

    Returns:
        The minimum and the gap in seconds; the gap is infinite for a single session, which can say nothing of it.

    >>> best_and_gap([1.02, 1.0, 1.3])
    (1.0, 0.020000000000000018)
    """
    ordered = sorted(session_minima)
    return ordered[0], (ordered[1] - ordered[0] if len(ordered) > 1 else float("inf"))


def relative_gap(session_minima: Sequence[float]) -> float:
    """The gap of :func:`best_and_gap` as a fraction of the minimum."""
    best, gap = best_and_gap(session_minima)
    return gap / best if best > 0 else 0.0


def paired_ratios(blocks: Sequence[Sequence[float]], anchors: Sequence[Sequence[float]]) -> list[float]:
    """Ratio of each block of runs to the anchor's blocks right before and right after it.

    Args:
        blocks: B B ... of an interleaved session A B A B ... A; times in seconds.
        anchors: A A ... of it, one more than blocks.

    Returns:
        One ratio per block: its minimum over the mean of the two neighbouring anchors' minima.
    """
    if len(anchors) != len(blocks) + 1:
        raise ValueError(f"{len(blocks)} blocks need {len(blocks) + 1} anchors around them; got {len(anchors)}")
    return [
        min(block) / (0.5 * (min(before) + min(after)))
        for block, before, after in zip(blocks, anchors[:-1], anchors[1:], strict=True)
    ]


def median_interval(values: Sequence[float], *, level: float = LEVEL, seed: int = 0) -> tuple[float, float, float]:
    """The median and its percentile-bootstrap interval (Efron 1979).

    Args:
        values: One value per independent process.
        level: Level of the interval.
        seed: Seed of the resampling; the same values and seed give the same interval.

    Returns:
        Median, lower and upper end.
    """
    generator = random.Random(seed)
    medians = sorted(median(generator.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    tail = (1.0 - level) / 2.0
    low, high = medians[int(tail * _RESAMPLES)], medians[min(int((1.0 - tail) * _RESAMPLES), _RESAMPLES - 1)]
    return median(values), low, high
