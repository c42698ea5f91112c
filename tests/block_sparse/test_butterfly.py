import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasc.block_sparse.butterfly import (
    available_strides,
    bucket_support,
    buckets,
    factor_support,
    flat_butterfly,
    flat_support,
    reference_pattern,
)
from nasc.block_sparse.pattern import BlockPattern, cover_elements, dense_pattern
from nasc.errors import UsageError

POWERS = [2**power for power in range(7)]


def brute_flat(n, k):
    distances = {0} | {2**i for i in range(n.bit_length()) if 2**i <= k // 2}
    return torch.tensor([[(i ^ j) in distances for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("n", POWERS)
def test_the_flat_support_is_the_definition(n):
    for k in [power for power in POWERS if power <= n]:
        support = flat_support(n, k)
        assert torch.equal(support, brute_flat(n, k))
        assert torch.equal(support, support.T)
        assert set(support.sum(0).tolist()) == set(support.sum(1).tolist()) == {1 + int(math.log2(k))}


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32])
def test_a_factor_pairs_each_block_with_one_other_and_has_its_stride_as_period(n):
    for k in [power for power in POWERS if 2 <= power <= n]:
        support = factor_support(n, k)
        expected = torch.tensor([[j in (i, i ^ (k // 2)) for j in range(n)] for i in range(n)])
        assert torch.equal(support, expected)
        for start in range(0, n, k):  # block-diagonal with period k
            assert support[start : start + k, :start].sum() == support[start : start + k, start + k :].sum() == 0


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32])
def test_the_product_of_all_factors_is_dense_and_their_union_is_the_flat_support(n):
    factors = [factor_support(n, k) for k in POWERS if 2 <= k <= n]
    product = torch.eye(n)
    for factor in factors:
        product = factor.float() @ product
    assert (product > 0).all()
    union = torch.stack(factors).any(0)
    assert torch.equal(union, flat_support(n, n))


def test_strides_nest():
    for small, large in [(1, 2), (2, 4), (4, 8), (8, 16)]:
        assert not (flat_support(16, small) & ~flat_support(16, large)).any()
        assert flat_support(16, small).sum() < flat_support(16, large).sum()


@pytest.mark.parametrize(("n", "k", "b"), [(8, 4, 4), (16, 16, 2), (4, 1, 8)])
def test_the_block_form_is_the_kronecker_product_with_ones(n, k, b):
    pattern = flat_butterfly(n * b, n * b, b, k)
    expected = torch.kron(flat_support(n, k).float(), torch.ones(b, b)).bool()
    assert torch.equal(pattern.elements(), expected)
    assert pattern.nnz == n * (1 + int(math.log2(k))) * b * b
    assert pattern.density == (1 + int(math.log2(k))) / n


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(POWERS))
def test_no_row_or_column_of_any_grid_is_empty_and_transposing_the_grid_transposes_the_support(rows, columns, k):
    support = bucket_support(rows, columns, k)
    assert support.any(0).all()
    assert support.any(1).all()
    assert torch.equal(support, bucket_support(columns, rows, k).T)


@pytest.mark.parametrize(
    ("rows", "columns", "k", "density"),
    [(12, 12, 4, 0.3889), (12, 48, 4, 0.375), (24, 96, 8, 0.25), (7, 10, 4, 0.757)],
)
def test_the_densities_of_the_bucket_rule(rows, columns, k, density):
    assert bucket_support(rows, columns, k).float().mean() == pytest.approx(density, abs=5e-4)


@pytest.mark.parametrize(("size", "factors", "block"), [(16, 2, 32), (8, 2, 32), (16, 4, 16), (32, 3, 16)])
def test_the_bucket_rule_equals_the_reference_where_it_divides(size, factors, block):
    rows, columns = size * block, 4 * size * block
    ours = flat_butterfly(rows, columns, block, 2**factors)
    assert buckets(*ours.mask.shape) == size
    assert ours == reference_pattern(rows, columns, size=size, factors=factors, block=block)


REFERENCE_DENSITIES = {
    (2048, 512): [0.1875, 0.375, 0.25, 0.3125, 0.125],
    (3072, 768): [0.2083, 0.375, 0.2917, 0.3125, 0.1458],
    (2304, 768): [0.213, 0.375, 0.3009, 0.3125, 0.1505],
    (1536, 384): [0.25, 0.4167, 0.375, 0.375, 0.1875],
    (1152, 384): [0.25, 0.4259, 0.3889, 0.3889, 0.1944],
}


@pytest.mark.parametrize("shape", REFERENCE_DENSITIES)
def test_the_published_variants_have_the_computed_densities(shape):
    variants = [(16, 2, 32), (8, 2, 32), (16, 3, 32), (16, 4, 16), (32, 3, 16)]
    found = [reference_pattern(*shape, size=n, factors=m, block=b).density for n, m, b in variants]
    assert found == pytest.approx(REFERENCE_DENSITIES[shape], abs=5e-5)


def test_the_reference_refuses_what_it_would_get_wrong_and_adds_global_rows():
    with pytest.raises(UsageError, match="divisible by the butterfly size 16"):
        reference_pattern(40, 64, size=16, factors=2, block=8)
    pattern = reference_pattern(64, 64, size=8, factors=1, block=8, global_size=8)
    assert pattern.mask[0].all()
    assert pattern.mask[:, 0].all()
    assert pattern.blocks == 8 * 2 + 6 + 6


def test_strides_beyond_the_grid_are_clamped_and_other_numbers_refused():
    assert flat_butterfly(64, 64, 16, 256) == flat_butterfly(64, 64, 16, 4)
    assert available_strides(64, 100, 16) == (1, 2, 4)
    for wrong in (0, 3, 6):
        with pytest.raises(UsageError, match=f"power of two as the maximum stride; got {wrong}"):
            flat_butterfly(64, 64, 16, wrong)


def test_blocks_cut_by_the_edge_count_for_what_is_left():
    pattern = dense_pattern(37, 100, 16)
    assert (pattern.nnz, pattern.density) == (3700, 1.0)
    ragged = flat_butterfly(37, 100, 16, 2)
    assert ragged.nnz == int(ragged.elements().sum())
    assert ragged.elements().shape == (37, 100)


def test_a_cover_holds_its_elements_and_no_needless_block():
    elements = torch.zeros(10, 10, dtype=torch.bool)
    elements[0, 0] = elements[9, 4] = True
    pattern = cover_elements(elements, 4)
    assert pattern.mask.nonzero().tolist() == [[0, 0], [2, 1]]
    assert pattern.transpose().mask.nonzero().tolist() == [[0, 0], [1, 2]]


def test_a_mask_of_another_grid_is_refused():
    with pytest.raises(UsageError, match="expected a bool mask of 2 x 3 blocks"):
        BlockPattern(torch.ones(2, 2, dtype=torch.bool), 8, 16, 24)


def test_equal_patterns_have_equal_hashes():
    one, other = flat_butterfly(64, 64, 8, 2), flat_butterfly(64, 64, 8, 2)
    assert one == other
    assert hash(one) == hash(other)
    assert one != flat_butterfly(64, 64, 8, 4)
