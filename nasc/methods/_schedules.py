"""When a method acts: fractions of a run, and the path of a goal."""

from dataclasses import dataclass

from nasc.errors import UsageError


@dataclass(frozen=True)
class Ramp:
    """A goal that falls from 1 to 0 between two fractions of the run, fast at first (Zhu and Gupta 2017, cubic).

    >>> Ramp(0.25, 0.75).left(0.5)
    0.125

    Args:
        start: Fraction of the run at which it begins to fall, in [0, 1].
        end: Fraction at which it has fallen; not before ``start``.
        power: 3 is cubic, 1 a straight line.
    """

    start: float
    end: float
    power: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= 1:
            raise UsageError(
                f"a ramp needs 0 <= start <= end <= 1; got start {self.start} and end {self.end}",
                "give both as fractions of the run",
            )

    def left(self, fraction: float) -> float:
        """How much of the way is left at a fraction of the run: 1 before the start, 0 from the end on."""
        if fraction >= self.end:
            return 0.0
        if fraction <= self.start:
            return 1.0
        return float((1 - (fraction - self.start) / (self.end - self.start)) ** self.power)

    def between(self, fraction: float, first: float, last: float) -> float:
        """The goal at a fraction of the run, on its way from ``first`` to ``last``."""
        return last + (first - last) * self.left(fraction)
