"""Which pictures go where: deterministic, class by class."""

import torch
from torch import Tensor

from nasc.errors import DataError

_HOLD_OUT_SEED = 20230609


def hold_out(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Split indices into the training part and ``count`` held-out ones, class-balanced.

    The split depends on the labels alone, never on a run's seed: every run of every seed is validated on the same
    pictures. A smaller ``count`` holds out a subset of what a larger one does.

    Args:
        labels: int64 ``(n,)``.
        count: How many to hold out, fewer than ``n``.

    Returns:
        Sorted indices of the training part and of the held-out part.
    """
    order = _interleaved(labels, _HOLD_OUT_SEED)
    return order[count:].sort().values, order[:count].sort().values


def balanced_subset(labels: Tensor, count: int, seed: int, *, name: str = "the data set") -> Tensor:
    """``count`` indices with as equal class counts as there are pictures for, drawn by ``seed``.

    Args:
        labels: int64 ``(n,)``.
        count: At least 1, at most ``n``.
        seed: Which pictures; the same seed gives nested subsets for growing counts.
        name: Of the data set, for the message.

    Returns:
        Sorted int64 indices ``(count,)``.

    Raises:
        DataError: ``count`` is not between 1 and ``n``.
    """
    if not 1 <= count <= len(labels):
        raise DataError(
            f"expected a training size between 1 and {len(labels)} for {name}, got {count}", "ask for fewer pictures"
        )
    return _interleaved(labels, seed)[:count].sort().values


def _interleaved(labels: Tensor, seed: int) -> Tensor:
    """All indices, ordered so that every prefix is class-balanced: each class shuffled, then one of each in turn."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    rank = torch.empty_like(shuffled)
    for label in sorted(set(labels.tolist())):
        members = shuffled[labels[shuffled] == label]
        rank[members] = torch.arange(len(members))
    by_class = torch.argsort(labels[shuffled], stable=True)
    order = shuffled[by_class]
    return order[torch.argsort(rank[order], stable=True)]
