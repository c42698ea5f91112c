"""Linear mode connectivity: the loss along the straight line between two networks of one shape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from nasc.errors import UsageError

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Path:
    """Losses along a segment.

    Args:
        places: From 0 to 1.
        losses: The loss at each.
    """

    places: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def barrier(self) -> float:
        """How far the loss rises above the higher end: ``max_t L - max(L_0, L_1)``, never below zero."""
        return max(self.losses) - max(self.losses[0], self.losses[-1])

    @property
    def barrier_over_chord(self) -> float:
        """How far the loss rises above the straight line between the ends' losses."""
        first, last = self.losses[0], self.losses[-1]
        return max(
            loss - ((1 - place) * first + place * last) for place, loss in zip(self.places, self.losses, strict=True)
        )


def interpolate(first: State, last: State, place: float) -> dict[str, Tensor]:
    """``(1 - t) first + t last``; the ends are given as they are. What is no number to average is the first's.

    Networks with different masks meet in the union of what they keep.

    Raises:
        UsageError: The two have not the same tensors.
    """
    if {name: tensor.shape for name, tensor in first.items()} != {name: tensor.shape for name, tensor in last.items()}:
        raise UsageError("expected two networks of one shape", "compare runs whose widths are the same")
    if place in (0, 1):
        return dict(last if place else first)
    return {
        name: tensor + place * (last[name] - tensor) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


def walk(first: State, last: State, loss: Callable[[dict[str, Tensor]], float], *, points: int = 11) -> Path:
    """The loss at evenly spaced points of a segment.

    Args:
        first: State at 0.
        last: State at 1.
        loss: Of a state; where a network has batch norms it should make their statistics anew.
        points: At least 2.
    """
    if points < 2:
        raise UsageError(f"expected at least 2 points, got {points}")
    places: Sequence[float] = [index / (points - 1) for index in range(points)]
    return Path(tuple(places), tuple(loss(interpolate(first, last, place)) for place in places))
