"""What is computed from raw times. Pure functions of numbers.

On a machine that is never quite alone, times are a floor plus what other programs added, and the floor itself moves with
the processor's clock. Means and standard deviations say something about the neighbours only. So within a block of runs
the minimum counts; a fixed reference model (the *anchor*) that runs before and after every block tells how fast the clock
was, and the ratio to it is what is compared; over blocks and fresh processes the median of the ratios counts. Kernels of a
table and whole models are estimated the same way: a sum of luckiest moments is faster than any model ever runs (on a host
whose clock moved by 20 %, sums of minima lay up to 13 % below the whole models, sums of anchored medians within 5 %).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

LEVEL = 0.95
"""Level of the confidence intervals."""

_RESAMPLES = 2000


@dataclass(frozen=True)
class Block:
    """Runs of one model in a row, between two visits of the anchor in the same process.

    Args:
        samples_s: Time of each run in seconds.
        anchor_before_s: Minimum of the anchor's runs just before; ``anchor_after_s`` just after.
    """

    samples_s: tuple[float, ...]
    anchor_before_s: float
    anchor_after_s: float

    @property
    def anchor_s(self) -> float:
        """The anchor's time around this block."""
        return 0.5 * (self.anchor_before_s + self.anchor_after_s)

    @property
    def ratio(self) -> float:
        """Minimum of the runs over the anchor's time around them."""
        return min(self.samples_s) / self.anchor_s


def session_value(blocks: Sequence[Block], reference_s: float) -> float:
    """One session's estimate of a model's time in seconds: the median of the blocks' ratios times the anchor's reference.

    A minimum of ratios would pick the block whose anchor was disturbed most.

    Args:
        blocks: The model's blocks in one fresh process; at least one.
        reference_s: The anchor's time on the scale to report on.
    """
    return reference_s * median(block.ratio for block in blocks)


def center_and_gap(values: Sequence[float]) -> tuple[float, float]:
    """The median over sessions, and its distance to the next session: how well it is known.

    Args:
        values: One per fresh session; at least one.

    Returns:
        The median and the gap; the gap is infinite for a single session, which can say nothing of it.

    >>> center_and_gap([1.5, 1.0, 2.5])
    (1.5, 0.5)
    """
    ordered = sorted(values)
    if len(ordered) == 1:
        return ordered[0], float("inf")
    middle, half = median(ordered), len(ordered) // 2
    if len(ordered) % 2 == 0:
        return middle, ordered[half] - ordered[half - 1]
    return middle, min(ordered[half] - ordered[half - 1], ordered[half + 1] - ordered[half])


def relative_gap(values: Sequence[float]) -> float:
    """The gap of :func:`center_and_gap` as a fraction of the median."""
    center, gap = center_and_gap(values)
    return gap / center if center > 0 else 0.0


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
