"""What a model's outputs say about its training: entropy, loss, uncertainty (arXiv 2308.02060, section 3)."""

import torch
from torch import Tensor, nn

from nasc.models.modes import evaluation_mode

BATCH = 500


@torch.no_grad()
def scores_of(model: nn.Module, x: Tensor, *, batch_size: int = BATCH) -> Tensor:
    """Scores of all pictures in evaluation mode, float32 (count, classes), on the CPU; the model is left as it was."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with evaluation_mode(model):
        return torch.cat([model(part.to(device)).float().cpu() for part in torch.split(x, batch_size)])


def prediction_entropy(scores: Tensor) -> float:
    """Mean of ``-sum p log p`` in nats, ``p = softmax(scores)``; scores of shape (count, classes)."""
    logs = torch.log_softmax(scores.double(), dim=1)
    return float(-(logs.exp() * logs).sum(1).mean())


def cross_entropy(scores: Tensor, labels: Tensor) -> float:
    """Mean cross entropy in nats, without smoothing; labels int64 (count,)."""
    return float(nn.functional.cross_entropy(scores.double(), labels))


def uncertainty(scores: Tensor, low: float = 0.1, high: float = 0.9) -> float:
    """Share of ``sigmoid(scores)`` strictly between two bounds: outputs of a multi-label model that are undecided."""
    shares = torch.sigmoid(scores.double())
    return float(((shares > low) & (shares < high)).double().mean())


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of right answers, 0 to 1."""
    return float((scores.argmax(1) == labels).double().mean())
