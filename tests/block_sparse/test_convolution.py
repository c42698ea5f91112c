import pytest
import torch
from torch.nn import functional

from nasc.block_sparse import PixelflyConv2d, flat_butterfly
from nasc.errors import UsageError

CASES = {
    "pointwise": {"kernel_size": (1, 1)},
    "strided pointwise": {"kernel_size": (1, 1), "stride": (2, 2)},
    "same": {"kernel_size": (3, 3), "padding": (1, 1)},
    "strided": {"kernel_size": (3, 3), "padding": (1, 1), "stride": (2, 1)},
    "dilated": {"kernel_size": (3, 2), "dilation": (2, 1), "padding": (1, 0)},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("channels", [(16, 8), (10, 13)])
@pytest.mark.parametrize("rank", [0, 4])
def test_the_convolution_equals_the_dense_one_with_its_weight(case, channels, rank):
    torch.manual_seed(0)
    layer = PixelflyConv2d(flat_butterfly(*channels, 4, 2), rank, **CASES[case]).double()
    x = torch.randn(2, channels[1], 9, 8, dtype=torch.float64, requires_grad=True)
    options = {key: value for key, value in CASES[case].items() if key != "kernel_size"}
    expected = functional.conv2d(x, layer.dense(), layer.bias, **options)
    torch.testing.assert_close(layer(x), expected)
    upstream = torch.randn_like(expected)
    leaves = (x, *layer.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(layer(x), leaves, upstream), torch.autograd.grad(expected, leaves, upstream)
    )


def test_every_tap_has_the_pattern_and_weights_are_counted_without_padding():
    pattern = flat_butterfly(18, 10, 4, 2)
    layer = PixelflyConv2d(pattern, kernel_size=(3, 3))
    weight = layer.dense()
    for i in range(3):
        for j in range(3):
            assert torch.equal(weight[:, :, i, j] != 0, pattern.elements())
    assert layer.weights == 9 * pattern.nnz
    low = PixelflyConv2d(pattern, 4, kernel_size=(3, 3))
    assert low.weights == 9 * pattern.nnz + 4 * (9 * 10 + 18)


def test_its_blocks_start_with_the_dense_convolutions_output_variance():
    torch.manual_seed(0)
    layer = PixelflyConv2d(flat_butterfly(64, 62, 8, 2), kernel_size=(3, 3), bias=False)
    assert layer(torch.randn(8, 62, 16, 16)).var().item() == pytest.approx(1 / 3, rel=0.05)


def test_other_channels_are_refused():
    with pytest.raises(UsageError, match="expected 8 channels; got 9"):
        PixelflyConv2d(flat_butterfly(8, 8, 4, 2))(torch.zeros(1, 9, 4, 4))
