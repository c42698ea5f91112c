"""The staircase of a device: which sizes cost the same, found from data.

Real kernels work in tiles: on one machine 17 output channels cost as much as 32, on another as 24. Along one size c of a
kernel, c = k * P + r with 0 < r <= P and P the period, the positions r in a step fall into *classes* that cost the same
within the step. A pure staircase has one class; a line without steps has P = 1. Kernels with slow remainder loops
or loads that cross cache lines have more: on an AVX-512 machine multiples of 32 channels may be cheaper than 17 to 31, and
1 to 16 a step of their own. Each class is represented by its last position, and has its own line over k > 0. The first
step is often another one (half as high up to half its width) and has classes of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

_NOISE = 0.02  # relative; fits closer than this are about equally good
_NOISE_WIDTH = 2.0  # of the best fit's median residual, where that is noisier
_REWEIGHTED = 4  # least squares, weights by the residuals before
_SAME = 0.04  # positions of a step whose times differ by less are of one class
_MOST_CLASSES = 3
_LOOSER = 1.25
_PERIODS_SEEN = 4  # a period shows only where it repeats; the first step does not count
_ROUNDING = 1e-5  # of a step; sizes that come from float32 sums miss whole numbers by this much

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """How sizes climb the steps of one size of a family of kernels.

    Args:
        period: Entries per step; one means a line without steps.
        first: For every position 1..period in the first step, the position that stands for its class.
        later: The same in all later steps.
    """

    period: int = 1
    first: tuple[int, ...] = (1,)
    later: tuple[int, ...] = (1,)

    @classmethod
    def pure(cls, period: int) -> "Steps":
        """A staircase on which every size costs as much as the end of its step."""
        return cls(period, (period,) * period, (period,) * period)

    def representative(self, size: int) -> int:
        """The size that stands for a whole size: on the same step, of the same class.

        >>> Steps.pure(16).representative(17)
        32
        """
        step, inside = divmod(size - 1, self.period)
        return self.period * step + (self.later if step else self.first)[inside]

    def lane(self, size: int) -> tuple[bool, int]:
        """Which line a whole size lies on: whether of later steps, and its position in the step."""
        step, inside = divmod(size - 1, self.period)
        return step > 0, inside + 1

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
    if (
        longest < 1 or float(np.min(times)) <= 0 or float(np.median(times)) < floor_s
    ):  # too short to show, or lost in the cost of a call
        return LINE
    residuals = {period: _residuals(times + floor_s, period, longest) for period in range(1, longest + 1)}
    noise = max(_NOISE, _NOISE_WIDTH * min(float(np.median(np.abs(of_period))) for of_period in residuals.values()))
    period = min(residuals, key=lambda candidate: _criterion(residuals[candidate], candidate + 1, noise))
    return LINE if period == 1 else _steps(times, period)


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


def _steps(times: Floats, period: int) -> Steps:
    whole = len(times) // period
    table = times[: whole * period].reshape(whole, period)  # [step, position in the step]
    return Steps(period, _classes(table[:1]), _classes(table[1:]))


def _classes(table: Floats) -> tuple[int, ...]:
    """The class of every position, given times by step and position; looser ones where there would be too many."""
    period = table.shape[1]
    apart = np.median(np.abs(table[:, :, None] / table[:, None, :] - 1.0), axis=0)  # [position, other position]
    same = _SAME
    while True:
        chosen = [period - 1]
        for position in range(period - 2, -1, -1):
            if min(apart[position, other] for other in chosen) > same:
                chosen.append(position)
        if len(chosen) <= _MOST_CLASSES:
            break
        same *= _LOOSER
    nearest = [
        min((other for other in chosen if other >= position), key=apart[position].__getitem__)
        for position in range(period)
    ]
    return tuple(other + 1 for other in nearest)


def ladder(steps: Steps, largest: float, ratio: float) -> list[int]:
    """Sizes that stand for all others, on steps in geometric progression up to the one ``largest`` is on.

    >>> ladder(LINE, 20, 2.0)
    [1, 2, 4, 8, 16, 20]
    >>> ladder(Steps.pure(8), 20, 2.0)
    [8, 16, 24]
    """
    top = steps.end(largest) // steps.period
    counts = [1]
    while counts[-1] < top:
        counts.append(min(max(int(counts[-1] * ratio), counts[-1] + 1), top))
    return sorted(
        steps.period * (count - 1) + position
        for count in counts
        for position in set(steps.later if count > 1 else steps.first)
    )
