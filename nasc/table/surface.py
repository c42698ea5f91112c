"""The time of one signature as a function of its sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

from nasc.kernels import KINDS, Signature
from nasc.table.interpolation import Grid, Weights, complete_grid, difference, weights_at
from nasc.table.rows import Row
from nasc.table.steps import LINE, Steps

Form = Literal["staircase", "bilinear"]
"""``staircase``: what the device does. ``bilinear``: the paper's rule, blind to steps."""

_SLACK = 1e-5  # relative; sums of masks in float32 are this far from whole numbers


@dataclass(frozen=True)
class Scale:
    """The knots along one size, and how sizes between them are weighted.

    Args:
        knots: Measured sizes, increasing.
        steps: The steps of this size; every knot stands for itself.
    """

    knots: tuple[float, ...]
    steps: Steps

    @cached_property
    def lanes(self) -> dict[tuple[bool, int], tuple[tuple[int, ...], tuple[float, ...]]]:
        """Index and value of the knots of every class, by :meth:`~nasc.table.steps.Steps.lane`."""
        lanes: dict[tuple[bool, int], list[int]] = {}
        for index, knot in enumerate(self.knots):
            lanes.setdefault(self.steps.lane(int(knot)), []).append(index)
        return {lane: (tuple(of), tuple(self.knots[index] for index in of)) for lane, of in lanes.items()}

    @cached_property
    def _ends(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        indices = tuple(index for index, knot in enumerate(self.knots) if knot % self.steps.period == 0)
        return indices, tuple(self.knots[index] for index in indices)

    def weights(self, size: float) -> Weights:
        """Weights of the knots at a size; fractions lie on the line between the neighbouring whole sizes."""
        if self.steps.period == 1:
            return weights_at(self.knots, size)
        below = int(size)
        if below == size:
            return self._whole(below)
        share = size - below
        return (
            *((knot, weight * (1.0 - share)) for knot, weight in self._whole(below)),
            *((knot, weight * share) for knot, weight in self._whole(below + 1)),
        )

    def across_step(self, size: float) -> Weights:
        """Weights of the secant across the step that a size is on: what it costs, per entry."""
        period = self.steps.period
        end = max(self.steps.end(size), period)
        if period == 1:
            return difference(weights_at(self.knots, end), weights_at(self.knots, end - 1), 1.0)
        return difference(self._whole(end), self._whole(end - period), 1.0 / period)

    def _whole(self, size: int) -> Weights:
        if size == 0:
            return ()
        stands_for = self.steps.representative(size)
        lane = self.lanes.get(self.steps.lane(stands_for))
        if (
            lane is None
        ):  # the class was not measured here: as much as the end of the step, on the line through all ends
            stands_for = self.steps.end(size)
            lane = self._ends
        indices, knots = lane
        return tuple((indices[knot], weight) for knot, weight in weights_at(knots, stands_for))


@dataclass(frozen=True)
class Surface:
    """The time of one signature, multilinear between sizes of one class.

    Args:
        names: Names of the sizes.
        scales: Knots and steps along each size.
        grid: Times at the knots.
        from_zero: Sizes below the first knot lie on the line to zero, as the paper's table has it (T(0) = 0).
    """

    names: tuple[str, ...]
    scales: tuple[Scale, ...]
    grid: Grid
    from_zero: bool = False

    def outside(self, sizes: Sequence[float]) -> tuple[str, float, int, int] | None:
        """The first size that was not measured: its name, value, and the measured range; None where all were."""
        for name, size, scale in zip(self.names, sizes, self.scales, strict=True):
            knots = scale.knots
            smallest = 0 if self.from_zero or knots[0] <= scale.steps.period else int(knots[0])
            if not smallest * (1 - _SLACK) <= size <= knots[-1] * (1 + _SLACK) and size != 0:
                return name, size, max(smallest, 1), int(knots[-1])
        return None

    def seconds(self, sizes: Sequence[float]) -> float:
        """The time at these sizes, in the order of ``names``."""
        return self.grid.combine(self._weights(sizes))

    def slopes(self, sizes: Sequence[float]) -> list[float]:
        """Seconds per entry of each size: the secant across the step the size is on.

        The staircase itself has slope zero nearly everywhere; the secant is what a whole step costs, per entry of it.
        """
        here = self._weights(sizes)
        return [
            self.grid.combine([*here[:axis], scale.across_step(size), *here[axis + 1 :]])
            for axis, (scale, size) in enumerate(zip(self.scales, sizes, strict=True))
        ]

    def _weights(self, sizes: Sequence[float]) -> list[Weights]:
        return [scale.weights(size) for scale, size in zip(self.scales, sizes, strict=True)]


def build_surface(
    signature: Signature, rows: Sequence[Row], steps: Mapping[str, Steps], form: Form, cold_share: float = 0.0
) -> Surface:
    """The surface through the rows of one signature.

    The grid stands on the sizes that stand for a class; other rows are checks.

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
    along = _steps_along([steps.get(name, LINE) if form == "staircase" else LINE for name in names], list(seconds))
    standing = [point for point in seconds if _stands_for_itself(point, along)]
    knots = complete_grid(standing)
    scales = tuple(
        Scale(tuple(map(float, axis)), _usable(of_size, axis)) for axis, of_size in zip(knots, along, strict=True)
    )
    grid = Grid(tuple(scale.knots for scale in scales), tuple(seconds[point] for point in product(*knots)))
    return Surface(names, scales, grid, from_zero=form == "bilinear")


def _steps_along(steps: Sequence[Steps], points: Sequence[tuple[int, ...]]) -> list[Steps]:
    """The steps, but none where a size never moves (an image's channels, the classes) or no point is on their grid."""
    measured = [{point[axis] for point in points} for axis in range(len(steps))]
    along = [
        LINE if len(sizes) == 1 and next(iter(sizes)) % of_size.period else of_size
        for sizes, of_size in zip(measured, steps, strict=True)
    ]
    return along if any(_stands_for_itself(point, along) for point in points) else [LINE] * len(steps)


def _stands_for_itself(point: Sequence[int], along: Sequence[Steps]) -> bool:
    return all(of_size.representative(size) == size for size, of_size in zip(point, along, strict=True))


def _usable(steps: Steps, knots: Sequence[int]) -> Steps:
    """The steps, if the ends of steps were measured at all."""
    return steps if any(knot % steps.period == 0 for knot in knots) else LINE
