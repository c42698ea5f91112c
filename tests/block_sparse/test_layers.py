import math

import pytest
import torch
from torch import nn

from nasc.block_sparse import BlockSparse, PixelflyLinear, dense_pattern, flat_butterfly
from nasc.block_sparse.pattern import BlockPattern
from nasc.errors import ModelError, UsageError

B = 8
SIZES = [1, B - 1, B, B + 1, 37, 100]


@pytest.mark.parametrize("out_features", SIZES)
@pytest.mark.parametrize("in_features", SIZES)
def test_any_shape_equals_the_masked_dense_layer_and_padding_is_not_counted(out_features, in_features):
    torch.manual_seed(0)
    pattern = flat_butterfly(out_features, in_features, B, 2)
    layer = BlockSparse(pattern).double()
    x = torch.randn(3, in_features, dtype=torch.float64)
    weight = layer.dense()
    assert weight.shape == (out_features, in_features)
    assert (weight[~pattern.elements()] == 0).all()
    torch.testing.assert_close(layer(x), x @ weight.T)
    assert pattern.nnz == int((weight != 0).sum())


@pytest.mark.parametrize("mix", ["scalar", "sigmoid", "fixed"])
@pytest.mark.parametrize("shape", [(64, 32), (37, 100)])
def test_the_layer_is_one_matrix(mix, shape):
    torch.manual_seed(0)
    layer = PixelflyLinear(flat_butterfly(*shape, B, 2), rank=B, mix=mix).double()
    if layer.alpha is not None:
        layer.alpha.data.fill_(0.3)
    share = {"scalar": 0.3, "sigmoid": 1 / (1 + math.exp(-0.3)), "fixed": 0.5}[mix]
    explicit = share * layer.sparse.dense() + (1 - share) * layer.u @ layer.v.T
    x = torch.randn(2, 5, shape[1], dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ explicit.T + layer.bias)
    torch.testing.assert_close(layer.dense(), explicit)


def test_alpha_one_is_the_blocks_and_alpha_zero_the_factors():
    layer = PixelflyLinear(flat_butterfly(32, 32, B, 2), rank=B, bias=False)
    x = torch.randn(4, 32)
    layer.alpha.data.fill_(1.0)
    torch.testing.assert_close(layer(x), layer.sparse(x))
    layer.alpha.data.fill_(0.0)
    torch.testing.assert_close(layer(x), x @ layer.v @ layer.u.T)
    layer.alpha.data.fill_(1.5)  # outside [0, 1] is allowed in the raw form
    torch.testing.assert_close(layer(x), x @ layer.dense().T)


def test_the_gate_weighs_the_parts_row_by_row_and_has_no_single_matrix():
    torch.manual_seed(0)
    layer = PixelflyLinear(flat_butterfly(32, 16, B, 2), rank=B, mix="gated")
    x = torch.randn(6, 16)
    g = torch.sigmoid(x @ layer.gate.weight.T + layer.gate.bias)
    expected = (1 - g) * layer.sparse(x) + g * (x @ layer.v @ layer.u.T) + layer.bias
    torch.testing.assert_close(layer(x), expected)
    assert sum(parameter.numel() for parameter in layer.gate.parameters()) == 16 + 1
    with pytest.raises(UsageError, match="a gate per input"):
        layer.dense()
    layer.gate.weight.data.zero_()
    layer.gate.bias.data.zero_()
    average = PixelflyLinear(flat_butterfly(32, 16, B, 2), rank=B, mix="fixed")
    average.load_state_dict({k: v for k, v in layer.state_dict().items() if not k.startswith("gate")})
    torch.testing.assert_close(layer(x), average(x))  # a gate that is off is the average


