"""What a schedule acts on, and the contract of a schedule."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from nasc.methods.sparse_training.ranking import Kept, Ranking, Rule
from nasc.methods.sparse_training.realise import Aim
from nasc.methods.sparse_training.weights import MaskedWeights


class Sparsity:
    """The masks of a run: which groups of weights stay, and the aim they are chosen for.

    Args:
        rule: What is pruned together, and how a sparsity is shared.
        weights: The parameters.
        aim: The final sparsity, or the price that finds it.
        total_steps: Of the whole run.
        seed: Of what is drawn at random.
    """

    def __init__(self, rule: Rule, weights: MaskedWeights, aim: Aim, total_steps: int, seed: int) -> None:
        self.rule, self.weights, self.aim = rule, weights, aim
        self.total_steps, self.seed = total_steps, seed
        self.kept: Kept = rule.all_kept()
        self.previous: Kept | None = None
        """The masks of the sparse stretch before this one."""

    def rank(self, *, only_alive: bool = False) -> Ranking:
        """The groups by the magnitude of the weights as they stand.

        Args:
            only_alive: Groups that were dropped stay behind all others.
        """
        alive = self.kept if only_alive else None
        return self.rule.rank(self.rule.scores(self.weights.values()), alive)

    def assign(self, kept: Kept) -> None:
        """New masks, applied at once."""
        self.kept = kept
        self.weights.assign(self.rule.masks(kept))

    def remember(self) -> None:
        """These masks are the ones the next are compared with."""
        self.previous = self.kept

    @property
    def density(self) -> float:
        """Share of the groups that stay."""
        return float(sum(int(kept.sum()) for kept in self.kept)) / sum(kept.numel() for kept in self.kept)

    def generator(self, step: int) -> torch.Generator:
        """Random numbers of a step: they depend on the seed and the step alone."""
        return torch.Generator().manual_seed((self.seed << 32) + step)


class Schedule(Protocol):
    """When masks change, and how."""

    def begin(self, sparsity: Sparsity) -> None:
        """Before the first step."""
        ...

    def wants_dense_gradient(self, step: int) -> bool:
        """Whether the step after ``step`` steps computes the gradient of masked weights too, and moves nothing."""
        ...

    def act(self, sparsity: Sparsity, step: int) -> None:
        """After ``step`` steps of the optimiser."""
        ...

    def is_final(self, step: int) -> bool:
        """Masks change no more."""
        ...

    def is_sparse(self, step: int) -> bool:
        """Masks hold after ``step`` steps; otherwise the network is dense on purpose."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """Further numbers to log."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the schedule remembers beside the masks."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        ...


def intersection_over_union(left: Kept, right: Kept) -> float:
    """``|A and B| / |A or B|`` of two masks (arXiv 2308.02060): 1 for equal ones, 0 for disjoint ones."""
    both = sum(int((a & b).sum()) for a, b in zip(left, right, strict=True))
    either = sum(int((a | b).sum()) for a, b in zip(left, right, strict=True))
    return both / either if either else 1.0


def pack(kept: Kept) -> list[Tensor]:
    """Masks as a list of tensors, for a checkpoint."""
    return [flags.clone() for flags in kept]


def unpack(tensors: list[Tensor]) -> Kept:
    """The inverse of :func:`pack`."""
    return tuple(tensor.bool() for tensor in tensors)
