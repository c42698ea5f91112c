"""The staircase of a device: which sizes cost the same, found from data.

Real kernels work in tiles: on one machine 17 output channels cost as much as 32, on another as 24. Along one size c of a
kernel the time is described by the smooth line S through the ends of the steps (multiples of the period P) and by how
far each size inside a step has climbed::

    T(c) = S(e(c)),    e(c) = P * (k + phi(r)),    c = k * P + r,  0 < r <= P

e is the *effective size*. A pure staircase has phi = 1, a straight line phi = r / P (that is P = 1); depthwise
convolutions with remainder loops lie in between or even above 1. The first step often differs and has a phi of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

_NOISE = 0.004  # relative; fits closer than this are equally good
_SNAP = 0.03  # a phi this close to one is one
_KEEP = 0.9  # share of the points a fit must explain: disturbed ones are left out
_ROUNDING = 1e-5  # of a step; sizes that come from float32 sums miss whole numbers by this much
_PERIODS_SEEN = 3  # a period shows only where it repeats

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """How sizes climb the steps of one size of a family of kernels.

    Args:
        period: Entries per step; one means a line without steps.
        first: phi of 1..period in the first step; empty for period one.
        later: phi of 1..period in all later steps; empty for period one.
    """

    period: int = 1
    first: tuple[float, ...] = ()
    later: tuple[float, ...] = ()

    def effective(self, size: float) -> float:
        """The effective size e(c); for fractions on the straight line between the neighbouring whole sizes.

        >>> Steps(16, (1.0,) * 16, (1.0,) * 16).effective(17)
        32.0
        """
        if self.period == 1 or size <= 0:
            return float(size)
        below = int(size)
        if below == size:
            return self._at(below)
        low = self._at(below)
        return low + (size - below) * (self._at(below + 1) - low)

    def _at(self, size: int) -> float:
        if size == 0:
            return 0.0
        step, inside = divmod(size - 1, self.period)
        return self.period * (step + (self.later if step else self.first)[inside])

    def end(self, size: float) -> int:
        """The last size of the step that ``size`` is on: rounded up to a multiple of the period."""
        return self.period * ceil(size / self.period - _ROUNDING)


LINE = Steps()
"""No steps: every entry counts."""


def find_steps(seconds: Mapping[int, float], floor_s: float = 0.0) -> Steps:
    """The steps that a line of measurements shows.

    For every period P the model ``alpha + beta * step + rho(position in the step)`` is fitted to all sizes above the first
    step, relative to the measured times, without the tenth of the points it explains worst. The Bayesian information
    criterion chooses among them, so that a long period must earn its parameters.

    Args:
        seconds: Time by size, for every whole size from 1 on, without gaps.
        floor_s: What was taken off these times; differences far below it are noise.

    Returns:
        The steps; :data:`LINE` where none show.

    >>> find_steps({c: 3.0 + 2.0 * -(-c // 8) for c in range(1, 65)}).period
    8
    """
    times = np.array([seconds[size] for size in range(1, len(seconds) + 1)])
    longest = len(times) // _PERIODS_SEEN
    scores = {period: _score(times + floor_s, period) for period in range(1, longest + 1)}
    if not scores:
        return LINE
    period = min(scores, key=lambda candidate: scores[candidate])
    return LINE if period == 1 else Steps(period, _first_profile(times, period), _later_profile(times, period))


def _score(times: Floats, period: int) -> float:
    """Bayesian information criterion of the steps of one period."""
    skipped = period if period > 1 else 0  # the first step has a profile of its own
    count = len(times) - skipped
    step, inside = np.divmod(np.arange(skipped, len(times)), period)
    columns = [np.ones(count), step.astype(float)]
    columns += [(inside == position).astype(float) for position in range(1, period)]
    residuals = _robust_residuals(np.stack(columns, 1) / times[skipped:, None])
    parameters = len(columns) + skipped
    variance = float(np.mean(residuals**2)) + _NOISE**2
    return float(np.log(variance)) + parameters * float(np.log(len(times))) / len(times)


def _robust_residuals(design: Floats) -> Floats:
    """Relative residuals of the best fit to ones, of the points it explains best."""
    target = np.ones(len(design))
    keep = np.ones(len(design), bool)
    for _ in range(3):
        coefficients = np.linalg.lstsq(design[keep], target[keep], rcond=None)[0]
        residuals = np.abs(design @ coefficients - target)
        keep = residuals <= np.quantile(residuals, _KEEP)
    return residuals[keep]


def _first_profile(times: Floats, period: int) -> tuple[float, ...]:
    end = times[period - 1]
    return _tidy(times[:period] / end) if end > 0 else (1.0,) * period


def _later_profile(times: Floats, period: int) -> tuple[float, ...]:
    whole = len(times) // period
    table = times[: whole * period].reshape(whole, period)
    climbed = table[1:] - table[:-1, -1:]  # above the end of the step before
    heights = table[1:, -1] - table[:-1, -1]
    height = float(np.median(heights))
    return _tidy(np.median(climbed, axis=0) / height) if height > 0 else (1.0,) * period


def _tidy(profile: Floats) -> tuple[float, ...]:
    snapped = np.where(np.abs(profile - 1.0) <= _SNAP, 1.0, profile)
    return (*(round(float(value), 3) for value in snapped[:-1]), 1.0)


def ladder(steps: Steps, largest: float, ratio: float) -> list[int]:
    """Ends of steps from the first to the one ``largest`` is on, each at most ``ratio`` times the one before.

    >>> ladder(LINE, 20, 2.0)
    [1, 2, 4, 8, 16, 20]
    """
    top = steps.end(largest) // steps.period
    counts: Sequence[int] = [1]
    while counts[-1] < top:
        counts = [*counts, min(max(int(counts[-1] * ratio), counts[-1] + 1), top)]
    return [steps.period * count for count in counts]
