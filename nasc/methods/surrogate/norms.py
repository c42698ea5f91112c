"""R(a) = sqrt(d) |a|_1 / |a|_2, the smooth stand-in for the number of survivors (arXiv 2306.05785, section 3).

For a mask a >= 0 over d entries:

* R = d at every constant mask, and R(c a) = R(a) for c > 0: neither a norm layer nor a rescaled weight can absorb it.
* sqrt(d) <= R(a) <= sqrt(d |a|_0) <= d. On a 0/1 mask with k ones R = sqrt(d k), not k: recount for the truth.
* dR/da_j = sqrt(d)/|a|_2 (1 - a_j |a|_1 / |a|_2^2): entries below |a|_2^2 / |a|_1 are pushed down, those above up;
  the gradient is orthogonal to a, and zero at every constant mask.

The ``"exact"`` form R^2 / d = |a|_1^2 / |a|_2^2 counts a 0/1 mask exactly; it is an option, not the paper's.
"""

from typing import Literal

import torch
from torch import Tensor

from nasc.methods._masks import Layout

Form = Literal["paper", "exact"]


def surrogate_size(mask: Tensor) -> Tensor:
    """R of one mask, differentiable by autograd.

    >>> surrogate_size(torch.tensor([1.0, 1.0, 1.0, 1.0]))
    tensor(4.)

    Args:
        mask: Shape (d,), not all zero. Negative entries count by their sum, as in the paper; see
            :func:`surrogate_size_absolute` for masks that are not projected.
    """
    size: Tensor = mask.sum() / torch.linalg.vector_norm(mask) * mask.numel() ** 0.5
    return size


def surrogate_size_absolute(mask: Tensor) -> Tensor:
    """R with |a_j| in the sum: bounded below when masks may turn negative (no projection)."""
    size: Tensor = mask.abs().sum() / torch.linalg.vector_norm(mask) * mask.numel() ** 0.5
    return size


def effective_size(mask: Tensor) -> Tensor:
    """R^2 / d = |a|_1^2 / |a|_2^2: the number of ones of a 0/1 mask, exactly."""
    return mask.sum() ** 2 / mask.square().sum()


def sizes_and_gradient(layout: Layout, flat: Tensor, form: Form = "paper") -> tuple[Tensor, Tensor]:
    """The surrogate size of every dim, and its gradient by every entry, in closed form.

    Args:
        layout: Where each dim lies.
        flat: All masks, shape (entries,).
        form: ``"paper"`` for R, ``"exact"`` for R^2 / d.

    Returns:
        Sizes of shape (dims,), and d size(dim of j) / d a_j of shape (entries,).
    """
    width = flat.new_tensor(layout.sizes)
    total = layout.total(flat)
    square = layout.total(flat.square())
    ratio = layout.spread(total / square)
    if form == "exact":
        return total.square() / square, 2 * ratio * (1 - flat * ratio)
    norm = square.sqrt()
    return width.sqrt() * total / norm, layout.spread(width.sqrt() / norm) * (1 - flat * ratio)


def renormalise(layout: Layout, flat: Tensor) -> tuple[Tensor, Tensor]:
    """Masks rescaled to norm sqrt(d) per dim, and the factor each dim was divided by.

    R does not see the scale, and its gradient is orthogonal to a, so |a| only grows and the steps shrink as 1/|a|^2.
    Multiplying the readers' weights by the factor leaves the network's function unchanged.

    Returns:
        Masks of shape (entries,), and the factor |a| / sqrt(d) of shape (dims,).
    """
    factor = (layout.total(flat.square()) / flat.new_tensor(layout.sizes)).sqrt()
    return flat / layout.spread(factor), factor