@pytest.mark.parametrize("mix", ["scalar", "sigmoid", "fixed"])
def test_every_gradient_equals_the_masked_dense_reference(mix):
    torch.manual_seed(0)
    layer = PixelflyLinear(flat_butterfly(37, 20, B, 2), rank=B, mix=mix).double()
    x = torch.randn(4, 20, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(4, 37, dtype=torch.float64)
    leaves = (x, *layer.parameters())
    ours = torch.autograd.grad(layer(x), leaves, upstream)
    theirs = torch.autograd.grad(x @ layer.dense().T + layer.bias, leaves, upstream)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_weights_off_the_support_stay_zero_and_padding_never_trains(optimizer):
    torch.manual_seed(0)
    pattern = flat_butterfly(19, 13, B, 1)
    layer = BlockSparse(pattern)
    options = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    update = optimizer(layer.parameters(), lr=0.05, weight_decay=0.1, **options)
    before = layer.dense().detach().clone()
    for _ in range(5):
        update.zero_grad()
        layer(torch.randn(8, 13)).square().sum().backward()
        update.step()
    weight = layer.dense()
    assert not torch.equal(weight, before)
    assert (weight[~pattern.elements()] == 0).all()
    assert int((layer.blocks != 0).sum()) == pattern.nnz


def test_the_rank_is_at_most_r_and_what_it_is_clamped_to():
    layer = PixelflyLinear(None, 5, in_features=20, out_features=30, bias=False).double()
    assert torch.linalg.matrix_rank(layer.dense()) == 5
    assert layer.alpha is None
    assert PixelflyLinear(None, 50, in_features=20, out_features=30).rank == 20


def test_without_a_low_rank_part_alpha_is_one():
    layer = PixelflyLinear(flat_butterfly(32, 32, B, 2), 0)
    assert layer.alpha is None
    torch.testing.assert_close(layer.dense(), layer.sparse.dense())


def test_an_empty_pattern_is_pure_low_rank_and_nothing_at_all_is_refused():
    empty = BlockPattern(torch.zeros(2, 2, dtype=torch.bool), B, 16, 16)
    layer = PixelflyLinear(empty, 4)
    assert layer.sparse is None
    assert layer(torch.ones(2, 16)).shape == (2, 16)
    with pytest.raises(UsageError, match="expected blocks or a rank; got neither"):
        PixelflyLinear(empty, 0)
    with pytest.raises(UsageError, match="unknown mix 'half'"):
        PixelflyLinear(flat_butterfly(16, 16, B, 1), 8, mix="half")


def test_initial_outputs_have_the_variances_of_the_sheet():
    torch.manual_seed(0)
    d, n = 512, 2048
    x = torch.randn(n, d)
    layer = PixelflyLinear(flat_butterfly(d, d, 32, 4), rank=32, bias=False)
    reference = nn.Linear(d, d, bias=False)
    with torch.no_grad():
        assert reference(x).var() == pytest.approx(1 / 3, rel=0.05)
        assert layer.sparse(x).var() == pytest.approx(1 / 3, rel=0.05)
        assert (x @ layer.v @ layer.u.T).var() == pytest.approx(1 / 9, rel=0.1)
        assert layer(x).var() == pytest.approx(1 / 9, rel=0.05)
        matched = PixelflyLinear(flat_butterfly(d, d, 32, 4), rank=32, bias=False, variance_matched=True)
        assert matched(x).var() == pytest.approx(1 / 3, rel=0.05)


def test_a_block_row_is_scaled_by_the_share_it_reads():
    torch.manual_seed(0)
    pattern = flat_butterfly(512, 512, 32, 4)  # 3 of 16 blocks a row
    weight = BlockSparse(pattern).dense()[pattern.elements()]
    assert weight.abs().max().item() == pytest.approx(
        math.sqrt(16 / 3) / math.sqrt(512), rel=0.01
    )  # Kaiming bound 1/sqrt(d)


def test_a_dense_weight_that_fits_the_form_is_found_again():
    torch.manual_seed(0)
    layer = PixelflyLinear(dense_pattern(16, 24, B), rank=8, mix="scalar").double()
    weight = torch.randn(16, 24, dtype=torch.float64)
    layer.copy_from(weight)
    torch.testing.assert_close(layer.dense(), weight)
    pure = PixelflyLinear(None, 8, in_features=24, out_features=16).double()
    low = torch.randn(16, 8, dtype=torch.float64) @ torch.randn(8, 24, dtype=torch.float64)
    pure.copy_from(low)
    torch.testing.assert_close(pure.dense(), low)


def test_weights_are_counted_as_they_are_and_reload_equal():
    layer = PixelflyLinear(flat_butterfly(64, 32, B, 2), rank=B)
    counted = int((layer.sparse.dense() != 0).sum()) + layer.u.numel() + layer.v.numel()
    assert layer.weights == counted
    assert layer.density == counted / (64 * 32)
    again = PixelflyLinear(flat_butterfly(64, 32, B, 2), rank=B)
    again.load_state_dict(layer.state_dict())
    x = torch.randn(3, 32)
    assert torch.equal(again(x), layer(x))


def test_weights_of_another_pattern_are_refused():
    stored = PixelflyLinear(flat_butterfly(64, 64, B, 4), rank=B).state_dict()
    with pytest.raises(ModelError, match="another pattern"):
        PixelflyLinear(flat_butterfly(64, 64, B, 2), rank=B).load_state_dict(stored)
    with pytest.raises(ModelError, match=r"grid of \(4, 4\) blocks; got one of \(8, 8\)"):
        PixelflyLinear(flat_butterfly(64, 64, 16, 2), rank=B).load_state_dict(stored)


def test_half_precision_runs_through():
    layer = PixelflyLinear(flat_butterfly(64, 64, B, 4), rank=B)
    x = torch.randn(4, 64)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert torch.allclose(y.float(), layer(x), atol=0.05)
    y.float().sum().backward()
    assert layer.sparse.blocks.grad.dtype == torch.float32
