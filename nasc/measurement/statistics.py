"""What is computed from raw times. Pure functions of numbers.

On a machine that is never quite alone, times are a floor plus what other programs added, and the floor itself moves with
the processor's clock. Means and standard deviations say something about the neighbours only. So the floor is taken as a
minimum over fresh processes, and a fixed reference model (the *anchor*) that runs before and after every block of runs
tells how fast the clock was: blocks at full clock count as they are, others are corrected by the anchor's ratio.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

LEVEL = 0.95
"""Level of the confidence intervals."""

FULL_CLOCK = 1.01
"""A block whose anchors took at most this multiple of the anchor's reference ran at full clock."""

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

    def at_full_clock(self, reference_s: float) -> bool:
        """Both anchors ran at full clock."""
        return max(self.anchor_before_s, self.anchor_after_s) <= FULL_CLOCK * reference_s


@dataclass(frozen=True)
class SessionValue:
    """One session's estimate in seconds, and whether any of its blocks ran at full clock."""

    seconds: float
    full_clock: bool


def session_value(blocks: Sequence[Block], reference_s: float) -> SessionValue:
    """One session's estimate of a model's time.

    The minimum over the blocks at full clock: it can only lie above the truth. Where there is none, the median of the
    blocks' ratios times the anchor's reference: a minimum of ratios would pick the block whose anchor was disturbed most.

    Args:
        blocks: The model's blocks in one fresh process; at least one.
        reference_s: The anchor's time at full clock.
    """
    full = [min(block.samples_s) for block in blocks if block.at_full_clock(reference_s)]
    if full:
        return SessionValue(min(full), full_clock=True)
    return SessionValue(reference_s * median(block.ratio for block in blocks), full_clock=False)


def best_and_gap(values: Sequence[SessionValue]) -> tuple[float, float]:
    """The floor over sessions, and its distance to the next: how well the floor is known.

    Sessions at full clock are the only ones asked once there are two of them.

    Args:
        values: One per fresh session; at least one.

    Returns:
        The estimate and the gap in seconds; the gap is infinite for a single session, which can say nothing of it.

    >>> best_and_gap([SessionValue(1.5, True), SessionValue(1.0, True), SessionValue(2.0, True)])
    (1.0, 0.5)
    """
    full = sorted(value.seconds for value in values if value.full_clock)
    ordered = full if len(full) > 1 else sorted(value.seconds for value in values)
    best = full[0] if full else ordered[0]
    others = [abs(value - best) for value in ordered]
    others.remove(0.0)
    return best, min(others, default=float("inf"))


def relative_gap(values: Sequence[SessionValue]) -> float:
    """The gap of :func:`best_and_gap` as a fraction of the estimate."""
    best, gap = best_and_gap(values)
    return gap / best if best > 0 else 0.0


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
