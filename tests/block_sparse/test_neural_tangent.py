import pytest
import torch
from torch import nn

from nasc.block_sparse import PixelflyLinear, flat_butterfly
from nasc.block_sparse.neural_tangent import compare_kernels, tangent_kernel
from nasc.errors import ModelError


def network(hidden=None):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), hidden or nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)).double()


def test_the_kernel_is_symmetric_and_positive_semidefinite():
    kernel = tangent_kernel(network(), torch.randn(9, 6, dtype=torch.float64))
    assert torch.equal(kernel, kernel.T)
    assert torch.linalg.eigvalsh(kernel).min() > -1e-9


def test_the_kernel_of_a_linear_model_is_known():
    model = nn.Linear(4, 3).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(tangent_kernel(model, x), 3 * (x @ x.T + 1))


def test_a_model_is_at_no_distance_from_itself():
    kernel = tangent_kernel(network(), torch.randn(7, 6, dtype=torch.float64))
    distance = compare_kernels(kernel, kernel)
    assert (distance.relative, distance.normalised) == (0, 0)
    assert distance.alignment == pytest.approx(1)
    scaled = compare_kernels(3 * kernel, kernel)
    assert scaled.relative == pytest.approx(2)
    assert scaled.normalised == pytest.approx(0, abs=1e-12)
    assert scaled.alignment == pytest.approx(1)


@pytest.mark.parametrize("block", [8, 16])
def test_at_full_density_the_kernel_is_the_dense_one(block):
    dense = network()
    layer = PixelflyLinear(flat_butterfly(16, 16, block, 16 // block)).double()
    layer.copy_from(dense[2].weight)
    layer.bias.data.copy_(dense[2].bias)
    sparse = network(layer)
    for index in (0, 4):
        sparse[index].load_state_dict(dense[index].state_dict())
    x = torch.randn(6, 6, dtype=torch.float64)
    torch.testing.assert_close(tangent_kernel(sparse, x), tangent_kernel(dense, x))


def test_the_mode_is_left_as_it_was_and_other_outputs_are_refused():
    model = network()
    tangent_kernel(model, torch.randn(2, 6, dtype=torch.float64))
    assert model.training
    with pytest.raises(ModelError, match=r"scores of shape \(1, classes\)"):
        tangent_kernel(nn.Flatten(0), torch.randn(2, 6))
