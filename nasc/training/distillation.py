"""Learning from a teacher's scores beside the labels (Hinton et al., arXiv 1503.02531)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasc.errors import UsageError


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained model whose scores a smaller one should match.

    Args:
        model: Gives scores ``(batch, classes)``; put into evaluation mode and not trained.
        weight: Share of the loss that comes from the teacher, above 0, at most 1.
        temperature: Scores are divided by it on both sides; the term is multiplied by its square, so that its gradient
            keeps its size (section 2 of the paper).
    """

    model: nn.Module
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise UsageError(f"expected the teacher's share of the loss above 0 and at most 1; got {self.weight:g}")
        if self.temperature <= 0:
            raise UsageError(f"expected a temperature above 0; got {self.temperature:g}")
        self.model.eval()

    def mix(self, loss: Tensor, scores: Tensor, x: Tensor) -> Tensor:
        """``(1 - w) loss + w T^2 KL(teacher / T || scores / T)``, a mean over the batch.

        Args:
            loss: Of the labels, a scalar.
            scores: Of the student, shape (batch, classes).
            x: What both are given.
        """
        with torch.no_grad():
            wanted = (self.model(x).float() / self.temperature).log_softmax(1)
        got = (scores / self.temperature).log_softmax(1)
        divergence = nn.functional.kl_div(got, wanted, reduction="batchmean", log_target=True)
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * divergence
