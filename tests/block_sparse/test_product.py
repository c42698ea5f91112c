import math

import pytest
import torch

from nasc.block_sparse.butterfly import factor_support
from nasc.block_sparse.product import BlockButterfly


@pytest.mark.parametrize(("size", "block"), [(8, 1), (16, 4), (32, 2), (64, 8)])
def test_the_layer_is_the_product_of_its_factor_matrices(size, block):
    torch.manual_seed(0)
    layer = BlockButterfly(size, size, block).double()
    explicit = torch.eye(size, dtype=torch.float64)
    for matrix in layer.matrices():
        explicit = matrix @ explicit
    x = torch.randn(3, 2, size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ explicit.T + layer.bias)
    torch.testing.assert_close(layer.dense(), explicit)


@pytest.mark.parametrize(("n", "block"), [(8, 1), (8, 2), (16, 3)])
def test_each_factor_has_the_support_of_its_stride(n, block):
    layer = BlockButterfly(n * block, n * block, block)
    for matrix, k in zip(layer.matrices(), layer.strides, strict=True):
        blocks = (matrix != 0).view(n, block, n, block).any(3).any(1)
        assert torch.equal(blocks, factor_support(n, k))


def test_factors_have_the_weights_of_the_definition():
    layer = BlockButterfly(64, 64, 4)
    assert layer.weights == 2 * 16 * math.log2(16) * 4**2


@pytest.mark.parametrize(("in_features", "out_features"), [(20, 37), (37, 20), (5, 100), (1, 1)])
def test_other_shapes_are_padded_and_sliced(in_features, out_features):
    layer = BlockButterfly(in_features, out_features, 4).double()
    x = torch.randn(3, in_features, dtype=torch.float64)
    assert layer.dense().shape == (out_features, in_features)
    torch.testing.assert_close(layer(x), x @ layer.dense().T + layer.bias)


def test_gradients_equal_those_of_the_matrices():
    layer = BlockButterfly(16, 16, 2).double()
    x = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    leaves = (x, *layer.parameters())
    upstream = torch.randn(3, 16, dtype=torch.float64)
    ours = torch.autograd.grad(layer(x), leaves, upstream)
    torch.testing.assert_close(ours, torch.autograd.grad(x @ layer.dense().T + layer.bias, leaves, upstream))


def test_it_starts_with_the_dense_layers_output_variance():
    torch.manual_seed(0)
    layer = BlockButterfly(512, 512, 32, bias=False)
    assert layer(torch.randn(1024, 512)).var().item() == pytest.approx(1 / 3, rel=0.05)
