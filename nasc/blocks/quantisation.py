"""Weights on uniform grids of 2, 4, 8 and 16 bits that lie inside one another, and the gates that choose among them.

``s_b = 2 c / (2^b - 1)`` with ``c = max |W|``; since 2^4 - 1 = 5 (2^2 - 1), 2^8 - 1 = 17 (2^4 - 1) and 2^16 - 1 =
257 (2^8 - 1), every grid is part of the next finer one, so a residual ``D_2b = Q_2b - Q_b`` is itself a b-bit number
(nested residuals as in Bayesian Bits, van Baalen et al., arXiv 2005.07093). A layer's weight is then
``Q2 + g4 (D4 + g8 (D8 + g16 D16))`` with gates that fall to zero from the finest down.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

BITS = (2, 4, 8, 16)
"""Widths of the grids, coarsest first."""

COSTS = (2, 2, 4, 8)
"""Bits that the base and each gate add."""


def grid_step(scale: Tensor, bits: int) -> Tensor:
    """The distance of two neighbours of the grid on [-scale, scale] with 2^bits points."""
    step: Tensor = 2 * scale / (2**bits - 1)
    return step


def largest(weight: Tensor, *, per_channel: bool = False) -> Tensor:
    """``c``: the largest magnitude, of the whole weight (0-d) or of every row (shape (rows, 1, ...)).

    A weight that is zero throughout gets the smallest positive scale, so that its grid exists.
    """
    if not per_channel:
        return weight.detach().abs().max().clamp_min(torch.finfo(weight.dtype).tiny)
    axes = tuple(range(1, weight.dim()))
    return weight.detach().abs().amax(axes, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)


def quantise(weight: Tensor, bits: int, scale: Tensor | None = None) -> Tensor:
    """The nearest points of the grid; at most 2^bits different values, each within half a step inside the range.

    Zero is on none of these grids (they are even in number and symmetric); use :func:`quantise_living` where zeros are
    weights that have gone.

    Args:
        weight: Any shape.
        bits: Width of the grid.
        scale: ``c``, broadcast against the weight; its largest magnitude when not given.
    """
    c = largest(weight) if scale is None else scale
    step = grid_step(c, bits)
    return torch.round((weight.clamp(-c, c) + c) / step) * step - c


def quantise_living(weight: Tensor, bits: int) -> Tensor:
    """The weight on its grid, exact zeros left at zero: they were pruned, and cost no code."""
    return quantise(weight, bits) * (weight != 0).to(weight.dtype)


def residuals(weight: Tensor, scale: Tensor | None = None) -> tuple[Tensor, ...]:
    """``(Q2, D4, D8, D16)``, each a number on a grid: their partial sums are the weight at 2, 4, 8 and 16 bits."""
    c = largest(weight) if scale is None else scale
    levels = [quantise(weight, bits, c) for bits in BITS]
    return (levels[0], *(finer - coarser for coarser, finer in pairwise(levels)))


class _StraightThrough(torch.autograd.Function):
    """The second argument forward, the gradient to the first unchanged."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, value: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        return outputs[0], outputs[0]


def straight_through(weight: Tensor, bits: int, scale: Tensor | None = None) -> Tensor:
    """The weight on its grid, with the gradient of the weight itself (straight-through estimator)."""
    result: Tensor = _StraightThrough.apply(  # type: ignore[no-untyped-call]
        weight, quantise_living(weight.detach(), bits) if scale is None else quantise(weight.detach(), bits, scale)
    )
    return result


def gated_weight(weight: Tensor, gates: Tensor, scale: Tensor | None = None) -> Tensor:
    """``Q2 + g4 (D4 + g8 (D8 + g16 D16))``, differentiable in the gates, straight through to the weight.

    Args:
        weight: Any shape.
        gates: ``(g4, g8, g16)``, shape (3,), not negative.
        scale: ``c``; the largest magnitude when not given.
    """
    base, d4, d8, d16 = residuals(weight.detach(), scale)
    value = base + gates[0] * (d4 + gates[1] * (d8 + gates[2] * d16))
    result: Tensor = _StraightThrough.apply(weight, value)  # type: ignore[no-untyped-call]
    return result


def bits_of_gates(gates: Tensor) -> int:
    """``2 + 2 [g4 > 0] + 4 [g4 g8 > 0] + 8 [g4 g8 g16 > 0]``: 2, 4, 8 or 16.

    >>> bits_of_gates(torch.tensor([1.0, 1.0, 0.0]))
    8
    """
    chain = torch.cumprod((gates > 0).long(), 0).tolist()
    return COSTS[0] + sum(int(cost * open_) for cost, open_ in zip(COSTS[1:], chain, strict=True))


def gates_of_bits(bits: int) -> Tensor:
    """The chain of ones and zeros that stands for a width, shape (3,)."""
    return torch.tensor([float(bits >= width) for width in BITS[1:]])


def surrogate_bits(gates: Tensor) -> Tensor:
    """R of the chain ``v = (1, g4, g4 g8, g4 g8 g16)``, each entry repeated as often as it costs bits.

    ``sqrt(sum w) sum(w v) / sqrt(sum(w v^2))`` with w = (2, 2, 4, 8): 16 at ones, ``sqrt(16 bits)`` at any chain of ones
    and zeros. One scalar's ratio of norms is constant, so a single gate could not be moved by R.
    """
    chain = torch.cat([gates.new_ones(1), torch.cumprod(gates, 0)])
    weight = gates.new_tensor(COSTS)
    return weight.sum().sqrt() * (weight * chain).sum() / (weight * chain.square()).sum().sqrt()


def relative_error(weight: Tensor, widths: Sequence[int] = BITS) -> list[float]:
    """``|W - Q_b(W)|^2 / |W|^2`` for every width."""
    energy = weight.detach().square().sum().clamp_min(torch.finfo(weight.dtype).tiny)
    return [float((weight.detach() - quantise(weight.detach(), bits)).square().sum() / energy) for bits in widths]


def weight_codes(weight: Tensor, bits: int) -> tuple[Tensor, float]:
    """Integer codes 0 .. 2^bits - 1 (int32) and the scale c: the weight on its grid is ``codes * step - c``."""
    c = largest(weight)
    return torch.round((weight.detach().clamp(-c, c) + c) / grid_step(c, bits)).to(torch.int32), float(c)
