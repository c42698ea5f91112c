import pytest
import torch

from nasc.block_sparse import PixelflyConv2d, PixelflyLinear, flat_butterfly, to_plain
from nasc.block_sparse.pattern import BlockPattern
from nasc.block_sparse.plain import row_spans
from nasc.errors import UsageError


@pytest.mark.parametrize("shape", [(32, 32), (37, 100), (100, 37), (48, 20)])
@pytest.mark.parametrize("rank", [0, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_the_plain_form_of_a_linear_layer_is_equal_and_has_only_its_weights(shape, rank, bias):
    torch.manual_seed(0)
    layer = PixelflyLinear(flat_butterfly(*shape, 8, 2), rank, bias=bias).double()
    plain = to_plain(layer)
    x = torch.randn(2, 3, shape[1], dtype=torch.float64)
    torch.testing.assert_close(plain(x), layer(x))
    assert sum(p.numel() for p in plain.parameters()) == layer.weights + bias * shape[0]


def test_pure_low_rank_is_two_linear_layers():
    layer = PixelflyLinear(None, 4, in_features=10, out_features=12).double()
    plain = to_plain(layer)
    x = torch.randn(3, 10, dtype=torch.float64)
    torch.testing.assert_close(plain(x), layer(x))
    assert len(plain.parts) == 0


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("window", [{}, {"kernel_size": (3, 3), "padding": (1, 1), "stride": (2, 2)}])
def test_the_plain_form_of_a_convolution_is_equal(rank, window):
    torch.manual_seed(0)
    layer = PixelflyConv2d(flat_butterfly(18, 13, 4, 2), rank, **window).double()
    x = torch.randn(2, 13, 7, 7, dtype=torch.float64)
    plain = to_plain(layer)
    torch.testing.assert_close(plain(x), layer(x))
    assert sum(p.numel() for p in plain.parameters()) == layer.weights + 18


def test_rows_that_read_the_same_columns_are_one_layer():
    assert len(row_spans(flat_butterfly(64, 64, 8, 2))) == 4  # pairs of blocks
    assert len(row_spans(flat_butterfly(64, 16, 8, 1))) == 2  # four block rows each


def test_neighbouring_columns_are_one_span():
    mask = torch.tensor([[True, True, False, True]])
    assert row_spans(BlockPattern(mask, 4, 4, 14)) == (((0, 4), ((0, 8), (12, 14))),)


def test_gates_and_empty_rows_have_no_plain_form():
    with pytest.raises(UsageError, match="a gate per input"):
        to_plain(PixelflyLinear(flat_butterfly(16, 16, 8, 1), 8, mix="gated"))
    empty = BlockPattern(torch.tensor([[True], [False]]), 8, 16, 8)
    with pytest.raises(UsageError, match="a block in every block row"):
        to_plain(PixelflyLinear(empty))
