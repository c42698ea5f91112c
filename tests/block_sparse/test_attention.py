import math

import pytest
import torch
from torch.nn import functional

from nasc.block_sparse.attention import BlockSparseAttention, attention_pattern, dense_mask
from nasc.block_sparse.pattern import BlockPattern, dense_pattern
from nasc.errors import UsageError


def draw(length):
    torch.manual_seed(0)
    return [torch.randn(2, 3, length, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [32, 29, 7])
@pytest.mark.parametrize("global_blocks", [0, 1])
def test_it_equals_dense_attention_with_the_mask(causal, length, global_blocks):
    pattern = attention_pattern(length, 4, 4, global_blocks=global_blocks, causal=causal)
    q, k, v = draw(length)
    mask = dense_mask(pattern, causal=causal).double()
    expected = functional.scaled_dot_product_attention(q, k, v, mask)
    result = BlockSparseAttention(pattern, causal=causal)(q, k, v)
    torch.testing.assert_close(result, expected)
    upstream = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(result, (q, k, v), upstream), torch.autograd.grad(expected, (q, k, v), upstream)
    )


def test_a_full_mask_is_dense_attention():
    q, k, v = draw(30)
    expected = functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(BlockSparseAttention(dense_pattern(30, 30, 8))(q, k, v), expected)


@pytest.mark.parametrize("length", [3, 16, 50, 64])
@pytest.mark.parametrize("causal", [False, True])
def test_every_query_has_a_key(length, causal):
    for stride in (1, 2, 8):
        mask = dense_mask(attention_pattern(length, 8, stride, causal=causal), causal=causal)
        assert (mask == 0).any(1).all()
        if causal:
            assert (mask.triu(1)[torch.ones(length, length).triu(1) > 0] == -math.inf).all()


def test_global_blocks_add_a_mask_of_rank_at_most_two_g():
    g = 2
    with_global = attention_pattern(128, 8, 1, global_blocks=g).mask
    lines = torch.zeros(16, 16)
    lines[:g, :] = lines[:, :g] = 1
    assert torch.equal(with_global, lines.bool() | torch.eye(16).bool())
    assert torch.linalg.matrix_rank(lines) <= 2 * g


def test_a_shorter_sequence_uses_the_same_pattern_and_a_longer_one_is_refused():
    layer = BlockSparseAttention(attention_pattern(32, 4, 2, causal=True), causal=True)
    q, k, v = draw(32)
    short = [t[..., :10, :] for t in (q, k, v)]
    torch.testing.assert_close(layer(*short), layer(q, k, v)[..., :10, :])  # causal: later keys never matter
    with pytest.raises(UsageError, match="at most 32 positions; got 33"):
        layer(*draw(33))


def test_a_pattern_that_leaves_a_query_without_a_key_is_refused():
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(UsageError, match="a key for every query"):
        BlockSparseAttention(BlockPattern(mask, 4, 8, 8))
