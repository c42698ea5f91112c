import pytest
import torch

from nasc.block_sparse.butterfly import factor_support, flat_support, strides
from nasc.block_sparse.product import BlockButterfly
from nasc.block_sparse.theory import (
    clustered_attention,
    flat_residual,
    merge_factors,
    residual_product,
    split_error,
)


def draw_factors(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, n, generator=generator, dtype=torch.float64) * factor_support(n, k) for k in strides(n)]


def test_the_flat_form_is_the_first_order_of_the_residual_product():
    factors = draw_factors(64)
    errors = [
        float((residual_product(factors, s) - flat_residual(factors, s)).norm()) / s**2 for s in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[0] == pytest.approx(errors[2], rel=0.05)
    assert errors[1] == pytest.approx(errors[2], rel=0.01)
    second = sum(factors[j] @ factors[i] for i in range(6) for j in range(i + 1, 6))
    assert errors[2] == pytest.approx(float(second.norm()), rel=1e-3)


def test_the_flat_form_has_the_flat_support_and_full_rank_for_small_strength():
    factors = draw_factors(32)
    flat = flat_residual(factors, 1e-2)
    assert torch.equal(flat != 0, flat_support(32, 32))
    assert torch.linalg.matrix_rank(flat) == 32


def test_blocks_of_two_contain_the_ordinary_butterfly_of_size_eight():
    """Theorem 4.1, by construction: the merged factors have the supports of block size two and the same product."""
    torch.manual_seed(0)
    layer = BlockButterfly(8, 8, 1).double()
    factors = layer.matrices()
    merged = merge_factors(factors)
    for matrix, k in zip(merged, strides(4), strict=True):
        allowed = factor_support(4, k).repeat_interleave(2, 0).repeat_interleave(2, 1)
        assert (matrix[~allowed] == 0).all()
    product = torch.eye(8, dtype=torch.float64)
    for matrix in merged:
        product = matrix @ product
    assert (product - layer.dense()).abs().max() < 1e-12


def test_clustered_attention_wants_both_parts():
    """Theorem 4.5 in small: clusters are low rank between and sparse within."""
    matrix = clustered_attention(8, 8, 16, spread=0.5, seed=0)
    torch.testing.assert_close(matrix.sum(1), torch.ones(64, dtype=torch.float64))
    support = torch.eye(8).bool().repeat_interleave(8, 0).repeat_interleave(8, 1)
    both = split_error(matrix, support, 4)
    assert both < split_error(matrix, support, 0)
    assert both < split_error(matrix, None, 4)


def test_the_split_of_a_low_rank_matrix_is_exact():
    matrix = torch.randn(12, 3, dtype=torch.float64) @ torch.randn(3, 10, dtype=torch.float64)
    assert split_error(matrix, None, 3) < 1e-12
    assert split_error(matrix, torch.ones(12, 10).bool(), 0) == 0
