"""What the paper proves, as computations: the residual product and its flat form, containment, sparse plus low rank.

Theorem 4.1: block butterflies of block 2b contain those of block b. Theorem 4.3: for small lambda the product
(I + lambda B_n) ... (I + lambda B_2) is within O(lambda^2) of I + lambda (B_2 + ... + B_n). Theorem 4.4: the flat form has
full rank there. Theorem 4.5: some clustered attention matrices need sparse and low rank together.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def residual_product(factors: Sequence[Tensor], strength: float) -> Tensor:
    """(I + lambda B_n) ... (I + lambda B_2), factors given smallest stride first, each of shape (d, d)."""
    whole = torch.eye(factors[0].shape[0], dtype=factors[0].dtype)
    for factor in factors:
        whole = whole + strength * factor @ whole
    return whole


def flat_residual(factors: Sequence[Tensor], strength: float) -> Tensor:
    """I + lambda (B_2 + ... + B_n): the first-order expansion, a matrix of flat butterfly support."""
    return torch.eye(factors[0].shape[0], dtype=factors[0].dtype) + strength * torch.stack(list(factors)).sum(0)


def merge_factors(factors: Sequence[Tensor]) -> list[Tensor]:
    """Factors of block b as factors of block 2b with the same product (the construction behind Theorem 4.1).

    The two smallest strides of block b, 2 and 4, together are one factor of stride 2 in blocks of 2b; every larger stride is
    a factor of half the stride there.

    Args:
        factors: Dense, smallest stride first, at least two, each of shape (d, d).

    Returns:
        One factor fewer.
    """
    return [factors[1] @ factors[0], *factors[2:]]


def clustered_attention(clusters: int, size: int, width: int, *, spread: float, seed: int) -> Tensor:
    """Softmax attention of tokens in tight clusters, the example of Theorem 4.5.

    Args:
        clusters: Number of cluster centres.
        size: Tokens in each.
        width: Dimension.
        spread: Standard deviation around a centre.
        seed: Of the draw.

    Returns:
        exp(q k^T) of shape (clusters size, clusters size), rows normalised.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(clusters, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(clusters, size, width, generator=generator, dtype=torch.float64)
    tokens = (centres[:, None] + spread * noise).view(-1, width)
    return (tokens @ tokens.T).softmax(-1)


def split_error(matrix: Tensor, support: Tensor | None, rank: int, rounds: int = 30) -> float:
    """Relative Frobenius error of the best found sparse plus low-rank approximation, by alternating projection.

    Args:
        matrix: Shape (n, m).
        support: Where the sparse part may be, bool, shape (n, m); None for none.
        rank: Of the low-rank part.
        rounds: Alternations; the error never grows.
    """
    sparse = torch.zeros_like(matrix)
    low = torch.zeros_like(matrix)
    for _ in range(rounds if support is not None and rank else 1):
        if rank:
            left, values, right = torch.linalg.svd(matrix - sparse, full_matrices=False)
            low = (left[:, :rank] * values[:rank]) @ right[:rank]
        if support is not None:
            sparse = (matrix - low) * support
    return float((matrix - sparse - low).norm() / matrix.norm())
