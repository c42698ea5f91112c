"""The phases of AC/DC on steps: dense and sparse ones take turns, and the run ends sparse."""

from dataclasses import dataclass
from itertools import pairwise

from nasc.errors import UsageError


@dataclass(frozen=True)
class Phase:
    """A stretch of the run.

    Args:
        sparse: Masks hold (compression); otherwise all weights train (decompression).
        start: First step.
        end: First step after it.
    """

    sparse: bool
    start: int
    end: int


@dataclass(frozen=True)
class PhasePlan:
    """How a run is cut into phases; all lengths are fractions of the run.

    The defaults are those of the 100-epoch preset (10 dense, then sparse and dense by turns of 5, the last dense phase 10
    and the last sparse one 15 epochs long): D10 (S5 D5)x6 S5 D10 S15.

    Args:
        warmup: Length of the first dense phase.
        phase: Wished length of each phase in the middle; they are made equal, and their number odd.
        last_dense: Length of the last dense phase.
        last_sparse: Length of the last sparse phase.
    """

    warmup: float = 0.10
    phase: float = 0.05
    last_dense: float = 0.10
    last_sparse: float = 0.15

    def __post_init__(self) -> None:
        lengths = (self.warmup, self.phase, self.last_dense, self.last_sparse)
        if min(lengths) < 0 or self.phase == 0 or self.last_sparse == 0 or sum(lengths) > 1 + 1e-9:
            raise UsageError(
                "expected a positive phase, a positive last sparse phase, and lengths that fit into one run; got "
                f"warmup {self.warmup}, phase {self.phase}, last_dense {self.last_dense}, last_sparse {self.last_sparse}",
                "give them as fractions of the run",
            )

    def stretched(self, factor: float) -> "PhasePlan":
        """The plan of a run ``factor`` times as long: more phases, not longer ones; the warm-up keeps its share.

        Args:
            factor: At least one.
        """
        if factor < 1:
            raise UsageError(f"expected a stretch of at least 1, got {factor}", "such as --option stretch=2.5")
        return PhasePlan(self.warmup, self.phase / factor, self.last_dense / factor, self.last_sparse / factor)

    def phases(self, total_steps: int) -> tuple[Phase, ...]:
        """The phases of a run, each at least a step long; empty ones are left out.

        Args:
            total_steps: Of the whole run.

        Raises:
            UsageError: The run is too short to have a sparse phase.
        """
        if total_steps < 2:
            raise UsageError(f"expected a run of at least 2 steps, got {total_steps}", "train for more epochs")
        last = min(total_steps - 1, round((1 - self.last_sparse) * total_steps))
        first = min(last, max(self.warmup > 0, round(self.warmup * total_steps)))
        middle_end = min(last, max(first, round((1 - self.last_sparse - self.last_dense) * total_steps)))
        count = _odd((middle_end - first) / (self.phase * total_steps), middle_end - first)
        edges = (
            [first + round(index * (middle_end - first) / count) for index in range(count + 1)] if count else [first]
        )
        # Dense until the first edge, then by turns; the last edge begins the last dense phase.
        bounds = [0, *edges, last, total_steps]
        kinds = [False, *(index % 2 == 0 for index in range(count)), False, True]
        phases = [Phase(sparse, *span) for sparse, span in zip(kinds, pairwise(bounds), strict=True)]
        return _joined([phase for phase in phases if phase.end > phase.start])


def _odd(wished: float, most: int) -> int:
    """The odd number nearest to a wish, at most ``most``; zero where there is no room for one."""
    if most < 1:
        return 0
    count = max(1, 2 * round((wished - 1) / 2) + 1)
    while count > most:
        count -= 2
    return max(count, 1)


def _joined(phases: list[Phase]) -> tuple[Phase, ...]:
    """Neighbours of one kind as one phase."""
    result: list[Phase] = []
    for phase in phases:
        if result and result[-1].sparse == phase.sparse:
            result[-1] = Phase(phase.sparse, result[-1].start, phase.end)
        else:
            result.append(phase)
    return tuple(result)
