"""Removing groups of input columns from a linear layer with the least change of its output (optimal brain surgeon).

For ``|W X - W' X|^2`` with H = X X^T the removal of the columns M costs ``tr(W_M (H^-1_MM)^-1 W_M^T)`` and is made up for by
``W <- W - W_M (H^-1_MM)^-1 H^-1_M,:`` (ZipLM, Kurtic et al., arXiv 2302.04089, eqs. 2 and 3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

DAMPING = 1e-2
"""Share of the mean diagonal of H that is added to it."""


@dataclass(frozen=True)
class Removal:
    """The order in which groups go, and what going costs.

    Args:
        order: Groups, the first to go first.
        errors: Squared error of the output that each adds, in that order.
        weights: The weight after so many removals, by count; only those asked for.
    """

    order: tuple[int, ...]
    errors: tuple[float, ...]
    weights: dict[int, Tensor]


def remove_groups(
    weight: Tensor, gram: Tensor, groups: Tensor, alive: Tensor, stops: set[int] | None = None
) -> Removal:
    """Remove groups one by one, each time the one that costs least, the others making up for it.

    Args:
        weight: Shape (out, in), float64 on the CPU.
        gram: ``X X^T`` over calibration inputs, shape (in, in).
        groups: Group of every column, shape (in,), int64.
        alive: Which groups are there, shape (groups,), bool; columns of the others are zero.
        stops: Counts of removals after which the weight is wanted.

    Returns:
        The order over the living groups, all but the last of them.
    """
    weight = weight.clone()
    there = alive[groups]
    matrix = gram + DAMPING * gram.diagonal()[there].mean() * torch.eye(len(gram), dtype=gram.dtype)
    matrix[~there] = 0
    matrix[:, ~there] = 0
    matrix.diagonal()[~there] = 1
    inverse = torch.linalg.inv(matrix)
    left = [int(group) for group in torch.nonzero(alive).flatten()]
    columns = {group: torch.nonzero(groups == group).flatten() for group in left}
    order, errors, weights = [], [], {}
    if stops and 0 in stops:
        weights[0] = weight.clone()
    while len(left) > 1:
        costs = _costs(weight, inverse, columns, left)
        place = int(costs.argmin())
        group = left.pop(place)
        taken = columns[group]
        block = torch.linalg.inv(inverse[taken][:, taken])
        weight -= weight[:, taken] @ block @ inverse[taken]
        inverse = inverse - inverse[:, taken] @ block @ inverse[taken]
        weight[:, taken] = 0
        order.append(group)
        errors.append(max(float(costs[place]), 0.0))
        if stops and len(order) in stops:
            weights[len(order)] = weight.clone()
    return Removal(tuple(order), tuple(errors), weights)


def _costs(weight: Tensor, inverse: Tensor, columns: dict[int, Tensor], left: list[int]) -> Tensor:
    """``tr(W_M (H^-1_MM)^-1 W_M^T)`` of every group that is left, shape (left,)."""
    if all(len(columns[group]) == 1 for group in left):
        places = torch.cat([columns[group] for group in left])
        return weight[:, places].square().sum(0) / inverse.diagonal()[places]
    costs = []
    for group in left:
        taken = columns[group]
        block = torch.linalg.inv(inverse[taken][:, taken])
        costs.append((weight[:, taken] @ block * weight[:, taken]).sum())
    return torch.stack(costs)
