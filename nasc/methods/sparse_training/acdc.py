"""AC/DC (arXiv 2106.12379) and AC/DC++ (arXiv 2308.02060): compressed and decompressed phases take turns in one run.

At the start of a sparse phase all weights compete for the masks, those that were pruned before as well; at the start of
a dense phase every weight trains again, the pruned ones from zero, and the optimiser's momentum is cleared. The learning
rate's schedule knows nothing of the phases.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nasc.errors import UsageError
from nasc.methods.sparse_training.phases import Phase, PhasePlan
from nasc.methods.sparse_training.ranking import Kept
from nasc.methods.sparse_training.state import Sparsity, intersection_over_union, pack, unpack


class AcDc:
    """The schedule of AC/DC.

    Args:
        plan: The lengths of the phases.
        total_steps: Of the whole run.
        model: Whose state is kept as the dense twin.
        rising: Share of the way to the target that the first sparse phase leaves undone; it falls in a straight line, and
            the last two sparse phases are at the target (against layers that collapse at very high sparsity).
        open_sparsity: Sparsity of the dense phases (sparse decompression); zero is plain AC/DC. The weights that open are
            those next in the ranking that made the masks.
        reset_momentum: Clear what the optimiser remembers at each decompression.
        keep_twin: Keep the model of the end of the last dense phase.
    """

    def __init__(
        self,
        plan: PhasePlan,
        total_steps: int,
        model: nn.Module,
        *,
        rising: bool = False,
        open_sparsity: float = 0.0,
        reset_momentum: bool = True,
        keep_twin: bool = False,
    ) -> None:
        if not 0 <= open_sparsity < 1:
            raise UsageError(f"expected a sparsity of dense phases from 0 to below 1, got {open_sparsity}")
        self.phases = plan.phases(total_steps)
        self.rising, self.open_sparsity = rising, open_sparsity
        self.reset_momentum, self.keep_twin = reset_momentum, keep_twin
        self.twin: dict[str, Tensor] | None = None
        self._model = (model,)
        self._starts = {phase.start: phase for phase in self.phases}
        self._opened: Kept | None = None
        self._iou: float | None = None
        self._zeros: float | None = None

    def begin(self, sparsity: Sparsity) -> None:
        """Nothing, unless the run begins with a sparse phase."""
        self.act(sparsity, 0)

    def wants_dense_gradient(self, step: int) -> bool:
        """Never."""
        return False

    def act(self, sparsity: Sparsity, step: int) -> None:
        """Compress or decompress where a phase begins."""
        phase = self._starts.get(step)
        if phase is None:
            return
        if phase.sparse:
            self._compress(sparsity, phase)
        elif step:
            self._decompress(sparsity)

    def _compress(self, sparsity: Sparsity, phase: Phase) -> None:
        self._zeros = sparsity.weights.zeros() / sparsity.weights.count()
        if self.keep_twin and phase is self.phases[-1]:
            self.twin = {name: tensor.detach().clone() for name, tensor in self._model[0].state_dict().items()}
        ranking = sparsity.rank()
        wanted = sparsity.aim.sparsity(ranking, self._left(phase))
        self._opened = ranking.kept(min(self.open_sparsity, wanted))
        sparsity.assign(ranking.kept(wanted))
        self._iou = intersection_over_union(sparsity.previous, sparsity.kept) if sparsity.previous is not None else None
        sparsity.remember()

    def _decompress(self, sparsity: Sparsity) -> None:
        if self.open_sparsity and self._opened is not None:
            sparsity.assign(self._opened)
        else:
            sparsity.assign(sparsity.rule.all_kept())
        if self.reset_momentum:
            sparsity.weights.reset_momentum()

    def _left(self, phase: Phase) -> float:
        """How much of the way to the target a sparse phase leaves."""
        sparse = [each for each in self.phases if each.sparse]
        if not self.rising or len(sparse) < 3:
            return 0.0
        return max(0.0, 1 - sparse.index(phase) / (len(sparse) - 2))

    def is_final(self, step: int) -> bool:
        """The last sparse phase has begun."""
        return step >= self.phases[-1].start

    def is_sparse(self, step: int) -> bool:
        """Whether a step after ``step`` steps belongs to a sparse phase."""
        return any(phase.sparse and phase.start <= step < phase.end for phase in self.phases) or self.is_final(step)

    def metrics(self) -> Mapping[str, float]:
        """Overlap of the last two masks, and the zeros at the end of the last dense phase, once there are such."""
        figures = {"iou": self._iou, "decompression_zeros": self._zeros}
        return {name: value for name, value in figures.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        """The masks of the next dense phase, the twin, and the last figures."""
        return {
            "opened": None if self._opened is None else pack(self._opened),
            "twin": self.twin,
            "iou": self._iou,
            "zeros": self._zeros,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self._opened = None if state["opened"] is None else unpack(state["opened"])
        self.twin, self._iou, self._zeros = state["twin"], state["iou"], state["zeros"]


def twin_model(schedule: AcDc, model: nn.Module) -> nn.Module:
    """The dense twin in a module: ``model`` with the state of the end of the last dense phase, changed in place.

    Raises:
        UsageError: No twin was kept.
    """
    if schedule.twin is None:
        raise UsageError("this run kept no dense twin", "train with --option keep-twin=true")
    with torch.no_grad():
        model.load_state_dict(schedule.twin)
    return model
