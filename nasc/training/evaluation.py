"""How good a model is, and batch-norm statistics made anew."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasc.models.modes import evaluation_mode
from nasc.training.precision import to_model_format

_BATCH = 500


@dataclass(frozen=True)
class Accuracy:
    """A share of correct answers, with the counts it comes from.

    >>> Accuracy(correct=90, total=100).value
    0.9
    """

    correct: int
    total: int

    @property
    def value(self) -> float:
        """Correct answers as a share, 0 to 1."""
        return self.correct / self.total

    @property
    def stderr(self) -> float:
        """The binomial standard error of :attr:`value`, of the drawing of the pictures alone."""
        return math.sqrt(self.value * (1.0 - self.value) / self.total)


@torch.no_grad()
def evaluate(model: nn.Module, x: Tensor, y: Tensor, *, batch_size: int = _BATCH) -> Accuracy:
    """Count correct answers, in full precision and evaluation mode.

    Args:
        model: Gives scores ``(batch, classes)``; its training mode is put back afterwards.
        x: float ``(count, channels, height, width)``, on any device.
        y: int64 ``(count,)``.
        batch_size: Pictures at once; the result does not depend on it but for rounding.
    """
    device, correct = _device_of(model), 0
    with evaluation_mode(model):
        for pictures, labels in zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True):
            scores = model(to_model_format(pictures.to(device)))
            correct += int((scores.argmax(1) == labels.to(device)).sum())
    return Accuracy(correct, len(y))


@torch.no_grad()
def recalibrate_norms(model: nn.Module, x: Tensor, *, batch_size: int = 128, batches: int = 50) -> None:
    """Make the running statistics of every batch norm anew, as the mean over batches.

    Running averages lag behind weights that changed at once; a mean over fixed weights does not ("precise" batch norm,
    Wu and Johnson, arXiv 2105.07576, section 3).

    Args:
        model: Changed in place: running means and variances only.
        x: Training pictures, without augmentation; the first ``batches * batch_size`` are used.
        batch_size: Pictures a batch.
        batches: At most so many batches.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluation_mode(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative mean
            norm.train()
        try:
            for pictures in torch.split(x[: batches * batch_size], batch_size):
                model(to_model_format(pictures.to(_device_of(model))))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


def _device_of(model: nn.Module) -> torch.device:
    tensor = next(model.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device
