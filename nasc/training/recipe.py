"""How a network is trained: one frozen value, and what follows from it for an optimiser."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from nasc.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """A training recipe; the defaults are fit for small pictures and few epochs.

    Args:
        epochs: Passes over the training pictures.
        batch_size: Pictures a step; the last, smaller batch of an epoch is left out.
        optimizer: ``"sgd"`` is SGD with Nesterov momentum, ``"adamw"`` is AdamW (arXiv 1711.05101).
        learning_rate: The highest one.
        momentum: Of SGD.
        weight_decay: On matrices and kernels; never on biases, norms and other vectors.
        label_smoothing: Share of the target spread over all classes (arXiv 1512.00567).
        warmup: Share of all steps in which the learning rate rises from zero in a straight line.
        decay: How it falls to zero after that: ``"cosine"`` (arXiv 1608.03983) or ``"linear"``.
        augment: Whether the data set's augmentation is applied.
        clip_norm: Upper bound of the gradient's l2 norm; none when 0.
        seed: Of the order of the pictures, of augmentation and of dropout.
        precision: ``"fp32"``, ``"bf16"`` (autocast), or ``"auto"``: see :func:`nasc.training.precision.resolve`.
        device: ``"auto"`` (the first accelerator, or the CPU) or a torch device.
    """

    epochs: int = 15
    batch_size: int = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    warmup: float = 0.15
    decay: Literal["cosine", "linear"] = "cosine"
    augment: bool = True
    clip_norm: float = 0.0
    seed: int = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        _expect(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _expect(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        _expect(self.optimizer in ("sgd", "adamw"), "optimizer", "sgd or adamw", self.optimizer)
        _expect(0 < self.learning_rate < math.inf, "learning_rate", "a positive number", self.learning_rate)
        _expect(0 <= self.momentum < 1, "momentum", "from 0 to below 1", self.momentum)
        _expect(self.weight_decay >= 0, "weight_decay", "at least 0", self.weight_decay)
        _expect(0 <= self.label_smoothing < 1, "label_smoothing", "from 0 to below 1", self.label_smoothing)
        _expect(0 <= self.warmup < 1, "warmup", "from 0 to below 1", self.warmup)
        _expect(self.decay in ("cosine", "linear"), "decay", "cosine or linear", self.decay)
        _expect(self.clip_norm >= 0, "clip_norm", "at least 0", self.clip_norm)
        _expect(self.precision in ("auto", "bf16", "fp32"), "precision", "auto, bf16 or fp32", self.precision)

    def stretched(self, factor: float) -> "Recipe":
        """The recipe of a run ``factor`` times as long; warm-up and decay keep their shares of it.

        >>> Recipe(epochs=4).stretched(2.5).epochs
        10

        Args:
            factor: Above zero; the number of epochs is rounded, to at least one.
        """
        _expect(factor > 0, "stretch", "above 0", factor)
        return replace(self, epochs=max(1, round(self.epochs * factor)))

    def steps_per_epoch(self, pictures: int) -> int:
        """How many steps an epoch over ``pictures`` pictures takes; a set smaller than a batch is one batch."""
        return max(1, pictures // self.batch_size)

    def learning_rate_at(self, step: int, total_steps: int) -> float:
        """The learning rate of a step: a straight rise, then a fall that would reach zero after the last step.

        >>> recipe = Recipe(learning_rate=1.0, warmup=0.5, decay="linear")
        >>> [recipe.learning_rate_at(step, 4) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]

        Args:
            step: From 0.
            total_steps: Of the whole recipe, also when training starts later than step 0.
        """
        rising = int(self.warmup * total_steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        gone = (step - rising) / (total_steps - rising)
        share = 1.0 - gone if self.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * gone))
        return self.learning_rate * share


@dataclass(frozen=True)
class RewoundRecipe(Recipe):
    """A recipe whose learning rate falls to zero in a straight line in every stretch, and starts anew in the next.

    >>> recipe = RewoundRecipe(learning_rate=1.0, rewinds=2)
    >>> [recipe.learning_rate_at(step, 8) for step in range(8)]
    [1.0, 0.75, 0.5, 0.25, 1.0, 0.75, 0.5, 0.25]

    Args:
        rewinds: Stretches of the run; as many as epochs for gradual unfreezing (arXiv 2308.02060, section 5).
    """

    rewinds: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect(self.rewinds >= 1, "rewinds", "at least 1", self.rewinds)

    def learning_rate_at(self, step: int, total_steps: int) -> float:
        """The learning rate of a step; there is no warm-up.

        Args:
            step: From 0.
            total_steps: Of the whole recipe.
        """
        stretch = max(1, total_steps // self.rewinds)
        return self.learning_rate * (1 - step % stretch / stretch)


def build_optimizer(recipe: Recipe, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The recipe's optimiser.

    Args:
        recipe: The recipe.
        parameters: What it updates; those with fewer than two axes are not decayed.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
    )


def build_criterion(recipe: Recipe) -> nn.Module:
    """The recipe's loss: cross entropy with label smoothing, of ``(batch, classes)`` scores and int64 labels."""
    return nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)


def _expect(holds: bool, field: str, expected: str, got: object) -> None:
    if not holds:
        raise UsageError(f"expected {field} to be {expected}, got {got!r}", f"change {field} of the recipe")
