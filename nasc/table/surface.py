"""The time of one signature as a function of its sizes."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from nasc.kernels import KINDS, Signature
from nasc.table.interpolation import Grid, complete_grid, difference, weights_at
from nasc.table.rows import Row
from nasc.table.steps import LINE, Steps

Form = Literal["staircase", "bilinear"]
"""``staircase``: what the device does. ``bilinear``: the paper's rule, blind to steps."""

_SLACK = 1e-5  # relative; sums of masks in float32 are this far from whole numbers


@dataclass(frozen=True)
class Surface:
    """The time of one signature, multilinear in the effective sizes.

    Args:
        names: Names of the sizes.
        steps: Steps along each size.
        grid: Times at the ends of steps.
    """

    names: tuple[str, ...]
    steps: tuple[Steps, ...]
    grid: Grid

    def outside(self, sizes: Sequence[float]) -> tuple[str, float, int, int] | None:
        """The first size that was not measured: its name, value, and the measured range; None where all were."""
        for name, size, steps, knots in zip(self.names, sizes, self.steps, self.grid.knots, strict=True):
            smallest = 0 if knots[0] <= steps.period else int(knots[0])
            if not smallest * (1 - _SLACK) <= size <= knots[-1] * (1 + _SLACK) and size != 0:
                return name, size, max(smallest, 1), int(knots[-1])
        return None

    def seconds(self, sizes: Sequence[float]) -> float:
        """The time at these sizes, in the order of ``names``."""
        return self.grid.at([steps.effective(size) for steps, size in zip(self.steps, sizes, strict=True)])

    def slopes(self, sizes: Sequence[float]) -> list[float]:
        """Seconds per entry of each size: the secant across the step the size is on.

        The staircase itself has slope zero nearly everywhere; the secant is what a whole step costs, per entry of it.
        """
        here = [
            weights_at(knots, steps.effective(size))
            for knots, steps, size in zip(self.grid.knots, self.steps, sizes, strict=True)
        ]
        slopes = []
        for axis, (steps, size, knots) in enumerate(zip(self.steps, sizes, self.grid.knots, strict=True)):
            end = max(steps.end(size), steps.period)
            across = difference(weights_at(knots, end), weights_at(knots, end - steps.period), 1.0 / steps.period)
            slopes.append(self.grid.combine([*here[:axis], across, *here[axis + 1 :]]))
        return slopes


def build_surface(
    signature: Signature, rows: Sequence[Row], steps: Mapping[str, Steps], form: Form, cold_share: float = 0.0
) -> Surface:
    """The surface through the rows of one signature.

    The grid stands on the ends of steps; rows inside a step are checks.

    Args:
        signature: Kind and attributes.
        rows: Its rows; at least one.
        steps: Steps by size name; a size that is not named has none.
        form: Whether sizes climb steps.
        cold_share: Where between the rows' warm (0) and cold (1) times.
    """
    names = KINDS[signature.kind].sizes
    seconds = {
        tuple(value for _, value in row.shape.sizes): row.seconds + cold_share * (row.cold_s - row.seconds)
        for row in rows
    }
    along = tuple(steps.get(name, LINE) if form == "staircase" else LINE for name in names)
    along = tuple(
        LINE if _fixed_inside_a_step({point[axis] for point in seconds}, s) else s for axis, s in enumerate(along)
    )
    ends = [point for point in seconds if all(size % s.period == 0 for size, s in zip(point, along, strict=True))]
    if not ends:
        ends, along = list(seconds), (LINE,) * len(names)
    knots = complete_grid(ends)
    return Surface(names, along, Grid(_as_floats(knots), tuple(seconds[point] for point in _product(knots))))


def _fixed_inside_a_step(measured: Set[int], steps: Steps) -> bool:
    """The size never moves (an image's three channels, the classes), and its one value is not the end of a step."""
    return len(measured) == 1 and next(iter(measured)) % steps.period != 0


def _as_floats(knots: tuple[tuple[int, ...], ...]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(knot) for knot in axis) for axis in knots)


def _product(knots: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
    points: list[tuple[int, ...]] = [()]
    for axis in knots:
        points = [(*point, knot) for point in points for knot in axis]
    return points
