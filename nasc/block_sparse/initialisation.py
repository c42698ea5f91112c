"""How the parts of a Pixelfly layer start.

As the authors' code does: a dense Kaiming-uniform draw (a = sqrt 5, so the variance of a weight is 1 / (3 fan_in)) kept on
the support, each block row scaled by sqrt(Q / blocks in the row) so that its outputs vary as the dense layer's; factors by
the same draw; biases uniform in +-1/sqrt(fan_in). For inputs of unit variance the outputs then have the variance

    dense 1/3,  sparse part 1/3,  low-rank part 1/9,  their average 1/9.

Departures: a block row is scaled by the columns it really reads, so padding changes nothing (the authors draw on the padded
shape); on request, ``variance_matched`` scales U by sqrt 3 and both parts by 1/sqrt(alpha^2 + (1 - alpha)^2), which brings
the mix to the dense layer's 1/3.
"""

import math

import torch
from torch import Tensor, nn

from nasc.block_sparse.matmul import Plan, extract
from nasc.block_sparse.pattern import BlockPattern


def draw_dense(out_features: int, in_features: int, like: Tensor) -> Tensor:
    """A Kaiming-uniform draw with a = sqrt 5, shape (out_features, in_features)."""
    weight = torch.empty(out_features, in_features, dtype=like.dtype, device=like.device)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight


def draw_blocks(pattern: BlockPattern, plan: Plan, like: Tensor) -> Tensor:
    """The blocks of a dense draw, rows scaled to the dense layer's output variance; as :func:`extract` stores them.

    Columns that are padding read zeros, so a row counts the real columns it reads: sqrt(in_features / columns read).
    """
    weight = draw_dense(pattern.out_features, pattern.in_features, like)
    read = pattern.elements().sum(1).clamp_min(1).to(weight)
    return extract(weight * (pattern.in_features / read).sqrt()[:, None], plan, pattern)


def draw_factors(out_features: int, in_features: int, rank: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """U of shape (out_features, rank) and V of shape (in_features, rank), each by its own Kaiming-uniform draw."""
    u = draw_dense(out_features, rank, like)
    v = draw_dense(rank, in_features, like).T.contiguous()
    return u, v


def split_weight(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """U, V of the best rank-r approximation U V^T of a weight (Eckart-Young), singular values shared evenly."""
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).to(weight), (right[:rank].T * root).to(weight)


def bias_bound(in_features: int) -> float:
    """Biases start uniform within plus and minus this."""
    return 1 / math.sqrt(in_features)


def match_scale(alpha: float) -> float:
    """1/sqrt(alpha^2 + (1 - alpha)^2): what brings a mix of two parts of equal variance back to that variance."""
    return 1 / math.sqrt(alpha**2 + (1 - alpha) ** 2)
