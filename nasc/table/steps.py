"""The staircase of a device: which sizes cost the same, found from data.

Real kernels work in tiles: on one machine 17 output channels cost as much as 32, on another as 24. Along one size c of
a kernel the time is described by the smooth line S through the ends of the steps (multiples of the period P) and by the
*effective size* e(c), the size on that line that costs as much::

    T(c) = S(e(c)),    c = k * P + r,  0 < r <= P

    e(c) = P * first[r]                                k = 0
    e(c) = P * (later[r] + growth[r] * (k - 1))        k > 0

A pure staircase has first = 1, later = 2, growth = 1. Kernels with slow remainder loops (XNNPACK's depthwise
convolutions) cost more off the multiples than on the next one, and ever more with every step: growth > 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

_NOISE = 0.02  # relative; fits closer than this are about equally good
_NOISE_WIDTH = 2.0  # of the best fit's median residual, where that is noisier
_REWEIGHTED = 4  # least squares, weights by the residuals before
_SNAP = 0.03  # values this close to a pure staircase's are a pure staircase's
_PERIODS_SEEN = 4  # a period shows only where it repeats; the first step does not count
_ROUNDING = 1e-5  # of a step; sizes that come from float32 sums miss whole numbers by this much

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """How sizes climb the steps of one size of a family of kernels; the formula stands in the module's text.

    Args:
        period: Entries per step; one means a line without steps, and empty profiles.
        first: Effective size in periods of 1..period, in the first step.
        later: The same in the second step.
        growth: What it gains with every further step.
    """

    period: int = 1
    first: tuple[float, ...] = ()
    later: tuple[float, ...] = ()
    growth: tuple[float, ...] = ()

    @classmethod
    def pure(cls, period: int) -> "Steps":
        """A staircase on which every size costs as much as the end of its step."""
        return cls(period, (1.0,) * period, (2.0,) * period, (1.0,) * period)

    def effective(self, size: float) -> float:
        """The effective size e(c); for fractions on the straight line between the neighbouring whole sizes.

        >>> Steps.pure(16).effective(17)
        32.0
        """
        if self.period == 1 or size <= 0:
            return float(size)
        below = int(size)
        low = self._at(below)
        return low if below == size else low + (size - below) * (self._at(below + 1) - low)

    def _at(self, size: int) -> float:
        if size == 0:
            return 0.0
        step, inside = divmod(size - 1, self.period)
        if step == 0:
            return self.period * self.first[inside]
        return self.period * (self.later[inside] + self.growth[inside] * (step - 1))

    def end(self, size: float) -> int:
        """The last size of the step that ``size`` is on: rounded up to a multiple of the period."""
        return self.period * ceil(size / self.period - _ROUNDING)


LINE = Steps()
"""No steps: every entry counts."""


def find_steps(seconds: Mapping[int, float], floor_s: float = 0.0) -> Steps:
    """The steps that a line of measurements shows.

    For every period P the model ``alpha + beta * step + rho(position in the step)`` is fitted to the sizes above the
    longest first step, relative to the measured times. Errors are taken to be Cauchy distributed, so that a disturbed
    point costs little and a wrong step costs much; the Bayesian information criterion chooses among the periods, so that
    a long one must earn its parameters.

    Args:
        seconds: Time by size, for every whole size from 1 on, without gaps.
        floor_s: What was taken off these times; differences far below it are noise.

    Returns:
        The steps; :data:`LINE` where none show.

    >>> find_steps({c: 3.0 + 2.0 * -(-c // 8) for c in range(1, 65)}) == Steps.pure(8)
    True
    """
    times = np.array([seconds[size] for size in range(1, len(seconds) + 1)])
    longest = len(times) // _PERIODS_SEEN
    if longest < 1 or float(np.median(times)) < floor_s:  # too short to show, or lost in the cost of a call
        return LINE
    residuals = {period: _residuals(times + floor_s, period, longest) for period in range(1, longest + 1)}
    noise = max(_NOISE, _NOISE_WIDTH * min(float(np.median(np.abs(of_period))) for of_period in residuals.values()))
    period = min(residuals, key=lambda candidate: _criterion(residuals[candidate], candidate + 1, noise))
    return LINE if period == 1 else _profile(times, period)


def _criterion(residuals: Floats, parameters: int, noise: float) -> float:
    """Bayesian information criterion of a fit with Cauchy errors of a given width."""
    return 2.0 * float(np.sum(np.log1p((residuals / noise) ** 2))) + parameters * float(np.log(len(residuals)))


def _residuals(times: Floats, period: int, skipped: int) -> Floats:
    """Relative residuals of the best fit of one period to the sizes above ``skipped``."""
    step, inside = np.divmod(np.arange(skipped, len(times)), period)
    columns = [np.ones(len(step)), step.astype(float)]
    columns += [(inside == position).astype(float) for position in range(1, period)]
    design = np.stack(columns, 1) / times[skipped:, None]
    weights = np.ones(len(step))
    residuals = weights
    for _ in range(_REWEIGHTED):
        coefficients = np.linalg.lstsq(design * weights[:, None], weights, rcond=None)[0]
        residuals = design @ coefficients - 1.0
        weights = 1.0 / np.sqrt(1.0 + (residuals / _NOISE) ** 2)
    return np.asarray(residuals)


def _profile(times: Floats, period: int) -> Steps:
    """The effective sizes, read off the line through the ends of the later steps."""
    whole = len(times) // period
    table = times[: whole * period].reshape(whole, period)  # [step, position in the step]
    ends = table[:, -1]
    slope = float(np.median(np.diff(ends[1:]))) if whole > 2 else float(ends[-1] - ends[0])  # per step
    if slope <= 0 or ends[0] <= 0:
        return Steps.pure(period)
    first = table[0] / ends[0]  # the line starts at the origin
    ahead = (table[1:] - ends[1:, None]) / slope  # in steps, ahead of the step's own end
    number = np.arange(whole - 1)
    growth = np.zeros(period)
    if whole > 3:
        pairs = [(i, j) for i in number for j in number if i < j]
        growth = np.median([(ahead[j] - ahead[i]) / (j - i) for i, j in pairs], axis=0)  # Theil and Sen's slope
    later = np.median(ahead - number[:, None] * growth, axis=0)
    growth[-1] = later[-1] = 0.0
    return Steps(period, _tidy(first, 1.0), _tidy(2.0 + later, 2.0), _tidy(1.0 + growth, 1.0))


def _tidy(profile: Floats, pure: float) -> tuple[float, ...]:
    return tuple(pure if abs(value - pure) <= _SNAP else round(float(value), 3) for value in profile)


def ladder(steps: Steps, largest: float, ratio: float) -> list[int]:
    """Ends of steps from the first to the one ``largest`` is on, each at most ``ratio`` times the one before.

    >>> ladder(LINE, 20, 2.0)
    [1, 2, 4, 8, 16, 20]
    """
    top = steps.end(largest) // steps.period
    counts = [1]
    while counts[-1] < top:
        counts.append(min(max(int(counts[-1] * ratio), counts[-1] + 1), top))
    return [steps.period * count for count in counts]
