import pytest
import torch

from nasc.block_sparse import rivals
from nasc.errors import UsageError


@pytest.mark.parametrize("shape", [(16, 16), (12, 48), (7, 10)])
@pytest.mark.parametrize("count", [20, 40])
def test_patterns_hit_the_number_of_blocks(shape, count):
    weight = torch.randn(shape[0] * 4, shape[1] * 4)
    count = max(count, max(shape))
    for mask in (
        rivals.random_blocks(*shape, count, 0),
        rivals.local_window(*shape, count),
        rivals.magnitude_blocks(weight, 4, count),
    ):
        assert mask.shape == shape
        assert int(mask.sum()) == count
    assert int(rivals.random_elements(30, 40, 111, 0).sum()) == 111
    assert int(rivals.magnitude_elements(weight, 111).sum()) == 111


def test_random_patterns_are_reproducible_and_differ_by_seed():
    for draw in (rivals.random_blocks, rivals.random_elements):
        assert torch.equal(draw(16, 16, 40, 3), draw(16, 16, 40, 3))
        assert not torch.equal(draw(16, 16, 40, 3), draw(16, 16, 40, 4))
    assert torch.equal(rivals.big_bird(16, 16, 90, 3), rivals.big_bird(16, 16, 90, 3))


@pytest.mark.parametrize("shape", [(16, 16), (12, 30), (30, 12)])
def test_random_blocks_leave_no_line_empty(shape):
    for seed in range(5):
        mask = rivals.random_blocks(*shape, max(shape), seed)
        assert mask.any(0).all()
        assert mask.any(1).all()


def test_magnitude_keeps_the_largest():
    weight = torch.tensor([[1.0, -5.0], [3.0, 0.1]])
    assert rivals.magnitude_elements(weight, 2).tolist() == [[False, True], [True, False]]
    blocks = torch.zeros(4, 4)
    blocks[0:2, 2:4], blocks[2, 0] = 1.0, 1.5
    assert rivals.magnitude_blocks(blocks, 2, 1).tolist() == [[False, True], [False, False]]


def test_big_bird_is_window_and_globals_and_random():
    n, count = 16, 16 * 3 + 40
    mask = rivals.big_bird(n, n, count, 0, globals_=1, window=1)
    assert int(mask.sum()) == count
    assert mask[0].all()
    assert mask[:, 0].all()
    i = torch.arange(n)
    window = (i[:, None] - i[None, :]).abs() <= 1
    assert (mask | ~window).all()
    base = int((window | (i[:, None] == 0) | (i[None, :] == 0)).sum())
    assert int(mask.sum()) - base == count - base > 0
    with pytest.raises(UsageError, match=f"expected at least {base} blocks"):
        rivals.big_bird(n, n, base - 1, 0)


def test_the_local_window_is_nearest_to_the_diagonal():
    assert torch.equal(rivals.local_window(8, 8, 8), torch.eye(8).bool())
    band = rivals.local_window(8, 8, 22)
    i = torch.arange(8)
    assert torch.equal(band, (i[:, None] - i[None, :]).abs() <= 1)


def test_the_sparse_transformers_patterns_are_their_definitions():
    strided = rivals.sparse_transformer(12, 12, 4)
    fixed = rivals.sparse_transformer(12, 12, 4, fixed=True)
    for i in range(12):
        for j in range(12):
            assert strided[i, j] == (abs(i - j) < 4 or (i - j) % 4 == 0)
            assert fixed[i, j] == (i // 4 == j // 4 or j % 4 == 3)


def test_hashed_attention_lets_equal_vectors_meet():
    torch.manual_seed(0)
    x = torch.randn(2, 10, 4)
    x[:, 3] = x[:, 7]
    mask = rivals.hashed_attention(x, x, buckets=8, seed=1)
    assert mask.shape == (2, 10, 10)
    assert mask[:, 3, 7].all()
    assert mask.diagonal(dim1=1, dim2=2).all()
    assert not mask.all()
    assert torch.equal(mask, mask.transpose(1, 2))


def test_a_union_is_filled_up_or_cut_down_to_its_number():
    base, score = torch.eye(6).bool(), torch.rand(6, 6)
    filled = rivals.union_with(base, score, 10)
    assert int(filled.sum()) == 10
    assert (filled | ~base).all()
    cut = rivals.union_with(base, score, 4)
    assert int(cut.sum()) == 4
    assert (base | ~cut).all()


def test_a_masked_linear_layer_keeps_its_zeros_and_the_dense_variance():
    torch.manual_seed(0)
    layer = rivals.MaskedLinear(rivals.random_elements(256, 256, 6554, 0), bias=False)
    assert layer(torch.randn(2048, 256)).var().item() == pytest.approx(1 / 3, rel=0.08)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.randn(4, 256)).square().sum().backward()
    optimizer.step()
    effective = layer(torch.eye(256)).T
    assert (effective[~layer.elements] == 0).all()


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="expected 0 to 16 blocks; got 17"):
        rivals.random_blocks(4, 4, 17, 0)
