import pytest
import torch

from nasc.block_sparse import matmul
from nasc.block_sparse.butterfly import flat_butterfly
from nasc.block_sparse.matmul import assemble, block_sparse_linear, extract, make_plan
from nasc.block_sparse.pattern import BlockPattern, dense_pattern


def random_pattern(rows, columns, block, share, seed=0, *, holes=False):
    mask = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < share
    if not holes:
        mask |= torch.eye(rows, columns).bool()
    return BlockPattern(mask, block, rows * block, columns * block)


PATTERNS = {
    "square butterfly": flat_butterfly(64, 64, 8, 4),
    "long butterfly": flat_butterfly(96, 40, 8, 2),
    "uneven rows": random_pattern(7, 5, 4, 0.4),
    "empty rows and columns": random_pattern(6, 6, 4, 0.15, 3, holes=True),
    "single weights": random_pattern(9, 11, 1, 0.3),
    "dense": dense_pattern(16, 24, 8),
    "one block": dense_pattern(4, 4, 4),
}


def product(x, weights, plan, pattern):
    return block_sparse_linear(x, weights, plan, tuple(pattern.mask.shape))


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_the_product_and_both_gradients_equal_the_masked_dense_ones(name, batch):
    pattern = PATTERNS[name]
    plan = make_plan(pattern)
    torch.manual_seed(0)
    blocks = torch.randn(pattern.blocks, pattern.block, pattern.block, dtype=torch.float64, requires_grad=True)
    x = torch.randn(batch, pattern.in_features, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(batch, pattern.out_features, dtype=torch.float64)
    expected = x @ (assemble(blocks, plan, pattern) * pattern.elements()).T
    torch.testing.assert_close(product(x, blocks, plan, pattern), expected)
    ours = torch.autograd.grad(product(x, blocks, plan, pattern), (x, blocks), upstream)
    theirs = torch.autograd.grad(expected, (x, blocks), upstream)
    torch.testing.assert_close(ours, theirs)


def test_gradients_pass_the_numerical_check():
    pattern = PATTERNS["uneven rows"]
    plan = make_plan(pattern)
    blocks = torch.randn(pattern.blocks, 4, 4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, pattern.in_features, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: product(x, w, plan, pattern), (x, blocks))


def test_the_batch_is_cut_into_chunks_without_a_difference(monkeypatch):
    pattern = PATTERNS["uneven rows"]
    plan = make_plan(pattern)
    blocks = torch.randn(pattern.blocks, 4, 4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(100, 20, dtype=torch.float64, requires_grad=True)

    def run():
        y = product(x, blocks, plan, pattern)
        return y, *torch.autograd.grad(y.square().sum(), (x, blocks))

    whole = run()
    monkeypatch.setattr(matmul, "_GATHERED", 1)
    monkeypatch.setattr(matmul, "_LEAST_ROWS", 30)
    assert len(matmul._chunks(100, 10)) == 4
    torch.testing.assert_close(run(), whole)


def test_inputs_need_not_be_contiguous_and_an_empty_batch_is_fine():
    pattern = PATTERNS["long butterfly"]
    plan = make_plan(pattern)
    blocks = torch.randn(pattern.blocks, 8, 8)
    x = torch.randn(40, 12).T
    torch.testing.assert_close(product(x, blocks, plan, pattern), product(x.contiguous(), blocks, plan, pattern))
    assert product(x[:0], blocks, plan, pattern).shape == (0, 96)


def test_only_what_needs_a_gradient_gets_one():
    pattern = PATTERNS["square butterfly"]
    plan = make_plan(pattern)
    blocks, x = torch.randn(pattern.blocks, 8, 8), torch.randn(2, 64, requires_grad=True)
    product(x, blocks, plan, pattern).sum().backward()
    assert x.grad is not None
    assert blocks.grad is None


def test_the_gradient_of_half_precision_weights_is_summed_in_float32(monkeypatch):
    pattern = dense_pattern(8, 8, 8)
    plan = make_plan(pattern)
    monkeypatch.setattr(matmul, "_GATHERED", 1)  # a sum in bfloat16 would stick at 256
    monkeypatch.setattr(matmul, "_LEAST_ROWS", 32)
    blocks = torch.zeros(1, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    x = torch.ones(32 * 37, 8, dtype=torch.bfloat16)
    product(x, blocks, plan, pattern).sum().backward()
    assert blocks.grad.dtype == torch.bfloat16
    expected = torch.tensor(32.0 * 37).bfloat16()
    assert (blocks.grad == expected).all()


@pytest.mark.parametrize("name", PATTERNS)
def test_assembling_what_was_extracted_is_the_masked_matrix(name):
    pattern = PATTERNS[name]
    plan = make_plan(pattern)
    weight = torch.randn(pattern.out_features, pattern.in_features)
    torch.testing.assert_close(assemble(extract(weight, plan, pattern), plan, pattern), weight * pattern.elements())


def test_equal_rows_are_one_group_in_their_natural_order():
    plan = make_plan(PATTERNS["square butterfly"])
    assert plan.row_groups == ((8, 3),)
    assert plan.rows.tolist() == list(range(8))
